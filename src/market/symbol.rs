//! Names of contracts and of series.
//! A `Symbol` is made only from text an exchange could have sent, so every later room may put it into a stream name,
//! a Redis key or a URL as it stands (a URL still percent-encodes). Only ASCII letters change case (hazard 27).
//! Whether a contract is watched is the engine's question, not ours.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Interval;

/// A contract's name as the exchange writes it: `BTCUSDT`, `1000PEPEUSDT`, `币安人生USDT`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(Arc<str>);

/// Text that is no contract's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no symbol: 1 to 64 bytes of letters, digits and '_', ASCII letters in upper case"
)]
pub struct BadSymbol(String);

impl Symbol {
    const MAX_BYTES: usize = 64;

    /// The only way in: 1 to 64 bytes of letters, digits and `_`, in any script, ASCII letters in upper case.
    ///
    /// # Errors
    /// `BadSymbol` with the text (cut to its first 64 characters) when it is anything else.
    pub fn parse(text: &str) -> Result<Self, BadSymbol> {
        let fits = !text.is_empty()
            && text.len() <= Self::MAX_BYTES
            && text
                .chars()
                .all(|c| (c.is_alphanumeric() || c == '_') && !c.is_ascii_lowercase());
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(BadSymbol(text.chars().take(Self::MAX_BYTES).collect()))
        }
    }

    /// As `parse`, with ASCII letters of either case: what people type.
    ///
    /// # Errors
    /// As `parse`.
    pub fn parse_any_case(text: &str) -> Result<Self, BadSymbol> {
        Self::parse(&text.to_ascii_uppercase())
    }

    /// The name as the exchange writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as stream names carry it: ASCII letters in lower case, everything else as it is.
    pub fn lower(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Symbol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Symbol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// One candle series: a contract at an interval. Ordered by interval, then symbol, as bursts of changes are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeriesKey {
    /// Length of the series' candles.
    pub interval: Interval,
    /// The contract.
    pub symbol: Symbol,
}

impl SeriesKey {
    /// The series of `symbol` at `interval`.
    pub fn new(symbol: Symbol, interval: Interval) -> Self {
        Self { interval, symbol }
    }
}

impl fmt::Display for SeriesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.symbol, self.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h27_names_of_any_script_and_digits_first_are_symbols() {
        for name in ["BTCUSDT", "1000PEPEUSDT", "币安人生USDT", "BTCUSDT_261225"] {
            assert_eq!(Symbol::parse(name).unwrap().as_str(), name);
        }
        assert_eq!(
            Symbol::parse_any_case("btcusdt").unwrap().as_str(),
            "BTCUSDT"
        );
        assert_eq!(
            Symbol::parse("币安人生USDT").unwrap().lower(),
            "币安人生usdt"
        );
    }

    #[test]
    fn text_no_exchange_would_send_is_refused() {
        for text in [
            "",
            "btcusdt",
            "BTC-USDT",
            "BTC USDT",
            "BTC/USDT",
            "A\n",
            "*",
            &"A".repeat(65),
        ] {
            assert!(Symbol::parse(text).is_err(), "{text:?}");
        }
    }
}
