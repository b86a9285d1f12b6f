//! Engine, hubs and the simulated exchange as processes of their own, joined by a real Redis; a reader that checks every
//! item it is told; and the exchange's own candles, to compare the log with.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hamacast::market::{Candle, OpenTime};
use hamacast::signal::Analyzer;
use redis::aio::MultiplexedConnection;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::http_room::client;
use super::hub::{Client, items};
use super::process::Server;
use super::redis::{Keeps, RedisOptions, RedisServer};

/// Nothing here takes that long on a machine that is not stuck.
const PATIENCE: Duration = Duration::from_secs(90);
const QUARTER_MS: i64 = 900_000;
const STREAMS: &str = r#"["!signal_15m@arr"]"#;

/// The market and how fast it goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Market {
    pub(crate) symbols: usize,
    pub(crate) speed: u32,
    /// Milliseconds between two updates of an open candle.
    pub(crate) update_ms: u32,
}

/// Four candles a second, twenty contracts: a change a second or more.
pub(crate) const FAST: Market = Market {
    symbols: 20,
    speed: 3_600,
    update_ms: 500,
};

/// What all processes of a test share.
pub(crate) struct Cluster {
    pub(crate) redis: RedisServer,
    pub(crate) exchange: Server,
    pub(crate) market: Market,
    /// Added to the environment of every process.
    pub(crate) variables: Vec<(&'static str, &'static str)>,
    http: reqwest::Client,
    folder: TempDir,
    started: Cell<usize>,
}

/// A process of the program; when the test fails, the end of its log is shown.
pub(crate) struct Node {
    server: Option<Server>,
    pub(crate) address: String,
    name: String,
    log: PathBuf,
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(25)..].join("\n");
            eprintln!("--- {} ({})\n{end}", self.name, self.address);
        }
    }
}

impl Node {
    pub(crate) fn kill(mut self) {
        self.server.take().unwrap().kill();
    }

    /// Waits until its log says so.
    pub(crate) async fn until_logged(&self, words: &str) {
        let began = Instant::now();
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        while !std::fs::read_to_string(&self.log).unwrap().contains(words) {
            tick.tick().await;
            assert!(
                began.elapsed() < PATIENCE,
                "{} never said {words:?}",
                self.name
            );
        }
    }

    /// Sends SIGTERM and does not wait.
    pub(crate) fn ask_to_end(&self) {
        self.server.as_ref().unwrap().ask_to_end();
    }

    /// Waits for the end of a process that was asked: its exit code.
    pub(crate) fn ended(mut self) -> Option<i32> {
        self.server.take().unwrap().terminate().0
    }
}

impl Cluster {
    pub(crate) async fn start(market: Market, keeps: Keeps) -> Self {
        let redis = RedisServer::with(RedisOptions {
            keeps,
            ..RedisOptions::default()
        });
        let folder = tempfile::tempdir().unwrap();
        let (symbols, speed) = (market.symbols.to_string(), market.speed.to_string());
        let update_ms = market.update_ms.to_string();
        let arguments = [
            "exchange",
            "--listen=127.0.0.1:0",
            "--intervals=15m",
            "--seed=3",
            "--update-ms",
            &update_ms,
            "--symbols",
            &symbols,
            "--speed",
            &speed,
        ];
        let exchange = Server::start_logging(&arguments, &[], &folder.path().join("exchange"));
        Self {
            redis: redis.await,
            exchange,
            market,
            variables: Vec::new(),
            http: client(),
            folder,
            started: Cell::new(0),
        }
    }

