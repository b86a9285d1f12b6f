//! Every change to every subscriber: topics, sessions, the wire protocol, fan-out, resume (`websocket.md`).
//! One fan-out task per shard alone owns topics, sessions and its own copy of the series' state, so that subscribing is
//! one step without a lock or an await: register, take the snapshot, queue both. A connection has one reading task and
//! nothing else; the shard writes to its socket itself. HTTP (upgrade, keys, origins, limits of connections) is `http`'s.

mod build;
mod close;
mod decode;
mod demand;
mod flush;
mod frame;
mod items;
mod names;
mod outbox;
mod protocol;
mod read_log;
mod reader;
mod replay;
mod requests;
mod reset;
mod session;
mod settings;
mod shard;
mod subscribe;
mod topic;
mod topics;
mod upkeep;
mod wanted;
mod world;

pub use demand::{Asker, Demand, Denied};
pub use settings::{Connecting, Form, HubSettings, Limits, Timings};

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use self::session::Wire;
use self::shard::{Shard, Word};
use crate::clock::{ExchangeClock, Mono};
use crate::store::{Batch, Store};
use crate::tasks::Tasks;

/// Batches that may wait for a shard. When full the store's writer waits: its own inbox merges bursts meanwhile.
const BATCH_QUEUE: usize = 64;

/// Words of reading tasks that may wait for a shard. When full the reading tasks wait, and TCP holds their peers back.
const WORD_QUEUE: usize = 1_024;

/// How long a shard may take to say how large its tables are.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The hub; clones share it.
#[derive(Debug, Clone)]
pub struct Hub {
    shards: Arc<[mpsc::Sender<Word>]>,
    next: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    settings: Arc<HubSettings>,
    demand: Demand,
    tasks: Tasks,
}

/// Counts a connection as long as its reading task lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(connections: &Arc<AtomicUsize>) -> Self {
        connections.fetch_add(1, Ordering::Relaxed);
        Self(connections.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many entries each table of the hub has: all zero once nobody is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tables {
    /// Connections, closing ones included.
    pub sessions: usize,
    /// Streams somebody subscribes to.
    pub topics: usize,
    /// Distinct sets of streams.
    pub groups: usize,
    /// Connections that wait for their socket to take more.
    pub waiting: usize,
    /// Connections that are catching up, or whose cursor is held.
    pub replaying: usize,
    /// Bytes that wait for sockets.
    pub queued_bytes: usize,
}

impl Hub {
    /// Starts the fan-out tasks. The senders, one per shard, are readers of `Store::write_all`; when they are dropped
    /// the shards say goodbye to their connections and end.
    pub fn start(
        settings: HubSettings,
        store: &Store,
        clock: &ExchangeClock,
        tasks: &Tasks,
    ) -> (Self, Vec<mpsc::Sender<Arc<Batch>>>) {
        let settings = Arc::new(settings);
        let limits = &settings.limits;
        let (max_watched, per_hour) = (limits.max_watched, limits.new_contracts_per_hour);
        let demand = Demand::new(store.clone(), max_watched, per_hour);
        let (mut words, mut readers) = (Vec::new(), Vec::new());
        for _ in 0..settings.shards.max(1) {
            let (word, heard) = mpsc::channel(WORD_QUEUE);
            let (reader, batches) = mpsc::channel(BATCH_QUEUE);
            let shard = Shard::new(
                settings.clone(),
                demand.clone(),
                store.clone(),
                clock.clone(),
            );
            tasks.spawn("hub shard", shard.run(batches, heard));
            words.push(word);
            readers.push(reader);
        }
        let hub = Self {
            shards: words.into(),
            next: Arc::default(),
            connections: Arc::default(),
            settings,
            demand,
            tasks: tasks.clone(),
        };
        (hub, readers)
    }

    /// Takes over a socket whose WebSocket upgrade was answered with 101. `already_read` are the bytes after the
    /// request's head that were read with it. Names in `connection` that are no streams are answered with an error
    /// item (`id` null), then the connection is closed with 1008.
    pub fn accept(&self, socket: TcpStream, already_read: Bytes, connection: Connecting) {
        let counted = Counted::new(&self.connections);
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let Some(words) = self.shards.get(turn % self.shards.len()).cloned() else {
            return;
        };
        let wire = Arc::new(Wire::new(socket, Mono::now()));
        let settings = self.settings.clone();
        self.tasks.spawn_short("hub reader", async move {
            let _counted = counted;
            reader::run(wire, already_read, connection, words, settings).await;
        });
    }

    /// The door to contracts that are not watched yet, with the limits all doors share.
    pub fn demand(&self) -> &Demand {
        &self.demand
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Sizes of the tables, summed over the shards: for tests and diagnosis.
    pub async fn tables(&self) -> Tables {
        let mut sum = Tables::default();
        for shard in self.shards.iter() {
            let (answer, answered) = oneshot::channel();
            let asked = async {
                shard.send(Word::Tables(answer)).await.ok()?;
                answered.await.ok()
            };
            if let Ok(Some(tables)) = tokio::time::timeout(ANSWER_WITHIN, asked).await {
                sum.add(&tables);
            }
        }
        sum
    }
}

impl Tables {
    fn add(&mut self, other: &Self) {
        self.sessions += other.sessions;
        self.topics += other.topics;
        self.groups += other.groups;
        self.waiting += other.waiting;
        self.replaying += other.replaying;
        self.queued_bytes += other.queued_bytes;
    }
}
