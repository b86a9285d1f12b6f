//! Candles from CSV text, in two forms: `open_time_ms,open,high,low,close,volume` and the twelve columns of the
//! exchange's public archive, of which the first six are read. A header, a BOM and CRLF may be there or not.
//! All or nothing: the first thing that is wrong is named with its line, and no candle comes out. Times must rise;
//! whether candles are missing between them is the reader's question.

use super::{BadCandle, Candle, OpenTime};

/// Columns of a candle, as errors and headers name them.
const COLUMNS: [&str; 6] = ["open_time_ms", "open", "high", "low", "close", "volume"];
/// Columns of the exchange's public archive.
const ARCHIVE_COLUMNS: usize = 12;
/// Unix milliseconds reach it in the year 5138; microseconds of today are far above it.
const TIME_END_MS: i64 = 100_000_000_000_000;
/// Longest piece of a bad field that an error shows.
const SHOWN_CHARS: usize = 40;

/// Why text is no list of candles.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadCsv {
    /// Nothing in it, or a header alone.
    #[error("no candles in it")]
    Empty,
    /// A line that is wrong.
    #[error("line {line}: {reason}")]
    Line {
        /// Its number, the first line is 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        reason: BadLine,
    },
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadLine {
    /// Bytes that are no text.
    #[error("not UTF-8 text")]
    NotText,
    /// A header whose columns are others than the six, or in another order.
    #[error("column {column} of the header is '{found}', expected '{expected}'")]
    Header {
        /// From 1.
        column: usize,
        /// Its name, cut to 40 characters.
        found: String,
        /// The name that belongs there.
        expected: &'static str,
    },
    /// Neither form has this many columns, or the line before had another number of them.
    #[error("{found} columns, expected {expected}")]
    Columns {
        /// How many there are.
        found: usize,
        /// How many there may be.
        expected: &'static str,
    },
    /// A field that is no number.
    #[error("{field} is '{found}', not a number")]
    NotANumber {
        /// Its column.
        field: &'static str,
        /// What stands there, cut to 40 characters.
        found: String,
    },
    /// An open time outside of what milliseconds can mean.
    #[error("open_time_ms is {0}: not Unix milliseconds")]
    NotMilliseconds(i64),
    /// Numbers that are no candle.
    #[error(transparent)]
    Candle(#[from] BadCandle),
    /// The same open time as the line before.
    #[error("open_time_ms {0} is there twice")]
    Duplicate(OpenTime),
    /// An earlier open time than the line before.
    #[error("open_time_ms {found} comes after {before}: out of order")]
    OutOfOrder {
        /// This line's.
        found: OpenTime,
        /// The candle's before.
        before: OpenTime,
    },
}

/// The two forms a file can have; it has one throughout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Archive,
}

impl Form {
    fn of(columns: usize) -> Result<Self, BadLine> {
        match columns {
            6 => Ok(Self::Plain),
            ARCHIVE_COLUMNS => Ok(Self::Archive),
            found => Err(BadLine::Columns {
                found,
                expected: "6 or 12",
            }),
        }
    }

    /// Refuses a line of another form than the file's.
    fn check(self, columns: usize) -> Result<(), BadLine> {
        match (self, columns) {
            (Self::Plain, 6) | (Self::Archive, ARCHIVE_COLUMNS) => Ok(()),
            (Self::Plain, found) => Err(BadLine::Columns {
                found,
                expected: "6",
            }),
            (Self::Archive, found) => Err(BadLine::Columns {
                found,
                expected: "12",
            }),
        }
    }
}

/// The candles in `text`, in rising open times. Blank lines are passed over.
///
/// # Errors
/// The first line that is wrong, or that there is no candle at all.
pub fn candles_from_csv(text: &[u8]) -> Result<Vec<Candle>, BadCsv> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut candles = Vec::new();
    let mut form = None;
    for (line, number) in text.split(|byte| *byte == b'\n').zip(1..) {
        let candle = read_line(line, &mut form, candles.last()).map_err(|reason| BadCsv::Line {
            line: number,
            reason,
        })?;
        candles.extend(candle);
    }
    if candles.is_empty() {
        return Err(BadCsv::Empty);
    }
    Ok(candles)
}

/// The candle on a line; none on a blank one and on the header. The first line with columns decides the form.
fn read_line(
    line: &[u8],
    form: &mut Option<Form>,
    before: Option<&Candle>,
) -> Result<Option<Candle>, BadLine> {
    let line = std::str::from_utf8(line).map_err(|_| BadLine::NotText)?;
    if line.trim().is_empty() {
        return Ok(None);
    }
    let columns = line.split(',').count();
    let mut fields = [""; 6];
    for (field, text) in fields.iter_mut().zip(line.split(',')) {
        *field = text.trim();
    }
    if let Some(form) = form {
        form.check(columns)?;
    } else {
        *form = Some(Form::of(columns)?);
        if is_header(&fields)? {
            return Ok(None);
        }
    }
    let candle = candle(&fields)?;
    if let Some(before) = before {
        check_order(before.open_time, candle.open_time)?;
    }
    Ok(Some(candle))
}

/// A first line without a single number is a header. One that names other columns would be read wrongly by position.
fn is_header(fields: &[&str; 6]) -> Result<bool, BadLine> {
    if fields.iter().any(|field| field.parse::<f64>().is_ok()) {
        return Ok(false);
    }
    for (i, (found, expected)) in fields.iter().zip(COLUMNS).enumerate() {
        let is_time = i == 0 && found.eq_ignore_ascii_case("open_time");
        if !is_time && !found.eq_ignore_ascii_case(expected) {
            return Err(BadLine::Header {
                column: i + 1,
                found: shown(found),
                expected,
            });
        }
    }
    Ok(true)
}

fn candle(fields: &[&str; 6]) -> Result<Candle, BadLine> {
    let [open_time, open, high, low, close, volume] = fields;
    let ms = open_time
        .parse::<i64>()
        .map_err(|_| not_a_number(COLUMNS[0], open_time))?;
    if !(0..TIME_END_MS).contains(&ms) {
        return Err(BadLine::NotMilliseconds(ms));
    }
    let number = |field, text: &str| text.parse::<f64>().map_err(|_| not_a_number(field, text));
    let candle = Candle {
        open_time: OpenTime::from_ms(ms),
        open: number("open", open)?,
        high: number("high", high)?,
        low: number("low", low)?,
        close: number("close", close)?,
        volume: number("volume", volume)?,
    };
    candle.check()?;
    Ok(candle)
}

fn check_order(before: OpenTime, found: OpenTime) -> Result<(), BadLine> {
    match found.cmp(&before) {
        std::cmp::Ordering::Greater => Ok(()),
        std::cmp::Ordering::Equal => Err(BadLine::Duplicate(found)),
        std::cmp::Ordering::Less => Err(BadLine::OutOfOrder { found, before }),
    }
}

fn not_a_number(field: &'static str, text: &str) -> BadLine {
    BadLine::NotANumber {
        field,
        found: shown(text),
    }
}

/// The beginning of `text`, control characters escaped: it ends up on a terminal.
fn shown(text: &str) -> String {
    text.chars()
        .take(SHOWN_CHARS)
        .flat_map(char::escape_debug)
        .collect()
}

#[cfg(test)]
mod tests;
