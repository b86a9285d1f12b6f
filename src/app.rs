//! Assembly: binds sockets, builds the rooms from `Config`, owns the tasks. Commands and tests start it from here.
//! The stop drains in the order of the data: sources are told, the engine ends when their queue is empty, then the
//! store's writer, then the hub, which says goodbye to its readers. Nothing here knows a candle or a message.

mod quiet;
mod summary;
mod with_engine;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::clock::{ExchangeClock, Mono};
use crate::config::{Config, Secret};
use crate::engine::EngineHandle;
use crate::exchange::{BadProxy, Proxy};
use crate::http::{
    self, AdminToken, CompatCache, HttpSettings, HttpState, RedisNeed, TrustedProxies,
};
use crate::hub::{Hub, HubSettings};
use crate::simulator::Simulator;
use crate::simulator::proxy::SimProxy;
pub use crate::simulator::proxy::{ProxyFault, ProxyKind, ProxyLogin, ProxySettings};
pub use crate::simulator::{
    Direct, Fault, LegacyPaths, SimulatorError, SimulatorSettings, WeightTable,
};
use crate::store::redis::{BadRedisUrl, RedisSettings};
use crate::store::{KEPT_CHANGES, MemoryStore, RedisStore, Store, WANTED_FOR};
use crate::tasks::Tasks;

/// The process is gone 5 s after it was told to stop; what is not done by then is named and left.
const DRAIN: Duration = Duration::from_millis(4_500);

/// Plain HTTP connections at a time, readers of the feed not counted.
const MAX_HTTP_CONNECTIONS: usize = 4_096;

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

/// Which rooms a process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rooms {
    /// Engine, hub, REST and page.
    All,
    /// The engine alone, with health and status.
    Engine,
    /// Hub, REST and page, for an engine elsewhere.
    Hub,
}

/// How long things take that users know and nobody sets; tests have less time.
#[derive(Debug, Clone, Copy)]
pub struct Timings {
    /// A contract is watched for so long after the last time somebody asked for it.
    pub wanted_for: Duration,
    /// A call waits so long for the first result of a contract that is watched because it asks for it: one round trip to
    /// the exchange, and what it may wait behind.
    pub first_result_within: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            wanted_for: WANTED_FOR,
            first_result_within: Duration::from_secs(5),
        }
    }
}

/// A running server; it lives until `stop`.
#[derive(Debug)]
pub struct App {
    /// Where it listens.
    pub address: SocketAddr,
    /// Results and changes.
    pub store: Store,
    /// What the engine can be asked.
    pub engine: EngineHandle,
    tasks: Tasks,
    draining: CancellationToken,
    drain_delay: Duration,
}

impl App {
    /// Binds the address and starts every room; it accepts when this returns, and warms up meanwhile.
    ///
    /// # Errors
    /// The address cannot be listened on, the exchange's URLs or Redis' are none.
    pub async fn start(config: &Config, rooms: Rooms, tasks: &Tasks) -> anyhow::Result<Self> {
        Self::start_timed(config, rooms, Timings::default(), tasks).await
    }

    /// As `start`, with other timings.
    ///
    /// # Errors
    /// As `start`.
    pub async fn start_timed(
        config: &Config,
        rooms: Rooms,
        timings: Timings,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let listen = config.listen.value;
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("cannot listen on {listen}; choose another HAMA_LISTEN"))?;
        let address = listener
            .local_addr()
            .context("the listener has no address")?;
        let clock = ExchangeClock::from_wall();
        let store = store(config, timings)?;
        let (hub, readers) = match rooms {
            Rooms::All | Rooms::Hub => {
                let (hub, readers) = Hub::start(hub_settings(config), &store, &clock, tasks);
                (Some(hub), readers)
            }
            Rooms::Engine => (None, Vec::new()),
        };
        let engine = with_engine::start(config, rooms, &store, readers, &clock, tasks).await?;
        let minutes = summary::write(store.clone(), engine.clone(), hub.clone(), tasks.clone());
        tasks.spawn("summary", minutes);
        let draining = CancellationToken::new();
        let state = HttpState {
            store: store.clone(),
            engine: engine.clone(),
            compat: CompatCache::default(),
            hub,
            settings: Arc::new(HttpSettings {
                first_result_within: timings.first_result_within,
                ..http_settings(config, rooms)
            }),
            tasks: tasks.clone(),
            draining: draining.clone(),
            started: Mono::now(),
        };
        let router = match rooms {
            Rooms::All | Rooms::Hub => http::router(state),
            Rooms::Engine => http::engine_router(state),
        };
        http::serve(listener, router, MAX_HTTP_CONNECTIONS, tasks);
        let drain_delay = config.drain_delay.value;
        Ok(Self {
            address,
            store,
            engine,
            tasks: tasks.clone(),
            draining,
            drain_delay,
        })
    }

    /// Stops: not ready at once, still accepting for the drain delay, then everything ends within 5 s. Returns the
    /// names of tasks that did not.
    pub async fn stop(self) -> Vec<&'static str> {
        self.draining.cancel();
        tokio::time::sleep(self.drain_delay).await;
        self.tasks.drain(DRAIN).await
    }
}

