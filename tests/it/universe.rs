//! The universe alive, from the exchange's listing to what readers see of it: contracts end, are listed, change places in
//! the ranking and are watched because somebody asks, all while the program runs.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::http_room::client;
use crate::support::hub::{Client, items};
use crate::support::process::Server;

/// Nothing here takes that long on a machine that is not stuck.
const PATIENCE: Duration = Duration::from_secs(90);
const QUARTER_MS: i64 = 900_000;

/// An hour of the exchange is ten seconds: the list is ranked anew as often as it ever is.
const SPEED: &str = "360";
const SYMBOLS: usize = 12;
const TOP: usize = 8;

struct Alive {
    exchange: Server,
    serve: Server,
    http: reqwest::Client,
}

impl Alive {
    fn start(variables: &[(&str, &str)]) -> Self {
        let symbols = SYMBOLS.to_string();
        let exchange = Server::start(
            &[
                "exchange",
                "--listen=127.0.0.1:0",
                "--intervals=15m",
                "--seed=24",
                "--symbols",
                &symbols,
                "--speed",
                SPEED,
            ],
            &[],
        );
        let serve = serve(&exchange, variables);
        Self {
            exchange,
            serve,
            http: client(),
        }
    }

    /// As after a crash: the exchange has gone on.
    fn restart(&mut self, variables: &[(&str, &str)]) {
        self.serve = serve(&self.exchange, variables);
    }

    async fn get(&self, path: &str) -> Value {
        get(&self.http, &self.serve.address, path).await
    }

    /// Asks until the answer is as wanted.
    async fn until(&self, path: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        loop {
            tick.tick().await;
            let answer = self.get(path).await;
            if holds(&answer) {
                return answer;
            }
            assert!(began.elapsed() < PATIENCE, "{what}: still {answer}");
        }
    }

    async fn until_live(&self, count: usize) -> Value {
        let live = |answer: &Value| with_status(answer, "live").len() == count;
        self.until("/api/v1/signals", "live", live).await
    }

    async fn until_status(&self, symbol: &str, status: &str) -> Value {
        let path = format!("/api/v1/signals/{symbol}");
        self.until(&path, status, |one| one["status"] == status)
            .await
    }

    async fn fault(&self, faults: &Value) {
        let url = format!("http://{}/sim/fault", self.exchange.address);
        let answer = self.http.post(url).json(faults).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{status} {text}");
    }

    async fn reader(&self, streams: &str) -> Client {
        let socket = TcpStream::connect(&self.serve.address).await.unwrap();
        let mut reader = Client::over(socket, "/stream").await;
        let answer = reader.ask("SUBSCRIBE", streams).await;
        assert_eq!(answer["result"], Value::Null, "{answer}");
        reader
    }

    /// What is watched, by rank.
    async fn ranked(&self) -> Vec<String> {
        let answer = self.get("/api/v1/symbols").await;
        let mut rows: Vec<&Value> = answer["symbols"].as_array().unwrap().iter().collect();
        rows.sort_by_key(|row| row["rank"].as_u64());
        let symbols = rows.iter().map(|row| row["symbol"].as_str().unwrap());
        symbols.map(str::to_owned).collect()
    }

    /// From now on nobody's turnover moves but by these: it is that of the places `ranked` has now.
    async fn settle_turnover(&self, ranked: &[String], but: &[(&str, f64)]) {
        let tickers = get(&self.http, &self.exchange.address, "/fapi/v1/ticker/24hr").await;
        let names = tickers.as_array().unwrap().iter();
        let names = names.map(|row| row["symbol"].as_str().unwrap());
        let others = names.filter(|name| !ranked.iter().any(|one| one == name));
        let all = ranked.iter().map(String::as_str).chain(others);
        let volume = |name, place: usize| {
            let other = but.iter().find(|(symbol, _)| *symbol == name);
            other.map_or(1e9 - 1e6 * place as f64, |(_, volume)| *volume)
        };
        let faults: Vec<_> = all
            .enumerate()
            .map(|(place, name)| {
                json!({"kind": "universe.turnover", "symbol": name, "quote_volume": volume(name, place)})
            })
            .collect();
        self.fault(&json!(faults)).await;
    }

