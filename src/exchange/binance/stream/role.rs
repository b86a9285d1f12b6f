//! What a place in the plan says to the sockets that fill it, and what they say to the place. While a socket is replaced
//! there are two, and only the one that carries may tell the engine of itself.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::connection::End;
use crate::clock::Mono;
use crate::exchange::ConnectionId;

/// What a socket is to its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It subscribes and delivers beside the one it is to replace; the engine does not know of it.
    Proving,
    /// Its series are its own: it says `Up` and `Down`.
    Carrying,
    /// It was replaced and closes without a word.
    Retired,
}

/// Why a socket is to be replaced while it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The exchange cuts it after 24 hours (hazard 11).
    Age,
    /// The exchange says that it is about to close it.
    Shutdown,
    /// Some of its series stay mute (hazard 10).
    Mute,
}

/// What a socket reports.
pub(super) enum News {
    /// It proved itself: it may take over.
    Ready,
    /// It should be replaced.
    Replace(Why),
    /// It has ended.
    Ended(End),
}

/// On what terms a socket lives.
pub(super) struct Terms {
    pub(super) id: ConnectionId,
    /// The one it is brought up beside.
    pub(super) beside: Option<ConnectionId>,
    pub(super) role: watch::Receiver<Role>,
    pub(super) reports: mpsc::Sender<(ConnectionId, News)>,
    /// Before this it heals nothing: the place has healed lately.
    pub(super) heal_at: Mono,
    /// How long its first candle may take.
    pub(super) patience: Duration,
    /// Between two of its messages.
    pub(super) message_gap: Duration,
}
