//! An exchange that changes its own data: candles revised after their close, candles it never has, numbers nobody expects,
//! a clock that is wrong. What is told in the end, corrections applied, is what its candles say in the end.

use std::time::Duration;

use serde_json::json;

use super::scene::Scene;
use super::{bounded, minutes};

/// Has the newest candles of every contract read anew, as an operator of the compatible API would.
async fn refresh_all(scene: &Scene) {
    let symbols = scene.exchange.symbols();
    for symbol in symbols.iter().take(scene.symbols) {
        let answer = scene.refresh(symbol).await;
        assert_eq!(answer["code"], 1, "{symbol}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h19_candles_revised_after_their_close_are_corrected_forward() {
    let (scene, reader) = Scene::live(minutes()).await;
    scene.fault(&json!({
        "kind": "candle.revise", "delay_ms": 40_000, "percent": 4.0, "share": 0.1, "for_ms": 300_000
    }));
    scene.pass(420_000).await;
    refresh_all(&scene).await;
    let outcome = scene.assert_true(&reader).await;
    let candles = &scene.get("/api/v1/status").await["candles"];
    println!("{outcome:?}, {candles}");
    assert!(outcome.corrections > 0, "no recommendation was revised");
}

#[tokio::test(flavor = "multi_thread")]
async fn h22_candles_the_exchange_never_has_are_bridged_once_that_is_certain() {
    let (scene, reader) = Scene::live(minutes()).await;
    scene.fault(&json!({"kind": "candle.hole", "share": 0.1, "for_ms": 300_000}));
    scene.pass(420_000).await;
    bounded(
        "live again",
        scene.all_live().await,
        Duration::from_secs(10),
    );
    println!("{:?}", scene.assert_true(&reader).await);
    let answer = scene.get("/api/v1/signals").await;
    let signals = answer["signals"].as_array().unwrap();
    let holes: u64 = signals.iter().filter_map(|one| one["holes"].as_u64()).sum();
    assert!(holes > 5, "{holes} candles were bridged");
    println!("{holes} candles bridged");
}

#[tokio::test(flavor = "multi_thread")]
async fn h22_a_hole_that_rest_shows_only_at_first_is_filled_and_not_bridged() {
    let (scene, reader) = Scene::live(minutes()).await;
    scene.fault(&json!([
        {"kind": "candle.rest_hole", "answers": 1, "for_ms": 240_000},
        {"kind": "stream.jump", "share": 0.2, "for_ms": 240_000}
    ]));
    scene.pass(420_000).await;
    bounded(
        "live again",
        scene.all_live().await,
        Duration::from_secs(10),
    );
    println!("{:?}", scene.assert_true(&reader).await);
    let answer = scene.get("/api/v1/signals").await;
    for one in answer["signals"].as_array().unwrap() {
        assert_eq!(one["holes"], 0, "{one}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h21_h28_dead_markets_and_extreme_digits_are_candles_as_all_others() {
    let scene = Scene::of(minutes()).await;
    let symbols = scene.exchange.symbols();
    scene.fault(&json!([
        {"kind": "candle.extreme_digits", "digits": "tiny", "symbol": symbols[0].as_str()},
        {"kind": "candle.extreme_digits", "digits": "long", "symbol": symbols[1].as_str()},
        {"kind": "candle.zero_volume", "symbol": symbols[2].as_str(), "for_ms": 600_000}
    ]));
    let (scene, reader) = scene.followed().await;
    scene.pass(420_000).await;
    println!("{:?}", scene.assert_true(&reader).await);
    let corrections = &scene.get("/api/v1/status").await["candles"]["corrections"];
    assert_eq!(corrections, 0, "no candle was taken for another");
}

#[tokio::test(flavor = "multi_thread")]
async fn h29_an_exchange_that_tells_a_wrong_time_gets_no_candle_too_early() {
    for clock in [
        json!({"kind": "clock.offset", "offset_ms": 45_000, "for_ms": 240_000}),
        json!({"kind": "clock.offset", "offset_ms": -45_000, "for_ms": 240_000}),
        json!({"kind": "clock.drift", "ppm": 50_000.0, "for_ms": 240_000}),
        json!({"kind": "clock.step", "step_ms": 90_000}),
    ] {
        let (scene, reader) = Scene::live(minutes()).await;
        scene.fault(&clock);
        scene.pass(360_000).await;
        scene.exchange.clear_faults();
        scene.pass(120_000).await;
        bounded(
            "live again",
            scene.all_live().await,
            Duration::from_secs(10),
        );
        println!("{clock}: {:?}", scene.assert_true(&reader).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h29_events_stamped_ahead_of_time_close_nothing_early() {
    let (scene, reader) = Scene::live(minutes()).await;
    scene.fault(&json!([
        {"kind": "stream.future_stamp", "ahead_ms": 50_000, "share": 0.2, "for_ms": 240_000},
        {"kind": "stream.drop_close", "share": 0.3, "for_ms": 240_000}
    ]));
    scene.pass(360_000).await;
    bounded(
        "live again",
        scene.all_live().await,
        Duration::from_secs(10),
    );
    println!("{:?}", scene.assert_true(&reader).await);
}
