//! What the log says of each series, and the next number. Identity is decided here and nowhere else: a change that was
//! told is never numbered again, whoever computes it and however often.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::batch::{Base, Told, ToldOfAll};
use crate::market::{SeriesKey, Symbol, TimeMs};
use crate::signal::{Change, ChangeBody, Correction, Epoch, Seq, SignalChange, Stand};

/// Changes remembered of a series: more than there can be on the candles an engine keeps.
const REMEMBERED: usize = 1_500;

/// The numbering of one epoch.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    epoch: Epoch,
    head: Seq,
    series: HashMap<SeriesKey, Account>,
}

/// What was told of one series.
#[derive(Debug, Clone, Default)]
struct Account {
    last: Seq,
    /// Close time of the candle whose change stands last.
    last_close: Option<TimeMs>,
    base: Option<Base>,
    stands: VecDeque<Stand>,
    /// By close time of the candle, for corrections to name them.
    numbers: VecDeque<(TimeMs, Seq)>,
    /// Corrections given per candle, by its close time.
    revisions: BTreeMap<TimeMs, u32>,
}

impl Ledger {
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            head: Seq::NONE,
            series: HashMap::new(),
        }
    }

    pub(crate) fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    pub(crate) fn head(&self) -> Seq {
        self.head
    }

    /// Number and close time of the series' last change.
    pub(crate) fn last_of(&self, key: &SeriesKey) -> (Seq, Option<TimeMs>) {
        self.series
            .get(key)
            .map_or((Seq::NONE, None), |told| (told.last, told.last_close))
    }

    /// Up to where the log is complete for the series; none before it was live.
    pub(crate) fn base_of(&self, key: &SeriesKey) -> Option<Base> {
        self.series.get(key)?.base
    }

    /// Gives `body` the next number. None when its identity has a number already.
    pub(crate) fn number(&mut self, body: ChangeBody) -> Option<Arc<Change>> {
        let told = self.series.entry(body.key().clone()).or_default();
        if told.knows(&body) {
            return None;
        }
        let corrects = match &body {
            ChangeBody::Signal(_) => Vec::new(),
            ChangeBody::Correction(correction) => told.numbers_of(&correction.corrects),
        };
        let change = Change {
            seq: self.head.next(),
            prev_seq: told.last,
            epoch: self.epoch.clone(),
            corrects,
            body,
        };
        self.note(&change);
        Some(Arc::new(change))
    }

    /// Takes in a change that has its number.
    pub(crate) fn note(&mut self, change: &Change) {
        let told = self.series.entry(change.body.key().clone()).or_default();
        match &change.body {
            ChangeBody::Signal(signal) => told.note_signal(signal),
            ChangeBody::Correction(correction) => {
                told.note_correction(correction, &change.corrects);
            }
        }
        told.last = change.seq;
        told.numbers
            .push_back((change.body.candle_close_time(), change.seq));
        told.trim();
        self.head = self.head.max(change.seq);
    }

    /// The series is live for the first time in this epoch, with this told.
    pub(crate) fn begin(&mut self, key: &SeriesKey, base: Base) {
        self.series.entry(key.clone()).or_default().base = Some(base);
    }

    /// What is known of a series whose changes are no longer all in the log: its last number and its base.
    pub(crate) fn restore(&mut self, key: &SeriesKey, last: Seq, base: Option<Base>) {
        let told = self.series.entry(key.clone()).or_default();
        told.last = told.last.max(last);
        told.base = base.or(told.base);
    }

    /// These contracts are no longer watched: should one come back, it begins anew.
    pub(crate) fn forget(&mut self, removed: &[Symbol]) {
        for (key, told) in &mut self.series {
            if removed.contains(&key.symbol) {
                told.base = None;
            }
        }
    }

    /// Only these series have been live in this epoch.
    pub(crate) fn keep_bases_of(&mut self, is_known: impl Fn(&SeriesKey) -> bool) {
        for (key, told) in &mut self.series {
            if !is_known(key) {
                told.base = None;
            }
        }
    }

    /// What readers were told of every series that has been live.
    pub(crate) fn told(&self) -> ToldOfAll {
        let told = self.series.iter().filter_map(|(key, account)| {
            let told = Told {
                base: account.base?,
                stands: account.stands.iter().copied().collect(),
                revisions: account.revisions.clone(),
            };
            Some((key.clone(), told))
        });
        told.collect()
    }

    /// The same identities under a numbering of its own: what was told stays told.
    pub(crate) fn renumbered(&self, epoch: Epoch) -> Self {
        let mut ledger = Self {
            epoch,
            head: Seq::NONE,
            series: self.series.clone(),
        };
        for told in ledger.series.values_mut() {
            told.last = Seq::NONE;
            told.numbers.clear();
        }
        ledger
    }
}

impl Account {
    fn knows(&self, body: &ChangeBody) -> bool {
        match body {
            ChangeBody::Signal(signal) => self
                .last_close
                .is_some_and(|last| signal.candle_close_time <= last),
            ChangeBody::Correction(correction) => self
                .revisions
                .get(&correction.candle_close_time)
                .is_some_and(|last| correction.revision <= *last),
        }
    }

    fn note_signal(&mut self, signal: &SignalChange) {
        self.stands.push_back(Stand {
            candle_close_time: signal.candle_close_time,
            recommendation: signal.recommendation,
            previous: signal.previous,
        });
        self.last_close = Some(signal.candle_close_time);
        self.base = Some(Base {
            close_time: signal.candle_close_time,
            recommendation: signal.recommendation,
        });
    }

    /// A correction that was read names what it takes back by number alone.
    fn note_correction(&mut self, correction: &Correction, numbers: &[Seq]) {
        let named = self.numbers.iter().filter(|(_, seq)| numbers.contains(seq));
        let mut corrects: Vec<TimeMs> = named.map(|(close, _)| *close).collect();
        corrects.extend(&correction.corrects);
        let told = self
            .revisions
            .entry(correction.candle_close_time)
            .or_default();
        *told = correction.revision.max(*told);
        self.stands
            .retain(|stand| !corrects.contains(&stand.candle_close_time));
        self.stands.extend(&correction.stands);
        let stands = self.stands.make_contiguous();
        stands.sort_by_key(|stand| stand.candle_close_time);
        let newest = correction.stands.last().map(|s| s.candle_close_time);
        let standing = self.last_close.filter(|last| !corrects.contains(last));
        let last_close = newest.max(standing).or(self.last_close);
        self.last_close = last_close.or(Some(correction.candle_close_time));
        // It speaks of every candle up to the newest closed one; of the base it may only move on.
        let close_time = self.base.map(|base| base.close_time);
        self.base = Some(Base {
            close_time: close_time
                .max(newest)
                .max(Some(correction.candle_close_time))
                .unwrap_or(correction.candle_close_time),
            recommendation: correction.recommendation,
        });
    }

    /// Numbers of the changes at these closes, as far as they are remembered.
    fn numbers_of(&self, closes: &[TimeMs]) -> Vec<Seq> {
        let named = self
            .numbers
            .iter()
            .filter(|(close, _)| closes.contains(close));
        named.map(|(_, seq)| *seq).collect()
    }

    fn trim(&mut self) {
        while self.stands.len() > REMEMBERED {
            self.stands.pop_front();
        }
        while self.numbers.len() > REMEMBERED {
            self.numbers.pop_front();
        }
        while self.revisions.len() > REMEMBERED {
            self.revisions.pop_first();
        }
    }
}
