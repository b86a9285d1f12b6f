//! Contracts by the names a request gives: watched ones, and such as trade and are not watched, which are watched from
//! then on. Who asks for one of those waits for its first result, all who ask until the same moment; the engine brings
//! it after one round trip to the exchange. What it costs is limited by the hub's door, which all requests share.

use std::collections::BTreeSet;
use std::time::Duration;

use super::problem::Problem;
use super::query::{refused, shown};
use super::state::HttpState;
use crate::clock::Mono;
use crate::hub::{Asker, Demand, Denied, Hub};
use crate::market::{Interval, SeriesKey, SeriesStatus, Symbol};
use crate::store::Published;

/// Contracts one call may name. Whoever wants more wants all there are and names none.
const MAX_NAMED: usize = 200;

impl HttpState {
    fn demand(&self) -> Option<&Demand> {
        self.hub.as_ref().map(Hub::demand)
    }

    /// The contracts called `names`, once each has a result at `intervals`. Every name that is none is told.
    ///
    /// # Errors
    /// 400 too many names, or too many new ones; 404 unknown names; 429 or 503 what may not be watched; 503 what has no
    /// result in time.
    pub(super) async fn contracts(
        &self,
        names: &[&str],
        intervals: &[Interval],
        asker: Asker,
    ) -> Result<Vec<Symbol>, Problem> {
        let symbols = self.known(names)?;
        let series = |symbol: &Symbol| {
            let symbol = symbol.clone();
            let keys = intervals.iter();
            keys.map(move |interval| SeriesKey::new(symbol.clone(), *interval))
        };
        let series: BTreeSet<SeriesKey> = symbols.iter().flat_map(series).collect();
        let Some(demand) = self.demand() else {
            return Ok(symbols);
        };
        let now = Mono::now();
        demand
            .ask(asker, &series, |symbol| self.is_listed(symbol), now)
            .map_err(|why| denied(&why))?;
        let published = self.store.published();
        let coming = |key: &&SeriesKey| !has_come(&published, key);
        let watched_on_demand = |key: &&SeriesKey| {
            // One that warms up without anybody having asked for it just now is shown as it is.
            !published.results.contains_key(*key) && !self.is_listed(&key.symbol)
                || self.was_just_asked_for(demand, &key.symbol, now)
        };
        let coming: BTreeSet<&SeriesKey> = series
            .iter()
            .filter(coming)
            .filter(watched_on_demand)
            .collect();
        drop(published);
        self.wait_for(&coming, demand, now).await?;
        Ok(symbols)
    }

    /// As `contracts`, of one name.
    ///
    /// # Errors
    /// As `contracts`.
    pub(super) async fn contract(
        &self,
        name: &str,
        interval: Interval,
        asker: Asker,
    ) -> Result<Symbol, Problem> {
        let found = self.contracts(&[name], &[interval], asker).await?;
        let unknown = || unknown(&[format!("'{}'", shown(name))]);
        found.into_iter().next().ok_or_else(unknown)
    }

    /// Has what trades among `names` watched without waiting for it; what may not be, whoever asks again is told.
    pub(super) fn want_ahead(&self, names: &BTreeSet<&str>, interval: Interval, asker: Asker) {
        let Some(demand) = self.demand() else { return };
        let symbols = names.iter().filter_map(|name| self.find(name.trim()));
        for symbol in symbols {
            let key = BTreeSet::from([SeriesKey::new(symbol, interval)]);
            let _ = demand.ask(asker, &key, |symbol| self.is_listed(symbol), Mono::now());
        }
    }

    fn known(&self, names: &[&str]) -> Result<Vec<Symbol>, Problem> {
        let mut symbols = Vec::new();
        let mut bad = Vec::new();
        for name in each_once(names)? {
            match self.find(name) {
                Some(symbol) => symbols.push(symbol),
                None => bad.push(format!("'{}'", shown(name))),
            }
        }
        if bad.is_empty() {
            return Ok(symbols);
        }
        if !self.is_list_known() {
            let detail = "the watch list is not loaded yet; try again in a few seconds";
            return Err(Problem::unavailable("not-loaded", detail.to_owned()));
        }
        self.store.interest().unknown_name();
        Err(unknown(&bad))
    }

