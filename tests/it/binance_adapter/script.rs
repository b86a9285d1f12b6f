//! Servers that follow a script: HTTP answers in a row, and streams driven by the test itself.

use std::sync::{Arc, Mutex};

use futures::{SinkExt, StreamExt};
use hamacast::tasks::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::within;

/// One answer, byte for byte, and what follows it.
#[derive(Clone)]
pub(super) struct Answer {
    bytes: Vec<u8>,
    after: After,
}

#[derive(Clone, Copy)]
enum After {
    Close,
    Hang,
}

impl Answer {
    pub(super) fn new(status: u16, headers: &str, body: &[u8]) -> Self {
        let length = body.len();
        Self::raw(
            format!(
                "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n"
            ),
            body,
        )
    }

    pub(super) fn ok(body: &str) -> Self {
        Self::new(200, "", body.as_bytes())
    }

    pub(super) fn raw(head: String, body: &[u8]) -> Self {
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        Self {
            bytes,
            after: After::Close,
        }
    }

    /// Leaves the connection open and says no more.
    pub(super) fn then_hang(mut self) -> Self {
        self.after = After::Hang;
        self
    }

    /// Keeps only the first `bytes` of head and body together, counted from the end when negative.
    pub(super) fn cut_from_end(mut self, bytes: usize) -> Self {
        self.bytes.truncate(self.bytes.len() - bytes);
        self
    }
}

/// An HTTP server with its answers; the last one is repeated.
pub(super) struct HttpScript {
    pub(super) url: String,
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: Tasks,
}

impl HttpScript {
    pub(super) async fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let tasks = Tasks::new();
        let log = Arc::clone(&asked);
        tasks.spawn("http script", async move {
            let mut hanging = Vec::new();
            for turn in 0.. {
                let (mut socket, _) = listener.accept().await.unwrap();
                let line = request_line(&mut socket).await;
                log.lock().unwrap().push(line);
                let answer = &answers[turn.min(answers.len() - 1)];
                let _reader_may_be_gone = socket.write_all(&answer.bytes).await;
                match answer.after {
                    After::Close => drop(socket),
                    After::Hang => hanging.push(socket),
                }
            }
        });
        Self {
            url,
            asked,
            _tasks: tasks,
        }
    }

    /// The request lines so far, `GET <target>`.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn request_line(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    head.lines()
        .next()
        .unwrap()
        .trim_end_matches(" HTTP/1.1")
        .to_owned()
}

/// The stream host.
pub(super) struct StreamScript {
    pub(super) url: String,
    listener: TcpListener,
}

/// The server's end of one connection.
pub(super) struct Peer {
    socket: WebSocketStream<TcpStream>,
    /// The path the client asked for.
    pub(super) path: String,
}

impl StreamScript {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            url: format!("ws://{}", listener.local_addr().unwrap()),
            listener,
        }
    }

    /// The next connection, handshake done.
    pub(super) async fn accept(&self) -> Peer {
        let (socket, _) = within("a connection", self.listener.accept())
            .await
            .unwrap();
        let mut path = String::new();
        #[allow(clippy::result_large_err, reason = "tungstenite's callback")]
        let note = |request: &Request, answer: Response| -> Result<Response, ErrorResponse> {
            request.uri().path().clone_into(&mut path);
            Ok(answer)
        };
        let handshake = tokio_tungstenite::accept_hdr_async(socket, note);
        let socket = within("a handshake", handshake).await.unwrap();
        Peer { socket, path }
    }

    /// The first byte of the next connection.
    pub(super) async fn first_byte(&self) -> u8 {
        let (mut socket, _) = within("a connection", self.listener.accept())
            .await
            .unwrap();
        within("a byte", socket.read_u8()).await.unwrap()
    }

    /// The next connection, answered with `status` instead of a handshake.
    pub(super) async fn refuse(&self, status: u16) {
        self.refuse_with(status, "").await;
    }

    /// The same with more lines of headers.
    pub(super) async fn refuse_with(&self, status: u16, headers: &str) {
        let (mut socket, _) = within("a connection", self.listener.accept())
            .await
            .unwrap();
        within("a request", request_line(&mut socket)).await;
        let answer = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: 0\r\n\r\n");
        socket.write_all(answer.as_bytes()).await.unwrap();
    }

    /// The next connection, acknowledged.
    pub(super) async fn accept_subscribed(&self) -> Peer {
        let mut peer = self.accept().await;
        peer.acknowledge().await;
        peer
    }
}

/// A request of the client.
#[derive(Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) names: Vec<String>,
    pub(super) id: u64,
}

impl Peer {
    /// The next request, passing over pings.
    pub(super) async fn request(&mut self) -> Asked {
        let next = async {
            loop {
                if let Message::Text(text) = self.frame().await {
                    return read_request(&text);
                }
            }
        };
        within("a request", next).await
    }

    /// Accepts the next request.
    pub(super) async fn acknowledge(&mut self) -> Asked {
        let asked = self.request().await;
        self.accept_request(&asked).await;
        asked
    }

    /// Accepts what was asked.
    pub(super) async fn accept_request(&mut self, asked: &Asked) {
        self.say(&format!(r#"{{"result":null,"id":{}}}"#, asked.id))
            .await;
    }

    /// The next frame of any kind.
    pub(super) async fn frame(&mut self) -> Message {
        within("a frame", self.socket.next())
            .await
            .unwrap()
            .unwrap()
    }

    /// The next frame of any kind, none when the connection has ended.
    pub(super) async fn frame_or_end(&mut self) -> Option<Message> {
        within("a frame or the end", self.socket.next())
            .await
            .and_then(Result::ok)
    }

    pub(super) async fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    pub(super) async fn say_frame(&mut self, frame: Message) {
        self.socket.send(frame).await.unwrap();
    }

    pub(super) async fn close(mut self, code: u16, reason: &str) {
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.into(),
        };
        self.socket.close(Some(frame)).await.unwrap();
    }
}

/// What a text of the client asks for.
pub(super) fn read_request(text: &str) -> Asked {
    let json: serde_json::Value = serde_json::from_str(text).unwrap();
    let names = json["params"].as_array().unwrap().iter();
    Asked {
        method: json["method"].as_str().unwrap().into(),
        names: names.map(|name| name.as_str().unwrap().into()).collect(),
        id: json["id"].as_u64().unwrap(),
    }
}
