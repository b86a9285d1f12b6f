//! `analyze-symbol` and `analyze-batch`: the analysis of a contract, from the cache or from its candles.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};

use super::asked::Asked;
use super::cache::{Freshness, Lookup, Served};
use super::envelope::{Answer, Envelope, Failure, FailureEnvelope};
use super::found::{self, StoredAnalysis};
use crate::clock::Mono;
use crate::engine::{Chart, OrderError};
use crate::http::asker::AskedBy;
use crate::http::state::HttpState;
use crate::hub::Asker;
use crate::market::{Candle, Interval, SeriesKey, Symbol, TimeMs};
use crate::signal::{CacheSource, GainerAnalysis, SignalResult, Technical};
use crate::store::Store;

/// As many candles as the engine keeps of a series: the averages must not depend on where they were begun.
const CANDLES: usize = 1_500;
/// Contracts of one batch.
const BATCH_MAX: usize = 200;
/// Contracts of one batch computed at a time: the engine answers others in between.
const BATCH_AT_A_TIME: usize = 8;
/// Longest a batch may take; what is not there by then is told as failed.
const BATCH_WITHIN_MS: u64 = 10_000;

/// Which contract to analyse.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[allow(dead_code, reason = "it only describes; fields are read one by one")]
pub(in crate::http) struct SymbolAsked {
    /// Contract, in any ASCII case.
    #[schema(example = "BTCUSDT")]
    symbol: String,
    /// Read the candles anew.
    #[serde(default)]
    force_refresh: bool,
}

/// Which contracts to analyse.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[allow(dead_code, reason = "it only describes; fields are read one by one")]
pub(in crate::http) struct BatchAsked {
    /// Contracts, in any ASCII case.
    #[schema(min_items = 1, max_items = 200)]
    symbols: Vec<String>,
    /// Read the candles anew.
    #[serde(default)]
    force_refresh: bool,
}

/// An analysis, computed here or carried on as the active engine wrote it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(in crate::http) enum Analysed {
    /// Computed by this process.
    Here(Box<GainerAnalysis>),
    /// Found in Redis.
    InRedis(Box<StoredAnalysis>),
}

impl Analysed {
    fn is_cached(&self) -> bool {
        match self {
            Self::Here(analysis) => analysis.cached,
            Self::InRedis(_) => true,
        }
    }
}

/// The analyses of a batch.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::http) struct BatchAnswer {
    /// By contract, as it was written in the call.
    results: BTreeMap<String, BatchEntry>,
    /// How it went.
    summary: BatchSummary,
}

/// One contract of a batch.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub(in crate::http) enum BatchEntry {
    /// Its analysis.
    #[schema(value_type = GainerAnalysis)]
    Analysed(Analysed),
    /// Why there is none.
    Failed {
        /// The reason.
        error: String,
    },
}

/// How a batch went.
#[derive(Debug, Default, Serialize, utoipa::ToSchema)]
pub(in crate::http) struct BatchSummary {
    /// Contracts asked for, doubles counted once.
    total: usize,
    /// Analysed.
    success: usize,
    /// Not analysed.
    failed: usize,
    /// Analysed, and from the cache.
    cached: usize,
}

/// Analysis of one contract
///
/// From the cache while it is younger than `HAMA_CACHE_TTL` and no newer candle has closed, else computed. A
/// contract that trades and is not watched is watched from then on; the call waits for its first result.
#[utoipa::path(
    post, path = "/api/gainer-analysis/analyze-symbol", tag = "compatible",
    request_body = SymbolAsked,
    responses(
        (status = 200, body = Envelope<GainerAnalysis>, description = "the analysis"),
        (status = 400, body = FailureEnvelope, description = "no JSON object, or no symbol in it"),
        (status = 404, body = FailureEnvelope, description = "a symbol that does not trade"),
        (status = 413, body = FailureEnvelope, description = "a body above 64 KiB"),
        (status = 415, body = FailureEnvelope, description = "a Content-Type other than application/json"),
        (status = 429, body = FailureEnvelope, description = "more contracts that nobody watches yet than one address may ask for in an hour"),
        (status = 503, body = FailureEnvelope, description = "no result yet, the engine did not answer, or as many are watched as may be"),
    )
)]
pub(in crate::http) async fn symbol(
    State(state): State<HttpState>,
    AskedBy(asker): AskedBy,
    asked: Asked,
) -> Answer<Analysed> {
    let freshness = asked.freshness()?;
    let analysis = analysis_of(&state, asked.symbol()?, freshness, asker).await?;
    Ok(Envelope::of(analysis))
}

/// Analysis of several contracts
#[utoipa::path(
    post, path = "/api/gainer-analysis/analyze-batch", tag = "compatible",
    request_body = BatchAsked,
    responses(
        (status = 200, body = Envelope<BatchAnswer>, description = "an analysis or an error for each"),
        (status = 400, body = FailureEnvelope, description = "no JSON object, or not 1 to 200 symbols in it"),
        (status = 413, body = FailureEnvelope, description = "a body above 64 KiB"),
        (status = 415, body = FailureEnvelope, description = "a Content-Type other than application/json"),
    )
)]
pub(in crate::http) async fn batch(
    State(state): State<HttpState>,
    AskedBy(asker): AskedBy,
    asked: Asked,
) -> Answer<BatchAnswer> {
    let freshness = asked.freshness()?;
    let names = asked.symbols(BATCH_MAX)?;
    let began = Mono::now();
    state.want_ahead(&names, primary(&state)?, asker);
    let one = async |name: &str| {
        let left_ms = BATCH_WITHIN_MS.saturating_sub(Mono::now().ms_since(began));
        let analysis = analysis_of(&state, name, freshness, asker);
        let analysis = tokio::time::timeout(Duration::from_millis(left_ms), analysis).await;
        let analysis = analysis.unwrap_or_else(|_| Err(OrderError::Gone.into()));
        (name.to_owned(), BatchEntry::of(analysis))
    };
    let results: BTreeMap<_, _> = futures::stream::iter(names)
        .map(one)
        .buffer_unordered(BATCH_AT_A_TIME)
        .collect()
        .await;
    let summary = BatchSummary::of(&results);
    Ok(Envelope::of(BatchAnswer { results, summary }))
}

