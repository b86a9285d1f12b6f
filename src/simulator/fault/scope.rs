//! For whom and when a fault strikes. Times are the exchange's; `after_ms` and `for_ms` count from the moment at which
//! the fault is told, because who tells it over HTTP does not know the exchange's time.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::market::{Interval, Symbol, TimeMs};

/// Fields that say where.
pub(super) const ALL: [&str; 4] = ["path", "connection", "symbol", "interval"];
/// A thousand years: nobody means more, and sums stay far from the ends of the numbers.
const LONGEST_MS: i64 = 31_557_600_000_000;

/// Whom a fault strikes, and when. What is left out does not narrow it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Only where the path begins so: `/market`, `/fapi/v1/klines`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Only the stream connection of this number, as the statistics number them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<Connections>,
    /// Only this contract.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "symbol"
    )]
    pub symbol: Option<Symbol>,
    /// Only this interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
    /// The part of the opportunities that is taken, 0 to 1, by the simulator's seed: the same ones in every run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// At most so many strikes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// From this exchange time on (included).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_ms: Option<i64>,
    /// Until this exchange time (excluded).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_ms: Option<i64>,
    /// Instead of `from_ms`: so long after now, in exchange time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<i64>,
    /// Instead of `to_ms`: so long from its begin, in exchange time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<i64>,
}

/// Which stream connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// All of them.
    All,
    /// The one of this number.
    Number(u64),
}

impl Scope {
    pub(super) const FIELDS: [&'static str; 10] = [
        "path",
        "connection",
        "symbol",
        "interval",
        "share",
        "count",
        "from_ms",
        "to_ms",
        "after_ms",
        "for_ms",
    ];

    /// The fields that say where, of those that are given.
    pub(super) fn place_fields(&self) -> impl Iterator<Item = &'static str> {
        let given = [
            self.path.is_some(),
            self.connection.is_some(),
            self.symbol.is_some(),
            self.interval.is_some(),
        ];
        ALL.into_iter()
            .zip(given)
            .filter_map(|(field, given)| given.then_some(field))
    }

    /// What is out of its range.
    pub(super) fn check(&self) -> Result<(), String> {
        if self
            .path
            .as_ref()
            .is_some_and(|path| !path.starts_with('/'))
        {
            return Err("`path` begins with a slash: \"/market\", \"/fapi/v1/klines\"".to_owned());
        }
        if self
            .share
            .is_some_and(|share| !(0.0..=1.0).contains(&share))
        {
            return Err(format!(
                "`share` is {}: allowed 0 to 1",
                self.share.unwrap_or(0.0)
            ));
        }
        if self.count == Some(0) {
            return Err("`count` is 0: allowed 1 and more".to_owned());
        }
        let spans = [
            ("from_ms", self.from_ms),
            ("to_ms", self.to_ms),
            ("after_ms", self.after_ms),
            ("for_ms", self.for_ms),
        ];
        for (field, value) in spans {
            if let Some(value) = value.filter(|value| !(0..=LONGEST_MS).contains(value)) {
                return Err(format!("`{field}` is {value}: allowed 0 to {LONGEST_MS}"));
            }
        }
        if self.from_ms.is_some() && self.after_ms.is_some() {
            return Err("`from_ms` and `after_ms` say the same: allowed is one of them".to_owned());
        }
        if self.to_ms.is_some() && self.for_ms.is_some() {
            return Err("`to_ms` and `for_ms` say the same: allowed is one of them".to_owned());
        }
        if self.for_ms == Some(0)
            || self
                .to_ms
                .is_some_and(|to| to <= self.from_ms.unwrap_or(-1))
        {
            return Err(
                "it would end before it begins: `to_ms` must lie after `from_ms`".to_owned(),
            );
        }
        Ok(())
    }

    /// Begin and end when it is told at `now`.
    pub(in crate::simulator) fn window(&self, now: TimeMs) -> (TimeMs, Option<TimeMs>) {
        let from = match (self.from_ms, self.after_ms) {
            (Some(from), _) => TimeMs::new(from),
            (None, after) => now.plus_ms(after.unwrap_or(0)),
        };
        let to = self.to_ms.map(TimeMs::new);
        (from, to.or(self.for_ms.map(|length| from.plus_ms(length))))
    }
}

fn symbol<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Symbol>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| Symbol::parse_any_case(&text).map_err(serde::de::Error::custom))
        .transpose()
}

impl<'de> Deserialize<'de> for Connections {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        match (value.as_u64(), value.as_str()) {
            (Some(number), _) if number > 0 => Ok(Self::Number(number)),
            (None, Some("all")) => Ok(Self::All),
            _ => Err(serde::de::Error::custom(format!(
                "`connection` is {value}: allowed a number from 1 or \"all\""
            ))),
        }
    }
}

impl Serialize for Connections {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("all"),
            Self::Number(number) => serializer.serialize_u64(*number),
        }
    }
}
