//! What must happen in one step in Redis: the lease and every write to the log. Each script checks the lease itself, so
//! that an engine that was paused past its lease changes nothing, however late its command arrives.
//! A refusal is an answer, not an error: it says what Redis holds instead.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::Script;

use super::connect::CommandLink;
use super::error::RedisError;
use super::grant::{EngineId, Grant, Term};
use super::keys;
use super::log::{EntryId, SeriesEntry};
use crate::market::SeriesKey;
use crate::signal::{Change, Epoch, Seq};
use crate::store::KEPT_CHANGES;

static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/take.lua")));
static RENEW: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/renew.lua")));
static RELEASE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/release.lua")));
static APPEND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/append.lua")));
static BEGIN_EPOCH: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/begin_epoch.lua")));

/// The newest entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// The numbering it belongs to.
    pub epoch: Epoch,
    /// Its number, 0 for the mark that begins an epoch.
    pub seq: Seq,
    /// Term of the engine that wrote it.
    pub term: Term,
}

/// What became of an attempt to take the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Take {
    /// It is ours.
    Taken {
        /// Since this take.
        term: Term,
        /// The log's newest entry; None for a missing log.
        tail: Option<Tail>,
    },
    /// Another engine has it.
    Held {
        /// Who, since when. None when the lease is no text of ours.
        by: Option<Grant>,
        /// How long it will last without a renewal. None: for ever, which no engine sets.
        left: Option<Duration>,
    },
}

/// What became of a renewal or a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// Done.
    Done,
    /// The lease was not ours any more.
    Fenced {
        /// Whose it is; None: nobody's.
        by: Option<Grant>,
    },
}

/// Why the log was not written. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The lease is not ours: the only refusal that means a stale engine.
    Fenced {
        /// Whose it is; None: nobody's.
        by: Option<Grant>,
    },
    /// The log is of another numbering.
    OtherEpoch {
        /// Its newest entry.
        tail: Tail,
    },
    /// The changes are not the next numbers.
    NotNext {
        /// The log's newest entry.
        tail: Tail,
    },
    /// There is no log: Redis was emptied.
    LogMissing,
}

/// A burst for the log; without changes, it only moves what was told of the series.
#[derive(Debug, Clone, Copy)]
pub struct Burst<'a> {
    /// The numbering the log must have.
    pub epoch: &'a Epoch,
    /// The changes, with the numbers after the log's tail.
    pub changes: &'a [Arc<Change>],
    /// What is told of these series from now on.
    pub told: &'a [(SeriesKey, SeriesEntry)],
    /// Series that are watched no longer.
    pub forgotten: &'a [SeriesKey],
}

/// Takes the lease for `lease`, under a term higher than the counter's, the log's and `highest`. A lease that is ours
/// already is taken anew: only an engine whose answer was lost asks for what it has.
///
/// # Errors
/// `RedisError`; with `NoAnswer` and `Cut` the lease may have been taken.
pub async fn take(
    link: &mut CommandLink,
    engine: &EngineId,
    highest: Term,
    lease: Duration,
) -> Result<Take, RedisError> {
    let mut call = TAKE.prepare_invoke();
    call.key(keys::ENGINE).key(keys::TERM).key(keys::CHANGES);
    call.arg(engine.as_str()).arg(highest.get()).arg(ms(lease));
    let answer = Answer::of(link, "the take script", &call).await?;
    match answer.words()[..] {
        ["taken", term] => Ok(Take::Taken {
            term: answer.term(term)?,
            tail: None,
        }),
        ["taken", term, ref tail @ ..] => Ok(Take::Taken {
            term: answer.term(term)?,
            tail: Some(answer.tail(tail)?),
        }),
        ["held", by, left] => Ok(Take::Held {
            by: Grant::parse(by),
            left: left.parse().ok().map(Duration::from_millis),
        }),
        _ => Err(answer.malformed()),
    }
}

/// Prolongs the lease to `lease` from now.
///
/// # Errors
/// `RedisError`; with `NoAnswer` and `Cut` it may have been prolonged.
pub async fn renew(
    link: &mut CommandLink,
    grant: &Grant,
    lease: Duration,
) -> Result<Kept, RedisError> {
    let mut call = RENEW.prepare_invoke();
    call.key(keys::ENGINE);
    call.arg(grant.to_string()).arg(ms(lease));
    kept(&Answer::of(link, "the renewal script", &call).await?)
}

/// Gives the lease back.
///
/// # Errors
/// `RedisError`; with `NoAnswer` and `Cut` it may have been given back.
pub async fn release(link: &mut CommandLink, grant: &Grant) -> Result<Kept, RedisError> {
    let mut call = RELEASE.prepare_invoke();
    call.key(keys::ENGINE).arg(grant.to_string());
    kept(&Answer::of(link, "the release script", &call).await?)
}

