//! Streams and their names. A name is made of the contract's name in lower case (ASCII letters only) and the interval
//! exactly as the exchange writes it: `1M` is a month. Whether a series is watched is asked of the series' state.

use crate::market::{Interval, SeriesKey, Symbol};

/// What one can subscribe to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Topic {
    /// `<symbol>@signal_<interval>`
    Signal(SeriesKey),
    /// `!signal_<interval>@arr`
    SignalAll(Interval),
    /// `<symbol>@hama_<interval>`
    Hama(SeriesKey),
    /// `!hama_<interval>@arr`
    HamaAll(Interval),
    /// `!status`
    Status,
}

impl Topic {
    /// The topic called `name`; none when no stream is ever called so.
    pub(super) fn parse(name: &str) -> Option<Self> {
        if name == STATUS {
            return Some(Self::Status);
        }
        if let Some(rest) = name.strip_prefix('!') {
            let (kind, interval) = rest.strip_suffix("@arr")?.split_once('_')?;
            let interval = Interval::parse(interval).ok()?;
            return match kind {
                "signal" => Some(Self::SignalAll(interval)),
                "hama" => Some(Self::HamaAll(interval)),
                _ => None,
            };
        }
        let (symbol, rest) = name.rsplit_once('@')?;
        if symbol.contains(|c: char| c.is_ascii_uppercase()) {
            return None;
        }
        let (kind, interval) = rest.split_once('_')?;
        let symbol = Symbol::parse_any_case(symbol).ok()?;
        let key = SeriesKey::new(symbol, Interval::parse(interval).ok()?);
        match kind {
            "signal" => Some(Self::Signal(key)),
            "hama" => Some(Self::Hama(key)),
            _ => None,
        }
    }

    /// Its name.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Signal(key) => format!("{}@signal_{}", key.symbol.lower(), key.interval),
            Self::SignalAll(interval) => format!("!signal_{interval}@arr"),
            Self::Hama(key) => format!("{}@hama_{}", key.symbol.lower(), key.interval),
            Self::HamaAll(interval) => format!("!hama_{interval}@arr"),
            Self::Status => STATUS.into(),
        }
    }

    /// The interval its series have.
    pub(super) const fn interval(&self) -> Option<Interval> {
        match self {
            Self::Signal(key) | Self::Hama(key) => Some(key.interval),
            Self::SignalAll(interval) | Self::HamaAll(interval) => Some(*interval),
            Self::Status => None,
        }
    }

    /// The one series it is about.
    pub(super) const fn series(&self) -> Option<&SeriesKey> {
        match self {
            Self::Signal(key) | Self::Hama(key) => Some(key),
            Self::SignalAll(_) | Self::HamaAll(_) | Self::Status => None,
        }
    }

    /// Whether it carries numbered changes.
    pub(super) const fn is_numbered(&self) -> bool {
        match self {
            Self::Signal(_) | Self::SignalAll(_) => true,
            Self::Hama(_) | Self::HamaAll(_) | Self::Status => false,
        }
    }

    /// Whether its items come in arrays.
    pub(super) const fn is_array(&self) -> bool {
        match self {
            Self::SignalAll(_) | Self::HamaAll(_) => true,
            Self::Signal(_) | Self::Hama(_) | Self::Status => false,
        }
    }

    /// Whether the series belongs to it.
    pub(super) fn matches(&self, key: &SeriesKey) -> bool {
        match self {
            Self::Signal(own) | Self::Hama(own) => own == key,
            Self::SignalAll(interval) | Self::HamaAll(interval) => *interval == key.interval,
            Self::Status => false,
        }
    }
}

/// Name of the heartbeat's stream.
pub(super) const STATUS: &str = "!status";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for name in [
            "btcusdt@signal_15m",
            "!signal_1h@arr",
            "1000pepeusdt@hama_1M",
            "!hama_1M@arr",
            "币安人生usdt@signal_15m",
            "btcusdt_261225@hama_1m",
            "!status",
        ] {
            assert_eq!(Topic::parse(name).unwrap().name(), name);
        }
    }

    #[test]
    fn upper_case_and_everything_unknown_is_no_stream() {
        for name in [
            "",
            "!",
            "BTCUSDT@signal_15m",
            "btcusdt@SIGNAL_15m",
            "btcusdt@signal_15M",
            "btcusdt@signal",
            "btcusdt@kline_15m",
            "btc-usdt@signal_15m",
            "@signal_15m",
            "!Status",
            "!signal_15m",
            "!signal_15m@ARR",
            "!kline_15m@arr",
            "!signal_7m@arr",
            "btcusdt@signal_15m ",
        ] {
            assert_eq!(Topic::parse(name), None, "{name}");
        }
    }
}
