//! The feed's item back to a `Change`: what the log carries is read here.
//! What is missing, impossible or contradicts itself is refused; unknown fields are for later versions and ignored.

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::{Change, ChangeBody, Correction, Epoch, Seq, SignalChange, Source, Stand};
use crate::market::{Interval, OpenTime, SeriesKey, Symbol, TimeMs};
use crate::signal::Recommendation;

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Signal,
    Correction,
}

/// Both kinds in one: those fields that only one of them has are optional here and asked for below.
#[derive(Deserialize)]
struct Item {
    #[serde(rename = "type")]
    kind: Kind,
    id: String,
    seq: Seq,
    prev_seq: Seq,
    epoch: Epoch,
    symbol: Symbol,
    interval: Interval,
    recommendation: Recommendation,
    previous: Recommendation,
    candle_open_time: OpenTime,
    candle_close_time: TimeMs,
    event_time: TimeMs,
    source: Source,
    confidence: Option<f64>,
    price: Option<f64>,
    hama_close: Option<f64>,
    ma: Option<f64>,
    deviation_pct: Option<f64>,
    last_cross_direction: Option<i8>,
    last_cross_time: Option<OpenTime>,
    revision: Option<u32>,
    corrects: Option<Vec<Seq>>,
    stands: Option<Vec<Stand>>,
    corrects_close_times: Option<Vec<TimeMs>>,
}

impl<'de> Deserialize<'de> for Change {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let item = Item::deserialize(deserializer)?;
        let key = SeriesKey::new(item.symbol.clone(), item.interval);
        let (body, corrects) = match item.kind {
            Kind::Signal => (ChangeBody::Signal(signal(key, &item)?), Vec::new()),
            Kind::Correction => {
                let corrects = need("corrects", item.corrects.clone())?;
                (ChangeBody::Correction(correction(key, &item)?), corrects)
            }
        };
        let id = body.id().to_string();
        if id != item.id {
            return Err(Error::custom(format_args!("id of another change: {id}")));
        }
        if item.seq == Seq::NONE || item.prev_seq >= item.seq {
            return Err(Error::custom(format_args!(
                "seq {} after prev_seq {}",
                item.seq, item.prev_seq
            )));
        }
        Ok(Self {
            seq: item.seq,
            prev_seq: item.prev_seq,
            epoch: item.epoch,
            corrects,
            body,
        })
    }
}

fn signal<E: Error>(key: SeriesKey, item: &Item) -> Result<SignalChange, E> {
    Ok(SignalChange {
        key,
        recommendation: item.recommendation,
        previous: item.previous,
        confidence: need("confidence", item.confidence)?,
        price: need("price", item.price)?,
        hama_close: need("hama_close", item.hama_close)?,
        ma: need("ma", item.ma)?,
        deviation_pct: need("deviation_pct", item.deviation_pct)?,
        candle_open_time: item.candle_open_time,
        candle_close_time: item.candle_close_time,
        last_cross_direction: need("last_cross_direction", item.last_cross_direction)?,
        last_cross_time: item.last_cross_time,
        event_time: item.event_time,
        source: item.source,
    })
}

fn correction<E: Error>(key: SeriesKey, item: &Item) -> Result<Correction, E> {
    Ok(Correction {
        key,
        revision: need("revision", item.revision)?,
        corrects: item.corrects_close_times.clone().unwrap_or_default(),
        stands: need("stands", item.stands.clone())?,
        recommendation: item.recommendation,
        previous: item.previous,
        candle_open_time: item.candle_open_time,
        candle_close_time: item.candle_close_time,
        event_time: item.event_time,
        source: item.source,
    })
}

