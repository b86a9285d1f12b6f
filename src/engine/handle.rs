//! What other rooms may ask of the engine: the watch list, its own state, a chart. All but the chart is published by
//! swap and costs the engine nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::chart::Chart;
use crate::clock::ExchangeClock;
use crate::market::{Interval, SeriesKey, Symbol, TimeMs};

/// How long a question may take before the asker gives up.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A watched contract and its last 24 hours.
#[derive(Debug, Clone, PartialEq)]
pub struct WatchedContract {
    /// The contract.
    pub symbol: Symbol,
    /// What is traded.
    pub base_asset: String,
    /// What it is priced in.
    pub quote_asset: String,
    /// Rank by 24 h quote volume, from 1; none for an explicit list.
    pub rank: Option<usize>,
    /// Smallest step of its price.
    pub tick_size: Option<f64>,
    /// 24 h turnover in the quote asset.
    pub quote_volume_24h: Option<f64>,
    /// 24 h change of the price, percent.
    pub change_pct_24h: Option<f64>,
}

/// The watch list.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Universe {
    /// Watched contracts, by symbol.
    pub contracts: Vec<WatchedContract>,
    /// Intervals followed of each; the first is the primary one.
    pub intervals: Vec<Interval>,
    /// When the 24 h figures were read, exchange time.
    pub updated_at: Option<TimeMs>,
}

impl Universe {
    /// The contract called `symbol`, when it is watched.
    pub fn contract(&self, symbol: &Symbol) -> Option<&WatchedContract> {
        let at = self
            .contracts
            .binary_search_by(|contract| contract.symbol.cmp(symbol))
            .ok()?;
        self.contracts.get(at)
    }
}

/// The engine's own figures, for status and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct EngineInfo {
    /// Request weight spent in the exchange's present minute.
    pub weight_used: u32,
    /// What the exchange allows in a minute.
    pub weight_limit: u32,
    /// Stream connections that are up.
    pub connections_up: usize,
    /// Stream connections there should be.
    pub connections_wanted: usize,
    /// Closed candles taken from the streams.
    pub closes_from_stream: u64,
    /// Closed candles taken from REST after the start.
    pub closes_from_rest: u64,
    /// Holes found between candles.
    pub holes_opened: u64,
    /// Holes filled or bridged.
    pub holes_closed: u64,
    /// Closed candles the exchange changed afterwards.
    pub corrections: u64,
    /// Candles refused as impossible.
    pub bad_candles: u64,
}

/// A question about one series.
#[derive(Debug)]
pub struct SeriesQuery {
    /// Which series.
    pub key: SeriesKey,
    /// At most so many candles.
    pub limit: usize,
    /// None when the series is not watched.
    pub answer: oneshot::Sender<Option<Chart>>,
}

/// The engine did not answer in time: it is stopping, or far behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the engine did not answer; try again in a few seconds")]
pub struct EngineGone;

/// Reads and asks; clones share one engine.
#[derive(Debug, Clone)]
pub struct EngineHandle {
    pub(super) universe: watch::Receiver<Arc<Universe>>,
    pub(super) info: watch::Receiver<EngineInfo>,
    pub(super) queries: mpsc::Sender<SeriesQuery>,
    pub(super) clock: ExchangeClock,
}

impl EngineHandle {
    /// A handle on whatever publishes to these channels and answers these queries.
    pub fn new(
        universe: watch::Receiver<Arc<Universe>>,
        info: watch::Receiver<EngineInfo>,
        queries: mpsc::Sender<SeriesQuery>,
        clock: ExchangeClock,
    ) -> Self {
        Self {
            universe,
            info,
            queries,
            clock,
        }
    }

    /// The watch list as it stands.
    pub fn universe(&self) -> Arc<Universe> {
        self.universe.borrow().clone()
    }

    /// The engine's figures as last published.
    pub fn info(&self) -> EngineInfo {
        *self.info.borrow()
    }

    /// The exchange's clock.
    pub fn clock(&self) -> &ExchangeClock {
        &self.clock
    }

    /// The last `limit` candles of a series with their HAMA values; none when it is not watched.
    ///
    /// # Errors
    /// `EngineGone` when no answer comes within 5 s.
    pub async fn chart(&self, key: SeriesKey, limit: usize) -> Result<Option<Chart>, EngineGone> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.queries
                .send(SeriesQuery { key, limit, answer })
                .await
                .map_err(|_| EngineGone)?;
            answered.await.map_err(|_| EngineGone)
        };
        tokio::time::timeout(ANSWER_WITHIN, asked)
            .await
            .map_err(|_| EngineGone)?
    }
}
