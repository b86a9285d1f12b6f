//! What a failed read does to itself and to the others.

use tokio::net::TcpListener;

use super::*;
use crate::engine::effect::Urgency;
use crate::exchange::binance::{Binance, BinanceSettings};
use crate::exchange::{CandleRequest, Proof};
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

#[tokio::test]
async fn a_read_of_a_series_that_has_left_goes_back_unread() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let settings = BinanceSettings {
        rest_url: format!("http://{}", listener.local_addr().unwrap()),
        ..BinanceSettings::default()
    };
    let clock = ExchangeClock::from_wall();
    let exchange = Exchange::Binance(Binance::new(&settings, clock.clone()).unwrap());
    let (followed, followed_receiver) = watch::channel(Arc::default());
    let (answers, mut answered) = mpsc::channel(1);
    let (jobs, waiting) = mpsc::channel(1);
    let fetcher = Fetcher {
        exchange,
        clock,
        followed: followed_receiver,
        answers,
    };
    let tasks = Tasks::new();
    tasks.spawn("fetcher", fetcher.run(waiting, tasks.clone()));
    let request = CandleRequest {
        key: SeriesKey::new(Symbol::parse("BTCUSDT").unwrap(), Interval::M1),
        from: None,
        until: OpenTime::from_ms(0),
        limit: 1,
        proof: Proof::Clock,
    };
    let job = FetchJob {
        request: request.clone(),
        urgency: Urgency::Repair,
        rank: 0,
    };
    jobs.send(job.clone()).await.unwrap();
    let asked = tokio::select! {
        _ = listener.accept() => "the exchange",
        Some(Event::Answer { rows: None, .. }) = answered.recv() => "nobody",
    };
    assert_eq!(asked, "nobody");
    followed.send_replace(Arc::new(BTreeSet::from([request.key])));
    jobs.send(job).await.unwrap();
    let asked = tokio::select! {
        _ = listener.accept() => "the exchange",
        Some(_) = answered.recv() => "nobody",
    };
    assert_eq!(asked, "the exchange");
    tasks.stop();
}