fn need<T, E: Error>(name: &'static str, value: Option<T>) -> Result<T, E> {
    value.ok_or_else(|| E::missing_field(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SeriesKey {
        SeriesKey::new(Symbol::parse("币安人生USDT").unwrap(), Interval::Month1)
    }

    fn numbered(seq: u64, corrects: Vec<Seq>, body: ChangeBody) -> Change {
        Change {
            seq: Seq::new(seq),
            prev_seq: Seq::new(seq - 1),
            epoch: Epoch::new("k3v9"),
            corrects,
            body,
        }
    }

    fn a_signal(seq: u64, numbers: [f64; 5], last_cross_time: Option<OpenTime>) -> Change {
        let [confidence, price, hama_close, ma, deviation_pct] = numbers;
        let body = ChangeBody::Signal(SignalChange {
            key: key(),
            recommendation: Recommendation::Sell,
            previous: Recommendation::Hold,
            confidence,
            price,
            hama_close,
            ma,
            deviation_pct,
            candle_open_time: OpenTime::from_ms(1_766_999_700_000),
            candle_close_time: TimeMs::new(1_767_000_599_999),
            last_cross_direction: -1,
            last_cross_time,
            event_time: TimeMs::new(1_767_000_600_123),
            source: Source::CatchUp,
        });
        numbered(seq, Vec::new(), body)
    }

    fn a_correction() -> Change {
        let body = ChangeBody::Correction(Correction {
            key: key(),
            revision: 2,
            corrects: Vec::new(),
            stands: vec![Stand {
                candle_close_time: TimeMs::new(1_767_000_599_999),
                recommendation: Recommendation::Buy,
                previous: Recommendation::Sell,
            }],
            recommendation: Recommendation::Buy,
            previous: Recommendation::Hold,
            candle_open_time: OpenTime::from_ms(1_766_999_700_000),
            candle_close_time: TimeMs::new(1_767_000_599_999),
            event_time: TimeMs::new(1_767_000_600_123),
            source: Source::Rest,
        });
        numbered(9, vec![Seq::new(3), Seq::new(5)], body)
    }

    #[test]
    fn every_change_comes_back_from_its_item_to_the_bit() {
        let mut random = fastrand::Rng::with_seed(7);
        for seq in 1..5_000 {
            let mut number = || loop {
                let any = f64::from_bits(random.u64(..));
                if any.is_finite() {
                    break any;
                }
            };
            let numbers = [number(), number(), number(), number(), number()];
            let crossed = (seq % 2 == 0).then(|| OpenTime::from_ms(1_766_999_700_000));
            let change = a_signal(seq, numbers, crossed);
            let text = serde_json::to_string(&change).unwrap();
            let read: Change = serde_json::from_str(&text).unwrap();
            assert_eq!(read, change, "{text}");
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
        }
        let correction = a_correction();
        let text = serde_json::to_string(&correction).unwrap();
        assert_eq!(serde_json::from_str::<Change>(&text).unwrap(), correction);
    }

    #[test]
    fn fields_of_later_versions_are_ignored() {
        let change = a_correction();
        let text = serde_json::to_string(&change).unwrap();
        let later = text.replacen('{', r#"{"colour":{"a":[1,null]},"#, 1);
        assert_eq!(serde_json::from_str::<Change>(&later).unwrap(), change);
    }

    #[test]
    fn an_item_that_contradicts_itself_or_lacks_a_field_is_refused() {
        let signal = serde_json::to_string(&a_signal(8, [0.5; 5], None)).unwrap();
        let correction = serde_json::to_string(&a_correction()).unwrap();
        for (text, from, to) in [
            (&signal, r#""seq":8"#, r#""seq":0"#),
            (&signal, r#""prev_seq":7"#, r#""prev_seq":8"#),
            (&signal, ":1M:", ":15m:"),
            (&signal, r#""confidence":0.5"#, r#""confidence":null"#),
            (&signal, r#""type":"signal""#, r#""type":"correction""#),
            (&signal, "SELL", "sell"),
            (&correction, r#""revision":2"#, r#""revision":3"#),
            (&correction, r#""stands""#, r#""stood""#),
            (&correction, r#""corrects""#, r#""takes_back""#),
            (&correction, r#""type":"correction""#, r#""type":"signal""#),
        ] {
            assert!(text.contains(from), "{from} in {text}");
            let bad = text.replacen(from, to, 1);
            assert!(serde_json::from_str::<Change>(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_mutation_of_an_item_is_more_than_refused() {
        let mut random = fastrand::Rng::with_seed(11);
        let items = [a_signal(8, [0.5; 5], None), a_correction()]
            .map(|change| serde_json::to_vec(&change).unwrap());
        let mut refused = 0;
        for _ in 0..20_000 {
            let mut bytes = items[random.usize(..2)].clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..bytes.len());
                match random.u8(..3) {
                    0 => bytes[at] = random.u8(..),
                    1 => bytes.truncate(at.max(1)),
                    _ => {
                        bytes.remove(at);
                        bytes.push(b'}');
                    }
                }
            }
            match serde_json::from_slice::<Change>(&bytes) {
                Ok(change) => assert!(change.seq > change.prev_seq),
                Err(_) => refused += 1,
            }
        }
        assert!(refused > 10_000, "{refused}");
    }
}
