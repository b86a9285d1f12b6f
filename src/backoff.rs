//! Waits between tries: each about twice as long as the one before, from 0.5 s up to 30 s, with jitter, so that
//! 12 connections lost in the same instant do not come back in the same instant. Says how long, never waits itself.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// How long to wait before the next try.
#[derive(Debug)]
pub struct Backoff {
    least: Duration,
    most: Duration,
    delays: ExponentialBackoff,
}

impl Default for Backoff {
    /// From 0.5 s to 30 s.
    fn default() -> Self {
        Self::new(Duration::from_millis(500), Duration::from_secs(30))
    }
}

impl Backoff {
    /// Delays that begin at `least` and never exceed `most`.
    pub fn new(least: Duration, most: Duration) -> Self {
        Self {
            least,
            most,
            delays: delays(least, most),
        }
    }

    /// How long to wait before the next try.
    pub fn next_delay(&mut self) -> Duration {
        self.delays.next().unwrap_or(self.most).min(self.most)
    }

    /// It worked: the next failure waits `least` again.
    pub fn reset(&mut self) {
        self.delays = delays(self.least, self.most);
    }
}

/// backon adds up to one whole delay as jitter, so its own limit is half of ours: cut at ours, every wait at the
/// limit would be the same. Without its `std` feature it also repeats one fixed sequence, hence the seed.
fn delays(least: Duration, most: Duration) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(least.min(most / 2))
        .with_max_delay(most / 2)
        .with_factor(2.0)
        .without_max_times()
        .with_jitter()
        .with_jitter_seed(fastrand::u64(..))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_from_half_a_second_to_thirty_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..50).map(|_| backoff.next_delay()).collect();
        assert!(
            (500..=1_000).contains(&waits[0].as_millis()),
            "{:?}",
            waits[0]
        );
        assert!(
            waits[8..]
                .iter()
                .all(|wait| (15_000..=30_000).contains(&wait.as_millis())),
            "{waits:?}"
        );
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_secs(1));
    }

    #[test]
    fn no_two_wait_alike_even_at_the_limit() {
        let late = || {
            let mut backoff = Backoff::default();
            (0..20).map(|_| backoff.next_delay()).last()
        };
        let waits: std::collections::BTreeSet<_> = (0..20).map(|_| late()).collect();
        assert!(waits.len() > 15, "{waits:?}");
    }
}
