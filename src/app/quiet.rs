//! The exchange's word to be quiet outlives a restart where there is a Redis to keep it (hazard 30). Where there is none,
//! or it does not answer, the exchange says it anew to the first request.

use std::time::Duration;

use crate::clock::Mono;
use crate::exchange::Exchange;
use crate::store::redis::RedisStore;
use crate::tasks::Tasks;

/// A start waits no longer for Redis.
const ASKED_WITHIN: Duration = Duration::from_secs(1);
/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(250);
/// Two holds that end this close to each other are one.
const SAME_MS: u64 = 1_000;

/// What stands of a hold from before this start goes on; every hold from now on is kept.
pub(super) async fn keep(redis: &RedisStore, rest_url: &str, exchange: &Exchange, tasks: &Tasks) {
    let host = host_of(rest_url);
    recall(redis, &host, exchange).await;
    let keeping = keep_all(redis.clone(), host, exchange.clone(), tasks.clone());
    tasks.spawn("exchange's word to be quiet", keeping);
}

async fn recall(redis: &RedisStore, host: &str, exchange: &Exchange) {
    let asked = tokio::time::timeout(ASKED_WITHIN, redis.kept_quiet(host)).await;
    if let Ok(Ok(Some(quiet))) = asked {
        let seconds = quiet.as_secs();
        tracing::warn!(
            host,
            seconds,
            "the exchange wanted to hear nothing before this start, and still does"
        );
        exchange.hold_for(quiet);
    }
}

async fn keep_all(redis: RedisStore, host: String, exchange: Exchange, tasks: Tasks) {
    let mut kept_until = Mono::default();
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = tasks.stopping() => return,
        }
        let Some(until) = exchange.quiet_until() else {
            continue;
        };
        if until.ms_since(kept_until) < SAME_MS {
            continue;
        }
        let quiet = Duration::from_millis(until.ms_since(Mono::now()));
        match redis.keep_quiet(&host, quiet).await {
            Ok(()) => kept_until = until,
            Err(error) => {
                tracing::debug!(%error, "the exchange's word to be quiet is not kept yet");
            }
        }
    }
}

/// The host of an address, with its port if it names one.
fn host_of(url: &str) -> String {
    let behind_scheme = url.rsplit("://").next().unwrap_or(url);
    let authority = behind_scheme.split('/').next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default().to_owned()
}
