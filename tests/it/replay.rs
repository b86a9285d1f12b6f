//! Same in, same out: candles played by the simulated exchange come out of `serve`, over its WebSocket, as exactly the
//! changes `analyze` finds in the same files: one for one, in order per series, holes included.
//! `HAMACAST_REPLAY_DIR=DIR cargo test replay` (`make replay DIR=DIR`) does the same with real candles, at the speed a
//! person would choose; without it the candles are made here.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::TcpStream;

use crate::support::hub::{Client, items};
use crate::support::process::Server;

/// Recommendation after each candle, by close time.
type Told = BTreeMap<i64, String>;

/// What a client saw of one series.
#[derive(Debug, Default)]
struct Seen {
    /// Close time and recommendation of its snapshot.
    base: Option<(i64, String)>,
    changes: Vec<(i64, String, String)>,
    /// Close time of the newest candle in any result.
    newest: i64,
    holes: i64,
    /// Results whose open candle said something else than the closed ones.
    flips: usize,
}

struct Played {
    directory: PathBuf,
    interval: &'static str,
    speed: &'static str,
    update_ms: &'static str,
    limit: Duration,
}

#[tokio::test]
async fn replayed_candles_come_out_as_the_changes_analyze_finds() {
    let made = tempfile::tempdir().unwrap();
    let by_hand = std::env::var_os("HAMACAST_REPLAY_DIR").map(PathBuf::from);
    let played = match by_hand {
        Some(directory) => Played {
            directory,
            interval: "5m",
            speed: "600",
            update_ms: "250",
            limit: Duration::from_secs(3_600),
        },
        None => {
            make_candles(made.path());
            let directory = made.path().to_owned();
            Played {
                directory,
                interval: "5m",
                speed: "3600",
                update_ms: "20",
                limit: Duration::from_secs(300),
            }
        }
    };
    let expected = analyze_all(&played.directory, played.interval);
    let seen = follow(&played, &expected).await;
    let mut kinds = BTreeMap::new();
    let mut changes = 0;
    for (symbol, told) in &expected {
        let seen = &seen[symbol];
        let (base, recommendation) = seen.base.clone().unwrap();
        assert_eq!(told[&base], recommendation, "{symbol}: the snapshot");
        assert_eq!(seen.changes, changes_after(told, base), "{symbol}");
        println!(
            "{symbol}: {} changes after {base}, {} candles bridged",
            seen.changes.len(),
            seen.holes
        );
        changes += seen.changes.len();
        for (_, _, now) in &seen.changes {
            *kinds.entry(now.clone()).or_insert(0) += 1;
        }
    }
    println!("{changes} changes in all: {kinds:?}");
    assert!(
        changes >= 100,
        "only {changes} changes: too few to mean anything"
    );
    assert_eq!(
        kinds.len(),
        3,
        "BUY, SELL and HOLD must all come up: {kinds:?}"
    );
}

#[tokio::test]
async fn open_candles_that_flip_and_come_back_make_no_change() {
    let made = tempfile::tempdir().unwrap();
    make_flips(made.path());
    let directory = made.path().to_owned();
    let limit = Duration::from_secs(300);
    let played = Played {
        directory,
        interval: "5m",
        speed: "600",
        update_ms: "20",
        limit,
    };
    let expected = analyze_all(&played.directory, played.interval);
    let seen = follow(&played, &expected).await;
    for (symbol, confirmed) in [("FALLUSDT", "SELL"), ("RISEUSDT", "BUY")] {
        let seen = &seen[symbol];
        println!(
            "{symbol}: {} results with an open candle that says otherwise",
            seen.flips
        );
        assert_eq!(
            seen.base
                .as_ref()
                .map(|(_, recommendation)| &**recommendation),
            Some(confirmed)
        );
        assert_eq!(seen.changes, [], "{symbol}");
        assert!(
            seen.flips >= 10,
            "{symbol}: its open candle flipped only {} times",
            seen.flips
        );
    }
}

/// Plays the files and reads the feed until every series has reached its file's end.
async fn follow(played: &Played, expected: &BTreeMap<String, Told>) -> BTreeMap<String, Seen> {
    let directory = played.directory.to_str().unwrap();
    let exchange = Server::start(
        &[
            "exchange",
            "--listen",
            "127.0.0.1:0",
            "--replay",
            directory,
            "--speed",
            played.speed,
            "--update-ms",
            played.update_ms,
        ],
        &[],
    );
    let symbols = expected.keys().cloned().collect::<Vec<_>>().join(",");
    let serve = Server::start(
        &["serve", "--listen", "127.0.0.1:0"],
        &[
            ("HAMA_SYMBOLS", &symbols),
            ("HAMA_INTERVALS", played.interval),
            (
                "HAMA_BINANCE_REST_URL",
                &format!("http://{}", exchange.address),
            ),
            ("HAMA_BINANCE_WS_URL", &format!("ws://{}", exchange.address)),
        ],
    );
    let mut client =
        Client::over(TcpStream::connect(&serve.address).await.unwrap(), "/stream").await;
    subscribe(&mut client, expected, played.interval).await;
    let mut seen: BTreeMap<String, Seen> = expected
        .keys()
        .map(|symbol| (symbol.clone(), Seen::default()))
        .collect();
    let begun = Instant::now();
    while !expected
        .iter()
        .all(|(symbol, told)| seen[symbol].newest == *told.last_key_value().unwrap().0)
    {
        for item in items(&client.next().await) {
            take(&item, &mut seen);
        }
        assert!(
            begun.elapsed() < played.limit,
            "not at the end after {:?}: {seen:?}",
            played.limit
        );
    }
    println!("played in {:.0} s", begun.elapsed().as_secs_f64());
    seen
}

