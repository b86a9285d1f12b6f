//! Current results, all of one published state, so that a client goes on over WebSocket from their cursor.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::http::asker::AskedBy;
use crate::http::problem::Problem;
use crate::http::query::{Params, PathText};
use crate::http::state::HttpState;
use crate::hub::Asker;
use crate::market::{Interval, SeriesKey, SeriesStatus, Symbol, TimeMs};
use crate::signal::{Epoch, Recommendation, Seq, SignalResult};
use crate::store::Published;

/// Results of one moment and the cursor to go on from.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::http) struct SignalsAnswer {
    /// The numbering the results belong to.
    #[schema(value_type = String)]
    epoch: Epoch,
    /// Number of the newest change these results show: the `since` to go on from, with `epoch`.
    #[schema(value_type = u64)]
    seq: Seq,
    /// The exchange's time at the answer.
    #[schema(value_type = i64)]
    server_time: TimeMs,
    /// The results that match, by interval and symbol.
    #[schema(value_type = Vec<SignalResult>)]
    signals: Vec<Arc<SignalResult>>,
}

/// Whether the provisional part is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    Full,
    Confirmed,
}

/// Which results are asked for; an empty list matches everything.
struct Wanted {
    intervals: Vec<Interval>,
    symbols: Vec<Symbol>,
    recommendations: Vec<Recommendation>,
    statuses: Vec<SeriesStatus>,
    view: View,
}

/// Current results
///
/// The current result of every series that matches. `epoch` and `seq` come from the same published state as the
/// results, so that a client goes on over WebSocket with `since` and without a gap. Contracts in `symbols` that trade and
/// are not watched are watched from then on; the call waits for their first result.
#[utoipa::path(
    get, path = "/api/v1/signals", tag = "signals",
    params(
        ("interval" = Option<String>, Query, description = "watched intervals, comma separated, or `all`; left out: the primary one", example = "15m,1h"),
        ("recommendation" = Option<String>, Query, description = "BUY, SELL, HOLD, comma separated", example = "BUY,SELL"),
        ("symbols" = Option<String>, Query, description = "at most 200 contracts, comma separated, in any ASCII case", example = "BTCUSDT,ETHUSDT"),
        ("status" = Option<String>, Query, description = "live, warming, stale, dirty, ended, stopped, comma separated", example = "live"),
        ("view" = Option<String>, Query, description = "`full` (default), or `confirmed`: `live` is null, and the ETag stays while nothing confirmed changes", example = "confirmed"),
        ("If-None-Match" = Option<String>, Header, description = "with `view=confirmed`: the ETag of an earlier answer"),
    ),
    responses(
        (status = 200, body = SignalsAnswer, description = "the results"),
        (status = 304, description = "nothing confirmed changed since the ETag sent"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "a value that is not allowed, and what is"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "a symbol that does not trade"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "more contracts that nobody watches yet than one address may ask for in an hour"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "without a first result yet; or as many are watched as may be"),
    )
)]
pub(in crate::http) async fn list(
    State(state): State<HttpState>,
    AskedBy(asker): AskedBy,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Problem> {
    let wanted = Wanted::read(&params, &state, asker).await?;
    let published = state.store.published();
    let signals = wanted.pick(&published);
    let tag = (wanted.view == View::Confirmed).then(|| confirmed_tag(&published.epoch, &signals));
    let answer = SignalsAnswer {
        epoch: published.epoch.clone(),
        seq: published.seq,
        server_time: state.engine.clock().now(),
        signals,
    };
    Ok(tagged(tag, &headers, answer))
}

/// One current result
///
/// A contract that trades and is not watched is watched from then on; the call waits for its first result.
#[utoipa::path(
    get, path = "/api/v1/signals/{symbol}", tag = "signals",
    params(
        ("symbol" = String, Path, description = "contract, in any ASCII case", example = "BTCUSDT"),
        ("interval" = Option<String>, Query, description = "a watched interval; left out: the primary one", example = "15m"),
    ),
    responses(
        (status = 200, body = SignalResult, description = "the result"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "a value that is not allowed, and what is"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "a symbol that does not trade"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "more contracts that nobody watches yet than one address may ask for in an hour"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "watched, but without a first result yet; or as many are watched as may be"),
    )
)]
pub(in crate::http) async fn one(
    State(state): State<HttpState>,
    AskedBy(asker): AskedBy,
    PathText(symbol): PathText,
    params: Params,
) -> Result<Json<Arc<SignalResult>>, Problem> {
    let interval = params.interval(&state)?;
    let symbol = state.contract(&symbol, interval, asker).await?;
    let key = SeriesKey::new(symbol, interval);
    let result = state.store.published().results.get(&key).cloned();
    result.map(Json).ok_or_else(|| {
        let detail = format!("{key} is watched, but has no result yet; try again in a few seconds");
        Problem::unavailable("no-result-yet", detail)
    })
}

