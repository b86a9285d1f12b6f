//! Replay: the files' numbers come out as they went in, holes included, and a symbol ends with its file.

use std::fmt::Write as _;

use hamacast::simulator::SimulatorSettings;

use super::{Exchange, settings};

const FIRST_MS: i64 = 1_700_000_040_000; // on the minute
const MINUTE_MS: i64 = 60_000;

/// 700 one-minute candles with 17-digit volumes; rows 100 to 109 are missing.
fn file() -> String {
    let mut text = String::from("open_time_ms,open,high,low,close,volume\n");
    for row in (0..700).filter(|row| !(100..110).contains(row)) {
        let open = 100 + row % 7;
        let _ = writeln!(
            text,
            "{},{open}.50,{}.75,{}.25,{open}.10,{}.04517148850710084",
            FIRST_MS + row * MINUTE_MS,
            open + 1,
            open - 1,
            row % 3
        );
    }
    text
}

async fn exchange(dir: &std::path::Path, speed: f64) -> Exchange {
    Exchange::start(SimulatorSettings {
        replay: Some(dir.to_owned()),
        start: None,
        speed,
        ..settings()
    })
    .await
}

#[tokio::test]
async fn a_replay_serves_the_files_numbers_and_its_holes() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ETHBTC-1m.csv"), file()).unwrap();
    let exchange = exchange(dir.path(), 1.0).await;
    let info = exchange.get("/fapi/v1/exchangeInfo").await;
    assert_eq!(info.json["symbols"].as_array().unwrap().len(), 1);
    assert_eq!(info.json["symbols"][0]["quoteAsset"], "BTC");
    // It starts at row 600 of the file: 600 rows have closed.
    let rows = exchange
        .get("/fapi/v1/klines?symbol=ETHBTC&interval=1m&limit=1500")
        .await;
    assert_eq!(rows.rows().len(), 601);
    let text = file();
    for (line, row) in text.lines().skip(1).zip(&rows.rows()[..600]) {
        let fields: Vec<f64> = line
            .split(',')
            .map(|field| field.parse().unwrap())
            .collect();
        assert_eq!(row[0].as_f64().unwrap(), fields[0]);
        for at in 1..6 {
            assert_eq!(
                row[at].as_str().unwrap().parse::<f64>().unwrap(),
                fields[at],
                "{line}"
            );
        }
    }
    let opens: Vec<_> = rows
        .rows()
        .iter()
        .map(|row| row[0].as_i64().unwrap())
        .collect();
    assert!(opens.contains(&(FIRST_MS + 99 * MINUTE_MS)));
    assert!(!opens.contains(&(FIRST_MS + 105 * MINUTE_MS)));
    let hours = exchange
        .get("/sim/truth?symbol=ETHBTC&interval=1h&from=0")
        .await;
    assert!(hours.json["candles"].as_array().unwrap().len() >= 9);
    assert_eq!(
        exchange
            .get("/fapi/v1/klines?symbol=ETHBTC&interval=1m&limit=5")
            .await
            .rows()
            .len(),
        5
    );
}

