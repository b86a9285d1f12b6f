//! Everything the program says over HTTP: REST (`v1`, and `compat` for clients of the service it replaces), health, the
//! API document, the page, and the door to the hub. Answers come from the published state; only charts, analyses of the
//! compatible API and orders (`admin`: who may give them) cost the engine anything. Every error is a problem document,
//! in `compat` its envelope. Sockets are handed to the hub as they are; what is said on them is the hub's.

mod admin;
mod asker;
mod compat;
mod document;
mod health;
mod page;
mod patient;
mod problem;
mod query;
mod serve;
mod socket;
mod state;
mod v1;
mod wanted;

pub use admin::AdminToken;
pub use asker::TrustedProxies;
pub use compat::CompatCache;
pub use document::openapi_json;
pub use serve::serve;
pub use state::{HttpSettings, HttpState, Limits, RedisNeed};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tower_http::compression::CompressionLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::set_header::SetResponseHeaderLayer;

use problem::Problem;

/// Every route of the program over one state.
pub fn router(state: HttpState) -> Router {
    let (api, document) = document::routes();
    let routes = api
        .route_layer(middleware::from_fn_with_state(state.clone(), readable))
        .merge(document::document_route(&document))
        .layer(not_stored())
        .merge(page::routes())
        .merge(socket::routes());
    dressed(routes, state)
}

/// The routes of an engine on its own: health and status, nothing else.
pub fn engine_router(state: HttpState) -> Router {
    dressed(document::engine_routes().layer(not_stored()), state)
}

fn not_stored() -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::if_not_present(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-store"),
    )
}

/// What all answers have in common.
fn dressed(routes: Router<HttpState>, state: HttpState) -> Router {
    let cors = cors(&state.settings.allowed_origins);
    routes
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .with_state(state)
        .layer(SetResponseHeaderLayer::if_not_present(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ))
        .layer(CompressionLayer::new().gzip(true))
        .layer(cors)
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
}

/// Before the log was read there is nothing to answer from: an empty answer would look like a calm market.
async fn readable(State(state): State<HttpState>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let told_anyway = !path.starts_with("/api/") || path == "/api/v1/status";
    if told_anyway || state.store.is_readable() {
        return next.run(request).await;
    }
    let detail = "waiting for redis: the log has not been read yet";
    if compat::is_below(path) {
        return compat::unavailable(detail);
    }
    Problem::unavailable("waiting-for-redis", detail.to_owned()).into_response()
}

async fn unknown_path(request: Request) -> Response {
    if compat::is_below(request.uri().path()) {
        return compat::unknown_path(&request);
    }
    Problem::not_found(
        "unknown-path",
        format!(
            "there is nothing at {}; see /openapi.json",
            request.uri().path()
        ),
    )
    .into_response()
}

async fn wrong_method(request: Request) -> Response {
    if compat::is_below(request.uri().path()) {
        return compat::wrong_method(&request);
    }
    Problem::wrong_method(request.method()).into_response()
}

/// Other sites' pages may read only when the operator named them; our own page needs no leave.
fn cors(allowed: &[String]) -> CorsLayer {
    let origins = if allowed.iter().any(|origin| origin == state::ANY_ORIGIN) {
        AllowOrigin::any()
    } else {
        let named = allowed.iter();
        AllowOrigin::list(named.filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::HEAD, Method::POST])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_NONE_MATCH,
            HeaderName::from_static("x-api-key"),
            HeaderName::from_static("x-request-id"),
        ])
        .expose_headers([header::ETAG, HeaderName::from_static("x-request-id")])
}