impl BatchEntry {
    fn of(analysis: Result<Analysed, Failure>) -> Self {
        match analysis {
            Ok(analysis) => Self::Analysed(analysis),
            Err(failure) => Self::Failed {
                error: failure.to_string(),
            },
        }
    }
}

impl BatchSummary {
    fn of(results: &BTreeMap<String, BatchEntry>) -> Self {
        let mut summary = Self::default();
        for entry in results.values() {
            summary.total += 1;
            match entry {
                BatchEntry::Analysed(analysis) => {
                    summary.success += 1;
                    summary.cached += usize::from(analysis.is_cached());
                }
                BatchEntry::Failed { .. } => summary.failed += 1,
            }
        }
        summary
    }
}

async fn analysis_of(
    state: &HttpState,
    name: &str,
    freshness: Freshness,
    asker: Asker,
) -> Result<Analysed, Failure> {
    let interval = primary(state)?;
    let symbol = state.contract(name.trim(), interval, asker).await?;
    if freshness == Freshness::CacheFirst
        && let Some(stored) = found::in_redis(state, &symbol).await
    {
        state.compat.count_hit();
        return Ok(Analysed::InRedis(Box::new(stored)));
    }
    let lookup = Lookup {
        symbol: &symbol,
        freshness,
        ttl_ms: state.settings.cache_ttl_secs.saturating_mul(1_000),
    };
    let key = SeriesKey::new(symbol.clone(), interval);
    let holds = |cached: &GainerAnalysis| {
        published(state, &key).is_ok_and(|now| says_the_same(&cached.v1, &now))
    };
    let served = state
        .compat
        .get(lookup, holds, compute(state, &key, freshness))
        .await?;
    Ok(Analysed::Here(Box::new(match served {
        Served::Cached(analysis) => analysis.found_in(CacheSource::Memory),
        Served::Computed(analysis) => Arc::unwrap_or_clone(analysis),
    })))
}

/// The interval the compatible API knows.
fn primary(state: &HttpState) -> Result<Interval, Failure> {
    let first = state.settings.intervals.first().copied();
    first.ok_or_else(|| Failure::unavailable("no interval is watched".to_owned()))
}

/// The result as published now.
fn published(state: &HttpState, key: &SeriesKey) -> Result<Arc<SignalResult>, Failure> {
    let result = state.store.published().results.get(key).cloned();
    result.ok_or_else(|| {
        let msg = format!("{key} is watched, but has no result yet; try again in a few seconds");
        Failure::unavailable(msg)
    })
}

/// Whether all that is confirmed is the same: no candle has closed, none was revised, the status still holds.
fn says_the_same(cached: &SignalResult, now: &SignalResult) -> bool {
    let confirmed = |result: &SignalResult| SignalResult {
        live: None,
        event_time: TimeMs::default(),
        ..result.clone()
    };
    confirmed(cached) == confirmed(now)
}

async fn compute(
    state: &HttpState,
    key: &SeriesKey,
    freshness: Freshness,
) -> Result<GainerAnalysis, Failure> {
    match (freshness, &state.store) {
        (Freshness::Anew, _) => state.engine.refresh(key.clone()).await?,
        // What is read anew the engine writes into the cache as well. Where it cannot, what it has is as good.
        (Freshness::CacheFirst, Store::Redis(_)) => {
            let _ = state.engine.refresh(key.clone()).await;
        }
        (Freshness::CacheFirst, Store::Memory(_)) => {}
    }
    let before = published(state, key)?;
    let chart = state.engine.chart(key.clone(), CANDLES).await?;
    let chart = chart.ok_or_else(|| no_candles(&key.symbol))?;
    let after = published(state, key)?;
    // The chart may be ahead of the published result, or behind the next one: figures and result must be of one candle.
    let fitting = [after, before].into_iter().find_map(|result| {
        let candles = candles_until(&chart, &result)?;
        Some((result, candles))
    });
    let (result, candles) = fitting.ok_or_else(|| {
        Failure::unavailable(format!(
            "{key} is being read anew; try again in a few seconds"
        ))
    })?;
    let technical = Technical::of(&candles);
    Ok(GainerAnalysis::of(
        result,
        &technical,
        state.engine.clock().now(),
    ))
}

fn no_candles(symbol: &Symbol) -> Failure {
    let msg = format!("no candles of {symbol} are kept; see /api/v1/symbols");
    Failure::new(StatusCode::NOT_FOUND, msg)
}

/// The closed candles up to the one `result` is of; none when the chart does not have that one.
fn candles_until(chart: &Chart, result: &SignalResult) -> Option<Vec<Candle>> {
    let Some(last) = result.candle_open_time else {
        return Some(Vec::new()); // nothing has closed yet: there is nothing to compute from
    };
    let rows = chart.candles.iter().filter(|row| row.closed);
    let candles: Vec<_> = rows
        .take_while(|row| row.open_time <= last)
        .map(|row| Candle {
            open_time: row.open_time,
            open: row.open,
            high: row.high,
            low: row.low,
            close: row.close,
            volume: row.volume,
        })
        .collect();
    let reaches = candles
        .last()
        .is_some_and(|candle| candle.open_time == last);
    reaches.then_some(candles)
}
