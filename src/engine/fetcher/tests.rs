//! What a failed read does to itself and to the others.

use super::*;
use crate::market::{Interval, OpenTime, Symbol};

const NOW: TimeMs = TimeMs::new(1_800_000_000_000);

fn refused(status: u16) -> ExchangeError {
    ExchangeError::NotServed {
        host: "exchange".into(),
        path: "/fapi/v1/klines",
        status,
        message: String::new(),
        again_in: Duration::from_secs(42),
    }
}

#[test]
fn h30_a_spent_budget_is_waited_for_at_the_exchanges_speed_and_the_read_is_kept() {
    let spent = |ahead_ms| ExchangeError::BudgetSpent {
        retry_at: NOW.plus_ms(ahead_ms),
    };
    let wait = |ahead_ms, speed| next(&spent(ahead_ms), NOW, speed);
    assert_eq!(wait(30_000, 1.0), Next::AskAgain(Duration::from_secs(30)));
    assert_eq!(
        wait(30_000, 60.0),
        Next::AskAgain(Duration::from_millis(500))
    );
    assert_eq!(wait(-1, 1.0), Next::AskAgain(SHORTEST_HOLD));
    assert_eq!(wait(3 * 86_400_000, 1.0), Next::AskAgain(LONGEST_HOLD));
}

#[test]
fn h31_a_refusal_for_a_person_pauses_everything_and_other_failures_only_their_read() {
    for status in [403, 451] {
        let pause = Next::GiveBackAndPause(Duration::from_secs(42));
        assert_eq!(next(&refused(status), NOW, 1.0), pause);
    }
    let unavailable = ExchangeError::Unavailable {
        path: "/fapi/v1/klines",
        status: 503,
        code: None,
        message: String::new(),
    };
    let unknown_symbol = ExchangeError::Refused {
        path: "/fapi/v1/klines",
        status: 400,
        code: Some(-1121),
        message: String::new(),
    };
    let in_a_year = ExchangeError::NotClosedYet {
        until: OpenTime::at(NOW),
        closes_at: NOW.plus_ms(365 * 86_400_000),
    };
    for error in [unavailable, unknown_symbol, in_a_year] {
        assert_eq!(next(&error, NOW, 1.0), Next::GiveBack, "{error}");
    }
}

#[test]
fn repairs_come_before_backfills_and_the_primary_interval_before_the_others() {
    let job = |name: &str, interval, urgency, rank| FetchJob {
        request: crate::exchange::CandleRequest {
            key: SeriesKey::new(Symbol::parse(name).unwrap(), interval),
            from: None,
            until: OpenTime::from_ms(0),
            limit: 1,
        },
        urgency,
        rank,
    };
    let jobs = [
        job("FOURTH", Interval::H1, Urgency::Backfill, 1),
        job("THIRD", Interval::M1, Urgency::Backfill, 0),
        job("SECOND", Interval::H1, Urgency::Repair, 1),
        job("FIRST", Interval::M1, Urgency::Repair, 0),
        job("FIFTH", Interval::H1, Urgency::Backfill, 1),
    ];
    let waiting: BTreeMap<Place, FetchJob> = jobs
        .into_iter()
        .zip(0..)
        .map(|(job, serial)| ((job.urgency, job.rank, serial), job))
        .collect();
    let order: Vec<_> = waiting
        .values()
        .map(|job| job.request.key.symbol.as_str())
        .collect();
    assert_eq!(order, ["FIRST", "SECOND", "THIRD", "FOURTH", "FIFTH"]);
}

#[test]
fn audits_wait_where_repairs_still_have_room() {
    let sent = |weight_used| {
        [Urgency::Repair, Urgency::Backfill, Urgency::Audit]
            .map(|urgency| may_be_sent(urgency, weight_used))
    };
    assert_eq!(sent(AUDIT_BELOW_WEIGHT - 1), [true, true, true]);
    assert_eq!(sent(AUDIT_BELOW_WEIGHT), [true, true, false]);
    assert!(Urgency::Backfill < Urgency::Audit);
}
