//! The request budget of one UTC clock minute of exchange time. Charged before sending, raised by what the exchange says
//! it counted (others behind the same address spend it too), held by 429 and 418 (hazard 30). Which minute the exchange
//! counts a request in is known only as well as its clock is: what may fall into two is charged to both. A hold is kept
//! by our own monotonic clock, which no step of the exchange's can end. Pure: told the time.

use crate::clock::Mono;
use crate::market::TimeMs;

/// The exchange's limit per address and minute, shared with its COIN-M host.
const MINUTE_LIMIT: u32 = 2_400;
/// What we allow ourselves: a tenth is kept back for what was counted elsewhere and not yet reported.
pub(super) const MINUTE_BUDGET: u32 = 2_160;
const _: () = assert!(MINUTE_BUDGET < MINUTE_LIMIT);

const MINUTE_MS: i64 = 60_000;

/// What is spent of the current minute and of the next.
#[derive(Debug, Default)]
pub(super) struct Budget {
    minute: i64,
    used: u32,
    next: u32,
    held_until: Option<Mono>,
}

/// An instant of exchange time as far as it is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Instant {
    /// It is not before this.
    pub(super) earliest: TimeMs,
    /// It is not after this.
    pub(super) latest: TimeMs,
}

/// A request that was charged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Charged {
    weight: u32,
    /// Of the minutes the exchange may count it in, the first and the last that were charged.
    first: i64,
    last: i64,
}

/// Why a request must wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MustWait {
    /// The exchange told us to be quiet.
    Held(Mono),
    /// The minute is spent; the next one begins then.
    Spent(TimeMs),
}

/// The next instant at which the exchange counts from 0 again.
pub(super) fn next_minute(now: TimeMs) -> TimeMs {
    TimeMs::new(minute_of(now).saturating_add(1).saturating_mul(MINUTE_MS))
}

fn minute_of(now: TimeMs) -> i64 {
    now.ms().div_euclid(MINUTE_MS)
}

impl Budget {
    /// Takes `weight` from the minute of `now`, and from the next one too when it may be that one already; or says how
    /// long to wait.
    pub(super) fn try_charge(
        &mut self,
        weight: u32,
        now: Instant,
        mono: Mono,
    ) -> Result<Charged, MustWait> {
        self.roll(now.earliest);
        if let Some(until) = self.held_until(mono) {
            return Err(MustWait::Held(until));
        }
        let first = self.minute;
        let last = minute_of(now.latest).clamp(first, first.saturating_add(1));
        let fits = |spent: u32| spent.saturating_add(weight) <= MINUTE_BUDGET;
        if !fits(self.used) || (last > first && !fits(self.next)) {
            return Err(MustWait::Spent(next_minute(now.earliest)));
        }
        self.used += weight;
        if last > first {
            self.next += weight;
        }
        Ok(Charged {
            weight,
            first,
            last,
        })
    }

    /// An answer to what was `charged` has come, saying that `counted` is spent by this address.
    pub(super) fn answered(&mut self, charged: Charged, counted: Option<u32>, now: Instant) {
        self.roll(now.earliest);
        let latest = minute_of(now.latest);
        if charged.first == latest && self.minute == latest {
            self.used = self.used.max(counted.unwrap_or(0));
            return;
        }
        // Which minute's count `counted` is nobody knows, so it is left out; what may have been counted later than was
        // charged is charged now.
        if latest > charged.last {
            let later = if latest > self.minute {
                &mut self.next
            } else {
                &mut self.used
            };
            *later = later.saturating_add(charged.weight);
        }
    }

    /// The exchange told us to be quiet until `until`. Of two holds the longer stands.
    pub(super) fn hold(&mut self, until: Mono) {
        self.held_until = self.held_until.max(Some(until));
    }

    /// Until when we must be quiet.
    pub(super) fn held_until(&self, now: Mono) -> Option<Mono> {
        self.held_until.filter(|until| *until > now)
    }

    /// What is spent in the minute of `now`.
    pub(super) fn used(&self, now: Instant) -> u32 {
        match minute_of(now.earliest).saturating_sub(self.minute) {
            ..=0 => self.used,
            1 => self.next,
            2.. => 0,
        }
    }

