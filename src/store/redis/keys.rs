//! Every name in Redis: keys and channels, in one place. Operators and outside readers know them; none ever changes
//! its meaning. What the active engine must write in one step carries `{log}`, and so lies in one slot of a cluster.

use crate::market::{Interval, SeriesKey, Symbol};

/// Stream of every change and correction.
pub const CHANGES: &str = "hama:{log}:changes";
/// The lease: `<engine id> <term>`.
pub const ENGINE: &str = "hama:{log}:engine";
/// Counter of terms.
pub const TERM: &str = "hama:{log}:term";
/// Hash of the watched series: what was told of each.
pub const SERIES: &str = "hama:{log}:series";
/// String: the watch list, for hubs.
pub const UNIVERSE: &str = "hama:{log}:universe";
/// Hash: state of the scheduler that survives a takeover.
pub const SCHEDULER: &str = "hama:{log}:scheduler";
/// Sorted set of series by expiry: watched on demand.
pub const INTEREST: &str = "hama:{log}:interest";
/// Stream of orders from hubs to the active engine.
pub const COMMANDS: &str = "hama:{log}:commands";
/// Channel of changes, for outside readers.
pub const SIGNALS: &str = "hama:signals";
/// Channel of the active engine's heartbeat.
pub const BEAT: &str = "hama:beat";
/// Every symbol's channel of results.
pub const UPDATES_OF_ALL: &str = "hama:updates:*";

/// The compatible JSON of the symbol's primary interval.
pub fn analysis(symbol: &Symbol) -> String {
    format!("hama:analysis:{symbol}")
}

/// The newest result of a series.
pub fn result(series: &SeriesKey) -> String {
    format!("hama:result:{series}")
}

/// Channel of the symbol's results.
pub fn updates(symbol: &Symbol) -> String {
    format!("hama:updates:{symbol}")
}

/// String with an expiry, of one exchange's host: it wants to hear nothing until then.
pub fn quiet(host: &str) -> String {
    format!("hama:quiet:{host}")
}

/// Channel on which the hub called `id` hears the answers to its orders.
pub fn answers(id: &str) -> String {
    format!("hama:answers:{id}")
}

/// Field of a series in `SERIES`: `BTCUSDT:15m`.
pub fn field(series: &SeriesKey) -> String {
    series.to_string()
}

/// The series a field of `SERIES` is of; None when it names none.
pub fn series_of_field(field: &str) -> Option<SeriesKey> {
    let (symbol, interval) = field.rsplit_once(':')?;
    let symbol = Symbol::parse(symbol).ok()?;
    let interval = Interval::parse(interval).ok()?;
    Some(SeriesKey::new(symbol, interval))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_operators_know() {
        let symbol = Symbol::parse("BTCUSDT").unwrap();
        let series = SeriesKey::new(symbol.clone(), Interval::H1);
        assert_eq!(analysis(&symbol), "hama:analysis:BTCUSDT");
        assert_eq!(result(&series), "hama:result:BTCUSDT:1h");
        assert_eq!(updates(&symbol), "hama:updates:BTCUSDT");
        assert_eq!(answers("h1"), "hama:answers:h1");
    }

    #[test]
    fn a_field_is_read_back_or_refused() {
        let symbol = Symbol::parse("币安人生USDT").unwrap();
        for interval in Interval::ALL {
            let series = SeriesKey::new(symbol.clone(), interval);
            assert_eq!(series_of_field(&field(&series)), Some(series));
        }
        for text in ["", ":", "BTCUSDT", "BTCUSDT:15x", "btcusdt:15m", ":15m"] {
            assert_eq!(series_of_field(text), None, "{text}");
        }
    }
}
