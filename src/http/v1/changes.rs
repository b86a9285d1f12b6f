//! The log of changes, page by page, and the long poll: it follows the published state and wakes when a number is given.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::items::ChangeItem;
use crate::http::asker::AskedBy;
use crate::http::problem::Problem;
use crate::http::query::Params;
use crate::http::state::HttpState;
use crate::hub::Asker;
use crate::signal::{Change, Epoch, Seq};
use crate::store::{ChangeFilter, ChangesPage, Gone};

const LIMIT_MAX: u64 = 1_000;
const LIMIT_WHEN_LEFT_OUT: u64 = 100;
/// One below the largest: the number after `since` must exist.
const SINCE_MAX: u64 = u64::MAX - 1;
/// Below the 30 s after which many clients and proxies give up.
const WAIT_MAX_S: u64 = 25;

/// A page of the log.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::http) struct ChangesAnswer {
    /// The numbering.
    #[schema(value_type = String)]
    epoch: Epoch,
    /// Number of the newest change.
    #[schema(value_type = u64)]
    seq: Seq,
    /// Oldest number still kept.
    #[schema(value_type = u64)]
    kept_from: Seq,
    /// The changes that match, oldest first, as the feed carries them.
    #[schema(value_type = Vec<ChangeItem>)]
    changes: Vec<Arc<Change>>,
    /// The `since` of the next call.
    #[schema(value_type = u64)]
    next: Seq,
}

struct Asked {
    since: Seq,
    epoch: Option<String>,
    filter: ChangeFilter,
    limit: usize,
    wait: Duration,
}

/// Changes after a number
///
/// Numbered changes and corrections after `since`, oldest first, the feed's items unchanged. With `wait` an answer
/// without changes is held back until one comes or the time is up. A contract that trades and is not watched is watched
/// from then on; its changes are told from its first result on.
#[utoipa::path(
    get, path = "/api/v1/changes", tag = "signals",
    params(
        ("since" = Option<u64>, Query, description = "the last number known; 0 (default): from the oldest kept"),
        ("epoch" = Option<String>, Query, description = "the numbering `since` belongs to; left out: the present one"),
        ("symbol" = Option<String>, Query, description = "only this contract, in any ASCII case"),
        ("interval" = Option<String>, Query, description = "a watched interval, or `all`; left out: the primary one"),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 1000, description = "at most so many changes; default 100"),
        ("wait" = Option<u64>, Query, maximum = 25, description = "seconds to wait for a change when there is none; default 0"),
    ),
    responses(
        (status = 200, body = ChangesAnswer, description = "the changes"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "a value that is not allowed, and what is"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "a symbol that does not trade"),
        (status = 410, body = Problem, content_type = "application/problem+json", description = "another epoch, or numbers no longer kept: take a snapshot and go on from the cursor given here"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "more contracts that nobody watches yet than one address may ask for in an hour"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "no result yet of a contract that was not watched; or as many are watched as may be"),
    )
)]
pub(in crate::http) async fn list(
    State(state): State<HttpState>,
    AskedBy(asker): AskedBy,
    params: Params,
) -> Result<Json<ChangesAnswer>, Problem> {
    let asked = Asked::read(&params, &state, asker).await?;
    let mut page = page_of(&state, &asked, asked.since)?;
    if page.changes.is_empty() && !asked.wait.is_zero() {
        page = wait_for_change(&state, &asked, page).await?;
    }
    Ok(Json(ChangesAnswer {
        epoch: page.epoch,
        seq: page.seq,
        kept_from: page.kept_from,
        changes: page.changes,
        next: page.next,
    }))
}

impl Asked {
    async fn read(params: &Params, state: &HttpState, asker: Asker) -> Result<Self, Problem> {
        let interval = match params.one("interval")? {
            Some("all") => None,
            Some(_) | None => Some(params.interval(state)?),
        };
        let limit = params.number("limit", 1..=LIMIT_MAX, LIMIT_WHEN_LEFT_OUT)?;
        let since = Seq::new(params.number("since", 0..=SINCE_MAX, 0)?);
        let wait = Duration::from_secs(params.number("wait", 0..=WAIT_MAX_S, 0)?);
        let epoch = params.one("epoch")?.map(str::to_owned);
        // Last: what is wrong about a call must not make the engine watch anything.
        let symbol = match params.one("symbol")? {
            Some(name) => {
                let one = interval.or(state.settings.intervals.first().copied());
                let intervals: Vec<_> = one.into_iter().collect();
                let found = state.contracts(&[name], &intervals, asker).await?;
                found.into_iter().next()
            }
            None => None,
        };
        Ok(Self {
            since,
            epoch,
            filter: ChangeFilter { symbol, interval },
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            wait,
        })
    }
}

fn page_of(state: &HttpState, asked: &Asked, since: Seq) -> Result<ChangesPage, Problem> {
    let page = state
        .store
        .changes(since, asked.limit, &asked.filter)
        .map_err(|gone| gone_problem(&gone))?;
    let other = asked
        .epoch
        .as_deref()
        .filter(|epoch| *epoch != page.epoch.as_str());
    match other {
        Some(other) => {
            let detail = format!(
                "epoch '{}' is over; take a snapshot and go on from the cursor given here",
                other.chars().take(64).collect::<String>()
            );
            Err(Problem::gone(detail, &page.epoch, page.seq, page.kept_from))
        }
        None => Ok(page),
    }
}

/// Follows the published state from an empty page on: the first page that is not, or the last empty one when the time
/// is up or the program leaves.
async fn wait_for_change(
    state: &HttpState,
    asked: &Asked,
    empty: ChangesPage,
) -> Result<ChangesPage, Problem> {
    let mut follow = state.store.follow();
    let time_up = tokio::time::sleep(asked.wait);
    tokio::pin!(time_up);
    let mut page = empty;
    loop {
        let moved = follow.wait_for(|now| now.seq > page.seq || now.epoch != page.epoch);
        tokio::select! {
            moved = moved => if moved.is_err() { return Ok(page) },
            () = &mut time_up => return Ok(page),
            () = state.tasks.stopping() => return Ok(page),
        }
        // Everything up to `next` was looked at and does not match: reading goes on from there.
        let newer = page_of(state, asked, page.next)?;
        if newer.epoch != page.epoch {
            let detail = format!("epoch '{}' ended while waiting", page.epoch);
            return Err(Problem::gone(
                detail,
                &newer.epoch,
                newer.seq,
                newer.kept_from,
            ));
        }
        page = newer;
        if !page.changes.is_empty() {
            return Ok(page);
        }
    }
}

fn gone_problem(gone: &Gone) -> Problem {
    let detail = format!("{gone}; take a snapshot and go on from the cursor given here");
    Problem::gone(detail, &gone.epoch, gone.seq, gone.kept_from)
}
