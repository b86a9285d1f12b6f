//! Reading the log for those who resume: its newest part from the shard's memory, older parts a page at a time from the
//! store. Never beyond the shard's own head, whatever the store has by then: what follows comes as news.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use super::build::{Builder, Joined};
use super::items;
use super::protocol::Cursor;
use super::replay::signal_topics;
use super::session::SessionId;
use super::settings::Form;
use super::shard::Shard;
use super::topic::Topic;
use super::topics::TopicId;
use crate::market::{Interval, SeriesKey};
use crate::signal::{Change, Seq};
use crate::store::ChangeFilter;

/// Changes of one piece: about 16 KiB.
const PIECE: usize = 32;

/// Changes looked at for one piece: a reader of one series must not keep the shard at it.
const LOOKED_AT: usize = 1_024;

/// Changes asked of the store at once.
const PAGE: usize = 256;

/// What becomes of a `since`.
#[derive(Debug)]
pub(super) enum Plan {
    /// The log has not been read that far yet.
    Wait,
    /// Not possible, for this reason: the snapshot is the truth.
    Anew(&'static str),
    /// So many changes are missing.
    Replay(usize),
}

/// Framed changes, and how far in the log they reach.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    pub(super) reached: Seq,
}

/// Which series any of some topics is about.
struct Asked<'a> {
    series: HashSet<&'a SeriesKey>,
    intervals: HashSet<Interval>,
}

impl<'a> Asked<'a> {
    fn new(topics: &'a [Topic]) -> Self {
        let (mut series, mut intervals) = (HashSet::new(), HashSet::new());
        for topic in topics {
            match topic {
                Topic::Signal(key) | Topic::Hama(key) => {
                    series.insert(key);
                }
                Topic::SignalAll(interval) | Topic::HamaAll(interval) => {
                    intervals.insert(*interval);
                }
                Topic::Status => {}
            }
        }
        Self { series, intervals }
    }

    fn matches(&self, change: &Change) -> bool {
        let key = change.body.key();
        self.intervals.contains(&key.interval) || self.series.contains(key)
    }
}

impl Shard {
    /// Whether and what `topics` can resume from `since`, up to `until`.
    pub(super) fn plan(&self, topics: &[Topic], since: &Cursor, until: Seq) -> Plan {
        let sure = self.is_sure(since);
        if since.epoch != *self.world.epoch() {
            return if sure {
                Plan::Anew("epoch")
            } else {
                Plan::Wait
            };
        }
        if since.seq > self.world.head() {
            let published = self.store.published();
            let known = published.epoch == since.epoch && since.seq <= published.seq;
            return if known || !sure {
                Plan::Wait
            } else {
                Plan::Anew("ahead")
            };
        }
        if since.seq == self.world.head() {
            return Plan::Replay(0);
        }
        match self.count_missed(topics, since.seq, until) {
            Some(missed) if missed > self.settings.limits.replay_max => Plan::Anew("too_many"),
            Some(missed) => Plan::Replay(missed),
            None if self.is_quiet_since(topics, since.seq, until) => Plan::Replay(0),
            None => Plan::Anew("too_old"),
        }
    }

    /// Whether nothing changed after `since`, of which the log no longer has all: what is left of it says so, and of what
    /// is trimmed the results do. They alone are not enough, since a series may have left.
    fn is_quiet_since(&self, topics: &[Topic], since: Seq, until: Seq) -> bool {
        let newest = topics.iter().map(|topic| self.world.last_change_of(topic));
        let kept_from = self.store.published().kept_from;
        let before_kept = Seq::new(kept_from.get().saturating_sub(1));
        newest.max().is_none_or(|newest| newest <= since)
            && self.count_missed(topics, before_kept, until) == Some(0)
    }

    /// Whether a cursor we do not know is unknown to the log too: another process writes it, and a reader that comes from
    /// another hub may be ahead of ours. Two reads on, one of them began after the question.
    pub(super) fn is_sure(&self, since: &Cursor) -> bool {
        self.store
            .tail_reads()
            .is_none_or(|now| since.held_at_read.is_some_and(|then| now >= then + 2))
    }

