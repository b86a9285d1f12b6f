//! Errors as RFC 9457 problem documents: what went wrong, with what, and what is allowed instead.

use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::signal::{Epoch, Seq};

/// What is not there now may be in so many seconds.
pub(super) const SOON_S: u16 = 5;

/// A problem document. Its `type` is `urn:hamacast:problem:<slug>`; the slug is what programs match on.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Problem {
    /// What kind of problem: a URN that ends in its slug.
    #[serde(rename = "type")]
    kind: String,
    /// The HTTP status in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What was wrong, and what is allowed.
    detail: String,
    /// Only with status 410: the numbering in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    epoch: Option<Epoch>,
    /// Only with status 410: number of the newest change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    seq: Option<Seq>,
    /// Only with status 410: oldest number still kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    kept_from: Option<Seq>,
    /// Seconds in the header Retry-After.
    #[serde(skip)]
    retry_after_s: Option<u16>,
}

impl Problem {
    fn new(status: StatusCode, slug: &str, detail: String) -> Self {
        Self {
            kind: format!("urn:hamacast:problem:{slug}"),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail,
            epoch: None,
            seq: None,
            kept_from: None,
            retry_after_s: None,
        }
    }

    /// The status, the words and the header Retry-After, for an API whose errors have another form.
    pub(super) fn into_parts(self) -> (StatusCode, String, Option<u16>) {
        (status_of(self.status), self.detail, self.retry_after_s)
    }

    /// 400: `detail` names the parameter, its value and what is allowed.
    pub(super) fn bad_request(slug: &str, detail: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, slug, detail)
    }

    /// 401: a bearer is wanted and there is none.
    pub(super) fn unauthorized(detail: String) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "no-token", detail)
    }

    /// 403.
    pub(super) fn forbidden(detail: String) -> Self {
        Self::new(StatusCode::FORBIDDEN, "not-allowed", detail)
    }

    /// 404.
    pub(super) fn not_found(slug: &str, detail: String) -> Self {
        Self::new(StatusCode::NOT_FOUND, slug, detail)
    }

    /// 405.
    pub(super) fn wrong_method(method: &Method) -> Self {
        let detail = format!("{method} is not allowed here; allowed: GET, HEAD");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", detail)
    }

    /// 410: the changes asked for are not there; the reader goes on from `seq` of `epoch`.
    pub(super) fn gone(detail: String, epoch: &Epoch, seq: Seq, kept_from: Seq) -> Self {
        Self {
            epoch: Some(epoch.clone()),
            seq: Some(seq),
            kept_from: Some(kept_from),
            ..Self::new(StatusCode::GONE, "gone", detail)
        }
    }

    /// 429: try again after so many seconds.
    pub(super) fn too_many(slug: &str, detail: String, retry_after_s: u64) -> Self {
        Self {
            retry_after_s: Some(u16::try_from(retry_after_s).unwrap_or(u16::MAX)),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, slug, detail)
        }
    }

    /// 503: try again in a few seconds.
    pub(super) fn unavailable(slug: &str, detail: String) -> Self {
        Self::unavailable_for(slug, detail, SOON_S.into())
    }

    /// 503: try again after so many seconds.
    pub(super) fn unavailable_for(slug: &str, detail: String, retry_after_s: u64) -> Self {
        Self {
            retry_after_s: Some(u16::try_from(retry_after_s).unwrap_or(u16::MAX)),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, slug, detail)
        }
    }

    /// 426: only a WebSocket of version 13 is spoken here.
    pub(super) fn upgrade_required(detail: String) -> Self {
        Self::new(StatusCode::UPGRADE_REQUIRED, "websocket-only", detail)
    }
}

fn status_of(number: u16) -> StatusCode {
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// What goes into the header beside the document.
fn headers_beside(status: StatusCode) -> &'static [(HeaderName, &'static str)] {
    match status {
        StatusCode::UNAUTHORIZED => &[(header::WWW_AUTHENTICATE, "Bearer")],
        StatusCode::METHOD_NOT_ALLOWED => &[(header::ALLOW, "GET,HEAD")],
        StatusCode::UPGRADE_REQUIRED => &[
            (header::UPGRADE, "websocket"),
            (header::SEC_WEBSOCKET_VERSION, "13"),
        ],
        _ => &[],
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = status_of(self.status);
        let retry_after = self.retry_after_s.map(HeaderValue::from);
        let mut response = (status, axum::Json(self)).into_response();
        let kind = (header::CONTENT_TYPE, "application/problem+json");
        for (name, value) in headers_beside(status).iter().chain([&kind]) {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(name.clone(), value);
        }
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}
