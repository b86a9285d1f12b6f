//! The reading task of a connection, the only one it has: bytes to messages, messages to the shard.
//! It holds the client to its limits (rate, size, time of a message). After a breach or a goodbye it reads on for a
//! moment, because a socket closed with unread bytes resets and may take the goodbye with it.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::close::CloseReason;
use super::decode::{Decoder, Received};
use super::session::{SessionId, Wire};
use super::settings::{Connecting, HubSettings};
use super::shard::{Word, ms};
use crate::clock::Mono;

/// Unsent bytes the kernel may hold: without this bound it takes 4.3 MB of stale results for a reader that never reads.
const NOTSENT_LOWAT: u32 = 16 * 1024;

/// Reads at most so much at once; on the stack, for idle connections have no buffer.
const READ_BYTES: usize = 8 * 1024;

/// Reads a connection to its end.
pub(super) async fn run(
    wire: Arc<Wire>,
    already_read: Bytes,
    connecting: Connecting,
    words: mpsc::Sender<Word>,
    settings: Arc<HubSettings>,
) {
    prepare(&wire, &connecting);
    // tokio knows only after the first event that the socket takes bytes; then the shard's first write goes through.
    let _ = wire.socket.writable().await;
    let (id, registered) = oneshot::channel();
    let open = Word::Open {
        wire: wire.clone(),
        connecting,
        id,
    };
    let registered = match words.send(open).await {
        Ok(()) => registered.await.ok(),
        Err(_) => None,
    };
    let Some(id) = registered else {
        // The shard is gone: the server is leaving. If even this frame does not go out, the end of the socket says it.
        let _ = wire.socket.try_write(&CloseReason::Restart.frame());
        return;
    };
    let mut reader = Reader::new(wire, words, settings, id);
    reader.decoder.feed(&already_read);
    drop(already_read);
    if let Some(reason) = reader.read().await {
        reader.tell(Word::Close(id, reason)).await;
        reader.read_out().await;
    }
    reader.tell(Word::Gone(id)).await;
}

fn prepare(wire: &Wire, connecting: &Connecting) {
    let socket = socket2::SockRef::from(&wire.socket);
    let set = socket
        .set_tcp_nodelay(true)
        .and_then(|()| socket.set_tcp_notsent_lowat(NOTSENT_LOWAT));
    if let Err(error) = set {
        tracing::debug!(%error, peer = %connecting.peer, "a socket does not take its options");
    }
}

/// Two seconds' worth of messages, each of them a thousand thousandths.
fn full_purse(settings: &HubSettings) -> u64 {
    2_000 * u64::from(settings.limits.client_messages_per_s.max(1))
}

struct Reader {
    wire: Arc<Wire>,
    words: mpsc::Sender<Word>,
    settings: Arc<HubSettings>,
    id: SessionId,
    decoder: Decoder,
    begun: Option<Mono>,
    purse_ms: u64,
    refilled: Mono,
}

impl Reader {
    fn new(
        wire: Arc<Wire>,
        words: mpsc::Sender<Word>,
        settings: Arc<HubSettings>,
        id: SessionId,
    ) -> Self {
        let decoder = Decoder::new(&settings.limits);
        let purse_ms = full_purse(&settings);
        Self {
            wire,
            words,
            settings,
            id,
            decoder,
            begun: None,
            purse_ms,
            refilled: Mono::now(),
        }
    }

    /// Reads until the peer is gone (none) or the connection is to be closed.
    async fn read(&mut self) -> Option<CloseReason> {
        loop {
            match self.take_messages().await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(reason) => return Some(reason),
            }
            match self.more().await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(reason) => return Some(reason),
            }
        }
    }

    /// Hands on what is complete. False: the shard is gone.
    async fn take_messages(&mut self) -> Result<bool, CloseReason> {
        while let Some(received) = self.decoder.next()? {
            if !self.decoder.is_in_message() {
                self.begun = None;
            }
            let word = match received {
                Received::Text(text) => {
                    self.pay()?;
                    Word::Text(self.id, text)
                }
                Received::Ping(payload) => {
                    self.pay()?;
                    Word::Ping(self.id, payload)
                }
                Received::Pong => {
                    self.wire.heard(Mono::now());
                    continue;
                }
                Received::Close(code) => return Err(CloseReason::Left(code)),
            };
            if !self.tell(word).await {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits for bytes. False: the socket has ended.
    async fn more(&mut self) -> Result<bool, CloseReason> {
        let within = self.settings.timings.message_within;
        let readable = if self.decoder.is_under_way() {
            let begun = *self.begun.get_or_insert_with(Mono::now);
            let left_ms = ms(within).saturating_sub(Mono::now().ms_since(begun));
            let left = Duration::from_millis(left_ms);
            tokio::time::timeout(left, self.wire.socket.readable())
                .await
                .map_err(|_| {
                    let within = within.as_secs();
                    CloseReason::Rule(format!("a message took longer than {within} s"))
                })?
        } else {
            self.begun = None;
            self.wire.socket.readable().await
        };
        Ok(readable.is_ok() && self.pump().unwrap_or(0) > 0)
    }

    /// Bytes read; 1 for "none yet", 0 for the end.
    fn pump(&mut self) -> io::Result<usize> {
        let mut chunk = [0; READ_BYTES];
        match self.wire.socket.try_read(&mut chunk) {
            Ok(count) => {
                self.decoder.feed(&chunk[..count]);
                Ok(count)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(1),
            Err(error) => Err(error),
        }
    }

    /// Each message and ping costs a second's share; the purse holds two seconds.
    fn pay(&mut self) -> Result<(), CloseReason> {
        let now = Mono::now();
        let full = full_purse(&self.settings);
        let rate = full / 2_000;
        let earned = now.ms_since(self.refilled).saturating_mul(rate);
        self.purse_ms = full.min(self.purse_ms.saturating_add(earned));
        self.refilled = now;
        match self.purse_ms.checked_sub(1_000) {
            Some(left) => {
                self.purse_ms = left;
                Ok(())
            }
            None => Err(CloseReason::Rule(format!(
                "too many messages: {rate} a second, {} at once",
                2 * rate
            ))),
        }
    }

    async fn tell(&self, word: Word) -> bool {
        self.words.send(word).await.is_ok()
    }

    /// Reads and forgets until the peer ends the connection.
    async fn read_out(&mut self) {
        let within = self.settings.timings.close_within;
        let out = async { while self.wire.socket.readable().await.is_ok() && self.skip() {} };
        // Past its time the socket is shut all the same.
        let _ = tokio::time::timeout(within, out).await;
    }

    /// Forgets what is there. False: the socket has ended.
    fn skip(&self) -> bool {
        let mut chunk = [0; READ_BYTES];
        match self.wire.socket.try_read(&mut chunk) {
            Ok(count) => count > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }
}
