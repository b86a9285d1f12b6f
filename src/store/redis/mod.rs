//! Redis as store and bus between engines and hubs (`docs/architecture.md` has the picture). Bottom up: connections with
//! deadlines, names, scripts that check the lease, the lease, reading the log; above them the writer, which holds the
//! role of the active engine, and the follower, which keeps a process' view equal to the log. Neither knows the other's
//! Redis connection; they meet in `Shared` and in a few words.
//! A write whose answer is missing may have been done; the log alone knows, and is read then.

mod active;
mod answers;
mod bus;
mod cache;
mod connect;
mod dial;
mod error;
mod follower;
mod grant;
pub mod keys;
mod lease;
pub mod log;
mod orders;
mod quiet;
pub mod scripts;
mod settings;
mod shared;
mod shown;
mod silence;
mod take_over;
mod verbs;
mod wants;
mod wire;
mod writer;

pub use answers::OrderLost;
pub use connect::{
    BLOCKING_DEADLINE, BlockingLink, COMMAND_DEADLINE, CONNECT_DEADLINE, CommandLink,
    MESSAGE_QUEUE, Message, PubSubLink, Warning,
};
pub use error::{Advice, BadEntry, RedisError};
pub use grant::{BadEngineId, EngineId, Grant, HighestTerm, Term};
pub use lease::{LEASE, LOOK_EVERY, LeaseKeeper, LeaseState, RENEW_EVERY, STOP_BEFORE};
pub use orders::GivenOrder;
pub use settings::{BadRedisUrl, RedisSettings};
pub use shared::Health;
pub use wire::WatchedSeries;
pub use writer::Fallback;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::answers::Answers;
use self::dial::Dialer;
use self::follower::Follower;
use self::shared::Shared;
use self::writer::{Desk, Writer};
use super::batch::{Batch, Voice, Write};
use super::{KEPT_CHANGES, MemoryStore};
use crate::clock::ExchangeClock;
use crate::market::{Interval, Symbol};
use crate::tasks::Tasks;

/// Words between writer and follower, and dialed connections, that may wait; full, who speaks waits.
const WORD_QUEUE: usize = 64;

/// Orders that may wait for the engine; full, they wait in Redis.
const ORDER_QUEUE: usize = 64;

/// A store in Redis, as one process sees it; clones share it.
#[derive(Debug, Clone)]
pub struct RedisStore {
    shared: Arc<Shared>,
    answers: Arc<Answers>,
}

/// What ties an engine to the store.
#[derive(Debug)]
pub struct EngineTies {
    /// Whether it may speak, and after what.
    pub voice: watch::Receiver<Voice>,
    /// Where it says what it watches.
    pub watched: watch::Sender<Arc<WatchedSeries>>,
    /// What hubs order.
    pub orders: mpsc::Receiver<GivenOrder>,
}

/// How an engine takes part.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// The interval whose results are also kept in the compatible form.
    pub primary: Interval,
    /// What happens while Redis is away.
    pub fallback: Fallback,
}

impl RedisStore {
    /// A store that has read nothing yet; `follow` makes it begin.
    pub fn new(settings: RedisSettings) -> Self {
        let view = MemoryStore::new(KEPT_CHANGES).wanted_for(settings.wanted_for);
        let name = EngineId::random();
        Self {
            answers: Arc::new(Answers::new(name.as_str())),
            shared: Arc::new(Shared::new(settings, Arc::new(view), name)),
        }
    }

    /// Results, changes and published state of this process.
    pub fn view(&self) -> &Arc<MemoryStore> {
        &self.shared.view
    }

    /// How Redis does.
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// Whether the log has been read, or this process goes on alone.
    pub fn is_readable(&self) -> bool {
        self.shared.health().is_loaded || self.shared.is_alone()
    }

    /// Whether what this process' engine says is told: it is active, or goes on alone.
    pub fn speaks_here(&self) -> bool {
        *self.shared.active.borrow() || self.shared.is_alone()
    }

    /// How often the tail of the log has been read; none while this process numbers alone.
    pub fn tail_reads(&self) -> Option<u64> {
        (!self.shared.is_alone()).then(|| self.shared.tail_reads())
    }

    /// The watch list as the active engine tells it.
    pub fn watched(&self) -> watch::Receiver<Arc<WatchedSeries>> {
        self.shared.watched.subscribe()
    }

    /// Follows the log for `readers` until the program stops: a process without an engine. Beats set `clock`.
    pub fn follow(
        &self,
        readers: Vec<mpsc::Sender<Arc<Batch>>>,
        clock: &ExchangeClock,
        tasks: &Tasks,
    ) {
        self.spawn_follower(readers, Some(clock.clone()), None, tasks);
    }

