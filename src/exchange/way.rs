//! The way to the exchange: straight, or through the proxy of the settings. Every connection of REST and streams alike is
//! dialled here and nowhere else, so that there is one place in which a proxy could be missed, and it is not.
//! The environment's proxies and NO_PROXY are not asked: what holds is the setting (hazard 31).

use std::time::Duration;

use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::net::TcpStream;
use tower_service::Service;

use super::error::{Cause, first_cause};
use super::proxy::{Gate, Proxy, ProxyFault};
use crate::clock::Mono;

/// A silent peer is asked by the system too, whatever we do: a middle box that forgets us is kept awake by it.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// What is sent and not acknowledged for so long breaks the connection: a peer that is gone without a word is noticed while
/// we write to it (hazard 9).
const GONE_AFTER: Duration = Duration::from_secs(30);

/// How connections to the exchange are made.
#[derive(Debug)]
pub(super) enum Way {
    /// To its address.
    Straight,
    /// Through a proxy, never past it, when its gate is open.
    Through(Proxy, Gate),
}

/// Why there is no connection.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WayError {
    /// The exchange cannot be reached.
    #[error("{host}: no connection ({})", first_cause(source))]
    Unreachable {
        /// Its host.
        host: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// It took too long.
    #[error("{host}: no connection within {limit:?}")]
    TimedOut {
        /// Its host.
        host: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The proxy opened no tunnel.
    #[error("proxy {proxy}: {fault}")]
    Proxy {
        /// Which, without its login.
        proxy: Proxy,
        /// What it did instead.
        #[source]
        fault: ProxyFault,
    },
    /// The proxy was not asked: it has refused us lately, and only a person can mend that.
    #[error("proxy {proxy}: {fault}")]
    Held {
        /// Which, without its login.
        proxy: Proxy,
        /// What it did then.
        #[source]
        fault: ProxyFault,
        /// When to dial again.
        again_in: Duration,
    },
}

impl WayError {
    /// When to dial again, if nothing was tried.
    pub(super) const fn again_in(&self) -> Option<Duration> {
        match self {
            Self::Held { again_in, .. } => Some(*again_in),
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Proxy { .. } => None,
        }
    }
}

impl Way {
    /// Through `proxy`; one that refuses us is tried every `again_after`.
    pub(super) fn through(proxy: Proxy, again_after: Duration) -> Self {
        Self::Through(proxy, Gate::new(again_after))
    }

    /// A connection to `host:port`, within `limit`; a proxy's tunnel included.
    pub(super) async fn dial(
        &self,
        host: &str,
        port: u16,
        limit: Duration,
    ) -> Result<TcpStream, WayError> {
        match self {
            Self::Through(proxy, gate) => {
                let target = format!("{host}:{port}");
                let admitted = gate.admit(&target, Mono::now());
                admitted.map_err(|held| WayError::Held {
                    proxy: proxy.clone(),
                    fault: held.fault,
                    again_in: held.again_in,
                })?;
                let tunnel = proxy.dial(host, port, limit).await;
                gate.learn(&target, tunnel.as_ref().err(), Mono::now());
                tunnel.map_err(|fault| WayError::Proxy {
                    proxy: proxy.clone(),
                    fault,
                })
            }
            Self::Straight => match tokio::time::timeout(limit, tcp(host, port, limit)).await {
                Ok(Ok(socket)) => Ok(socket),
                Ok(Err(source)) => Err(WayError::Unreachable {
                    host: host.to_owned(),
                    source,
                }),
                Err(_) => Err(WayError::TimedOut {
                    host: host.to_owned(),
                    limit,
                }),
            },
        }
    }
}

/// A TCP connection. Of several addresses none that is silent uses up the time of the others (happy eyeballs).
pub(super) async fn tcp(host: &str, port: u16, limit: Duration) -> Result<TcpStream, Cause> {
    let uri: Uri = format!("http://{host}:{port}/")
        .parse()
        .map_err(Cause::new)?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true); // a small frame must not wait for the last one's acknowledgement
    connector.set_connect_timeout(Some(limit));
    let ready = std::future::poll_fn(|context| connector.poll_ready(context));
    ready.await.map_err(Cause::new)?;
    let socket = connector.call(uri).await.map_err(Cause::new)?;
    let socket = socket.into_inner();
    keep_awake(&socket);
    Ok(socket)
}

fn keep_awake(socket: &TcpStream) {
    let socket = socket2::SockRef::from(socket);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE);
    let set = socket
        .set_tcp_keepalive(&keepalive)
        .and_then(|()| socket.set_tcp_user_timeout(Some(GONE_AFTER)));
    if let Err(error) = set {
        tracing::debug!(%error, "a socket does not take its options");
    }
}
