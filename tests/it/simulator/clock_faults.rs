//! Faults of the exchange's clock: what is told is wrong, candles close when they should.

use serde_json::{Value, json};

use super::{Exchange, settings};

const MINUTE_MS: i64 = 60_000;

/// How far the time that is told is from the true one, in ms: between the two, because asking takes time.
async fn off(exchange: &Exchange) -> (i64, i64) {
    let before = exchange.simulator.now().ms();
    let told = exchange.get("/fapi/v1/time").await.json["serverTime"].as_i64();
    let after = exchange.simulator.now().ms();
    (told.unwrap() - after, told.unwrap() - before)
}

fn assert_off(seen: (i64, i64), by_ms: i64) {
    assert!(
        seen.0 <= by_ms && by_ms <= seen.1,
        "{seen:?} is not {by_ms}"
    );
}

#[tokio::test]
async fn h29_an_offset_is_told_everywhere_and_moves_no_candle() {
    let exchange = Exchange::start(settings()).await;
    let mut client = exchange.connect("/market/ws/btcusdt@kline_1m").await;
    exchange.fault(&json!({"kind": "clock.offset", "offset_ms": 10 * MINUTE_MS}));
    assert_off(off(&exchange).await, 10 * MINUTE_MS);
    let info = exchange.get("/fapi/v1/exchangeInfo").await;
    let told = info.json["serverTime"].as_i64().unwrap();
    assert!(told - exchange.simulator.now().ms() > 9 * MINUTE_MS);
    let event = loop {
        let event: Value = client.next().await;
        if event["E"].as_i64().unwrap() > event["k"]["T"].as_i64().unwrap() {
            break event; // the first after the fault
        }
    };
    assert_eq!(
        event["k"]["x"], false,
        "told by a wrong clock, open by the true one"
    );
    let rows = exchange
        .get("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=1")
        .await;
    let open = rows.rows()[0][0].as_i64().unwrap();
    let now = exchange.simulator.now().ms();
    assert!(
        now - open < 2 * MINUTE_MS,
        "the open candle is the true minute's"
    );
    exchange.simulator.clear_faults();
    assert_off(off(&exchange).await, 0);
}

#[tokio::test]
async fn a_clock_can_be_wrong_at_one_path_only() {
    let exchange = Exchange::start(settings()).await;
    exchange.fault(&json!({"kind": "clock.offset", "offset_ms": -7_000, "path": "/fapi/v1/time"}));
    assert_off(off(&exchange).await, -7_000);
    let mut client = exchange.connect("/market/ws/btcusdt@kline_1m").await;
    let before = exchange.simulator.now().ms();
    exchange.fault(&json!({"kind": "clock.step", "step_ms": 3_600_000, "path": "/market"}));
    loop {
        let stamp = client.next().await["E"].as_i64().unwrap();
        if stamp >= before + 3_600_000 {
            break;
        }
        assert!(
            stamp <= exchange.simulator.now().ms(),
            "true until the step"
        );
    }
    assert_off(off(&exchange).await, -7_000);
}

#[tokio::test]
async fn a_clock_steps_back_at_its_time_and_drifts() {
    let exchange = Exchange::start(super::SimulatorSettings {
        speed: 60.0,
        ..settings()
    })
    .await;
    let mut client = exchange.subscribed(&["btcusdt@kline_1m"]).await;
    exchange.fault(
        &json!({"kind": "clock.step", "step_ms": -60 * MINUTE_MS, "after_ms": 2 * MINUTE_MS}),
    );
    let fault = exchange.simulator.faults().faults[0].fault.clone();
    let begins = fault.scope.from_ms.unwrap();
    let mut last = 0;
    let back = loop {
        let stamp = client.next().await["E"].as_i64().unwrap();
        if stamp < last {
            break stamp;
        }
        last = stamp;
    };
    assert!(last < begins && back < begins && exchange.simulator.now().ms() >= begins);
    assert_off(off(&exchange).await, -60 * MINUTE_MS);
    exchange.simulator.clear_faults();
    exchange.fault(
        &json!({"kind": "clock.drift", "ppm": 100_000.0, "from_ms": begins - 60 * MINUTE_MS}),
    );
    let (least, most) = off(&exchange).await;
    let drifted = (exchange.simulator.now().ms() - begins + 60 * MINUTE_MS) / 10;
    assert!(
        least <= drifted && drifted - 5 * MINUTE_MS <= most,
        "{least} {drifted} {most}"
    );
    assert!(most >= 6 * MINUTE_MS);
    assert_eq!(exchange.simulator.faults().faults[0].strikes, 1);
}
