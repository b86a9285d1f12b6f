//! Faults of REST: refusals, answers that never come or come wrong, weight spent by others, candles of yesterday.

use std::collections::BTreeMap;

use hamacast::market::TimeMs;
use hamacast::simulator::{Rule, SimulatorSettings};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::{Exchange, START_MS, settings};

const PING: &str = "/fapi/v1/ping";
const KLINES: &str = "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=5";

impl Exchange {
    async fn ask(&self, path: &str) -> reqwest::Result<reqwest::Response> {
        let url = format!("http://{}{path}", self.simulator.local_addr());
        self.http.get(url).send().await
    }

    async fn text(&self, path: &str) -> String {
        self.ask(path).await.unwrap().text().await.unwrap()
    }

    /// Head and body as they come over the wire.
    async fn raw(&self, path: &str) -> (String, Vec<u8>) {
        let mut socket = TcpStream::connect(self.simulator.local_addr())
            .await
            .unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        let _ = socket.read_to_end(&mut all).await; // the end may be a fault's
        let head = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        (
            String::from_utf8(all[..head].to_vec()).unwrap(),
            all[head + 4..].to_vec(),
        )
    }
}

#[tokio::test]
async fn refusals_have_the_exchanges_bodies_and_their_retry_after() {
    let exchange = Exchange::start(settings()).await;
    for (status, code) in [(408, -1007), (429, -1003), (500, -1001), (503, -1008)] {
        exchange.tell(&json!({"kind": "rest.status", "status": status, "count": 1}).to_string());
        let answer = exchange.get(PING).await;
        answer.refused(status, code);
        assert!(!answer.headers.contains_key("retry-after"));
        assert!(answer.used_weight() > 0);
    }
    exchange.tell(r#"{"kind":"rest.status","status":429,"retry_after_secs":3,"count":1}"#);
    let answer = exchange.get(PING).await;
    answer.refused(429, -1003);
    assert_eq!(answer.headers["retry-after"], "3");
    for status in [403, 502, 504] {
        exchange.tell(&json!({"kind": "rest.status", "status": status, "count": 1}).to_string());
        let answer = exchange.ask(PING).await.unwrap();
        assert_eq!(answer.status().as_u16(), status);
        assert_eq!(answer.headers()["content-type"], "text/html");
        assert!(answer.text().await.unwrap().starts_with("<html>"));
    }
    exchange.tell(r#"{"kind":"rest.status","status":451,"path":"/fapi"}"#);
    for _ in 0..3 {
        let answer = exchange.get(PING).await;
        answer.refused(451, 0);
        let told = "Service unavailable from a restricted location according to 'b. Eligibility'";
        assert!(answer.json["msg"].as_str().unwrap().starts_with(told));
        assert!(!answer.headers.contains_key("x-mbx-used-weight-1m"));
    }
    let stats = exchange.get("/sim/stats").await;
    assert_eq!(stats.json["totals"]["requests_while_forbidden"], 4);
    assert_eq!(stats.json["violations"], json!([]));
}

#[tokio::test]
async fn h30_a_418_bans_the_address_for_as_long_as_it_says() {
    let exchange = Exchange::start(settings()).await;
    exchange.tell(r#"{"kind":"rest.status","status":418,"retry_after_secs":600,"count":1}"#);
    for _ in 0..2 {
        let answer = exchange.get(PING).await;
        answer.refused(418, -1003);
        let secs: u32 = answer.headers["retry-after"].parse().unwrap();
        assert!((590..=600).contains(&secs));
        assert!(
            answer.json["msg"]
                .as_str()
                .unwrap()
                .contains("IP banned until 17672")
        );
    }
    assert_eq!(exchange.strikes(), [1]);
    let stats = exchange.simulator.stats();
    assert_eq!(stats.totals.requests_while_banned, 1);
}

#[tokio::test]
async fn an_answer_does_not_come_before_or_after_its_head() {
    let exchange = Exchange::start(settings()).await;
    exchange.tell(r#"{"kind":"rest.timeout","when":"before_headers","path":"/fapi/v1/ping"}"#);
    let (answer, ()) = tokio::join!(exchange.ask(PING), async {
        exchange.until_struck(&[1]).await;
        assert_eq!(exchange.get("/fapi/v1/time").await.status, 200);
        exchange.simulator.clear_faults();
    });
    assert!(answer.is_err());
    exchange.tell(r#"{"kind":"rest.timeout","when":"after_headers","path":"/fapi/v1/ping"}"#);
    let answer = exchange.ask(PING).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.content_length()),
        (200, Some(2))
    );
    exchange.simulator.clear_faults();
    assert!(answer.text().await.is_err());
    assert_eq!(exchange.get(PING).await.status, 200);
}

#[tokio::test]
async fn a_request_is_reset_and_a_body_ends_half_way() {
    let exchange = Exchange::start(settings()).await;
    exchange.tell(r#"{"kind":"rest.reset","symbol":"BTCUSDT","interval":"1m","count":1}"#);
    let elsewhere = [
        "/fapi/v1/klines?symbol=ETHUSDT&interval=1m",
        "/fapi/v1/klines?symbol=BTCUSDT&interval=1h",
        PING,
    ];
    for path in elsewhere {
        assert_eq!(exchange.get(path).await.status, 200);
    }
    // By hand: a client may ask again by itself when an idle connection of its pool is reset.
    let mut socket = TcpStream::connect(exchange.simulator.local_addr())
        .await
        .unwrap();
    let request = format!("GET {KLINES} HTTP/1.1\r\nhost: x\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let ended = socket.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(ended.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(exchange.get(KLINES).await.rows().len(), 5);
    assert_eq!(exchange.strikes(), [1]);
    let (_, whole) = exchange.raw(KLINES).await;
    exchange.tell(r#"{"kind":"rest.truncate"}"#);
    let (head, half) = exchange.raw(KLINES).await;
    assert!(
        head.to_ascii_lowercase().contains("content-length: "),
        "{head}"
    );
    assert!(
        half.len().abs_diff(whole.len() / 2) < 20,
        "{} of {}",
        half.len(),
        whole.len()
    );
    assert!(exchange.ask(KLINES).await.unwrap().text().await.is_err());
}

#[tokio::test]
async fn bodies_come_malformed_retyped_empty_and_backwards() {
    let exchange = Exchange::start(settings()).await;
    let closed = format!("{KLINES}&endTime={}", START_MS / 60_000 * 60_000 - 1);
    let right = exchange.get(&closed).await.json;
    let times = |rows: &Value| -> Vec<i64> {
        rows.as_array()
            .unwrap()
            .iter()
            .map(|row| row[0].as_i64().unwrap())
            .collect()
    };
    exchange.tell(r#"{"kind":"rest.malformed","count":1}"#);
    let text = exchange.text(&closed).await;
    assert!(serde_json::from_str::<Value>(&text).is_err());
    exchange.tell(r#"{"kind":"rest.wrong_types","count":1}"#);
    let wrong = exchange.get(&closed).await.json;
    assert_eq!(wrong[0][0], right[0][0].to_string());
    assert!(wrong[0][1].is_number());
    exchange.tell(r#"{"kind":"rest.empty","count":2}"#);
    assert_eq!(exchange.get(&closed).await.json, json!([]));
    assert_eq!(exchange.get("/fapi/v1/exchangeInfo").await.json, json!({}));
    exchange.tell(r#"{"kind":"rest.wrong_order","count":1}"#);
    let mut backwards = times(&exchange.get(&closed).await.json);
    backwards.reverse();
    assert_eq!(backwards, times(&right));
    assert_eq!(exchange.get(&closed).await.json, right);
    assert_eq!(exchange.strikes(), [1, 1, 2, 1]);
}

#[tokio::test]
async fn a_body_is_larger_than_anybody_wants_packed_or_not() {
    let exchange = Exchange::start(settings()).await;
    let megabytes = 8_000_000;
    exchange.tell(&json!({"kind": "rest.oversized", "bytes": megabytes, "count": 1}).to_string());
    let text = exchange.text(KLINES).await;
    assert_eq!(text.len(), megabytes);
    assert_eq!(
        serde_json::from_str::<Value>(&text)
            .unwrap()
            .as_array()
            .unwrap()
            .len(),
        5
    );
    exchange.tell(
        &json!({"kind": "rest.oversized", "bytes": megabytes, "wrapping": "gzip", "count": 2})
            .to_string(),
    );
    let (head, body) = exchange.raw(KLINES).await;
    assert!(
        head.to_ascii_lowercase().contains("content-encoding: gzip"),
        "{head}"
    );
    assert!(
        body.starts_with(&[0x1f, 0x8b]) && body.len() < megabytes / 100,
        "{}",
        body.len()
    );
    assert_eq!(exchange.text(KLINES).await.len(), megabytes);
}

#[tokio::test]
async fn others_behind_the_same_address_spend_the_budget_and_break_no_rule_of_ours() {
    let exchange = Exchange::start(settings()).await;
    exchange.tell(r#"{"kind":"rest.weight","weight":1199,"count":2}"#);
    assert_eq!(exchange.get(PING).await.used_weight(), 1_200);
    assert_eq!(exchange.get(PING).await.used_weight(), 2_400);
    let answer = exchange.get(PING).await;
    answer.refused(429, -1003);
    assert_eq!(answer.used_weight(), 2_401);
    let stats = exchange.simulator.stats();
    assert_eq!((stats.totals.weight_peak, stats.totals.weight_last), (3, 3));
    assert_eq!(stats.totals.requests_while_limited, 1);
    assert_eq!(stats.violation_count, 0, "{:?}", stats.violations);
}

#[tokio::test]
async fn our_own_weight_over_the_limit_is_a_violation_with_others_or_without() {
    let exchange = Exchange::start(settings()).await;
    exchange.tell(r#"{"kind":"rest.weight","weight":1,"path":"/fapi/v1/ping"}"#);
    exchange.get(PING).await;
    for _ in 0..61 {
        exchange.get("/fapi/v1/ticker/24hr").await;
    }
    let stats = exchange.simulator.stats();
    assert_eq!(stats.violations[0].rule, Rule::Weight);
}

#[tokio::test]
async fn h19_rest_serves_the_old_candle_for_a_while_after_the_boundary() {
    let boundary = START_MS / 60_000 * 60_000;
    let exchange = Exchange::start(SimulatorSettings {
        start: Some(TimeMs::new(boundary + 500)),
        ..settings()
    })
    .await;
    let path = format!("{KLINES}&endTime={}", boundary - 1);
    let right = exchange.get(&path).await.json;
    exchange.tell(r#"{"kind":"rest.lag","lag_ms":30000,"interval":"1m","count":1}"#);
    let stale = exchange.get(&path).await.json;
    assert_eq!(stale[4][0], right[4][0], "the same candle");
    assert!(
        stale[4][8].as_i64() < right[4][8].as_i64(),
        "{} {}",
        stale[4],
        right[4]
    );
    assert_eq!(stale[3], right[3]);
    assert_eq!(exchange.get(&path).await.json, right);
}

#[tokio::test]
async fn h01_rest_serves_the_open_candle_although_the_end_excludes_it() {
    let exchange = Exchange::start(settings()).await;
    let boundary = START_MS / 60_000 * 60_000;
    let path = format!("{KLINES}&endTime={}", boundary - 1);
    exchange.tell(r#"{"kind":"rest.open_row","symbol":"BTCUSDT","count":1}"#);
    let last = |rows: &Value| rows[4][0].as_i64().unwrap();
    let with_open = last(&exchange.get(&path).await.json);
    assert!(with_open >= boundary, "{with_open}");
    assert_eq!(last(&exchange.get(&path).await.json), boundary - 60_000);
}

#[tokio::test]
async fn a_share_of_requests_is_the_seeds_in_whatever_order_they_are_sent() {
    let names = [
        "BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT", "BNBUSDT", "ADAUSDT", "LINKUSDT",
    ];
    let mut runs = Vec::new();
    for backwards in [false, true] {
        let exchange = Exchange::start(settings()).await;
        exchange.tell(r#"{"kind":"rest.status","status":503,"share":0.4}"#);
        let mut asked: Vec<_> = names.iter().flat_map(|name| [*name; 3]).collect();
        if backwards {
            asked.reverse();
        }
        let mut statuses: BTreeMap<&str, Vec<u16>> = BTreeMap::new();
        for name in asked {
            let path = format!("/fapi/v1/klines?symbol={name}&interval=1m&limit=1");
            statuses
                .entry(name)
                .or_default()
                .push(exchange.get(&path).await.status);
        }
        let struck = statuses
            .values()
            .flatten()
            .filter(|status| **status == 503)
            .count();
        assert_eq!(exchange.strikes(), [struck as u64]);
        assert!((2..22).contains(&struck));
        runs.push(statuses);
    }
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test]
async fn what_belongs_to_the_simulator_is_never_struck() {
    let exchange = Exchange::start(settings()).await;
    exchange.tell(r#"[{"kind":"rest.status","status":500},{"kind":"rest.empty"},{"kind":"transport.slow_bytes","bytes_per_second":1}]"#);
    for path in [
        "/sim/stats",
        "/sim/truth?symbol=BTCUSDT&interval=1h",
        "/sim/fault",
    ] {
        assert_eq!(exchange.get(path).await.status, 200);
    }
    assert_eq!(exchange.strikes(), [0, 0, 0]);
}
