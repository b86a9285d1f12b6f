//! `scheduler/...` and `cache-stats`: how the service runs, starting and stopping it, and what its cache holds.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use serde::{Deserialize, Serialize};

use super::asked::AskedOrNot;
use super::envelope::{Answer, Envelope, Failure, FailureEnvelope};
use super::found::cache_view;
use crate::engine::{OrderError, StartOrder, SweepFigures};
use crate::http::admin;
use crate::http::state::HttpState;
use crate::market::{Symbol, TimeMs};
use crate::signal::{CacheSource, FeedState};
use crate::store::Store;

/// How long an order's effect may take to be seen here.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// Minutes between two sweeps: from one to a day.
const MINUTES: RangeInclusive<u64> = 1..=1_440;

/// The caller may change something.
pub(in crate::http) struct Operator;

impl FromRequestParts<HttpState> for Operator {
    type Rejection = Failure;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &HttpState,
    ) -> Result<Self, Self::Rejection> {
        admin::may_change(parts, state.settings.admin_token.as_ref())?;
        Ok(Self)
    }
}

/// How to start.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[allow(dead_code, reason = "it only describes; fields are read one by one")]
pub(in crate::http) struct StartAsked {
    /// Watch exactly these from now on; left out: the configured ones.
    symbols: Option<Vec<String>>,
    /// Minutes between full sweeps; left out: as before.
    #[schema(minimum = 1, maximum = 1440)]
    interval_minutes: Option<u64>,
}

/// It works.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::http) struct StartAnswer {
    /// Always `started`.
    #[schema(value_type = String, example = "started")]
    status: &'static str,
    /// Watched contracts.
    symbols_count: usize,
    /// Minutes between full sweeps.
    interval_minutes: u64,
    /// The cache in short.
    cache_stats: CacheSummary,
}

/// It is quiet.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::http) struct StopAnswer {
    /// Always `stopped`.
    #[schema(value_type = String, example = "stopped")]
    status: &'static str,
}

/// The full sweeps: every result written again, its candles checked.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::http) struct SweepState {
    /// Contracts the present sweep has done; null between two.
    done: Option<usize>,
    /// Contracts of the present sweep; null between two.
    total: Option<usize>,
    /// How long the last one took; null before the first has ended.
    last_duration_seconds: Option<f64>,
    /// Contracts of the last one that were read and are live.
    succeeded: Option<usize>,
    /// The others of the last one.
    failed: Option<usize>,
    /// When the last one ended, UTC.
    #[schema(example = "2026-01-10T06:55:13")]
    last: Option<String>,
    /// When the next one begins, UTC; null while stopped.
    #[schema(example = "2026-01-10T07:00:12")]
    next: Option<String>,
}

impl SweepState {
    fn of(figures: SweepFigures) -> Self {
        let SweepFigures {
            progress,
            last,
            next_at,
        } = figures;
        Self {
            done: progress.map(|progress| progress.done),
            total: progress.map(|progress| progress.total),
            last_duration_seconds: last.map(|last| last.duration_ms as f64 / 1_000.0),
            succeeded: last.map(|last| last.ok),
            failed: last.map(|last| last.failed),
            last: last.map(|last| last.ended_at.iso_seconds()),
            next: next_at.map(TimeMs::iso_seconds),
        }
    }
}

/// How the service runs.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::http) struct SchedulerStatus {
    /// Whether the engine works; false when it was stopped.
    running: bool,
    /// Watched contracts.
    symbols_count: usize,
    /// Minutes between full sweeps.
    interval_minutes: u64,
    /// The full sweeps.
    sweep: SweepState,
    /// The cache in short.
    cache_stats: CacheSummary,
}

/// The cache in short.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::http) struct CacheSummary {
    /// Whether Redis answers; without Redis false, and memory serves.
    available: bool,
    /// Contracts with a cached analysis.
    cached_symbols: usize,
    /// Seconds a cached analysis lives.
    cache_ttl_seconds: u64,
}

/// The cache.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::http) struct CacheStats {
    /// Where analyses are kept.
    cache_type: CacheSource,
    /// Whether Redis answers; without Redis false, and memory serves.
    available: bool,
    /// Contracts with a cached analysis.
    cached_symbols: usize,
    /// Seconds a cached analysis lives.
    cache_ttl_seconds: u64,
    /// The same in whole minutes, rounded down.
    cache_duration_minutes: u64,
    /// The contracts, sorted.
    #[schema(value_type = Vec<String>)]
    symbols: Vec<Symbol>,
    /// Calls answered from the cache since the start.
    hits: u64,
    /// Calls that had to compute, or failed; those with `force_refresh` are not counted.
    misses: u64,
    /// hits / (hits + misses), 0 to 1; 0 before the first call.
    hit_rate: f64,
}

/// How the service runs
#[utoipa::path(
    get, path = "/api/gainer-analysis/scheduler/status", tag = "compatible",
    responses((status = 200, body = Envelope<SchedulerStatus>, description = "the state"))
)]
pub(in crate::http) async fn status(
    State(state): State<HttpState>,
) -> Json<Envelope<SchedulerStatus>> {
    let scheduler = state.engine.scheduler();
    let feed = state.store.published().status.feed;
    Envelope::of(SchedulerStatus {
        running: match state.store {
            Store::Memory(_) => scheduler.running,
            // Of an engine elsewhere the feed tells sooner.
            Store::Redis(_) => feed != FeedState::Stopped,
        },
        symbols_count: state.engine.universe().contracts.len(),
        interval_minutes: scheduler.sweep_every.as_secs() / 60,
        sweep: SweepState::of(scheduler.sweep),
        cache_stats: CacheSummary::of(&state).await,
    })
}

