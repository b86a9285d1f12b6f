//! The page's files, built into the program, each with a tag of its content; the page may load nothing from elsewhere.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::state::HttpState;

struct Asset {
    path: &'static str,
    kind: &'static str,
    content: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";
const SCRIPT: &str = "text/javascript; charset=utf-8";

const ASSETS: [Asset; 10] = [
    asset("/", HTML, include_bytes!("../../static/index.html")),
    asset("/app.css", CSS, include_bytes!("../../static/app.css")),
    asset(
        "/favicon.svg",
        SVG,
        include_bytes!("../../static/favicon.svg"),
    ),
    asset(
        "/js/app.js",
        SCRIPT,
        include_bytes!("../../static/js/app.js"),
    ),
    asset(
        "/js/format.js",
        SCRIPT,
        include_bytes!("../../static/js/format.js"),
    ),
    asset(
        "/js/header.js",
        SCRIPT,
        include_bytes!("../../static/js/header.js"),
    ),
    asset(
        "/js/log.js",
        SCRIPT,
        include_bytes!("../../static/js/log.js"),
    ),
    asset(
        "/js/model.js",
        SCRIPT,
        include_bytes!("../../static/js/model.js"),
    ),
    asset(
        "/js/table.js",
        SCRIPT,
        include_bytes!("../../static/js/table.js"),
    ),
    asset(
        "/js/wire.js",
        SCRIPT,
        include_bytes!("../../static/js/wire.js"),
    ),
];

const fn asset(path: &'static str, kind: &'static str, content: &'static [u8]) -> Asset {
    Asset {
        path,
        kind,
        content,
    }
}

/// Only our own files, our own feed; in nobody's frame.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'";

/// A route per file.
pub(super) fn routes() -> Router<HttpState> {
    ASSETS.iter().fold(Router::new(), |router, asset| {
        let tag = tag_of(asset.content);
        router.route(
            asset.path,
            get(move |headers: HeaderMap| async move { answer(asset, tag, &headers) }),
        )
    })
}

fn tag_of(content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

fn answer(asset: &'static Asset, tag: u64, headers: &HeaderMap) -> Response {
    let tag = format!("W/\"{tag:016x}\"");
    let known = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|sent| sent.to_str().ok())
        .is_some_and(|sent| sent.contains(&tag));
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, asset.kind)], asset.content).into_response()
    };
    let fixed = [
        // Kept, but asked for anew each time: a new version of the program must never run with an old script.
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    let fixed = fixed.map(|(name, value): (HeaderName, _)| (name, HeaderValue::from_static(value)));
    response.headers_mut().extend(fixed);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}
