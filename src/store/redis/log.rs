//! Reading the log of changes and what was told of the series. Entries come as they were appended: an entry that cannot
//! be read is an error, never skipped, since behind it a change would be missing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use redis::streams::{StreamId, StreamRangeReply, StreamReadReply};
use serde::{Deserialize, Serialize};

use super::connect::{BlockingLink, CommandLink};
use super::error::{BadEntry, RedisError};
use super::grant::{EngineId, Term};
use super::keys;
use super::scripts::Tail;
use crate::market::{SeriesKey, SeriesStatus};
use crate::signal::{Change, Epoch, Seq};
use crate::store::Base;

/// Entries of one page of `read_page` and at most of one `read_after`.
pub const PAGE: usize = 500;
/// How long Redis waits for a new entry before it answers that there is none.
pub const BLOCK_MS: usize = 1_000;

/// Where an entry stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryId {
    /// Before everything: an epoch is read from here on.
    Start,
    /// The mark with which an epoch begins.
    Mark,
    /// The change of this number.
    Change(Seq),
}

impl EntryId {
    /// None for an id that no script of ours gives.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "0-1" {
            return Some(Self::Mark);
        }
        let seq: u64 = text.strip_suffix("-0")?.parse().ok()?;
        (seq > 0).then_some(Self::Change(Seq::new(seq)))
    }

    /// The place before the change of this number.
    pub const fn before(seq: Seq) -> Self {
        match seq.get() {
            0 | 1 => Self::Mark,
            n => Self::Change(Seq::new(n - 1)),
        }
    }

    /// Number of the last change up to here.
    pub const fn seq(self) -> Seq {
        match self {
            Self::Start | Self::Mark => Seq::NONE,
            Self::Change(seq) => seq,
        }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("0-0"),
            Self::Mark => f.write_str("0-1"),
            Self::Change(seq) => write!(f, "{seq}-0"),
        }
    }
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// An epoch begins.
    Mark {
        /// Which.
        epoch: Epoch,
        /// Term of the engine that began it.
        term: Term,
        /// That engine.
        engine: EngineId,
    },
    /// A change.
    Change {
        /// Term of the engine that told it.
        term: Term,
        /// That engine.
        engine: EngineId,
        /// The change, with number and epoch.
        change: Arc<Change>,
    },
}

impl Entry {
    /// Where it stands.
    pub fn id(&self) -> EntryId {
        match self {
            Self::Mark { .. } => EntryId::Mark,
            Self::Change { change, .. } => EntryId::Change(change.seq),
        }
    }

    /// The numbering it belongs to.
    pub fn epoch(&self) -> &Epoch {
        match self {
            Self::Mark { epoch, .. } => epoch,
            Self::Change { change, .. } => &change.epoch,
        }
    }

    /// Term of the engine that wrote it.
    pub const fn term(&self) -> Term {
        match self {
            Self::Mark { term, .. } | Self::Change { term, .. } => *term,
        }
    }

    fn tail(&self) -> Tail {
        Tail {
            epoch: self.epoch().clone(),
            seq: self.id().seq(),
            term: self.term(),
        }
    }
}

/// What was told of a series: a value of the hash of series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeriesEntry {
    /// State of the series.
    pub status: SeriesStatus,
    /// Number of its last change in this epoch, 0 before the first.
    pub change_seq: Seq,
    /// Up to where the log is complete; None before the series was live in this epoch.
    pub base: Option<Base>,
}

/// The log's newest entry; None for a missing or empty log.
///
/// # Errors
/// `RedisError`, as every function here.
pub async fn tail(link: &mut CommandLink) -> Result<Option<Tail>, RedisError> {
    let mut command = redis::cmd("XREVRANGE");
    command.arg(keys::CHANGES).arg("+").arg("-");
    let entries = range(link, command.arg("COUNT").arg(1)).await?;
    Ok(entries.first().map(Entry::tail))
}

/// The log's oldest entry; None for a missing or empty log. Is it the mark, nothing was trimmed.
///
/// # Errors
/// `RedisError`.
pub async fn first_kept(link: &mut CommandLink) -> Result<Option<Entry>, RedisError> {
    let mut command = redis::cmd("XRANGE");
    command.arg(keys::CHANGES).arg("-").arg("+");
    let entries = range(link, command.arg("COUNT").arg(1)).await?;
    Ok(entries.into_iter().next())
}

/// The entry at `id`; None when the log does not hold it.
///
/// # Errors
/// `RedisError`.
pub async fn entry_at(link: &mut CommandLink, id: EntryId) -> Result<Option<Entry>, RedisError> {
    let mut command = redis::cmd("XRANGE");
    let id = id.to_string();
    let entries = range(link, command.arg(keys::CHANGES).arg(&id).arg(&id)).await?;
    Ok(entries.into_iter().next())
}

/// At most `PAGE` entries after `after`, oldest first; an empty page is the end.
///
/// # Errors
/// `RedisError`.
pub async fn read_page(link: &mut CommandLink, after: EntryId) -> Result<Vec<Entry>, RedisError> {
    let mut command = redis::cmd("XRANGE");
    command.arg(keys::CHANGES).arg(format!("({after}")).arg("+");
    range(link, command.arg("COUNT").arg(PAGE)).await
}

