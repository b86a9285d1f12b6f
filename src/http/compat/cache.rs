//! The last analysis of each contract, and the one computation many callers wait for.
//! An analysis is served again while it is younger than its time to live and what it says still holds. Who waited while
//! a computation ran that began after he asked shares its outcome, its failure too: an engine that does not answer costs
//! a caller two waits at most, however many callers there are.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::envelope::Failure;
use crate::clock::Mono;
use crate::market::Symbol;
use crate::signal::GainerAnalysis;

/// Which answer a caller takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// A cached one, when there is one that holds.
    CacheFirst,
    /// One from candles read after the call.
    Anew,
}

/// An answer and where it came from.
#[derive(Debug, Clone)]
pub(super) enum Served {
    /// From the cache.
    Cached(Arc<GainerAnalysis>),
    /// Computed for this call.
    Computed(Arc<GainerAnalysis>),
}

/// What a lookup goes by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lookup<'a> {
    pub(super) symbol: &'a Symbol,
    pub(super) freshness: Freshness,
    /// How long an analysis may be served.
    pub(super) ttl_ms: u64,
}

/// How often the cache was asked, and what it holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CacheFigures {
    /// Contracts with an analysis younger than its time to live.
    pub(super) symbols: Vec<Symbol>,
    /// Calls answered from the cache.
    pub(super) hits: u64,
    /// Calls that were not, those that wanted no cached answer left out.
    pub(super) misses: u64,
}

/// The last analysis of each contract; clones share it.
#[derive(Debug, Clone, Default)]
pub struct CompatCache(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    slots: Mutex<BTreeMap<Symbol, Arc<Slot>>>,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Debug, Default)]
struct Slot {
    kept: Mutex<Option<Kept>>,
    /// How many computations have begun.
    begun: AtomicU64,
    /// Held while one runs; what the last one came to.
    running: tokio::sync::Mutex<Option<Outcome>>,
}

#[derive(Debug, Clone)]
struct Kept {
    analysis: Arc<GainerAnalysis>,
    at: Mono,
}

#[derive(Debug)]
struct Outcome {
    number: u64,
    result: Result<Arc<GainerAnalysis>, Failure>,
}

impl CompatCache {
    /// The analysis `lookup` asks for: cached while `holds` says so, else from `compute`.
    pub(super) async fn get(
        &self,
        lookup: Lookup<'_>,
        holds: impl Fn(&GainerAnalysis) -> bool,
        compute: impl Future<Output = Result<GainerAnalysis, Failure>>,
    ) -> Result<Served, Failure> {
        let served = self.look_or_compute(lookup, holds, compute).await;
        if lookup.freshness == Freshness::CacheFirst {
            let counter = match served {
                Ok(Served::Cached(_)) => &self.0.hits,
                Ok(Served::Computed(_)) | Err(_) => &self.0.misses,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        served
    }

    /// A call was answered from Redis, before this cache was asked.
    pub(super) fn count_hit(&self) {
        self.0.hits.fetch_add(1, Ordering::Relaxed);
    }

    /// What it holds, and how often it was asked.
    pub(super) fn figures(&self, ttl_ms: u64) -> CacheFigures {
        let now = Mono::now();
        let slots = lock(&self.0.slots);
        let kept = slots.iter().filter(|(_, slot)| slot.is_young(ttl_ms, now));
        CacheFigures {
            symbols: kept.map(|(symbol, _)| symbol.clone()).collect(),
            hits: self.0.hits.load(Ordering::Relaxed),
            misses: self.0.misses.load(Ordering::Relaxed),
        }
    }

    async fn look_or_compute(
        &self,
        lookup: Lookup<'_>,
        holds: impl Fn(&GainerAnalysis) -> bool,
        compute: impl Future<Output = Result<GainerAnalysis, Failure>>,
    ) -> Result<Served, Failure> {
        let slot = self.slot(lookup);
        let cached = || match lookup.freshness {
            Freshness::CacheFirst => slot.young(lookup.ttl_ms, Mono::now()).filter(|a| holds(a)),
            Freshness::Anew => None,
        };
        if let Some(analysis) = cached() {
            return Ok(Served::Cached(analysis));
        }
        let asked_after = slot.begun.load(Ordering::SeqCst);
        let mut last = slot.running.lock().await;
        if let Some(outcome) = last.as_ref().filter(|last| last.number > asked_after) {
            return lookup.freshness.shared(&outcome.result);
        }
        // A computation that had begun before this call may have ended meanwhile.
        if let Some(analysis) = cached() {
            return Ok(Served::Cached(analysis));
        }
        let number = slot.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let result = compute.await.map(Arc::new);
        if let Ok(analysis) = &result {
            slot.keep(analysis);
        }
        *last = Some(Outcome {
            number,
            result: result.clone(),
        });
        result.map(Served::Computed)
    }

    /// The slot of the contract. Slots nobody waits at and whose analysis is too old are let go of here, so that
    /// contracts that left the list do not pile up.
    fn slot(&self, lookup: Lookup<'_>) -> Arc<Slot> {
        let now = Mono::now();
        let mut slots = lock(&self.0.slots);
        slots.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.is_young(lookup.ttl_ms, now));
        slots.entry(lookup.symbol.clone()).or_default().clone()
    }
}

impl Freshness {
    fn shared(self, result: &Result<Arc<GainerAnalysis>, Failure>) -> Result<Served, Failure> {
        let analysis = result.clone()?;
        Ok(match self {
            Self::CacheFirst => Served::Cached(analysis),
            Self::Anew => Served::Computed(analysis),
        })
    }
}

impl Slot {
    fn keep(&self, analysis: &Arc<GainerAnalysis>) {
        *lock(&self.kept) = Some(Kept {
            analysis: analysis.clone(),
            at: Mono::now(),
        });
    }

    fn young(&self, ttl_ms: u64, now: Mono) -> Option<Arc<GainerAnalysis>> {
        let kept = lock(&self.kept).clone()?;
        (now.ms_since(kept.at) < ttl_ms).then_some(kept.analysis)
    }

    fn is_young(&self, ttl_ms: u64, now: Mono) -> bool {
        self.young(ttl_ms, now).is_some()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
