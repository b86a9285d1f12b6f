//! The HTTP room on a real socket, over a store in memory whose writes the test makes itself and an engine the test
//! plays.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hamacast::clock::{ExchangeClock, Mono};
use hamacast::engine::{Chart, EngineHandle, EngineInfo, SeriesQuery, Universe, WatchedContract};
use hamacast::http::{CompatCache, HttpSettings, HttpState, Limits, router, serve};
use hamacast::hub::{Hub, HubSettings};
use hamacast::market::{Interval, OpenTime, SeriesKey, SeriesStatus, Symbol, TimeMs};
use hamacast::signal::{
    ChangeBody, Correction, FeedState, FeedStatus, LiveView, Recommendation, Seq, SeriesCounts,
    SignalChange, SignalResult, Source, Stand, StoreState,
};
use hamacast::store::{Batch, MemoryStore, Occasion, Store, Write};
use hamacast::tasks::Tasks;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// 2025-12-29T09:15:00Z, on the grid of 15m.
pub(crate) const OPEN_MS: i64 = 1_767_000_600_000 - 900_000;
pub(crate) const INTERVALS: [Interval; 2] = [Interval::M15, Interval::H1];

pub(crate) struct Room {
    pub(crate) address: SocketAddr,
    pub(crate) client: reqwest::Client,
    pub(crate) memory: Arc<MemoryStore>,
    pub(crate) draining: CancellationToken,
    tasks: Tasks,
    /// Charts the engine was asked for; answered by the test.
    pub(crate) queries: mpsc::Receiver<SeriesQuery>,
    universe: watch::Sender<Arc<Universe>>,
    idle_handles: usize,
    readers: Mutex<Vec<mpsc::Sender<Arc<Batch>>>>,
    _info: watch::Sender<EngineInfo>,
}

impl Room {
    /// BTCUSDT, ETHUSDT and 币安人生USDT at 15m and 1h; the last 20 changes are kept.
    pub(crate) async fn start() -> Self {
        let tasks = Tasks::new();
        let memory = Arc::new(MemoryStore::new(20));
        let store = Store::Memory(memory.clone());
        let (universe, universe_seen) = watch::channel(Arc::new(universe()));
        let (info, info_seen) = watch::channel(EngineInfo::default());
        let (asked, queries) = mpsc::channel(8);
        let clock = ExchangeClock::from_wall();
        let engine = EngineHandle::new(universe_seen, info_seen, asked, clock.clone());
        let hub_settings = HubSettings::new(INTERVALS.to_vec());
        let (hub, readers) = Hub::start(hub_settings, &store, &clock, &tasks);
        let draining = CancellationToken::new();
        let state = HttpState {
            store,
            engine,
            compat: CompatCache::default(),
            hub,
            settings: Arc::new(settings()),
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
            queries,
            idle_handles: universe.receiver_count(),
            universe,
            readers: Mutex::new(readers),
            _info: info,
        }
    }

    /// As `start`, with a live result of every series.
    pub(crate) async fn start_live() -> Self {
        let room = Self::start().await;
        let mut writes = vec![Write::Status(status(FeedState::Live))];
        for name in ["BTCUSDT", "ETHUSDT", "币安人生USDT"] {
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

pub(crate) fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(Duration::from_secs(30))
        .no_proxy()
        .gzip(false)
        .build()
        .unwrap()
}

fn settings() -> HttpSettings {
    HttpSettings {
        version: "0.1.0".to_owned(),
        intervals: INTERVALS.to_vec(),
        allowed_origins: vec!["https://desk.example".to_owned()],
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
        scheduler_interval_minutes: 5,
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

pub(crate) fn key(name: &str, interval: Interval) -> SeriesKey {
    SeriesKey::new(Symbol::parse(name).unwrap(), interval)
}

pub(crate) fn written(result: SignalResult) -> Write {
    Write::Result {
        result: Box::new(result),
        occasion: Occasion::Update,
    }
}

pub(crate) fn status(feed: FeedState) -> FeedStatus {
    FeedStatus {
        feed,
        store: StoreState::Memory,
        series: SeriesCounts {
            live: 6,
            ..SeriesCounts::default()
        },
        lag_ms: Some(12),
        speed: 1.0,
        simulated: true,
    }
}

/// A live result that holds HOLD.
pub(crate) fn result(name: &str, interval: Interval) -> SignalResult {
    let open = OpenTime::from_ms(OPEN_MS);
    SignalResult {
        symbol: Symbol::parse(name).unwrap(),
        interval,
        status: SeriesStatus::Live,
        recommendation: Some(Recommendation::Hold),
        confidence: Some(0.3),
        price: Some(67_123.4),
        hama_open: Some(67_000.5),
        hama_high: Some(67_200.5),
        hama_low: Some(66_900.5),
        hama_close: Some(67_001.25),
        ma: Some(66_890.12),
        deviation_pct: Some(0.166),
        body_color: None,
        ma_trend: None,
        last_cross_direction: 1,
        last_cross_time: Some(open),
        bollinger: None,
        candle_open_time: Some(open),
        candle_close_time: Some(interval.close_time(open)),
        change_seq: Seq::NONE,
        changed_at: None,
        holes: 0,
        history: None,
        event_time: TimeMs::new(OPEN_MS + 1_000),
        live: Some(live(67_130.0)),
    }
}

pub(crate) fn live(price: f64) -> LiveView {
    LiveView {
        recommendation: Some(Recommendation::Hold),
        price,
        hama_close: Some(67_002.0),
        ma: Some(66_891.0),
        deviation_pct: Some(0.166),
    }
}

/// A change at the close of the `candle`th candle.
pub(crate) fn change(
    name: &str,
    interval: Interval,
    candle: i64,
    to: Recommendation,
) -> ChangeBody {
    let open = interval.steps(OpenTime::from_ms(OPEN_MS), candle);
    ChangeBody::Signal(SignalChange {
        key: key(name, interval),
        recommendation: to,
        previous: Recommendation::Hold,
        confidence: 0.7332,
        price: 67_123.4,
        hama_close: 67_001.25,
        ma: 66_890.12,
        deviation_pct: 0.166,
        candle_open_time: open,
        candle_close_time: interval.close_time(open),
        last_cross_direction: 1,
        last_cross_time: Some(open),
        event_time: interval.close_time(open).plus_ms(124),
        source: Source::Stream,
    })
}

/// The `candle`th candle was revised: its change does not hold.
pub(crate) fn correction(name: &str, interval: Interval, candle: i64) -> ChangeBody {
    let open = interval.steps(OpenTime::from_ms(OPEN_MS), candle);
    let close = interval.close_time(open);
    ChangeBody::Correction(Correction {
        key: key(name, interval),
        revision: 1,
        corrects: vec![close],
        stands: vec![Stand {
            candle_close_time: close,
            recommendation: Recommendation::Hold,
            previous: Recommendation::Hold,
        }],
        recommendation: Recommendation::Hold,
        previous: Recommendation::Buy,
        candle_open_time: open,
        candle_close_time: close,
        event_time: close.plus_ms(5_000),
        source: Source::Rest,
    })
}

/// A chart without candles.
pub(crate) fn empty_chart(key: &SeriesKey) -> Chart {
    Chart {
        symbol: key.symbol.clone(),
        interval: key.interval,
        candles: Vec::new(),
    }
}
