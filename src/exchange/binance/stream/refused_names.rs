//! Names the exchange refuses on one connection: when they are asked for again, soon at first and later each time, and one
//! line for all of them. Which they are is `subscriptions`' to know. Pure but for the line.

use std::time::Duration;

use super::name::Name;
use super::session::NAMED_MAX;
use super::whole_ms;
use crate::backoff::Backoff;
use crate::clock::Mono;
use crate::exchange::ConnectionId;

/// The first wait before they are asked for again.
const FIRST: Duration = Duration::from_secs(10);

/// When refused names are asked for again, and which were not told yet.
pub(super) struct RefusedNames {
    untold: Vec<String>,
    /// After the last refusal.
    wait: Duration,
    waits: Backoff,
    ask_again_at: Option<Mono>,
}

impl RefusedNames {
    /// With waits up to `last`.
    pub(super) fn new(last: Duration) -> Self {
        let mut waits = Backoff::new(FIRST, last);
        Self {
            untold: Vec::new(),
            wait: waits.next_delay(),
            waits,
            ask_again_at: None,
        }
    }

    /// A name was refused, as before or anew.
    pub(super) fn came(&mut self, now: Mono) {
        self.ask_again_at = Some(now.plus_ms(whole_ms(self.wait)));
    }

    /// It was not refused before: the operator is told.
    pub(super) fn note(&mut self, name: &Name, code: i64, message: &str) {
        let name = name.wire();
        self.untold.push(format!("{name} ({code}: {message})"));
    }

    /// Whether to ask again now.
    pub(super) fn is_time_to_ask(&mut self, now: Mono) -> bool {
        let is_due = self.ask_again_at.take_if(|at| *at <= now).is_some();
        if is_due {
            self.wait = self.waits.next_delay();
        }
        is_due
    }

    /// One line for all that were refused since the last.
    pub(super) fn tell(&mut self, connection: ConnectionId) {
        let mut untold = std::mem::take(&mut self.untold);
        if untold.is_empty() {
            return;
        }
        let streams = untold.len();
        untold.truncate(NAMED_MAX);
        let names = untold.join(", ");
        tracing::error!(%connection, streams, names, "the exchange refuses subscriptions: they are asked for again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h12_refused_names_are_asked_for_soon_after_the_last_refusal_and_later_each_time() {
        let mut names = RefusedNames::new(Duration::from_secs(300));
        let mut now = Mono::from_ms(1_000);
        let mut waits = Vec::new();
        for _ in 0..12 {
            names.came(now);
            let again = now.plus_ms(1_000);
            names.came(again);
            now = again;
            while !names.is_time_to_ask(now) {
                now = now.plus_ms(100);
            }
            assert!(!names.is_time_to_ask(now), "once");
            waits.push(now.ms_since(again));
        }
        assert!((10_000..=20_100).contains(&waits[0]), "{waits:?}");
        assert!(waits[1] > waits[0] / 2 && waits[3] > waits[0], "{waits:?}");
        let most = waits.iter().max().unwrap();
        assert!((150_000..=300_100).contains(most), "{waits:?}");
    }
}