/// The files of the public archive have twelve columns, takers' shares among them.
#[tokio::test]
async fn every_column_of_an_archive_file_comes_out_as_it_went_in() {
    let dir = tempfile::tempdir().unwrap();
    let text = (0..700).fold(String::new(), |mut text, row| {
        let time = FIRST_MS + row * MINUTE_MS;
        let (end, part) = (time + MINUTE_MS - 1, row % 90);
        let _ = writeln!(
            text,
            "{time},5.10,6.00,5.00,5.50,10.125,{end},52.12345,17,{part}.0625,4{part:02}.54321,0"
        );
        text
    });
    std::fs::write(dir.path().join("SOLUSDT-1m.csv"), &text).unwrap();
    let exchange = exchange(dir.path(), 600.0).await;
    let mut stream = exchange.connect("/market/ws/solusdt@kline_1m").await;
    let close = stream.next_close("1m").await;
    let first = close["t"].as_i64().unwrap();
    let rows = exchange
        .get("/fapi/v1/klines?symbol=SOLUSDT&interval=1m&limit=601&startTime=0")
        .await;
    let numbers = |fields: &[&str]| -> Vec<f64> {
        let parsed = fields.iter().map(|field| field.parse().unwrap());
        parsed.collect()
    };
    for (line, row) in text.lines().zip(rows.rows()) {
        let told: Vec<String> = row
            .as_array()
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        let told: Vec<_> = told.iter().map(|text| text.trim_matches('"')).collect();
        let fields: Vec<_> = line.split(',').collect();
        assert_eq!(numbers(&told), numbers(&fields), "{line}");
    }
    let line = text
        .lines()
        .find(|line| line.starts_with(&first.to_string()));
    let fields: Vec<_> = line.unwrap().split(',').collect();
    let told = ["v", "q", "V", "Q"].map(|name| close[name].as_str().unwrap().to_owned());
    let told: Vec<_> = told.iter().map(String::as_str).collect();
    assert_eq!(
        numbers(&told),
        numbers(&[fields[5], fields[7], fields[9], fields[10]])
    );
    let hour = exchange
        .get("/fapi/v1/klines?symbol=SOLUSDT&interval=1h&limit=1&startTime=1700002800000")
        .await;
    let open = hour.rows()[0][0].as_i64().unwrap();
    let sum: f64 = text
        .lines()
        .map(|line| line.split(',').collect::<Vec<_>>())
        .filter(|fields| (open..open + 60 * MINUTE_MS).contains(&fields[0].parse().unwrap()))
        .map(|fields| fields[9].parse::<f64>().unwrap())
        .sum();
    let told: f64 = hour.rows()[0][9].as_str().unwrap().parse().unwrap();
    assert!((told - sum).abs() < 1e-6, "{told} {sum}");
}

#[tokio::test]
async fn h21_a_candle_without_trades_is_told_once_and_then_only_closes() {
    let dir = tempfile::tempdir().unwrap();
    let rows = |volume: &str| {
        (0..700).fold(String::new(), |mut text, row| {
            let time = FIRST_MS + row * MINUTE_MS;
            let _ = writeln!(text, "{time},5,6,5,5.5,{volume}");
            text
        })
    };
    std::fs::write(dir.path().join("DEADUSDT-1m.csv"), rows("0")).unwrap();
    std::fs::write(dir.path().join("BUSYUSDT-1m.csv"), rows("9.123456")).unwrap();
    let exchange = exchange(dir.path(), 1.0).await;
    let mut dead = exchange.connect("/market/ws/deadusdt@kline_1m").await;
    assert_eq!(dead.next().await["k"]["v"], "0");
    // Markers: what trades was pushed several times meanwhile, and the next thing said is an answer.
    let mut busy = exchange.connect("/market/ws/busyusdt@kline_1m").await;
    for _ in 0..5 {
        busy.next().await;
    }
    dead.say(r#"{"method":"LIST_SUBSCRIPTIONS","id":1}"#).await;
    assert_eq!(dead.next().await["id"], 1);
}

#[tokio::test]
async fn past_the_end_of_its_file_a_symbol_is_silent() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ETHBTC-1m.csv"), file()).unwrap();
    let exchange = exchange(dir.path(), 3_600.0).await;
    let mut client = exchange.connect("/market/ws/ethbtc@kline_1m").await;
    for row in 601..700 {
        let close = client.next_close("1m").await;
        let open = close["t"].as_i64().unwrap();
        if row == 601 {
            // The first candle may have closed before the connection stood.
            assert!(open >= FIRST_MS + 600 * MINUTE_MS);
        }
        if open == FIRST_MS + 699 * MINUTE_MS {
            break;
        }
    }
    // Marker: an answer that comes after the end, with no event before it.
    client
        .say(r#"{"method":"LIST_SUBSCRIPTIONS","id":1}"#)
        .await;
    assert_eq!(client.next().await["id"], 1);
}

#[tokio::test]
async fn a_directory_that_is_none_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let tasks = hamacast::tasks::Tasks::new();
    for (name, text, wanted) in [
        ("readme.txt", "", "no <SYMBOL>-<interval>.csv"),
        (
            "BTCUSDT-1m.csv",
            "60000,1,1,1,NaN,0",
            "line 1: 'NaN' is not a number",
        ),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
        let settings = SimulatorSettings {
            replay: Some(dir.path().to_owned()),
            ..settings()
        };
        let listen = "127.0.0.1:0".parse().unwrap();
        let refused = hamacast::simulator::Simulator::start(settings, listen, &tasks).await;
        let refused = refused.err().unwrap();
        assert!(
            refused.is_usage() && refused.to_string().contains(wanted),
            "{refused}"
        );
    }
}