    /// No rule of the exchange was broken, and the streams are those of `watched` contracts and the news of all.
    async fn behaved(&self, watched: usize) {
        let began = Instant::now();
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        loop {
            tick.tick().await;
            let stats = get(&self.http, &self.exchange.address, "/sim/stats").await;
            assert_eq!(stats["violations"], json!([]));
            let connections = stats["connections"].as_array().unwrap().iter();
            let open = connections.filter(|one| one["open"] == true);
            let names: u64 = open.map(|one| one["streams"].as_u64().unwrap()).sum();
            if names == watched as u64 + 1 {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{names} streams for {watched}");
        }
    }
}

fn serve(exchange: &Server, variables: &[(&str, &str)]) -> Server {
    let rest = format!("http://{}", exchange.address);
    let streams = format!("ws://{}", exchange.address);
    let mut all = vec![
        ("HAMA_INTERVALS", "15m"),
        ("HAMA_BINANCE_REST_URL", rest.as_str()),
        ("HAMA_BINANCE_WS_URL", streams.as_str()),
    ];
    all.extend(variables);
    Server::start(&["serve", "--listen=127.0.0.1:0"], &all)
}

async fn get(http: &reqwest::Client, address: &str, path: &str) -> Value {
    let url = format!("http://{address}{path}");
    let answer = http.get(&url).send().await.unwrap();
    answer.json().await.unwrap()
}

fn with_status<'a>(answer: &'a Value, status: &str) -> Vec<&'a str> {
    let signals = answer["signals"].as_array().unwrap().iter();
    signals
        .filter(|one| one["status"] == status)
        .map(|one| one["symbol"].as_str().unwrap())
        .collect()
}

/// The items a reader is told, until one of them is `wanted`.
async fn told_until(reader: &mut Client, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let mut told = Vec::new();
    loop {
        for item in items(&reader.next().await) {
            let last = wanted(&item);
            told.push(item);
            if last {
                return told;
            }
        }
    }
}

fn has(symbols: &Value, symbol: &str) -> bool {
    symbols.as_array().unwrap().contains(&symbol.into())
}

fn kinds(told: &[Value], kind: &str) -> usize {
    told.iter().filter(|item| item["type"] == kind).count()
}

#[tokio::test]
async fn h24_h25_one_contract_is_delisted_and_another_listed_in_the_same_minute() {
    let top = TOP.to_string();
    let alive = Alive::start(&[("HAMA_TOP", &top)]);
    alive.until_live(TOP).await;
    let ranked = alive.ranked().await;
    let (old, new) = (ranked[2].as_str(), "新币USDT");
    let own = format!("{}@signal_15m", old.to_lowercase());
    let streams = json!(["!status", own, format!("{}@hama_15m", old.to_lowercase())]);
    alive.settle_turnover(&ranked, &[]).await;
    let mut reader = alive.reader(&streams.to_string()).await;
    alive
        .fault(&json!([
            {"kind": "universe.delist", "symbol": old, "after_ms": 20_000},
            {"kind": "universe.list", "symbol": new, "interval": "15m", "history": 300, "pending_ms": 30_000,
             "price": 12.5, "quote_volume": 9e11, "after_ms": 20_000},
        ]))
        .await;

    // Its own streams say so, each once, and its last word stands.
    let mut told = told_until(&mut reader, |item| item["type"] == "ended").await;
    let (before, own_streams) = (told.len(), 2);
    let is_last = |item: &Value| item["type"] == "hama" && item["status"] == "ended";
    if !told.iter().any(is_last) {
        told.extend(told_until(&mut reader, is_last).await);
    }
    let last = told.iter().find(|item| is_last(item)).unwrap().clone();
    assert!(last["recommendation"].is_string(), "{last}");

    // When the hour is over the newcomer takes its place among the first, and what has ended leaves.
    let is_new = |item: &Value| item["type"] == "symbols" && has(&item["added"], new);
    let is_old = |item: &Value| item["type"] == "symbols" && has(&item["removed"], old);
    while !told.iter().any(is_new) || !told.iter().any(is_old) {
        told.extend(told_until(&mut reader, |item| item["type"] == "symbols").await);
    }
    let after = &told[before..];
    assert_eq!(
        (kinds(after, "signal"), kinds(after, "ended")),
        (0, own_streams - 1),
        "{after:?}"
    );
    let young = alive.until_status(new, "live").await;
    assert_eq!(young["history"], "young", "{young}");
    let ranked = alive.ranked().await;
    assert_eq!((ranked[0].as_str(), ranked.len()), (new, TOP));
    assert!(!ranked.contains(&old.to_owned()));

    // Ten closes later nothing more was said of it.
    let close = young["candle_close_time"].as_i64().unwrap() + 10 * QUARTER_MS;
    let path = format!("/api/v1/signals/{new}");
    alive
        .until(&path, "ten closes", |one| {
            one["candle_close_time"].as_i64().unwrap() >= close
        })
        .await;
    let ended_at = last["candle_close_time"].as_i64().unwrap();
    let changes = alive.get("/api/v1/changes?limit=1000").await;
    for change in changes["changes"].as_array().unwrap() {
        let close = change["candle_close_time"].as_i64().unwrap();
        assert!(change["symbol"] != old || close <= ended_at, "{change}");
    }
    alive.behaved(TOP).await;
}

