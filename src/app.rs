//! Assembly (under construction): binds sockets, builds the rooms from `Config`, owns the tasks.

use std::net::SocketAddr;

use crate::config::Config;

/// What `demo` simulates.
#[derive(Debug, Clone)]
pub struct DemoSettings {
    /// How many times as fast as ours the simulated time runs, 1 to 3,600.
    pub speed: u32,
    /// The same seed makes the same market.
    pub seed: u64,
    /// How many contracts the simulated exchange lists.
    pub symbols: usize,
    /// Where the simulated exchange listens; port 0: a free one.
    pub exchange_listen: SocketAddr,
}

/// Runs engine, hub, REST and dashboard until the process is told to stop.
///
/// # Errors
/// What kept it from starting or made it end.
#[expect(clippy::unused_async, reason = "under construction")]
pub async fn serve(config: Config) -> anyhow::Result<()> {
    anyhow::bail!("cannot listen on {} yet", config.listen.value)
}

/// As `serve`, on an embedded simulated exchange; what `config` says of the exchange does not count.
///
/// # Errors
/// As `serve`.
#[expect(clippy::unused_async, reason = "under construction")]
pub async fn demo(settings: DemoSettings, config: Config) -> anyhow::Result<()> {
    let DemoSettings { symbols, .. } = settings;
    anyhow::bail!(
        "cannot simulate {symbols} contracts for {} yet",
        config.listen.value
    )
}
