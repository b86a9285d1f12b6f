//! One connection of `tail`: opened, subscribed, read to its end. How it ended says what comes next.
//! Fifteen seconds without any message are its death: the server's heartbeat comes every five.

use std::io::{self, Write};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
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
    /// The server is full: from 5 s, doubling.
    Crowded,
    /// The usual delay.
    Usual,
}

/// An open connection over `S`.
pub(super) struct Connection<S> {
    socket: WebSocketStream<S>,
    since: Mono,
    come_back: Option<Duration>,
}

impl Connection<MaybeTlsStream<TcpStream>> {
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
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
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
            1013 => Wait::Crowded,
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

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    async fn pair() -> (
        Connection<tokio::io::DuplexStream>,
        WebSocketStream<tokio::io::DuplexStream>,
    ) {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let connection = Connection {
            socket: WebSocketStream::from_raw_socket(ours, Role::Client, None).await,
            since: Mono::now(),
            come_back: None,
        };
        let server = WebSocketStream::from_raw_socket(theirs, Role::Server, None).await;
        (connection, server)
    }

    async fn end_after(messages: Vec<Message>) -> (End, Duration) {
        let (connection, mut server) = pair().await;
        for message in messages {
            server.send(message).await.unwrap();
        }
        let before = Mono::now();
        let end = connection
            .follow(&[], &mut Feed::default(), Form::Json)
            .await;
        (end, Duration::from_millis(Mono::now().ms_since(before)))
    }

    fn close(code: u16) -> Message {
        Message::Close(Some(CloseFrame {
            code: code.into(),
            reason: "why".into(),
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn fifteen_seconds_without_a_word_are_the_end() {
        let (end, after) = end_after(vec![Message::text("{}")]).await;
        assert!(
            matches!(
                end,
                End::Lost {
                    wait: Wait::Usual,
                    ..
                }
            ),
            "{end:?}"
        );
        let rounding = Duration::from_millis(1);
        assert!(after.abs_diff(SILENCE) <= rounding, "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_close_code_says_whether_and_when_to_come_back() {
        for code in [1002, 1003, 1007, 1008, 1009, 4001] {
            let (end, _) = end_after(vec![close(code)]).await;
            assert!(matches!(end, End::Barred(_)), "{code}: {end:?}");
        }
        for code in [1000, 1001, 1011, 1012, 4008] {
            let (end, _) = end_after(vec![close(code)]).await;
            assert!(
                matches!(
                    end,
                    End::Lost {
                        wait: Wait::Usual,
                        ..
                    }
                ),
                "{code}: {end:?}"
            );
        }
        let (end, _) = end_after(vec![close(1013)]).await;
        assert!(
            matches!(
                end,
                End::Lost {
                    wait: Wait::Crowded,
                    ..
                }
            ),
            "{end:?}"
        );
        let bye = Message::text(r#"{"data":{"type":"reconnect","after_ms":1730}}"#);
        let (end, _) = end_after(vec![bye, close(1012)]).await;
        let after = Duration::from_millis(1_730);
        assert!(matches!(end, End::Lost { wait: Wait::Exactly(wait), .. } if wait == after));
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_too_slow_after_a_minute_comes_back_at_once() {
        let (connection, mut server) = pair().await;
        tokio::time::advance(Duration::from_millis(SLOW_AGAIN_MS + 1)).await;
        server.send(close(4008)).await.unwrap();
        let end = connection
            .follow(&[], &mut Feed::default(), Form::Json)
            .await;
        assert!(
            matches!(
                end,
                End::Lost {
                    wait: Wait::Exactly(Duration::ZERO),
                    ..
                }
            ),
            "{end:?}"
        );
    }
}