/// Starts the service
///
/// From a stop, or with another watch list; starting what runs is no error. What was missed meanwhile comes as
/// `catch_up`.
#[utoipa::path(
    post, path = "/api/gainer-analysis/scheduler/start", tag = "compatible",
    request_body(content = Option<StartAsked>, description = "may be left out"),
    responses(
        (status = 200, body = Envelope<StartAnswer>, description = "it works"),
        (status = 400, body = FailureEnvelope, description = "a field that is not as described, or contracts the exchange does not trade"),
        (status = 401, body = FailureEnvelope, description = "no admin token"),
        (status = 403, body = FailureEnvelope, description = "a wrong admin token; or none is set, and the call does not come from this machine"),
        (status = 409, body = FailureEnvelope, description = "HAMA_SCHEDULER_ENABLED=false"),
        (status = 503, body = FailureEnvelope, description = "the exchange's listing cannot be read, or the engine did not answer"),
    )
)]
pub(in crate::http) async fn start(
    State(state): State<HttpState>,
    _operator: Operator,
    AskedOrNot(asked): AskedOrNot,
) -> Answer<StartAnswer> {
    if state.settings.start_disabled {
        return Err(OrderError::Disabled.into());
    }
    let names = asked.symbols_or_not(state.settings.max_watched)?;
    let minutes = asked.interval_minutes(MINUTES)?;
    let tradable = state.store.published().tradable.clone();
    let order = StartOrder {
        symbols: names.map(|names| symbols(&names, &tradable)).transpose()?,
        sweep_every: minutes.map(|minutes| Duration::from_secs(minutes * 60)),
    };
    let started = state.engine.start(order).await?;
    until_told(&state, |feed| feed != FeedState::Stopped).await;
    Ok(Envelope::of(StartAnswer {
        status: "started",
        symbols_count: started.symbols,
        interval_minutes: started.sweep_every.as_secs() / 60,
        cache_stats: CacheSummary::of(&state).await,
    }))
}

/// Stops the service
///
/// No result and no change leaves any more; series and feed say `stopped`, cached analyses end by their time.
#[utoipa::path(
    post, path = "/api/gainer-analysis/scheduler/stop", tag = "compatible",
    responses(
        (status = 200, body = Envelope<StopAnswer>, description = "it is quiet"),
        (status = 401, body = FailureEnvelope, description = "no admin token"),
        (status = 403, body = FailureEnvelope, description = "a wrong admin token; or none is set, and the call does not come from this machine"),
        (status = 503, body = FailureEnvelope, description = "the engine did not answer"),
    )
)]
pub(in crate::http) async fn stop(
    State(state): State<HttpState>,
    _operator: Operator,
    _asked: AskedOrNot,
) -> Answer<StopAnswer> {
    state.engine.stop().await?;
    until_told(&state, |feed| feed == FeedState::Stopped).await;
    Ok(Envelope::of(StopAnswer { status: "stopped" }))
}

/// An engine elsewhere has done it; who asks here next must see that. A beat that is late is no failure of the order.
async fn until_told(state: &HttpState, is_told: impl Fn(FeedState) -> bool) {
    let mut published = state.store.follow();
    let told = published.wait_for(|now| is_told(now.status.feed));
    let _ = tokio::time::timeout(TOLD_WITHIN, told).await;
}

/// Where a name can be none of a contract, every name that is none is told. That all could be is left to the engine, which
/// asks the exchange.
fn symbols(names: &BTreeSet<&str>, tradable: &BTreeSet<Symbol>) -> Result<Vec<Symbol>, Failure> {
    let parsed = |name: &&str| Symbol::parse_any_case(name.trim()).ok();
    let symbols: BTreeSet<Symbol> = names.iter().filter_map(parsed).collect();
    if names.iter().all(|name| parsed(name).is_some()) {
        return Ok(symbols.into_iter().collect());
    }
    let is_none = |name: &&&str| match parsed(name) {
        Some(symbol) => !tradable.is_empty() && !tradable.contains(&symbol),
        None => true,
    };
    let wrong: Vec<&str> = names.iter().filter(is_none).copied().collect();
    let msg = format!("symbols: there is no contract {}", wrong.join(", "));
    Err(Failure::bad_request(msg))
}

impl CacheSummary {
    async fn of(state: &HttpState) -> Self {
        let view = cache_view(state).await;
        Self {
            available: view.kind == CacheSource::Redis,
            cached_symbols: view.symbols.len(),
            cache_ttl_seconds: state.settings.cache_ttl_secs,
        }
    }
}

/// What the cache holds
#[utoipa::path(
    get, path = "/api/gainer-analysis/cache-stats", tag = "compatible",
    responses((status = 200, body = Envelope<CacheStats>, description = "the figures"))
)]
pub(in crate::http) async fn cache_stats(
    State(state): State<HttpState>,
) -> Json<Envelope<CacheStats>> {
    let cache_ttl_seconds = state.settings.cache_ttl_secs;
    let figures = state
        .compat
        .figures(cache_ttl_seconds.saturating_mul(1_000));
    let view = cache_view(&state).await;
    Envelope::of(CacheStats {
        cache_type: view.kind,
        available: view.kind == CacheSource::Redis,
        cached_symbols: view.symbols.len(),
        cache_ttl_seconds,
        cache_duration_minutes: cache_ttl_seconds / 60,
        symbols: view.symbols,
        hits: figures.hits,
        misses: figures.misses,
        hit_rate: hit_rate(figures.hits, figures.misses),
    })
}

fn hit_rate(hits: u64, misses: u64) -> f64 {
    match hits + misses {
        0 => 0.0,
        asked => hits as f64 / asked as f64,
    }
}
