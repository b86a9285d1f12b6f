//! One scene: a simulated exchange in this process, `serve` as a process of its own on it, and a reader of everything it
//! tells. At the end `assert_true` asks of every scene the same.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hamacast::market::{Interval, SeriesKey, Symbol, TimeMs};
use hamacast::simulator::{Fault, Simulator, SimulatorSettings};
use hamacast::tasks::Tasks;
use serde_json::Value;
use tempfile::TempDir;

use super::reader::Reader;
use super::truth;
use crate::support::http_room::client;
use crate::support::process::Server;

/// Nothing here takes that long on a machine that is not stuck.
const PATIENCE: Duration = Duration::from_secs(180);

/// Weight the exchange allows in a minute.
const WEIGHT_LIMIT: u32 = 2_400;

pub(super) struct Scene {
    pub(super) exchange: Simulator,
    pub(super) intervals: Vec<Interval>,
    pub(super) symbols: usize,
    /// Candles compared of each series.
    pub(super) compared_candles: usize,
    /// Of so many series one is compared.
    pub(super) compared_every: usize,
    tasks: Tasks,
    variables: Vec<(&'static str, String)>,
    server: Option<Server>,
    address: String,
    folder: TempDir,
    http: reqwest::Client,
}

/// What a scene showed, for the last line a person reads.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) changes: usize,
    pub(super) corrections: usize,
    pub(super) candles: usize,
    pub(super) weight_peak: u32,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.tasks.stop();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.log()).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            eprintln!(
                "--- serve\n{}",
                lines[lines.len().saturating_sub(40)..].join("\n")
            );
        }
    }
}

impl Scene {
    /// An exchange; nobody follows it yet.
    pub(super) async fn of(settings: SimulatorSettings) -> Self {
        let tasks = Tasks::new();
        let (intervals, symbols) = (settings.intervals.clone(), settings.symbols);
        let listen = "127.0.0.1:0".parse().unwrap();
        let exchange = Simulator::start(settings, listen, &tasks).await.unwrap();
        let names: Vec<_> = intervals.iter().map(|interval| interval.name()).collect();
        let address = exchange.local_addr();
        let variables = vec![
            ("HAMA_BINANCE_REST_URL", format!("http://{address}")),
            ("HAMA_BINANCE_WS_URL", format!("ws://{address}")),
            ("HAMA_TOP", symbols.to_string()),
            ("HAMA_INTERVALS", names.join(",")),
            ("HAMA_LISTEN", "127.0.0.1:0".to_owned()),
        ];
        Self {
            exchange,
            intervals,
            symbols,
            compared_candles: 1_500,
            compared_every: 1,
            tasks,
            variables,
            server: None,
            address: String::new(),
            folder: tempfile::tempdir().unwrap(),
            http: client(),
        }
    }

    /// An exchange, followed by a server whose every series is live, and by a reader of all it tells.
    pub(super) async fn live(settings: SimulatorSettings) -> (Self, Reader) {
        Self::of(settings).await.followed().await
    }

    /// The same, followed as `live` says.
    pub(super) async fn followed(mut self) -> (Self, Reader) {
        self.serve();
        self.all_live().await;
        let reader = self.read().await;
        (self, reader)
    }

