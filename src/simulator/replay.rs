//! Recorded candles: reads a directory of `<SYMBOL>-<interval>.csv` files and answers from them.
//! A file has the columns `open_time,open,high,low,close,volume` or the twelve of the public archive, header optional,
//! rows in order; missing rows stay missing. The decimal text is kept to the last digit: what is served reads back as
//! the same number. Longer intervals than the file's are aggregated from it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::bar::{Bar, QUOTE_DECIMALS, Scale, usual_taker_quote, usual_taker_volume};
use super::settings::SimulatorError;
use crate::market::{Interval, OpenTime, Symbol};

/// Candles with their open times, oldest first.
pub(super) type Rows = Arc<Vec<(OpenTime, Bar)>>;

/// The recorded candles of one contract.
#[derive(Debug)]
pub(super) struct Recording {
    scale: Scale,
    files: BTreeMap<Interval, Rows>,
    aggregated: Mutex<BTreeMap<Interval, Option<Rows>>>,
}

/// A row as read: decimal texts already split into digits and exponent.
struct RawRow {
    open_time: OpenTime,
    prices: [Decimal; 4],
    volume: Decimal,
    quote: Option<f64>,
    trades: Option<i64>,
    taker_volume: Option<Decimal>,
    taker_quote: Option<f64>,
}

/// `digits * 10^-decimals`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Decimal {
    digits: i128,
    decimals: u8,
}

/// Reads every `<SYMBOL>-<interval>.csv` of `dir`, by symbol.
pub(super) fn read_dir(dir: &Path) -> Result<BTreeMap<Symbol, Recording>, SimulatorError> {
    let unreadable = |source| SimulatorError::Unreadable {
        path: dir.to_owned(),
        source,
    };
    let mut raw: BTreeMap<Symbol, BTreeMap<Interval, Vec<RawRow>>> = BTreeMap::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let Some((symbol, interval)) = series_of(&path) else {
            tracing::debug!(path = %path.display(), "not a candle file by its name");
            continue;
        };
        let text = std::fs::read_to_string(&path).map_err(|source| SimulatorError::Unreadable {
            path: path.clone(),
            source,
        })?;
        let rows = read_rows(&text, interval).map_err(|reason| SimulatorError::BadFile {
            path: path.clone(),
            reason,
        })?;
        raw.entry(symbol).or_default().insert(interval, rows);
    }
    if raw.is_empty() {
        return Err(SimulatorError::BadFile {
            path: dir.to_owned(),
            reason: "no <SYMBOL>-<interval>.csv file in it".into(),
        });
    }
    raw.into_iter()
        .map(|(symbol, files)| {
            let recording = Recording::of(files).map_err(|reason| SimulatorError::BadFile {
                path: dir.join(symbol.as_str()),
                reason,
            })?;
            Ok((symbol, recording))
        })
        .collect()
}

impl Recording {
    fn of(files: BTreeMap<Interval, Vec<RawRow>>) -> Result<Self, String> {
        let all = || files.values().flatten();
        let most = |decimals: &mut dyn Iterator<Item = u8>| decimals.max().unwrap_or(0);
        let scale = Scale {
            price_decimals: most(&mut all().flat_map(|row| row.prices.map(|p| p.decimals))),
            volume_decimals: most(&mut all().flat_map(|row| {
                let taker = row.taker_volume.map(|volume| volume.decimals);
                std::iter::once(row.volume.decimals).chain(taker)
            })),
            tick: 1,
        };
        let files = files
            .into_iter()
            .map(|(interval, rows)| {
                let bars: Result<Vec<_>, _> = rows.iter().map(|row| row.bar(scale)).collect();
                Ok((interval, Arc::new(bars?)))
            })
            .collect::<Result<BTreeMap<_, _>, String>>()?;
        Ok(Self {
            scale,
            files,
            aggregated: Mutex::default(),
        })
    }

    /// Decimals of its numbers: the most that any of its files uses.
    pub(super) const fn scale(&self) -> Scale {
        self.scale
    }

    /// Its candles at `interval`: the file's, or aggregated from the shortest that divides it; `None` if none does.
    pub(super) fn rows(&self, interval: Interval) -> Option<Rows> {
        if let Some(rows) = self.files.get(&interval) {
            return Some(Arc::clone(rows));
        }
        let mut aggregated = self
            .aggregated
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        aggregated
            .entry(interval)
            .or_insert_with(|| self.aggregate(interval))
            .clone()
    }

