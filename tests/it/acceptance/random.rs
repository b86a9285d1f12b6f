//! Twenty hours of the exchange's time in which something goes wrong every ten minutes, chosen by a seed.

use std::time::Duration;

use fastrand::Rng;
use hamacast::market::Interval;
use hamacast::simulator::SimulatorSettings;
use serde_json::{Value, json};

use super::bounded;
use super::scene::Scene;

const HOUR_MS: i64 = 3_600_000;
const HOURS: i64 = 20;

/// Something that goes wrong for a while, for some.
fn fault(dice: &mut Rng) -> Value {
    let codes = [1_000, 1_001, 1_006, 1_008, 1_011, 1_012];
    let statuses = [408, 500, 502, 503, 504];
    let one_minute = 60_000;
    let kinds = [
        json!({"kind": "transport.reset"}),
        json!({"kind": "transport.close", "code": codes[dice.usize(..codes.len())]}),
        json!({"kind": "transport.stall"}),
        json!({"kind": "transport.refuse_handshake", "status": 503}),
        json!({"kind": "subscription.silent"}),
        json!({"kind": "subscription.partial", "deliver": 60}),
        json!({"kind": "stream.drop_updates"}),
        json!({"kind": "stream.drop_close"}),
        json!({"kind": "stream.delay_close", "by_ms": dice.i64(1..10) * one_minute}),
        json!({"kind": "stream.duplicate"}),
        json!({"kind": "stream.conflicting_close", "right": if dice.bool() { "first" } else { "last" }}),
        json!({"kind": "stream.out_of_order"}),
        json!({"kind": "stream.jump"}),
        json!({"kind": "stream.off_grid", "by_ms": 28_000}),
        json!({"kind": "rest.status", "status": statuses[dice.usize(..statuses.len())]}),
        json!({"kind": "rest.status", "status": 429, "retry_after_secs": 60}),
        json!({"kind": "rest.reset"}),
        json!({"kind": "rest.truncate"}),
        json!({"kind": "rest.malformed"}),
        json!({"kind": "rest.wrong_types"}),
        json!({"kind": "rest.empty"}),
        json!({"kind": "rest.wrong_order"}),
        json!({"kind": "rest.lag", "lag_ms": dice.i64(1..20) * one_minute}),
        json!({"kind": "rest.open_row"}),
    ];
    let mut fault = kinds[dice.usize(..kinds.len())].clone();
    let lasts = !matches!(
        fault["kind"].as_str(),
        Some("transport.reset" | "transport.close")
    );
    if lasts {
        fault["for_ms"] = json!(dice.i64(5..60) * one_minute);
        fault["share"] = json!(dice.f64());
    }
    fault
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_hours_of_random_faults_leave_candles_and_changes_as_they_should_be() {
    let seed = std::env::var("HAMACAST_FAULT_SEED")
        .map_or(20_261_125, |text| text.parse().expect("a whole number"));
    println!("seed {seed} (HAMACAST_FAULT_SEED)");
    let mut dice = Rng::with_seed(seed);
    let (scene, reader) = Scene::live(SimulatorSettings {
        seed,
        symbols: 125,
        intervals: vec![Interval::M15],
        speed: 600.0,
        ..SimulatorSettings::default()
    })
    .await;
    let began = scene.exchange.now();
    let mut faults = 0;
    while scene.exchange.now().ms_since(began) < (HOURS - 1) * HOUR_MS {
        scene.fault(&fault(&mut dice));
        faults += 1;
        scene.pass(dice.i64(1..20) * 60_000).await;
    }
    let strikes = scene.strikes();
    scene.exchange.clear_faults();
    bounded(
        "live after the last fault",
        scene.all_live().await,
        Duration::from_secs(30),
    );
    scene.until_time(began.plus_ms(HOURS * HOUR_MS)).await;
    println!(
        "{faults} faults, {strikes} strikes: {:?}",
        scene.assert_true(&reader).await
    );
    assert!(faults > 50 && strikes > 500, "{faults}, {strikes}");
}
