//! All that is asynchronous about the engine: takes batches in, applies them, sends the effects on.
//! It ends when the exchange's connections have ended and their queue is empty; the store's writer then ends after it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::core::{Engine, Event};
use super::effect::{Effect, FetchJob};
use super::fetcher::Fetcher;
use super::figures::StreamFigures;
use super::handle::{EngineHandle, EngineInfo, Universe};
use super::moment::Moment;
use super::order::{Order, OrderError, SchedulerInfo, StartOrder, Started};
use super::settings::EngineSettings;
use super::timekeeper::TimeKeeper;
use super::universe::{StartAsked, Ties, UniverseReader, Word};
use crate::clock::{ExchangeClock, Mono};
use crate::exchange::{Exchange, FeedQueue, Streams, feed_queue};
use crate::market::SeriesKey;
use crate::store::{Interest, SavedScheduler, Voice, Write};
use crate::tasks::Tasks;

/// How often deadlines are looked at: a close is read from REST so much after its deadline at most.
const TICK: Duration = Duration::from_millis(50);

/// How often the engine's own figures are published.
const INFO_EVERY_MS: u64 = 500;

/// Reads that may wait between engine and fetcher: one per series, 600 contracts at all 15 intervals. The engine never
/// waits for the fetcher, who waits for the engine; a read that does not fit counts as failed and is asked for again.
const JOB_QUEUE: usize = 9_000;

/// Answers that may wait for the engine; full, the fetcher waits.
const EVENT_QUEUE: usize = 64;

/// Orders that may wait; full, the asker waits until its deadline.
const ORDER_QUEUE: usize = 64;

/// Words of the watch list that may wait for the engine; full, its reader waits.
const WORD_QUEUE: usize = 8;

/// Starts that may wait for the watch list; a further one is refused.
const START_QUEUE: usize = 8;

/// What the exchange allows in a minute (1.1).
const WEIGHT_LIMIT: u32 = 2_400;

/// Starts the engine's tasks; they write to `out` and watch what readers want by `interest`, too. Where several engines
/// share a store, `voice` says which may speak.
pub fn start(
    settings: &EngineSettings,
    exchange: Exchange,
    clock: ExchangeClock,
    out: mpsc::Sender<Vec<Write>>,
    voice: Option<watch::Receiver<Voice>>,
    interest: Interest,
    tasks: &Tasks,
) -> EngineHandle {
    let (feed, queue) = feed_queue();
    let streams = exchange.streams(tasks, feed);
    let (event_sender, events) = mpsc::channel(EVENT_QUEUE);
    let (jobs, job_receiver) = mpsc::channel(JOB_QUEUE);
    let (order_sender, orders) = mpsc::channel(ORDER_QUEUE);
    let (starts, start_receiver) = mpsc::channel(START_QUEUE);
    let (words, word_receiver) = mpsc::channel(WORD_QUEUE);
    let listing_news = Arc::new(Notify::new());
    let engine = Engine::new(settings);
    let (scheduler, scheduler_receiver) = watch::channel(engine.scheduler());
    let (universe, universe_receiver) = watch::channel(Universe::none_yet(settings));
    let (info, info_receiver) = watch::channel(EngineInfo::default());
    let followed = read_candles_and_time(&exchange, &clock, event_sender, job_receiver, tasks);
    let ties = Ties {
        exchange: exchange.clone(),
        clock: clock.clone(),
        interest,
        listing_news: listing_news.clone(),
        published: universe,
        words,
        voice: voice.clone(),
    };
    let reader = UniverseReader::new(ties, settings);
    tasks.spawn("watch list", reader.run(start_receiver, tasks.clone()));
    let handle = EngineHandle::new(
        universe_receiver,
        info_receiver,
        scheduler_receiver,
        order_sender,
        clock.clone(),
    );
    let inbox = Inbox {
        queue,
        events,
        orders,
        words: word_receiver,
        voice,
    };
    let task = EngineTask {
        engine,
        clock,
        exchange,
        streams,
        followed,
        jobs,
        out,
        info,
        scheduler,
        starts,
        overtaken: CancellationToken::new(),
        refreshing: BTreeMap::new(),
        listing_news,
        last_start: StartOrder::default(),
    };
    tasks.spawn("engine", task.run(inbox));
    handle
}

