//! What waits for one connection's socket; empty for every reader that keeps up.
//! Order: the rest of the frame begun, control frames, what must come (answers, snapshots, changes), the goodbye; then
//! heartbeats and results, which are made from the newest state when their turn comes. Bounds: `Limits::slow_bytes`
//! and `slow_age` for changes, `REST_BYTES` for everything else; beyond them the connection is closed with 4008.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::build::{Built, What};
use super::close::CloseReason;
use super::settings::Limits;
use super::topics::TopicId;
use crate::clock::Mono;
use crate::market::SeriesKey;

/// Snapshots and answers of one connection: a dashboard's twelve array snapshots of 600 series are 5 MiB.
const REST_BYTES: usize = 16 * 1024 * 1024;

/// How much is handed to the socket at once: no more than the kernel keeps unsent (`TCP_NOTSENT_LOWAT`), so that
/// newer results can still replace older ones and pings are not stuck behind megabytes.
pub(super) const CHUNK_BYTES: usize = 16 * 1024;

#[derive(Debug)]
struct Waiting {
    bytes: Bytes,
    /// Since when, for a change.
    change_since: Option<Mono>,
}

/// A connection's queue.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    current: Bytes,
    current_since: Option<Mono>,
    ping: Option<Bytes>,
    pong: Option<Bytes>,
    must: VecDeque<Waiting>,
    change_bytes: usize,
    rest_bytes: usize,
    pub(super) results: BTreeSet<TopicId>,
    pub(super) arrays: BTreeMap<TopicId, BTreeSet<SeriesKey>>,
    pub(super) owes_status: bool,
    pub(super) owes_beat: bool,
    goodbye: Option<Bytes>,
}

impl Outbox {
    /// Whether a fresh buffer may go straight to the socket.
    pub(super) fn is_empty(&self) -> bool {
        self.is_clear()
            && self.results.is_empty()
            && self.arrays.is_empty()
            && !self.owes_status
            && !self.owes_beat
    }

    /// Whether nothing but what can be made anew waits.
    pub(super) fn is_clear(&self) -> bool {
        self.current.is_empty()
            && self.ping.is_none()
            && self.pong.is_none()
            && self.must.is_empty()
            && self.goodbye.is_none()
    }

    /// Bytes that wait.
    pub(super) fn queued_bytes(&self) -> usize {
        self.change_bytes + self.rest_bytes
    }

    /// What the socket is to take next.
    pub(super) fn current(&self) -> &Bytes {
        &self.current
    }

    /// The socket took `taken` bytes of it.
    pub(super) fn took(&mut self, taken: usize) {
        self.current = self.current.slice(taken..);
        if self.current.is_empty() {
            self.current = Bytes::new();
            self.current_since = None;
        }
    }

    /// An answer, a snapshot, an item that must come.
    pub(super) fn push(&mut self, bytes: Bytes) {
        self.rest_bytes += bytes.len();
        self.must.push_back(Waiting {
            bytes,
            change_since: None,
        });
    }

    /// Only one ping is ever under way.
    pub(super) fn ping(&mut self, frame: Bytes) {
        self.ping = Some(frame);
    }

    /// The newest ping is the one to answer.
    pub(super) fn pong(&mut self, frame: Bytes) {
        self.pong = Some(frame);
    }

    /// The last frame; what waits is sent before it if the reason says so.
    pub(super) fn goodbye(&mut self, reason: &CloseReason) {
        if self.goodbye.is_some() {
            return;
        }
        self.goodbye = Some(reason.frame());
        self.drop_renewable();
        if !reason.flushes() {
            self.must.clear();
            self.change_bytes = 0;
            self.rest_bytes = 0;
        }
    }

    /// Bytes that go next, before anything that waits: a piece of a replay, results made just now.
    pub(super) fn next(&mut self, bytes: Bytes) {
        debug_assert!(self.current.is_empty());
        self.current = bytes;
    }

    /// Takes what the socket did not: `built` from byte `sent` on.
    pub(super) fn absorb(&mut self, built: &Built, sent: usize, now: Mono) {
        let mut start = 0;
        for part in &built.parts {
            let end = part.end;
            if sent > start && sent < end {
                self.current = cut(&built.bytes, sent, end);
                self.current_since = matches!(part.what, What::Change).then_some(now);
            } else if sent <= start {
                self.absorb_part(&part.what, &built.bytes, start..end, now);
            }
            start = end;
        }
    }

