//! The HAMA indicator: moving averages pushed one closed candle at a time, peeked for an open one.
//! Pure, and the same to the last bit however the candles arrive: no fused multiply-add, sums oldest first, and
//! `peek(x)` is what `push(x)` answers, because push answers with peek. Crosses and recommendations are `signal`'s.
//! Knows only `market`.

mod bands;
mod ema;
mod hama;
mod macd;
mod params;
mod rsi;
mod window;
mod wma;
mod words;

pub use bands::{BandValues, Bands};
pub use ema::Ema;
pub use hama::{Hama, HamaValues};
pub use macd::{Macd, MacdValues};
pub use params::{BadParams, ExtraLengths, HamaParams, Length, Lengths, Thresholds};
pub use rsi::Rsi;
pub use wma::Wma;
pub use words::{BandState, BodyColor, MaTrend};