    /// How many changes match. One more than a replay may have is enough to know.
    fn count_missed(&self, topics: &[Topic], since: Seq, until: Seq) -> Option<usize> {
        let asked = Asked::new(topics);
        let mut missed = 0;
        self.walk(since, until, |change, _| {
            missed += usize::from(asked.matches(change));
            go_on_if(missed <= self.settings.limits.replay_max)
        })?;
        Some(missed)
    }

    /// The last number before the first change of the session's own streams after `after`, else the head.
    pub(super) fn quiet_until(&self, id: SessionId, after: Seq) -> Seq {
        let head = self.world.head();
        let Some(session) = self.sessions.get(id) else {
            return head;
        };
        let mut first = head.next();
        let walked = self.walk(after, head, |change, _| {
            let mut own = signal_topics(&self.topics, change.body.key());
            let is_own = own.any(|topic| session.topics.contains(&topic));
            if is_own {
                first = change.seq;
            }
            go_on_if(!is_own)
        });
        // Where the log does not reach back that far, catching up will say so.
        walked.map_or(after, |()| Seq::new(first.get().saturating_sub(1)))
    }

    /// The next wanted changes after `after` up to `until`, framed; none when the log no longer has them.
    pub(super) fn piece(
        &self,
        after: Seq,
        until: Seq,
        form: Form,
        wanted: impl Fn(TopicId, Seq) -> bool,
    ) -> Option<Piece> {
        let (mut bodies, mut touches) = (Vec::new(), Vec::new());
        let (mut looked_at, mut reached) = (0, until);
        self.walk(after, until, |change, item| {
            let before = touches.len();
            let topics = signal_topics(&self.topics, change.body.key());
            let topics = topics.filter(|topic| wanted(*topic, change.seq));
            touches.extend(topics.map(|topic| (bodies.len(), topic)));
            if touches.len() > before {
                bodies.push(item.cloned().unwrap_or_else(|| items::change(change)));
            }
            looked_at += 1;
            let more = bodies.len() < PIECE && looked_at < LOOKED_AT;
            if !more {
                reached = change.seq;
            }
            go_on_if(more)
        })?;
        let mut builder = Builder::new(&self.topics, form);
        builder.changes(&touches, |index| &bodies[index], &mut Joined::new());
        let bytes = builder.finish().bytes;
        Some(Piece { bytes, reached })
    }

    /// Shows `see` every change after `after` up to `until`, oldest first, with its item if it is still in memory, until
    /// it has seen enough. None: the log does not have all of them.
    fn walk<'s>(
        &'s self,
        mut after: Seq,
        until: Seq,
        mut see: impl FnMut(&Arc<Change>, Option<&'s Bytes>) -> ControlFlow<()>,
    ) -> Option<()> {
        let until = until.min(self.world.head());
        while after < until {
            if let Some(mut recent) = self.world.recent_after(after) {
                // Whether it had seen enough makes no difference here.
                let _ = recent
                    .try_for_each(|l| up_to(until, &l.change, || see(&l.change, Some(&l.item))));
                return Some(());
            }
            let all = ChangeFilter::default();
            let page = self.store.changes(after, PAGE, &all).ok()?;
            if page.epoch != *self.world.epoch() || after.next() < page.kept_from {
                return None;
            }
            after = page.changes.last()?.seq;
            let mut changes = page.changes.iter();
            if changes
                .try_for_each(|change| up_to(until, change, || see(change, None)))
                .is_break()
            {
                return Some(());
            }
        }
        Some(())
    }
}

fn up_to(until: Seq, change: &Change, see: impl FnOnce() -> ControlFlow<()>) -> ControlFlow<()> {
    if change.seq > until {
        return ControlFlow::Break(());
    }
    see()
}

fn go_on_if(more: bool) -> ControlFlow<()> {
    if more {
        ControlFlow::Continue(())
    } else {
        ControlFlow::Break(())
    }
}
