//! `GET /fapi/v1/klines`: closed candles of one series. The end and the number are always named; every row is checked and
//! one bad row rejects the answer (hazards 1, 19, 23, 32).

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::rest::{Call, Rest};
use super::row::candle;
use crate::exchange::{BadRow, CandleRequest, ExchangeError, LIMIT_MAX, Proof};
use crate::market::{Candle, OpenTime, TimeMs};

const PATH: &str = "/fapi/v1/klines";

/// The first seven columns; the rest (turnover, trades, taker's share) we do not use and more may follow.
#[derive(Debug)]
struct WireRow<'a> {
    open_time: i64,
    prices: [&'a str; 5],
    close_time: i64,
}

pub(super) async fn candles(
    rest: &Rest,
    request: &CandleRequest,
) -> Result<Vec<Candle>, ExchangeError> {
    check(request, rest.clock().now())?;
    let limit = request.rows().to_string();
    let end = last_row(request);
    let end = request.key.interval.close_time(end).to_string();
    let start = request.from.map(|from| from.to_string());
    let mut query = vec![
        ("symbol", request.key.symbol.as_str()),
        ("interval", request.key.interval.name()),
        ("endTime", end.as_str()),
        ("limit", limit.as_str()),
    ];
    if let Some(start) = &start {
        query.push(("startTime", start.as_str()));
    }
    let body = rest
        .get(&Call {
            path: PATH,
            query: &query,
            weight: request.weight(),
        })
        .await?;
    read(&body, request)
}

/// The last row asked for: the last candle wanted, or the one whose presence proves that it has closed.
fn last_row(request: &CandleRequest) -> OpenTime {
    match request.proof {
        Proof::Clock => request.until,
        Proof::NextCandle => request.key.interval.after(request.until),
    }
}

/// What need not be sent to be known as wrong.
fn check(request: &CandleRequest, now: TimeMs) -> Result<(), ExchangeError> {
    let interval = request.key.interval;
    let refuse = |reason| Err(ExchangeError::BadRequest { reason });
    if request.limit == 0 || request.rows() > LIMIT_MAX {
        return refuse("limit must be 1 to 1500, with the row that is the proof");
    }
    if !interval.is_on_grid(request.until) {
        return refuse("the last candle asked for is off its interval's grid");
    }
    if request
        .from
        .is_some_and(|from| from > request.until || !interval.is_on_grid(from))
    {
        return refuse("the first candle asked for is off the grid or after the last");
    }
    let closes_at = interval.close_time(request.until);
    if closes_at >= now {
        return Err(ExchangeError::NotClosedYet {
            until: request.until,
            closes_at,
        });
    }
    Ok(())
}

fn read(body: &[u8], request: &CandleRequest) -> Result<Vec<Candle>, ExchangeError> {
    let rows: Vec<WireRow<'_>> = serde_json::from_slice(body)
        .map_err(|source| ExchangeError::Unreadable { path: PATH, source })?;
    if rows.len() > usize::from(request.rows()) {
        return Err(ExchangeError::TooManyRows {
            path: PATH,
            rows: rows.len(),
            limit: request.rows(),
        });
    }
    let mut candles: Vec<Candle> = Vec::with_capacity(rows.len());
    for (row, wire) in rows.iter().enumerate() {
        let previous = candles.last().map(|candle| candle.open_time);
        let candle =
            candle_of(wire, request, previous).map_err(|reason| ExchangeError::BadRow {
                path: PATH,
                row,
                reason,
            })?;
        candles.push(candle);
    }
    if request.proof == Proof::NextCandle {
        candles.pop(); // nothing follows it: it may still be forming
    }
    Ok(candles)
}

fn candle_of(
    wire: &WireRow<'_>,
    request: &CandleRequest,
    previous: Option<OpenTime>,
) -> Result<Candle, BadRow> {
    let open = OpenTime::from_ms(wire.open_time);
    if open > last_row(request) || request.from.is_some_and(|from| open < from) {
        return Err(BadRow::NotAsked { open });
    }
    if previous.is_some_and(|previous| open <= previous) {
        return Err(BadRow::NotAscending { open });
    }
    candle(
        request.key.interval,
        open,
        TimeMs::new(wire.close_time),
        wire.prices,
    )
}

impl<'de: 'a, 'a> Deserialize<'de> for WireRow<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(RowVisitor)
    }
}

struct RowVisitor;

impl<'de> Visitor<'de> for RowVisitor {
    type Value = WireRow<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a candle: open time, 5 decimal texts, close time")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let open_time = next(&mut seq, 0)?;
        let mut prices = [""; 5];
        for (index, price) in prices.iter_mut().enumerate() {
            *price = next(&mut seq, index + 1)?;
        }
        let close_time = next(&mut seq, 6)?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(WireRow {
            open_time,
            prices,
            close_time,
        })
    }
}

fn next<'de, A: SeqAccess<'de>, T: Deserialize<'de>>(
    seq: &mut A,
    index: usize,
) -> Result<T, A::Error> {
    seq.next_element()?
        .ok_or_else(|| serde::de::Error::invalid_length(index, &RowVisitor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::binance::mutate::mutations;
    use crate::market::{Interval, SeriesKey, Symbol};

    #[test]
    fn h29_what_no_later_row_follows_is_not_known_to_have_closed() {
        let row = |open: i64| format!(r#"[{open},"2","3","1","2.5","7",{}]"#, open + 59_999);
        let request = CandleRequest {
            key: SeriesKey::new(Symbol::parse("BTCUSDT").unwrap(), Interval::M1),
            from: Some(OpenTime::from_ms(60_000)),
            until: OpenTime::from_ms(120_000),
            limit: 2,
            proof: Proof::NextCandle,
        };
        let opens = |rows: &[i64]| -> Vec<i64> {
            let rows: Vec<_> = rows.iter().map(|open| row(*open)).collect();
            let body = format!("[{}]", rows.join(","));
            let candles = read(body.as_bytes(), &request).unwrap();
            candles.iter().map(|candle| candle.open_time.ms()).collect()
        };
        assert_eq!(opens(&[60_000, 120_000, 180_000]), [60_000, 120_000]);
        assert_eq!(
            opens(&[60_000, 120_000]),
            [60_000],
            "the second may still be forming"
        );
        assert_eq!(opens(&[60_000, 180_000]), [60_000], "a hole");
        assert_eq!(opens(&[]), [0; 0]);
    }

    #[test]
    fn h32_no_mutation_of_an_answer_yields_a_candle_that_breaks_a_promise() {
        let body = r#"[[60000,"2","3","1","2.5","7",119999,"9",3,"8","6","0"],[120000,"2","3","1","2.5","7",179999,"9"]]"#;
        let request = CandleRequest {
            key: SeriesKey::new(Symbol::parse("BTCUSDT").unwrap(), Interval::M1),
            from: Some(OpenTime::from_ms(60_000)),
            until: OpenTime::from_ms(120_000),
            limit: 2,
            proof: Proof::Clock,
        };
        assert_eq!(read(body.as_bytes(), &request).unwrap().len(), 2);
        let mut good = 0;
        for body in mutations(body, 20_000) {
            let Ok(candles) = read(&body, &request) else {
                continue;
            };
            good += 1;
            assert!(candles.len() <= 2);
            assert!(candles.iter().all(|candle| candle.check().is_ok()));
            assert!(candles.is_sorted_by(|a, b| a.open_time < b.open_time));
            let opens = [60_000, 120_000];
            assert!(candles.iter().all(|c| opens.contains(&c.open_time.ms())));
        }
        assert!((500..15_000).contains(&good), "{good} of 20,000 read");
    }
}
