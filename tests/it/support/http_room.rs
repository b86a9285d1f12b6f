//! The HTTP room on a real socket, over a store in memory whose writes the test makes itself and an engine the test
//! plays.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hamacast::clock::{ExchangeClock, Mono};
use hamacast::engine::{
    Chart, EngineHandle, EngineInfo, Order, SchedulerInfo, Universe, WatchedContract,
};
use hamacast::http::{
    CompatCache, HttpSettings, HttpState, Limits, RedisNeed, TrustedProxies, router, serve,
};
use hamacast::hub::{Hub, HubSettings};
use hamacast::market::{Interval, OpenTime, SeriesKey, Symbol, TimeMs};
use hamacast::signal::{
    ChangeBody, FeedState, FeedStatus, Recommendation, SeriesCounts, SignalResult, Source,
};
use hamacast::store::{Batch, MemoryStore, Store, Write};
use hamacast::tasks::Tasks;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::fixtures::{self, tradable};
pub(crate) use super::fixtures::{key, live, update as written};

/// 2025-12-29T09:15:00Z, on the grid of 15m.
pub(crate) const OPEN_MS: i64 = 1_767_000_600_000 - 900_000;
pub(crate) const INTERVALS: [Interval; 2] = [Interval::M15, Interval::H1];

pub(crate) struct Room {
    pub(crate) address: SocketAddr,
    pub(crate) client: reqwest::Client,
    pub(crate) memory: Arc<MemoryStore>,
    pub(crate) draining: CancellationToken,
    tasks: Tasks,
    /// What the engine was asked for; answered by the test.
    pub(crate) orders: mpsc::Receiver<Order>,
    pub(crate) scheduler: watch::Sender<SchedulerInfo>,
    universe: watch::Sender<Arc<Universe>>,
    idle_handles: usize,
    readers: Mutex<Vec<mpsc::Sender<Arc<Batch>>>>,
    pub info: watch::Sender<EngineInfo>,
}

impl Room {
    /// BTCUSDT, ETHUSDT and 币安人生USDT at 15m and 1h; the last 20 changes are kept.
    pub(crate) async fn start() -> Self {
        Self::start_for(&["https://desk.example"]).await
    }

    /// As `start`, for pages of these origins beside our own.
    pub(crate) async fn start_for(origins: &[&str]) -> Self {
        Self::start_as(settings(origins)).await
    }

    /// As `start`; a call waits so long for the first result of what it has watched.
    pub(crate) async fn start_hasty(first_result_within: Duration) -> Self {
        let settings = HttpSettings {
            first_result_within,
            ..settings(&[])
        };
        Self::start_as(settings).await
    }

    /// As `start_hasty`, behind proxies on this machine that are trusted.
    pub(crate) async fn start_behind_proxies(first_result_within: Duration) -> Self {
        let settings = HttpSettings {
            first_result_within,
            trusted_proxies: TrustedProxies(vec![("127.0.0.1".parse().unwrap(), 32)]),
            ..settings(&[])
        };
        Self::start_as(settings).await
    }

