//! What lies around every answer (gzip, request id, other origins, the page's files), and the door to the feed.

use std::io::Read;
use std::time::Duration;

use futures::StreamExt;
use hamacast::market::Interval;
use hamacast::signal::Recommendation;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::support::http_room::Room;

/// Sends `head` on a fresh connection; what comes back until the other side closes or has sent `until` bytes.
async fn exchange(room: &Room, head: &str, until: usize) -> Vec<u8> {
    let mut socket = TcpStream::connect(room.address).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut got = Vec::new();
    let reading = async {
        let mut part = [0; 4096];
        while got.len() < until {
            match socket.read(&mut part).await.unwrap() {
                0 => break,
                n => got.extend_from_slice(&part[..n]),
            }
        }
    };
    let came = tokio::time::timeout(Duration::from_secs(10), reading).await;
    assert!(
        came.is_ok(),
        "only this came: {:?}",
        String::from_utf8_lossy(&got)
    );
    got
}

/// A handshake with the sample key of RFC 6455; `extra` replaces headers of the same name.
fn handshake(path: &str, extra: &[(&str, &str)]) -> String {
    let usual = [
        ("Host", "127.0.0.1"),
        ("Upgrade", "websocket"),
        ("Connection", "keep-alive, Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let kept = usual
        .iter()
        .filter(|(name, _)| extra.iter().all(|(other, _)| other != name));
    let lines: Vec<_> = kept
        .chain(extra)
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!("GET {path} HTTP/1.1\r\n{}\r\n", lines.concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).to_ascii_lowercase()
}

#[tokio::test]
async fn every_path_of_the_feed_answers_the_handshake_of_the_rfc() {
    let room = Room::start_live().await;
    let paths = [
        "/stream",
        "/stream?streams=btcusdt@signal_15m/!status",
        "/stream/0",
        "/ws",
        "/ws/",
        "/ws/0",
        "/ws/btcusdt@signal_15m/!hama_15m@arr",
        "/ws/%E5%B8%81%E5%AE%89@hama_15m",
        "/market/ws",
        "/market/ws/a@b/7",
        "/market/stream",
        "/market/stream/3",
    ];
    for path in paths {
        let answer = text(&exchange(&room, &handshake(path, &[]), 12).await);
        assert!(answer.starts_with("http/1.1 101"), "{path}: {answer}");
        assert!(
            answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
            "{path}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_socket_through_the_door_is_the_hubs() {
    let room = Room::start_live().await;
    let url = format!("ws://{}/stream?streams=!signal_15m@arr", room.address);
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    room.change("BTCUSDT", Interval::M15, 0, Recommendation::Buy);
    let mut seen = Vec::new();
    let reading = async {
        while !seen.iter().any(|kind| kind == "signal") {
            let message = socket.next().await.unwrap().unwrap();
            let message: serde_json::Value =
                serde_json::from_str(message.to_text().unwrap()).unwrap();
            let data = &message["data"];
            let items = data
                .as_array()
                .cloned()
                .unwrap_or_else(|| vec![data.clone()]);
            seen.extend(
                items
                    .iter()
                    .map(|item| item["type"].as_str().unwrap_or("").to_owned()),
            );
        }
    };
    let came = tokio::time::timeout(Duration::from_secs(10), reading).await;
    assert!(came.is_ok(), "only this came: {seen:?}");
    assert_eq!(seen[0], "welcome");
    assert!(seen.contains(&"live".to_owned()), "{seen:?}");
    assert_eq!(room.get("/api/v1/status").await.1["connections"], 1);
}

#[tokio::test]
async fn a_broken_handshake_is_refused_with_the_reason() {
    let room = Room::start_live().await;
    let cases = [
        (
            ("Sec-WebSocket-Version", "8"),
            "426",
            "sec-websocket-version: 13",
        ),
        (
            ("Sec-WebSocket-Version", ""),
            "426",
            "sec-websocket-version: 13",
        ),
        (("Upgrade", ""), "426", "upgrade: websocket"),
        (
            ("Connection", "close"),
            "400",
            "'connection: upgrade' is missing",
        ),
        (("Sec-WebSocket-Key", ""), "400", "16 bytes in base64"),
        (
            ("Sec-WebSocket-Key", "c2hvcnQ="),
            "400",
            "16 bytes in base64",
        ),
    ];
    for (header, status, says) in cases {
        let closing = [header, ("X-Closing", "1")];
        let answer = text(&exchange(&room, &handshake("/stream", &closing), 300).await);
        assert!(
            answer.starts_with(&format!("http/1.1 {status}")),
            "{header:?}: {answer}"
        );
        assert!(
            answer.contains("application/problem+json") && answer.contains(says),
            "{header:?}: {answer}"
        );
    }
    let posted = room.client.post(room.url("/stream")).send().await.unwrap();
    assert_eq!(posted.status(), 405);
    room.problem("/ws", 426, "websocket-only").await;
}

#[tokio::test]
async fn a_page_of_a_foreign_origin_is_let_in_to_be_told_why_it_must_leave() {
    let room = Room::start_live().await;
    let foreign = handshake("/stream", &[("Origin", "https://evil.example")]);
    let answer = exchange(&room, &foreign, usize::MAX).await;
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap()
        + 4;
    assert!(text(&answer).starts_with("http/1.1 101"));
    let (frame, reason) = answer[end..].split_at(4);
    assert_eq!((frame[0], &frame[2..]), (0x88, &1008_u16.to_be_bytes()[..]));
    assert_eq!(usize::from(frame[1]), reason.len() + 2);
    assert!(text(reason).starts_with("origin not allowed"));
}

#[tokio::test]
async fn a_request_that_never_ends_its_head_is_cut_off() {
    let room = Room::start_live().await;
    let mut socket = TcpStream::connect(room.address).await.unwrap();
    socket
        .write_all(b"GET /api/v1/status HTTP/1.1\r\nHost: a\r\n")
        .await
        .unwrap();
    tokio::time::pause();
    let mut rest = Vec::new();
    let cut = tokio::time::timeout(Duration::from_secs(60), socket.read_to_end(&mut rest)).await;
    assert!(cut.is_ok(), "still open after a minute");
}

#[tokio::test]
async fn answers_are_compressed_for_those_who_ask() {
    let room = Room::start_live().await;
    let plain = room
        .request("/api/v1/signals?interval=all")
        .send()
        .await
        .unwrap();
    assert!(!plain.headers().contains_key("content-encoding"));
    let request = room
        .request("/api/v1/symbols")
        .header("accept-encoding", "gzip");
    let packed = request.send().await.unwrap();
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    let bytes = packed.bytes().await.unwrap();
    let mut body = String::new();
    flate2::read::GzDecoder::new(&bytes[..])
        .read_to_string(&mut body)
        .unwrap();
    assert!(body.contains("BINANCE:BTCUSDT.P"));
}

#[tokio::test]
async fn a_request_id_is_echoed_and_made_when_there_is_none() {
    let room = Room::start_live().await;
    let sent = room
        .request("/api/v1/nothing")
        .header("x-request-id", "abc-1");
    assert_eq!(
        sent.send().await.unwrap().headers()["x-request-id"],
        "abc-1"
    );
    let made = room.request("/healthz").send().await.unwrap();
    assert_eq!(made.headers()["x-request-id"].len(), 36);
}

#[tokio::test]
async fn only_named_origins_may_read_from_another_site() {
    let room = Room::start_live().await;
    let allow = async |origin: &'static str| {
        let request = room.request("/api/v1/status").header("origin", origin);
        let answer = request.send().await.unwrap();
        answer.headers().get("access-control-allow-origin").cloned()
    };
    assert_eq!(
        allow("https://desk.example").await.unwrap(),
        "https://desk.example"
    );
    assert_eq!(allow("https://evil.example").await, None);
    let preflight = room
        .client
        .request(reqwest::Method::OPTIONS, room.url("/api/v1/signals"))
        .header("origin", "https://desk.example")
        .header("access-control-request-method", "GET")
        .send()
        .await
        .unwrap();
    assert_eq!(preflight.status(), 200);
    let allowed = preflight.headers()["access-control-allow-methods"].to_str();
    assert_eq!(
        allowed.unwrap(),
        "GET,HEAD,POST",
        "the compatible API asks by POST"
    );
}

#[tokio::test]
async fn a_star_lets_pages_of_every_origin_read_and_connect() {
    let room = Room::start_for(&["*"]).await;
    let origin = "https://anybody.example";
    let request = room.request("/healthz").header("origin", origin);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    let url = format!("ws://{}/stream", room.address);
    let mut request = url.into_client_request().unwrap();
    request
        .headers_mut()
        .insert("origin", origin.parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    let first = socket.next().await.unwrap().unwrap();
    assert!(first.is_text(), "welcome, not a close: {first:?}");
}

#[tokio::test]
async fn the_pages_files_come_with_type_tag_and_policy() {
    let room = Room::start_live().await;
    let files = [
        ("/", "text/html; charset=utf-8"),
        ("/app.css", "text/css; charset=utf-8"),
        ("/favicon.svg", "image/svg+xml"),
        ("/js/app.js", "text/javascript; charset=utf-8"),
        ("/js/wire.js", "text/javascript; charset=utf-8"),
    ];
    for (path, kind) in files {
        let file = room.request(path).send().await.unwrap();
        let headers = file.headers().clone();
        assert_eq!(
            (file.status().as_u16(), &headers["content-type"]),
            (200, &kind.parse().unwrap())
        );
        assert_eq!(headers["cache-control"], "no-cache");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'self';"));
        let again = room
            .request(path)
            .header("if-none-match", headers["etag"].clone());
        assert_eq!(again.send().await.unwrap().status(), 304, "{path}");
    }
}

#[tokio::test]
async fn the_api_document_is_served_as_committed() {
    let room = Room::start_live().await;
    let served = room.request("/openapi.json").send().await.unwrap();
    assert_eq!(served.headers()["content-type"], "application/json");
    assert_eq!(served.text().await.unwrap(), hamacast::http::openapi_json());
}
