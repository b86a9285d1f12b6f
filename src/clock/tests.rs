//! The exchange's clock under slow answers, steps, drift and stamps that lie (hazard 29).

use super::*;

const T: i64 = 1_800_000_000_000;

fn clock(speed: f64, round_trip_ms: u64) -> ExchangeClock {
    let clock = ExchangeClock::from_wall();
    clock.set(at(0), speed, Duration::from_millis(round_trip_ms));
    clock
}

fn at(ms: i64) -> TimeMs {
    TimeMs::new(T + ms)
}

async fn pass(ms: u64) {
    tokio::time::advance(Duration::from_millis(ms)).await;
}

#[tokio::test(start_paused = true)]
async fn the_exchange_clock_runs_at_the_exchanges_speed() {
    let clock = clock(60.0, 0);
    pass(2_000).await;
    assert_eq!(clock.now(), at(120_000));
    clock.at_least(at(100_000)); // an older event moves nothing
    assert_eq!(clock.now(), at(120_000));
    assert_eq!(clock.error_ms(), 13, "two minutes of drift");
    clock.at_least(at(130_000));
    assert_eq!(clock.now(), at(130_000));
    assert_eq!(
        clock.error_ms(),
        10_013,
        "who knows whether the stamp was right"
    );
}

#[tokio::test(start_paused = true)]
async fn h29_the_wall_clock_counts_for_nothing_once_the_exchange_has_spoken() {
    let clock = ExchangeClock::from_wall();
    assert!(!clock.is_known());
    assert_eq!(clock.ahead_of_wall_ms(), None);
    for hours in [-20, 20] {
        let told = wall().plus_ms(hours * 3_600_000);
        clock.set(told, 1.0, Duration::from_millis(40));
        assert_eq!(clock.now(), told.plus_ms(20));
        assert_eq!(clock.error_ms(), 21);
        let ahead_ms = clock.ahead_of_wall_ms().unwrap();
        assert!((ahead_ms - hours * 3_600_000).abs() < 1_000, "{ahead_ms}");
    }
    assert!(clock.is_known());
    clock.set(at(0), 60.0, Duration::ZERO);
    assert_eq!(
        clock.ahead_of_wall_ms(),
        None,
        "made-up time is not compared"
    );
}

#[tokio::test(start_paused = true)]
async fn h29_a_slow_answer_makes_a_good_clock_no_worse() {
    let clock = clock(1.0, 20);
    pass(10_000).await;
    clock.set(at(10_010), 1.0, Duration::from_secs(6)); // it spoke at the very end of the way
    assert!((clock.now().ms_since(at(10_010))).abs() <= 12);
    assert!(clock.error_ms() <= 12, "{}", clock.error_ms());
}

#[tokio::test(start_paused = true)]
async fn h29_steps_and_drift_of_the_exchanges_clock_are_followed_at_the_next_answer() {
    let clock = clock(1.0, 20);
    for step_ms in [3_600_000, -7_200_000, 5_000, -5_000] {
        pass(15_000).await;
        let told = clock.now().plus_ms(step_ms);
        clock.set(told, 1.0, Duration::from_millis(20));
        assert_eq!(clock.now(), told.plus_ms(10));
        assert_eq!(clock.error_ms(), 11);
    }
    let mut told = clock.now();
    for _ in 0..20 {
        pass(15_000).await;
        told = told.plus_ms(15_150); // 1 % fast
        clock.set(told, 1.0, Duration::from_millis(20));
        assert!(clock.now().ms_since(told).abs() <= 20, "{}", clock.now());
    }
}

#[tokio::test(start_paused = true)]
async fn h29_a_clock_that_all_event_stamps_contradict_makes_nothing_final() {
    let clock = clock(1.0, 20);
    for step in 1..=40 {
        pass(250).await;
        clock.at_least(at(step * 250 - 30));
    }
    assert!(clock.error_ms() <= 12);
    // `/time` is an hour ahead of what the streams say.
    clock.set(at(3_610_000), 1.0, Duration::from_millis(20));
    let surely = |clock: &ExchangeClock| clock.now().plus_ms(-clock.error_ms());
    assert!(surely(&clock) <= at(10_100), "from the first moment on");
    for step in 1..=40 {
        pass(250).await;
        clock.at_least(at(10_000 + step * 250 - 30));
        assert!(surely(&clock) <= at(10_100 + step * 250));
    }
    let (error_ms, _) = clock.error_and_doubt_ms();
    assert!(error_ms <= 12, "of itself the clock knows no fault");
    clock.set(at(20_000), 1.0, Duration::from_millis(20));
    assert!(clock.error_ms() <= 12, "it has come back");
}

#[tokio::test(start_paused = true)]
async fn h29_without_events_the_clock_is_believed_and_one_late_event_is_no_contradiction() {
    let clock = clock(1.0, 20);
    for step in 1..=8 {
        pass(250).await;
        clock.at_least(at(step * 250));
        clock.at_least(at(step * 250 - 90_000)); // a close that was held back
    }
    assert!(clock.error_ms() <= 12);
    clock.at_least(at(2_000 - 90_000));
    pass(4_500).await;
    assert!(clock.error_ms() <= 12);
}
