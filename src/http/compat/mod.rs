//! `/api/gainer-analysis`: the calls, the envelope and the fields of the service this program replaces, so that its
//! clients move over unchanged. What an analysis says is `signal`'s; here are only its cache, the calls and the errors.
//! Everything below the prefix answers in the envelope. Calls that change something want the operator
//! (`http/admin.rs`).

pub(super) mod analyze;
mod asked;
mod cache;
mod envelope;
mod found;
pub(super) mod gainers;
pub(super) mod scheduler;

pub use cache::CompatCache;

use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::state::HttpState;
use envelope::Failure;

const PREFIX: &str = "/api/gainer-analysis";

/// 200 names of 64 bytes, each escaped as JSON may, fit five times over.
const BODY_BYTES: usize = 64 * 1024;

/// The calls, with their part of the document.
pub(super) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new()
        .routes(routes!(scheduler::status))
        .routes(routes!(scheduler::start))
        .routes(routes!(scheduler::stop))
        .routes(routes!(scheduler::cache_stats))
        .routes(routes!(analyze::symbol))
        .routes(routes!(analyze::batch))
        .routes(routes!(gainers::top))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
}

/// Whether errors of `path` are told in the envelope.
pub(super) fn is_below(path: &str) -> bool {
    path.strip_prefix(PREFIX)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A path below the prefix that names no call.
pub(super) fn unknown_path(request: &Request) -> Response {
    let path = request.uri().path();
    let msg = format!("there is nothing at {path}; see /openapi.json");
    Failure::new(StatusCode::NOT_FOUND, msg).into_response()
}

/// Nothing can be answered now.
pub(super) fn unavailable(why: &str) -> Response {
    Failure::unavailable(why.to_owned()).into_response()
}

/// A call with the wrong method; the allowed one is in the header `Allow`.
pub(super) fn wrong_method(request: &Request) -> Response {
    let msg = format!(
        "{} is not allowed here; see /openapi.json",
        request.method()
    );
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, msg).into_response()
}
