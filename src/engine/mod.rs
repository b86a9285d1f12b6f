//! Keeps every series live and says what to write. Knows `signal`, `exchange`, `store`.

mod chart;
mod handle;

pub use chart::{Chart, ChartRow};
pub use handle::{EngineGone, EngineHandle, EngineInfo, SeriesQuery, Universe, WatchedContract};