    fn roll(&mut self, now: TimeMs) {
        let minute = minute_of(now);
        match minute.saturating_sub(self.minute) {
            // A clock set back keeps what is spent: the exchange has not forgotten it either.
            ..=0 => {}
            1 => self.used = std::mem::take(&mut self.next),
            2.. => (self.used, self.next) = (0, 0),
        }
        self.minute = minute;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: TimeMs = TimeMs::new(1_800_000_000_000 - 1_800_000_000_000 % MINUTE_MS);
    const START: Mono = Mono::from_ms(1_000);

    fn at(ms: i64) -> Instant {
        within(ms, 0)
    }

    fn within(ms: i64, error_ms: i64) -> Instant {
        Instant {
            earliest: NOON.plus_ms(ms - error_ms),
            latest: NOON.plus_ms(ms + error_ms),
        }
    }

    fn spent_until(ms: i64) -> MustWait {
        MustWait::Spent(NOON.plus_ms(ms))
    }

    #[test]
    fn h30_a_minutes_budget_is_spent_once_and_anew_on_the_clock_minute() {
        let mut budget = Budget::default();
        let late = at(59_000);
        assert!(budget.try_charge(2_160, late, START).is_ok());
        let refused = budget.try_charge(1, late, START).unwrap_err();
        assert_eq!(refused, spent_until(60_000));
        assert_eq!((budget.used(late), budget.used(at(60_000))), (2_160, 0));
        assert!(budget.try_charge(1, at(60_000), START).is_ok());
    }

    #[test]
    fn h30_what_others_spend_behind_our_address_counts() {
        let mut budget = Budget::default();
        let first = budget.try_charge(2, at(0), START).unwrap();
        budget.answered(first, Some(2_159), at(0));
        let refused = budget.try_charge(2, at(0), START).unwrap_err();
        assert_eq!(refused, spent_until(60_000));
        budget.answered(first, Some(5), at(0));
        let used = budget.used(at(0));
        assert_eq!(used, 2_159, "the counter never falls within a minute");
    }

    #[test]
    fn an_answer_across_the_minute_charges_the_new_one_without_the_old_ones_count() {
        let mut budget = Budget::default();
        let sent = budget.try_charge(10, at(59_990), START).unwrap();
        budget.answered(sent, Some(2_100), at(60_010));
        assert_eq!(budget.used(at(60_010)), 10);
    }

    #[test]
    fn h30_what_may_fall_into_either_minute_is_charged_to_both_and_once() {
        let mut budget = Budget::default();
        let sent = budget.try_charge(2_000, within(59_990, 50), START).unwrap();
        budget.answered(sent, Some(2_300), within(60_020, 50));
        assert_eq!(budget.used(at(59_999)), 2_000);
        assert_eq!(budget.used(at(60_000)), 2_000, "no fresh budget for it");
        let refused = budget.try_charge(161, at(60_100), START).unwrap_err();
        assert_eq!(refused, spent_until(120_000));
        assert!(budget.try_charge(160, at(60_100), START).is_ok());
        assert_eq!(budget.used(at(120_000)), 0);
    }

    #[test]
    fn h30_around_the_turn_of_a_minute_no_more_is_sent_than_one_minute_holds() {
        // A clock half a second wrong either way, and a request every 10 ms: whichever of the minutes the exchange counts
        // them in, none is overdrawn.
        for shift_ms in [-500, 0, 500] {
            let mut budget = Budget::default();
            let mut counted = [0; 4];
            for step in 0..12_000 {
                let ours = step * 10;
                if budget.try_charge(7, within(ours, 500), START).is_ok() {
                    counted[((ours + shift_ms).div_euclid(MINUTE_MS) + 1) as usize] += 7;
                }
            }
            assert!(counted.iter().all(|weight| *weight <= 2_160), "{counted:?}");
            assert!(counted[1] + counted[2] > 3_900, "{counted:?}");
        }
    }

    #[test]
    fn h30_a_hold_outlasts_the_minute_and_the_longest_one_wins() {
        let mut budget = Budget::default();
        budget.hold(START.plus_ms(120_000));
        budget.hold(START.plus_ms(60_000));
        let held = budget.try_charge(1, at(61_000), START.plus_ms(61_000));
        assert_eq!(held.unwrap_err(), MustWait::Held(START.plus_ms(120_000)));
        let over = START.plus_ms(120_000);
        assert!(budget.try_charge(1, at(120_000), over).is_ok());
        assert_eq!(budget.held_until(over), None);
    }

    #[test]
    fn h29_h30_a_clock_set_back_refunds_nothing_and_no_step_ends_a_hold() {
        let mut budget = Budget::default();
        budget.try_charge(2_160, at(0), START).unwrap();
        let year_ms = 365 * 24 * 60 * MINUTE_MS;
        assert!(budget.try_charge(1, at(-year_ms), START).is_err());
        assert!(budget.try_charge(1, at(60_000 - year_ms), START).is_ok());
        budget.hold(START.plus_ms(1_000));
        assert!(
            budget
                .try_charge(1, at(year_ms), START.plus_ms(999))
                .is_err()
        );
    }
}
