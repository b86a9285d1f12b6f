//! The whole program on the simulated exchange, in one process and with engine and hub apart: what is outside the list
//! comes for who asks, and goes when nobody does.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use hamacast::app::{App, Rooms, SimulatorSettings, Timings};
use hamacast::config::{Config, Sources};
use hamacast::market::Interval;
use hamacast::simulator::Simulator;
use hamacast::tasks::Tasks;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::cluster::{Cluster, Market};
use crate::support::http_room::client;
use crate::support::hub::{Client, items};
use crate::support::redis::Keeps;

const PATIENCE: Duration = Duration::from_secs(90);
const LISTED: usize = 2;
const NOT_LOADED: &str = "the watch list is not loaded yet; try again in a few seconds";

async fn get(address: &str, path: &str) -> (u16, Value) {
    let answer = client().get(format!("http://{address}{path}")).send().await;
    let answer = answer.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn analyze(address: &str, symbol: &str) -> (u16, Value) {
    let url = format!("http://{address}/api/gainer-analysis/analyze-symbol");
    let asked = client().post(url).json(&json!({ "symbol": symbol }));
    let answer = asked.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// The contracts with a result, and how many of them are live.
async fn watched(address: &str) -> (BTreeSet<String>, usize) {
    let (_, answer) = get(address, "/api/v1/signals").await;
    let signals = answer["signals"].as_array().cloned().unwrap_or_default();
    let live = signals.iter().filter(|one| one["status"] == "live").count();
    let names = signals
        .iter()
        .map(|one| one["symbol"].as_str().unwrap().to_owned());
    (names.collect(), live)
}

/// Asks until the list is as wanted.
async fn until(address: &str, what: &str, holds: impl Fn(&BTreeSet<String>, usize) -> bool) {
    let began = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    loop {
        let (names, live) = watched(address).await;
        if holds(&names, live) {
            return;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "never {what}: {names:?}, {live} live"
        );
        tick.tick().await;
    }
}

/// The exchange's perpetuals in USDT that are not watched.
async fn outside(exchange: &str, address: &str) -> Vec<String> {
    let (_, info) = get(exchange, "/fapi/v1/exchangeInfo").await;
    let (listed, _) = watched(address).await;
    let rows = info["symbols"].as_array().unwrap().iter();
    let trading = rows.filter(|row| {
        row["status"] == "TRADING"
            && row["contractType"] == "PERPETUAL"
            && row["quoteAsset"] == "USDT"
    });
    let names = trading.map(|row| row["symbol"].as_str().unwrap().to_owned());
    names.filter(|name| !listed.contains(name)).collect()
}

async fn connect(address: &str) -> Client {
    Client::over(TcpStream::connect(address).await.unwrap(), "/stream").await
}

/// Subscribes to the signals of `symbol` and reads until it is shown live; how long that took.
async fn shown_live(client: &mut Client, symbol: &str) -> Duration {
    let began = Instant::now();
    let stream = format!(r#"["{}@signal_15m"]"#, symbol.to_ascii_lowercase());
    let ask = format!(r#"{{"method":"SUBSCRIBE","params":{stream},"id":"on demand"}}"#);
    client.send(&ask).await;
    let mut acknowledged = false;
    loop {
        let message = client.next().await;
        assert!(
            began.elapsed() < PATIENCE,
            "{symbol}: never live; {message}"
        );
        if message["id"] == "on demand" {
            acknowledged = message["error"].is_null();
            assert!(
                acknowledged || message["error"]["msg"] == NOT_LOADED,
                "{symbol}: {message}"
            );
        } else if !acknowledged && message["data"]["type"] == "status" {
            client.send(&ask).await; // a hub that has just begun does not know yet what trades
        }
        for item in items(&message) {
            if item["type"] != "snapshot" {
                continue;
            }
            assert!(acknowledged, "{item}");
            assert_eq!(item["symbol"], symbol, "{item}");
            match item["status"].as_str().unwrap() {
                "warming" => assert_eq!(item["recommendation"], json!(null), "{item}"),
                "live" => {
                    assert_ne!(item["recommendation"], json!(null), "{item}");
                    return began.elapsed();
                }
                _ => panic!("{item}"),
            }
        }
    }
}

/// `serve` against this exchange, with a short list.
fn config(exchange: &str) -> Config {
    let settings = [
        ("HAMA_LISTEN", "127.0.0.1:0".to_owned()),
        ("HAMA_TOP", LISTED.to_string()),
        ("HAMA_BINANCE_REST_URL", format!("http://{exchange}")),
        ("HAMA_BINANCE_WS_URL", format!("ws://{exchange}")),
    ];
    let environment = settings.map(|(name, value)| (name.to_owned(), value));
    let sources = Sources {
        environment: environment.into(),
        ..Sources::default()
    };
    Config::load(&sources, &[]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_watches_what_readers_ask_for_and_lets_it_go_after_them() {
    let tasks = Tasks::new();
    let market = SimulatorSettings {
        seed: 3,
        symbols: 8,
        intervals: vec![Interval::M15],
        ..SimulatorSettings::default()
    };
    let listen = "127.0.0.1:0".parse().unwrap();
    let simulator = Simulator::start(market, listen, &tasks).await.unwrap();
    let exchange = simulator.local_addr().to_string();
    let config = config(&exchange);
    let timings = Timings {
        wanted_for: Duration::from_secs(4),
        first_result_within: PATIENCE,
    };
    let app = App::start_timed(&config, Rooms::All, timings, &tasks)
        .await
        .unwrap();
    let address = app.address.to_string();
    until(&address, "live", |names, live| {
        names.len() == LISTED && live == LISTED
    })
    .await;
    let others = outside(&exchange, &address).await;

    let mut reader = connect(&address).await;
    let took = shown_live(&mut reader, &others[0]).await;
    println!("subscribed and live after {} ms", took.as_millis());
    let began = Instant::now();
    let (status, answer) = analyze(&address, &others[1]).await;
    assert_eq!((status, &answer["code"]), (200, &json!(1)), "{answer}");
    assert_eq!(answer["data"]["v1"]["status"], "live", "{answer}");
    println!("analysed after {} ms", began.elapsed().as_millis());
    let (_, symbols) = get(&address, "/api/v1/symbols").await;
    let names = symbols["symbols"].as_array().unwrap().len();
    assert_eq!(names, LISTED + 2, "{symbols}");

    let mut onlooker = connect(&address).await;
    // Nobody asks for the second any more; the first is subscribed to.
    let (first, second) = (&others[0], &others[1]);
    until(&address, "let go", |names, _| !names.contains(second)).await;
    assert!(
        watched(&address).await.0.contains(first),
        "while subscribed to"
    );
    reader.leave().await;
    until(&address, "let go", |names, live| {
        names.len() == LISTED && live == LISTED
    })
    .await;
    let mut removed = BTreeSet::new();
    while removed.len() < 2 {
        for item in items(&onlooker.next().await) {
            if item["type"] == "symbols" {
                let names = item["removed"].as_array().unwrap().iter();
                removed.extend(names.map(|name| name.as_str().unwrap().to_owned()));
            }
        }
    }
    assert!(
        removed.contains(first) && removed.contains(second),
        "{removed:?}"
    );
    drop(onlooker);
    assert_eq!(app.stop().await, [""; 0]);
}

#[tokio::test]
async fn a_hub_apart_has_the_engine_watch_what_its_readers_ask_for() {
    let market = Market {
        symbols: 8,
        speed: 60,
        update_ms: 500,
    };
    let mut cluster = Cluster::start(market, Keeps::Nothing).await;
    cluster.variables.push(("HAMA_TOP", "2"));
    let _engine = cluster.run("engine");
    let hub = cluster.run("hub");
    let address = hub.address.clone();
    until(&address, "live", |names, live| {
        names.len() == LISTED && live == LISTED
    })
    .await;
    let others = outside(&cluster.exchange.address, &address).await;
    let mut reader = connect(&address).await;
    let took = shown_live(&mut reader, &others[0]).await;
    println!("subscribed and live after {} ms", took.as_millis());
    let began = Instant::now();
    let mut answer = analyze(&address, &others[1]).await;
    while answer.0 == 503 && began.elapsed() < PATIENCE {
        answer = analyze(&address, &others[1]).await; // as Retry-After says, on a machine that is busy
    }
    assert_eq!(
        (answer.0, &answer.1["code"]),
        (200, &json!(1)),
        "{}",
        answer.1
    );
    println!("analysed after {} ms", began.elapsed().as_millis());
    let all: BTreeSet<String> = cluster
        .redis_says::<Vec<String>>(&["ZRANGE", "hama:{log}:interest", "0", "-1"])
        .await
        .into_iter()
        .collect();
    for name in &others[..2] {
        assert!(all.contains(&format!("{name}:15m")), "{all:?}");
    }
}