/// Runs a server with these rooms until the process is told to stop.
///
/// # Errors
/// What kept it from starting or made it end.
pub async fn serve(config: Config, rooms: Rooms) -> anyhow::Result<()> {
    run(config, rooms, Tasks::new()).await
}

/// As `serve`, on an embedded simulated exchange; what `config` says of the exchange does not count.
///
/// # Errors
/// As `serve`.
pub async fn demo(settings: DemoSettings, mut config: Config) -> anyhow::Result<()> {
    let tasks = Tasks::new();
    let market = SimulatorSettings {
        seed: settings.seed,
        symbols: settings.symbols,
        speed: f64::from(settings.speed),
        intervals: config.watch.intervals.value.clone(),
        ..SimulatorSettings::default()
    };
    let simulator = Simulator::start(market, settings.exchange_listen, &tasks).await?;
    let exchange = simulator.local_addr();
    config.exchange.rest_url.value = format!("http://{exchange}");
    config.exchange.ws_url.value = format!("ws://{exchange}");
    config.watch.top.value = settings.symbols;
    eprintln!(
        "simulated exchange on http://{exchange}, {} times as fast as real time",
        settings.speed
    );
    run(config, Rooms::All, tasks).await
}

/// Runs the simulated exchange alone, and proxies to it, until the process is told to stop.
///
/// # Errors
/// A `SimulatorError`, which says whether the user's settings are at fault; or a part of it ended by itself.
pub async fn exchange(
    settings: SimulatorSettings,
    listen: SocketAddr,
    proxies: Vec<(ProxySettings, SocketAddr)>,
) -> anyhow::Result<()> {
    let tasks = Tasks::new();
    let simulator = Simulator::start(settings, listen, &tasks).await?;
    let signals = StopSignals::listen()?;
    for (settings, listen) in proxies {
        let proxy = SimProxy::start(&simulator, settings, listen, &tasks).await?;
        eprintln!("proxy to it on {}", proxy.url());
    }
    println!("listening on http://{}", simulator.local_addr());
    let asked = tokio::select! {
        asked = signals.asked() => Some(asked),
        () = tasks.stopping() => None,
    };
    tracing::info!(by = asked.unwrap_or("a part that ended"), "stopping");
    let left = tasks.drain(DRAIN).await;
    how_it_ended(asked, tasks.gave_up(), &left)
}

/// Runs until a signal asks to stop. An error: a part of it ended by itself.
async fn run(config: Config, rooms: Rooms, tasks: Tasks) -> anyhow::Result<()> {
    let app = App::start(&config, rooms, &tasks).await?;
    let signals = StopSignals::listen()?;
    println!("listening on http://{}", app.address);
    let asked = tokio::select! {
        asked = signals.asked() => Some(asked),
        () = tasks.stopping() => None,
    };
    tracing::info!(by = asked.unwrap_or("a part that ended"), "stopping");
    let left = app.stop().await;
    how_it_ended(asked, tasks.gave_up(), &left)
}