    /// Starts a server on the exchange; the one before is gone.
    pub(super) fn serve(&mut self) {
        self.kill();
        let variables: Vec<_> = self
            .variables
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let server = Server::start_logging(&["serve"], &variables, &self.log());
        self.address.clone_from(&server.address);
        self.server = Some(server);
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill();
        }
    }

    /// Sends the server a signal.
    pub(super) fn signal(&self, name: &str) {
        let pid = self.server.as_ref().unwrap().id().to_string();
        let sent = std::process::Command::new("kill")
            .args([name, &pid])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Everything the server logged.
    pub(super) fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("serve.log")
    }

    pub(super) async fn read(&self) -> Reader {
        Reader::start(&self.address, &self.intervals, &self.tasks).await
    }

    /// Tells the exchange what goes wrong from now on, in the form of its timeline.
    pub(super) fn fault(&self, json: &Value) {
        for fault in Fault::parse_all(&json.to_string()).unwrap() {
            self.exchange.fault(fault).unwrap();
        }
    }

    /// How often any fault has struck.
    pub(super) fn strikes(&self) -> u64 {
        let faults = self.exchange.faults().faults;
        faults.iter().map(|fault| fault.strikes).sum()
    }

    /// Waits until it holds, looking 20 times a second; how long that took.
    pub(super) async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) -> Duration {
        let began = Instant::now();
        let mut looks = tokio::time::interval(Duration::from_millis(50));
        loop {
            looks.tick().await;
            if holds().await {
                return began.elapsed();
            }
            let waited = began.elapsed();
            assert!(waited < PATIENCE, "{what}: not within {waited:?}");
        }
    }

    /// Waits until the exchange's clock has come to `time`.
    pub(super) async fn until_time(&self, time: TimeMs) {
        self.until("the exchange's time", async || self.exchange.now() >= time)
            .await;
    }

    /// Waits for so much exchange time.
    pub(super) async fn pass(&self, exchange_ms: i64) {
        self.until_time(self.exchange.now().plus_ms(exchange_ms))
            .await;
    }

    /// The next close of the primary interval that is at least `ahead_ms` away.
    pub(super) fn next_close(&self, ahead_ms: i64) -> TimeMs {
        let interval = self.intervals[0];
        interval.close_time(interval.open_at(self.exchange.now().plus_ms(ahead_ms)))
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        let url = format!("http://{}{path}", self.address);
        let answer = self.http.get(&url).send().await.unwrap();
        answer.json().await.unwrap()
    }

    /// Has the newest candles of a contract read anew; the compatible API's answer.
    pub(super) async fn refresh(&self, symbol: &Symbol) -> Value {
        let url = format!("http://{}/api/gainer-analysis/analyze-symbol", self.address);
        let body = serde_json::json!({"symbol": symbol.as_str(), "force_refresh": true});
        let answer = self.http.post(&url).json(&body).send().await.unwrap();
        answer.json().await.unwrap()
    }

    /// Waits until every series is live.
    pub(super) async fn all_live(&self) -> Duration {
        let all = self.symbols * self.intervals.len();
        self.until("all live", async || {
            let status = self.get("/api/v1/status").await;
            status["series"]["live"] == all && status["feed"] == "live"
        })
        .await
    }

    /// Waits until the server is up to date; then: every candle it holds is the exchange's, what the reader was told is
    /// what the exchange's candles say, none of it by a series that was not live, and no rule of the exchange was broken.
    pub(super) async fn assert_true(&self, reader: &Reader) -> Outcome {
        let until = self.exchange.now();
        let reached = |result: &Value| {
            let interval = Interval::parse(result["interval"].as_str().unwrap()).unwrap();
            let last = interval.open_at(until).time().plus_ms(-1);
            result["candle_close_time"].as_i64() >= Some(last.ms())
        };
        self.until("all candles", async || {
            let answer = self.get("/api/v1/signals?interval=all&status=live").await;
            let results = answer["signals"].as_array().unwrap();
            results.len() == self.symbols * self.intervals.len() && results.iter().all(reached)
        })
        .await;
        let head = self.get("/api/v1/changes?limit=1").await["seq"]
            .as_u64()
            .unwrap();
        self.until("the newest change", async || reader.seq() >= head)
            .await;
        self.assert_told(reader, until).await
    }

    async fn assert_told(&self, reader: &Reader, until: TimeMs) -> Outcome {
        let record = reader.record();
        assert_eq!(record.broken, [""; 0]);
        let mut outcome = Outcome {
            changes: 0,
            corrections: record.corrections(),
            candles: 0,
            weight_peak: self.exchange.stats().totals.weight_peak,
        };
        for key in self.series().into_iter().step_by(self.compared_every) {
            let path = format!(
                "/api/v1/candles/{}?interval={}&limit={}",
                key.symbol, key.interval, self.compared_candles
            );
            let chart = self.get(&path).await;
            outcome.candles += truth::assert_candles(&self.exchange, &key, &chart);
            outcome.changes += truth::assert_record(&self.exchange, &key, &record, until);
        }
        let stats = self.exchange.stats();
        assert_eq!(stats.violation_count, 0, "{:?}", stats.violations);
        assert!(outcome.weight_peak <= WEIGHT_LIMIT, "{outcome:?}");
        outcome
    }

    /// Every series there should be.
    pub(super) fn series(&self) -> Vec<SeriesKey> {
        let symbols = self.exchange.symbols();
        let watched = symbols.into_iter().take(self.symbols);
        watched
            .flat_map(|symbol| {
                let of = move |interval| SeriesKey::new(symbol.clone(), interval);
                self.intervals.iter().copied().map(of).collect::<Vec<_>>()
            })
            .collect()
    }
}
