//! `/healthz`: the process answers. `/readyz`: signals can be trusted, or why not.
//! A balancer acts on the status code alone; the reasons are for people.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use serde::Serialize;

use super::state::{HttpState, RedisNeed};
use crate::clock::Mono;
use crate::market::SeriesStatus;
use crate::signal::{FeedState, StoreState};

/// Share of the primary interval's series that must be live, percent.
const READY_PCT: usize = 95;

/// A hub without Redis for so long is no longer ready.
const AWAY_MS: u64 = 10_000;

/// Why signals are not to be trusted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(super) enum Reason {
    /// Less than 95 % of the primary interval's series are live.
    #[serde(rename = "warming")]
    Warming,
    /// The program is on its way out.
    #[serde(rename = "draining")]
    Draining,
    /// The operator stopped the scheduler.
    #[serde(rename = "stopped")]
    Stopped,
    /// No series is live.
    #[serde(rename = "feed down")]
    FeedDown,
    /// The log has not been read yet.
    #[serde(rename = "waiting for redis")]
    WaitingForRedis,
    /// An engine or a hub on its own has been without Redis, or a hub without any engine, for 10 s.
    #[serde(rename = "redis away")]
    RedisAway,
}

/// Whether signals can be trusted.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Readiness {
    ready: bool,
    /// Empty when ready.
    reasons: Vec<Reason>,
    /// Where results are kept; `degraded`: Redis is away, memory serves.
    store: StoreState,
    /// With `?verbose`: every check.
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<Vec<Check>>,
}

/// One check of readiness.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Check {
    /// The reason it would give.
    name: Reason,
    /// Whether it passes.
    ok: bool,
    /// What was seen.
    detail: String,
}

/// The process answers
#[utoipa::path(
    get, path = "/healthz", tag = "operations",
    responses((status = 200, body = String, content_type = "text/plain", description = "`ok`"))
)]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Signals can be trusted
///
/// 200 when they can, else 503 with the reasons: `warming` (less than 95 % of the primary interval's series live),
/// `draining`, `stopped`, `feed down`, `waiting for redis`, `redis away`.
#[utoipa::path(
    get, path = "/readyz", tag = "operations",
    params(("verbose" = Option<bool>, Query, description = "lists every check", allow_reserved)),
    responses(
        (status = 200, body = Readiness, description = "they can"),
        (status = 503, body = Readiness, description = "they cannot, and why"),
    )
)]
pub(super) async fn readyz(
    State(state): State<HttpState>,
    RawQuery(query): RawQuery,
) -> (StatusCode, Json<Readiness>) {
    let mut readiness = Readiness::of(&state);
    let verbose = query
        .iter()
        .flat_map(|query| query.split('&'))
        .any(|pair| matches!(pair, "verbose" | "verbose=" | "verbose=1" | "verbose=true"));
    if !verbose {
        readiness.checks = None;
    }
    let status = if readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(readiness))
}

impl Readiness {
    /// Every check, by the state as published now.
    pub(super) fn of(state: &HttpState) -> Self {
        let status = state.store.published().status;
        let checks = vec![
            warming(state),
            Check {
                name: Reason::Draining,
                ok: !state.is_draining(),
                detail: if state.is_draining() {
                    "told to leave"
                } else {
                    "not told to leave"
                }
                .to_owned(),
            },
            Check {
                name: Reason::Stopped,
                ok: status.feed != FeedState::Stopped,
                detail: format!("the feed is {:?}", status.feed).to_lowercase(),
            },
            Check {
                name: Reason::FeedDown,
                ok: status.feed != FeedState::Down,
                detail: feed_detail(state, status.series.live),
            },
            Check {
                name: Reason::WaitingForRedis,
                ok: state.store.is_readable(),
                detail: format!("store: {:?}", status.store).to_lowercase(),
            },
            redis_away(state),
        ];
        let is_bridged = bridges_redis(state);
        let excused = |name| is_bridged && matches!(name, Reason::Warming | Reason::FeedDown);
        let reasons: Vec<_> = checks
            .iter()
            .filter(|check| !check.ok && !excused(check.name))
            .map(|check| check.name)
            .collect();
        Self {
            ready: reasons.is_empty(),
            reasons,
            store: status.store,
            checks: Some(checks),
        }
    }

    /// Whether every check passes.
    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }
}

fn feed_detail(state: &HttpState, live: usize) -> String {
    match state.engine.info().refusal {
        Some(refusal) => format!("{live} series live; {refusal}"),
        None => format!("{live} series live"),
    }
}

/// A hub that lost Redis a moment ago shows its series as stale; that alone sends nobody elsewhere, for every other hub
/// does the same, and most often it is over before long.
fn bridges_redis(state: &HttpState) -> bool {
    let away_ms = state.store.away_since().map(|at| Mono::now().ms_since(at));
    state.settings.redis != RedisNeed::None
        && state.store.is_readable()
        && away_ms.is_some_and(|ms| ms < AWAY_MS)
}

/// A hub keeps its readers meanwhile, but a balancer should prefer another one.
fn redis_away(state: &HttpState) -> Check {
    let away_ms = state.store.away_since().map(|at| Mono::now().ms_since(at));
    let is_long = away_ms.is_some_and(|ms| ms >= AWAY_MS);
    Check {
        name: Reason::RedisAway,
        ok: !is_long || state.settings.redis == RedisNeed::None,
        detail: match away_ms {
            Some(ms) => format!("away for {} s", ms / 1_000),
            None => "there, or not needed".to_owned(),
        },
    }
}

/// Delisted series are not counted: they will never be live again.
fn warming(state: &HttpState) -> Check {
    let primary = state.settings.intervals.first().copied();
    let published = state.store.published();
    let statuses: Vec<_> = published
        .results
        .values()
        .filter(|result| Some(result.interval) == primary && result.status != SeriesStatus::Ended)
        .map(|result| result.status)
        .collect();
    let wanted = state.engine.universe().contracts.len().max(statuses.len());
    let live = statuses
        .iter()
        .filter(|status| **status == SeriesStatus::Live)
        .count();
    Check {
        name: Reason::Warming,
        ok: wanted > 0 && live * 100 >= wanted * READY_PCT,
        detail: format!("{live} of {wanted} series of the primary interval live"),
    }
}