/// An error unless a signal asked for the end and everything took part in it.
fn how_it_ended(
    asked: Option<&'static str>,
    gave_up: Option<&str>,
    left: &[&'static str],
) -> anyhow::Result<()> {
    if let Some(why) = gave_up {
        anyhow::bail!("{why}");
    }
    anyhow::ensure!(
        asked.is_some(),
        "a part of it ended by itself; the log above says which and why"
    );
    anyhow::ensure!(left.is_empty(), "did not end in time: {}", left.join(", "));
    Ok(())
}

/// The signals that ask the process to stop. They are listened for before anybody is told that it runs: whoever reads that
/// line may send one at once, and it must end in good order.
#[derive(Debug)]
struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    fn listen() -> anyhow::Result<Self> {
        let of = |kind| signal(kind).context("signals cannot be waited for");
        Ok(Self {
            interrupt: of(SignalKind::interrupt())?,
            terminate: of(SignalKind::terminate())?,
        })
    }

    /// The name of the one that came, since `listen`.
    async fn asked(mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// Where results and changes are kept.
///
/// # Errors
/// What `config` says is no Redis.
fn store(config: &Config, timings: Timings) -> Result<Store, BadRedisUrl> {
    let wanted_for = timings.wanted_for;
    Ok(match redis_settings(config)? {
        Some(mut settings) => {
            settings.wanted_for = wanted_for;
            Store::Redis(RedisStore::new(settings))
        }
        None => Store::Memory(Arc::new(
            MemoryStore::new(KEPT_CHANGES).wanted_for(wanted_for),
        )),
    })
}

/// Where Redis is; none: memory only.
///
/// # Errors
/// What `config` says is no Redis.
pub fn redis_settings(config: &Config) -> Result<Option<RedisSettings>, BadRedisUrl> {
    let redis = &config.redis;
    if !redis.enabled.value {
        return Ok(None);
    }
    let mut settings = match (&redis.url.value, &redis.host.value) {
        (Some(url), _) => RedisSettings::of_url(url.expose())?,
        (None, host) => {
            let host = host.as_deref().unwrap_or("127.0.0.1");
            let password = redis.password.value.as_ref().map(Secret::expose);
            RedisSettings::of_host(host, redis.port.value, redis.db.value, password)?
        }
    };
    settings.cache_ttl_secs = redis.cache_ttl.value.as_secs();
    settings.result_interval_ms = config.result_interval_ms.value;
    settings.wait_replicas = redis.wait_replicas.value;
    Ok(Some(settings))
}

/// The proxy to the exchange; none: straight.
///
/// # Errors
/// What `config` says is none. Says which variable is wrong, and nothing of its value.
pub fn proxy(config: &Config) -> Result<Option<Proxy>, BadProxy> {
    let text = config.exchange.proxy.value.as_ref();
    text.map(|text| Proxy::parse(text.expose())).transpose()
}

fn hub_settings(config: &Config) -> HubSettings {
    let mut settings = HubSettings::new(config.watch.intervals.value.clone());
    settings.limits.max_streams = config.limits.max_streams.value;
    settings.limits.client_messages_per_s = config.limits.client_messages_per_s.value;
    settings.limits.max_watched = config.watch.max_watched.value;
    settings.limits.slow_bytes = config.limits.slow_bytes.value;
    settings.limits.queue_total_bytes = config.limits.queue_total_mb.value << 20;
    settings.limits.replay_max = config.limits.replay_max.value;
    settings
}

fn http_settings(config: &Config, rooms: Rooms) -> HttpSettings {
    let limits = http::Limits {
        connections: config.limits.max_connections.value,
        connections_per_ip: config.limits.max_connections_per_ip.value,
        streams_per_connection: config.limits.max_streams.value,
        client_messages_per_s: config.limits.client_messages_per_s.value,
        slow_bytes: config.limits.slow_bytes.value,
        replay_changes: config.limits.replay_max.value,
        kept_changes: KEPT_CHANGES,
    };
    let token = config.access.admin_token.value.as_ref();
    let proxies = config.access.trusted_proxies.value.iter();
    HttpSettings {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        intervals: config.watch.intervals.value.clone(),
        allowed_origins: config.access.allowed_origins.value.clone(),
        limits,
        cache_ttl_secs: config.redis.cache_ttl.value.as_secs(),
        redis: match rooms {
            Rooms::All if config.scheduler.enabled.value => RedisNeed::None,
            Rooms::All | Rooms::Engine | Rooms::Hub => RedisNeed::Full,
        },
        start_disabled: !config.scheduler.enabled.value,
        max_watched: config.watch.max_watched.value,
        first_result_within: Timings::default().first_result_within,
        trusted_proxies: TrustedProxies(proxies.map(|one| (one.address, one.prefix_len)).collect()),
        admin_token: token.map(|token| AdminToken::new(token.expose())),
    }
}
