//! The candles of one series with their HAMA values: what a chart draws. The one answer the engine is asked for.

use axum::Json;
use axum::extract::State;

use crate::engine::Chart;
use crate::http::asker::AskedBy;
use crate::http::problem::Problem;
use crate::http::query::{Params, PathText};
use crate::http::state::HttpState;
use crate::market::SeriesKey;

const LIMIT_MAX: u64 = 1_500;
const LIMIT_WHEN_LEFT_OUT: u64 = 500;

/// Candles of a series
///
/// Up to 1,500 candles, oldest first, with their HAMA series and the changes on them. Only the last may be open. A contract
/// that trades and is not watched is watched from then on; the call waits for its first result.
#[utoipa::path(
    get, path = "/api/v1/candles/{symbol}", tag = "market",
    params(
        ("symbol" = String, Path, description = "contract, in any ASCII case", example = "BTCUSDT"),
        ("interval" = Option<String>, Query, description = "a watched interval; left out: the primary one", example = "15m"),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 1500, description = "at most so many candles; default 500"),
    ),
    responses(
        (status = 200, body = Chart, description = "the candles"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "a value that is not allowed, and what is"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "a symbol that does not trade"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "more contracts that nobody watches yet than one address may ask for in an hour"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "the engine did not answer; or no result yet of a contract that was not watched; or as many are watched as may be"),
    )
)]
pub(in crate::http) async fn chart(
    State(state): State<HttpState>,
    AskedBy(asker): AskedBy,
    PathText(symbol): PathText,
    params: Params,
) -> Result<Json<Chart>, Problem> {
    let interval = params.interval(&state)?;
    let limit = params.number("limit", 1..=LIMIT_MAX, LIMIT_WHEN_LEFT_OUT)?;
    let symbol = state.contract(&symbol, interval, asker).await?;
    let key = SeriesKey::new(symbol, interval);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let chart = state
        .engine
        .chart(key.clone(), limit)
        .await
        .map_err(|gone| Problem::unavailable("engine-busy", gone.to_string()))?;
    chart.map(Json).ok_or_else(|| {
        let detail = format!("no candles of {key} are kept; see /api/v1/symbols");
        Problem::not_found("unknown-symbol", detail)
    })
}
