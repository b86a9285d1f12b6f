//! The reads that wait for the budget, in the order in which it is spent: repairs, backfills, refreshes, audits; of each the
//! primary interval first, then who has waited longest. Of a series one read waits at a time, so that one that misses
//! much gets a page in turn with the others and starves nobody.

use std::collections::BTreeMap;

use crate::engine::effect::{FetchJob, Urgency};

/// A warm-up is sent only while less than this of the minute's weight is spent (2.1: 2,160 in all): the rest is kept for
/// closes that do not come and for the watch list, whose reads cost 40 and come every 45 s.
const BACKFILL_BELOW_WEIGHT: u32 = 2_000;

/// The same for audits, which nobody waits for, and for refreshes, which strangers may ask for as often as they like.
const AUDIT_BELOW_WEIGHT: u32 = 1_400;

/// Where a read stands in the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    urgency: Urgency,
    rank: usize,
    serial: u64,
}

/// The reads that wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    jobs: BTreeMap<Place, FetchJob>,
    serial: u64,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Puts a new read behind those of its urgency and rank.
    pub(super) fn push(&mut self, job: FetchJob) {
        self.serial += 1;
        let place = Place {
            urgency: job.urgency,
            rank: job.rank,
            serial: self.serial,
        };
        self.jobs.insert(place, job);
    }

    /// Puts a read back where it stood.
    pub(super) fn put_back(&mut self, place: Place, job: FetchJob) {
        self.jobs.insert(place, job);
    }

    /// The next read, if it may be sent with so much of the minute's weight spent.
    pub(super) fn next(&mut self, weight_used: u32) -> Option<(Place, FetchJob)> {
        let first = self.jobs.first_entry()?;
        may_be_sent(first.key().urgency, weight_used).then(|| first.remove_entry())
    }
}

fn may_be_sent(urgency: Urgency, weight_used: u32) -> bool {
    match urgency {
        Urgency::Repair => true,
        Urgency::Backfill => weight_used < BACKFILL_BELOW_WEIGHT,
        Urgency::Refresh | Urgency::Audit => weight_used < AUDIT_BELOW_WEIGHT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{CandleRequest, Proof};
    use crate::market::{Interval, OpenTime, SeriesKey, Symbol};

    fn job(name: &str, interval: Interval, urgency: Urgency, rank: usize) -> FetchJob {
        FetchJob {
            request: CandleRequest {
                key: SeriesKey::new(Symbol::parse(name).unwrap(), interval),
                from: None,
                until: OpenTime::from_ms(0),
                limit: 1,
                proof: Proof::Clock,
            },
            urgency,
            rank,
        }
    }

    fn order(waiting: &mut Waiting) -> Vec<String> {
        let jobs = std::iter::from_fn(|| waiting.next(0));
        jobs.map(|(_, job)| job.request.key.symbol.as_str().to_owned())
            .collect()
    }

    #[test]
    fn repairs_come_before_backfills_and_the_primary_interval_before_the_others() {
        let mut waiting = Waiting::default();
        for job in [
            job("LAST", Interval::M1, Urgency::Audit, 0),
            job("SIXTH", Interval::M1, Urgency::Refresh, 0),
            job("FOURTH", Interval::H1, Urgency::Backfill, 1),
            job("THIRD", Interval::M1, Urgency::Backfill, 0),
            job("SECOND", Interval::H1, Urgency::Repair, 1),
            job("FIRST", Interval::M1, Urgency::Repair, 0),
            job("FIFTH", Interval::H1, Urgency::Backfill, 1),
        ] {
            waiting.push(job);
        }
        let order = order(&mut waiting);
        assert_eq!(
            order,
            [
                "FIRST", "SECOND", "THIRD", "FOURTH", "FIFTH", "SIXTH", "LAST"
            ]
        );
    }

    #[test]
    fn h30_audits_refreshes_and_backfills_wait_where_repairs_still_have_room() {
        let sent = |weight_used| {
            [
                Urgency::Repair,
                Urgency::Backfill,
                Urgency::Refresh,
                Urgency::Audit,
            ]
            .map(|urgency| may_be_sent(urgency, weight_used))
        };
        assert_eq!(sent(AUDIT_BELOW_WEIGHT - 1), [true, true, true, true]);
        assert_eq!(sent(AUDIT_BELOW_WEIGHT), [true, true, false, false]);
        assert_eq!(sent(BACKFILL_BELOW_WEIGHT - 1), [true, true, false, false]);
        assert_eq!(sent(BACKFILL_BELOW_WEIGHT), [true, false, false, false]);
        let mut waiting = Waiting::default();
        waiting.push(job("AAAUSDT", Interval::M1, Urgency::Backfill, 0));
        assert!(waiting.next(BACKFILL_BELOW_WEIGHT).is_none());
        waiting.push(job("BBBUSDT", Interval::M1, Urgency::Repair, 0));
        assert!(waiting.next(BACKFILL_BELOW_WEIGHT).is_some());
    }

    #[test]
    fn h05_series_that_miss_many_pages_take_turns_and_the_one_with_a_single_close_waits_one_turn() {
        let mut waiting = Waiting::default();
        let mut pages = BTreeMap::from([("AAAUSDT", 4), ("BBBUSDT", 4), ("CCCUSDT", 1)]);
        for name in pages.keys() {
            waiting.push(job(name, Interval::M1, Urgency::Repair, 0));
        }
        let mut read = Vec::new();
        while let Some((_, done)) = waiting.next(0) {
            let name = done.request.key.symbol.as_str().to_owned();
            let left = pages.get_mut(name.as_str()).unwrap();
            *left -= 1;
            if *left > 0 {
                waiting.push(done); // the engine asks for the next page when the answer is in
            }
            read.push(name.replace("USDT", ""));
        }
        assert_eq!(read.concat(), "AAABBBCCCAAABBBAAABBBAAABBB");
    }
}
