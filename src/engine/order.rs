//! What the engine can be asked to do, and what it answers. All but the way back (`oneshot`) are plain values that can
//! be carried between processes.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::chart::Chart;
use super::sweep::SweepFigures;
use crate::market::{SeriesKey, Symbol};

/// What `Order::Start` asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StartOrder {
    /// Watch exactly these; none: what the settings say.
    pub symbols: Option<Vec<Symbol>>,
    /// Sweep so often; none: as before.
    pub sweep_every: Option<Duration>,
}

/// How the engine works after it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Contracts it watches.
    pub symbols: usize,
    /// From the start of one sweep to that of the next.
    pub sweep_every: Duration,
}

/// One thing asked of the engine, and where the answer goes.
#[derive(Debug)]
pub enum Order {
    /// The last candles of a series.
    Chart {
        /// Which series.
        key: SeriesKey,
        /// At most so many candles.
        limit: usize,
        /// None when the series is not watched.
        answer: oneshot::Sender<Option<Chart>>,
    },
    /// Work, from a stop or with another watch list.
    Start {
        /// How.
        order: StartOrder,
        /// Once it works so.
        answer: oneshot::Sender<Result<Started, OrderError>>,
    },
    /// Say nothing more until `Start`.
    Stop {
        /// Once it is quiet.
        answer: oneshot::Sender<Result<(), OrderError>>,
    },
    /// Read a series' newest closed candles anew.
    Refresh {
        /// Which series.
        key: SeriesKey,
        /// Once they are taken in.
        answer: oneshot::Sender<Result<(), OrderError>>,
    },
}

/// Why an order was not carried out. It has changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum OrderError {
    /// Names the exchange does not trade.
    #[error("the exchange has no trading perpetual called {}; nothing was changed", names(.0))]
    Unknown(Vec<Symbol>),
    /// A series that is not watched.
    #[error("{0} is not watched; see /api/v1/symbols")]
    NotWatched(SeriesKey),
    /// A series whose history is still being read.
    #[error("{0} is warming up: its candles are being read anyway; try again in a few seconds")]
    Warming(SeriesKey),
    /// The exchange did not answer, or not usably.
    #[error("{0}; try again in a few seconds")]
    Unreadable(String),
    /// This process was told to have no engine.
    #[error("there is no engine to start here: HAMA_SCHEDULER_ENABLED=false")]
    Disabled,
    /// No answer in time: the engine is stopping, or far behind.
    #[error("the engine did not answer; try again in a few seconds")]
    Gone,
}

/// Whether the engine works, and how its sweeps go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SchedulerInfo {
    /// False: the operator stopped it.
    pub running: bool,
    /// Contracts it watches.
    pub symbols: usize,
    /// From the start of one sweep to that of the next.
    pub sweep_every: Duration,
    /// The sweeps.
    pub sweep: SweepFigures,
}

/// Names for people: `FOOUSDT, BARUSDT`.
pub(super) fn names(symbols: &[Symbol]) -> String {
    let names: Vec<_> = symbols.iter().map(Symbol::as_str).collect();
    names.join(", ")
}