    /// Follows the log for `readers` and writes to it what the engine says in `inbox`, while the role is ours.
    pub fn join(
        &self,
        part: Part,
        inbox: mpsc::Receiver<Vec<Write>>,
        readers: Vec<mpsc::Sender<Arc<Batch>>>,
        clock: &ExchangeClock,
        tasks: &Tasks,
    ) -> EngineTies {
        let (mirror, words) = mpsc::channel(WORD_QUEUE);
        self.spawn_follower(readers, None, Some(words), tasks);
        let keeper = LeaseKeeper::new(
            self.shared.settings.clone(),
            self.shared.engine(),
            self.shared.highest_term.clone(),
            self.shared.look_now.clone(),
        );
        let (voice, voice_heard) = watch::channel(Voice::Silent);
        let (watched, watched_seen) = watch::channel(Arc::default());
        let desk = Desk {
            shared: self.shared.clone(),
            part,
            clock: clock.clone(),
            lease: keeper.follow(),
            voice,
            mirror,
            universe: watched_seen,
        };
        // The lease outlives the writer: what is still to be written at the stop needs it.
        let written = CancellationToken::new();
        tasks.spawn("redis lease", keeper.run(written.clone()));
        tasks.spawn("redis writer", async move {
            let _written = written.drop_guard();
            Writer::new(desk).run(inbox).await;
        });
        let (given, orders) = mpsc::channel(ORDER_QUEUE);
        let read = orders::read(self.shared.clone(), given, tasks.clone());
        tasks.spawn("redis orders", read);
        EngineTies {
            voice: voice_heard,
            watched,
            orders,
        }
    }

    /// The cached analysis of a contract in the compatible form; none when there is none.
    ///
    /// # Errors
    /// `OrderLost::Away`, or Redis' refusal.
    pub async fn analysis(&self, symbol: &Symbol) -> Result<Option<Vec<u8>>, OrderLost> {
        let mut link = self.shared.link().ok_or(OrderLost::Away)?;
        let read = link.get(&keys::analysis(symbol)).await;
        read.map_err(OrderLost::Refused)
    }

    /// Which of these contracts have a cached analysis.
    ///
    /// # Errors
    /// As `analysis`.
    pub async fn analysed(&self, symbols: &[Symbol]) -> Result<Vec<Symbol>, OrderLost> {
        let mut link = self.shared.link().ok_or(OrderLost::Away)?;
        let keys: Vec<_> = symbols.iter().map(keys::analysis).collect();
        let there = link.exist(&keys).await.map_err(OrderLost::Refused)?;
        let there = symbols.iter().zip(there).filter(|(_, there)| *there);
        Ok(there.map(|(symbol, _)| symbol.clone()).collect())
    }

    /// Gives the active engine an order and waits for its answer.
    ///
    /// # Errors
    /// `OrderLost`.
    pub async fn order(&self, body: &str, within: Duration) -> Result<String, OrderLost> {
        self.answers.order(self.shared.link(), body, within).await
    }

    /// Answers an order that `EngineTies::orders` brought.
    ///
    /// # Errors
    /// Redis' refusal; who gave the order is told by his own deadline.
    pub async fn answer(&self, order: &GivenOrder, body: String) -> Result<(), OrderLost> {
        // Orders come by a connection of their own: they may be here while the readers' side is still dialing.
        let mut link = match self.shared.link() {
            Some(link) => link,
            None => CommandLink::open(&self.shared.settings)
                .await
                .map_err(OrderLost::Refused)?,
        };
        let answered = link.answer_order(&order.from, order.id, body).await;
        answered.map_err(OrderLost::Refused)
    }

    fn spawn_follower(
        &self,
        readers: Vec<mpsc::Sender<Arc<Batch>>>,
        clock: Option<ExchangeClock>,
        words: Option<mpsc::Receiver<follower::Word>>,
        tasks: &Tasks,
    ) {
        let (arrivals, arrived) = mpsc::channel(WORD_QUEUE);
        let dialer = Dialer {
            settings: self.shared.settings.clone(),
            answers: self.answers.clone(),
            tasks: tasks.clone(),
        };
        let interest = self.shared.view.interest().clone();
        let share = wants::share(interest, self.shared.settings.clone(), tasks.clone());
        tasks.spawn("redis interest", share);
        let shared = self.shared.clone();
        let follower = Follower::new(shared, dialer, readers, clock, arrivals, tasks.clone());
        tasks.spawn("redis follower", follower.run(arrived, words));
    }
}
