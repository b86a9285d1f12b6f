//! A change of the confirmed recommendation: numbered, kept, pushed, and caught up on.
//! Its identity is `symbol:interval:close_time:revision`, the same whoever computes it and however often; its number
//! (`seq`) is given once, by the store, without a hole. The JSON of an item is the feed's, field for field.

mod item;

use std::fmt;
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::Recommendation;
use crate::market::{OpenTime, SeriesKey, TimeMs};

/// Number of a change within an epoch, from 1 without a hole; 0 is "none".
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seq(u64);

impl Seq {
    /// "No change yet."
    pub const NONE: Self = Self(0);

    /// The number `n`.
    pub const fn new(n: u64) -> Self {
        Self(n)
    }

    /// The bare number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The next number.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Name of one numbering: numbers of different epochs are never compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(Arc<str>);

impl Epoch {
    /// The epoch called `name`.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Identity of a change: `symbol:interval:close_time:revision`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeId {
    /// Close time of the candle.
    pub close_time: TimeMs,
    /// The series.
    pub key: SeriesKey,
    /// 0, or the number of the correction.
    pub revision: u32,
}

impl fmt::Display for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.key, self.close_time, self.revision)
    }
}

impl Serialize for ChangeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Where the candle behind a change came from: a bot must tell a fresh signal from one found hours later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The live stream, at the close.
    Stream,
    /// A REST read of the newest closed candle: its close event was late or lost.
    Rest,
    /// Read after a newer candle had closed already: after an outage or a hole.
    CatchUp,
}

/// The confirmed recommendation of a series became another one.
#[derive(Debug, Clone, PartialEq)]
pub struct SignalChange {
    /// The series.
    pub key: SeriesKey,
    /// What holds now.
    pub recommendation: Recommendation,
    /// What held before.
    pub previous: Recommendation,
    /// 0.3 to 1.
    pub confidence: f64,
    /// Close of the candle.
    pub price: f64,
    /// Smoothed close.
    pub hama_close: f64,
    /// Average it crosses.
    pub ma: f64,
    /// Distance of the two, percent of `ma`.
    pub deviation_pct: f64,
    /// The candle that made the change.
    pub candle_open_time: OpenTime,
    /// Its last millisecond.
    pub candle_close_time: TimeMs,
    /// 1 up, -1 down, 0 before the first.
    pub last_cross_direction: i8,
    /// Open time of the candle of the last cross.
    pub last_cross_time: Option<OpenTime>,
    /// When the change was computed, by the exchange's clock.
    pub event_time: TimeMs,
    /// Where the candle came from.
    pub source: Source,
}

/// What holds at a candle after a correction.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Stand {
    /// The candle.
    #[schema(value_type = i64)]
    pub candle_close_time: TimeMs,
    /// What it says now.
    pub recommendation: Recommendation,
    /// What the candle before it says.
    pub previous: Recommendation,
}

/// The exchange revised a closed candle, and recommendations given after it no longer hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Correction {
    /// The series.
    pub key: SeriesKey,
    /// 1 for the first correction of this candle.
    pub revision: u32,
    /// Closes whose changes are no longer valid, oldest first.
    pub corrects: Vec<TimeMs>,
    /// The changes that hold instead, oldest first.
    pub stands: Vec<Stand>,
    /// The recommendation that holds now.
    pub recommendation: Recommendation,
    /// The recommendation that was last told.
    pub previous: Recommendation,
    /// The revised candle.
    pub candle_open_time: OpenTime,
    /// Its last millisecond.
    pub candle_close_time: TimeMs,
    /// When the correction was computed, by the exchange's clock.
    pub event_time: TimeMs,
    /// Where the revised candle came from.
    pub source: Source,
}

/// What a change says, before it has a number.
#[derive(Debug, Clone, PartialEq)]
pub enum ChangeBody {
    /// An ordinary change.
    Signal(SignalChange),
    /// A correction of earlier ones.
    Correction(Correction),
}

impl ChangeBody {
    /// The series.
    pub fn key(&self) -> &SeriesKey {
        match self {
            Self::Signal(change) => &change.key,
            Self::Correction(correction) => &correction.key,
        }
    }

    /// What holds from now on.
    pub fn recommendation(&self) -> Recommendation {
        match self {
            Self::Signal(change) => change.recommendation,
            Self::Correction(correction) => correction.recommendation,
        }
    }

    /// Close time of its candle.
    pub fn candle_close_time(&self) -> TimeMs {
        match self {
            Self::Signal(change) => change.candle_close_time,
            Self::Correction(correction) => correction.candle_close_time,
        }
    }

    /// Close time of the candle since which what it says holds: a correction may take the last change back and leave
    /// an older one standing, which it does not name; then its own candle's.
    pub fn changed_at(&self) -> TimeMs {
        match self {
            Self::Signal(change) => change.candle_close_time,
            Self::Correction(correction) => correction
                .stands
                .last()
                .map_or(correction.candle_close_time, |s| s.candle_close_time),
        }
    }