    fn absorb_part(&mut self, what: &What, all: &Bytes, at: Range<usize>, now: Mono) {
        if self.goodbye.is_some() {
            return;
        }
        match what {
            What::Change => {
                let bytes = cut(all, at.start, at.end);
                self.change_bytes += bytes.len();
                self.must.push_back(Waiting {
                    bytes,
                    change_since: Some(now),
                });
            }
            What::Result(topic) => {
                self.results.insert(*topic);
            }
            What::Results(topic, keys) => {
                let waiting = self.arrays.entry(*topic).or_default();
                waiting.extend(keys.iter().cloned());
            }
            What::Status => self.owes_status = true,
            What::Beat => self.owes_beat = true,
        }
    }

    /// Moves the next frames up, when nothing is under way. False: only what can be made anew is left.
    pub(super) fn advance(&mut self) -> bool {
        if !self.current.is_empty() {
            return true;
        }
        if let Some(control) = self.pong.take().or_else(|| self.ping.take()) {
            self.current = control;
            return true;
        }
        if let Some(first) = self.pop() {
            self.current_since = first.change_since;
            self.current = first.bytes;
            self.add_small_ones();
            return true;
        }
        if let Some(goodbye) = self.goodbye.take() {
            self.current = goodbye;
            return true;
        }
        false
    }

    /// Small frames go together: one write for an answer and the snapshots after it.
    fn add_small_ones(&mut self) {
        let fits = |outbox: &Self, have: usize| {
            outbox
                .must
                .front()
                .is_some_and(|next| have + next.bytes.len() <= CHUNK_BYTES)
        };
        if !fits(self, self.current.len()) {
            return;
        }
        let mut together = BytesMut::from(&self.current[..]);
        while fits(self, together.len()) {
            let Some(next) = self.pop() else { break };
            self.current_since = self.current_since.or(next.change_since);
            together.extend_from_slice(&next.bytes);
        }
        self.current = together.freeze();
    }

    fn pop(&mut self) -> Option<Waiting> {
        let first = self.must.pop_front()?;
        if self.must.is_empty() {
            self.must = VecDeque::new(); // idle connections keep no buffers
        }
        match first.change_since {
            Some(_) => self.change_bytes -= first.bytes.len(),
            None => self.rest_bytes -= first.bytes.len(),
        }
        Some(first)
    }

    /// Forgets a topic that was unsubscribed.
    pub(super) fn forget(&mut self, topic: TopicId) {
        self.results.remove(&topic);
        self.arrays.remove(&topic);
    }

    /// Forgets what would be made anew: results and heartbeats.
    pub(super) fn drop_renewable(&mut self) {
        self.results.clear();
        self.arrays.clear();
        self.owes_status = false;
        self.owes_beat = false;
    }

    /// Whether the reader is too slow by now.
    pub(super) fn verdict(&self, limits: &Limits, now: Mono) -> Option<CloseReason> {
        if self.queued_bytes() == 0 && self.current_since.is_none() {
            return None;
        }
        let too_old = u128::from(self.oldest_ms(now)) > limits.slow_age.as_millis();
        let too_much = self.change_bytes > limits.slow_bytes || self.rest_bytes > REST_BYTES;
        (too_old || too_much).then(|| self.slow(now))
    }

    /// How slow the reader is.
    pub(super) fn slow(&self, now: Mono) -> CloseReason {
        CloseReason::Slow {
            bytes: self.queued_bytes() + self.current.len(),
            oldest_ms: self.oldest_ms(now),
        }
    }

    /// Age of the oldest change that waits.
    fn oldest_ms(&self, now: Mono) -> u64 {
        let waiting = || self.must.iter().find_map(|waiting| waiting.change_since);
        let oldest = self.current_since.or_else(waiting);
        oldest.map_or(0, |since| now.ms_since(since))
    }
}

/// A stretch of a buffer that may wait. A small one is copied: it would keep the whole buffer, of which most is results
/// that are made anew. A large one is shared with all who wait for it.
fn cut(bytes: &Bytes, start: usize, end: usize) -> Bytes {
    if (end - start).saturating_mul(4) < bytes.len() {
        Bytes::copy_from_slice(&bytes[start..end])
    } else {
        bytes.slice(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::build::Part;

    #[test]
    fn a_small_change_that_waits_does_not_keep_the_large_buffer_it_came_in() {
        let bytes = Bytes::from(vec![b'x'; 100_000]);
        let parts = vec![
            Part {
                end: 300,
                what: What::Change,
            },
            Part {
                end: 100_000,
                what: What::Status,
            },
        ];
        let built = Built { bytes, parts };
        let mut outbox = Outbox::default();
        outbox.absorb(&built, 0, Mono::from_ms(0));
        assert_eq!(outbox.queued_bytes(), 300);
        assert!(built.bytes.is_unique());
        let mut begun = Outbox::default();
        begun.absorb(&built, 299, Mono::from_ms(0));
        assert_eq!(begun.current().len(), 1);
        assert!(built.bytes.is_unique());
    }
}
