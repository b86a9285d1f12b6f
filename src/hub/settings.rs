//! What the hub is told at its start, and what it is told of each connection.
//! Every limit of `websocket.md` stands here with its default; tests shorten the timings, nobody else does.

use std::net::IpAddr;
use std::time::Duration;

use super::demand::Asker;
use crate::market::Interval;

/// Settings of the hub.
#[derive(Debug, Clone)]
pub struct HubSettings {
    /// Intervals that are watched; the first is the primary one.
    pub intervals: Vec<Interval>,
    /// Fan-out tasks; a connection belongs to one of them for its life.
    pub shards: usize,
    /// What a connection may use.
    pub limits: Limits,
    /// When things happen by themselves.
    pub timings: Timings,
}

impl HubSettings {
    /// The defaults, for these intervals.
    pub fn new(intervals: Vec<Interval>) -> Self {
        Self {
            intervals,
            shards: 1,
            limits: Limits::default(),
            timings: Timings::default(),
        }
    }
}

/// What connections may use.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Streams of one connection (`HAMA_MAX_STREAMS`).
    pub max_streams: usize,
    /// Client messages and pings a second, with a burst of twice as many (`HAMA_CLIENT_MESSAGES_PER_S`).
    pub client_messages_per_s: u32,
    /// Bytes of one client message.
    pub message_bytes: usize,
    /// Fragments of one client message.
    pub fragments: usize,
    /// Bytes of changes that may wait for one reader (`HAMA_SLOW_BYTES`).
    pub slow_bytes: usize,
    /// How long the oldest of them may wait.
    pub slow_age: Duration,
    /// Bytes of changes that may wait for all readers together; above it the largest queue goes (`HAMA_QUEUE_TOTAL_MB`).
    pub queue_total_bytes: usize,
    /// Changes one resume may ask for (`HAMA_REPLAY_MAX`).
    pub replay_max: usize,
    /// Contracts watched at most, with what readers asked for (`HAMA_MAX_WATCHED`).
    pub max_watched: usize,
    /// Contracts nobody watches yet that one address may ask for in an hour.
    pub new_contracts_per_hour: usize,
    /// Changes kept in the hub's own memory; older ones are read from the store.
    pub kept_changes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_streams: 1_024,
            client_messages_per_s: 10,
            message_bytes: 64 * 1_024,
            fragments: 16,
            slow_bytes: 1_024 * 1_024,
            slow_age: Duration::from_secs(10),
            queue_total_bytes: 256 * 1_024 * 1_024,
            replay_max: 10_000,
            max_watched: 600,
            new_contracts_per_hour: 20,
            kept_changes: 10_000,
        }
    }
}

/// When things happen by themselves.
#[derive(Debug, Clone)]
pub struct Timings {
    /// Between two pings to a connection; the first comes at a random point of it.
    pub ping_every: Duration,
    /// A connection that sent nothing for so long is closed.
    pub pong_within: Duration,
    /// A connection without streams in its URL says SUBSCRIBE within this.
    pub subscribe_within: Duration,
    /// From the first byte of a client message to its last.
    pub message_within: Duration,
    /// After our close frame the peer has so long.
    pub close_within: Duration,
    /// All goodbyes of a stop take at most so long.
    pub goodbye_within: Duration,
    /// How long the log may take to reach a cursor the store knows: it is a batch away.
    pub hold_within: Duration,
    /// Between two `!status` items when nothing changes.
    pub status_every: Duration,
    /// Between two `beat` items of a raw connection.
    pub beat_every: Duration,
    /// Between two messages of one `!hama_<interval>@arr`.
    pub results_every: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            ping_every: Duration::from_secs(20),
            pong_within: Duration::from_secs(60),
            subscribe_within: Duration::from_secs(30),
            message_within: Duration::from_secs(10),
            close_within: Duration::from_secs(5),
            goodbye_within: Duration::from_secs(2),
            hold_within: Duration::from_secs(5),
            status_every: Duration::from_secs(5),
            beat_every: Duration::from_secs(15),
            results_every: Duration::from_millis(250),
        }
    }
}

/// How items reach a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// `{"stream":"...","data":...}`, with `!status` without asking: `/stream`.
    Wrapped,
    /// `data` alone, as Binance does: `/ws`.
    Raw,
}

/// What the HTTP request said of a connection.
#[derive(Debug, Clone)]
pub struct Connecting {
    /// By its path.
    pub mode: Form,
    /// Stream names in its URL, percent-decoded.
    pub streams: Vec<String>,
    /// Who it is to the limits of what readers may ask for.
    pub asker: Asker,
    /// The peer, behind trusted proxies the one they name.
    pub peer: IpAddr,
}
