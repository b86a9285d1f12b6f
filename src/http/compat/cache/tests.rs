//! One computation for many callers, and when an analysis is served again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use crate::market::{Interval, SeriesKey, SeriesStatus, TimeMs};
use crate::signal::{SignalResult, Technical};

const TTL_MS: u64 = 300_000;

fn btc() -> Symbol {
    Symbol::parse("BTCUSDT").unwrap()
}

fn analysis(number: u64) -> GainerAnalysis {
    let key = SeriesKey::new(btc(), Interval::M15);
    let result = SignalResult {
        status: SeriesStatus::Live,
        ..SignalResult::warming(&key, TimeMs::default())
    };
    let now = TimeMs::new(i64::try_from(number).unwrap() * 1_000);
    GainerAnalysis::of(Arc::new(result), &Technical::default(), now)
}

struct Bench {
    cache: CompatCache,
    computed: AtomicU64,
}

impl Bench {
    fn new() -> Self {
        Self {
            cache: CompatCache::default(),
            computed: AtomicU64::new(0),
        }
    }

    /// A call whose computation, if it comes to one, takes a second.
    async fn call(
        &self,
        freshness: Freshness,
        outcome: Result<(), &str>,
    ) -> Result<Served, Failure> {
        self.call_while(freshness, outcome, |_| true).await
    }

    async fn call_while(
        &self,
        freshness: Freshness,
        outcome: Result<(), &str>,
        holds: impl Fn(&GainerAnalysis) -> bool,
    ) -> Result<Served, Failure> {
        let symbol = btc();
        let lookup = Lookup {
            symbol: &symbol,
            freshness,
            ttl_ms: TTL_MS,
        };
        let compute = async {
            let number = self.computed.fetch_add(1, Ordering::SeqCst);
            pause(1_000).await;
            let failed = |why: &str| Failure::unavailable(why.to_owned());
            outcome.map(|()| analysis(number)).map_err(failed)
        };
        self.cache.get(lookup, holds, compute).await
    }

    fn computed(&self) -> u64 {
        self.computed.load(Ordering::SeqCst)
    }
}

/// Moves the paused clock.
async fn pause(ms: u64) {
    tokio::time::advance(Duration::from_millis(ms)).await;
}

fn is_cached(served: &Result<Served, Failure>) -> bool {
    matches!(served, Ok(Served::Cached(_)))
}

#[tokio::test(start_paused = true)]
async fn many_callers_of_one_contract_cost_one_computation() {
    let bench = Bench::new();
    let calls = (0..64).map(|_| bench.call(Freshness::CacheFirst, Ok(())));
    let served = futures::future::join_all(calls).await;
    assert_eq!(bench.computed(), 1);
    assert_eq!(served.iter().filter(|one| is_cached(one)).count(), 63);
    let figures = bench.cache.figures(TTL_MS);
    assert_eq!((figures.hits, figures.misses), (63, 1));
    assert_eq!(figures.symbols, [btc()]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_to_all_who_waited_and_is_not_kept() {
    let bench = Bench::new();
    let calls = (0..64).map(|_| bench.call(Freshness::CacheFirst, Err("gone")));
    let served = futures::future::join_all(calls).await;
    assert!(served.iter().all(Result::is_err));
    assert_eq!(bench.computed(), 2, "one for the first, one for the rest");
    let served = bench.call(Freshness::CacheFirst, Ok(())).await;
    assert!(served.is_ok() && !is_cached(&served));
    assert_eq!(bench.computed(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_forced_call_takes_no_cached_answer_and_shares_only_what_began_after_it() {
    let bench = Bench::new();
    assert!(bench.call(Freshness::Anew, Ok(())).await.is_ok());
    let calls = (0..10).map(|_| bench.call(Freshness::Anew, Ok(())));
    let served = futures::future::join_all(calls).await;
    // The nine asked while the first one's ran, and share the next.
    assert_eq!(bench.computed(), 3);
    assert!(served.iter().all(|one| one.is_ok() && !is_cached(one)));
    let figures = bench.cache.figures(TTL_MS);
    assert_eq!((figures.hits, figures.misses), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_analysis_is_served_until_its_time_is_over_or_it_no_longer_holds() {
    let bench = Bench::new();
    let first = Freshness::CacheFirst;
    assert!(!is_cached(&bench.call(first, Ok(())).await));
    pause(TTL_MS - 1).await;
    assert!(is_cached(&bench.call(first, Ok(())).await));
    pause(1).await;
    assert!(bench.cache.figures(TTL_MS).symbols.is_empty());
    assert!(!is_cached(&bench.call(first, Ok(())).await));
    assert!(is_cached(&bench.call(first, Ok(())).await));
    let outdated = bench.call_while(first, Ok(()), |_| false).await;
    assert!(!is_cached(&outdated));
    assert_eq!(bench.computed(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_in_the_middle_holds_nobody_up() {
    let bench = Bench::new();
    let never = async {
        let symbol = btc();
        let lookup = Lookup {
            symbol: &symbol,
            freshness: Freshness::CacheFirst,
            ttl_ms: TTL_MS,
        };
        let compute = futures::future::pending();
        bench.cache.get(lookup, |_| true, compute).await
    };
    let patience = Duration::from_millis(10);
    assert!(tokio::time::timeout(patience, never).await.is_err());
    assert!(bench.call(Freshness::CacheFirst, Ok(())).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn slots_of_contracts_nobody_asks_for_are_let_go_of() {
    let bench = Bench::new();
    bench.call(Freshness::CacheFirst, Ok(())).await.unwrap();
    pause(TTL_MS).await;
    let other = Symbol::parse("ETHUSDT").unwrap();
    let lookup = Lookup {
        symbol: &other,
        freshness: Freshness::CacheFirst,
        ttl_ms: TTL_MS,
    };
    let compute = async { Ok(analysis(0)) };
    let served = bench.cache.get(lookup, |_| true, compute).await;
    assert!(served.is_ok());
    assert_eq!(lock(&bench.cache.0.slots).len(), 1);
}
