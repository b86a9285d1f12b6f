//! The streams: which names go over which connection, and the pace at which connections are opened. One task owns the
//! division of the watched set; each slot has a place, which keeps a connection up, and
//! replaces it before it is cut; places and connections are tasks of their own that end when nothing is left to carry.
//! Says nothing about candles; what a frame means is `candles`' and `message`'s.

mod candles;
mod connection;
mod health;
mod lost;
mod message;
mod mute;
mod name;
mod place;
mod plan;
mod refused_names;
mod role;
mod session;
mod subscriptions;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use self::mute::Mute;
use self::name::{Names, names_for};
use self::place::Place;
use self::plan::{Plan, Slot};
use super::Times;
use super::url::Target;
use crate::clock::{ExchangeClock, Mono};
use crate::exchange::refusal::Served;
use crate::exchange::way::Way;
use crate::exchange::{ConnectionId, FeedSender, StreamCounts, Streams};
use crate::market::SeriesKey;
use crate::tasks::Tasks;

/// Where the streams are and how they are reached.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) target: Target,
    pub(super) way: Arc<Way>,
    pub(super) tls: Arc<rustls::ClientConfig>,
    pub(super) served: Served,
    /// 429 and 418 to handshakes: who is told to be quiet is told so for all (hazard 30).
    pub(super) quiet: Served,
}

/// What all connections share.
#[derive(Debug)]
struct Setup {
    host: Arc<Host>,
    times: Times,
    clock: ExchangeClock,
    feed: FeedSender,
    counts: Arc<StreamCounts>,
    mute: Mute,
    /// That no candle comes at all was said; until one does, it is not said again.
    deafness_told: AtomicBool,
    /// A candle has come since the start, so the path is a good one.
    has_heard: AtomicBool,
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
    let (wanted, watched) = watch::channel(Arc::default());
    let counts = Arc::new(StreamCounts::default());
    let setup = Arc::new(Setup {
        host,
        times,
        clock,
        feed,
        counts: Arc::clone(&counts),
        mute: Mute::new(Arc::clone(&counts)),
        deafness_told: AtomicBool::new(false),
        has_heard: AtomicBool::new(false),
        last_id: AtomicU64::new(0),
        next_connect: Mutex::new(Mono::default()),
    });
    tasks.spawn("exchange streams", divide(setup, tasks.clone(), watched));
    Streams { wanted, counts }
}

/// Keeps one place per slot of the plan, each told its own part of the watched set.
async fn divide(
    setup: Arc<Setup>,
    tasks: Tasks,
    mut watched: watch::Receiver<Arc<BTreeSet<SeriesKey>>>,
) {
    let mut plan = Plan::default();
    let mut parts: BTreeMap<Slot, watch::Sender<Names>> = BTreeMap::new();
    loop {
        let wanted = {
            let watched = watched.borrow_and_update();
            setup.mute.keep(&watched);
            names_for(&watched)
        };
        for slot in plan.change_to(&wanted) {
            let names = Arc::new(plan.names(slot).clone());
            if names.is_empty() {
                plan.close(slot);
                if let Some(part) = parts.remove(&slot) {
                    part.send_replace(names);
                }
                continue;
            }
            match parts.entry(slot) {
                Entry::Occupied(part) => {
                    part.get().send_replace(names);
                }
                Entry::Vacant(free) => {
                    let (part, its_part) = watch::channel(names);
                    free.insert(part);
                    let place = Place::new(Arc::clone(&setup), tasks.clone(), its_part);
                    tasks.spawn_short("exchange stream place", place.keep());
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