/// Waits up to a second for entries after `after`, at most `PAGE`; none is an answer too. The link comes back with the
/// answer; after an error, or when the caller gives up, it is gone. Entries of another epoch are returned as they stand;
/// one whose numbers are lower is only seen by `entry_at` and `tail`.
///
/// # Errors
/// `RedisError`.
pub async fn read_after(
    link: BlockingLink,
    after: EntryId,
) -> Result<(BlockingLink, Vec<Entry>), RedisError> {
    let mut command = redis::cmd("XREAD");
    command.arg("BLOCK").arg(BLOCK_MS).arg("COUNT").arg(PAGE);
    command
        .arg("STREAMS")
        .arg(keys::CHANGES)
        .arg(after.to_string());
    let (link, reply): (_, Option<StreamReadReply>) =
        link.query("the read of the log", &command).await?;
    let ids = reply.into_iter().flat_map(|reply| reply.keys);
    let entries = ids
        .flat_map(|stream| stream.ids)
        .map(|id| entry(link.at(), id));
    let entries = entries.collect::<Result<_, _>>()?;
    Ok((link, entries))
}

/// What was told of every watched series. A field that cannot be read is left out, with a warning: it is as if its
/// series had not been live yet, and its base is written anew.
///
/// # Errors
/// `RedisError`.
pub async fn read_series(
    link: &mut CommandLink,
) -> Result<BTreeMap<SeriesKey, SeriesEntry>, RedisError> {
    let command = redis::cmd("HGETALL").arg(keys::SERIES).to_owned();
    let fields: Vec<(Vec<u8>, Vec<u8>)> = link.query("the read of the series", &command).await?;
    let mut series = BTreeMap::new();
    for (field, json) in fields {
        let field = String::from_utf8_lossy(&field);
        match (keys::series_of_field(&field), serde_json::from_slice(&json)) {
            (Some(key), Ok(entry)) => {
                series.insert(key, entry);
            }
            (None, _) => tracing::warn!(%field, "a field of the series hash names no series"),
            (Some(_), Err(error)) => {
                tracing::warn!(%field, %error, "a field of the series hash cannot be read");
            }
        }
    }
    Ok(series)
}

async fn range(link: &mut CommandLink, command: &redis::Cmd) -> Result<Vec<Entry>, RedisError> {
    let reply: StreamRangeReply = link.query("the read of the log", command).await?;
    let ids = reply.ids.into_iter();
    ids.map(|id| entry(link.at(), id)).collect()
}

fn entry(at: &Arc<str>, stored: StreamId) -> Result<Entry, RedisError> {
    read(&stored).map_err(|source| RedisError::BadEntry {
        at: at.clone(),
        id: stored.id,
        source,
    })
}

fn read(stored: &StreamId) -> Result<Entry, BadEntry> {
    let text = |name: &'static str| {
        let text: Option<String> = stored.get(name);
        text.ok_or(BadEntry::Field(name))
    };
    let id = EntryId::parse(&stored.id).ok_or(BadEntry::Id)?;
    let epoch = text("epoch")?;
    let term = text("term")?.parse();
    let term = Term::new(term.map_err(|_not_a_number| BadEntry::Field("term"))?);
    let engine = EngineId::parse(&text("engine")?).map_err(|_no_name| BadEntry::Field("engine"))?;
    let seq = match id {
        EntryId::Change(seq) => seq,
        EntryId::Start | EntryId::Mark => {
            let epoch = Epoch::new(&epoch);
            return Ok(Entry::Mark {
                epoch,
                term,
                engine,
            });
        }
    };
    let change: Change = serde_json::from_str(&text("json")?).map_err(BadEntry::Json)?;
    if change.seq != seq {
        return Err(BadEntry::Contradicts("seq"));
    }
    if change.epoch.as_str() != epoch {
        return Err(BadEntry::Contradicts("epoch"));
    }
    if change.body.id().to_string() != text("id")? {
        return Err(BadEntry::Contradicts("id"));
    }
    let change = Arc::new(change);
    Ok(Entry::Change {
        term,
        engine,
        change,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_the_scripts_give() {
        for (text, id) in [
            ("0-1", Some(EntryId::Mark)),
            ("1042-0", Some(EntryId::Change(Seq::new(1042)))),
            ("0-0", None),
            ("1-1", None),
            ("", None),
            ("-0", None),
            ("1766999700000-7", None),
        ] {
            assert_eq!(EntryId::parse(text), id, "{text}");
            if let Some(id) = id {
                assert_eq!(id.to_string(), text);
            }
        }
        assert!(EntryId::Start < EntryId::Mark && EntryId::Mark < EntryId::Change(Seq::new(1)));
    }

    #[test]
    fn what_was_told_of_a_series_is_plain_json() {
        let text = r#"{"status":"live","change_seq":7,"base":{"close_time":1767000599999,"recommendation":"BUY"}}"#;
        let entry: SeriesEntry = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&entry).unwrap(), text);
        let new = r#"{"status":"warming","change_seq":0,"base":null}"#;
        let entry: SeriesEntry = serde_json::from_str(new).unwrap();
        assert_eq!(serde_json::to_string(&entry).unwrap(), new);
    }
}
