//! Frames no honest client sends, and some it may.

use std::time::Duration;

use hamacast::clock::Mono;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::support::hub::{PATIENCE, TestHub, settings};

/// A masked client frame.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut frame = vec![first];
    match payload.len() {
        short @ ..126 => frame.push(0x80 | short as u8),
        medium @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((medium as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    frame
}

/// Everything until the end of the socket.
pub(crate) async fn read_to_end(socket: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = socket.read_to_end(&mut bytes);
    let _ = tokio::time::timeout(PATIENCE, read).await.expect("no end");
    bytes
}

/// The close code at the end of what the server sent.
async fn close_code(hub: &TestHub, bytes: &[u8]) -> u16 {
    let mut socket = hub.bare("/ws").await;
    socket.write_all(bytes).await.unwrap();
    let answer = read_to_end(&mut socket).await;
    let at = answer
        .iter()
        .rposition(|byte| *byte == 0x88)
        .expect("no close frame");
    u16::from_be_bytes([answer[at + 2], answer[at + 3]])
}

#[tokio::test]
async fn a_broken_frame_is_answered_with_its_close_code() {
    let hub = TestHub::with(&["BTCUSDT"], settings()).await;
    assert_eq!(close_code(&hub, &[0x81, 1, b'x']).await, 1002);
    assert_eq!(close_code(&hub, &frame(0xc1, b"x")).await, 1002);
    assert_eq!(close_code(&hub, &frame(0x83, b"x")).await, 1002);
    assert_eq!(close_code(&hub, &frame(0x82, b"x")).await, 1003);
    assert_eq!(close_code(&hub, &frame(0x81, &[0xff, 0xfe])).await, 1007);
    assert_eq!(close_code(&hub, &frame(0x81, &[b' '; 70_000])).await, 1009);
    assert_eq!(
        close_code(&hub, &frame(0x88, &[0x03, 0xe8])).await,
        1000,
        "echoed"
    );
    hub.emptied().await;
}

#[tokio::test]
async fn bytes_read_with_the_handshake_are_not_lost() {
    let hub = TestHub::with(&["BTCUSDT"], settings()).await;
    let mut socket = TcpStream::connect(hub.address).await.unwrap();
    let mut bytes = b"GET /ws HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Key: eA==\r\n\r\n".to_vec();
    bytes.extend(frame(
        0x81,
        br#"{"method":"AUTH","params":["k"],"id":"early"}"#,
    ));
    bytes.extend(frame(0x88, &[0x03, 0xe8]));
    socket.write_all(&bytes).await.unwrap();
    let answer = String::from_utf8_lossy(&read_to_end(&mut socket).await).into_owned();
    assert!(
        answer.contains(r#"{"result":null,"id":"early"}"#),
        "{answer}"
    );
}

#[tokio::test]
async fn a_message_in_fragments_with_a_ping_between_them_is_whole() {
    let hub = TestHub::with(&["BTCUSDT"], settings()).await;
    let mut socket = hub.bare("/ws").await;
    let text = br#"{"method":"AUTH","params":["k"],"id":9}"#;
    let mut bytes = frame(0x01, &text[..5]);
    bytes.extend(frame(0x89, b"between"));
    bytes.extend(frame(0x80, &text[5..]));
    bytes.extend(frame(0x88, &[]));
    socket.write_all(&bytes).await.unwrap();
    let answer = read_to_end(&mut socket).await;
    let mut expected = b"\x8a\x07between".to_vec();
    expected.extend(b"\x81\x18{\"result\":null,\"id\":9}\x88\x00");
    let answer_text = String::from_utf8_lossy(&answer);
    assert!(
        answer_text.contains("between") && answer_text.contains("\"id\":9"),
        "{answer_text}"
    );
    assert_eq!(
        &answer[answer.len() - 2..],
        [0x88, 0],
        "the goodbye is echoed as it came"
    );
}

#[tokio::test]
async fn a_message_that_does_not_end_is_not_waited_for() {
    let mut settings = settings();
    settings.timings.message_within = Duration::from_millis(100);
    let hub = TestHub::with(&["BTCUSDT"], settings).await;
    assert_eq!(close_code(&hub, &frame(0x01, b"half")).await, 1008);
    assert_eq!(close_code(&hub, &[0x81]).await, 1008);
}

#[tokio::test]
async fn pings_cut_in_two_are_no_message_that_does_not_end() {
    let mut settings = settings();
    settings.timings.message_within = Duration::from_millis(150);
    let hub = TestHub::with(&["BTCUSDT"], settings).await;
    let mut socket = hub.bare("/ws").await;
    let ping = frame(0x89, b"cut");
    let (head, tail) = ping.split_at(4);
    socket.write_all(head).await.unwrap();
    let began = Mono::now();
    while Mono::now().ms_since(began) < 500 {
        socket.write_all(&[tail, head].concat()).await.unwrap();
        let mut pong = [0; 5];
        socket.read_exact(&mut pong).await.unwrap();
        assert_eq!(pong, *b"\x8a\x03cut");
    }
}

#[tokio::test]
async fn a_goodbye_is_answered_with_its_code_and_the_socket_ends() {
    let hub = TestHub::with(&["BTCUSDT"], settings()).await;
    let mut client = hub.client("/ws/btcusdt@signal_15m").await;
    let goodbye = CloseFrame {
        code: CloseCode::Normal,
        reason: "done".into(),
    };
    let _ = client.send_message(Message::Close(Some(goodbye))).await;
    assert_eq!(client.closed().await.0, 1000);
    assert!(client.message().await.is_none());
    hub.emptied().await;
}

#[tokio::test]
async fn a_peer_that_does_not_answer_our_goodbye_is_shut() {
    let mut settings = settings();
    settings.timings.close_within = Duration::from_millis(200);
    let hub = TestHub::with(&["BTCUSDT"], settings).await;
    let mut socket = hub.bare("/ws/nonsense").await;
    read_to_end(&mut socket).await;
    hub.emptied().await; // though our end is still open
    drop(socket);
}

#[tokio::test]
async fn nonsense_never_hurts_the_others() {
    let hub = TestHub::with(&["BTCUSDT"], settings()).await;
    let mut healthy = hub.client("/ws/btcusdt@signal_15m").await;
    let mut rng = fastrand::Rng::with_seed(3);
    let seeds = [
        r#"{"method":"SUBSCRIBE","params":["btcusdt@signal_15m","!hama_15m@arr"],"id":1}"#,
        r#"{"method":"SUBSCRIBE","params":["!signal_15m@arr"],"since":{"epoch":"k3v9","seq":1041},"id":2}"#,
        r#"{"method":"UNSUBSCRIBE","params":["btcusdt@signal_15m"],"id":3}"#,
        r#"{"method":"LIST_SUBSCRIPTIONS","id":4}"#,
        r#"{"method":"SET_PROPERTY","params":["combined",true],"id":"x"}"#,
    ];
    for round in 0..300 {
        let mut socket = hub.bare(["/ws", "/stream"][round % 2]).await;
        for _ in 0..rng.usize(1..6) {
            let mut text = rng.choice(seeds).unwrap().as_bytes().to_vec();
            let in_frame = rng.bool();
            if in_frame {
                mutate(&mut text, &mut rng);
                // Kept UTF-8, so that more of them reach the parser of requests.
                text = String::from_utf8_lossy(&text).into_owned().into_bytes();
            }
            let mut bytes = frame(0x81, &text);
            if !in_frame {
                mutate(&mut bytes, &mut rng);
            }
            if socket.write_all(&bytes).await.is_err() {
                break;
            }
        }
        if round % 20 == 0 {
            assert!(healthy.ask("PING", "[]").await["result"].is_object());
        }
    }
    assert_eq!(healthy.ask("AUTH", r#"["k"]"#).await["result"], json!(null));
    healthy.leave().await;
    hub.emptied().await;
}

fn mutate(bytes: &mut Vec<u8>, rng: &mut fastrand::Rng) {
    for _ in 0..rng.usize(1..4) {
        let at = rng.usize(..bytes.len());
        match rng.u8(..4) {
            0 => bytes[at] = rng.u8(..),
            1 => bytes[at] ^= 1 << rng.u8(..8),
            2 => bytes.truncate(at.max(1)),
            _ => bytes.insert(at, rng.u8(..)),
        }
    }
}
