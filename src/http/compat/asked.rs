//! What a POST says: a JSON object, read within limits of size and time, whose fields are taken strictly.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use bytes::Bytes;
use serde_json::{Map, Value};

use super::cache::Freshness;
use super::envelope::Failure;
use crate::http::admin::is_json;

/// From the head to the last byte of a body. hyper limits the head only; without this a client that sends a byte a
/// minute holds its connection for ever.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// The fields of a body.
pub(in crate::http) struct Asked(Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for Asked {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        if !is_json(request.headers()) {
            return Err(not_json());
        }
        fields(&body(request, state).await?).map(Self)
    }
}

/// As `Asked`; a call without a body has no fields.
pub(in crate::http) struct AskedOrNot(pub(super) Asked);

impl<S: Send + Sync> FromRequest<S> for AskedOrNot {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let json = is_json(request.headers());
        let body = body(request, state).await?;
        if body.trim_ascii().is_empty() {
            return Ok(Self(Asked(Map::new())));
        }
        if !json {
            return Err(not_json());
        }
        fields(&body).map(|fields| Self(Asked(fields)))
    }
}

fn not_json() -> Failure {
    let msg = "the body must be JSON, with Content-Type: application/json".to_owned();
    Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, msg)
}

async fn body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Failure> {
    tokio::time::timeout(BODY_WITHIN, Bytes::from_request(request, state))
        .await
        .map_err(|_| {
            let msg = format!("the body did not arrive within {BODY_WITHIN:?}");
            Failure::new(StatusCode::REQUEST_TIMEOUT, msg)
        })?
        .map_err(|unread| Failure::new(unread.status(), unread.body_text()))
}

fn fields(body: &[u8]) -> Result<Map<String, Value>, Failure> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Failure::bad_request(
            "the body must be a JSON object".to_owned(),
        )),
        Err(error) => Err(Failure::bad_request(format!(
            "the body is no JSON: {error}"
        ))),
    }
}

impl Asked {
    /// The field `symbol`: a text that is not empty, without the blanks around it.
    pub(super) fn symbol(&self) -> Result<&str, Failure> {
        let symbol = self.0.get("symbol").and_then(Value::as_str).map(str::trim);
        symbol.filter(|symbol| !symbol.is_empty()).ok_or_else(|| {
            Failure::bad_request("symbol is required: a text such as \"BTCUSDT\"".to_owned())
        })
    }

    /// The field `symbols`: 1 to `max` texts, doubles told once.
    pub(super) fn symbols(&self, max: usize) -> Result<BTreeSet<&str>, Failure> {
        let wrong = || {
            let msg =
                format!("symbols is required: a list of 1 to {max} texts such as \"BTCUSDT\"");
            Failure::bad_request(msg)
        };
        let list = self.0.get("symbols").and_then(Value::as_array);
        let list = list.filter(|list| (1..=max).contains(&list.len()));
        let names = list.ok_or_else(wrong)?.iter().map(Value::as_str);
        names.collect::<Option<_>>().ok_or_else(wrong)
    }

    /// As `symbols`, where the field may be left out.
    pub(super) fn symbols_or_not(&self, max: usize) -> Result<Option<BTreeSet<&str>>, Failure> {
        match self.0.get("symbols") {
            None | Some(Value::Null) => Ok(None),
            Some(_) => self.symbols(max).map(Some),
        }
    }

    /// The field `interval_minutes`, if it is there: a whole number in `range`.
    pub(super) fn interval_minutes(
        &self,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Failure> {
        let Some(value) = self
            .0
            .get("interval_minutes")
            .filter(|value| !value.is_null())
        else {
            return Ok(None);
        };
        let minutes = value.as_u64().filter(|minutes| range.contains(minutes));
        minutes.map(Some).ok_or_else(|| {
            let (least, most) = range.into_inner();
            Failure::bad_request(format!(
                "interval_minutes: {value}; allowed: a whole number from {least} to {most}"
            ))
        })
    }

    /// The field `force_refresh`; left out: false.
    pub(super) fn freshness(&self) -> Result<Freshness, Failure> {
        match self.0.get("force_refresh") {
            None | Some(Value::Null | Value::Bool(false)) => Ok(Freshness::CacheFirst),
            Some(Value::Bool(true)) => Ok(Freshness::Anew),
            Some(Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_)) => Err(
                Failure::bad_request("force_refresh: allowed: true, false".to_owned()),
            ),
        }
    }
}