/// Subscribes to changes and results of every series, once the watch list is known.
async fn subscribe(client: &mut Client, expected: &BTreeMap<String, Told>, interval: &str) {
    let streams: Vec<_> = expected
        .keys()
        .map(|symbol| symbol.to_lowercase())
        .flat_map(|symbol| {
            [
                format!("{symbol}@signal_{interval}"),
                format!("{symbol}@hama_{interval}"),
            ]
        })
        .collect();
    let request = serde_json::json!({"method": "SUBSCRIBE", "params": streams, "id": "all"});
    loop {
        client.send(&request.to_string()).await;
        let answer = loop {
            let message = client.next().await;
            if message["id"] == "all" {
                break message;
            }
        };
        if answer.get("result").is_some() {
            return;
        }
        // Not loaded yet: the heartbeat says when something has changed.
        while client.next().await["data"]["type"] != "symbols" {}
    }
}

fn take(item: &Value, seen: &mut BTreeMap<String, Seen>) {
    let Some(seen) = item["symbol"]
        .as_str()
        .and_then(|symbol| seen.get_mut(symbol))
    else {
        return;
    };
    let close = item["candle_close_time"].as_i64();
    let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
    match item["type"].as_str() {
        Some("snapshot") if seen.base.is_none() && item["status"] == "live" => {
            seen.base = close.map(|close| (close, text("recommendation")));
        }
        Some("signal") => {
            seen.changes
                .push((close.unwrap(), text("previous"), text("recommendation")));
        }
        Some("correction") => panic!("nothing was revised: {item}"),
        Some("hama") => {
            seen.holes = item["holes"].as_i64().unwrap();
            let live = &item["live"]["recommendation"];
            seen.flips += usize::from(live.is_string() && *live != item["recommendation"]);
        }
        _ => {}
    }
    seen.newest = seen.newest.max(close.unwrap_or(0));
}

/// What `analyze` says of every file, by symbol.
fn analyze_all(directory: &Path, interval: &str) -> BTreeMap<String, Told> {
    let files = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .map(|file| {
            let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
            let symbol = name
                .strip_suffix(&format!("-{interval}"))
                .unwrap()
                .to_owned();
            (symbol, analyze(&file))
        })
        .collect()
}

fn analyze(file: &Path) -> Told {
    let out = Command::new(env!("CARGO_BIN_EXE_hamacast"))
        .arg("analyze")
        .arg(file)
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let text = String::from_utf8(out.stdout).unwrap();
    let mut rows = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = rows.next().unwrap();
    let column = head
        .iter()
        .position(|name| *name == "recommendation")
        .unwrap();
    rows.map(|row| {
        (
            row[0].parse::<i64>().unwrap() + 299_999,
            row[column].to_owned(),
        )
    })
    .collect()
}

fn changes_after(told: &Told, base: i64) -> Vec<(i64, String, String)> {
    let pairs = told.values().zip(told.iter().skip(1));
    pairs
        .filter(|(before, (close, now))| **close > base && before != now)
        .map(|(before, (close, now))| (*close, before.clone(), now.clone()))
        .collect()
}

/// Two series that turn once and then go steadily one way. From candle 600 on every candle spikes by 80 % both ways and
/// comes back: the open candle crosses, the closed one does not, since both its means are where they were.
fn make_flips(directory: &Path) {
    for (symbol, way) in [("FALLUSDT", -1.0), ("RISEUSDT", 1.0)] {
        let (mut text, mut price) = (String::new(), 100.0);
        for i in 0..640 {
            let open: f64 = price;
            price *= 1.0 + 0.000_1 * if i < 300 { -way } else { way };
            let spike = if i < 600 { 1.0 } else { 1.8 };
            let (high, low) = (open.max(price) * spike, open.min(price) * (2.0 - spike));
            let open_time = 1_600_000_200_000_i64 + i * 300_000;
            writeln!(
                text,
                "{open_time},{open:.6},{high:.6},{low:.6},{price:.6},10"
            )
            .unwrap();
        }
        std::fs::write(directory.join(format!("{symbol}-5m.csv")), text).unwrap();
    }
}

/// Eight series of 1,000 five-minute candles, two of them with holes: one candle, and three in a row.
fn make_candles(directory: &Path) {
    for series in 0..8_u64 {
        let mut dice = fastrand::Rng::with_seed(series);
        let holes: &[u64] = match series {
            0 => &[300, 700, 850],
            1 => &[760, 761, 762],
            _ => &[],
        };
        let (mut text, mut price) = (String::new(), 100.0 * (series + 1) as f64);
        for i in 0..1_000 {
            let swing = (i as f64 / (9.0 + series as f64)).sin() * 0.004;
            let open: f64 = price;
            price *= 1.0 + swing + (dice.f64() - 0.5) * 0.006;
            let (high, low) = (open.max(price) * 1.001, open.min(price) * 0.999);
            if !holes.contains(&i) {
                let open_time = 1_600_000_200_000 + i * 300_000;
                writeln!(
                    text,
                    "{open_time},{open:.4},{high:.4},{low:.4},{price:.4},{}",
                    dice.u32(1..900)
                )
                .unwrap();
            }
        }
        std::fs::write(directory.join(format!("T{series}USDT-5m.csv")), text).unwrap();
    }
}
