//! One place in the plan and the sockets that fill it, one after the other: connect in turn, live, lose, wait, connect.
//! After every loss, whatever its code, another socket follows (hazard 12), until nothing is left to carry or we stop.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use super::lost::Lost;
use super::session::Session;
use super::{Keys, Setup};
use crate::backoff::Backoff;
use crate::clock::Mono;
use crate::exchange::FeedEvent;
use crate::tasks::Tasks;

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A candle event has 330 bytes; the answer to 200 names comes nowhere near.
const MESSAGE_MAX: usize = 1024 * 1024;
/// tungstenite takes 128 KiB a connection; the usual read is a few events of 330 bytes.
const READ_BUFFER: usize = 16 * 1024;

/// How a socket's life ended.
pub(super) enum End {
    /// As it should: we stop, or nothing is left to carry.
    Finished,
    /// It was lost. `delivered`: it had brought at least one candle.
    Lost { why: Lost, delivered: bool },
}

/// A place in the plan.
pub(super) struct Connection {
    setup: Arc<Setup>,
    tasks: Tasks,
    part: watch::Receiver<Keys>,
}

impl Connection {
    pub(super) fn new(setup: Arc<Setup>, tasks: Tasks, part: watch::Receiver<Keys>) -> Self {
        Self { setup, tasks, part }
    }

    /// Keeps the place filled until nothing is left to carry or we stop.
    pub(super) async fn keep(mut self) {
        let times = self.setup.times;
        let mut backoff = Backoff::new(times.reconnect.0, times.reconnect.1);
        let mut wait = Duration::ZERO;
        let mut told = false; // a failure is logged when it begins, not at every try
        loop {
            // The turn is taken after the wait: taken before, it would keep everybody else waiting too.
            if !self.rest_for(wait).await {
                return;
            }
            let turn = self.setup.connect_turn(Mono::now());
            if !self.rest_for(turn).await {
                return;
            }
            let (why, delivered) = match self.live().await {
                End::Finished => return,
                End::Lost { why, delivered } => (why, delivered),
            };
            if delivered {
                backoff.reset();
                told = false;
            }
            wait = backoff.next_delay().max(why.least_wait(&times));
            self.setup.counts.losses.fetch_add(1, Ordering::Relaxed);
            log_loss(&why, wait, told);
            told = true;
        }
    }

    /// Waits for `wait`; false when there is nothing to wait for any more.
    async fn rest_for(&mut self, wait: Duration) -> bool {
        let sleep = tokio::time::sleep(wait);
        tokio::pin!(sleep);
        loop {
            tokio::select! {
                biased;
                () = self.tasks.stopping() => return false,
                changed = self.part.changed() => {
                    if changed.is_err() || self.part.borrow().is_empty() {
                        return false;
                    }
                }
                () = &mut sleep => return true,
            }
        }
    }

    async fn live(&mut self) -> End {
        let socket = tokio::select! {
            () = self.tasks.stopping() => return End::Finished,
            socket = connect(&self.setup) => socket,
        };
        let socket = match socket {
            Ok(socket) => socket,
            Err(why) => {
                return End::Lost {
                    why,
                    delivered: false,
                };
            }
        };
        self.setup.counts.connects.fetch_add(1, Ordering::Relaxed);
        let mut session = Session::new(Arc::clone(&self.setup), socket, self.part.clone());
        let end = session.run(&self.tasks).await;
        if let End::Lost { why, .. } = &end {
            self.tell_down(&session, why);
        }
        end
    }

    fn tell_down(&self, session: &Session, why: &Lost) {
        let keys = session.carried();
        if keys.is_empty() {
            return;
        }
        self.setup.feed.offer(FeedEvent::Down {
            connection: session.id(),
            keys,
            reason: why.to_string(),
            code: why.code(),
            silent_for: why.silent_for(),
        });
    }
}

async fn connect(setup: &Setup) -> Result<Socket, Lost> {
    let served = &setup.host.served;
    if let Err(held) = served.admit(Mono::now()) {
        return Err(Lost::NotServed {
            status: held.refusal.status,
            again_in: held.again_in,
        });
    }
    let limit = setup.times.handshake;
    let connected = tokio::time::timeout(limit, handshake(setup)).await;
    let connected = connected.unwrap_or(Err(Lost::HandshakeTimedOut(limit)));
    match &connected {
        Err(Lost::Handshake(status)) if matches!(status.as_u16(), 403 | 451) => {
            let status = status.as_u16();
            let again_in = served.refuse(status, "", Mono::now());
            return Err(Lost::NotServed { status, again_in });
        }
        Ok(_) | Err(Lost::Handshake(_)) => served.serve(),
        Err(_) => served.unanswered(),
    }
    connected
}

async fn handshake(setup: &Setup) -> Result<Socket, Lost> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(MESSAGE_MAX))
        .max_frame_size(Some(MESSAGE_MAX));
    let host = &setup.host;
    let target = &host.target;
    let dialled = host
        .way
        .dial(&target.host, target.port, setup.times.connect)
        .await;
    let socket = dialled.map_err(Lost::NoWay)?;
    let tls = Connector::Rustls(Arc::clone(&host.tls));
    let url = target.url.as_str();
    match client_async_tls_with_config(url, socket, Some(config), Some(tls)).await {
        Err(error) => Err(Lost::connect(error)),
        Ok((socket, _)) => Ok(socket),
    }
}

fn log_loss(why: &Lost, wait: Duration, told: bool) {
    let wait_ms = wait.as_millis();
    if let Lost::NotServed { .. } = why {
        tracing::debug!(%why, wait_ms, "stream not served"); // told once for all of them, by `Served`
    } else if why.is_our_fault() {
        tracing::error!(%why, wait_ms, "stream lost: we broke a rule of the exchange");
    } else if told {
        tracing::debug!(%why, wait_ms, "stream still not delivering");
    } else {
        tracing::warn!(%why, wait_ms, "stream lost");
    }
}
