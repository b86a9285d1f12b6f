//! The HAMA indicator: moving averages pushed one closed candle at a time, peeked for an open one.
//! Pure, and the same to the last bit however the candles arrive. Knows only `market`.

mod words;

pub use words::{BandState, BodyColor, MaTrend};
