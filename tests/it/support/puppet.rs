//! An engine played by the test over a real store: a market whose every candle changes every recommendation, told as
//! the real engine would tell it, from wherever the log stands when it is given leave to speak.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hamacast::clock::ExchangeClock;
use hamacast::market::{Interval, OpenTime, SeriesKey};
use hamacast::signal::{ChangeBody, FeedState, Recommendation, SignalResult};
use hamacast::store::redis::{EngineTies, Fallback, Part, RedisSettings, WatchedSeries};
use hamacast::store::{
    Batch, Occasion, Published, RedisStore, SavedScheduler, ToldOfAll, Voice, Write,
};
use hamacast::tasks::Tasks;
use tokio::sync::mpsc;

use super::fixtures;

const NAMES: [&str; 3] = ["BTCUSDT", "ETHUSDT", "币安人生USDT"];
const QUARTER_MS: i64 = 900_000;

/// The series of the made-up market.
pub(crate) fn series() -> Vec<SeriesKey> {
    let keys = NAMES.map(|name| fixtures::key(name, Interval::M15));
    keys.to_vec()
}

fn open(candle: i64) -> OpenTime {
    OpenTime::from_ms(1_767_000_600_000 + candle * QUARTER_MS)
}

/// What holds after a candle: BUY, HOLD, SELL, HOLD, BUY, ...
fn after(candle: i64) -> Recommendation {
    [
        Recommendation::Buy,
        Recommendation::Hold,
        Recommendation::Sell,
        Recommendation::Hold,
    ][usize::try_from(candle.rem_euclid(4)).unwrap()]
}

/// Result of a series after a candle.
pub(crate) fn result(key: &SeriesKey, candle: i64) -> SignalResult {
    SignalResult {
        recommendation: Some(after(candle)),
        ..fixtures::result(key, open(candle))
    }
}

/// The change on a candle.
pub(crate) fn change(key: &SeriesKey, candle: i64) -> Write {
    let (previous, now) = (after(candle - 1), after(candle));
    Write::Change(ChangeBody::Signal(fixtures::signal(
        key.clone(),
        open(candle),
        previous,
        now,
    )))
}

/// A process with a store in Redis and an engine played by the test; or a hub, without one.
pub(crate) struct Puppet {
    pub(crate) store: RedisStore,
    /// What its readers are told.
    pub(crate) batches: mpsc::Receiver<Arc<Batch>>,
    tasks: Tasks,
    turn: u64,
    writes: Option<mpsc::Sender<Vec<Write>>>,
    ties: Option<EngineTies>,
    /// The newest closed candle of its market.
    pub(crate) candle: i64,
}

impl Puppet {
    pub(crate) fn engine(settings: RedisSettings, fallback: Fallback) -> Self {
        let engine = Self::unread_engine(settings, fallback);
        engine.watch(series());
        engine
    }

    /// What is watched from now on.
    pub(crate) fn watch(&self, series: impl IntoIterator<Item = SeriesKey>) {
        let watched = WatchedSeries {
            series: series.into_iter().collect::<BTreeSet<_>>(),
            about: String::new(),
            ..WatchedSeries::default()
        };
        let ties = self.ties.as_ref().unwrap();
        ties.watched.send_replace(Arc::new(watched));
    }

    /// As `engine`, before it has read what the exchange lists.
    pub(crate) fn unread_engine(settings: RedisSettings, fallback: Fallback) -> Self {
        let tasks = Tasks::new();
        let store = RedisStore::new(settings);
        let (reader, batches) = mpsc::channel(10_000);
        let (writes, inbox) = mpsc::channel(64);
        let clock = ExchangeClock::from_wall();
        let part = Part {
            primary: Interval::M15,
            fallback,
        };
        let ties = store.join(part, inbox, vec![reader], &clock, &tasks);
        Self {
            store,
            batches,
            tasks,
            turn: 0,
            writes: Some(writes),
            ties: Some(ties),
            candle: 0,
        }
    }

    pub(crate) fn hub(settings: RedisSettings) -> Self {
        let tasks = Tasks::new();
        let store = RedisStore::new(settings);
        let (reader, batches) = mpsc::channel(10_000);
        store.follow(vec![reader], &ExchangeClock::from_wall(), &tasks);
        Self {
            store,
            batches,
            tasks,
            turn: 0,
            writes: None,
            ties: None,
            candle: 0,
        }
    }

    pub(crate) async fn say(&self, writes: Vec<Write>) {
        self.writes.as_ref().unwrap().send(writes).await.unwrap();
    }

    /// Waits for a new leave to speak: what was told, and what the operator wanted.
    pub(crate) async fn leave(&mut self) -> (Arc<ToldOfAll>, Option<SavedScheduler>) {
        let ties = self.ties.as_mut().unwrap();
        let spoken = self.turn;
        let speaking = ties
            .voice
            .wait_for(|voice| matches!(voice, Voice::Speaking { turn, .. } if *turn != spoken));
        let speaking = tokio::time::timeout(Duration::from_secs(30), speaking).await;
        let voice = speaking
            .expect("leave to speak within 30 s")
            .unwrap()
            .clone();
        let Voice::Speaking {
            turn,
            told,
            scheduler,
        } = voice
        else {
            unreachable!("waited for");
        };
        self.turn = turn;
        (told, scheduler)
    }

    /// Waits for a new leave to speak, and speaks: what was missed, then every result. Returns how many changes that were.
    pub(crate) async fn speak(&mut self) -> usize {
        let (told, _) = self.leave().await;
        let mut said = vec![Write::Turn(self.turn)];
        let mut missed = 0;
        for key in series() {
            let occasion = match told.get(&key) {
                Some(told) => {
                    for candle in 0..=self.candle {
                        if key.interval.close_time(open(candle)) > told.base.close_time {
                            said.push(change(&key, candle));
                            missed += 1;
                        }
                    }
                    Occasion::Status
                }
                None => Occasion::FirstLive,
            };
            said.push(Write::Result {
                result: Box::new(result(&key, self.candle)),
                occasion,
            });
        }
        said.push(Write::Status(fixtures::status(FeedState::Live)));
        self.say(said).await;
        missed
    }

    /// The next candle closes: every series changes.
    pub(crate) async fn next_candle(&mut self) {
        self.candle += 1;
        let mut said = Vec::new();
        for key in series() {
            said.push(change(&key, self.candle));
            said.push(Write::Result {
                result: Box::new(result(&key, self.candle)),
                occasion: Occasion::Close,
            });
        }
        self.say(said).await;
    }

    /// Waits until the view's head is `seq`.
    pub(crate) async fn reaches(&self, seq: u64) {
        self.shows("the number", |now| now.seq.get() >= seq).await;
    }

    /// Waits until the view is as wanted.
    pub(crate) async fn shows(&self, what: &str, holds: impl Fn(&Published) -> bool) {
        let mut published = self.store.view().follow();
        let there = published.wait_for(|now| holds(now));
        let there = tokio::time::timeout(Duration::from_secs(30), there).await;
        assert!(there.is_ok(), "{what}: {:?}", self.store.view().published());
    }

    /// Closes the inbox, as the engine does at the end, and waits for every task.
    pub(crate) async fn stop(mut self) {
        self.writes = None;
        self.ties = None;
        let left = self.tasks.drain(Duration::from_secs(10)).await;
        assert_eq!(left, Vec::<&str>::new());
    }
}
