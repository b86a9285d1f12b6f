//! The faults that change the exchange's own data: what its candles hold, what it lists, what its clock tells.
//! Only their shape and their ranges; what they do is in `alterations.rs` (candles and listing) and `skew.rs` (clock).

use serde::{Deserialize, Serialize};

use super::{FaultKind, Scope};
use crate::market::Symbol;

/// A month: nothing is revised later, announced earlier or told further off.
const LONGEST_MS: i64 = 30 * 86_400_000;
/// Candles of a contract that one fault counts off: ten weeks of minutes.
const MOST_CANDLES: u64 = 100_000;
/// Prices and turnovers that keep their digits within 64 bits.
const MOST_QUOTE: f64 = 1e12;

/// A fault in the candles themselves. All but `RestHole` hold on the stream, in REST and in the truth alike; the scope's
/// `interval` (1m if none), its times and its share say which candles: those that open from `from_ms` to `to_ms`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum CandleFault {
    /// A closed candle gets another close: REST and truth tell it from `delay_ms` (exchange time) after its end.
    Revise {
        /// Exchange time after the candle's end.
        delay_ms: i64,
        /// How far the close moves; at least a tick.
        #[serde(default = "half")]
        percent: f64,
    },
    /// The candles are nowhere, for ever; longer candles are made of what is left.
    Hole {},
    /// REST leaves the rows out of the first `answers` answers that would hold them.
    RestHole {
        /// How many answers, for each candle.
        #[serde(default = "one")]
        answers: u32,
    },
    /// Nobody trades: open, high, low and close are the last price, volume and trades are 0, closes still come.
    ZeroVolume {},
    /// All numbers of a contract have other digits, those of its past too.
    ExtremeDigits {
        /// Which.
        digits: ExtremeDigits,
    },
}

/// What numbers look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExtremeDigits {
    /// Prices of a few units of the eighth decimal (`0.00000001`), volumes as much larger.
    Tiny,
    /// Prices and volumes of 17 digits.
    Long,
}

/// A fault in what is listed. It begins at `from_ms` (now if none); the scope's `symbol` says whose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum UniverseFault {
    /// The status turns to SETTLING and the delivery date is past; flat closes go on, nothing else.
    Delist {},
    /// A contract that was not there: PENDING_TRADING, then TRADING.
    List {
        /// Exchange time between its announcement and its trading.
        #[serde(default)]
        pending_ms: i64,
        /// Candles of the scope's interval (1m if none) it has already when it begins to trade.
        #[serde(default)]
        history: u32,
        /// Its usual price in the quote asset.
        #[serde(default = "one_quote")]
        price: f64,
        /// Its usual turnover of 24 hours in the quote asset.
        #[serde(default = "usual_turnover")]
        quote_volume: f64,
        /// `PERPETUAL`, `TRADIFI_PERPETUAL`, `CURRENT_QUARTER`, or a word nobody knows.
        #[serde(default = "perpetual")]
        contract_type: String,
        /// `COIN`, `EQUITY`, or a word nobody knows.
        #[serde(default = "coin")]
        underlying: String,
        /// Whose all-market rows it is in.
        #[serde(default)]
        margin: Margin,
    },
    /// The contract settles and goes on under another name, with a history that begins there.
    Rename {
        /// The new name.
        to: String,
    },
    /// The contract has this status; not traded unless it is TRADING.
    Status {
        /// The exchange's word, or one nobody knows.
        status: String,
    },
    /// The contract's row has this contract type; it is traded as before.
    ContractType {
        /// The exchange's word, or one nobody knows.
        contract_type: String,
    },
    /// The contract's row in exchangeInfo is broken.
    MalformedRow {
        /// How.
        #[serde(default)]
        broken: BrokenRow,
    },
    /// The contract's turnover of 24 hours as the ticker tells it; its candles stay.
    Turnover {
        /// In the quote asset.
        quote_volume: f64,
    },
}

/// What a contract is margined in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Margin {
    /// USD-M: listed here, `st` 1.
    #[default]
    Usd,
    /// COIN-M: only in the all-market streams, with `st` 2.
    Coin,
}

/// How a row of exchangeInfo is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BrokenRow {
    /// It has no name.
    #[default]
    NoSymbol,
    /// Its status is a number, its delivery date a text.
    WrongTypes,
    /// It is no object.
    NotAnObject,
}

/// A fault in what the exchange tells of its time: `/time`, `serverTime` of exchangeInfo and `E` of events. Candles close,
/// contracts change and weights are counted by the true time: the matching engine has its own clock, those who tell
/// have another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClockFault {
    /// It tells a time so far off (ahead: positive) while this is in force.
    Offset {
        /// Exchange time.
        offset_ms: i64,
    },
    /// It runs too fast (positive) or too slow, from `from_ms` on; right again when this is over.
    Drift {
        /// Millionths: 1,000 is 1 ms a second.
        ppm: f64,
    },
    /// It jumps at `from_ms` (now if none) and stays off.
    Step {
        /// How far ahead.
        step_ms: i64,
    },
}

const fn half() -> f64 {
    0.5
}

const fn one() -> u32 {
    1
}

const fn one_quote() -> f64 {
    1.0
}

const fn usual_turnover() -> f64 {
    1e8
}

