//! What the engine needs of an exchange, in words of no exchange: contracts, rankings, closed candles, its time,
//! and one queue of what the streams say. Rows are checked here, so that no later room meets an impossible candle.
//! Whether candles are contiguous, what to read again and when is the engine's; nothing here stores a candle.

pub mod binance;
mod contract;
mod error;
mod feed;
mod proxy;
mod queue;
mod refusal;
mod refused;
mod request;
mod way;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

pub use self::contract::{Contract, ContractKind, ContractStatus, Rows, ServerTime, Ticker};
pub use self::error::{Advice, BadRow, Cause, ExchangeError};
pub use self::feed::{ConnectionId, FeedEvent, StreamCounts};
pub use self::proxy::{BadProxy, Proxy, ProxyFault};
pub use self::queue::{CLOSED_MAX, FeedQueue, FeedSender, LINKS_MAX, Offered, feed_queue};
pub use self::refusal::{Refusal, Side};
pub use self::refused::{RefusedCounts, RefusedRows};
pub use self::request::{CandleRequest, LIMIT_MAX, Proof};
pub use self::way::WayError;

use self::binance::Binance;
use crate::clock::Mono;
use crate::market::{Candle, SeriesKey, TimeMs};
use crate::tasks::Tasks;

/// An exchange; clones share one budget, one connection pool, one clock.
#[derive(Debug, Clone)]
pub enum Exchange {
    /// Binance USD-M futures, or a server that speaks its protocol.
    Binance(Binance),
}

impl Exchange {
    /// Asks the exchange for its time. The caller sets the `ExchangeClock` by it.
    ///
    /// # Errors
    /// As `candles`.
    pub async fn server_time(&self) -> Result<ServerTime, ExchangeError> {
        match self {
            Self::Binance(binance) => binance.server_time().await,
        }
    }

    /// Every contract the exchange lists, of every kind and status; which are wanted is the caller's question.
    ///
    /// # Errors
    /// As `candles`; a single unreadable row is no error, it is counted in `Rows::skipped` (hazard 33).
    pub async fn contracts(&self) -> Result<Rows<Contract>, ExchangeError> {
        match self {
            Self::Binance(binance) => binance.contracts().await,
        }
    }

    /// Price and turnover of the last 24 hours of every contract that trades: for ranking.
    ///
    /// # Errors
    /// As `contracts`.
    pub async fn tickers(&self) -> Result<Rows<Ticker>, ExchangeError> {
        match self {
            Self::Binance(binance) => binance.tickers().await,
        }
    }

    /// Closed candles, oldest first, each checked: possible prices, on the grid, strictly ascending, within what was
    /// asked. There may be holes and there may be fewer than asked (a young contract, a lagging exchange).
    ///
    /// # Errors
    /// `ExchangeError`, whose `advice()` says what to do; one bad row rejects the whole answer (hazard 32).
    pub async fn candles(&self, request: &CandleRequest) -> Result<Vec<Candle>, ExchangeError> {
        match self {
            Self::Binance(binance) => binance.candles(request).await,
        }
    }

    /// Request weight spent in the current minute of exchange time, by us or by others behind the same address.
    pub fn weight_used(&self) -> u32 {
        match self {
            Self::Binance(binance) => binance.weight_used(),
        }
    }

    /// Rows of REST answers that were refused, by kind; the streams count theirs in `StreamCounts`.
    pub fn refused_rows(&self) -> RefusedRows {
        match self {
            Self::Binance(binance) => binance.refused_rows(),
        }
    }

    /// Until when the exchange told us to send nothing (429, 418), in exchange time; `None` when it did not.
    pub fn held_until(&self) -> Option<TimeMs> {
        match self {
            Self::Binance(binance) => binance.held_until(),
        }
    }

    /// As `held_until`, by our own clock.
    pub fn quiet_until(&self) -> Option<Mono> {
        match self {
            Self::Binance(binance) => binance.quiet_until(),
        }
    }

    /// Sends nothing for so long: so the exchange wanted it before this start.
    pub fn hold_for(&self, quiet: Duration) {
        match self {
            Self::Binance(binance) => binance.hold_for(quiet),
        }
    }

    /// The refusal that stands while the exchange does not serve this address (403, 451): that of requests, else of streams.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Binance(binance) => binance.refusal(),
        }
    }

    /// Starts the streams: tasks that keep every series of the watched set connected and put what they hear into
    /// `feed`. Watches nothing until `Streams::set`. When `tasks` stops they close their sockets and drop `feed`.
    pub fn streams(&self, tasks: &Tasks, feed: FeedSender) -> Streams {
        match self {
            Self::Binance(binance) => binance.streams(tasks, feed),
        }
    }
}

/// The set of watched series and what their streams have met. Dropping it leaves the last set watched.
#[derive(Debug)]
pub struct Streams {
    wanted: watch::Sender<Arc<BTreeSet<SeriesKey>>>,
    counts: Arc<StreamCounts>,
}

impl Streams {
    /// Watches exactly `keys` from now on; a set given before the last one was taken up is skipped. Series that stay
    /// keep their connection. After a removal a last event of the removed series may still arrive.
    pub fn set(&self, keys: BTreeSet<SeriesKey>) {
        self.wanted.send_replace(Arc::new(keys));
    }

    /// How many connections there should be, and what they have met since the start.
    pub fn counts(&self) -> &StreamCounts {
        &self.counts
    }
}
