//! Streams that break, go silent or lose what matters, on a market that stays as it is.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::scene::Scene;
use super::{bounded, minutes};
use hamacast::market::TimeMs;
use hamacast::simulator::SimulatorSettings;

#[tokio::test(flavor = "multi_thread")]
async fn h05_every_connection_reset_at_a_boundary_costs_no_candle_and_no_change() {
    let (scene, reader) = Scene::live(minutes()).await;
    for round in 1..=3 {
        let boundary = scene.next_close(30_000).plus_ms(1);
        scene.fault(&json!({"kind": "transport.reset", "from_ms": boundary.ms()}));
        scene.until_time(boundary).await;
        scene
            .until("the reset", async || scene.strikes() >= round)
            .await;
        // What was missed by then is two candles at the most.
        scene.pass(30_000).await;
        bounded("live again", scene.all_live().await, Duration::from_secs(3));
        scene.pass(120_000).await;
    }
    println!("{:?}", scene.assert_true(&reader).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn h04_close_events_dropped_for_five_minutes_come_from_rest() {
    let (scene, reader) = Scene::live(minutes()).await;
    scene.fault(&json!({"kind": "stream.drop_close", "for_ms": 300_000}));
    scene.pass(300_000).await;
    assert!(
        scene.strikes() >= 40 * 4,
        "{} closes were lost",
        scene.strikes()
    );
    bounded("live again", scene.all_live().await, Duration::from_secs(2));
    scene.pass(120_000).await;
    println!("{:?}", scene.assert_true(&reader).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn h34_a_server_that_stood_still_for_ten_seconds_has_lost_nothing() {
    let (scene, reader) = Scene::live(minutes()).await;
    scene.signal("-STOP");
    scene.pass(600_000).await;
    scene.signal("-CONT");
    scene.pass(60_000).await;
    bounded("live again", scene.all_live().await, Duration::from_secs(5));
    println!("{:?}", scene.assert_true(&reader).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn h09_half_open_connections_are_given_up_and_the_series_come_back() {
    let (scene, reader) = Scene::live(minutes()).await;
    scene.fault(&json!({"kind": "transport.half_open", "count": 1}));
    let status = async || scene.get("/api/v1/status").await["series"].clone();
    scene
        .until("the silence is noticed", async || {
            status().await["live"] == 0
        })
        .await;
    scene.exchange.clear_faults();
    bounded("live again", scene.all_live().await, Duration::from_secs(5));
    println!("{:?}", scene.assert_true(&reader).await);
}

/// Every kind of trouble on the way that leaves the exchange's own data as they are.
const TRANSPORT: [&str; 12] = [
    r#"{"kind": "transport.reset"}"#,
    r#"{"kind": "transport.close", "code": 1000, "reason": "bye"}"#,
    r#"{"kind": "transport.close", "code": 1001}"#,
    r#"{"kind": "transport.close", "code": 1006}"#,
    r#"{"kind": "transport.close", "code": 1011}"#,
    r#"{"kind": "transport.close", "code": 1012}"#,
    r#"{"kind": "transport.stall", "share": 0.3, "for_ms": 90000}"#,
    r#"{"kind": "stream.drop_close", "share": 0.3, "for_ms": 180000}"#,
    r#"{"kind": "stream.delay_close", "by_ms": 20000, "share": 0.5, "for_ms": 180000}"#,
    r#"{"kind": "stream.duplicate", "share": 0.5, "for_ms": 180000}"#,
    r#"{"kind": "stream.out_of_order", "share": 0.3, "for_ms": 180000}"#,
    r#"{"kind": "stream.jump", "share": 0.2, "for_ms": 180000}"#,
];

/// What one run told, by series, up to `until`: close time and recommendation in the order in which they came.
async fn record(faults: &[&str], start: TimeMs, until: TimeMs) -> BTreeMap<String, Vec<String>> {
    let market = SimulatorSettings {
        start: Some(start),
        ..minutes()
    };
    let (scene, reader) = Scene::live(market).await;
    let since = start.plus_ms(600_000); // by then both runs have begun to read
    assert!(scene.exchange.now() < since, "the start took too long");
    scene.until_time(since).await;
    for fault in faults {
        scene.fault(&serde_json::from_str(fault).unwrap());
        scene.pass(150_000).await;
    }
    scene.until_time(until).await;
    let strikes = scene.strikes();
    scene.exchange.clear_faults();
    println!("{strikes} strikes: {:?}", scene.assert_true(&reader).await);
    let wanted = 10 * faults.len() as u64;
    assert!(strikes >= wanted, "{strikes} strikes prove nothing");
    let mut told: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for change in reader.record().changes {
        let close = change["candle_close_time"].as_i64().unwrap();
        if (since.ms()..until.ms()).contains(&close) {
            let series = format!("{}:{}", change["symbol"], change["interval"]);
            let what = format!(
                "{} {} -> {} at {}, {} by {}",
                change["id"],
                change["previous"],
                change["recommendation"],
                change["price"],
                change["hama_close"],
                change["ma"]
            );
            told.entry(series).or_default().push(what);
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_on_the_way_changes_nothing_of_what_is_told() {
    let start = TimeMs::new(1_790_000_040_000);
    let until = start.plus_ms(600_000 + 150_000 * 13);
    let (calm, troubled) =
        tokio::join!(record(&[], start, until), record(&TRANSPORT, start, until));
    let changes: usize = calm.values().map(Vec::len).sum();
    assert!(changes > 10, "{changes} changes: too few to mean anything");
    assert_eq!(calm, troubled);
    println!("{changes} changes, the same in both runs");
}
