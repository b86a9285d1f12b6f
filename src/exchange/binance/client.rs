//! The HTTP client of REST: hyper's pool over connections that `Way` dials, with our TLS on top. A client that dialled by
//! itself would be a second way out of the process. It knows no status and no JSON; that is `rest`'s.

use std::io::{self, Read as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use flate2::read::GzDecoder;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::header::{ACCEPT_ENCODING, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::{
    self,
    connect::{Connected, Connection},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use reqwest::Url;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::MaybeTlsStream;
use tower_service::Service;

use crate::exchange::WayError;
use crate::exchange::error::Cause;
use crate::exchange::way::Way;

/// A connection that nobody has used for so long is closed: most servers would have by then.
const IDLE: Duration = Duration::from_secs(90);
/// One HTTP/2 connection carries all requests. A middle box that forgets it without a word would let each of them time out,
/// and the pool would go on with it: it is asked so often whether it lives, and dropped without an answer (hazard 9).
/// An HTTP/1 connection needs no such question: hyper drops it, and the pool does not take it back, when a request on it is
/// given up before its answer is there.
const ASK_EVERY: Duration = Duration::from_secs(20);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

pub(super) type Client = legacy::Client<Connector, Empty<Bytes>>;
pub(super) type Error = Box<dyn std::error::Error + Send + Sync>;

/// A client whose connections are made by `way`, each within `limit`.
pub(super) fn client(way: Arc<Way>, mut tls: rustls::ClientConfig, limit: Duration) -> Client {
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let connector = Connector {
        way,
        tls: TlsConnector::from(Arc::new(tls)),
        limit,
    };
    legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .http2_keep_alive_interval(ASK_EVERY)
        .http2_keep_alive_timeout(ANSWER_WITHIN)
        .http2_keep_alive_while_idle(true)
        .build(connector)
}

/// Sends a GET; the answer's head.
pub(super) async fn get(client: &Client, url: &Url) -> Result<Response<Incoming>, Error> {
    let request = Request::get(url.as_str())
        .header(USER_AGENT, concat!("hamacast/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT_ENCODING, "gzip")
        .body(Empty::new())?;
    Ok(client.request(request).await?)
}

/// Why there was no connection, if that is what went wrong.
pub(super) fn way_error(error: &Error) -> Option<&WayError> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error.as_ref());
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<WayError>() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// What was compressed; none when it is larger than `limit_bytes`.
pub(super) fn unzipped(zipped: &[u8], limit_bytes: usize) -> io::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    let most = u64::try_from(limit_bytes).unwrap_or(u64::MAX);
    GzDecoder::new(zipped)
        .take(most.saturating_add(1))
        .read_to_end(&mut body)?;
    Ok((body.len() <= limit_bytes).then_some(body))
}

/// Makes the pool's connections.
#[derive(Clone)]
pub(super) struct Connector {
    way: Arc<Way>,
    tls: TlsConnector,
    limit: Duration,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Connector").field(&self.way).finish()
    }
}

impl Connector {
    async fn connect(self, uri: Uri) -> Result<TokioIo<Link>, WayError> {
        let host = uri.host().unwrap_or_default();
        let is_tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let socket = self.way.dial(host, port, self.limit).await?;
        if !is_tls {
            return Ok(TokioIo::new(Link(MaybeTlsStream::Plain(socket))));
        }
        let unreachable = |source| WayError::Unreachable {
            host: host.to_owned(),
            source,
        };
        // Through a proxy too it is the exchange whose name the certificate must bear.
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
        let name = name.map_err(|error| unreachable(Cause::new(error)))?;
        let handshake = self.tls.connect(name, socket);
        match tokio::time::timeout(self.limit, handshake).await {
            Ok(Ok(stream)) => Ok(TokioIo::new(Link(MaybeTlsStream::Rustls(stream)))),
            Ok(Err(error)) => Err(unreachable(Cause::new(error))),
            Err(_) => Err(WayError::TimedOut {
                host: host.to_owned(),
                limit: self.limit,
            }),
        }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Link>;
    type Error = WayError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, WayError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), WayError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A connection of the pool.
pub(super) struct Link(MaybeTlsStream<TcpStream>);

impl Connection for Link {
    fn connected(&self) -> Connected {
        let connected = Connected::new();
        if let MaybeTlsStream::Rustls(stream) = &self.0
            && stream.get_ref().1.alpn_protocol() == Some(b"h2")
        {
            return connected.negotiated_h2();
        }
        connected
    }
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        read: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, read)
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
