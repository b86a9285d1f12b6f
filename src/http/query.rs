//! Query strings read strictly: a value that means nothing is refused with what is allowed, never guessed at.
//! Empty values count as left out; parameters we do not know are ignored, so that clients may add their own.

use std::convert::Infallible;
use std::ops::RangeInclusive;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::Uri;
use axum::http::request::Parts;

use super::problem::Problem;
use super::state::HttpState;
use crate::market::Interval;

/// The parameters of a request, decoded, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Params(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(params_of(&parts.uri))
    }
}

/// The parameters of `uri`.
pub(super) fn params_of(uri: &Uri) -> Params {
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri);
    pairs.map_or_else(|_| Params::default(), |Query(pairs)| Params(pairs))
}

/// The variable part of a path, percent-decoded.
#[derive(Debug)]
pub(super) struct PathText(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for PathText {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let decoded = Path::<String>::from_request_parts(parts, state).await;
        decoded.map(|Path(text)| Self(text)).map_err(|_| {
            let detail = "the path is not UTF-8 once its %XX are decoded".to_owned();
            Problem::bad_request("bad-path", detail)
        })
    }
}

impl Params {
    /// The value of `name`, which may be given once.
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.values(name);
        let first = values.next();
        match values.next() {
            Some(second) => Err(refused(name, second, "given twice; once is allowed")),
            None => Ok(first),
        }
    }

    /// The values of `name`: comma separated, and given any number of times.
    pub(super) fn list(&self, name: &str) -> Vec<&str> {
        self.values(name)
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|value| !value.is_empty())
            .collect()
    }

    /// A whole number within `allowed`.
    pub(super) fn number(
        &self,
        name: &str,
        allowed: RangeInclusive<u64>,
        when_left_out: u64,
    ) -> Result<u64, Problem> {
        let Some(text) = self.one(name)? else {
            return Ok(when_left_out);
        };
        // A leading '+' is a space in a query string; Rust's parser would take it.
        let number = text.parse().ok().filter(|_| !text.starts_with('+'));
        number.filter(|n| allowed.contains(n)).ok_or_else(|| {
            let (low, high) = (allowed.start(), allowed.end());
            let range = if *high >= u64::MAX - 1 {
                format!("a whole number from {low}")
            } else {
                format!("a whole number from {low} to {high}")
            };
            refused(name, text, &format!("allowed: {range}"))
        })
    }

    /// Words out of a closed set, each by its spelling in any ASCII case; none given: an empty list.
    pub(super) fn words<T: Copy>(
        &self,
        name: &str,
        allowed: &[(&str, T)],
    ) -> Result<Vec<T>, Problem> {
        let find = |text: &str| {
            let hit = allowed
                .iter()
                .find(|(word, _)| word.eq_ignore_ascii_case(text));
            hit.map(|(_, value)| *value).ok_or_else(|| {
                let words: Vec<_> = allowed.iter().map(|(word, _)| *word).collect();
                refused(name, text, &format!("allowed: {}", words.join(" ")))
            })
        };
        self.list(name).into_iter().map(find).collect()
    }

    /// The watched intervals asked for: left out the primary one, `all` every one.
    pub(super) fn intervals(&self, state: &HttpState) -> Result<Vec<Interval>, Problem> {
        let watched = &state.settings.intervals;
        let named = self.list("interval");
        if named.is_empty() {
            return Ok(watched.iter().take(1).copied().collect());
        }
        if named == ["all"] {
            return Ok(watched.clone());
        }
        let mut intervals = Vec::new();
        for text in named {
            let interval = watched_interval(text, watched)?;
            if !intervals.contains(&interval) {
                intervals.push(interval);
            }
        }
        Ok(intervals)
    }

    /// The one watched interval asked for: left out the primary one.
    pub(super) fn interval(&self, state: &HttpState) -> Result<Interval, Problem> {
        let watched = &state.settings.intervals;
        match (self.one("interval")?, watched.first()) {
            (Some(text), _) => watched_interval(text, watched),
            (None, Some(primary)) => Ok(*primary),
            (None, None) => Err(Problem::unavailable(
                "no-interval",
                "no interval is watched".to_owned(),
            )),
        }
    }

    /// Every value of `name` that is not empty.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }
}

fn watched_interval(text: &str, watched: &[Interval]) -> Result<Interval, Problem> {
    let interval = Interval::parse(text)
        .map_err(|bad| Problem::bad_request("bad-interval", format!("interval: {bad}")))?;
    if watched.contains(&interval) {
        return Ok(interval);
    }
    let names: Vec<_> = watched.iter().map(|interval| interval.name()).collect();
    let detail = format!(
        "interval '{interval}' is not watched; watched: {}",
        names.join(" ")
    );
    Err(Problem::bad_request("interval-not-watched", detail))
}

/// 400 for `name=value`, with the reason or what is allowed.
pub(super) fn refused(name: &str, value: &str, why: &str) -> Problem {
    let detail = format!("{name}: '{}' {why}", shown(value));
    Problem::bad_request(&format!("bad-{name}"), detail)
}

/// As much of a client's text as an answer repeats.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}
