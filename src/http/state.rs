//! What a request can reach: the published state, the engine's handle, the hub, and settings. Cloned per request, so
//! everything in it is a handle.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::admin::AdminToken;
use super::asker::TrustedProxies;
use super::compat::CompatCache;
use crate::clock::Mono;
use crate::engine::EngineHandle;
use crate::hub::Hub;
use crate::market::Interval;
use crate::store::Store;
use crate::tasks::Tasks;

/// Among the allowed origins: pages of every origin.
pub(super) const ANY_ORIGIN: &str = "*";

/// Settings of the room.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpSettings {
    /// The program's version, as status shows it.
    pub version: String,
    /// Watched intervals; the first is the primary one: what an omitted `interval` means.
    pub intervals: Vec<Interval>,
    /// Origins (`https://host[:port]`) other than our own whose pages may read and connect; `*`: every one.
    pub allowed_origins: Vec<String>,
    /// Limits clients should know, shown by status.
    pub limits: Limits,
    /// How long the compatible API serves an analysis again, seconds.
    pub cache_ttl_secs: u64,
    /// Whether signals can be trusted without Redis.
    pub redis: RedisNeed,
    /// Whether `scheduler/start` is refused: the operator wants no engine here.
    pub start_disabled: bool,
    /// Most contracts a start may name.
    pub max_watched: usize,
    /// How long a call waits for the first result of a contract that is watched because it asks for it.
    pub first_result_within: Duration,
    /// Proxies that are believed whom they ask for, where limits count addresses.
    pub trusted_proxies: TrustedProxies,
    /// Bearer of calls that change something; none: they are accepted from this machine only.
    pub admin_token: Option<AdminToken>,
}

/// What a process is without Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisNeed {
    /// As good: memory serves.
    None,
    /// Nothing to rely on: an engine or a hub on its own.
    Full,
}

/// Limits clients should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Limits {
    /// WebSocket connections in all.
    pub connections: usize,
    /// WebSocket connections of one address; loopback is exempt.
    pub connections_per_ip: usize,
    /// Streams one connection may subscribe to.
    pub streams_per_connection: usize,
    /// Messages a second one client may send.
    pub client_messages_per_s: u32,
    /// Bytes of unsent changes after which a reader is too slow.
    pub slow_bytes: usize,
    /// Most changes replayed to one `since`.
    pub replay_changes: usize,
    /// Changes kept for catching up.
    pub kept_changes: usize,
}

/// What a request can reach; clones share it.
#[derive(Debug, Clone)]
pub struct HttpState {
    /// Published state and log.
    pub store: Store,
    /// Watch list, figures, charts, the exchange's clock.
    pub engine: EngineHandle,
    /// Analyses of the compatible API.
    pub compat: CompatCache,
    /// Takes over the sockets of the feed; none in an engine on its own.
    pub hub: Option<Hub>,
    /// Settings of the room.
    pub settings: Arc<HttpSettings>,
    /// Where upgrades are spawned; long polls end when it stops.
    pub tasks: Tasks,
    /// Cancelled when the program begins to leave: readiness says so at once, answering goes on.
    pub draining: CancellationToken,
    /// When the program started.
    pub started: Mono,
}

impl HttpState {
    /// WebSocket readers connected now.
    pub(super) fn connections(&self) -> usize {
        self.hub.as_ref().map_or(0, Hub::connections)
    }

    /// Whether the program is on its way out.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.is_cancelled() || self.tasks.is_stopping()
    }
}