    /// The interval whose candles those of `interval` are made of: itself when there is a file.
    pub(super) fn base_of(&self, interval: Interval) -> Option<Interval> {
        if self.files.contains_key(&interval) {
            return Some(interval);
        }
        let bases = self.files.keys().copied();
        bases.into_iter().find(|base| divides(*base, interval))
    }

    /// The shortest interval recorded.
    pub(super) fn shortest(&self) -> Option<Interval> {
        self.files.keys().next().copied()
    }

    /// The row `index` of each file, or its last.
    pub(super) fn opens_at_row(&self, index: usize) -> impl Iterator<Item = (OpenTime, OpenTime)> {
        self.files.values().filter_map(move |rows| {
            let first = rows.first()?.0;
            let row = rows.get(index).or_else(|| rows.last())?.0;
            Some((first, row))
        })
    }

    fn aggregate(&self, interval: Interval) -> Option<Rows> {
        let base = self.base_of(interval)?;
        let rows = self.files.get(&base)?;
        let mut whole: Vec<(OpenTime, Bar)> = Vec::new();
        for (open, bar) in rows.iter() {
            let larger = interval.open_at(open.time());
            match whole.last_mut() {
                Some((last, sum)) if *last == larger => sum.absorb(bar),
                Some(_) | None => whole.push((larger, *bar)),
            }
        }
        Some(Arc::new(whole))
    }
}

impl RawRow {
    fn bar(&self, scale: Scale) -> Result<(OpenTime, Bar), String> {
        let price = |decimal: Decimal| {
            decimal
                .at(scale.price_decimals)
                .and_then(|units| i64::try_from(units).ok())
                .filter(|units| *units > 0)
                .ok_or_else(|| {
                    format!(
                        "the candle of {}: a price is 0 or has too many digits",
                        self.open_time
                    )
                })
        };
        let [open, high, low, close] = self.prices;
        let (open, high, low, close) = (price(open)?, price(high)?, price(low)?, price(close)?);
        if low > open.min(close) || high < open.max(close) {
            return Err(format!(
                "the candle of {}: low or high inside its body",
                self.open_time
            ));
        }
        let volume = self
            .volume
            .at(scale.volume_decimals)
            .filter(|units| *units >= 0)
            .ok_or_else(|| format!("the candle of {}: bad volume", self.open_time))?;
        let turnover = self.quote.unwrap_or_else(|| {
            let price = (open + close) as f64 * 0.5 * 0.1_f64.powi(scale.price_decimals.into());
            price * volume as f64 * 0.1_f64.powi(scale.volume_decimals.into())
        });
        let in_units = |quote: f64| (quote * 10_f64.powi(QUOTE_DECIMALS.into())).round() as i64;
        let quote = in_units(turnover);
        let taker_volume = self
            .taker_volume
            .and_then(|taker| taker.at(scale.volume_decimals));
        let traded = i64::from(volume > 0);
        let bar = Bar {
            open,
            high,
            low,
            close,
            volume,
            quote,
            trades: self.trades.unwrap_or(traded * 100).max(traded),
            taker_volume: taker_volume.unwrap_or_else(|| usual_taker_volume(volume)),
            taker_quote: self
                .taker_quote
                .map_or_else(|| usual_taker_quote(quote), in_units),
        };
        Ok((self.open_time, bar))
    }
}

impl Decimal {
    /// Reads `83074.10`, `5`, `.5`, `1e-7`.
    fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        let plain = digits.strip_prefix('-').unwrap_or(&digits);
        if plain.is_empty() || !plain.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let mut digits: i128 = digits.parse().ok()?;
        let mut decimals = i32::try_from(fraction.len()).ok()? - exponent;
        while decimals < 0 {
            digits = digits.checked_mul(10)?;
            decimals += 1;
        }
        Some(Self {
            digits,
            decimals: u8::try_from(decimals).ok().filter(|d| *d <= 24)?,
        })
    }

    /// In units of `10^-decimals`; `decimals` is at least its own.
    fn at(self, decimals: u8) -> Option<i128> {
        let more = decimals.checked_sub(self.decimals)?;
        self.digits.checked_mul(10_i128.checked_pow(more.into())?)
    }
}

/// Whether candles of `base` tile those of `interval`.
fn divides(base: Interval, interval: Interval) -> bool {
    let within_a_day = base <= Interval::D1;
    match interval {
        Interval::Month1 | Interval::W1 => within_a_day,
        Interval::M1
        | Interval::M3
        | Interval::M5
        | Interval::M15
        | Interval::M30
        | Interval::H1
        | Interval::H2
        | Interval::H4
        | Interval::H6
        | Interval::H8
        | Interval::H12
        | Interval::D1
        | Interval::D3 => base < interval && interval.nominal_ms() % base.nominal_ms() == 0,
    }
}

