//! What `tail` promises: every change once and in order over lost connections, its data unchanged, a clear end.
//! The server is scripted by the test itself, message by message, on a real socket.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

const PATIENCE: Duration = Duration::from_secs(20);

struct Tail {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Tail {
    fn start(server: &TcpListener, arguments: &[&str]) -> Self {
        let url = format!("http://{}", server.local_addr().unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_hamacast"));
        command
            .args(["tail", "--url", &url])
            .args(arguments)
            .env_clear();
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        line.expect("a line in time").unwrap().expect("not the end")
    }

    async fn ended(mut self) -> (ExitStatus, String) {
        drop(self.lines);
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = status.expect("an end in time").unwrap();
        let mut told = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut told).await.unwrap();
        (status, told)
    }
}

struct Session(WebSocketStream<TcpStream>);

impl Session {
    async fn accept(server: &TcpListener) -> Self {
        let accepted = tokio::time::timeout(PATIENCE, server.accept()).await;
        let (socket, _) = accepted.expect("a connection in time").unwrap();
        Self(tokio_tungstenite::accept_async(socket).await.unwrap())
    }

    async fn request(&mut self) -> Value {
        let message = tokio::time::timeout(PATIENCE, self.0.next()).await;
        let message = message.expect("a request in time").unwrap().unwrap();
        serde_json::from_str(message.to_text().unwrap()).unwrap()
    }

