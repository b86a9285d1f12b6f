//! A TCP relay that notes when bytes pass: between exchange and engine, or between writer and Redis. It takes part in
//! what it measures only by its own copy.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::ensure;
use bytes::{Buf as _, BytesMut};
use hamacast::tasks::Tasks;
use memchr::memmem;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::figures::now;

/// Contract, interval, close time.
pub(crate) type CandleName = (String, String, i64);

/// When each closed candle was written to the engine's socket.
pub(crate) type Sent = Arc<Mutex<HashMap<CandleName, Instant>>>;

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Asked,
    Answered,
}

/// Bytes that passed on a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passed {
    pub(crate) connection: usize,
    pub(crate) way: Way,
    pub(crate) at: Instant,
    pub(crate) bytes: usize,
}

/// Everything that passed, in order.
pub(crate) type Record = Arc<Mutex<Vec<Passed>>>;

/// Relays to an exchange's streams; returns where it listens.
pub(crate) async fn of_exchange(target: &str, tasks: &Tasks) -> anyhow::Result<(String, Sent)> {
    let sent = Sent::default();
    let noted = sent.clone();
    let address = listen(target, tasks, move |_| {
        let mut frames = Frames::default();
        let noted = noted.clone();
        let note_frames = move |bytes: &[u8]| {
            for candle in frames.closed_candles(bytes) {
                lock(&noted).insert(candle, now());
            }
        };
        (|_: &[u8]| {}, note_frames)
    });
    Ok((address.await?, sent))
}

/// Relays to Redis; returns where it listens.
pub(crate) async fn of_redis(target: &str, tasks: &Tasks) -> anyhow::Result<(String, Record)> {
    let record = Record::default();
    let noted = record.clone();
    let address = listen(target, tasks, move |connection| {
        let note = |way| {
            let noted = noted.clone();
            move |bytes: &[u8]| {
                lock(&noted).push(Passed {
                    connection,
                    way,
                    at: now(),
                    bytes: bytes.len(),
                });
            }
        };
        (note(Way::Asked), note(Way::Answered))
    });
    Ok((address.await?, record))
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn listen<A, B>(
    target: &str,
    tasks: &Tasks,
    notes: impl Fn(usize) -> (A, B) + Send + 'static,
) -> anyhow::Result<String>
where
    A: FnMut(&[u8]) + Send + 'static,
    B: FnMut(&[u8]) + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let (target, every) = (target.to_owned(), tasks.clone());
    tasks.spawn_short("relay", async move {
        for connection in 0.. {
            let Ok((client, _)) = listener.accept().await else {
                return;
            };
            let Ok(server) = TcpStream::connect(&target).await else {
                return;
            };
            // A small message must not wait for the one before it.
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let (asked, answered) = notes(connection);
            let ((from, back), (answers, to)) = (client.into_split(), server.into_split());
            every.spawn_short("relay there", carry(from, to, asked));
            every.spawn_short("relay back", carry(answers, back, answered));
        }
    });
    Ok(address)
}

/// Carries bytes on until either side ends; `note` sees them just before they are written.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut note: impl FnMut(&[u8])) {
    let mut bytes = vec![0; 256 * 1_024];
    while let Ok(read) = from.read(&mut bytes).await {
        let Some(passed) = bytes.get(..read).filter(|passed| !passed.is_empty()) else {
            return;
        };
        note(passed);
        if to.write_all(passed).await.is_err() {
            return;
        }
    }
}

/// Takes WebSocket frames out of what a server says; only candles that closed count.
#[derive(Debug, Default)]
struct Frames {
    bytes: BytesMut,
    is_upgraded: bool,
}

impl Frames {
    fn closed_candles(&mut self, more: &[u8]) -> Vec<CandleName> {
        self.bytes.extend_from_slice(more);
        if !self.is_upgraded {
            let Some(end) = memmem::find(&self.bytes, b"\r\n\r\n") else {
                return Vec::new();
            };
            self.bytes.advance(end + 4);
            self.is_upgraded = true;
        }
        let mut closed = Vec::new();
        while let Some(payload) = self.next_frame() {
            if memmem::find(&payload, br#""x":true"#).is_some() {
                closed.extend(candle_name(&payload).ok());
            }
        }
        closed
    }

    fn next_frame(&mut self) -> Option<BytesMut> {
        let (head, length) = match *self.bytes.get(..2)? {
            [_, 126] => match *self.bytes.get(2..4)? {
                [a, b] => (4, usize::from(u16::from_be_bytes([a, b]))),
                _ => return None,
            },
            [_, short] => (2, usize::from(short)),
            _ => return None,
        };
        self.bytes.get(..head + length)?;
        self.bytes.advance(head);
        Some(self.bytes.split_to(length))
    }
}

fn candle_name(json: &[u8]) -> anyhow::Result<CandleName> {
    let event: Value = serde_json::from_slice(json)?;
    let candle = &event["data"]["k"];
    let text = |name: &str| candle[name].as_str().unwrap_or_default().to_owned();
    ensure!(candle["x"] == true, "open");
    let close_time = candle["T"].as_i64().unwrap_or_default();
    Ok((text("s"), text("i"), close_time))
}
