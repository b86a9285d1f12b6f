//! The streams: which series go over which connection, and the pace at which connections are opened.

use std::sync::Arc;

use tokio::sync::watch;

use super::Times;
use crate::clock::ExchangeClock;
use crate::exchange::{FeedSender, StreamCounts, Streams};
use crate::tasks::Tasks;

/// Starts the task that owns all connections.
pub(super) fn start(
    _url: String,
    _times: Times,
    _clock: ExchangeClock,
    tasks: &Tasks,
    feed: FeedSender,
) -> Streams {
    let (wanted, _rx) = watch::channel(Arc::default());
    let owner = tasks.clone();
    tasks.spawn("exchange streams", async move {
        owner.stopping().await;
        drop(feed);
    });
    Streams {
        wanted,
        counts: Arc::new(StreamCounts::default()),
    }
}