    async fn start_as(settings: HttpSettings) -> Self {
        let tasks = Tasks::new();
        let memory = Arc::new(MemoryStore::new(20));
        let store = Store::Memory(memory.clone());
        let (universe, universe_seen) = watch::channel(Arc::new(universe()));
        let (info, info_seen) = watch::channel(EngineInfo::default());
        let (scheduler, scheduler_seen) = watch::channel(SchedulerInfo {
            running: true,
            symbols: 3,
            sweep_every: Duration::from_secs(300),
            ..SchedulerInfo::default()
        });
        let (asked, orders) = mpsc::channel(8);
        let clock = ExchangeClock::from_wall();
        let engine = EngineHandle::new(
            universe_seen,
            info_seen,
            scheduler_seen,
            asked,
            clock.clone(),
        );
        let mut hub_settings = HubSettings::new(INTERVALS.to_vec());
        hub_settings.limits.max_watched = 30;
        let (hub, readers) = Hub::start(hub_settings, &store, &clock, &tasks);
        let draining = CancellationToken::new();
        let state = HttpState {
            store,
            engine,
            compat: CompatCache::default(),
            hub: Some(hub),
            settings: Arc::new(settings),
            tasks: tasks.clone(),
            draining: draining.clone(),
            started: Mono::now(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        serve(listener, router(state), 64, &tasks);
        Self {
            address,
            client: client(),
            memory,
            draining,
            tasks,
            orders,
            scheduler,
            idle_handles: universe.receiver_count(),
            universe,
            readers: Mutex::new(readers),
            info,
        }
    }

    /// As `start`, with a live result of every series.
    pub(crate) async fn start_live() -> Self {
        let room = Self::start().await;
        let names = ["BTCUSDT", "ETHUSDT", "币安人生USDT"];
        let mut writes = vec![tradable(&names), Write::Status(status(FeedState::Live))];
        for name in names {
            for interval in INTERVALS {
                writes.push(written(result(name, interval)));
            }
        }
        room.write(writes);
        room
    }

    /// Resolves while a request is being answered: each holds the engine's handle until it is.
    pub(crate) async fn in_flight(&self) {
        self.in_flight_by(1).await;
    }

    /// As `in_flight`, with so many handles held; a request may hold two.
    pub(crate) async fn in_flight_by(&self, handles: usize) {
        let idle = self.idle_handles;
        let waiting = async {
            while self.universe.receiver_count() < idle + handles {
                tokio::task::yield_now().await;
            }
        };
        let within = Duration::from_secs(10);
        let came = tokio::time::timeout(within, waiting).await;
        came.unwrap_or_else(|_| panic!("{idle} handles, and no request came"));
    }

    /// The 24 h changes of contracts, as the watch list tells them.
    pub(crate) fn set_changes(&self, changes: &[(&str, f64)]) {
        let mut universe = universe();
        for (name, change_pct) in changes {
            let wanted = Symbol::parse(name).unwrap();
            let mut contracts = universe.contracts.iter_mut();
            let contract = contracts.find(|contract| contract.symbol == wanted);
            contract.unwrap().change_pct_24h = Some(*change_pct);
        }
        self.universe.send_replace(Arc::new(universe));
    }

    /// Names of an object's fields, sorted.
    pub(crate) fn fields(object: &serde_json::Value) -> Vec<&String> {
        let mut names: Vec<_> = object.as_object().unwrap().keys().collect();
        names.sort();
        names
    }

    /// Writes a burst and hands it to the hub, as the store's writer does.
    pub(crate) fn write(&self, writes: Vec<Write>) {
        let batch = Arc::new(self.memory.write(writes));
        for reader in self.readers.lock().unwrap().iter() {
            reader.try_send(batch.clone()).unwrap();
        }
    }

    /// The stop, in the order of the data; names of tasks still running after 10 s.
    pub(crate) async fn leave(&self) -> Vec<&'static str> {
        self.tasks.stop();
        self.readers.lock().unwrap().clear();
        self.tasks.drain(Duration::from_secs(10)).await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn request(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(self.url(path))
    }

    /// The answer's status and body.
    pub(crate) async fn get(&self, path: &str) -> (u16, serde_json::Value) {
        let response = self.request(path).send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{path}: {status}, {error}: {text}"));
        (status, body)
    }

    /// The answer must be a problem with this status and slug; its detail.
    pub(crate) async fn problem(&self, path: &str, status: u16, slug: &str) -> String {
        let response = self.request(path).send().await.unwrap();
        let kind = response.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        let body: serde_json::Value = response.json().await.unwrap();
        assert_eq!(kind, "application/problem+json", "{path}: {body}");
        assert_eq!(body["status"], status, "{path}: {body}");
        assert_eq!(
            body["type"],
            format!("urn:hamacast:problem:{slug}"),
            "{path}: {body}"
        );
        assert!(body["title"].is_string(), "{path}: {body}");
        body["detail"].as_str().unwrap().to_owned()
    }

    /// Gives the next number to a change of BTCUSDT 15m, `candle` candles after the first.
    pub(crate) fn change(&self, name: &str, interval: Interval, candle: i64, to: Recommendation) {
        let change = change(name, interval, candle, to);
        self.write(vec![Write::Change(change)]);
    }
}

/// A client that opens a connection for each request: a kept one may be closed at the very moment of the next request.
pub(crate) fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(Duration::from_secs(30))
        .pool_max_idle_per_host(0)
        .no_proxy()
        .gzip(false)
        .build()
        .unwrap()
}

fn settings(origins: &[&str]) -> HttpSettings {
    HttpSettings {
        version: "0.1.0".to_owned(),
        intervals: INTERVALS.to_vec(),
        allowed_origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
        limits: Limits {
            connections: 100,
            connections_per_ip: 64,
            streams_per_connection: 1_024,
            client_messages_per_s: 10,
            slow_bytes: 1_048_576,
            replay_changes: 10_000,
            kept_changes: 20,
        },
        cache_ttl_secs: 300,
        redis: RedisNeed::None,
        start_disabled: false,
        max_watched: 600,
        first_result_within: Duration::from_secs(5),
        trusted_proxies: TrustedProxies::default(),
        admin_token: None,
    }
}

fn universe() -> Universe {
    let contract = |base: &str, rank| WatchedContract {
        symbol: Symbol::parse(&format!("{base}USDT")).unwrap(),
        base_asset: base.to_owned(),
        quote_asset: "USDT".to_owned(),
        rank: Some(rank),
        tick_size: Some(0.1),
        quote_volume_24h: Some(1e9),
        change_pct_24h: None,
    };
    Universe {
        contracts: vec![
            contract("BTC", 1),
            contract("ETH", 2),
            contract("币安人生", 3),
        ],
        intervals: INTERVALS.to_vec(),
        updated_at: Some(TimeMs::new(OPEN_MS)),
    }
}

pub(crate) fn status(feed: FeedState) -> FeedStatus {
    FeedStatus {
        series: SeriesCounts {
            live: 6,
            ..SeriesCounts::default()
        },
        lag_ms: Some(12),
        simulated: true,
        ..fixtures::status(feed)
    }
}

/// A live result that holds HOLD, and so does its open candle.
pub(crate) fn result(name: &str, interval: Interval) -> SignalResult {
    SignalResult {
        live: Some(live(67_130.0)),
        ..fixtures::result(&key(name, interval), OpenTime::from_ms(OPEN_MS))
    }
}

/// A change from HOLD at the close of the `candle`th candle.
pub(crate) fn change(
    name: &str,
    interval: Interval,
    candle: i64,
    to: Recommendation,
) -> ChangeBody {
    let open = interval.steps(OpenTime::from_ms(OPEN_MS), candle);
    let hold = Recommendation::Hold;
    ChangeBody::Signal(fixtures::signal(key(name, interval), open, hold, to))
}

/// The `candle`th candle was revised: its change does not hold.
pub(crate) fn correction(name: &str, interval: Interval, candle: i64) -> ChangeBody {
    let open = interval.steps(OpenTime::from_ms(OPEN_MS), candle);
    ChangeBody::Correction(fixtures::correction(
        key(name, interval),
        open,
        Source::Rest,
    ))
}

/// A chart without candles.
pub(crate) fn empty_chart(key: &SeriesKey) -> Chart {
    Chart {
        symbol: key.symbol.clone(),
        interval: key.interval,
        candles: Vec::new(),
    }
}
