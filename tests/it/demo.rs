//! `hamacast demo` as a user meets it: the real binary, everything in it, for a while. A reader that is cut off at random
//! and resumes by its cursor has exactly the server's log; the candles are the exchange's; no rule was broken; the stop
//! is clean. `HAMACAST_DEMO_SECONDS` and `HAMACAST_DEMO_SPEED` say how long and how fast (`make soak`).

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::TcpStream;

use crate::support::http_room::client;
use crate::support::hub::{Client, items};
use crate::support::process::{Server, address_kept_free};

/// A cursor, as a reader keeps it.
#[derive(Debug, Clone)]
struct Cursor {
    epoch: String,
    seq: u64,
}

/// A reader of all changes of the primary interval, across its connections.
struct Reader {
    address: String,
    dice: fastrand::Rng,
    cursor: Option<Cursor>,
    /// Where its record begins.
    from: u64,
    record: Vec<Value>,
    connections: usize,
}

const STREAMS: &str = r#"["!signal_15m@arr","!signal_1h@arr","!signal_4h@arr"]"#;

#[tokio::test]
async fn a_reader_cut_off_at_random_has_exactly_the_log_and_the_candles_are_the_exchanges() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a whole number"))
    };
    let (seconds, speed) = (
        number("HAMACAST_DEMO_SECONDS", 20),
        number("HAMACAST_DEMO_SPEED", 300),
    );
    let exchange = address_kept_free();
    let speed_text = speed.to_string();
    let demo = Server::start(
        &[
            "demo",
            "--listen",
            "127.0.0.1:0",
            "--exchange-listen",
            &exchange,
            "--speed",
            &speed_text,
        ],
        &[],
    );
    let started = Instant::now();
    all_live(&demo.address).await;
    println!(
        "375 series live {:.1} s after the first line",
        started.elapsed().as_secs_f64()
    );

    let mut reader = Reader::new(demo.address.clone());
    let (took_s, resident) = read_with_cuts(&mut reader, seconds, demo.id()).await;
    let log = reader.catch_up_with_the_log().await;
    assert_eq!(reader.record, log, "one for one, in order");
    println!(
        "{} changes over {} connections in {took_s} s at speed {speed}: nothing missing, nothing doubled",
        log.len(),
        reader.connections
    );
    assert!(
        reader.connections >= 5,
        "cut off too seldom to mean anything"
    );

    let compared = differences_to_truth(&demo.address, &exchange).await;
    let status = get(&demo.address, "/api/v1/status").await;
    assert_eq!(status["series"]["live"], 375, "{status}");
    let stats = get(&exchange, "/sim/stats").await;
    assert_eq!(stats["violation_count"], 0, "{}", stats["violations"]);
    println!(
        "{compared} closed candles compared with the exchange's: no difference; candles: {}",
        status["candles"]
    );
    println!(
        "exchange: no rule broken; weight peak {} of 2400 a minute",
        stats["totals"]["weight_peak"]
    );
    println!("resident: {resident:?} MiB, when all were live and after each quarter");
    end_cleanly(demo);
}

/// Reads for so long, and until it has enough changes; how long it took, and the resident memory after each quarter.
async fn read_with_cuts(reader: &mut Reader, seconds: u64, pid: u32) -> (u64, Vec<u64>) {
    let begun = Instant::now();
    let mut resident = vec![resident_mib(pid)];
    for quarter in 1..=4 {
        let until = begun + Duration::from_secs(seconds) * quarter / 4;
        while Instant::now() < until {
            reader.connect_for_a_while().await;
        }
        resident.push(resident_mib(pid));
    }
    // The made-up market begins at the wall clock's time, so how much happens in a span differs from run to run.
    while reader.record.len() < 20 {
        reader.connect_for_a_while().await;
        assert!(
            begun.elapsed() < Duration::from_secs(seconds + 300),
            "hardly a change"
        );
    }
    (begun.elapsed().as_secs(), resident)
}

fn end_cleanly(demo: Server) {
    let (code, took) = demo.terminate();
    println!(
        "SIGTERM: ended after {:.2} s (promised: 5)",
        took.as_secs_f64()
    );
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(25), "ended after {took:?}");
}

/// Waits for the heartbeat that says so.
async fn all_live(address: &str) {
    let mut client = Client::over(TcpStream::connect(address).await.unwrap(), "/stream").await;
    while client.next().await["data"]["series"]["live"] != 375 {}
    client.leave().await;
}

impl Reader {
    fn new(address: String) -> Self {
        let dice = fastrand::Rng::with_seed(7);
        Self {
            address,
            dice,
            cursor: None,
            from: 0,
            record: Vec::new(),
            connections: 0,
        }
    }

