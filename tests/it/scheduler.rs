//! The operator stops and starts a running server: nothing leaves meanwhile, and afterwards nothing is missing. And the
//! sweep says what it does in the words operators look for.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::http_room::client;
use crate::support::hub::Client;
use crate::support::process::Server;

const CALLS: &str = "/api/gainer-analysis/scheduler";
const SYMBOLS: usize = 12;

/// Candles of 15 minutes at four a second.
const ARGUMENTS: [&str; 9] = [
    "demo",
    "--listen=127.0.0.1:0",
    "--exchange-listen=127.0.0.1:0",
    "--symbols=12",
    "--intervals=15m",
    "--speed",
    "3600",
    "--seed",
    "3",
];

struct Operated {
    server: Server,
    http: reqwest::Client,
}

impl Operated {
    async fn start(log: &Path) -> Self {
        let server = Server::start_logging(&ARGUMENTS, &[], log);
        let operated = Self {
            server,
            http: client(),
        };
        operated
            .status_where(|status| status["series"]["live"] == SYMBOLS)
            .await;
        operated
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address)
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.http.get(self.url(path)).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn operate(&self, call: &str, body: &Value) -> (u16, Value) {
        let request = self.http.post(self.url(&format!("{CALLS}/{call}")));
        let answer = request.json(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// The first heartbeat that says so.
    async fn status_where(&self, holds: impl Fn(&Value) -> bool) -> Value {
        let socket = TcpStream::connect(&self.server.address).await.unwrap();
        let mut client = Client::over(socket, "/stream").await;
        loop {
            let message = client.next().await;
            if message["data"]["type"] == "status" && holds(&message["data"]) {
                client.leave().await;
                return message["data"].clone();
            }
        }
    }

    async fn head(&self) -> u64 {
        let (_, page) = self.get("/api/v1/changes?interval=all&limit=1").await;
        page["seq"].as_u64().unwrap()
    }

    async fn changes_after(&self, since: u64) -> Vec<Value> {
        let path = format!("/api/v1/changes?interval=all&limit=1000&since={since}");
        self.get(&path).await.1["changes"]
            .as_array()
            .unwrap()
            .clone()
    }

    async fn symbols(&self) -> Vec<String> {
        let (_, answer) = self.get("/api/v1/symbols").await;
        let symbols = answer["symbols"].as_array().unwrap().iter();
        symbols
            .map(|one| one["symbol"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// Close time and recommendation of the changes on a contract's candles that close within `(after, until]`.
async fn true_changes(
    operated: &Operated,
    symbol: &str,
    after: i64,
    until: i64,
) -> Vec<(i64, Value)> {
    let path = format!("/api/v1/candles/{symbol}?interval=15m&limit=1500");
    let (_, chart) = operated.get(&path).await;
    let candles = chart["candles"].as_array().unwrap().iter();
    candles
        .filter(|candle| !candle["change"].is_null())
        .map(|candle| {
            let close = candle["open_time"].as_i64().unwrap() + 900_000 - 1;
            (close, candle["change"].clone())
        })
        .filter(|(close, _)| (after + 1..=until).contains(close))
        .collect()
}

fn told_of(changes: &[Value], symbol: &str, after: i64, until: i64) -> Vec<(i64, Value)> {
    let of_it = changes.iter().filter(|change| change["symbol"] == symbol);
    of_it
        .map(|change| {
            let close = change["candle_close_time"].as_i64().unwrap();
            (close, change["recommendation"].clone())
        })
        .filter(|(close, _)| (after + 1..=until).contains(close))
        .collect()
}

#[tokio::test]
async fn a_stop_holds_everything_back_and_a_start_tells_what_was_missed() {
    let directory = tempfile::tempdir().unwrap();
    let operated = Operated::start(&directory.path().join("log")).await;
    let live_at = operated.status_where(|_| true).await["server_time"]
        .as_i64()
        .unwrap();

    let (status, answer) = operated.operate("stop", &json!({})).await;
    assert_eq!(
        (status, &answer["data"]),
        (200, &json!({"status": "stopped"}))
    );
    let stopped = operated
        .status_where(|status| status["feed"] == "stopped")
        .await;
    assert_eq!(stopped["series"]["stopped"], SYMBOLS);
    let stopped_at = stopped["server_time"].as_i64().unwrap();
    let head = operated.head().await;
    let (status, ready) = operated.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(
        ready["reasons"]
            .as_array()
            .unwrap()
            .contains(&json!("stopped"))
    );
    let (_, signals) = operated.get("/api/v1/signals").await;
    for result in signals["signals"].as_array().unwrap() {
        assert_eq!(result["status"], "stopped", "{result}");
    }
    // 60 candles later nothing has come.
    let later = stopped_at + 60 * 900_000;
    operated
        .status_where(|status| status["server_time"].as_i64().unwrap() > later)
        .await;
    assert_eq!(operated.head().await, head);
    let (_, still) = operated.get("/api/v1/signals").await;
    assert_eq!(still["signals"], signals["signals"]);
    let (_, info) = operated.get(&format!("{CALLS}/status")).await;
    assert_eq!(info["data"]["running"], false);

    let (status, answer) = operated.operate("start", &json!({})).await;
    assert_eq!(
        (status, &answer["data"]["symbols_count"]),
        (200, &json!(SYMBOLS))
    );
    let (status, _) = operated.operate("start", &json!({})).await;
    assert_eq!(status, 200, "starting twice is no error");
    let again = operated
        .status_where(|status| status["series"]["live"] == SYMBOLS)
        .await;
    let until = again["server_time"].as_i64().unwrap() - 4 * 900_000;
    let missed = operated.changes_after(head).await;
    let late = |change: &&Value| change["candle_close_time"].as_i64().unwrap() <= later;
    assert!(missed.iter().filter(late).count() > 5, "{missed:?}");
    for change in missed.iter().filter(late) {
        assert_eq!(change["source"], "catch_up", "{change}");
        assert!(change["late_ms"].as_i64().unwrap() > 0);
    }
    let all = operated.changes_after(0).await;
    for symbol in operated.symbols().await {
        let expected = true_changes(&operated, &symbol, live_at, until).await;
        assert_eq!(told_of(&all, &symbol, live_at, until), expected, "{symbol}");
    }
}

#[tokio::test]
async fn a_start_replaces_the_watch_list_and_the_configured_one_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let operated = Operated::start(&directory.path().join("log")).await;
    let symbols = operated.symbols().await;
    let body = json!({"symbols": [symbols[0], "FOOUSDT", "BARUSDT"]});
    let (status, answer) = operated.operate("start", &body).await;
    assert_eq!(status, 400);
    let msg = answer["msg"].as_str().unwrap();
    assert!(msg.contains("BARUSDT, FOOUSDT"), "{msg}");
    assert_eq!(operated.symbols().await, symbols, "nothing was changed");

    let body = json!({"symbols": symbols[..2], "interval_minutes": 1});
    let (_, answer) = operated.operate("start", &body).await;
    assert_eq!(answer["data"]["symbols_count"], 2);
    assert_eq!(answer["data"]["interval_minutes"], 1);
    operated
        .status_where(|status| status["series"]["live"] == 2 && status["series"]["warming"] == 0)
        .await;
    assert_eq!(operated.symbols().await, symbols[..2]);

    operated.operate("start", &json!({})).await;
    operated
        .status_where(|status| status["series"]["live"] == SYMBOLS)
        .await;
}

#[tokio::test]
async fn the_sweep_says_what_operators_look_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let operated = Operated::start(&path).await;
    let began = Instant::now();
    let sweep = loop {
        let (_, status) = operated.get(&format!("{CALLS}/status")).await;
        let sweep = status["data"]["sweep"].clone();
        if sweep["succeeded"].is_number() {
            break sweep;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "{status}");
        tokio::task::yield_now().await;
    };
    assert_eq!(
        (&sweep["succeeded"], &sweep["failed"]),
        (&json!(12), &json!(0))
    );
    operated.operate("stop", &json!({})).await;
    operated
        .status_where(|status| status["feed"] == "stopped")
        .await;
    let log = std::fs::read_to_string(&path).unwrap();
    let mut rest = log.as_str();
    for line in [
        "HAMA scheduler started: 12 symbols, every 5 min",
        "HAMA refresh progress (刷新进度): 10/12",
        "HAMA refresh progress (刷新进度): 12/12",
        "HAMA refresh done (刷新完成): ok 12, failed 0, ",
        " s, next ",
        "HAMA scheduler stopped",
    ] {
        let (_, after) = rest
            .split_once(line)
            .unwrap_or_else(|| panic!("no {line:?} in:\n{log}"));
        rest = after;
    }
    // `next` is a time of the day.
    let next = log.split(" s, next ").nth(1).unwrap().get(..8).unwrap();
    let form: String = next
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(form, "00:00:00", "{next}");
}
