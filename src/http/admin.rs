//! Who may change something: the operator. He shows the admin token; where none is set he is whoever sits at this
//! machine - and a web page in his browser, or a proxy on the same host that forwards strangers, is not him.

use std::fmt;
use std::net::IpAddr;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};

use super::problem::Problem;
use super::serve::Peer;
use super::socket;

/// What the reason names when the door stays shut.
const SET_TOKEN: &str =
    "set HAMA_ADMIN_TOKEN and send it as bearer (Authorization: Bearer <token>)";

/// Any of them: somebody passed the request on.
const FORWARDING: [HeaderName; 2] = [header::FORWARDED, HeaderName::from_static("x-real-ip")];
const FORWARDING_PREFIX: &str = "x-forwarded-";

/// The operator's secret.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminToken(String);

impl AdminToken {
    /// The token `text`.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Compared without telling by the time taken how much of it was right.
    fn is(&self, shown: &str) -> bool {
        let (own, shown) = (self.0.as_bytes(), shown.as_bytes());
        let pairs = own.iter().zip(shown);
        let differing = pairs.fold(0, |bits, (a, b)| std::hint::black_box(bits | (a ^ b)));
        own.len() == shown.len() && differing == 0
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Lets a request through that may change something.
///
/// # Errors
/// 401 without a token where one is set, 403 with a wrong one, or where none is set and it does not come from here.
pub(super) fn may_change(parts: &Parts, token: Option<&AdminToken>) -> Result<(), Problem> {
    let Some(token) = token else {
        let peer = parts.extensions.get::<Peer>().map(|Peer(peer)| *peer);
        return not_the_operator(&parts.headers, peer).map_or(Ok(()), |why| {
            let detail =
                format!("changes are accepted from this machine only, and {why}; {SET_TOKEN}");
            Err(Problem::forbidden(detail))
        });
    };
    match bearer(&parts.headers) {
        None => Err(Problem::unauthorized(
            "this call wants the admin token as bearer (Authorization: Bearer <token>)".to_owned(),
        )),
        Some(shown) if token.is(shown) => Ok(()),
        Some(_) => Err(Problem::forbidden(
            "the bearer is not the token in HAMA_ADMIN_TOKEN".to_owned(),
        )),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim())
        .filter(|token| !token.is_empty())
}

/// Why a request without a token does not count as the operator's; none when it does.
fn not_the_operator(headers: &HeaderMap, peer: Option<IpAddr>) -> Option<String> {
    if !peer.is_some_and(|peer| peer.to_canonical().is_loopback()) {
        return Some("this call comes from another one".to_owned());
    }
    if let Some(name) = passed_on(headers) {
        return Some(format!("this call was passed on (header {name})"));
    }
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    if !host.is_some_and(is_loopback) {
        return Some("this call's Host is not localhost".to_owned());
    }
    if !socket::is_welcome(headers, &[]) {
        return Some("this call comes from a web page of another origin".to_owned());
    }
    if !is_json(headers) {
        return Some("this call is not sent as Content-Type: application/json".to_owned());
    }
    None
}

/// The header that says that somebody passed the request on; none when nobody did, or says so.
pub(super) fn passed_on(headers: &HeaderMap) -> Option<&HeaderName> {
    headers
        .keys()
        .find(|name| FORWARDING.contains(name) || name.as_str().starts_with(FORWARDING_PREFIX))
}

/// Whether a Host header names this machine's loopback: `localhost`, `127.0.0.1:5000`, `[::1]:5000`.
fn is_loopback(host: &str) -> bool {
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let address = bare.parse::<IpAddr>();
    bare.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// Whether the body is said to be JSON.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .and_then(|kind| kind.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    const GOOD: [(&str, &str); 2] = [
        ("host", "127.0.0.1:5000"),
        ("content-type", "application/json"),
    ];

    fn parts(peer: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::post("/").extension(Peer(peer.parse().unwrap()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn refused(peer: &str, headers: &[(&str, &str)], token: Option<&str>) -> Option<(u16, String)> {
        let token = token.map(AdminToken::new);
        let problem = may_change(&parts(peer, headers), token.as_ref()).err()?;
        let (status, detail, _) = problem.into_parts();
        Some((status.as_u16(), detail))
    }

    #[test]
    fn without_a_token_only_this_machine_itself_may() {
        assert_eq!(refused("127.0.0.1", &GOOD, None), None);
        assert_eq!(refused("::ffff:127.0.0.1", &GOOD, None), None);
        let own_page = ("origin", "http://127.0.0.1:5000");
        assert_eq!(
            refused("127.0.0.1", &[GOOD[0], GOOD[1], own_page], None),
            None
        );
        let v6 = [("host", "[::1]:5000"), GOOD[1]];
        assert_eq!(refused("::1", &v6, None), None);
        let cases: [(&str, Vec<(&str, &str)>); 9] = [
            ("10.0.0.1", GOOD.to_vec()),
            (
                "127.0.0.1",
                vec![GOOD[0], GOOD[1], ("x-forwarded-for", "127.0.0.1")],
            ),
            (
                "127.0.0.1",
                vec![GOOD[0], GOOD[1], ("x-forwarded-proto", "http")],
            ),
            (
                "127.0.0.1",
                vec![GOOD[0], GOOD[1], ("forwarded", "for=127.0.0.1")],
            ),
            (
                "127.0.0.1",
                vec![GOOD[0], GOOD[1], ("x-real-ip", "127.0.0.1")],
            ),
            (
                "127.0.0.1",
                vec![("host", "localhost.evil.example"), GOOD[1]],
            ),
            ("127.0.0.1", vec![GOOD[1]]),
            (
                "127.0.0.1",
                vec![GOOD[0], GOOD[1], ("origin", "http://evil.example")],
            ),
            ("127.0.0.1", vec![GOOD[0], ("content-type", "text/plain")]),
        ];
        for (peer, headers) in cases {
            let (status, detail) = refused(peer, &headers, None).unwrap();
            assert_eq!(status, 403, "{headers:?}");
            assert!(detail.contains("HAMA_ADMIN_TOKEN"), "{detail}");
        }
    }

    #[test]
    fn with_a_token_it_alone_counts() {
        let with = |value| [("authorization", value)];
        let token = Some("s3cret");
        assert_eq!(refused("10.0.0.1", &with("Bearer s3cret"), token), None);
        assert_eq!(refused("10.0.0.1", &with("bearer s3cret"), token), None);
        for missing in [
            vec![],
            with("Basic s3cret").to_vec(),
            with("Bearer ").to_vec(),
        ] {
            assert_eq!(refused("127.0.0.1", &missing, token).unwrap().0, 401);
        }
        assert_eq!(refused("127.0.0.1", &GOOD, token).unwrap().0, 401);
        for wrong in [
            "Bearer s3cre",
            "Bearer s3crets",
            "Bearer S3cret",
            "Bearer x",
        ] {
            let (status, detail) = refused("127.0.0.1", &with(wrong), token).unwrap();
            assert_eq!(status, 403);
            assert!(detail.contains("HAMA_ADMIN_TOKEN") && !detail.contains("s3cret"));
        }
    }
}
