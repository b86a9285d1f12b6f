//! The request budget of one UTC clock minute of exchange time. Charged before sending, raised by what the exchange says
//! it counted (others behind the same address spend it too), held by 429 and 418 (hazard 30). Pure: told the time.

use crate::market::TimeMs;

/// The exchange's limit per address and minute, shared with its COIN-M host.
const MINUTE_LIMIT: u32 = 2_400;
/// What we allow ourselves: a tenth is kept back for what was counted elsewhere and not yet reported.
pub(super) const MINUTE_BUDGET: u32 = 2_160;
const _: () = assert!(MINUTE_BUDGET < MINUTE_LIMIT);

const MINUTE_MS: i64 = 60_000;
/// A clock corrected by more than this while a hold stands cannot be told from one that makes the hold senseless.
const CORRECTION_MAX_MS: i64 = MINUTE_MS;

/// What is spent of the current minute.
#[derive(Debug, Default)]
pub(super) struct Budget {
    minute: i64,
    used: u32,
    held: Option<Hold>,
}

/// Not to be lifted before `until`, which lay `ahead_ms` ahead when the exchange told us.
#[derive(Debug, Clone, Copy)]
struct Hold {
    until: TimeMs,
    ahead_ms: i64,
}

/// The next instant at which the exchange counts from 0 again.
pub(super) fn next_minute(now: TimeMs) -> TimeMs {
    TimeMs::new(minute_of(now).saturating_add(1).saturating_mul(MINUTE_MS))
}

fn minute_of(now: TimeMs) -> i64 {
    now.ms().div_euclid(MINUTE_MS)
}

impl Budget {
    /// Takes `weight` from the minute of `now`, or says when to try again.
    pub(super) fn try_charge(&mut self, weight: u32, now: TimeMs) -> Result<(), TimeMs> {
        self.roll(now);
        if let Some(hold) = self.held {
            return Err(hold.until);
        }
        if self.used.saturating_add(weight) > MINUTE_BUDGET {
            return Err(next_minute(now));
        }
        self.used += weight;
        Ok(())
    }

    /// An answer has come: to a request of `weight` sent at `sent`, saying that `counted` is spent by this address.
    pub(super) fn answered(
        &mut self,
        weight: u32,
        counted: Option<u32>,
        sent: TimeMs,
        now: TimeMs,
    ) {
        self.roll(now);
        if minute_of(sent) != minute_of(now) {
            // Counted in the old minute or the new one, who knows: `counted` may be the old one's, so it is left out,
            // and the new one is charged.
            self.used = self.used.saturating_add(weight);
            return;
        }
        self.used = self.used.max(counted.unwrap_or(0));
    }

    /// The exchange told us at `now` to be quiet until `until`. Of two holds the longer stands.
    pub(super) fn hold(&mut self, until: TimeMs, now: TimeMs) {
        self.roll(now);
        if self.held.is_none_or(|hold| hold.until < until) {
            let ahead_ms = until.ms_since(now);
            self.held = Some(Hold { until, ahead_ms });
        }
    }

    /// Until when we must be quiet. A hold further ahead than when it was set means that the clock was set back since,
    /// from the wall's time to a simulated one of years ago perhaps: it no longer means anything.
    pub(super) fn held_until(&self, now: TimeMs) -> Option<TimeMs> {
        let Hold { until, ahead_ms } = self.held?;
        let left_ms = until.ms_since(now);
        (1..=ahead_ms.saturating_add(CORRECTION_MAX_MS))
            .contains(&left_ms)
            .then_some(until)
    }

    /// What is spent in the minute of `now`.
    pub(super) fn used(&self, now: TimeMs) -> u32 {
        if minute_of(now) > self.minute {
            0
        } else {
            self.used
        }
    }

    fn roll(&mut self, now: TimeMs) {
        let minute = minute_of(now);
        if minute > self.minute {
            self.used = 0;
        }
        // A clock set back keeps what is spent: the exchange has not forgotten it either.
        self.minute = minute;
        self.held = self.held.filter(|_| self.held_until(now).is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: TimeMs = TimeMs::new(1_800_000_000_000 - 1_800_000_000_000 % MINUTE_MS);

    #[test]
    fn h30_a_minutes_budget_is_spent_once_and_anew_on_the_clock_minute() {
        let mut budget = Budget::default();
        let late = NOON.plus_ms(59_000);
        assert_eq!(budget.try_charge(2_160, late), Ok(()));
        assert_eq!(budget.try_charge(1, late), Err(NOON.plus_ms(60_000)));
        assert_eq!(budget.used(late), 2_160);
        assert_eq!(budget.used(NOON.plus_ms(60_000)), 0);
        assert_eq!(budget.try_charge(1, NOON.plus_ms(60_000)), Ok(()));
    }

    #[test]
    fn h30_what_others_spend_behind_our_address_counts() {
        let mut budget = Budget::default();
        budget.try_charge(2, NOON).unwrap();
        budget.answered(2, Some(2_159), NOON, NOON);
        assert_eq!(budget.try_charge(2, NOON), Err(NOON.plus_ms(60_000)));
        budget.answered(2, Some(5), NOON, NOON);
        assert_eq!(
            budget.used(NOON),
            2_159,
            "the counter never falls within a minute"
        );
    }

    #[test]
    fn an_answer_across_the_minute_charges_the_new_one_without_the_old_ones_count() {
        let mut budget = Budget::default();
        let sent = NOON.plus_ms(59_990);
        budget.try_charge(10, sent).unwrap();
        budget.answered(10, Some(2_100), sent, NOON.plus_ms(60_010));
        assert_eq!(budget.used(NOON.plus_ms(60_010)), 10);
    }

    #[test]
    fn h30_a_hold_outlasts_the_minute_and_the_longest_one_wins() {
        let mut budget = Budget::default();
        budget.hold(NOON.plus_ms(120_000), NOON);
        budget.hold(NOON.plus_ms(60_000), NOON);
        assert_eq!(
            budget.try_charge(1, NOON.plus_ms(61_000)),
            Err(NOON.plus_ms(120_000))
        );
        assert_eq!(budget.try_charge(1, NOON.plus_ms(120_000)), Ok(()));
        assert_eq!(budget.held_until(NOON.plus_ms(120_000)), None);
    }

    #[test]
    fn a_clock_set_back_neither_refunds_nor_holds_for_years() {
        let mut budget = Budget::default();
        budget.try_charge(2_160, NOON).unwrap();
        let year_ago = NOON.plus_ms(-365 * 24 * 60 * MINUTE_MS);
        budget.hold(NOON.plus_ms(60_000), NOON);
        assert!(budget.try_charge(1, year_ago).is_err());
        assert_eq!(budget.try_charge(1, year_ago.plus_ms(60_000)), Ok(()));
    }
}