fn series_of(path: &Path) -> Option<(Symbol, Interval)> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".csv")?;
    let (symbol, interval) = stem.rsplit_once('-')?;
    Some((Symbol::parse(symbol).ok()?, Interval::parse(interval).ok()?))
}

fn read_rows(text: &str, interval: Interval) -> Result<Vec<RawRow>, String> {
    let mut rows: Vec<RawRow> = Vec::new();
    let lines = text.trim_start_matches('\u{feff}').lines();
    for (index, line) in lines.enumerate() {
        let (number, line) = (index + 1, line.trim());
        let header = index == 0 && line.starts_with(|first: char| !first.is_ascii_digit());
        if line.is_empty() || header {
            continue;
        }
        let row = read_row(line).map_err(|reason| format!("line {number}: {reason}"))?;
        if !interval.is_on_grid(row.open_time) {
            return Err(format!(
                "line {number}: {} is no open time of {interval}",
                row.open_time
            ));
        }
        if rows
            .last()
            .is_some_and(|last| last.open_time >= row.open_time)
        {
            return Err(format!(
                "line {number}: {} is not after the row before",
                row.open_time
            ));
        }
        rows.push(row);
    }
    if rows.is_empty() {
        return Err("no candles in it".into());
    }
    Ok(rows)
}

fn read_row(line: &str) -> Result<RawRow, String> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let [open_time, open, high, low, close, volume, rest @ ..] = fields.as_slice() else {
        return Err(format!("{} columns, at least 6 wanted", fields.len()));
    };
    let number =
        |text: &str| Decimal::parse(text).ok_or_else(|| format!("'{text}' is not a number"));
    let time = open_time
        .parse()
        .map_err(|_| format!("'{open_time}' is no open time in ms"))?;
    Ok(RawRow {
        open_time: OpenTime::from_ms(time),
        prices: [number(open)?, number(high)?, number(low)?, number(close)?],
        volume: number(volume)?,
        quote: rest.get(1).and_then(|text| text.parse().ok()),
        trades: rest.get(2).and_then(|text| text.parse().ok()),
        taker_volume: rest.get(3).and_then(|text| Decimal::parse(text)),
        taker_quote: rest.get(4).and_then(|text| text.parse().ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::bar::decimal;
    use super::*;

    #[test]
    fn decimal_text_reads_back_as_the_same_number() {
        for text in [
            "83074.10",
            "5",
            "0.00000001",
            "1e-7",
            "0.04517148850710084",
            "2.5E3",
        ] {
            let read = Decimal::parse(text).unwrap();
            let written = decimal(read.at(18).unwrap(), 18);
            assert_eq!(
                written.parse::<f64>(),
                text.parse::<f64>(),
                "{text} {written}"
            );
        }
        for text in ["", ".", "abc", "1.2.3", "NaN", "1e", "--1"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_bad_row_is_named_with_its_line() {
        let bad = |text: &str| read_rows(text, Interval::M1).err().unwrap();
        assert!(bad("open_time,o\n60000,1,1,1\n").starts_with("line 2: 4 columns"));
        assert!(bad("60000,1,1,1,x,0").starts_with("line 1: 'x'"));
        assert!(bad("60001,1,1,1,1,0").contains("no open time of 1m"));
        assert!(bad("60000,1,1,1,1,0\n60000,1,1,1,1,0").contains("not after"));
        assert!(bad("open_time").contains("no candles"));
    }

    #[test]
    fn longer_candles_are_made_of_those_that_are_there() {
        let text = "0,1.0,2.0,1.0,1.5,10\n60000,1.5,1.6,0.5,0.7,1\n120000,0.7,0.7,0.7,0.7,0\n300000,5,5,5,5,2";
        let files = BTreeMap::from([(Interval::M1, read_rows(text, Interval::M1).unwrap())]);
        let recording = Recording::of(files).unwrap();
        let rows = recording.rows(Interval::M5).unwrap();
        let ohlcv: Vec<_> = rows
            .iter()
            .map(|(open, b)| (open.ms(), b.open, b.high, b.low, b.close, b.volume))
            .collect();
        assert_eq!(ohlcv, [(0, 10, 20, 5, 7, 11), (300_000, 50, 50, 50, 50, 2)]);
    }
}
