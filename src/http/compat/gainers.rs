//! `top-gainers`: the watched contracts by their change over 24 hours, each with its signal.

use axum::extract::State;
use serde::Serialize;

use super::envelope::{Answer, Envelope, FailureEnvelope};
use crate::engine::WatchedContract;
use crate::http::query::Params;
use crate::http::state::HttpState;
use crate::market::{SeriesKey, SeriesStatus, Symbol};
use crate::signal::{Recommendation, SignalResult, Trend};
use crate::store::Published;

const LIMIT_MAX: u64 = 100;
const LIMIT_WHEN_LEFT_OUT: u64 = 20;

/// The contracts that rose most.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::http) struct TopGainers {
    /// How many follow.
    count: usize,
    /// When it was computed, UTC.
    #[schema(example = "2026-01-10T06:55:13")]
    timestamp: String,
    /// Always `futures`.
    #[schema(value_type = String, example = "futures")]
    market: &'static str,
    /// The largest rise first; contracts without 24 h figures last.
    symbols: Vec<Gainer>,
}

/// A contract and its signal; missing values are null.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::http) struct Gainer {
    /// Contract.
    #[schema(value_type = String)]
    symbol: Symbol,
    /// What is traded.
    base_asset: String,
    /// What it is priced in.
    quote_asset: String,
    /// Last price seen, else the last close.
    price: Option<f64>,
    /// 24 h change of the price, percent.
    price_change_percent: Option<f64>,
    /// 24 h turnover in the quote asset.
    quote_volume: Option<f64>,
    /// State of the series; only a live one gives new signals.
    status: SeriesStatus,
    /// Confirmed recommendation.
    recommendation: Option<Recommendation>,
    /// 0.3 to 1.
    confidence: Option<f64>,
    /// By the recommendation.
    trend: Option<Trend>,
    /// Distance of the HAMA close from its average, percent.
    deviation_pct: Option<f64>,
}

/// Contracts by their change over 24 hours
#[utoipa::path(
    get, path = "/api/gainer-analysis/top-gainers", tag = "compatible",
    params(
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 100, description = "at most so many; default 20"),
    ),
    responses(
        (status = 200, body = Envelope<TopGainers>, description = "the contracts"),
        (status = 400, body = FailureEnvelope, description = "a limit that is not allowed"),
    )
)]
pub(in crate::http) async fn top(
    State(state): State<HttpState>,
    params: Params,
) -> Answer<TopGainers> {
    let limit = params.number("limit", 1..=LIMIT_MAX, LIMIT_WHEN_LEFT_OUT)?;
    let universe = state.engine.universe();
    let mut contracts: Vec<_> = universe.contracts.iter().collect();
    // Stable, and the list is by symbol: equal changes stay in that order.
    contracts.sort_by(|one, other| change_of(other).total_cmp(&change_of(one)));
    contracts.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let published = state.store.published();
    let symbols: Vec<_> = contracts
        .into_iter()
        .map(|contract| Gainer::of(contract, result_of(contract, &state, &published)))
        .collect();
    Ok(Envelope::of(TopGainers {
        count: symbols.len(),
        timestamp: state.engine.clock().now().iso_seconds(),
        market: "futures",
        symbols,
    }))
}

fn change_of(contract: &WatchedContract) -> f64 {
    contract.change_pct_24h.unwrap_or(f64::NEG_INFINITY)
}

fn result_of<'a>(
    contract: &WatchedContract,
    state: &HttpState,
    published: &'a Published,
) -> Option<&'a SignalResult> {
    let primary = *state.settings.intervals.first()?;
    let key = SeriesKey::new(contract.symbol.clone(), primary);
    published.results.get(&key).map(AsRef::as_ref)
}

impl Gainer {
    fn of(contract: &WatchedContract, result: Option<&SignalResult>) -> Self {
        let live_price = |result: &SignalResult| result.live.map(|live| live.price);
        Self {
            symbol: contract.symbol.clone(),
            base_asset: contract.base_asset.clone(),
            quote_asset: contract.quote_asset.clone(),
            price: result.and_then(|result| live_price(result).or(result.price)),
            price_change_percent: contract.change_pct_24h,
            quote_volume: contract.quote_volume_24h,
            status: result.map_or(SeriesStatus::Warming, |result| result.status),
            recommendation: result.and_then(|result| result.recommendation),
            confidence: result.and_then(|result| result.confidence),
            trend: result.and_then(|result| result.recommendation.map(Trend::of)),
            deviation_pct: result.and_then(|result| result.deviation_pct),
        }
    }
}
