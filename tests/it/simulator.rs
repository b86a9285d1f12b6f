//! The simulated exchange keeps the promises of the real one: shapes, weights, stream rules, closes.
//! Truth, REST and streams tell the same candles, and a restart tells them again.

mod candle_faults;
mod clock_faults;
mod faults;
mod replay;
mod rest;
mod streams;
mod universe_faults;

use std::collections::HashMap;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use hamacast::market::TimeMs;
use hamacast::simulator::{Fault, Simulator, SimulatorSettings};
use hamacast::tasks::Tasks;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// 2026-01-01T00:07:30Z: in the middle of a minute and of a quarter of an hour.
const START_MS: i64 = 1_767_225_600_000 + 450_000;
const PATIENCE: Duration = Duration::from_secs(20);

struct Exchange {
    simulator: Simulator,
    tasks: Tasks,
    http: reqwest::Client,
}

struct Answer {
    status: u16,
    headers: HashMap<String, String>,
    json: Value,
}

fn settings() -> SimulatorSettings {
    SimulatorSettings {
        seed: 5,
        symbols: 25,
        start: Some(TimeMs::new(START_MS)),
        update_every: Duration::from_millis(50),
        ..SimulatorSettings::default()
    }
}

impl Exchange {
    async fn start(settings: SimulatorSettings) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tasks = Tasks::new();
        let listen = "127.0.0.1:0".parse().unwrap();
        Self {
            simulator: Simulator::start(settings, listen, &tasks).await.unwrap(),
            tasks,
            http: reqwest::Client::builder()
                .timeout(PATIENCE)
                .build()
                .unwrap(),
        }
    }

    /// Lets the faults of a JSON text go wrong. Gives the first whole minute of the last one.
    fn fault(&self, json: &Value) -> i64 {
        for fault in Fault::parse_all(&json.to_string()).unwrap() {
            self.simulator.fault(fault).unwrap();
        }
        let report = self.simulator.faults();
        let from_ms = report.faults.last().unwrap().fault.scope.from_ms;
        (from_ms.unwrap() + 59_999) / 60_000 * 60_000
    }

    /// The rows that `/sim/truth` and REST have for a span, which must be the same to the last digit.
    async fn told(&self, symbol: &str, interval: &str, from_ms: i64, to_ms: i64) -> Vec<Value> {
        let truth =
            format!("/sim/truth?symbol={symbol}&interval={interval}&from={from_ms}&to={to_ms}");
        let truth = self.get(&truth).await.json["candles"].clone();
        let truth = truth.as_array().unwrap().clone();
        let rest = format!(
            "/fapi/v1/klines?symbol={symbol}&interval={interval}&startTime={from_ms}&endTime={to_ms}&limit=1000"
        );
        let rest = self.get(&rest).await;
        assert!(rest.rows().len() >= truth.len(), "{} {truth:?}", rest.json);
        for (truth, rest) in truth.iter().zip(rest.rows()) {
            assert_eq!(truth.as_array().unwrap()[..], rest.as_array().unwrap()[..6]);
        }
        truth
    }

    /// The row of a contract in `exchangeInfo`, and in the 24 hours' ticker.
    async fn listed(&self, symbol: &str) -> (Option<Value>, Option<Value>) {
        let row = |rows: &Value| {
            let mut rows = rows.as_array().unwrap().iter();
            rows.find(|row| row["symbol"] == symbol).cloned()
        };
        let info = self.get("/fapi/v1/exchangeInfo").await;
        let ticker = self.get("/fapi/v1/ticker/24hr").await;
        (row(&info.json["symbols"]), row(&ticker.json))
    }

    async fn get(&self, path: &str) -> Answer {
        let url = format!("http://{}{path}", self.simulator.local_addr());
        let response = self.http.get(url).send().await.unwrap();
        let headers = response.headers().iter();
        Answer {
            status: response.status().as_u16(),
            headers: headers
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
                .collect(),
            json: serde_json::from_str(&response.text().await.unwrap()).unwrap(),
        }
    }

    /// A connection that is subscribed: what happens from now on is heard.
    async fn subscribed(&self, names: &[&str]) -> Client {
        let mut client = self.connect("/market/ws").await;
        let request = serde_json::json!({"method": "SUBSCRIBE", "params": names, "id": 1});
        client.answer(&request.to_string()).await;
        client
    }

    async fn connect(&self, path: &str) -> Client {
        let url = format!("ws://{}{path}", self.simulator.local_addr());
        let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        Client(socket, Instant::now() + 3 * PATIENCE)
    }
}

impl Answer {
    fn used_weight(&self) -> u32 {
        self.headers["x-mbx-used-weight-1m"].parse().unwrap()
    }

    fn rows(&self) -> &Vec<Value> {
        self.json.as_array().unwrap()
    }

    fn refused(&self, status: u16, code: i64) {
        assert_eq!(self.status, status, "{}", self.json);
        assert_eq!(self.json["code"], code, "{}", self.json);
        assert!(self.json["msg"].as_str().unwrap().len() > 5);
    }
}

/// A connection, and when a test that still reads from it has failed: events flow for ever, so waiting for what does
/// not come would not end by itself.
struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>, Instant);

impl Client {
    async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    async fn frame(&mut self) -> Message {
        let until = self.1.min(Instant::now() + PATIENCE);
        let frame = tokio::time::timeout_at(until, self.0.next()).await;
        frame
            .expect("a frame within 20 s, and what is waited for within 60 s")
            .expect("not closed")
            .unwrap()
    }

    /// The next text message.
    async fn next(&mut self) -> Value {
        loop {
            match self.frame().await {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(close) => panic!("closed: {close:?}"),
                Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => {}
            }
        }
    }

    /// The answer to a request; events on the way are passed over.
    async fn answer(&mut self, request: &str) -> Value {
        self.say(request).await;
        self.answer_seen().await
    }

    async fn answer_seen(&mut self) -> Value {
        loop {
            let message = self.next().await;
            if message.get("result").is_some() || message.get("error").is_some() {
                return message;
            }
        }
    }

    /// Code and reason of the close that ends the connection.
    async fn closed(&mut self) -> (u16, String) {
        loop {
            if let Message::Close(Some(close)) = self.frame().await {
                return (close.code.into(), close.reason.to_string());
            }
        }
    }

    /// The `k` of the next closed candle that opens at `from_ms` or later.
    async fn until_close(&mut self, from_ms: i64) -> Value {
        loop {
            let candle = self.next().await["k"].clone();
            if candle["x"] == true && candle["t"].as_i64().unwrap() >= from_ms {
                return candle;
            }
        }
    }

    /// The `k` of the next closed candle of `interval`.
    async fn next_close(&mut self, interval: &str) -> Value {
        loop {
            let candle = self.next().await["k"].clone();
            if candle["x"] == true && candle["i"] == interval {
                return candle;
            }
        }
    }
}

/// The first six fields of a REST row, as a stream's `k` tells them.
fn row_of(candle: &Value) -> Value {
    serde_json::json!([
        candle["t"],
        candle["o"],
        candle["h"],
        candle["l"],
        candle["c"],
        candle["v"]
    ])
}
