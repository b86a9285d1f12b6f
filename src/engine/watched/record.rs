//! What readers were told of a series: by our own count while this engine speaks, by the log's when it is given the word.
//! It is what changes are computed against once the plain order of things is broken: after a takeover, a stop, or a
//! revision of candles nobody has been told of yet.

use std::collections::BTreeMap;

use crate::market::TimeMs;
use crate::signal::{ChangeBody, Stand};
use crate::store::{Base, Told};

/// What readers were told of one series, as far back as candles are kept.
pub(super) struct Record {
    /// Changes at closes after it are known, all of them.
    since: TimeMs,
    base: Base,
    stands: Vec<Stand>,
    revisions: BTreeMap<TimeMs, u32>,
}

impl Record {
    /// The first live result was told, and with it `base`.
    pub(super) const fn beginning(base: Base) -> Self {
        Self {
            since: base.close_time,
            base,
            stands: Vec::new(),
            revisions: BTreeMap::new(),
        }
    }

    /// What the log says. What stood before its oldest remembered change is not known.
    pub(super) fn of_log(told: &Told) -> Self {
        let oldest = told.stands.first();
        Self {
            since: oldest.map_or(told.base.close_time, |stand| {
                stand.candle_close_time.plus_ms(-1)
            }),
            base: told.base,
            stands: told.stands.clone(),
            revisions: told.revisions.clone(),
        }
    }

    pub(super) const fn since(&self) -> TimeMs {
        self.since
    }

    pub(super) const fn base(&self) -> Base {
        self.base
    }

    pub(super) fn stands(&self) -> &[Stand] {
        &self.stands
    }

    /// The number of the next correction of the candle that closes at `close_time`.
    pub(super) fn next_revision(&self, close_time: TimeMs) -> u32 {
        self.revisions.get(&close_time).map_or(1, |last| last + 1)
    }

    /// `body` is told.
    pub(super) fn note(&mut self, body: &ChangeBody) {
        match body {
            ChangeBody::Signal(change) => self.stands.push(Stand {
                candle_close_time: change.candle_close_time,
                recommendation: change.recommendation,
                previous: change.previous,
            }),
            ChangeBody::Correction(correction) => {
                self.stands
                    .retain(|stand| !correction.corrects.contains(&stand.candle_close_time));
                self.stands.extend_from_slice(&correction.stands);
                self.stands.sort_by_key(|stand| stand.candle_close_time);
                self.revisions
                    .insert(correction.candle_close_time, correction.revision);
            }
        }
    }

    /// Everything up to `base` is told.
    pub(super) const fn reach(&mut self, base: Base) {
        self.base = base;
    }

    /// The candle that closed at `close_time` is no longer kept.
    pub(super) fn forget(&mut self, close_time: TimeMs) {
        self.stands
            .retain(|stand| stand.candle_close_time > close_time);
        self.revisions.remove(&close_time);
        self.since = self.since.max(close_time);
    }
}
