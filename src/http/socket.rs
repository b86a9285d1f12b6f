//! The door to the feed: checks a WebSocket handshake, answers 101 and hands the bare socket to the hub, with what was
//! already read from it. What is said on the socket is the hub's. The paths are Binance's, so that an existing stream
//! client connects by changing its base URL.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::asker::asker;
use super::patient::Patient;
use super::problem::Problem;
use super::query::{PathText, params_of};
use super::serve::Peer;
use super::state::{ANY_ORIGIN, HttpState};
use crate::hub::{Connecting, Form};

/// From our 101 to the socket in the hub's hands.
const UPGRADE_WITHIN: Duration = Duration::from_secs(10);
/// After our close the peer has so long to answer it.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

/// Why a page is not let in. It cannot read a refused handshake, so it is told by a close it can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TurnedAway {
    ForeignOrigin,
    Full,
}

/// Every path of the feed.
pub(super) fn routes() -> Router<HttpState> {
    Router::new()
        .route("/stream", get(wrapped))
        .route("/stream/{*names}", get(wrapped_numbered))
        .route("/market/stream", get(wrapped))
        .route("/market/stream/{*names}", get(wrapped_numbered))
        .route("/ws", get(raw))
        .route("/ws/", get(raw))
        .route("/ws/{*names}", get(raw_named))
        .route("/market/ws", get(raw))
        .route("/market/ws/", get(raw))
        .route("/market/ws/{*names}", get(raw_named))
}

async fn wrapped(State(state): State<HttpState>, request: Request) -> Response {
    let params = params_of(request.uri());
    let names = params.values("streams").flat_map(|list| list.split('/'));
    let streams = names.filter(|name| !name.is_empty()).map(str::to_owned);
    let streams = streams.collect();
    open(&state, request, Form::Wrapped, streams)
}

/// `/stream/0`: the number today's clients append names nothing.
async fn wrapped_numbered(
    state: State<HttpState>,
    PathText(names): PathText,
    request: Request,
) -> Response {
    if is_number(&names) {
        return wrapped(state, request).await;
    }
    let detail = "streams are named as /stream?streams=a/b, or as /ws/a/b".to_owned();
    Problem::not_found("unknown-path", detail).into_response()
}

async fn raw(State(state): State<HttpState>, request: Request) -> Response {
    open(&state, request, Form::Raw, Vec::new())
}