impl Wanted {
    async fn read(params: &Params, state: &HttpState, asker: Asker) -> Result<Self, Problem> {
        let recommendations = [
            Recommendation::Buy,
            Recommendation::Sell,
            Recommendation::Hold,
        ]
        .map(|recommendation| (recommendation.word(), recommendation));
        let statuses = SeriesStatus::ALL.map(|status| (status.word(), status));
        let views = [("full", View::Full), ("confirmed", View::Confirmed)];
        params.one("view")?;
        let mut wanted = Self {
            intervals: params.intervals(state)?,
            recommendations: params.words("recommendation", &recommendations)?,
            statuses: params.words("status", &statuses)?,
            view: *params.words("view", &views)?.last().unwrap_or(&View::Full),
            symbols: Vec::new(),
        };
        // Last: what is wrong about a call must not make the engine watch anything.
        let names = params.list("symbols");
        wanted.symbols = state.contracts(&names, &wanted.intervals, asker).await?;
        Ok(wanted)
    }

    fn pick(&self, published: &Published) -> Vec<Arc<SignalResult>> {
        let matching = published
            .results
            .values()
            .filter(|result| self.matches(result));
        match self.view {
            View::Full => matching.cloned().collect(),
            View::Confirmed => matching.map(without_live).collect(),
        }
    }

    fn matches(&self, result: &SignalResult) -> bool {
        let any_or = |empty: bool, hit: bool| empty || hit;
        self.intervals.contains(&result.interval)
            && any_or(
                self.symbols.is_empty(),
                self.symbols.contains(&result.symbol),
            )
            && any_or(
                self.statuses.is_empty(),
                self.statuses.contains(&result.status),
            )
            && (self.recommendations.is_empty()
                || result
                    .recommendation
                    .is_some_and(|word| self.recommendations.contains(&word)))
    }
}

fn without_live(result: &Arc<SignalResult>) -> Arc<SignalResult> {
    Arc::new(SignalResult {
        live: None,
        ..result.as_ref().clone()
    })
}

/// The answer with its tag; 304 without a body when the client has it already.
fn tagged(tag: Option<String>, headers: &HeaderMap, answer: SignalsAnswer) -> Response {
    let Some(tag) = tag else {
        return Json(answer).into_response();
    };
    let sent = headers.get_all(header::IF_NONE_MATCH);
    let known = sent
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .any(|one| one.trim() == tag || one.trim() == "*");
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Json(answer).into_response()
    };
    // A browser may keep this answer, provided that it asks again each time.
    let kept = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::VARY, HeaderValue::from_static("accept-encoding")),
    ];
    response.headers_mut().extend(kept);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// A weak tag of everything confirmed. The cursor, the time and `event_time` are left out: they move with every update
/// of an open candle, and an older cursor with the same results is as good to go on from.
fn confirmed_tag(epoch: &Epoch, signals: &[Arc<SignalResult>]) -> String {
    let mut hasher = DefaultHasher::new();
    epoch.hash(&mut hasher);
    for result in signals {
        (&result.symbol, result.interval, result.status).hash(&mut hasher);
        (result.recommendation, result.candle_close_time).hash(&mut hasher);
        (result.change_seq, result.changed_at, result.holes).hash(&mut hasher);
        (result.last_cross_direction, result.last_cross_time).hash(&mut hasher);
        result
            .history
            .map(|history| history as u8)
            .hash(&mut hasher);
        let values = [
            result.price,
            result.hama_open,
            result.hama_high,
            result.hama_low,
            result.hama_close,
            result.ma,
            result.bollinger.map(|bands| bands.upper),
        ];
        values
            .map(|value| value.map(f64::to_bits))
            .hash(&mut hasher);
    }
    format!("W/\"{:016x}\"", hasher.finish())
}