fn perpetual() -> String {
    "PERPETUAL".into()
}

fn coin() -> String {
    "COIN".into()
}

impl CandleFault {
    pub(super) fn check(&self, scope: &Scope) -> Result<(), String> {
        if let Some(count) = scope.count.filter(|count| *count > MOST_CANDLES) {
            return Err(format!("`count` is {count}: allowed 1 to {MOST_CANDLES}"));
        }
        match self {
            Self::Revise { delay_ms, percent } => {
                whole("delay_ms", *delay_ms, 1, LONGEST_MS)?;
                number("percent", *percent, -99.0, 1_000.0)
            }
            Self::RestHole { answers } => whole("answers", i64::from(*answers), 1, 1_000_000),
            Self::ExtremeDigits { .. } if has_choice(scope) || has_times(scope) || scope.interval.is_some() => {
                Err("it is about all candles of a contract, those of its past too: its scope is `symbol`".to_owned())
            }
            Self::Hole {} | Self::ZeroVolume {} | Self::ExtremeDigits { .. } => Ok(()),
        }
    }
}

impl UniverseFault {
    pub(super) fn check(&self, scope: &Scope) -> Result<(), String> {
        if has_choice(scope) {
            return Err("`share` and `count` mean nothing here: it begins once".to_owned());
        }
        let names_one = matches!(
            self,
            Self::Delist {} | Self::List { .. } | Self::Rename { .. }
        );
        if names_one && scope.symbol.is_none() {
            return Err("`symbol` is missing: whose?".to_owned());
        }
        if scope.interval.is_some() && !matches!(self, Self::List { .. }) {
            return Err("`interval` means nothing here: it is about a contract".to_owned());
        }
        let ends = scope.to_ms.is_some() || scope.for_ms.is_some();
        if ends && matches!(self, Self::List { .. } | Self::Rename { .. }) {
            return Err(
                "`to_ms` and `for_ms` mean nothing here: what is listed stays so, or is delisted"
                    .to_owned(),
            );
        }
        match self {
            Self::List {
                pending_ms,
                history,
                price,
                quote_volume,
                contract_type,
                underlying,
                margin: _,
            } => {
                whole("pending_ms", *pending_ms, 0, LONGEST_MS)?;
                whole("history", i64::from(*history), 0, 5_000)?;
                number("price", *price, 1e-6, 1e6)?;
                number("quote_volume", *quote_volume, 0.0, MOST_QUOTE)?;
                word("contract_type", contract_type)?;
                word("underlying", underlying)
            }
            Self::Rename { to } => Symbol::parse(to)
                .map(drop)
                .map_err(|error| format!("`to`: {error}")),
            Self::Status { status } => word("status", status),
            Self::ContractType { contract_type } => word("contract_type", contract_type),
            Self::Turnover { quote_volume } => {
                number("quote_volume", *quote_volume, 0.0, MOST_QUOTE)
            }
            Self::Delist {} | Self::MalformedRow { .. } => Ok(()),
        }
    }
}

impl ClockFault {
    pub(super) fn check(&self, scope: &Scope) -> Result<(), String> {
        if has_choice(scope) {
            return Err(
                "`share` and `count` mean nothing here: a clock is off or it is not".to_owned(),
            );
        }
        match self {
            Self::Offset { offset_ms } => whole("offset_ms", *offset_ms, -LONGEST_MS, LONGEST_MS),
            Self::Drift { ppm } => number("ppm", *ppm, -500_000.0, 500_000.0),
            Self::Step { .. } if scope.to_ms.is_some() || scope.for_ms.is_some() => {
                Err("`to_ms` and `for_ms` mean nothing here: it stays off; \"clock.offset\" is off for a time".to_owned())
            }
            Self::Step { step_ms } => whole("step_ms", *step_ms, -LONGEST_MS, LONGEST_MS),
        }
    }
}

const fn has_choice(scope: &Scope) -> bool {
    scope.share.is_some() || scope.count.is_some()
}

const fn has_times(scope: &Scope) -> bool {
    scope.from_ms.is_some()
        || scope.to_ms.is_some()
        || scope.after_ms.is_some()
        || scope.for_ms.is_some()
}

fn whole(field: &str, value: i64, least: i64, most: i64) -> Result<(), String> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(format!("`{field}` is {value}: allowed {least} to {most}"))
}

fn number(field: &str, value: f64, least: f64, most: f64) -> Result<(), String> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(format!("`{field}` is {value}: allowed {least} to {most}"))
}

/// A word the exchange could have written.
fn word(field: &str, text: &str) -> Result<(), String> {
    let is_one = !text.is_empty()
        && text.len() <= 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_one {
        return Ok(());
    }
    Err(format!(
        "`{field}` is \"{text}\": allowed 1 to 64 letters, digits and _"
    ))
}

impl From<CandleFault> for FaultKind {
    fn from(fault: CandleFault) -> Self {
        Self::Candle(fault)
    }
}

impl From<UniverseFault> for FaultKind {
    fn from(fault: UniverseFault) -> Self {
        Self::Universe(fault)
    }
}

impl From<ClockFault> for FaultKind {
    fn from(fault: ClockFault) -> Self {
        Self::Clock(fault)
    }
}
