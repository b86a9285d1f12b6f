//! The cache as the compatible API shows it: Redis while it is there, else the memory of this process.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::http::state::HttpState;
use crate::market::Symbol;
use crate::signal::CacheSource;
use crate::store::Store;

/// What the cache holds now.
pub(super) struct CacheView {
    pub(super) kind: CacheSource,
    /// Contracts with an analysis, sorted.
    pub(super) symbols: Vec<Symbol>,
}

/// An analysis as the active engine wrote it into Redis: carried on as it stands.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::http) struct StoredAnalysis {
    symbol: Box<RawValue>,
    hama_analysis: Box<RawValue>,
    conditions: Box<RawValue>,
    timestamp: Box<RawValue>,
    #[serde(default)]
    cached: bool,
    #[serde(default)]
    cache_source: Option<CacheSource>,
    v1: Box<RawValue>,
}

impl StoredAnalysis {
    /// None for what is no analysis.
    pub(super) fn read(json: &[u8]) -> Option<Self> {
        let stored: Self = serde_json::from_slice(json).ok()?;
        Some(Self {
            cached: true,
            cache_source: Some(CacheSource::Redis),
            ..stored
        })
    }
}

/// The analysis of a contract in Redis; none when there is none, or no Redis.
pub(super) async fn in_redis(state: &HttpState, symbol: &Symbol) -> Option<StoredAnalysis> {
    let Store::Redis(redis) = &state.store else {
        return None;
    };
    // Redis away is no error here: memory serves.
    let json = redis.analysis(symbol).await.ok()??;
    StoredAnalysis::read(&json)
}

/// What the cache holds.
pub(super) async fn cache_view(state: &HttpState) -> CacheView {
    if let Store::Redis(redis) = &state.store {
        let contracts = &state.engine.universe().contracts;
        let symbols: Vec<_> = contracts.iter().map(|c| c.symbol.clone()).collect();
        if let Ok(symbols) = redis.analysed(&symbols).await {
            let kind = CacheSource::Redis;
            return CacheView { kind, symbols };
        }
    }
    let ttl_ms = state.settings.cache_ttl_secs.saturating_mul(1_000);
    CacheView {
        kind: CacheSource::Memory,
        symbols: state.compat.figures(ttl_ms).symbols,
    }
}
