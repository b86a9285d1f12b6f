//! What can be set about the simulated exchange, and what is refused.
//! Exchange time is simulated; what is named `real` here is this machine's time whatever the speed is.

use std::path::PathBuf;
use std::time::Duration;

use super::fault::{Fault, FaultError};
use crate::market::{Interval, TimeMs};

/// Which table of request weights is charged for candles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WeightTable {
    /// As measured on the live exchange in October 2026: 100 rows cost 1, 500 cost 2, no `limit` costs 5.
    #[default]
    Measured,
    /// As documented: 99 rows cost 1, 499 cost 2, no `limit` is 500 rows and costs 5.
    Documented,
}

/// What the unrouted paths `/ws` and `/stream` serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LegacyPaths {
    /// Acknowledge candle streams and deliver nothing, as the live exchange does since April 2026.
    #[default]
    PublicOnly,
    /// Deliver candles as `/market` does: for old clients.
    Market,
}

/// What becomes of a connection that did not come through one of the exchange's own proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direct {
    /// It is served, and counted.
    #[default]
    Counted,
    /// It is counted, and hung up on.
    Refused,
}

/// Settings of one simulated exchange.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulatorSettings {
    /// Seed of the generated market: same seed, same candles.
    pub seed: u64,
    /// Generated USDT perpetuals that are trading, 1 to 600; rows a client must filter out come on top.
    pub symbols: usize,
    /// Intervals that clients will ask for: history reaches back 5,000 candles of the longest.
    pub intervals: Vec<Interval>,
    /// How many times as fast as real time the exchange's clock runs, 1 to 3,600.
    pub speed: f64,
    /// The exchange's time at the start; `None`: the wall clock, or with `replay` the open of candle 600 of the file
    /// that begins last.
    pub start: Option<TimeMs>,
    /// A directory of `<SYMBOL>-<interval>.csv` files to play instead of the generated market.
    pub replay: Option<PathBuf>,
    /// Real time between two pushes of open candles, 10 ms to 10 s.
    pub update_every: Duration,
    /// Real time by which every REST answer is late.
    pub latency: Duration,
    /// Request weights charged for candles.
    pub weights: WeightTable,
    /// What `/ws` and `/stream` serve.
    pub legacy_paths: LegacyPaths,
    /// Whether clients must come through a proxy.
    pub direct: Direct,
    /// Real time between two pings of the server; this and the next two 10 ms to a week.
    pub ping_every: Duration,
    /// Real time without a pong after which a connection is cut.
    pub pong_timeout: Duration,
    /// Real time after which a stream connection is cut.
    pub max_age: Duration,
    /// What goes wrong, from the start on; relative times count from there.
    pub faults: Vec<Fault>,
}

/// A setting out of its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--{option} is {value}: allowed {allowed}")]
pub struct OutOfRange {
    /// The command-line option, without its dashes.
    pub option: &'static str,
    /// Its value.
    pub value: String,
    /// What is allowed.
    pub allowed: &'static str,
}

/// What is allowed of each option that has a range.
const ALLOWED: [(&str, &str); 9] = [
    ("symbols", "1 to 600"),
    ("speed", "1 to 3600"),
    ("update-ms", "10 to 10000"),
    ("latency-ms", "0 to 60000"),
    ("ping-ms", "10 to 604800000 (a week)"),
    ("pong-timeout-ms", "10 to 604800000 (a week)"),
    ("max-age-ms", "10 to 604800000 (a week)"),
    (
        "intervals",
        "one or more, comma separated: 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M",
    ),
    ("start-ms", "Unix milliseconds up to the year 2100"),
];

/// Why a simulated exchange did not start.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// Settings out of their range, all of them.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Settings(Vec<OutOfRange>),
    /// The replay directory or one of its files cannot be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A replay file that is not one.
    #[error("{path}: {reason}")]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line's number.
        reason: String,
    },
    /// A fault that cannot be.
    #[error("{error}")]
    Fault {
        /// Which, and what is allowed.
        error: FaultError,
    },
    /// The address cannot be listened on.
    #[error("{address}: cannot listen: {source}")]
    Listen {
        /// The address asked for.
        address: std::net::SocketAddr,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

impl SimulatorError {
    /// Whether the user's settings or files are at fault rather than the machine.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Settings(_)
            | Self::Unreadable { .. }
            | Self::BadFile { .. }
            | Self::Fault { .. } => true,
            Self::Listen { .. } => false,
        }
    }
}

impl Default for SimulatorSettings {
    fn default() -> Self {
        Self {
            seed: 1,
            symbols: 125,
            intervals: vec![Interval::M15, Interval::H1, Interval::H4],
            speed: 1.0,
            start: None,
            replay: None,
            update_every: Duration::from_millis(250),
            latency: Duration::ZERO,
            weights: WeightTable::Measured,
            legacy_paths: LegacyPaths::PublicOnly,
            direct: Direct::Counted,
            ping_every: Duration::from_secs(180),
            pong_timeout: Duration::from_secs(600),
            max_age: Duration::from_secs(24 * 3_600),
            faults: Vec::new(),
        }
    }
}

impl SimulatorSettings {
    /// Most generated contracts.
    pub const MAX_SYMBOLS: usize = 600;
    /// Fastest clock.
    pub const MAX_SPEED: f64 = 3_600.0;

    /// What is allowed of an option, in words; empty for one without a range.
    pub fn allowed(option: &str) -> &'static str {
        let known = ALLOWED.iter().find(|(name, _)| *name == option);
        known.map_or("", |(_, allowed)| allowed)
    }

    pub(super) fn check(&self) -> Result<(), SimulatorError> {
        match self.out_of_range() {
            none if none.is_empty() => Ok(()),
            some => Err(SimulatorError::Settings(some)),
        }
    }

    /// All settings out of their ranges.
    pub fn out_of_range(&self) -> Vec<OutOfRange> {
        let ms = |time: Duration| (time.as_millis(), time.as_millis().to_string());
        let (update_ms, update) = ms(self.update_every);
        let (latency_ms, latency) = ms(self.latency);
        let start = self.start.map_or(1, TimeMs::ms);
        // A ping in no time at all would be a busy loop, a connection of no age none.
        let of_connections = [
            ("ping-ms", self.ping_every),
            ("pong-timeout-ms", self.pong_timeout),
            ("max-age-ms", self.max_age),
        ];
        let of_connections = of_connections.map(|(option, time)| {
            let (time_ms, text) = ms(time);
            (option, text, (10..=604_800_000).contains(&time_ms))
        });
        let symbols = (1..=Self::MAX_SYMBOLS).contains(&self.symbols);
        let speed = (1.0..=Self::MAX_SPEED).contains(&self.speed);
        // 1 ms after the epoch to the year 2100: what the calendar and the generator are tested for.
        let starts = (1..4_102_444_800_000).contains(&start);
        [
            ("symbols", self.symbols.to_string(), symbols),
            ("speed", self.speed.to_string(), speed),
            ("update-ms", update, (10..=10_000).contains(&update_ms)),
            ("latency-ms", latency, latency_ms <= 60_000),
            ("intervals", "empty".to_owned(), !self.intervals.is_empty()),
            ("start-ms", start.to_string(), starts),
        ]
        .into_iter()
        .chain(of_connections)
        .filter(|(_, _, is_allowed)| !is_allowed)
        .map(|(option, value, _)| OutOfRange {
            option,
            value,
            allowed: Self::allowed(option),
        })
        .collect()
    }
}
