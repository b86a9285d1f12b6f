//! What keeps going wrong is said once a minute, with how often it went wrong unsaid: with the exchange away, 2,400 series
//! fail each on its own, and a log nobody can read hides the first line, which says why. Pure: told the time.

use crate::clock::Mono;

/// Between two lines about the same trouble.
const EVERY_MS: u64 = 60_000;

/// When the last line was written, and what went wrong since.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    said_at: Option<Mono>,
    unsaid: u64,
}

impl Complaints {
    /// It went wrong once more. Some when a line is due: how often it went wrong, unsaid, before.
    pub(super) fn due(&mut self, now: Mono) -> Option<u64> {
        if self
            .said_at
            .is_some_and(|said_at| now.ms_since(said_at) < EVERY_MS)
        {
            self.unsaid += 1;
            return None;
        }
        self.said_at = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_hundred_failures_make_one_line_and_the_next_minutes_line_counts_them() {
        let mut complaints = Complaints::default();
        let mut due = |ms| complaints.due(Mono::from_ms(ms));
        assert_eq!(due(1_000), Some(0));
        for _ in 0..599 {
            assert_eq!(due(1_001), None);
        }
        assert_eq!(due(60_999), None);
        assert_eq!(due(61_000), Some(600));
        assert_eq!(due(121_000), Some(0));
    }
}