    /// Starts `hamacast ROLE`.
    pub(crate) fn run(&self, role: &str) -> Node {
        self.started.set(self.started.get() + 1);
        let name = format!("{role} {}", self.started.get());
        let log = self.folder.path().join(&name);
        let port = self.redis.port().to_string();
        let rest = format!("http://{}", self.exchange.address);
        let streams = format!("ws://{}", self.exchange.address);
        let top = self.market.symbols.to_string();
        let mut variables = vec![
            ("HAMA_BINANCE_REST_URL", rest.as_str()),
            ("HAMA_BINANCE_WS_URL", &streams),
            ("HAMA_TOP", &top),
            ("HAMA_INTERVALS", "15m"),
            ("HAMA_LISTEN", "127.0.0.1:0"),
            ("REDIS_HOST", "127.0.0.1"),
            ("REDIS_PORT", &port),
        ];
        variables.extend(&self.variables);
        let server = Server::start_logging(&[role], &variables, &log);
        Node {
            address: server.address.clone(),
            server: Some(server),
            name,
            log,
        }
    }

    pub(crate) async fn get(&self, address: &str, path: &str) -> (u16, Value) {
        let url = format!("http://{address}{path}");
        let answer = self.http.get(&url).send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(text.into()))
    }

    pub(crate) async fn post(&self, address: &str, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("http://{address}{path}");
        let answer = self.http.post(&url).json(body).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap())
    }

    /// Asks until the answer is as wanted; how long that took.
    pub(crate) async fn until(
        &self,
        node: &Node,
        path: &str,
        holds: impl Fn(u16, &Value) -> bool,
    ) -> (Value, Duration) {
        let began = Instant::now();
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        loop {
            tick.tick().await;
            let (status, answer) = self.get(&node.address, path).await;
            if holds(status, &answer) {
                return (answer, began.elapsed());
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{} {path}: still {status} {answer}",
                node.name
            );
        }
    }

    /// Waits until every contract is live there.
    pub(crate) async fn all_live(&self, node: &Node) -> Duration {
        let all = self.market.symbols;
        let live = |status, answer: &Value| {
            status == 200
                && signals_of(answer)
                    .filter(|one| one["status"] == "live")
                    .count()
                    == all
        };
        self.until(node, "/api/v1/signals", live).await.1
    }

    /// Close time of the candle each contract's result is of.
    pub(crate) async fn bases(&self, node: &Node) -> BTreeMap<String, i64> {
        let (_, answer) = self.get(&node.address, "/api/v1/signals").await;
        signals_of(&answer)
            .map(|one| {
                let symbol = one["symbol"].as_str().unwrap().to_owned();
                (symbol, one["candle_close_time"].as_i64().unwrap())
            })
            .collect()
    }

    /// The whole log as a hub tells it.
    pub(crate) async fn log_at(&self, node: &Node) -> Vec<Value> {
        let mut log = Vec::new();
        let mut since = 0;
        loop {
            let path = format!("/api/v1/changes?interval=all&limit=1000&since={since}");
            let (status, page) = self.get(&node.address, &path).await;
            assert_eq!(status, 200, "{page}");
            log.extend(page["changes"].as_array().unwrap().iter().cloned());
            since = page["next"].as_u64().unwrap();
            if since == page["seq"].as_u64().unwrap() {
                return log;
            }
        }
    }

    /// The whole log as it stands in Redis, without the marker of its epoch.
    pub(crate) async fn log_in_redis(&self) -> Vec<Value> {
        type Entries = Vec<(String, BTreeMap<String, String>)>;
        let entries: Entries = self
            .redis_says(&["XRANGE", "hama:{log}:changes", "-", "+"])
            .await;
        entries
            .into_iter()
            .filter(|(id, _)| id != "0-1")
            .map(|(id, fields)| {
                let json: Value = serde_json::from_str(&fields["json"]).unwrap();
                assert_eq!(id, format!("{}-0", json["seq"]));
                json
            })
            .collect()
    }

    /// The answer of Redis to a command.
    pub(crate) async fn redis_says<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let mut client: MultiplexedConnection = self.redis.client().await;
        let mut asked = redis::cmd(command[0]);
        asked.arg(&command[1..]);
        asked.query_async(&mut client).await.unwrap()
    }

    /// Waits until the server has every candle the exchange has closed by now, and compares its log with what the
    /// exchange's candles say: every change after `bases` once, in order, none invented. How many there were.
    pub(crate) async fn assert_log_is_truth(
        &self,
        node: &Node,
        bases: &BTreeMap<String, i64>,
    ) -> usize {
        let (_, time) = self.get(&self.exchange.address, "/fapi/v1/time").await;
        let until = time["serverTime"].as_i64().unwrap() / QUARTER_MS * QUARTER_MS - 1;
        let reached = |status, answer: &Value| {
            let closes = signals_of(answer).map(|one| one["candle_close_time"].as_i64());
            status == 200 && closes.min().flatten().is_some_and(|close| close >= until)
        };
        self.until(node, "/api/v1/signals", reached).await;
        let log = self.log_at(node).await;
        assert_once(&log);
        let mut compared = 0;
        for (symbol, base) in bases {
            let told: Vec<_> = log
                .iter()
                .filter(|change| change["symbol"] == symbol.as_str())
                .map(|change| {
                    let close = change["candle_close_time"].as_i64().unwrap();
                    (close, change["recommendation"].as_str().unwrap().to_owned())
                })
                .filter(|(close, _)| (base + 1..=until).contains(close))
                .collect();
            assert_eq!(
                told,
                self.true_changes(symbol, *base, until).await,
                "{symbol}"
            );
            compared += told.len();
        }
        compared
    }

    /// Close time and recommendation of the changes the exchange's candles make within `(base, until]`.
    async fn true_changes(&self, symbol: &str, base: i64, until: i64) -> Vec<(i64, String)> {
        let mut analyzer = Analyzer::default();
        let mut changes = Vec::new();
        let mut last = None;
        let mut from = base + 1 - 1_500 * QUARTER_MS;
        while from < until {
            let path = format!("/sim/truth?symbol={symbol}&interval=15m&from={from}&to={until}");
            let (_, page) = self.get(&self.exchange.address, &path).await;
            for row in page["candles"].as_array().unwrap() {
                let candle = candle(row);
                let now = analyzer.push(&candle).recommendation.word();
                let close = candle.open_time.ms() + QUARTER_MS - 1;
                if close > base && last != Some(now) {
                    changes.push((close, now.to_owned()));
                }
                last = Some(now);
                from = close + 1;
            }
        }
        changes
    }
}

