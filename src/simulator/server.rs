//! The transport: accepts connections, charges and answers REST requests, hands upgraded ones to `session.rs`.
//! Every answer leaves through `respond`, every connection enters through `accept`: the places where faults belong.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::World;
use super::rest::{Endpoint, Params, Refusal};
use super::routes::Route;
use super::session;
use super::weights::Verdict;

/// A client may leave a connection idle that long, or take that long over a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Requests in flight at the stop get that long.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);
/// An upgrade follows its 101 at once, or never.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
/// Below this a body is sent as it is.
const GZIP_FROM_BYTES: usize = 1_024;
const USED_WEIGHT: &str = "x-mbx-used-weight-1m";

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

async fn serve(stream: TcpStream, client: SocketAddr, world: Arc<World>) {
    let of_requests = Arc::clone(&world);
    let service = hyper::service::service_fn(move |request| {
        let world = Arc::clone(&of_requests);
        async move { Ok::<_, Infallible>(respond(request, client, world).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
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
    world: Arc<World>,
) -> Response<Body> {
    let path = request.uri().path();
    let query = request.uri().query().unwrap_or("");
    if let Some(route) = Route::at(path, query) {
        return upgrade(request, route, client, &world);
    }
    if !world.settings.latency.is_zero() {
        tokio::time::sleep(world.settings.latency).await;
    }
    let endpoint = Endpoint::at(path).filter(|_| request.method() == Method::GET);
    let params = params_of(query);
    let now = world.clock.now();
    let Some(endpoint) = endpoint else {
        world.stats.request(client.ip(), path, None, now.ms());
        return finish(Err(Refusal::no_path()), &request, client, None, &world);
    };
    let verdict = endpoint.weight(&params, &world).map(|weight| {
        let mut budgets = world.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        budgets.charge(client.ip(), weight, now)
    });
    world.stats.request(client.ip(), path, verdict, now.ms());
    let answer = match verdict {
        Some(verdict @ (Verdict::Limited { .. } | Verdict::Banned { .. })) => Err(refusal(verdict)),
        Some(Verdict::Served { .. }) | None => endpoint.answer(&params, &world),
    };
    finish(answer, &request, client, verdict, &world)
}

fn refusal(verdict: Verdict) -> Refusal {
    match verdict {
        Verdict::Banned { until, .. } => Refusal {
            status: 418,
            code: -1003,
            message: format!(
                "Way too many requests; IP banned until {until}. Please use the websocket for live updates to avoid bans."
            ),
        },
        Verdict::Limited { .. } | Verdict::Served { .. } => Refusal {
            status: 429,
            code: -1003,
            message: "Too many requests; current limit is 2400 requests per minute. Please use the websocket for live updates to avoid polling the API.".into(),
        },
    }
}

/// Makes the response: status, headers, compression, counts.
fn finish(
    answer: Result<String, Refusal>,
    request: &Request<Incoming>,
    client: SocketAddr,
    verdict: Option<Verdict>,
    world: &World,
) -> Response<Body> {
    let (status, text) = match answer {
        Ok(text) => (200, text),
        Err(refusal) => (refusal.status, refusal.body()),
    };
    let zipped = accepts_gzip(request.headers())
        .then(|| gzip(&text))
        .flatten();
    let is_zipped = zipped.is_some();
    let body = zipped.unwrap_or_else(|| text.into_bytes());
    world.stats.answered(client.ip(), status, body.len());
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let headers = response.headers_mut();
    let json = HeaderValue::from_static("application/json;charset=UTF-8");
    headers.insert(header::CONTENT_TYPE, json);
    if is_zipped {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let (used, retry) = match verdict {
        None => (None, None),
        Some(Verdict::Served { used }) => (Some(used), None),
        Some(
            Verdict::Limited {
                used,
                retry_after_secs,
            }
            | Verdict::Banned {
                used,
                retry_after_secs,
                ..
            },
        ) => (Some(used), Some(retry_after_secs)),
    };
    if let Some(used) = used {
        headers.insert(USED_WEIGHT, HeaderValue::from(used));
    }
    if let Some(secs) = retry {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
    }
    response
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.to_ascii_lowercase().contains("gzip"))
}

fn gzip(text: &str) -> Option<Vec<u8>> {
    if text.len() < GZIP_FROM_BYTES {
        return None;
    }
    let room = Vec::with_capacity(text.len() / 3);
    let mut zip = flate2::write::GzEncoder::new(room, flate2::Compression::fast());
    zip.write_all(text.as_bytes()).ok()?;
    zip.finish().ok()
}

/// Answers 101 and hands the socket to a session; what is no handshake gets a 400 with `code` and `msg`.
fn upgrade(
    mut request: Request<Incoming>,
    route: Route,
    client: SocketAddr,
    world: &Arc<World>,
) -> Response<Body> {
    let headers = request.headers();
    let says = |name, word: &str| {
        let value = headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok());
        value.is_some_and(|value| value.to_ascii_lowercase().contains(word))
    };
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    let accept = key
        .filter(|_| says(header::UPGRADE, "websocket") && says(header::CONNECTION, "upgrade"))
        .and_then(|key| HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok());
    let Some(accept) = accept else {
        let refusal = Refusal {
            status: 400,
            code: -1000,
            message: "This path is a WebSocket: an upgrade was expected.".into(),
        };
        return finish(Err(refusal), &request, client, None, world);
    };
    let path = request.uri().to_string();
    let upgrading = hyper::upgrade::on(&mut request);
    let of_session = Arc::clone(world);
    world.tasks.spawn_short("simulator session", async move {
        let upgraded = tokio::time::timeout(UPGRADE_TIMEOUT, upgrading).await;
        let Ok(Ok(upgraded)) = upgraded else {
            return tracing::debug!(%client, "the upgrade did not come about");
        };
        let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else {
            return tracing::error!(%client, "an upgraded connection is no TCP stream");
        };
        let socket = parts.io.into_inner();
        session::run(
            socket,
            parts.read_buf.to_vec(),
            route,
            client,
            path,
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
    response
}

fn params_of(query: &str) -> Params {
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
