//! The transport: accepts connections, hands REST requests to `responses.rs` and upgraded ones to `session.rs`.
//! Every connection enters through `accept`, every handshake through `upgrade`: the places of the faults of transport.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::World;
use super::fault::{FaultKind, Place, Refusing, Strike, TransportFault};
use super::line::{self, Line, LineControl};
use super::responses::{self, Cut};
use super::rest::{Params, Refusal};
use super::routes::Route;
use super::{session, spoil};

/// A client may leave a connection idle that long, or take that long over a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Requests in flight at the stop get that long.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);
/// An upgrade follows its 101 at once, or never.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// Accepts connections until the stop.
pub(super) async fn accept(listener: TcpListener, world: Arc<World>) {
    loop {
        let accepted = tokio::select! {
            () = world.tasks.stopping() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((_, client)) if !world.proxies.lets_in(client, world.settings.direct) => {}
            Ok((stream, client)) => {
                // Without it a small frame would wait for the acknowledgement of the last.
                let _ = stream.set_nodelay(true);
                let Some(stream) = admitted(stream, &world) else {
                    continue;
                };
                let serving = serve(stream, client, Arc::clone(&world));
                world.tasks.spawn_short("simulator connection", serving);
            }
            Err(error) => {
                tracing::warn!(%error, "simulated exchange: a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await; // out of descriptors: not in a hot loop
            }
        }
    }
}

/// The connection, unless a fault takes it.
fn admitted(stream: TcpStream, world: &Arc<World>) -> Option<TcpStream> {
    let pick = |kind: &FaultKind| {
        let fault = kind.transport()?;
        if let TransportFault::RefuseConnect { how } = fault {
            Some(*how)
        } else {
            None
        }
    };
    let struck = world
        .faults
        .strike(world.clock.now(), &Place::default(), "connect", pick);
    let Some(Strike { number, what }) = struck.into_iter().next() else {
        return Some(stream);
    };
    match what {
        Refusing::Reset => line::reset(&stream),
        Refusing::Ignore => {
            let world = Arc::clone(world);
            let of_task = Arc::clone(&world);
            world
                .tasks
                .spawn_short("simulator ignored connection", async move {
                    spoil::until_over(&of_task, number).await;
                    line::reset(&stream);
                });
        }
    }
    None
}

async fn serve(stream: TcpStream, client: SocketAddr, world: Arc<World>) {
    let of_requests = Arc::clone(&world);
    let line = Line::new(stream);
    let control = Arc::clone(line.control());
    let service = hyper::service::service_fn(move |request| {
        respond(
            request,
            client,
            Arc::clone(&control),
            Arc::clone(&of_requests),
        )
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(line), service)
        .with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        done = connection.as_mut() => {
            if let Err(error) = done {
                tracing::debug!(%client, %error, "connection ended");
            }
            return;
        }
        () = world.tasks.stopping() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(STOP_TIMEOUT, connection).await;
}

async fn respond(
    request: Request<Incoming>,
    client: SocketAddr,
    line: Arc<LineControl>,
    world: Arc<World>,
) -> Result<Response<Body>, Cut> {
    let path = request.uri().path();
    let query = request.uri().query().unwrap_or("");
    if let Some(route) = Route::at(path, query) {
        return upgrade(request, route, client, &line, &world).await;
    }
    responses::rest(request, client.ip(), &line, &world).await
}

/// Answers 101 and hands the socket to a session; what is no handshake gets a 400 with `code` and `msg`.
async fn upgrade(
    mut request: Request<Incoming>,
    route: Route,
    client: SocketAddr,
    line: &LineControl,
    world: &Arc<World>,
) -> Result<Response<Body>, Cut> {
    let Some(accept) = handshake_answer(request.headers()) else {
        let refusal = Refusal {
            status: 400,
            code: -1000,
            message: "This path is a WebSocket: an upgrade was expected.".into(),
        };
        return Ok(responses::refused(refusal, &request, client.ip(), world));
    };
    if let Some(Strike { number, what }) = handshake_fault(request.uri().path(), world) {
        let NoUpgrade::Refused {
            status,
            retry_after_secs,
        } = what
        else {
            spoil::until_over(world, number).await;
            line.reset_at_end();
            return Err(Cut);
        };
        world.stats.handshake_refused(client.ip(), status);
        let told = spoil::refusal(status, retry_after_secs, world.clock.now());
        return Ok(responses::finish(told.into(), &request, client.ip(), world));
    }
    let path = request.uri().to_string();
    // Before the client knows of it: a fault told after its answer meets an open connection.
    let opened = world.faults.opened(world.clock.now());
    let upgrading = hyper::upgrade::on(&mut request);
    let of_session = Arc::clone(world);
    world.tasks.spawn_short("simulator session", async move {
        let upgraded = tokio::time::timeout(UPGRADE_TIMEOUT, upgrading).await;
        let Ok(Ok(upgraded)) = upgraded else {
            return tracing::debug!(%client, "the upgrade did not come about");
        };
        let Ok(parts) = upgraded.downcast::<TokioIo<Line>>() else {
            return tracing::error!(%client, "an upgraded connection is no TCP stream");
        };
        let socket = parts.io.into_inner();
        let already_read = parts.read_buf.to_vec();
        session::run(
            socket,
            already_read,
            route,
            client,
            path,
            opened,
            of_session,
        )
        .await;
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

/// The `Sec-WebSocket-Accept` of a request that is a handshake.
fn handshake_answer(headers: &HeaderMap) -> Option<HeaderValue> {
    let says = |name, word: &str| {
        let value = headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok());
        value.is_some_and(|value| value.to_ascii_lowercase().contains(word))
    };
    headers
        .get(header::SEC_WEBSOCKET_KEY)
        .filter(|_| says(header::UPGRADE, "websocket") && says(header::CONNECTION, "upgrade"))
        .and_then(|key| HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok())
}

/// What becomes of a handshake that a fault strikes.
enum NoUpgrade {
    Refused {
        status: u16,
        retry_after_secs: Option<u32>,
    },
    NoAnswer,
}

/// The first fault that strikes a handshake.
fn handshake_fault(path: &str, world: &World) -> Option<Strike<NoUpgrade>> {
    let place = Place {
        path: Some(path),
        ..Place::default()
    };
    let pick = |kind: &FaultKind| {
        let fault = kind.transport()?;
        if let TransportFault::RefuseHandshake {
            status,
            retry_after_secs,
        } = *fault
        {
            return Some(NoUpgrade::Refused {
                status,
                retry_after_secs,
            });
        }
        (*fault == TransportFault::HangHandshake {}).then_some(NoUpgrade::NoAnswer)
    };
    let struck = world
        .faults
        .strike(world.clock.now(), &place, "handshake", pick);
    struck.into_iter().next()
}

/// The parameters of a query.
pub(super) fn params_of(query: &str) -> Params {
    let pairs = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decoded(key), percent_decoded(value))
        });
    Params(pairs.collect())
}

/// `%E5%B8%81` as the UTF-8 it stands for; what is no escape stays as it is.
pub(super) fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(escaped.unwrap_or(bytes[at]));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h27_escaped_names_are_read_as_utf8() {
        let params = params_of("symbol=%E5%B8%81%E5%AE%89usdt&limit=5&flag&broken=%E5%");
        assert_eq!(params.get("symbol"), Some("币安usdt"));
        assert_eq!(params.get("limit"), Some("5"));
        assert_eq!(params.get("flag"), None);
        assert!(params.get("broken").is_some());
    }
}
