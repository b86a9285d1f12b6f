//! All that is asynchronous about the engine: takes batches in, applies them, sends the effects on.
//! It ends when the exchange's connections have ended and their queue is empty; the store's writer then ends after it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::core::{Engine, Event};
use super::effect::{Effect, FetchJob};
use super::fetcher::Fetcher;
use super::handle::{EngineHandle, EngineInfo, SeriesQuery, Universe};
use super::moment::Moment;
use super::universe::{UniverseReader, WatchList};
use crate::clock::{ExchangeClock, Mono};
use crate::exchange::{Exchange, FeedQueue, Streams, feed_queue};
use crate::market::Interval;
use crate::store::Write;
use crate::tasks::Tasks;

/// How often deadlines are looked at: a close is read from REST so much after its deadline at most.
const TICK: Duration = Duration::from_millis(50);

/// How often the engine's own figures are published.
const INFO_EVERY_MS: u64 = 500;

/// Reads that may wait between engine and fetcher: one per series, 600 contracts at all 15 intervals. The engine never
/// waits for the fetcher, who waits for the engine; a read that does not fit counts as failed and is asked for again.
const JOB_QUEUE: usize = 9_000;

/// Answers and watch lists that may wait for the engine; full, the fetcher waits.
const EVENT_QUEUE: usize = 64;

/// Questions that may wait; full, the asker waits until its deadline.
const QUERY_QUEUE: usize = 64;

/// What the exchange allows in a minute (1.1).
const WEIGHT_LIMIT: u32 = 2_400;

/// What the engine is to follow.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// Which contracts.
    pub watch_list: WatchList,
    /// At which intervals; the first is the primary one.
    pub intervals: Vec<Interval>,
}

/// Starts the engine's tasks; they write to `out`.
pub fn start(
    settings: EngineSettings,
    exchange: Exchange,
    clock: ExchangeClock,
    out: mpsc::Sender<Vec<Write>>,
    tasks: &Tasks,
) -> EngineHandle {
    let (feed, queue) = feed_queue();
    let streams = exchange.streams(tasks, feed);
    let (event_sender, events) = mpsc::channel(EVENT_QUEUE);
    let (jobs, job_receiver) = mpsc::channel(JOB_QUEUE);
    let (query_sender, queries) = mpsc::channel(QUERY_QUEUE);
    let (universe, universe_receiver) = watch::channel(Arc::new(Universe {
        intervals: settings.intervals.clone(),
        ..Universe::default()
    }));
    let (info, info_receiver) = watch::channel(EngineInfo::default());

    let fetcher = Fetcher {
        exchange: exchange.clone(),
        clock: clock.clone(),
        answers: event_sender.clone(),
    };
    tasks.spawn("candle fetcher", fetcher.run(job_receiver, tasks.clone()));
    let reader = UniverseReader {
        exchange: exchange.clone(),
        clock: clock.clone(),
        watch_list: settings.watch_list,
        intervals: settings.intervals.clone(),
        events: event_sender,
        published: universe,
    };
    tasks.spawn("watch list", reader.run(tasks.clone()));
    let handle = EngineHandle::new(
        universe_receiver,
        info_receiver,
        query_sender,
        clock.clone(),
    );
    let task = EngineTask {
        engine: Engine::new(settings.intervals),
        clock,
        exchange,
        streams,
        jobs,
        out,
        info,
    };
    tasks.spawn("engine", task.run(queue, events, queries));
    handle
}

struct EngineTask {
    engine: Engine,
    clock: ExchangeClock,
    exchange: Exchange,
    streams: Streams,
    jobs: mpsc::Sender<FetchJob>,
    out: mpsc::Sender<Vec<Write>>,
    info: watch::Sender<EngineInfo>,
}

impl EngineTask {
    async fn run(
        mut self,
        mut queue: FeedQueue,
        mut events: mpsc::Receiver<Event>,
        mut queries: mpsc::Receiver<SeriesQuery>,
    ) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut info_at = Mono::default();
        loop {
            let batch: Vec<Event> = tokio::select! {
                batch = queue.next_batch() => match batch {
                    Some(batch) => batch.into_iter().map(Event::Feed).collect(),
                    None => return,
                },
                Some(event) = events.recv() => vec![event],
                Some(query) = queries.recv() => {
                    // Who asked may have gone since.
                    let _ = query.answer.send(self.engine.chart(&query.key, query.limit));
                    continue;
                }
                _ = ticks.tick() => vec![Event::Tick],
            };
            if self.apply(batch).await.is_err() {
                return;
            }
            if Mono::now().ms_since(info_at) >= INFO_EVERY_MS {
                info_at = Mono::now();
                self.publish_info();
            }
        }
    }

    /// Applies a batch and does what it asks for. An error: the store's writer is gone.
    async fn apply(&mut self, batch: Vec<Event>) -> Result<(), Gone> {
        let now = Moment::read(&self.clock);
        let mut effects = Vec::new();
        for event in batch {
            self.engine.apply(event, &now, &mut effects);
        }
        let (mut writes, mut failed) = (Vec::new(), Vec::new());
        for effect in effects {
            match effect {
                Effect::Write(write) => writes.push(write),
                Effect::Watch(keys) => self.streams.set(keys),
                Effect::Ask(job) => {
                    if let Err(TrySendError::Full(job) | TrySendError::Closed(job)) =
                        self.jobs.try_send(job)
                    {
                        failed.push(Event::Answer {
                            request: job.request,
                            rows: None,
                        });
                    }
                }
            }
        }
        for event in failed {
            self.engine.apply(event, &now, &mut Vec::new()); // says nothing: it only allows the series to ask again
        }
        if writes.is_empty() {
            return Ok(());
        }
        self.out.send(writes).await.map_err(|_| Gone)
    }

    fn publish_info(&self) {
        let (info, counts) = (self.engine.info(), self.streams.counts());
        let wanted = counts.wanted.load(Ordering::Relaxed);
        let info = EngineInfo {
            weight_used: self.exchange.weight_used(),
            weight_limit: WEIGHT_LIMIT,
            connections_wanted: usize::try_from(wanted).unwrap_or(usize::MAX),
            bad_candles: info.bad_candles + counts.bad(),
            ..info
        };
        self.info.send_replace(info);
    }
}

/// Nobody takes what the engine writes.
struct Gone;
