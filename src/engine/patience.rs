//! Seeing a thing twice before believing it: a hole the exchange shows once may be a late row (hazard 22).

use super::moment::Moment;
use crate::clock::Mono;

/// Between the two looks at least so much exchange time must pass, by our monotonic clock and the exchange's speed: no step
/// of the exchange's clock hastens or delays the second ...
const APART_MS: i64 = 60_000;

/// ... and so much real time.
const APART_REAL_MS: u64 = 1_000;

/// Something seen once, and when.
#[derive(Debug)]
pub(super) struct SeenTwice<T> {
    seen: Option<(T, Mono)>,
}

impl<T> Default for SeenTwice<T> {
    fn default() -> Self {
        Self { seen: None }
    }
}

impl<T: PartialEq> SeenTwice<T> {
    /// Whether `thing` was seen before, far enough apart. Remembers it when it was not.
    pub(super) fn confirm(&mut self, thing: T, now: &Moment) -> bool {
        if self.seen.as_ref().is_some_and(|(seen, _)| *seen == thing) {
            return self.may_look_again(now);
        }
        self.seen = Some((thing, now.mono));
        false
    }

    /// Whether a second look would count already; true when nothing was seen.
    pub(super) fn may_look_again(&self, now: &Moment) -> bool {
        self.seen.as_ref().is_none_or(|(_, seen_at)| {
            let passed_ms = now.mono.ms_since(*seen_at);
            passed_ms >= APART_REAL_MS && now.from_real_ms(passed_ms as f64) >= APART_MS
        })
    }

    /// It is gone.
    pub(super) fn forget(&mut self) {
        self.seen = None;
    }
}
