//! Keeps every watched series live and says which results and changes to write.
//! `core` is the engine as plain code: events and a moment in, effects out. `task` is all that is asynchronous about it;
//! `fetcher` spends the request budget; `universe` reads the watch list. How a candle is computed is `signal`'s, how a
//! change is numbered is `store`'s, and nothing here knows who listens.

mod auditing;
mod chart;
mod complaints;
mod core;
mod effect;
mod feed_state;
mod fetcher;
mod figures;
mod forward;
mod handle;
mod moment;
mod order;
mod patience;
mod remote;
mod result;
mod settings;
mod sweep;
mod task;
mod timekeeper;
mod universe;
mod warmup;
mod watched;

pub use self::chart::{Chart, ChartRow};
pub use self::core::{Engine, Event};
pub use self::effect::{Effect, FetchJob, Urgency};
pub use self::figures::{AuditFigures, CLOSE_DELAY_BUCKETS_MS, CloseDelays, Losses, StreamFigures};
pub use self::handle::{EngineHandle, EngineInfo, Universe, WatchedContract};
pub use self::moment::Moment;
pub use self::order::{Order, OrderError, SchedulerInfo, StartOrder, Started};
pub use self::remote::{remote, routed, serve_hubs};
pub use self::settings::{Beginning, EngineSettings, Operation, TechnicalFigures};
pub use self::sweep::{SweepFigures, SweepOutcome, SweepProgress};
pub use self::task::start;
pub use self::universe::{WatchList, WatchListError};
pub use crate::exchange::RefusedRows;

#[cfg(test)]
mod tests;
