//! What other rooms see of the engine and may ask of it. What they see is published by swap and costs it nothing; what
//! they ask goes through one bounded queue, and every asker has a deadline.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use super::chart::Chart;
use super::figures::{AuditFigures, CloseDelays, StreamFigures};
use super::order::{Order, OrderError, SchedulerInfo, StartOrder, Started};
use super::settings::EngineSettings;
use crate::clock::ExchangeClock;
use crate::exchange::{Refusal, RefusedRows};
use crate::market::{Interval, SeriesKey, Symbol, TimeMs};

/// How long an order may take before the asker gives up.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The same for a start, which may have to read the exchange's listing.
const START_WITHIN: Duration = Duration::from_secs(10);

/// A watched contract and its last 24 hours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Universe {
    /// Watched contracts, by symbol.
    pub contracts: Vec<WatchedContract>,
    /// Intervals followed of each; the first is the primary one.
    pub intervals: Vec<Interval>,
    /// When the 24 h figures were read, exchange time.
    pub updated_at: Option<TimeMs>,
}

impl Universe {
    /// What is known of it before the exchange was asked.
    pub(super) fn none_yet(settings: &EngineSettings) -> Arc<Self> {
        Arc::new(Self {
            intervals: settings.intervals.clone(),
            ..Self::default()
        })
    }

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
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
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
    /// Candles refused as impossible, and messages of the streams that could not be read.
    pub bad_candles: u64,
    /// The refused candles, by what was wrong.
    pub refused: RefusedRows,
    /// Closed candles the streams sent more than once.
    pub duplicates: u64,
    /// Candles that had come from no source half a minute after their close.
    pub late_closes: u64,
    /// How long after their close candles became history.
    pub close_delays: CloseDelays,
    /// What came of holding known candles against REST.
    pub audit: AuditFigures,
    /// Time all series together were dirty, real milliseconds.
    pub dirty_ms: u64,
    /// Whether the exchange does not serve this address.
    #[serde(default)]
    pub refusal: Option<Refusal>,
    /// What the stream connections have met.
    #[serde(default)]
    pub streams: StreamFigures,
}

/// Reads and asks; clones share one engine.
#[derive(Debug, Clone)]
pub struct EngineHandle {
    universe: watch::Receiver<Arc<Universe>>,
    info: watch::Receiver<EngineInfo>,
    scheduler: watch::Receiver<SchedulerInfo>,
    orders: mpsc::Sender<Order>,
    clock: ExchangeClock,
}

impl EngineHandle {
    /// A handle on whatever publishes to these channels and carries out these orders.
    pub fn new(
        universe: watch::Receiver<Arc<Universe>>,
        info: watch::Receiver<EngineInfo>,
        scheduler: watch::Receiver<SchedulerInfo>,
        orders: mpsc::Sender<Order>,
        clock: ExchangeClock,
    ) -> Self {
        Self {
            universe,
            info,
            scheduler,
            orders,
            clock,
        }
    }

    /// The same engine, its orders taken by another.
    pub(super) fn with_orders(&self, orders: mpsc::Sender<Order>) -> Self {
        Self {
            orders,
            ..self.clone()
        }
    }

    /// Passes an order on; one the engine no longer takes is dropped, which its asker sees.
    pub(super) async fn pass(&self, order: Order) {
        let _ = tokio::time::timeout(ANSWER_WITHIN, self.orders.send(order)).await;
    }

    /// Follows the watch list.
    pub(super) fn follow_universe(&self) -> watch::Receiver<Arc<Universe>> {
        self.universe.clone()
    }

    /// Follows whether it works.
    pub(super) fn follow_scheduler(&self) -> watch::Receiver<SchedulerInfo> {
        self.scheduler.clone()
    }

    /// The watch list as it stands.
    pub fn universe(&self) -> Arc<Universe> {
        self.universe.borrow().clone()
    }

    /// The engine's figures as last published.
    pub fn info(&self) -> EngineInfo {
        self.info.borrow().clone()
    }

    /// Whether it works, and how its sweeps go, as last published.
    pub fn scheduler(&self) -> SchedulerInfo {
        *self.scheduler.borrow()
    }

    /// The exchange's clock.
    pub fn clock(&self) -> &ExchangeClock {
        &self.clock
    }

    /// The last `limit` candles of a series with their HAMA values; none when it is not watched.
    ///
    /// # Errors
    /// `OrderError::Gone` when no answer comes within 5 s.
    pub async fn chart(&self, key: SeriesKey, limit: usize) -> Result<Option<Chart>, OrderError> {
        let order = |answer| Order::Chart { key, limit, answer };
        self.ask(order, ANSWER_WITHIN).await
    }

    /// Has the engine work, from a stop or with another watch list. Starting what works is no error.
    ///
    /// # Errors
    /// `OrderError`: unknown names, or the exchange's listing cannot be read; `Gone` when that takes longer than 10 s.
    pub async fn start(&self, order: StartOrder) -> Result<Started, OrderError> {
        let order = |answer| Order::Start { order, answer };
        self.ask(order, START_WITHIN).await?
    }

    /// Has the engine say nothing more until it is started. Stopping what is stopped is no error.
    ///
    /// # Errors
    /// `OrderError`; `Gone` when no answer comes within 5 s.
    pub async fn stop(&self) -> Result<(), OrderError> {
        self.ask(|answer| Order::Stop { answer }, ANSWER_WITHIN)
            .await?
    }

    /// Has the newest closed candles of a series read anew; they are taken in when this returns.
    ///
    /// # Errors
    /// `OrderError`: not watched, warming up, or the candles cannot be read; `Gone` when no answer comes within 5 s.
    pub async fn refresh(&self, key: SeriesKey) -> Result<(), OrderError> {
        let order = |answer| Order::Refresh { key, answer };
        self.ask(order, ANSWER_WITHIN).await?
    }

    async fn ask<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<T>) -> Order,
        within: Duration,
    ) -> Result<T, OrderError> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.orders
                .send(order(answer))
                .await
                .map_err(|_| OrderError::Gone)?;
            answered.await.map_err(|_| OrderError::Gone)
        };
        tokio::time::timeout(within, asked)
            .await
            .map_err(|_| OrderError::Gone)?
    }
}
