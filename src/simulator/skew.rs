//! What the exchange tells of its time when its clock is wrong. Candles, the listing and the budget follow the true
//! clock, as on an exchange whose matching engine and whose telling servers have clocks of their own; `/time`, the
//! `serverTime` of exchangeInfo and the `E` of events are told by the wrong one.

use std::sync::{PoisonError, RwLock};

use super::fault::{ClockFault, Fault, FaultKind};
use crate::market::TimeMs;

/// How wrong the told time is, and when.
#[derive(Debug, Default)]
pub(super) struct Skews(RwLock<Vec<Skew>>);

#[derive(Debug)]
struct Skew {
    fault: ClockFault,
    path: Option<String>,
    from: TimeMs,
    to: Option<TimeMs>,
}

impl Skews {
    /// Takes those of `faults` that are about the clock, told at `now`.
    pub(super) fn add(&self, faults: &[Fault], now: TimeMs) {
        let skews = faults.iter().filter_map(|fault| match &fault.kind {
            FaultKind::Clock(clock) => {
                let (from, to) = fault.scope.window(now);
                Some(Skew {
                    fault: clock.clone(),
                    path: fault.scope.path.clone(),
                    from,
                    to,
                })
            }
            FaultKind::Candle(_)
            | FaultKind::Universe(_)
            | FaultKind::Transport(_)
            | FaultKind::Subscription(_)
            | FaultKind::Stream(_)
            | FaultKind::Rest(_)
            | FaultKind::Proxy(_) => None,
        });
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(skews);
    }

    /// The clock is right again.
    pub(super) fn clear(&self) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// What is told at `path` (of streams: `/market`) at the true time `now`.
    pub(super) fn told(&self, now: TimeMs, path: &str) -> TimeMs {
        let skews = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let here = skews.iter().filter(|skew| {
            let fits = skew
                .path
                .as_ref()
                .is_none_or(|begins| path.starts_with(begins.as_str()));
            fits && skew.from <= now && skew.to.is_none_or(|to| now < to)
        });
        now.plus_ms(here.map(|skew| skew.off_ms(now)).sum())
    }
}

impl Skew {
    fn off_ms(&self, now: TimeMs) -> i64 {
        match self.fault {
            ClockFault::Offset { offset_ms } => offset_ms,
            ClockFault::Step { step_ms } => step_ms,
            ClockFault::Drift { ppm } => (now.ms_since(self.from) as f64 * ppm / 1e6) as i64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fault::Scope;
    use super::*;

    const FROM: i64 = 1_000_000;

    fn told(fault: ClockFault, scope: Scope, after_ms: i64, path: &str) -> i64 {
        let skews = Skews::default();
        skews.add(&[Fault::of(fault).on(scope)], TimeMs::new(FROM));
        let now = TimeMs::new(FROM + after_ms);
        skews.told(now, path).ms_since(now)
    }

    #[test]
    fn an_offset_holds_for_its_time_and_its_path() {
        let scope = Scope {
            path: Some("/fapi".into()),
            for_ms: Some(500),
            ..Scope::default()
        };
        let off = |after, path| {
            told(
                ClockFault::Offset { offset_ms: -70 },
                scope.clone(),
                after,
                path,
            )
        };
        assert_eq!(off(-1, "/fapi/v1/time"), 0);
        assert_eq!(off(0, "/fapi/v1/time"), -70);
        assert_eq!(off(0, "/market"), 0);
        assert_eq!(off(500, "/fapi/v1/time"), 0);
    }

    #[test]
    fn a_drift_grows_and_a_step_stays() {
        let off = |fault, after| told(fault, Scope::default(), after, "/market");
        assert_eq!(off(ClockFault::Drift { ppm: 1_000.0 }, 10_000), 10);
        assert_eq!(off(ClockFault::Drift { ppm: -500.0 }, 10_000), -5);
        assert_eq!(off(ClockFault::Step { step_ms: 3_000 }, 1_000_000), 3_000);
    }
}
