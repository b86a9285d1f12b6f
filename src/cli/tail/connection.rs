//! One connection of `tail`: opened, subscribed, read to its end. How it ended says what comes next.
//! Fifteen seconds without any message are its death: the server's heartbeat comes every five.

use std::io::{self, Write};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::clock::Mono;

use super::feed::{Feed, Heard};
use super::line::{self, Form};

const SILENCE: Duration = Duration::from_secs(15);
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The server's rule for readers that were too slow: at once, doubling when repeated within this time.
const SLOW_AGAIN_MS: u64 = 60_000;

/// How a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// Nobody reads our output any more.
    OutputClosed,
    /// Our output cannot be written.
    OutputFailed(io::Error),
    /// What was asked for is wrong.
    Wrong(String),
    /// The server does not want us back as we are.
    Barred(String),
    /// Anything else: come back.
    Lost { why: String, wait: Wait },
}

/// How long to stay away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// As the server said.
    Exactly(Duration),
    /// The usual delay, but at least this.
    AtLeast(Duration),
    /// The usual delay.
    Usual,
}

/// An open connection.
pub(super) struct Connection {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    since: Mono,
    come_back: Option<Duration>,
}

impl Connection {
    /// Connects to the feed of the server at `base`.
    pub(super) async fn open(base: &str) -> Result<Self, End> {
        // http becomes ws, https becomes wss
        let url = format!("ws{}/stream", base.trim_start_matches("http"));
        let opening = tokio_tungstenite::connect_async(url);
        match tokio::time::timeout(HANDSHAKE, opening).await {
            Ok(Ok((socket, _))) => Ok(Self {
                socket,
                since: Mono::now(),
                come_back: None,
            }),
            Ok(Err(Error::Http(answer))) => {
                let status = answer.status();
                Err(match status.as_u16() {
                    401 | 403 | 404 => End::Barred(format!("no feed for us there ({status})")),
                    _ => lost(&status),
                })
            }
            Ok(Err(error)) => Err(lost(&error)),
            Err(_) => Err(lost(&"no answer to the handshake")),
        }
    }

    /// Subscribes to `streams`, behind the feed's cursor if it has one, and prints changes until the end.
    pub(super) async fn follow(mut self, streams: &[String], feed: &mut Feed, form: Form) -> End {
        let mut request = serde_json::json!({ "method": "SUBSCRIBE", "params": streams, "id": 1 });
        if let Some(cursor) = feed.cursor() {
            request["since"] = serde_json::json!(cursor);
        }
        if let Err(error) = self.socket.send(Message::text(request.to_string())).await {
            return lost(&error);
        }
        loop {
            let next = tokio::time::timeout(SILENCE, self.socket.next()).await;
            let text = match next {
                Err(_) => return self.left("nothing heard for 15 s"),
                Ok(None) => return self.left("closed without a word"),
                Ok(Some(Err(error))) => return self.left(&error.to_string()),
                Ok(Some(Ok(Message::Close(frame)))) => return self.closed(frame.as_ref()),
                Ok(Some(Ok(Message::Text(text)))) => text,
                Ok(Some(Ok(
                    Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_),
                ))) => continue, // pings are answered by the socket
            };
            for heard in feed.hear(&text) {
                if let Some(end) = self.act(heard, form) {
                    return end;
                }
            }
        }
    }

    fn act(&mut self, heard: Heard, form: Form) -> Option<End> {
        match heard {
            Heard::Change(item) => match form {
                Form::Json => print(&item),
                Form::Line => match line::line(&item) {
                    Ok(line) => print(&line),
                    Err(error) => note(&format!("a change that cannot be read: {error}")),
                },
            },
            Heard::Reset(item, words) => match form {
                Form::Json => print(&item),
                Form::Line => note(&words),
            },
            Heard::Note(words) => note(&words),
            Heard::Refused(message) => Some(End::Wrong(message)),
            Heard::ComeBack(after) => {
                self.come_back = Some(after);
                None
            }
        }
    }

    /// The connection broke; a farewell that was heard before still says when to come back.
    fn left(&self, why: &str) -> End {
        End::Lost {
            why: why.to_owned(),
            wait: self.come_back.map_or(Wait::Usual, Wait::Exactly),
        }
    }

    fn closed(&self, frame: Option<&CloseFrame>) -> End {
        let Some(frame) = frame else {
            return self.left("closed without a reason");
        };
        let code = u16::from(frame.code);
        let why = format!("{code} {}", frame.reason);
        let why = why.trim_end();
        let wait = match code {
            1002 | 1003 | 1007..=1009 | 4001 => {
                return End::Barred(format!("the server closed the connection: {why}"));
            }
            1013 => Wait::AtLeast(Duration::from_secs(5)),
            4008 if Mono::now().ms_since(self.since) > SLOW_AGAIN_MS => {
                Wait::Exactly(Duration::ZERO)
            }
            _ => return self.left(why),
        };
        End::Lost {
            why: why.to_owned(),
            wait,
        }
    }
}

fn lost(why: &dyn std::fmt::Display) -> End {
    End::Lost {
        why: why.to_string(),
        wait: Wait::Usual,
    }
}

fn print(text: &str) -> Option<End> {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    match written {
        Ok(()) => None,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Some(End::OutputClosed),
        Err(error) => Some(End::OutputFailed(error)),
    }
}

fn note(words: &str) -> Option<End> {
    eprintln!("hamacast: {words}");
    None
}
