//! The vocabulary every room speaks: contracts, intervals, candles, and the commit rule of one candle series.
//! Pure: no clock, no I/O, no async; time comes in as a value. Knows no other room.

mod calendar;
mod candle;
mod csv;
mod interval;
mod series;
mod status;
mod symbol;
mod time;

pub use candle::{BadCandle, Candle};
pub use csv::{BadCsv, BadLine, candles_from_csv};
pub use interval::{BadInterval, Interval};
pub use series::{Committed, HISTORY_MAX, Hole, Origin, PENDING_MAX, Refusal, Series, Verdict};
pub use status::SeriesStatus;
pub use symbol::{BadSymbol, SeriesKey, Symbol};
pub use time::{OpenTime, TimeMs};