    /// Its identity.
    pub fn id(&self) -> ChangeId {
        let revision = match self {
            Self::Signal(_) => 0,
            Self::Correction(correction) => correction.revision,
        };
        ChangeId {
            close_time: self.candle_close_time(),
            key: self.key().clone(),
            revision,
        }
    }
}

/// A numbered change: an item of the log and of the feed. Serialises to the feed's `signal` or `correction` item.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Its number.
    pub seq: Seq,
    /// Number of the same series' change before it, 0: none.
    pub prev_seq: Seq,
    /// The numbering it belongs to.
    pub epoch: Epoch,
    /// Numbers of the changes a correction takes back; empty for a signal.
    pub corrects: Vec<Seq>,
    /// What it says.
    pub body: ChangeBody,
}

impl Serialize for Change {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let kind = match &self.body {
            ChangeBody::Signal(_) => "signal",
            ChangeBody::Correction(_) => "correction",
        };
        map.serialize_entry("type", kind)?;
        map.serialize_entry("id", &self.body.id())?;
        map.serialize_entry("seq", &self.seq)?;
        map.serialize_entry("prev_seq", &self.prev_seq)?;
        map.serialize_entry("epoch", &self.epoch)?;
        map.serialize_entry("symbol", &self.body.key().symbol)?;
        map.serialize_entry("interval", &self.body.key().interval)?;
        match &self.body {
            ChangeBody::Signal(change) => signal_fields(change, &mut map)?,
            ChangeBody::Correction(correction) => {
                correction_fields(correction, &self.corrects, &mut map)?;
            }
        }
        map.end()
    }
}

fn signal_fields<M: SerializeMap>(change: &SignalChange, map: &mut M) -> Result<(), M::Error> {
    map.serialize_entry("recommendation", &change.recommendation)?;
    map.serialize_entry("previous", &change.previous)?;
    map.serialize_entry("confidence", &change.confidence)?;
    map.serialize_entry("price", &change.price)?;
    map.serialize_entry("hama_close", &change.hama_close)?;
    map.serialize_entry("ma", &change.ma)?;
    map.serialize_entry("deviation_pct", &change.deviation_pct)?;
    map.serialize_entry("candle_open_time", &change.candle_open_time)?;
    map.serialize_entry("candle_close_time", &change.candle_close_time)?;
    map.serialize_entry("last_cross_direction", &change.last_cross_direction)?;
    map.serialize_entry("last_cross_time", &change.last_cross_time)?;
    map.serialize_entry("event_time", &change.event_time)?;
    map.serialize_entry(
        "late_ms",
        &change.event_time.ms_since(change.candle_close_time),
    )?;
    map.serialize_entry("source", &change.source)
}

fn correction_fields<M: SerializeMap>(
    correction: &Correction,
    corrects: &[Seq],
    map: &mut M,
) -> Result<(), M::Error> {
    map.serialize_entry("candle_open_time", &correction.candle_open_time)?;
    map.serialize_entry("candle_close_time", &correction.candle_close_time)?;
    map.serialize_entry("revision", &correction.revision)?;
    map.serialize_entry("corrects", corrects)?;
    map.serialize_entry("stands", &correction.stands)?;
    map.serialize_entry("recommendation", &correction.recommendation)?;
    map.serialize_entry("previous", &correction.previous)?;
    map.serialize_entry("event_time", &correction.event_time)?;
    map.serialize_entry("source", &correction.source)?;
    map.serialize_entry("corrects_close_times", &correction.corrects)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{Interval, Symbol};

    #[test]
    fn a_signal_item_is_the_feeds_to_the_letter() {
        let key = SeriesKey::new(Symbol::parse("BTCUSDT").unwrap(), Interval::M15);
        let body = ChangeBody::Signal(SignalChange {
            key,
            recommendation: Recommendation::Buy,
            previous: Recommendation::Hold,
            confidence: 0.7332,
            price: 67123.4,
            hama_close: 67001.25,
            ma: 66890.12,
            deviation_pct: 0.166,
            candle_open_time: OpenTime::from_ms(1_766_999_700_000),
            candle_close_time: TimeMs::new(1_767_000_599_999),
            last_cross_direction: 1,
            last_cross_time: Some(OpenTime::from_ms(1_766_999_700_000)),
            event_time: TimeMs::new(1_767_000_600_123),
            source: Source::Stream,
        });
        let change = Change {
            seq: Seq::new(1042),
            prev_seq: Seq::new(977),
            epoch: Epoch::new("k3v9"),
            corrects: Vec::new(),
            body,
        };
        assert_eq!(
            serde_json::to_string(&change).unwrap(),
            r#"{"type":"signal","id":"BTCUSDT:15m:1767000599999:0","seq":1042,"prev_seq":977,"epoch":"k3v9","symbol":"BTCUSDT","interval":"15m","recommendation":"BUY","previous":"HOLD","confidence":0.7332,"price":67123.4,"hama_close":67001.25,"ma":66890.12,"deviation_pct":0.166,"candle_open_time":1766999700000,"candle_close_time":1767000599999,"last_cross_direction":1,"last_cross_time":1766999700000,"event_time":1767000600123,"late_ms":124,"source":"stream"}"#
        );
    }
}