/// Appends a burst, all of it or nothing, and returns the log's new tail.
///
/// # Errors
/// `RedisError`; with `NoAnswer` and `Cut` the burst may have been written: read the log from its first number on.
pub async fn append(
    link: &mut CommandLink,
    grant: &Grant,
    burst: Burst<'_>,
) -> Result<Result<Tail, Refusal>, RedisError> {
    let at = link.at().clone();
    let unwritable = |error: serde_json::Error| RedisError::Malformed {
        at: at.clone(),
        what: "our own change",
        detail: error.to_string(),
    };
    let mut call = APPEND.prepare_invoke();
    call.key(keys::ENGINE).key(keys::CHANGES).key(keys::SERIES);
    call.arg(grant.to_string())
        .arg(grant.engine.as_str())
        .arg(grant.term.get())
        .arg(burst.epoch.as_str())
        .arg(KEPT_CHANGES)
        .arg(keys::SIGNALS);
    call.arg(burst.changes.len())
        .arg(burst.told.len())
        .arg(burst.forgotten.len());
    for change in burst.changes {
        call.arg(change.seq.get())
            .arg(change.body.id().to_string())
            .arg(serde_json::to_string(change).map_err(unwritable)?);
    }
    for (series, entry) in burst.told {
        call.arg(keys::field(series))
            .arg(serde_json::to_string(entry).map_err(unwritable)?);
    }
    for series in burst.forgotten {
        call.arg(keys::field(series));
    }
    let answer = Answer::of(link, "the append script", &call).await?;
    match answer.words()[..] {
        ["appended", ref tail @ ..] => Ok(Ok(answer.tail(tail)?)),
        _ => answer.refusal().map(Err),
    }
}

/// Empties the log and what was told of the series, and begins the numbering `new` in place of `old` (None: no log).
///
/// # Errors
/// `RedisError`; with `NoAnswer` and `Cut` it may have begun: read the log's tail.
pub async fn begin_epoch(
    link: &mut CommandLink,
    grant: &Grant,
    old: Option<&Epoch>,
    new: &Epoch,
) -> Result<Result<(), Refusal>, RedisError> {
    let mut call = BEGIN_EPOCH.prepare_invoke();
    call.key(keys::ENGINE).key(keys::CHANGES).key(keys::SERIES);
    call.arg(grant.to_string())
        .arg(grant.engine.as_str())
        .arg(grant.term.get())
        .arg(old.map_or("", Epoch::as_str))
        .arg(new.as_str());
    let answer = Answer::of(link, "the script for a new epoch", &call).await?;
    match answer.words()[..] {
        ["begun"] => Ok(Ok(())),
        _ => answer.refusal().map(Err),
    }
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn kept(answer: &Answer) -> Result<Kept, RedisError> {
    match answer.words()[..] {
        ["renewed" | "released"] => Ok(Kept::Done),
        ["fenced", by] => Ok(Kept::Fenced {
            by: Grant::parse(by),
        }),
        _ => Err(answer.malformed()),
    }
}

/// What a script answered: words, the first of which says what the others are.
struct Answer {
    at: Arc<str>,
    what: &'static str,
    words: Vec<String>,
}

impl Answer {
    async fn of(
        link: &mut CommandLink,
        what: &'static str,
        call: &redis::ScriptInvocation<'_>,
    ) -> Result<Self, RedisError> {
        let words = link.script(what, call).await?;
        let at = link.at().clone();
        Ok(Self { at, what, words })
    }

    fn words(&self) -> Vec<&str> {
        self.words.iter().map(String::as_str).collect()
    }

    fn refusal(&self) -> Result<Refusal, RedisError> {
        match self.words()[..] {
            ["fenced", by] => Ok(Refusal::Fenced {
                by: Grant::parse(by),
            }),
            ["other_epoch", ref tail @ ..] => Ok(Refusal::OtherEpoch {
                tail: self.tail(tail)?,
            }),
            ["not_next", ref tail @ ..] => Ok(Refusal::NotNext {
                tail: self.tail(tail)?,
            }),
            ["missing"] => Ok(Refusal::LogMissing),
            _ => Err(self.malformed()),
        }
    }

    fn tail(&self, words: &[&str]) -> Result<Tail, RedisError> {
        let &[id, epoch, term] = words else {
            return Err(self.malformed());
        };
        let id = EntryId::parse(id).ok_or_else(|| self.malformed())?;
        Ok(Tail {
            epoch: Epoch::new(epoch),
            seq: id.seq(),
            term: self.term(term)?,
        })
    }

    fn term(&self, word: &str) -> Result<Term, RedisError> {
        word.parse()
            .map(Term::new)
            .map_err(|_not_a_number| self.malformed())
    }

    fn malformed(&self) -> RedisError {
        let shown = format!("{:?}", self.words);
        RedisError::Malformed {
            at: self.at.clone(),
            what: self.what,
            detail: shown.chars().take(200).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(words: &[&str]) -> Answer {
        Answer {
            at: "h:1".into(),
            what: "a script",
            words: words.iter().map(|word| (*word).to_owned()).collect(),
        }
    }

    #[test]
    fn any_answer_is_understood_or_refused() {
        let mut random = fastrand::Rng::with_seed(3);
        let words = [
            "fenced",
            "a 1",
            "other_epoch",
            "not_next",
            "7-0",
            "0-1",
            "e",
            "missing",
            "",
            "-1",
            "x",
            "99999999999999999999",
            "renewed",
            "1042-1",
        ];
        let mut understood = 0;
        for _ in 0..50_000 {
            let said: Vec<_> = (0..random.usize(..5))
                .map(|_| words[random.usize(..words.len())])
                .collect();
            understood += u32::from(answer(&said).refusal().is_ok());
            understood += u32::from(kept(&answer(&said)).is_ok());
        }
        assert!(understood > 100, "{understood}");
        let tail = answer(&["not_next", "7-0", "e", "3"]).refusal().unwrap();
        let expected = Tail {
            epoch: Epoch::new("e"),
            seq: Seq::new(7),
            term: Term::new(3),
        };
        assert_eq!(tail, Refusal::NotNext { tail: expected });
        let error = answer(&["nonsense"]).refusal().unwrap_err();
        assert!(error.to_string().contains("nonsense"), "{error}");
    }
}
