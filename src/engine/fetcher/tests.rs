//! What a failed read does to itself and to the others.

use super::*;
use crate::market::OpenTime;

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
