//! What a shard does by the clock: pings, deadlines, slow readers; and its goodbyes at the end.

use futures::StreamExt;
use tokio::sync::mpsc;

use super::close::CloseReason;
use super::frame;
use super::items;
use super::session::{Phase, SessionId};
use super::shard::{Shard, Word, later, ms};
use crate::clock::Mono;

impl Shard {
    /// Pings, deadlines, slow readers.
    pub(super) fn sweep(&mut self, now: Mono) {
        let mut queued = 0;
        for id in self.sessions.ids() {
            self.look_after(id, now);
            let session = self.sessions.get_mut(id);
            queued += session.map_or(0, |session| session.outbox.queued_bytes());
        }
        // A shard knows its own queues only: each has its share of the bound.
        let bound = self.settings.limits.queue_total_bytes / self.settings.shards.max(1);
        if queued > bound {
            self.close_largest(queued, bound, now);
        }
    }

    fn look_after(&mut self, id: SessionId, now: Mono) {
        let settings = self.settings.clone();
        let timings = &settings.timings;
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        match session.phase {
            Phase::Closing { until } | Phase::Echoing { until } => {
                if now >= until {
                    self.remove(id);
                }
                return;
            }
            Phase::Open => {}
        }
        let silent_ms = now.ms_since(session.wire.last_heard());
        if silent_ms > ms(timings.pong_within) {
            return self.close(id, &CloseReason::Silent(silent_ms / 1_000));
        }
        if session.subscribe_by.is_some_and(|by| now >= by) {
            let within = timings.subscribe_within.as_secs();
            let words = format!("no SUBSCRIBE within {within} s");
            return self.close(id, &CloseReason::Rule(words));
        }
        if session.replay.as_ref().is_some_and(|r| r.is_overdue(now)) {
            return self.give_up_holding(id);
        }
        if let Some(slow) = session.outbox.verdict(&settings.limits, now) {
            return self.close(id, &slow);
        }
        if now >= session.ping_at {
            session.ping_at = later(now, timings.ping_every);
            session
                .outbox
                .ping(frame::single(frame::Opcode::Ping, b"hamacast"));
            self.drain(id);
        }
    }

    /// All queues together are too large: the largest go first.
    fn close_largest(&mut self, mut queued: usize, bound: usize, now: Mono) {
        let mut sizes: Vec<_> = self
            .sessions
            .iter()
            .map(|(id, session)| (session.outbox.queued_bytes(), id))
            .collect();
        sizes.sort_unstable();
        while queued > bound {
            let Some((bytes, id)) = sizes.pop() else {
                break;
            };
            queued = queued.saturating_sub(bytes);
            if let Some(slow) = self.sessions.get(id).map(|s| s.outbox.slow(now)) {
                self.close(id, &slow);
            }
        }
    }

    /// Tells every connection when to come back, closes it, and gives the sockets a moment to take it.
    pub(super) async fn say_goodbye(&mut self, mut words: mpsc::Receiver<Word>) {
        for id in self.sessions.ids() {
            if self.open_session(id).is_some() {
                let item = items::reconnect(fastrand::u32(..5_000));
                self.push_on_status(id, item.as_bytes());
                self.close(id, &CloseReason::Restart);
            }
        }
        let within = self.settings.timings.goodbye_within;
        let all_gone = async {
            while self.sessions.len() > 0 {
                tokio::select! {
                    Some(word) = words.recv() => self.hear_late(word),
                    Some(id) = self.waiting.next() => self.writable(id),
                    else => break,
                }
            }
        };
        if tokio::time::timeout(within, all_gone).await.is_err() {
            tracing::info!(connections = self.sessions.len(), "left without an answer");
        }
        for id in self.sessions.ids() {
            self.remove(id);
        }
    }

    /// During the goodbyes nobody is let in.
    fn hear_late(&mut self, word: Word) {
        match word {
            Word::Open { id, .. } => drop(id),
            Word::Text(..) | Word::Ping(..) | Word::Close(..) | Word::Gone(_) | Word::Tables(_) => {
                self.hear(word);
            }
        }
    }
}