fn signals_of(answer: &Value) -> impl Iterator<Item = &Value> {
    answer["signals"].as_array().into_iter().flatten()
}

/// `[open time, open, high, low, close, volume, ..]`, prices as text.
fn candle(row: &Value) -> Candle {
    let number = |at: usize| row[at].as_str().unwrap().parse().unwrap();
    Candle {
        open_time: OpenTime::from_ms(row[0].as_i64().unwrap()),
        open: number(1),
        high: number(2),
        low: number(3),
        close: number(4),
        volume: number(5),
    }
}

/// Every identity once, numbers without a hole, candles of a series in order, and none of them revised: this exchange
/// never does that.
pub(crate) fn assert_once(log: &[Value]) {
    let ids: BTreeSet<_> = log.iter().map(|change| change["id"].as_str()).collect();
    assert_eq!(ids.len(), log.len(), "an identity came twice");
    let mut closes = BTreeMap::new();
    for (change, next) in log.iter().zip(1..) {
        assert_eq!(change["type"], "signal", "{change}");
        assert_eq!(change["seq"], next, "{change}");
        let symbol = change["symbol"].as_str().unwrap();
        let close = change["candle_close_time"].as_i64().unwrap();
        let before = closes.insert(symbol, close);
        assert!(before < Some(close), "{change} after {before:?}");
    }
}

/// Where a reader stands between what it asked for and what it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Snapshots come, then `live`; no change.
    Snapshots,
    /// Missed changes come, then `live`.
    Replay,
    Live,
}

/// A reader of all changes; what it is told is checked item by item.
pub(crate) struct Feed {
    client: Client,
    phase: Phase,
    pub(crate) epoch: String,
    pub(crate) seq: u64,
    /// Every change it was told, over all epochs.
    pub(crate) record: Vec<Value>,
    pub(crate) resets: Vec<String>,
    /// Snapshots since the last subscription or reset.
    pub(crate) snapshots: usize,
    /// The last heartbeat.
    pub(crate) status: Value,
}

