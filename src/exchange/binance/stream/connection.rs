//! One socket: connected, lived through, its end reported. Whether another follows is its place's question (`place`).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use super::Setup;
use super::lost::Lost;
use super::name::Names;
use super::role::{News, Role, Terms};
use super::session::Session;
use crate::clock::Mono;
use crate::market::SeriesKey;
use crate::tasks::Tasks;

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A candle event has 330 bytes; the answer to 200 names comes nowhere near.
const MESSAGE_MAX: usize = 1024 * 1024;
/// tungstenite takes 128 KiB a connection; the usual read is a few events of 330 bytes.
const READ_BUFFER: usize = 16 * 1024;

/// How a socket's life ended.
pub(super) enum End {
    /// As it should: we stop, it was replaced, or nothing is left to carry.
    Finished,
    /// It was lost.
    Lost {
        why: Lost,
        /// It had brought at least one candle.
        delivered: bool,
        /// What it carried, when the engine was not told of it.
        untold: Arc<[SeriesKey]>,
    },
}

/// Lives through one socket and reports its end.
pub(super) async fn live(
    setup: Arc<Setup>,
    tasks: Tasks,
    part: watch::Receiver<Names>,
    terms: Terms,
) {
    let (id, reports) = (terms.id, terms.reports.clone());
    let end = connect_and_run(setup, &tasks, part, terms).await;
    let _place_may_be_gone = reports.send((id, News::Ended(end))).await;
}

async fn connect_and_run(
    setup: Arc<Setup>,
    tasks: &Tasks,
    part: watch::Receiver<Names>,
    mut terms: Terms,
) -> End {
    let socket = tokio::select! {
        () = tasks.stopping() => return End::Finished,
        _ = terms.role.wait_for(|role| *role == Role::Retired) => return End::Finished,
        socket = connect(&setup) => socket,
    };
    let socket = match socket {
        Ok(socket) => socket,
        Err(why) => {
            return End::Lost {
                why,
                delivered: false,
                untold: Arc::default(),
            };
        }
    };
    setup.counts.connects.fetch_add(1, Ordering::Relaxed);
    Session::new(setup, socket, part, terms).run(tasks).await
}

async fn connect(setup: &Setup) -> Result<Socket, Lost> {
    let (served, quiet) = (&setup.host.served, &setup.host.quiet);
    if let Err(held) = quiet.admit(Mono::now()) {
        return Err(Lost::Quiet {
            status: held.refusal.status,
            again_in: held.again_in,
        });
    }
    if let Err(held) = served.admit(Mono::now()) {
        quiet.unasked(Mono::now());
        return Err(Lost::Held {
            status: held.refusal.status,
            again_in: held.again_in,
        });
    }
    let limit = setup.times.handshake;
    let connected = tokio::time::timeout(limit, handshake(setup)).await;
    let connected = connected.unwrap_or(Err(Lost::HandshakeTimedOut(limit)));
    let asked = connected.as_ref().err();
    if let Some((status, again_in)) = asked.and_then(|why| why.asks_for_quiet(&setup.times)) {
        served.serve();
        quiet.hold_for(status, again_in, Mono::now());
        return Err(Lost::Limited { status, again_in });
    }
    match &connected {
        Err(Lost::Handshake { status, .. }) if matches!(status.as_u16(), 403 | 451) => {
            quiet.serve();
            let status = status.as_u16();
            let again_in = served.refuse(status, "", Mono::now());
            return Err(Lost::NotServed { status, again_in });
        }
        Ok(_) | Err(Lost::Handshake { .. }) => {
            quiet.serve();
            served.serve();
        }
        Err(_) => {
            quiet.unanswered();
            served.unanswered();
        }
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
