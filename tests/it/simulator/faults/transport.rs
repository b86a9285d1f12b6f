//! Faults of transport: who is cut, who is refused, who hears nothing, and who goes on.

use std::time::Duration;

use futures::SinkExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::super::{Client, Exchange, PATIENCE, settings};
use super::Ended;

const BITCOIN: &str = "btcusdt@kline_1m";

async fn refused(exchange: &Exchange, path: &str) -> (u16, Option<String>, String) {
    let url = format!("ws://{}{path}", exchange.simulator.local_addr());
    let refused = tokio_tungstenite::connect_async(url).await.unwrap_err();
    let Error::Http(response) = refused else {
        panic!("{refused}");
    };
    let retry = response.headers().get("retry-after");
    let retry = retry.map(|value| value.to_str().unwrap().to_owned());
    let body = String::from_utf8(response.body().clone().unwrap_or_default()).unwrap();
    (response.status().as_u16(), retry, body)
}

/// Reads until nothing more comes; whether the end was a reset.
async fn is_reset(mut socket: TcpStream) -> bool {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut rest)).await;
    let ended = read.expect("an end within 20 s");
    assert_eq!(rest, b"");
    ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}

#[tokio::test]
async fn a_reset_ends_what_is_open_in_its_scope_and_nothing_else() {
    let exchange = Exchange::start(settings()).await;
    let mut market = exchange.connect("/market/ws").await;
    let mut public = exchange.connect("/public/ws").await;
    exchange.tell(r#"{"kind":"transport.reset","path":"/market"}"#);
    assert_eq!(market.ended().await.1, Ended::Reset);
    let mut later = exchange.connect("/market/ws").await;
    later.is_alive().await;
    public.is_alive().await;
    assert_eq!(exchange.strikes(), [1]);
    let stats = exchange.simulator.stats();
    assert_eq!(
        stats.connections[0].ended.as_deref(),
        Some("reset by a fault")
    );
    assert_eq!(stats.violation_count, 0);
}

#[tokio::test]
async fn a_reset_with_an_end_goes_on_until_then() {
    let exchange = Exchange::start(settings()).await;
    exchange.tell(r#"{"kind":"transport.reset","for_ms":3600000}"#);
    for _ in 0..3 {
        let mut client = exchange.connect("/market/ws").await;
        assert_eq!(client.ended().await.1, Ended::Reset);
    }
    exchange.simulator.clear_faults();
    exchange.connect("/market/ws").await.is_alive().await;
}

#[tokio::test]
async fn h12_a_close_has_the_code_and_the_reason_it_was_told_and_1006_has_none() {
    let exchange = Exchange::start(settings()).await;
    let mut witness = exchange.connect("/market/ws").await;
    for (number, code) in (2..).zip([1000, 1001, 1006, 1008, 1011, 1012]) {
        let mut client = exchange.connect("/market/ws").await;
        client.is_alive().await;
        exchange.tell(&format!(
            r#"{{"kind":"transport.close","code":{code},"reason":"as told","connection":{number}}}"#
        ));
        let (heard, ended) = client.ended().await;
        assert_eq!(heard, Vec::<Value>::new());
        let expected = match code {
            1006 => Ended::Cut,
            code => Ended::Closed(code, "as told".to_owned()),
        };
        assert_eq!(ended, expected);
    }
    witness.is_alive().await;
    assert_eq!(exchange.strikes(), [1; 6]);
}

#[tokio::test]
async fn a_count_of_closes_takes_the_next_connections() {
    let exchange = Exchange::start(settings()).await;
    exchange.tell(r#"{"kind":"transport.close","code":1012,"count":2}"#);
    for _ in 0..2 {
        let mut client = exchange.connect("/market/ws").await;
        assert_eq!(client.ended().await.1, Ended::Closed(1012, String::new()));
    }
    exchange.connect("/market/ws").await.is_alive().await;
    assert_eq!(exchange.strikes(), [2]);
}

#[tokio::test]
async fn a_close_strikes_at_its_time() {
    let exchange = Exchange::start(settings()).await;
    let mut client = exchange.connect("/market/ws").await;
    let told = exchange.simulator.now();
    exchange.tell(r#"{"kind":"transport.close","code":1001,"after_ms":300}"#);
    client.is_alive().await;
    assert_eq!(client.ended().await.1, Ended::Closed(1001, String::new()));
    assert!(exchange.simulator.now().ms_since(told) >= 300);
}

#[tokio::test]
async fn h11_a_connection_ends_at_the_greatest_age_it_is_told() {
    let exchange = Exchange::start(settings()).await;
    let opened = std::time::Instant::now();
    let mut old = exchange.connect("/market/ws").await;
    let mut other = exchange.connect("/market/ws").await;
    exchange.tell(r#"{"kind":"transport.max_age","max_age_ms":200,"connection":1}"#);
    assert!(matches!(old.ended().await.1, Ended::Closed(1001, _)));
    assert!(opened.elapsed() >= Duration::from_millis(200));
    other.is_alive().await;
}

#[tokio::test]
async fn h09_a_half_open_connection_says_nothing_more_and_hears_nothing() {
    let exchange = Exchange::start(settings()).await;
    let path = format!("/market/ws/{BITCOIN}");
    let mut dead = exchange.connect(&path).await;
    let mut witness = exchange.connect(&path).await;
    dead.next().await;
    exchange.tell(r#"{"kind":"transport.half_open","connection":1}"#);
    exchange.until_struck(&[1]).await;
    dead.0
        .send(Message::Ping("are you there".into()))
        .await
        .unwrap();
    dead.say(r#"{"method":"LIST_SUBSCRIPTIONS","id":1}"#).await;
    // Marker: meanwhile another connection hears of a later time again and again.
    let since = exchange.simulator.now().ms();
    for _ in 0..5 {
        while witness.next().await["E"].as_i64().unwrap() <= since {}
    }
    exchange.simulator.clear_faults();
    let (heard, ended) = dead.ended().await;
    assert_eq!(ended, Ended::Reset);
    for event in heard {
        assert!(
            event["E"].as_i64().is_some_and(|time| time <= since),
            "{event}"
        );
    }
}

/// Hears `client` until the witness stream has told `count` events stamped after `since`; what it told of other names.
async fn meanwhile(client: &mut Client, witness: &str, since: i64, count: usize) -> Vec<String> {
    let mut heard = Vec::new();
    let mut witnessed = 0;
    while witnessed < count {
        let event = client.next().await;
        if event["E"].as_i64().is_some_and(|time| time <= since) {
            continue;
        }
        if event["s"] == witness {
            witnessed += 1;
        } else {
            heard.push(event["s"].as_str().unwrap().to_owned());
        }
    }
    heard
}

#[tokio::test]
async fn h10_one_stream_of_a_connection_stalls_while_the_others_go_on() {
    let exchange = Exchange::start(settings()).await;
    let names = "btcusdt@kline_1m/ethusdt@kline_1m";
    let mut client = exchange.connect(&format!("/market/ws/{names}")).await;
    let mut other = exchange.connect(&format!("/market/ws/{names}")).await;
    let first = client.next().await["s"].clone();
    while client.next().await["s"] == first {}
    exchange
        .tell(r#"{"kind":"transport.stall","symbol":"BTCUSDT","interval":"1m","connection":1}"#);
    exchange.until_struck(&[1]).await;
    let since = exchange.simulator.now().ms();
    assert_eq!(
        meanwhile(&mut client, "ETHUSDT", since, 5).await,
        Vec::<String>::new()
    );
    let heard = meanwhile(&mut other, "ETHUSDT", since, 5).await;
    assert!(
        heard.contains(&"BTCUSDT".to_owned()),
        "the other connection hears it"
    );
    exchange.simulator.clear_faults();
    while client.next().await["s"] != "BTCUSDT" {}
}

#[tokio::test]
async fn h09_all_streams_of_a_connection_stall_while_pings_are_answered() {
    let exchange = Exchange::start(settings()).await;
    let mut client = exchange
        .connect("/market/ws/btcusdt@kline_1m/!ticker@arr")
        .await;
    client.next().await;
    exchange.tell(r#"{"kind":"transport.stall","connection":1}"#);
    exchange.until_struck(&[2]).await;
    let since = exchange.simulator.now().ms();
    let mut other = exchange.connect(&format!("/market/ws/{BITCOIN}")).await;
    for _ in 0..5 {
        while other.next().await["E"].as_i64().unwrap() <= since {}
    }
    client
        .0
        .send(Message::Ping("are you there".into()))
        .await
        .unwrap();
    loop {
        match client.frame().await {
            Message::Pong(payload) => {
                assert_eq!(payload.as_ref(), b"are you there");
                break;
            }
            Message::Text(text) => {
                let event: Value = serde_json::from_str(&text).unwrap();
                let event = event.get(0).cloned().unwrap_or(event);
                assert!(event["E"].as_i64().unwrap() <= since, "{event}");
            }
            Message::Ping(_) | Message::Binary(_) | Message::Frame(_) => {}
            Message::Close(close) => panic!("closed: {close:?}"),
        }
    }
}

#[tokio::test]
async fn h31_handshakes_are_refused_with_the_status_and_the_body_told() {
    let exchange = Exchange::start(settings()).await;
    let body = "Service unavailable from a restricted location";
    for (status, says) in [
        (403, "<html>"),
        (429, "-1003"),
        (451, body),
        (503, "-1008"),
        (504, "<html>"),
    ] {
        exchange.tell(&format!(
            r#"{{"kind":"transport.refuse_handshake","status":{status},"retry_after_secs":7,"path":"/market","count":1}}"#
        ));
        let (answered, retry, text) = refused(&exchange, "/market/stream").await;
        assert_eq!((answered, retry.as_deref()), (status, Some("7")));
        assert!(text.contains(says), "{text}");
        exchange.connect("/market/ws").await.is_alive().await;
    }
    exchange.tell(r#"{"kind":"transport.refuse_handshake","status":451,"path":"/market"}"#);
    refused(&exchange, "/market/ws").await;
    exchange.connect("/public/ws").await.is_alive().await;
    let stats = exchange.simulator.stats().totals;
    assert_eq!(
        (stats.handshakes_refused, stats.requests_while_forbidden),
        (6, 3)
    );
}

#[tokio::test]
async fn a_share_of_handshakes_is_the_same_in_every_run() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let exchange = Exchange::start(settings()).await;
        exchange.tell(r#"{"kind":"transport.refuse_handshake","status":503,"share":0.5}"#);
        let url = format!("ws://{}/market/ws", exchange.simulator.local_addr());
        let mut refused = Vec::new();
        for _ in 0..24 {
            refused.push(tokio_tungstenite::connect_async(&url).await.is_err());
        }
        runs.push(refused);
    }
    assert_eq!(runs[0], runs[1]);
    assert!(runs[0].contains(&true) && runs[0].contains(&false));
}

#[tokio::test]
async fn a_handshake_is_left_without_an_answer_until_the_fault_ends() {
    let exchange = Exchange::start(settings()).await;
    exchange.tell(r#"{"kind":"transport.hang_handshake","path":"/market"}"#);
    let url = format!("ws://{}/market/ws", exchange.simulator.local_addr());
    let connecting = tokio_tungstenite::connect_async(url);
    let (hung, ()) = tokio::join!(connecting, async {
        exchange.until_struck(&[1]).await;
        exchange.connect("/public/ws").await.is_alive().await;
        exchange.simulator.clear_faults();
    });
    assert!(
        matches!(hung, Err(Error::Io(_) | Error::Protocol(_))),
        "{hung:?}"
    );
    exchange.connect("/market/ws").await.is_alive().await;
}

#[tokio::test]
async fn bytes_leave_as_slowly_as_they_are_told_to() {
    let exchange = Exchange::start(settings()).await;
    exchange.tell(r#"{"kind":"transport.slow_bytes","bytes_per_second":4000,"path":"/fapi/v1/klines","count":1}"#);
    let path = "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=20";
    let mut times = Vec::new();
    for _ in 0..2 {
        let asked = std::time::Instant::now();
        assert_eq!(exchange.get(path).await.rows().len(), 20);
        times.push(asked.elapsed());
    }
    // 20 rows are more than 1,000 bytes, however well they are packed: five portions with pauses between them.
    assert!(times[0] >= Duration::from_millis(150), "{times:?}");
    assert_eq!(exchange.strikes(), [1]);
    exchange.tell(r#"{"kind":"transport.slow_bytes","bytes_per_second":2000,"path":"/market"}"#);
    let mut slow = exchange.connect(&format!("/market/ws/{BITCOIN}")).await;
    let asked = std::time::Instant::now();
    slow.next().await;
    slow.next().await;
    assert!(
        asked.elapsed() >= Duration::from_millis(150),
        "two events are 700 bytes"
    );
    assert_eq!(exchange.strikes(), [1, 1]);
}

#[tokio::test]
async fn no_connection_comes_about_while_they_are_refused() {
    let exchange = Exchange::start(settings()).await;
    let address = exchange.simulator.local_addr();
    exchange.tell(r#"{"kind":"transport.refuse_connect","count":2}"#);
    for _ in 0..2 {
        // The reset may be there before the connect is done.
        if let Ok(socket) = TcpStream::connect(address).await {
            assert!(is_reset(socket).await);
        }
    }
    assert_eq!(exchange.get("/fapi/v1/ping").await.status, 200);
    exchange.tell(r#"{"kind":"transport.refuse_connect","how":"ignore"}"#);
    let mut ignored = TcpStream::connect(address).await.unwrap();
    ignored
        .write_all(b"GET /fapi/v1/ping HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    exchange.until_struck(&[2, 1]).await;
    exchange.simulator.clear_faults();
    assert!(is_reset(ignored).await);
    assert_eq!(exchange.get("/fapi/v1/ping").await.json, json!({}));
}
