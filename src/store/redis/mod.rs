//! The lowest layer of the Redis store: connections with deadlines, names, the scripts that check the lease, the lease
//! itself, and reading the log. It decides nothing: who builds on it says what is written, read again, and told.
//! A write whose answer is missing may have been done; the log alone knows, and is read then.

mod connect;
mod error;
mod grant;
pub mod keys;
mod lease;
pub mod log;
pub mod scripts;
mod settings;

pub use connect::{
    BLOCKING_DEADLINE, BlockingLink, COMMAND_DEADLINE, CONNECT_DEADLINE, CommandLink,
    MESSAGE_QUEUE, Message, PubSubLink, Warning,
};
pub use error::{Advice, BadEntry, RedisError};
pub use grant::{BadEngineId, EngineId, Grant, HighestTerm, Term};
pub use lease::{LEASE, LOOK_EVERY, LeaseKeeper, LeaseState, RENEW_EVERY, STOP_BEFORE};
pub use settings::{BadRedisUrl, RedisSettings};