    /// The contract called `name`, if it is watched or trades.
    fn find(&self, name: &str) -> Option<Symbol> {
        let symbol = Symbol::parse_any_case(name).ok()?;
        let published = self.store.published();
        // Before the list is known, what is on it would count as asked for beside it.
        let is_known = !published.results.is_empty() && published.tradable.contains(&symbol)
            || self.is_listed(&symbol)
            || published.results.keys().any(|key| key.symbol == symbol);
        is_known.then_some(symbol)
    }

    /// Whether it is known what is watched and what else trades.
    fn is_list_known(&self) -> bool {
        let published = self.store.published();
        !published.results.is_empty() && !published.tradable.is_empty()
    }

    fn is_listed(&self, symbol: &Symbol) -> bool {
        self.engine.universe().contract(symbol).is_some()
    }

    fn was_just_asked_for(&self, demand: &Demand, symbol: &Symbol, now: Mono) -> bool {
        let asked_at = demand.asked_at(symbol);
        asked_at.is_some_and(|at| now.ms_since(at) < self.first_result_ms())
    }

    fn first_result_ms(&self) -> u64 {
        let within = self.settings.first_result_within.as_millis();
        u64::try_from(within).unwrap_or(u64::MAX)
    }

    /// Waits until every one of these series has come, counted from when its contract was first asked for.
    async fn wait_for(
        &self,
        coming: &BTreeSet<&SeriesKey>,
        demand: &Demand,
        now: Mono,
    ) -> Result<(), Problem> {
        let asked_at = |key: &&SeriesKey| demand.asked_at(&key.symbol).unwrap_or(now);
        let Some(asked_at) = coming.iter().map(asked_at).max() else {
            return Ok(());
        };
        let left_ms = self
            .first_result_ms()
            .saturating_sub(now.ms_since(asked_at));
        let mut follow = self.store.follow();
        let all_there = follow.wait_for(|now| coming.iter().all(|key| has_come(now, key)));
        tokio::select! {
            _ = all_there => return Ok(()),
            () = tokio::time::sleep(Duration::from_millis(left_ms)) => {}
            () = self.tasks.stopping() => {}
        }
        let published = self.store.published();
        let missing: Vec<_> = coming
            .iter()
            .filter(|key| !has_come(&published, key))
            .map(ToString::to_string)
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let missing = missing.join(", ");
        let detail = format!(
            "{missing}: watched from now on, but without a result yet; try again in a few seconds"
        );
        Err(Problem::unavailable("no-result-yet", detail))
    }
}

/// The names, each once, whatever its case.
///
/// # Errors
/// 400: they are too many.
fn each_once<'a>(names: &[&'a str]) -> Result<Vec<&'a str>, Problem> {
    let mut seen = BTreeSet::new();
    let mut once = Vec::new();
    for name in names {
        if !seen.insert(name.to_ascii_uppercase()) {
            continue;
        }
        if once.len() == MAX_NAMED {
            let why = format!("is one too many; allowed: at most {MAX_NAMED} contracts a call");
            return Err(refused("symbols", name, &why));
        }
        once.push(*name);
    }
    Ok(once)
}

/// Whether there is something to show of the series: from its candles, or that it has ended.
fn has_come(published: &Published, key: &SeriesKey) -> bool {
    let result = published.results.get(key);
    result.is_some_and(|result| result.status != SeriesStatus::Warming)
}

fn unknown(names: &[String]) -> Problem {
    let noun = if names.len() == 1 {
        "symbol"
    } else {
        "symbols"
    };
    let detail = format!("unknown {noun} {}; see /api/v1/symbols", names.join(", "));
    Problem::not_found("unknown-symbol", detail)
}

fn denied(denied: &Denied) -> Problem {
    let detail = denied.to_string();
    match denied {
        Denied::TooMany { retry_after_s, .. } => {
            Problem::too_many("too-many-new-contracts", detail, *retry_after_s)
        }
        Denied::TooManyAtOnce(_) => Problem::bad_request("too-many-new-contracts", detail),
        Denied::Full(_) => {
            let retry_after_s = denied.retry_after_s().unwrap_or_default();
            Problem::unavailable_for("watch-list-full", detail, retry_after_s)
        }
    }
}
