//! The life of a contract: from when its row is listed, which status it has when, when it is delivered.
//! Plain data with one answer for any time of the exchange, whoever asks. What a status means for candles is told by
//! `pauses`; the words of statuses are the exchange's and not limited to those known here.

use std::borrow::Cow;

use crate::market::TimeMs;

/// What is traded.
pub(super) const TRADING: &str = "TRADING";
/// Delisted.
pub(super) const SETTLING: &str = "SETTLING";
/// Listed, not yet traded.
pub(super) const PENDING: &str = "PENDING_TRADING";

/// Since before any time that is asked about.
const EVER: TimeMs = TimeMs::new(i64::MIN);

/// The statuses of a contract, oldest first; there is always one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Life {
    first: Step,
    later: Vec<Step>,
}

/// From when on a contract has a status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// From then on.
    pub at: TimeMs,
    /// The exchange's word.
    pub status: Cow<'static, str>,
    /// When it expires or expired.
    pub delivery: TimeMs,
}

impl Life {
    /// A contract that has always had this status.
    pub(super) const fn always(status: &'static str, delivery: TimeMs) -> Self {
        Self::from(EVER, status, delivery)
    }

    /// A contract that is listed from `at` on, with this status.
    pub(super) const fn from(at: TimeMs, status: &'static str, delivery: TimeMs) -> Self {
        let first = Step {
            at,
            status: Cow::Borrowed(status),
            delivery,
        };
        Self {
            first,
            later: Vec::new(),
        }
    }

    /// From `at` to `to` (for ever: `None`) its status is another one; after that what it had before.
    pub(super) fn change(
        &mut self,
        at: TimeMs,
        to: Option<TimeMs>,
        status: Cow<'static, str>,
        delivery: Option<TimeMs>,
    ) {
        let delivery = delivery.unwrap_or_else(|| self.at(at).delivery);
        let back = to.map(|to| Step {
            at: to,
            ..self.at(to).clone()
        });
        let covered = |step: &Step| step.at >= at && to.is_none_or(|to| step.at <= to);
        self.later.retain(|step| !covered(step));
        self.later.push(Step {
            at,
            status,
            delivery,
        });
        self.later.extend(back);
        self.later.sort_by_key(|step| step.at);
    }

    /// Whether its row is listed at `now`.
    pub(super) fn is_listed(&self, now: TimeMs) -> bool {
        self.first.at <= now
    }

    /// Whether it is traded at `now`: listed in the ticker, moving in the streams.
    pub(super) fn is_trading(&self, now: TimeMs) -> bool {
        self.is_listed(now) && self.at(now).status == TRADING
    }

    /// What holds at `now`.
    pub(super) fn at(&self, now: TimeMs) -> &Step {
        let begun = self.later.iter().take_while(|step| step.at <= now);
        begun.last().unwrap_or(&self.first)
    }

    /// What has changed after `after` and up to `now`, a listing included.
    pub(super) fn changes(&self, after: TimeMs, now: TimeMs) -> impl Iterator<Item = &Step> {
        std::iter::once(&self.first)
            .chain(&self.later)
            .filter(move |step| after < step.at && step.at <= now)
    }

    /// The times, end excluded, in which it was not traded after it had been.
    pub(super) fn pauses(&self) -> Vec<(TimeMs, TimeMs)> {
        let mut pauses = Vec::new();
        let mut paused_at = None;
        let mut has_traded = self.first.status == TRADING || self.first.at == EVER;
        for step in &self.later {
            if step.status == TRADING {
                has_traded = true;
                pauses.extend(paused_at.take().map(|from| (from, step.at)));
            } else if has_traded {
                paused_at = paused_at.or(Some(step.at));
            }
        }
        pauses.extend(paused_at.map(|from| (from, TimeMs::new(i64::MAX))));
        pauses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: i64) -> TimeMs {
        TimeMs::new(ms)
    }

    #[test]
    fn a_listing_is_announced_then_traded_then_settled() {
        let mut life = Life::from(at(100), PENDING, at(9_999));
        life.change(at(200), None, TRADING.into(), None);
        life.change(at(300), None, SETTLING.into(), Some(at(300)));
        let status = |now: i64| life.at(at(now)).status.clone();
        assert!(!life.is_listed(at(99)) && life.is_listed(at(100)));
        assert_eq!(
            [status(150), status(200), status(300)],
            [PENDING, TRADING, SETTLING]
        );
        assert!(!life.is_trading(at(199)) && life.is_trading(at(299)) && !life.is_trading(at(300)));
        let told: Vec<_> = life
            .changes(at(100), at(300))
            .map(|step| step.at.ms())
            .collect();
        assert_eq!(told, [200, 300]);
        assert_eq!(life.changes(at(99), at(100)).count(), 1);
        assert_eq!(
            (life.at(at(299)).delivery, life.at(at(300)).delivery),
            (at(9_999), at(300))
        );
        assert_eq!(life.pauses(), [(at(300), at(i64::MAX))]);
    }

    #[test]
    fn a_status_for_a_time_gives_back_the_one_before() {
        let mut life = Life::always(TRADING, at(9_999));
        life.change(at(100), Some(at(200)), "HALTED_2027".into(), None);
        assert!(life.is_trading(at(99)) && !life.is_trading(at(100)) && life.is_trading(at(200)));
        assert_eq!(life.pauses(), [(at(100), at(200))]);
        assert_eq!(Life::always("AUCTION", at(0)).pauses(), []);
    }
}