async fn raw_named(
    State(state): State<HttpState>,
    PathText(names): PathText,
    request: Request,
) -> Response {
    let mut streams: Vec<String> = names
        .split('/')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    if streams.last().is_some_and(|last| is_number(last)) {
        streams.pop();
    }
    open(&state, request, Form::Raw, streams)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn open(state: &HttpState, mut request: Request, mode: Form, streams: Vec<String>) -> Response {
    let accept = match accept_key(&request) {
        Ok(accept) => accept,
        Err(problem) => return problem.into_response(),
    };
    let extensions = request.extensions_mut();
    let peer = extensions.get::<Peer>().copied();
    let (Some(upgrade), Some(Peer(peer))) = (extensions.remove::<OnUpgrade>(), peer) else {
        let detail = "this connection cannot become a WebSocket: HTTP/1.1 is needed".to_owned();
        return Problem::bad_request("no-upgrade", detail).into_response();
    };
    if state.tasks.is_stopping() {
        let detail = "the server is leaving; come back in a few seconds".to_owned();
        return Problem::unavailable("draining", detail).into_response();
    }
    if !state.store.is_readable() {
        let detail = "waiting for redis: the log has not been read yet".to_owned();
        return Problem::unavailable("waiting-for-redis", detail).into_response();
    }
    let Some(hub) = state.hub.clone() else {
        let detail = "this process has no feed; connect to a hub".to_owned();
        return Problem::not_found("unknown-path", detail).into_response();
    };
    let proxies = &state.settings.trusted_proxies;
    let connecting = Connecting {
        mode,
        streams,
        asker: asker(Some(Peer(peer)), request.headers(), proxies),
        peer: proxies.client(peer, request.headers()),
    };
    let turned_away = match turned_away(state, request.headers()) {
        Ok(turned_away) => turned_away,
        Err(problem) => return problem.into_response(),
    };
    state.tasks.spawn_short("upgrade", async move {
        let Ok(Some((socket, read))) =
            tokio::time::timeout(UPGRADE_WITHIN, bare_socket(upgrade)).await
        else {
            return;
        };
        match turned_away {
            None => hub.accept(socket, read, connecting),
            Some(why) => why.tell(socket).await,
        }
    });
    switching(&accept)
}

/// The socket and what was read of it beyond the handshake; none when the peer was gone before.
async fn bare_socket(upgrade: OnUpgrade) -> Option<(TcpStream, Bytes)> {
    let upgraded: Upgraded = upgrade.await.ok()?;
    let parts = upgraded.downcast::<TokioIo<Patient>>().ok()?;
    Some((parts.io.into_inner().into_socket(), parts.read_buf))
}

fn switching(accept: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

/// Checks the handshake (RFC 6455, 4.2.1) and computes what proves that it was understood.
fn accept_key(request: &Request) -> Result<String, Problem> {
    let headers = request.headers();
    if request.method() != Method::GET {
        return Err(Problem::wrong_method(request.method()));
    }
    if !has_token(headers, &header::UPGRADE, "websocket") {
        let detail = "this is a WebSocket endpoint: connect with ws:// or wss://".to_owned();
        return Err(Problem::upgrade_required(detail));
    }
    if !has_token(headers, &header::CONNECTION, "upgrade") {
        let detail = "the header 'Connection: Upgrade' is missing".to_owned();
        return Err(Problem::bad_request("bad-handshake", detail));
    }
    if headers
        .get(header::SEC_WEBSOCKET_VERSION)
        .map(HeaderValue::as_bytes)
        != Some(b"13")
    {
        let detail = "Sec-WebSocket-Version must be 13".to_owned();
        return Err(Problem::upgrade_required(detail));
    }
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .map(HeaderValue::as_bytes);
    match key.filter(|key| is_nonce(key)) {
        Some(key) => Ok(derive_accept_key(key)),
        None => {
            let detail = "Sec-WebSocket-Key must be 16 bytes in base64".to_owned();
            Err(Problem::bad_request("bad-handshake", detail))
        }
    }
}

/// 16 bytes are 22 letters of base64 and two signs of padding.
fn is_nonce(key: &[u8]) -> bool {
    let letter = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'+' || *byte == b'/';
    key.len() == 24 && key.ends_with(b"==") && key.iter().take(22).all(letter)
}

fn has_token(headers: &HeaderMap, name: &header::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .any(|one| one.trim().eq_ignore_ascii_case(token))
}

/// Whether a page of this origin may connect: our own, one the operator named, or no page at all (a bot).
pub(super) fn is_welcome(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let Ok(origin) = origin.to_str() else {
        return false;
    };
    let fits = |one: &String| one == ANY_ORIGIN || one.eq_ignore_ascii_case(origin);
    if allowed.iter().any(fits) {
        return true;
    }
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let (Some((scheme, from)), Some(host)) = (origin.split_once("://"), host) else {
        return false;
    };
    let port = if scheme.eq_ignore_ascii_case("https") {
        ":443"
    } else {
        ":80"
    };
    let bare = |name: &str| name.strip_suffix(port).unwrap_or(name).to_ascii_lowercase();
    bare(from) == bare(host)
}

/// Who may not come in: a page is upgraded and told, a bot gets the status.
fn turned_away(state: &HttpState, headers: &HeaderMap) -> Result<Option<TurnedAway>, Problem> {
    if !is_welcome(headers, &state.settings.allowed_origins) {
        return Ok(Some(TurnedAway::ForeignOrigin));
    }
    if state.connections() < state.settings.limits.connections {
        return Ok(None);
    }
    if headers.contains_key(header::ORIGIN) {
        return Ok(Some(TurnedAway::Full));
    }
    let detail = TurnedAway::Full.reason().to_owned();
    Err(Problem::unavailable("at-capacity", detail))
}

impl TurnedAway {
    fn close_code(self) -> u16 {
        match self {
            Self::ForeignOrigin => 1008,
            Self::Full => 1013,
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::ForeignOrigin => "origin not allowed; see HAMA_ALLOWED_ORIGINS",
            Self::Full => "at capacity; come back in 5 s or later",
        }
    }

    /// Sends the close frame, waits for the peer to have read it, shuts the socket.
    async fn tell(self, mut socket: TcpStream) {
        let reason = self.reason();
        let mut frame = vec![0x88, u8::try_from(reason.len() + 2).unwrap_or(2)];
        frame.extend(self.close_code().to_be_bytes());
        frame.extend(reason.as_bytes());
        let farewell = async {
            socket.write_all(&frame).await?;
            socket.shutdown().await?;
            let mut rest = [0; 512];
            while socket.read(&mut rest).await? > 0 {}
            Ok::<_, std::io::Error>(())
        };
        if !matches!(
            tokio::time::timeout(CLOSED_WITHIN, farewell).await,
            Ok(Ok(()))
        ) {
            tracing::debug!(why = ?self, "turned away, and left without a word");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| {
                (
                    header::HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn a_page_connects_from_our_own_host_or_a_named_origin_only() {
        let allowed = ["https://desk.example".to_owned()];
        let from =
            |origin, host| is_welcome(&headers(&[("origin", origin), ("host", host)]), &allowed);
        assert!(is_welcome(&headers(&[("host", "a.example")]), &allowed));
        assert!(from("http://A.example:5000", "a.example:5000"));
        assert!(from("https://a.example", "a.example:443"));
        assert!(from("https://desk.example", "a.example"));
        assert!(!from("https://a.example.evil.example", "a.example"));
        assert!(!from("http://a.example:81", "a.example"));
        assert!(!from("null", "a.example"));
    }
}
