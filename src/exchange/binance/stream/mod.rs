//! The streams: which series go over which connection, and the pace at which connections are opened. One task owns the
//! division of the watched set; each connection is a task of its own that ends when nothing is left for it to carry.
//! Says nothing about candles; what a frame means is `connection`'s and `message`'s.

mod connection;
mod lost;
mod message;
mod plan;
mod session;
mod subscriptions;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use self::connection::Connection;
use self::plan::{Plan, Slot};
use super::Times;
use super::url::Target;
use crate::clock::{ExchangeClock, Mono};
use crate::exchange::refusal::Served;
use crate::exchange::{ConnectionId, FeedSender, StreamCounts, Streams, Way};
use crate::market::SeriesKey;
use crate::tasks::Tasks;

/// A set of series that may be replaced while it is being watched.
type Keys = Arc<BTreeSet<SeriesKey>>;

/// Where the streams are and how they are reached.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) target: Target,
    pub(super) way: Arc<Way>,
    pub(super) tls: Arc<rustls::ClientConfig>,
    pub(super) served: Served,
}

/// What all connections share.
#[derive(Debug)]
struct Setup {
    host: Arc<Host>,
    times: Times,
    clock: ExchangeClock,
    feed: FeedSender,
    counts: Arc<StreamCounts>,
    last_id: AtomicU64,
    next_connect: Mutex<Mono>,
}

/// Starts the task that owns all connections.
pub(super) fn start(
    host: Arc<Host>,
    times: Times,
    clock: ExchangeClock,
    tasks: &Tasks,
    feed: FeedSender,
) -> Streams {
    let (wanted, watched) = watch::channel(Keys::default());
    let counts = Arc::new(StreamCounts::default());
    let setup = Arc::new(Setup {
        host,
        times,
        clock,
        feed,
        counts: Arc::clone(&counts),
        last_id: AtomicU64::new(0),
        next_connect: Mutex::new(Mono::default()),
    });
    tasks.spawn("exchange streams", divide(setup, tasks.clone(), watched));
    Streams { wanted, counts }
}

/// Keeps one connection task per slot of the plan, each told its own part of the watched set.
async fn divide(setup: Arc<Setup>, tasks: Tasks, mut watched: watch::Receiver<Keys>) {
    let mut plan = Plan::default();
    let mut parts: BTreeMap<Slot, watch::Sender<Keys>> = BTreeMap::new();
    loop {
        let wanted = Arc::clone(&watched.borrow_and_update());
        for slot in plan.change_to(&wanted) {
            let keys = Arc::new(plan.keys(slot).clone());
            if keys.is_empty() {
                plan.close(slot);
                if let Some(part) = parts.remove(&slot) {
                    part.send_replace(keys);
                }
                continue;
            }
            match parts.entry(slot) {
                Entry::Occupied(part) => {
                    part.get().send_replace(keys);
                }
                Entry::Vacant(free) => {
                    let (part, its_part) = watch::channel(keys);
                    free.insert(part);
                    let connection = Connection::new(Arc::clone(&setup), tasks.clone(), its_part);
                    tasks.spawn_short("exchange stream", connection.keep());
                }
            }
        }
        let connections = u64::try_from(parts.len()).unwrap_or(u64::MAX);
        setup.counts.wanted.store(connections, Ordering::Relaxed);
        tokio::select! {
            () = tasks.stopping() => return,
            changed = watched.changed() => if changed.is_err() {
                tasks.stopping().await; // whoever set it is gone; what it set last stays watched
                return;
            }
        }
    }
}

impl Setup {
    fn new_id(&self) -> ConnectionId {
        ConnectionId::new(self.last_id.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Takes the next place in the row of those who want to connect; the answer is how long that one must wait.
    fn connect_turn(&self, now: Mono) -> Duration {
        let mut next = self
            .next_connect
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let turn = now.max(*next);
        *next = turn.plus_ms(whole_ms(self.times.connect_gap));
        Duration::from_millis(turn.ms_since(now))
    }
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