/// Starts who reads candles and the time; where to say which series are followed.
fn read_candles_and_time(
    exchange: &Exchange,
    clock: &ExchangeClock,
    answers: mpsc::Sender<Event>,
    jobs: mpsc::Receiver<FetchJob>,
    tasks: &Tasks,
) -> watch::Sender<Arc<BTreeSet<SeriesKey>>> {
    let (followed, followed_receiver) = watch::channel(Arc::default());
    let fetcher = Fetcher {
        exchange: exchange.clone(),
        clock: clock.clone(),
        followed: followed_receiver,
        answers,
    };
    tasks.spawn("candle fetcher", fetcher.run(jobs, tasks.clone()));
    let keeper = TimeKeeper {
        exchange: exchange.clone(),
        clock: clock.clone(),
    };
    tasks.spawn("exchange clock", keeper.run(tasks.clone()));
    followed
}

/// Everything the engine is told, by its way in.
struct Inbox {
    queue: FeedQueue,
    events: mpsc::Receiver<Event>,
    orders: mpsc::Receiver<Order>,
    words: mpsc::Receiver<Word>,
    voice: Option<watch::Receiver<Voice>>,
}

struct EngineTask {
    engine: Engine,
    clock: ExchangeClock,
    exchange: Exchange,
    streams: Streams,
    /// The same for the fetcher.
    followed: watch::Sender<Arc<BTreeSet<SeriesKey>>>,
    jobs: mpsc::Sender<FetchJob>,
    out: mpsc::Sender<Vec<Write>>,
    info: watch::Sender<EngineInfo>,
    scheduler: watch::Sender<SchedulerInfo>,
    starts: mpsc::Sender<StartAsked>,
    /// Cancelled by a stop, for all starts on their way.
    overtaken: CancellationToken,
    /// Who waits for a series to be read anew.
    refreshing: BTreeMap<SeriesKey, Vec<oneshot::Sender<Result<(), OrderError>>>>,
    /// Wakes who reads the exchange's listing.
    listing_news: Arc<Notify>,
    /// What the operator last asked for.
    last_start: StartOrder,
}