#[tokio::test]
async fn turnover_moves_contracts_into_the_list_and_out_of_it() {
    let top = TOP.to_string();
    let alive = Alive::start(&[("HAMA_TOP", &top)]);
    alive.until_live(TOP).await;
    let ranked = alive.ranked().await;
    let (falling, near) = (&ranked[0], &ranked[TOP - 1]);
    let all = get(&alive.http, &alive.exchange.address, "/fapi/v1/ticker/24hr").await;
    let outside = all.as_array().unwrap().iter().find(|row| {
        let symbol = row["symbol"].as_str().unwrap();
        symbol.ends_with("USDT") && symbol != "XAUUSDT" && !ranked.contains(&symbol.to_owned())
    });
    let rising = outside.unwrap()["symbol"].as_str().unwrap();
    let mut reader = alive.reader(r#"["!status"]"#).await;
    let moves = [
        (falling.as_str(), 1.0),
        (rising, 9e11),
        ("XAUUSDT", 9e11),
        ("BTCUSDC", 9e11),
    ];
    alive.settle_turnover(&ranked, &moves).await;
    let moved = |item: &Value| item["type"] == "symbols";
    let item = told_until(&mut reader, moved).await.pop().unwrap();
    assert_eq!(
        (&item["added"], &item["removed"]),
        (&json!([rising]), &json!([falling]))
    );
    let ranked = alive.ranked().await;
    assert_eq!((ranked[0].as_str(), ranked.last()), (rising, Some(near)));
    alive.until_live(TOP).await;
    alive.behaved(TOP).await;
}

#[tokio::test]
async fn what_somebody_asks_for_is_watched_at_once_whatever_its_quote_asset_and_ends_as_any() {
    let alive = Alive::start(&[("HAMA_SYMBOLS", "btcusdt,ETHUSDT")]);
    alive.until_live(2).await;
    let mut reader = alive.reader(r#"["!status"]"#).await;
    let mut own = alive.reader(r#"["btcusdc@signal_15m"]"#).await;
    let asked = Instant::now();
    let moved = |item: &Value| item["type"] == "symbols";
    let item = told_until(&mut reader, moved).await.pop().unwrap();
    assert_eq!(item["added"], json!(["BTCUSDC"]));
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
    alive.until_status("BTCUSDC", "live").await;
    assert_eq!(alive.ranked().await, ["BTCUSDC", "BTCUSDT", "ETHUSDT"]);
    alive
        .fault(&json!([
            {"kind": "universe.delist", "symbol": "BTCUSDC"},
            {"kind": "universe.delist", "symbol": "ETHUSDT"},
        ]))
        .await;
    told_until(&mut own, |item| item["type"] == "ended").await;
    alive.until_status("ETHUSDT", "ended").await;
    let all = alive.get("/api/v1/signals?status=ended").await;
    assert!(with_status(&all, "ended").contains(&"ETHUSDT"), "{all}");
    // The next ranking lets go of what was only asked for; what the operator named is shown as ended for good.
    let item = told_until(&mut reader, moved).await.pop().unwrap();
    assert_eq!(item["removed"], json!(["BTCUSDC"]));
    assert_eq!(alive.ranked().await, ["BTCUSDT", "ETHUSDT"]);
    alive.until_status("ETHUSDT", "ended").await;
    alive.behaved(1).await;
}

#[tokio::test]
async fn h24_a_named_contract_that_ended_does_not_keep_the_others_from_a_restart() {
    let variables = [("HAMA_SYMBOLS", "BTCUSDT,ETHUSDT")];
    let mut alive = Alive::start(&variables);
    alive.until_live(2).await;
    let gone = json!([{"kind": "universe.delist", "symbol": "ETHUSDT"}]);
    alive.fault(&gone).await;
    alive.until_status("ETHUSDT", "ended").await;
    alive.restart(&variables);
    alive.until_status("BTCUSDT", "live").await;
    alive.until_status("ETHUSDT", "ended").await;
    assert_eq!(alive.ranked().await, ["BTCUSDT", "ETHUSDT"]);
}
