//! The request budget: cold starts, restarts in the middle of a minute, an exchange that says no.

use std::time::{Duration, Instant};

use hamacast::market::Interval;
use hamacast::simulator::SimulatorSettings;
use serde_json::json;

use super::scene::Scene;
use super::{bounded, minutes};

/// What we allow ourselves of the exchange's 2,400 a minute.
const BUDGET: u64 = 2_160;

#[tokio::test(flavor = "multi_thread")]
async fn h30_a_cold_start_of_600_at_four_intervals_takes_what_the_budget_allows_the_primary_one_first()
 {
    let speed = 20.0;
    let mut scene = Scene::of(SimulatorSettings {
        symbols: 600,
        intervals: vec![Interval::M15, Interval::H1, Interval::H4, Interval::D1],
        speed,
        ..SimulatorSettings::default()
    })
    .await;
    (scene.compared_candles, scene.compared_every) = (200, 23);
    let began = Instant::now();
    scene.serve();
    let live = async |query: &str| {
        let answer = scene
            .get(&format!("/api/v1/signals?status=live&{query}"))
            .await;
        answer["signals"].as_array().map_or(0, Vec::len)
    };
    scene
        .until("the primary interval", async || {
            live("interval=15m").await == 600
        })
        .await;
    let (primary, others) = (began.elapsed(), live("interval=1h,4h,1d").await);
    scene.all_live().await;
    let all = began.elapsed();
    let totals = scene.exchange.stats().totals;
    let reads = totals.requests_by_path["/fapi/v1/klines"];
    let windows = (2 * reads).div_ceil(BUDGET);
    println!(
        "primary live after {primary:.1?} beside {others} others, all 2,400 after {all:.1?}; {reads} reads: {windows} minutes, the fullest {}",
        totals.weight_peak
    );
    let minute = Duration::from_secs_f64(60.0 / speed);
    bounded(
        "cold start",
        all,
        minute * u32::try_from(windows).unwrap() + Duration::from_secs(5),
    );
    assert!(others < 1_800, "the primary interval was not first");
    let reader = scene.read().await;
    println!("{:?}", scene.assert_true(&reader).await);
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
