//! `scheduler/status` and `cache-stats`: how the service runs and what its cache holds.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::envelope::Envelope;
use crate::http::state::HttpState;
use crate::market::Symbol;
use crate::signal::{CacheSource, FeedState};

/// How the service runs.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::http) struct SchedulerStatus {
    /// Whether the engine works; false when it was stopped.
    running: bool,
    /// Watched contracts.
    symbols_count: usize,
    /// Minutes between full sweeps.
    interval_minutes: u64,
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
    let cache_ttl_seconds = state.settings.cache_ttl_secs;
    let figures = state
        .compat
        .figures(cache_ttl_seconds.saturating_mul(1_000));
    Envelope::of(SchedulerStatus {
        running: state.store.published().status.feed != FeedState::Stopped,
        symbols_count: state.engine.universe().contracts.len(),
        interval_minutes: state.settings.scheduler_interval_minutes,
        cache_stats: CacheSummary {
            available: false,
            cached_symbols: figures.symbols.len(),
            cache_ttl_seconds,
        },
    })
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
    Envelope::of(CacheStats {
        cache_type: CacheSource::Memory,
        available: false,
        cached_symbols: figures.symbols.len(),
        cache_ttl_seconds,
        cache_duration_minutes: cache_ttl_seconds / 60,
        symbols: figures.symbols,
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
