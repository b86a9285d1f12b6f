//! The envelope every answer of the compatible API comes in: `code` 1 and data, or `code` 0 and the reason.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::engine::OrderError;
use crate::http::problem::{Problem, SOON_S};

/// An answer.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::http) struct Envelope<T> {
    /// Always 1.
    #[schema(example = 1)]
    code: u8,
    /// Always `success`.
    #[schema(value_type = String, example = "success")]
    msg: &'static str,
    /// The answer itself.
    data: T,
}

/// What every call of the compatible API answers with.
pub(super) type Answer<T> = Result<Json<Envelope<T>>, Failure>;

impl<T> Envelope<T> {
    /// A success.
    pub(super) const fn of(data: T) -> Json<Self> {
        Json(Self {
            code: 1,
            msg: "success",
            data,
        })
    }
}

/// An error as the envelope says it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::http) struct FailureEnvelope {
    /// Always 0.
    #[schema(example = 0)]
    code: u8,
    /// What went wrong, with what, and what is allowed.
    msg: String,
    /// Always null.
    #[schema(value_type = Option<Object>)]
    data: (),
}

/// Why a call was refused, or could not be answered.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{msg}")]
pub(in crate::http) struct Failure {
    status: StatusCode,
    msg: String,
    /// Seconds in the header Retry-After.
    retry_after_s: Option<u16>,
}

impl Failure {
    /// A failure with its HTTP status.
    pub(super) const fn new(status: StatusCode, msg: String) -> Self {
        Self {
            status,
            msg,
            retry_after_s: None,
        }
    }

    /// 400: `msg` names what is wrong and what is allowed.
    pub(super) const fn bad_request(msg: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, msg)
    }

    /// 503: try again in a few seconds.
    pub(super) fn unavailable(msg: String) -> Self {
        Self {
            retry_after_s: Some(SOON_S),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, msg)
        }
    }
}

/// The own API's refusals, in the envelope.
impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let (status, msg, retry_after_s) = problem.into_parts();
        Self {
            status,
            msg,
            retry_after_s,
        }
    }
}

impl From<OrderError> for Failure {
    fn from(error: OrderError) -> Self {
        let status = match &error {
            OrderError::Unknown(_) => StatusCode::BAD_REQUEST,
            OrderError::NotWatched(_) => StatusCode::NOT_FOUND,
            OrderError::Disabled => StatusCode::CONFLICT,
            OrderError::Warming(_) | OrderError::Unreadable(_) | OrderError::Gone => {
                return Self::unavailable(error.to_string());
            }
        };
        Self::new(status, error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = FailureEnvelope {
            code: 0,
            msg: self.msg,
            data: (),
        };
        let mut response = (self.status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after_s {
            let seconds = HeaderValue::from(seconds);
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}
