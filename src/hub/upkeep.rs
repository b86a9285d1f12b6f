//! What a shard does by the clock: pings, deadlines, slow readers; and its goodbyes at the end.

use futures::StreamExt;
use tokio::sync::mpsc;

use super::close::CloseReason;
use super::frame;
use super::items;
use super::protocol::Refusal;
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
        if queued > self.settings.limits.queue_total_bytes {
            self.close_largest(queued);
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
        if session.held_until.is_some_and(|until| now >= until) {
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

    /// The log did not reach the cursor in time: the client is told, and what waited behind goes on.
    fn give_up_holding(&mut self, id: SessionId) {
        self.holding.remove(&id);
        let Some(session) = self.open_session(id) else {
            return;
        };
        session.held_until = None;
        if let Some(request) = session.held.pop_front() {
            let words = "the log has not been read up to this number; try again";
            let refusal = Refusal::Invalid(words.into());
            self.answer(id, &refusal.answer(&request.id));
        }
        self.go_on(id);
    }

    /// All queues together are too large: the largest go first.
    fn close_largest(&mut self, mut queued: usize) {
        let mut sizes: Vec<_> = self
            .sessions
            .iter()
            .map(|(id, session)| (session.outbox.queued_bytes(), id))
            .collect();
        sizes.sort_unstable();
        while queued > self.settings.limits.queue_total_bytes {
            let Some((bytes, id)) = sizes.pop() else {
                break;
            };
            queued -= bytes;
            self.close(
                id,
                &CloseReason::Slow {
                    bytes,
                    oldest_ms: 0,
                },
            );
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
