//! The listener: takes connections, gives each its time limits, and lets go of them when the program leaves.
//! A client that sends its request too slowly is cut by hyper's header timeout, one that does not
//! read its answer by `patient`; connections are bounded, the next one
//! waits in the kernel's queue. A connection that becomes a WebSocket leaves this room with its socket.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_http::add_extension::AddExtension;

use super::patient::Patient;
use crate::tasks::Tasks;

/// From accepting to the last byte of a request's head, and the longest idle time between two requests.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Room for a request's head; more is answered 431.
const HEAD_BYTES: usize = 32 * 1024;
/// After a failed accept (most likely out of file descriptors) before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Address of the client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// Serves `router` on `listener` until the stop; then each connection ends with the answer it is in.
/// At most `max_connections` are open at a time.
pub fn serve(listener: TcpListener, router: Router, max_connections: usize, tasks: &Tasks) {
    let accepting = tasks.clone();
    tasks.spawn("http listener", async move {
        accept_all(&listener, &router, max_connections, &accepting).await;
    });
}

async fn accept_all(listener: &TcpListener, router: &Router, max: usize, tasks: &Tasks) {
    let free = Arc::new(Semaphore::new(max));
    loop {
        let next = async {
            let permit = free.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            next = next => next,
            () = tasks.stopping() => return,
        };
        match (permit, accepted) {
            (Ok(permit), Ok((socket, from))) => start(socket, from, permit, router.clone(), tasks),
            (Err(_), _) => return,
            (_, Err(error)) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn start(
    socket: TcpStream,
    from: SocketAddr,
    permit: OwnedSemaphorePermit,
    router: Router,
    tasks: &Tasks,
) {
    // A refused option costs some latency, not the connection.
    let _ = socket.set_nodelay(true);
    let service =
        TowerToHyperService::new(AddExtension::new(router, Peer(from.ip().to_canonical())));
    let stop = tasks.clone();
    tasks.spawn_short("http connection", async move {
        let _permit = permit;
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WITHIN)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(Patient::new(socket)), service)
            .with_upgrades();
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.stopping() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection ended badly");
        }
    });
}