impl EngineTask {
    async fn run(mut self, mut inbox: Inbox) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut info_at = Mono::default();
        loop {
            let done = tokio::select! {
                batch = inbox.queue.next_batch() => match batch {
                    Some(batch) => self.apply(batch.into_iter().map(Event::Feed)).await,
                    None => return,
                },
                Some(event) = inbox.events.recv() => self.apply([event]).await,
                Some(order) = inbox.orders.recv() => self.carry_out(order).await,
                Some(word) = inbox.words.recv() => match word {
                    Word::News(events) => self.apply(events).await,
                    Word::Started(start) => self.start(start).await,
                },
                voice = Voice::next(&mut inbox.voice) => self.take_voice(voice).await,
                _ = ticks.tick() => self.apply([Event::Tick]).await,
            };
            if done.is_err() {
                return;
            }
            if Mono::now().ms_since(info_at) >= INFO_EVERY_MS {
                info_at = Mono::now();
                self.publish_info();
            }
        }
    }

    /// An order whose asker has gone is not carried out: he was told that nothing came of it.
    async fn carry_out(&mut self, order: Order) -> Result<(), Gone> {
        match order {
            Order::Chart { key, limit, answer } => {
                let _ = answer.send(self.engine.chart(&key, limit));
            }
            Order::Start { order, answer } => {
                let asked = StartAsked::by_operator(order, answer, self.overtaken.clone());
                if let Err(TrySendError::Full(asked) | TrySendError::Closed(asked)) =
                    self.starts.try_send(asked)
                {
                    let _ = asked.answer.send(Err(OrderError::Gone));
                }
            }
            Order::Stop { answer } => {
                if !answer.is_closed() {
                    std::mem::take(&mut self.overtaken).cancel();
                    self.apply([Event::Stop]).await?;
                    self.save_scheduler().await?;
                    let _ = answer.send(Ok(()));
                }
            }
            Order::Refresh { key, answer } => {
                let waiting = self.refreshing.entry(key.clone()).or_default();
                waiting.retain(|one| !one.is_closed());
                waiting.push(answer);
                self.apply([Event::Refresh(key)]).await?;
            }
        }
        Ok(())
    }

    /// The watch list of a start is made, and told before it: what is saved names it whatever becomes of the start. One of
    /// our own, at a takeover, was only about the list, and so is one that is void by now: what the operator has said since
    /// stands, and who asked hears no more of it.
    async fn start(&mut self, start: StartAsked) -> Result<(), Gone> {
        let (is_an_operators, is_void) = (start.is_an_operators(), start.is_void());
        let sweep_every = start.order.sweep_every;
        self.last_start = start.order;
        if is_an_operators {
            if !is_void {
                self.apply([Event::Start(sweep_every)]).await?;
            }
            self.save_scheduler().await?;
        }
        if is_void {
            return Ok(());
        }
        let info = self.engine.scheduler();
        let _ = start.answer.send(Ok(Started {
            symbols: info.symbols,
            sweep_every: info.sweep_every,
        }));
        Ok(())
    }

    /// The store says whether we may speak; with the leave comes what the operator wanted of the engine before.
    async fn take_voice(&mut self, voice: Voice) -> Result<(), Gone> {
        let saved = match &voice {
            Voice::Speaking { scheduler, .. } => scheduler.clone(),
            Voice::Silent => None,
        };
        let Some(saved) = saved else {
            return self.apply([Event::Voice(voice)]).await;
        };
        let sweep_every = Some(Duration::from_secs(saved.interval_minutes * 60));
        if !saved.running {
            return self.apply([Event::Stop, Event::Voice(voice)]).await;
        }
        let start = [Event::Start(sweep_every), Event::Voice(voice)];
        self.apply(start).await?;
        let order = StartOrder {
            symbols: saved.symbols,
            sweep_every,
        };
        if order.symbols != self.last_start.symbols {
            let _ = self.starts.try_send(StartAsked::at_takeover(order));
        }
        Ok(())
    }

    /// Tells the store what the operator wants, for the engine that takes over.
    async fn save_scheduler(&mut self) -> Result<(), Gone> {
        let info = self.engine.scheduler();
        let saved = SavedScheduler {
            running: info.running,
            symbols: self.last_start.symbols.clone(),
            interval_minutes: info.sweep_every.as_secs() / 60,
        };
        let writes = vec![Write::Scheduler(saved)];
        self.out.send(writes).await.map_err(|_| Gone)
    }

    /// Applies a batch and does what it asks for. An error: the store's writer is gone.
    async fn apply(&mut self, batch: impl IntoIterator<Item = Event>) -> Result<(), Gone> {
        let now = Moment::read(&self.clock);
        let mut events: VecDeque<Event> = batch.into_iter().collect();
        let (mut effects, mut writes) = (Vec::new(), Vec::new());
        while let Some(event) = events.pop_front() {
            self.engine.apply(event, &now, &mut effects);
            for effect in effects.drain(..) {
                match effect {
                    Effect::Write(write) => writes.push(write),
                    Effect::Watch(keys) => {
                        self.followed.send_replace(Arc::new(keys.clone()));
                        self.streams.set(keys);
                    }
                    Effect::Ask(job) => events.extend(ask(&self.jobs, job)),
                    Effect::ReadListing => self.listing_news.notify_one(),
                    Effect::Refreshed(key, outcome) => {
                        for answer in self.refreshing.remove(&key).unwrap_or_default() {
                            let _ = answer.send(outcome.clone());
                        }
                    }
                }
            }
        }
        let info = self.engine.scheduler();
        self.scheduler.send_if_modified(|published| {
            let changed = *published != info;
            *published = info;
            changed
        });
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
            bad_candles: info.bad_candles + counts.bad() + self.exchange.refused_rows().total(),
            refused: info
                .refused
                .and(&counts.rows.so_far())
                .and(&self.exchange.refused_rows()),
            refusal: self.exchange.refusal(),
            streams: StreamFigures::of(counts),
            ..info
        };
        self.info.send_replace(info);
    }
}

/// Hands a read to the fetcher; what does not fit is answered at once: not read.
fn ask(jobs: &mpsc::Sender<FetchJob>, job: FetchJob) -> Option<Event> {
    let (TrySendError::Full(job) | TrySendError::Closed(job)) = jobs.try_send(job).err()?;
    Some(Event::Answer {
        request: job.request,
        rows: None,
    })
}

/// Nobody takes what the engine writes.
struct Gone;

#[cfg(test)]
mod tests;