impl Feed {
    /// Subscribes without a cursor and reads to `live`.
    pub(crate) async fn open(node: &Node) -> Self {
        let mut feed = Self {
            client: connect(node).await,
            phase: Phase::Snapshots,
            epoch: String::new(),
            seq: 0,
            record: Vec::new(),
            resets: Vec::new(),
            snapshots: 0,
            status: Value::Null,
        };
        let asked = format!(r#"{{"method":"SUBSCRIBE","params":{STREAMS},"id":"first"}}"#);
        feed.client.send(&asked).await;
        feed.until("live", |feed| feed.phase == Phase::Live).await;
        feed
    }

    /// Leaves without a word and goes on by its cursor at another server, or the same.
    pub(crate) async fn go_on_at(&mut self, node: &Node) {
        self.client = connect(node).await;
        let answer = self.client.resume(STREAMS, &self.epoch, self.seq).await;
        assert_eq!(answer["result"]["resumed"], true, "{answer}");
        self.phase = Phase::Replay;
    }

    /// Takes the next message.
    pub(crate) async fn step(&mut self) {
        let message = self.client.next().await;
        for item in items(&message) {
            self.take(item);
        }
    }

    /// Reads until it is as wanted; how long that took.
    pub(crate) async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> Duration {
        let began = Instant::now();
        while !holds(self) {
            self.step().await;
            assert!(
                began.elapsed() < PATIENCE,
                "no {what}: epoch {}, seq {}, resets {:?}, {}",
                self.epoch,
                self.seq,
                self.resets,
                self.status
            );
        }
        began.elapsed()
    }

    /// Reads until the numbering has begun anew for this reason and it is live again.
    pub(crate) async fn until_reset(&mut self, reason: &str) -> Duration {
        let seen = self.resets.len();
        let took = self
            .until(reason, |feed| {
                feed.resets.len() > seen && feed.phase == Phase::Live
            })
            .await;
        assert_eq!(self.resets[seen..], [reason], "and no other");
        took
    }

    /// Reads until it has been told so many changes more.
    pub(crate) async fn until_more(&mut self, count: usize) {
        let wanted = self.record.len() + count;
        self.until("more changes", |feed| feed.record.len() >= wanted)
            .await;
    }

    fn take(&mut self, item: Value) {
        let epoch = || item["epoch"].as_str().unwrap_or_default();
        let seq = || item["seq"].as_u64().unwrap_or_default();
        match item["type"].as_str().unwrap_or_default() {
            "snapshot" => self.snapshots += 1,
            "live" => {
                if self.phase != Phase::Snapshots || !self.epoch.is_empty() {
                    assert_eq!(epoch(), self.epoch, "{item}");
                }
                if self.phase == Phase::Replay {
                    assert_eq!(seq(), self.seq, "a change is missing before {item}");
                }
                self.epoch = epoch().to_owned();
                (self.seq, self.phase) = (seq(), Phase::Live);
            }
            "signal" => {
                assert_ne!(self.phase, Phase::Snapshots, "before live: {item}");
                assert_eq!(epoch(), self.epoch, "{item}");
                assert_eq!(seq(), self.seq + 1, "missing or doubled: {item}");
                self.seq = seq();
                self.record.push(item);
            }
            "reset" => {
                assert_ne!(epoch(), self.epoch, "{item}");
                self.epoch = epoch().to_owned();
                self.resets
                    .push(item["reason"].as_str().unwrap().to_owned());
                (self.phase, self.snapshots) = (Phase::Snapshots, 0);
            }
            "status" => {
                if self.phase == Phase::Live {
                    assert_eq!(epoch(), self.epoch, "{item}");
                    assert_eq!(seq(), self.seq, "a change is missing before {item}");
                }
                self.status = item;
            }
            "correction" | "reconnect" | "ended" => panic!("unexpected: {item}"),
            _ => {} // answers, welcome, symbols
        }
    }
}

async fn connect(node: &Node) -> Client {
    Client::over(TcpStream::connect(&node.address).await.unwrap(), "/stream").await
}
