//! What stands in Redis as JSON beside the log: results with their revision, the beat, the watch list for hubs.
//! A reader ignores fields it does not know and refuses what it cannot read; nothing here panics on foreign bytes.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::market::{SeriesKey, Symbol, TimeMs};
use crate::signal::{Epoch, FeedStatus, Seq, SignalResult};

/// Which of two results is newer: the term of the engine that wrote it, then that engine's counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub(super) struct Rev(pub(super) u64, pub(super) u64);

/// A result with its revision, and the database it is written to, in front of the fields of `/api/v1`.
pub(super) fn result_json(
    result: &SignalResult,
    rev: Rev,
    db: i64,
) -> Result<String, serde_json::Error> {
    let body = serde_json::to_string(result)?;
    let fields = body.strip_prefix('{').unwrap_or(&body);
    Ok(format!(
        "{{\"rev\":[{},{}],\"db\":{db},{fields}",
        rev.0, rev.1
    ))
}

/// What stands in front of a result.
#[derive(Deserialize)]
struct Stamp {
    rev: Rev,
    db: Option<i64>,
}

/// Reads what `result_json` wrote.
pub(super) fn read_result(json: &[u8]) -> Result<(Rev, SignalResult), serde_json::Error> {
    let stamp: Stamp = serde_json::from_slice(json)?;
    Ok((stamp.rev, serde_json::from_slice(json)?))
}

/// As `read_result`, of what was published; none when that is of another database than `db`.
pub(super) fn read_published(
    json: &[u8],
    db: i64,
) -> Result<Option<(Rev, SignalResult)>, serde_json::Error> {
    let stamp: Stamp = serde_json::from_slice(json)?;
    if !is_of(stamp.db, db) {
        return Ok(None);
    }
    Ok(Some((stamp.rev, serde_json::from_slice(json)?)))
}

/// Whether a message is of database `db`. Channels are those of the whole server: a deployment in another of its databases
/// is heard too. What does not say where it is from counts as ours.
pub(super) fn is_of(said: Option<i64>, db: i64) -> bool {
    said.is_none_or(|said| said == db)
}

/// What the active engine says every second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Beat {
    pub(super) engine: String,
    pub(super) epoch: Epoch,
    pub(super) term: u64,
    /// Number of the newest change.
    pub(super) seq: Seq,
    /// The exchange's time.
    pub(super) time: TimeMs,
    /// It is on its way out; another may take over at once.
    #[serde(default)]
    pub(super) leaving: bool,
    /// State of the feed; none before the engine has told it.
    pub(super) status: Option<FeedStatus>,
    /// Version of `hama:{log}:universe`.
    pub(super) universe: u64,
    /// Number of the database its engine writes to.
    #[serde(default)]
    pub(super) db: Option<i64>,
}

/// The watch list as hubs read it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct WatchedSeries {
    /// Every series that is watched.
    pub series: BTreeSet<SeriesKey>,
    /// What else the engine says of its contracts and itself: JSON of its own, opaque here.
    pub about: String,
    /// Every perpetual the exchange trades; the store fills it in from `Write::Tradable`. Empty: not known.
    #[serde(default)]
    pub tradable: BTreeSet<Symbol>,
}