    /// One connection: subscribes, from the cursor on if there is one, and after a random while is gone without a word.
    async fn connect_for_a_while(&mut self) {
        let mut client = self.connect().await;
        let while_ms = self.dice.u64(1..1_500);
        let reading = async {
            loop {
                let message = client.next().await;
                self.take(&message);
            }
        };
        // It never ends by itself: the time running out is the cut.
        let _ = tokio::time::timeout(Duration::from_millis(while_ms), reading).await;
    }

    async fn connect(&mut self) -> Client {
        self.connections += 1;
        let mut client =
            Client::over(TcpStream::connect(&self.address).await.unwrap(), "/stream").await;
        match self.cursor.clone() {
            Some(Cursor { epoch, seq }) => {
                let answer = client.resume(STREAMS, &epoch, seq).await;
                assert_eq!(answer["result"]["resumed"], true, "{answer}");
            }
            None => {
                client
                    .send(&format!(
                        r#"{{"method":"SUBSCRIBE","params":{STREAMS},"id":"first"}}"#
                    ))
                    .await;
                while client.next().await["id"] != "first" {}
                // Its record begins where all three streams are live.
                let mut live = 0;
                while live < 3 {
                    for item in items(&client.next().await) {
                        if item["type"] == "live" {
                            live += 1;
                            self.from = item["seq"].as_u64().unwrap();
                            self.cursor = Some(cursor(&item));
                        }
                        assert_ne!(
                            item["type"], "signal",
                            "three streams asked for at once go live in one step"
                        );
                    }
                }
            }
        }
        client
    }

    fn take(&mut self, message: &Value) {
        for item in items(message) {
            match item["type"].as_str() {
                Some("signal" | "correction") => {
                    self.cursor = Some(cursor(&item));
                    self.record.push(item);
                }
                Some("live") => self.cursor = Some(cursor(&item)),
                Some("reset") => panic!("the numbering began anew: {item}"),
                _ => {}
            }
        }
    }

    /// Reads on until it has all the log had when asked; the log from where the record begins to there.
    async fn catch_up_with_the_log(&mut self) -> Vec<Value> {
        let mut log = Vec::new();
        let mut since = self.from;
        loop {
            let path = format!("/api/v1/changes?interval=all&limit=1000&since={since}");
            let page = get(&self.address, &path).await;
            log.extend(page["changes"].as_array().unwrap().iter().cloned());
            since = page["next"].as_u64().unwrap();
            if since == page["seq"].as_u64().unwrap() {
                break;
            }
        }
        let last = log
            .last()
            .map_or(self.from, |change| change["seq"].as_u64().unwrap());
        let mut client = self.connect().await;
        while self
            .record
            .last()
            .map_or(self.from, |change| change["seq"].as_u64().unwrap())
            < last
        {
            let message = client.next().await;
            self.take(&message);
        }
        self.record
            .retain(|change| change["seq"].as_u64().unwrap() <= last);
        log
    }
}

fn cursor(item: &Value) -> Cursor {
    Cursor {
        epoch: item["epoch"].as_str().unwrap().to_owned(),
        seq: item["seq"].as_u64().unwrap(),
    }
}

async fn get(address: &str, path: &str) -> Value {
    let url = format!("http://{address}{path}");
    let answer = client().get(&url).send().await.unwrap();
    assert!(answer.status().is_success(), "{url}: {}", answer.status());
    answer.json().await.unwrap()
}

/// Compares every closed candle the server holds of every tenth contract with the exchange's; how many there were.
async fn differences_to_truth(address: &str, exchange: &str) -> usize {
    let symbols = get(address, "/api/v1/symbols").await;
    let mut compared = 0;
    for contract in symbols["symbols"].as_array().unwrap().iter().step_by(10) {
        let symbol = contract["symbol"].as_str().unwrap();
        for interval in ["15m", "1h", "4h"] {
            let query = format!("?symbol={symbol}&interval={interval}&limit=1500");
            let ours = get(address, &format!("/api/v1/candles/{symbol}{query}")).await;
            let ours: Vec<_> = ours["candles"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|candle| candle["closed"] == true)
                .collect();
            let from = ours[0]["open_time"].as_i64().unwrap();
            let truth = get(
                exchange,
                &format!("/sim/truth?symbol={symbol}&interval={interval}&from={from}"),
            )
            .await;
            for (ours, truth) in ours.iter().zip(truth["candles"].as_array().unwrap()) {
                assert_eq!(ours["open_time"], truth[0], "{symbol} {interval}");
                for (at, name) in ["open", "high", "low", "close", "volume"]
                    .into_iter()
                    .enumerate()
                {
                    let text = truth[at + 1].as_str().unwrap();
                    assert_eq!(
                        ours[name].as_f64(),
                        text.parse().ok(),
                        "{symbol} {interval} {name}: {truth}"
                    );
                }
                compared += 1;
            }
        }
    }
    compared
}

fn resident_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}
