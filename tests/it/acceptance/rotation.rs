//! The exchange cuts every connection after 24 hours; ours are replaced before.

use std::time::Duration;

use hamacast::market::Interval;
use hamacast::simulator::SimulatorSettings;
use serde_json::json;

use super::bounded;
use super::scene::Scene;

#[tokio::test(flavor = "multi_thread")]
async fn h11_connections_are_replaced_before_their_24_hours_are_over_and_no_series_notices() {
    let (speed, day_ms) = (600.0, 86_400_000.0);
    let (scene, reader) = Scene::live(SimulatorSettings {
        symbols: 125,
        intervals: vec![Interval::M15, Interval::H1],
        speed,
        ..SimulatorSettings::default()
    })
    .await;
    let max_age_ms = (day_ms / speed) as u64;
    scene.fault(&json!({"kind": "transport.max_age", "max_age_ms": max_age_ms}));
    let opened = scene.exchange.stats().totals.ws_connections;
    assert_eq!(opened, 2, "250 names are two connections");
    scene.pass(86_400_000).await;
    bounded("live", scene.all_live().await, Duration::from_secs(1));
    println!("{:?}", scene.assert_true(&reader).await);
    let stats = scene.exchange.stats();
    assert!(stats.totals.ws_connections >= 4, "{:?}", stats.totals);
    let by_us = |one: &&hamacast::simulator::ConnectionReport| !one.open;
    for ended in stats.connections.iter().filter(by_us) {
        assert_eq!(
            ended.ended.as_deref(),
            Some("closed by the client"),
            "{ended:?}"
        );
    }
    let status = scene.get("/api/v1/status").await;
    println!("{}", status["candles"]);
    assert!(!scene.log_text().contains("stream connection lost"));
}
