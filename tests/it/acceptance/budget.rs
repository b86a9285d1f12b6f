//! The request budget: cold starts, restarts in the middle of a minute, an exchange that says no.

use std::time::{Duration, Instant};

use hamacast::market::Interval;
use hamacast::simulator::SimulatorSettings;
use serde_json::json;

use super::scene::Scene;
use super::{bounded, minutes};

/// What we allow ourselves of the exchange's 2,400 a minute.
const BUDGET: u64 = 2_160;

/// Names on one connection, and one connection a second.
const NAMES_MAX: u64 = 200;

/// Starts a server on 600 contracts and watches it come up; how long it may take follows from what it had to ask.
async fn cold_start_of_600(intervals: Vec<Interval>) {
    let speed = 20.0;
    let (primary, others) = (intervals[0], intervals.len() - 1);
    let series = 600 * (others + 1);
    let mut scene = Scene::of(SimulatorSettings {
        symbols: 600,
        intervals,
        speed,
        latency: Duration::from_millis(50),
        ..SimulatorSettings::default()
    })
    .await;
    (scene.compared_candles, scene.compared_every) = (200, 23);
    let began = Instant::now();
    scene.serve();
    let live = async |interval: &str| {
        let path = format!("/api/v1/signals?status=live&interval={interval}");
        scene.get(&path).await["signals"]
            .as_array()
            .map_or(0, Vec::len)
    };
    scene
        .until("the primary interval", async || {
            live(primary.name()).await == 600
        })
        .await;
    let (first, others_live) = (began.elapsed(), live("all").await - 600);
    scene.all_live().await;
    let all = began.elapsed();
    let totals = scene.exchange.stats().totals;
    let reads = totals.requests_by_path["/fapi/v1/klines"];
    let windows = (2 * reads).div_ceil(BUDGET);
    let connections = (series as u64 + 1).div_ceil(NAMES_MAX);
    println!(
        "{series} series: primary live after {first:.1?} beside {others_live} others, all after {all:.1?}; {reads} reads of weight 2: {windows} minutes at speed {speed}, the fullest {} of 2400; {connections} connections, one a second",
        totals.weight_peak
    );
    let of_the_budget = Duration::from_secs_f64(windows as f64 * 60.0 / speed);
    let of_the_answers = Duration::from_millis(reads * 50 / 8); // eight reads at a time
    let limit = of_the_budget.max(of_the_answers) + Duration::from_secs(connections);
    bounded("cold start", all, limit);
    assert!(
        others_live < 600 * others,
        "the primary interval was not first"
    );
    let reader = scene.read().await;
    println!("{:?}", scene.assert_true(&reader).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn h30_a_cold_start_of_600_at_three_intervals_takes_what_the_budget_allows() {
    cold_start_of_600(vec![Interval::M15, Interval::H1, Interval::H4]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h30_a_cold_start_of_600_at_four_intervals_takes_what_the_budget_allows() {
    cold_start_of_600(vec![
        Interval::M15,
        Interval::M30,
        Interval::H1,
        Interval::H4,
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_start_of_125_takes_three_seconds() {
    let mut scene = Scene::of(SimulatorSettings {
        symbols: 125,
        intervals: vec![Interval::M15],
        latency: Duration::from_millis(50),
        ..SimulatorSettings::default()
    })
    .await;
    let began = Instant::now();
    scene.serve();
    scene.all_live().await;
    bounded(
        "125 contracts live",
        began.elapsed(),
        Duration::from_secs(3),
    );
    assert_eq!(scene.exchange.stats().violation_count, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn h30_restarts_in_the_middle_of_a_minute_never_pass_its_limit() {
    let mut scene = Scene::of(SimulatorSettings {
        symbols: 125,
        speed: 2.0,
        ..minutes()
    })
    .await;
    let minute = scene.exchange.now().ms() / 60_000;
    let mut starts = 0;
    while scene.exchange.now().ms() / 60_000 <= minute + 1 {
        scene.serve();
        starts += 1;
        // Killed in the middle of its reads, or when it has all of them.
        scene.pass(1_000 + starts * 1_700 % 5_000).await;
    }
    scene.serve();
    bounded("live", scene.all_live().await, Duration::from_secs(35));
    let reader = scene.read().await;
    let outcome = scene.assert_true(&reader).await;
    println!("{starts} starts in two minutes: {outcome:?}");
    assert!(outcome.weight_peak > 1_000, "too little to mean anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn h30_a_storm_of_429_during_the_backfill_earns_no_ban() {
    let mut scene = Scene::of(minutes()).await;
    scene.fault(&json!({
        "kind": "rest.status", "status": 429, "retry_after_secs": 20,
        "path": "/fapi/v1/klines", "share": 0.6, "for_ms": 240_000
    }));
    scene.serve();
    scene.pass(240_000).await;
    assert!(scene.strikes() >= 3, "{} strikes", scene.strikes());
    bounded("live", scene.all_live().await, Duration::from_secs(5));
    let reader = scene.read().await;
    scene.pass(120_000).await;
    println!(
        "{} strikes: {:?}",
        scene.strikes(),
        scene.assert_true(&reader).await
    );
    assert_eq!(scene.exchange.stats().totals.requests_while_banned, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn h30_a_ban_is_waited_for_without_a_request() {
    let (scene, reader) = Scene::live(minutes()).await;
    scene
        .fault(&json!({"kind": "rest.status", "status": 418, "retry_after_secs": 300, "count": 1}));
    scene.fault(&json!({"kind": "stream.drop_close", "for_ms": 120_000}));
    scene.pass(420_000).await;
    bounded("live", scene.all_live().await, Duration::from_secs(5));
    println!("{:?}", scene.assert_true(&reader).await);
    // What was on its way when the ban came is no breach; later requests would be, and `assert_true` has seen none.
    let banned = scene.exchange.stats().totals.requests_while_banned;
    println!("{banned} requests were on their way when the ban came");
    assert!(banned <= 8, "{banned} requests during the ban");
}
