//! What an exchange says of its contracts, its rankings and its time. Enum words that nobody knew when this was written
//! read as `Other`: a new kind of contract must not hide the known ones (hazard 33).

use std::time::Duration;

use crate::market::{Symbol, TimeMs};

/// One contract as listed.
#[derive(Debug, Clone, PartialEq)]
pub struct Contract {
    /// Its name.
    pub symbol: Symbol,
    /// What is traded: `BTC`.
    pub base_asset: String,
    /// What it is priced in: `USDT`.
    pub quote_asset: String,
    /// Whether it has an end.
    pub kind: ContractKind,
    /// Whether it trades.
    pub status: ContractStatus,
    /// What profit is paid in; differs from the quote asset where the contract is not linear.
    pub margin_asset: String,
    /// Smallest price step, in the quote asset, from the price filter: the exchange's `pricePrecision` is not the
    /// tick (hazard 28). `None` when it lists none.
    pub tick_size: Option<f64>,
    /// When trading began or will begin.
    pub onboard_time: TimeMs,
}

/// Kind of a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContractKind {
    /// A perpetual of the ordinary kind.
    Perpetual,
    /// Anything else: dated contracts, stocks and metals, kinds not yet known.
    Other,
}

/// Status of a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContractStatus {
    /// It trades.
    Trading,
    /// It is announced and will trade.
    Pending,
    /// It no longer trades: it is settling, delivered, closed, or on its way there.
    Ended,
    /// A state nobody knew when this was written.
    Other,
}

/// The last 24 hours of a contract.
#[derive(Debug, Clone, PartialEq)]
pub struct Ticker {
    /// The contract.
    pub symbol: Symbol,
    /// Last price, in the quote asset.
    pub last_price: f64,
    /// Change of the price over 24 hours, in percent.
    pub change_pct_24h: f64,
    /// Turnover over 24 hours, in the quote asset.
    pub quote_volume_24h: f64,
}

/// What the exchange answered when asked for the time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ServerTime {
    /// The exchange's time when it answered.
    pub time: TimeMs,
    /// How many times as fast as ours its clock runs; 1 on a real exchange.
    pub speed: f64,
    /// Whether it says of itself that it is simulated.
    pub simulated: bool,
    /// From sending the question to the whole answer, in our time.
    pub round_trip: Duration,
}

/// Rows of a listing, and how many could not be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows<T> {
    /// The rows that could be read, in the exchange's order.
    pub rows: Vec<T>,
    /// How many were left out because they could not.
    pub skipped: usize,
}