    async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    async fn item(&mut self, data: &str) {
        self.say(&format!(r#"{{"stream":"!signal_15m@arr","data":{data}}}"#))
            .await;
    }

    async fn close(mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.into(),
        };
        self.0.close(Some(frame)).await.unwrap();
    }

    /// Welcome, answer, snapshot, `live` at `seq`.
    async fn begin(&mut self, seq: u64) {
        self.item(&json!({"type": "welcome", "epoch": "k3v9", "seq": seq}).to_string())
            .await;
        self.say(r#"{"result":null,"id":1}"#).await;
        self.item(r#"[{"type":"snapshot","epoch":"k3v9","seq":99,"symbol":"BTCUSDT"}]"#)
            .await;
        self.live(seq).await;
    }

    async fn live(&mut self, seq: u64) {
        self.item(&json!([{"type": "live", "epoch": "k3v9", "seq": seq}]).to_string())
            .await;
    }
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// As no serialiser of ours writes it, so that unchanged means unchanged.
fn signal(seq: u64) -> String {
    format!(
        r#"{{ "type":"signal","epoch":"k3v9","seq":{seq}, "symbol":"BTCUSDT","interval":"15m","recommendation":"BUY","previous":"HOLD","price":67123.40,"candle_close_time":1767010499999,"big":18446744073709551615,"u":"\u5e01"}}"#
    )
}

#[tokio::test]
async fn a_lost_connection_is_resumed_behind_the_last_change_and_data_stays_unchanged() {
    let server = listen().await;
    let mut tail = Tail::start(&server, &["--interval", "15m", "--json"]);
    let mut session = Session::accept(&server).await;
    let request = session.request().await;
    assert_eq!(request["method"], "SUBSCRIBE");
    assert_eq!(request["params"], json!(["!signal_15m@arr"]));
    assert_eq!(request.get("since"), None);
    session.begin(41).await;
    session
        .item(&format!("[{},{}]", signal(42), signal(43)))
        .await;
    assert_eq!(tail.line().await, signal(42));
    assert_eq!(tail.line().await, signal(43));
    session
        .item(r#"{"type":"status","epoch":"k3v9","seq":50}"#)
        .await;
    session.item(r#"{"type":"reconnect","after_ms":1}"#).await;
    session.close(1012, "restart").await;

    let mut session = Session::accept(&server).await;
    let request = session.request().await;
    assert_eq!(request["since"], json!({"epoch": "k3v9", "seq": 43}));
    session
        .say(r#"{"result":{"resumed":true,"replayed":1,"epoch":"k3v9","seq":44},"id":1}"#)
        .await;
    session.item(&format!("[{}]", signal(44))).await;
    session.live(44).await;
    assert_eq!(tail.line().await, signal(44));
    drop(session); // without a word: back after the usual delay

    let mut session = Session::accept(&server).await;
    assert_eq!(session.request().await["since"]["seq"], 44);
    interrupt(&tail.child);
    let (status, _) = tail.ended().await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn a_resume_the_server_cannot_do_is_told_and_the_feed_goes_on() {
    let server = listen().await;
    let mut tail = Tail::start(&server, &["btcusdt", "--interval", "15m,1h"]);
    let mut session = Session::accept(&server).await;
    let params = session.request().await["params"].clone();
    assert_eq!(params, json!(["btcusdt@signal_15m", "btcusdt@signal_1h"]));
    session.begin(41).await;
    session.item(&signal(42)).await;
    assert_eq!(
        tail.line().await,
        "12:15:00Z BTCUSDT 15m HOLD -> BUY 67123.4 #42"
    );
    session.item(r#"{"type":"reconnect","after_ms":0}"#).await;
    session.close(1012, "restart").await;

    let mut session = Session::accept(&server).await;
    assert_eq!(session.request().await["since"]["seq"], 42);
    session
        .say(r#"{"result":{"resumed":false,"reason":"epoch","epoch":"p0c2","seq":3},"id":1}"#)
        .await;
    session.item(&signal(4).replace("k3v9", "p0c2")).await; // a low number, of another epoch
    assert_eq!(
        tail.line().await,
        "12:15:00Z BTCUSDT 15m HOLD -> BUY 67123.4 #4"
    );
    session.close(4001, "key missing").await;
    let (status, told) = tail.ended().await;
    assert_eq!(status.code(), Some(1), "{told}");
    assert!(
        told.contains("could not go on where it stopped (epoch)"),
        "{told}"
    );
    assert!(told.contains("4001 key missing"), "{told}");
}

#[tokio::test]
async fn intervals_not_given_are_learned_and_an_unknown_contract_is_exit_2() {
    let server = listen().await;
    let tail = Tail::start(&server, &["FOOUSDT"]);
    let (mut socket, _) = server.accept().await.unwrap();
    let mut request = [0; 4096];
    let count = socket.read(&mut request).await.unwrap();
    assert!(request[..count].starts_with(b"GET /api/v1/status HTTP/1.1\r\n"));
    let body = r#"{"intervals":["15m","1M"],"more":1}"#;
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(answer.as_bytes()).await.unwrap();
    drop(socket);

    let mut session = Session::accept(&server).await;
    let params = session.request().await["params"].clone();
    assert_eq!(params, json!(["foousdt@signal_15m", "foousdt@signal_1M"]));
    session
        .say(r#"{"error":{"code":2,"msg":"unknown symbol 'FOOUSDT'; see /api/v1/symbols"},"id":1}"#)
        .await;
    let (status, told) = tail.ended().await;
    assert_eq!(status.code(), Some(2));
    assert_eq!(
        told,
        "hamacast: unknown symbol 'FOOUSDT'; see /api/v1/symbols\n"
    );
}

#[tokio::test]
async fn nothing_that_answers_is_exit_3() {
    let server = listen().await;
    let address = server.local_addr().unwrap();
    drop(server);
    for interval in [&["--interval", "15m"][..], &[]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hamacast"));
        let url = format!("http://{address}");
        command
            .args(["tail", "--url", &url])
            .args(interval)
            .env_clear();
        let ran = tokio::time::timeout(PATIENCE, command.output()).await;
        let ran = ran.expect("an end in time").unwrap();
        let told = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(3), "{told}");
        assert!(
            told.starts_with(&format!("hamacast: nothing answers at {url}")),
            "{told}"
        );
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[tokio::test]
async fn a_closed_pipe_is_a_clean_end() {
    let server = listen().await;
    let mut tail = Tail::start(&server, &["--interval", "15m"]);
    let mut session = Session::accept(&server).await;
    session.request().await;
    session.begin(41).await;
    session.item(&signal(42)).await;
    tail.line().await;
    let Tail { mut child, lines } = tail;
    drop(lines); // the reader is gone, as `head -1` is
    session.item(&signal(43)).await;
    let status = tokio::time::timeout(PATIENCE, child.wait()).await;
    assert_eq!(status.expect("an end in time").unwrap().code(), Some(0));
}

fn interrupt(child: &Child) {
    let id = child.id().expect("still running").to_string();
    let sent = std::process::Command::new("kill")
        .args(["-INT", &id])
        .status();
    assert!(sent.unwrap().success());
}
