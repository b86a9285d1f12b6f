//! The OpenAPI document, made from the handlers. It is committed as `docs/openapi.json`; a test compares the two.

use axum::Router;
use axum::http::header;
use axum::routing::get;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::state::HttpState;
use super::{compat, health, v1};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "hamacast",
        description = "HAMA signals of crypto perpetuals. Times are Unix milliseconds (UTC), prices JSON numbers, missing values null; errors are RFC 9457 problem documents. Live changes come over the WebSocket feed at `/stream`.",
    ),
    tags(
        (name = "signals", description = "results and changes"),
        (name = "market", description = "what is watched, and its candles"),
        (name = "operations", description = "state and health"),
        (name = "compatible", description = "for clients of the service this one replaces: its paths, fields and envelope; times are UTC without a suffix"),
    )
)]
struct Described;

/// The routes the document describes, and the document.
pub(super) fn routes() -> (Router<HttpState>, Document) {
    OpenApiRouter::with_openapi(Described::openapi())
        .routes(routes!(v1::signals::list))
        .routes(routes!(v1::signals::one))
        .routes(routes!(v1::changes::list))
        .routes(routes!(v1::candles::chart))
        .routes(routes!(v1::symbols::list))
        .routes(routes!(v1::status::show))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .merge(compat::routes())
        .split_for_parts()
}

/// What an engine on its own answers: health and status.
pub(super) fn engine_routes() -> Router<HttpState> {
    let (routes, _document) = OpenApiRouter::<HttpState>::new()
        .routes(routes!(v1::status::show))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .split_for_parts();
    routes
}

/// `/openapi.json`.
pub(super) fn document_route(document: &Document) -> Router<HttpState> {
    let text: bytes::Bytes = text_of(document).into();
    let json = [(header::CONTENT_TYPE, "application/json")];
    Router::new().route("/openapi.json", get(move || async move { (json, text) }))
}

/// The document as `docs/openapi.json` holds it.
pub fn openapi_json() -> String {
    text_of(&routes().1)
}

/// A document that cannot be written is an empty one: the test that compares it with the committed one says so.
fn text_of(document: &Document) -> String {
    let mut text = document.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}
