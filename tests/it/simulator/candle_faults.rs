//! Faults in the candles themselves: what stream, REST and truth say of them, and that nothing else moves.

use hamacast::simulator::{FaultState, SimulatorSettings};
use serde_json::{Value, json};

use super::{Client, Exchange, START_MS, row_of, settings};

const MINUTE_MS: i64 = 60_000;
/// The first minute that opens after the start.
const NEXT_MS: i64 = START_MS + 30_000;

fn fast(speed: f64) -> SimulatorSettings {
    SimulatorSettings {
        speed,
        ..settings()
    }
}

/// The closes of a stream from the first that opens at `from_ms` or later up to the last before `to_ms`.
async fn closes(client: &mut Client, interval: &str, from_ms: i64, to_ms: i64) -> Vec<Value> {
    let mut closes = Vec::new();
    loop {
        let close = client.next_close(interval).await;
        let open = close["t"].as_i64().unwrap();
        if open >= to_ms {
            return closes;
        }
        if open >= from_ms {
            closes.push(close);
        }
    }
}

/// Which minutes the rows open, counted from `first_ms`.
fn opens(rows: &[Value], first_ms: i64) -> Vec<i64> {
    let open = |row: &Value| (row[0].as_i64().unwrap() - first_ms) / MINUTE_MS;
    rows.iter().map(open).collect()
}

fn number(value: &Value) -> f64 {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn h19_a_close_is_revised_in_rest_and_truth_after_the_stream_told_another() {
    let exchange = Exchange::start(fast(120.0)).await;
    let mut client = exchange
        .subscribed(&["solusdt@kline_1m", "solusdt@kline_5m"])
        .await;
    let minute = exchange.fault(&json!({
        "kind": "candle.revise", "delay_ms": 30_000, "percent": 1.5, "symbol": "SOLUSDT", "interval": "1m",
        "after_ms": MINUTE_MS, "count": 1,
    }));
    let stream = closes(&mut client, "1m", minute, minute + 2 * MINUTE_MS).await;
    let rows: Vec<Value> = stream.iter().map(row_of).collect();
    let told = exchange
        .told("SOLUSDT", "1m", minute, minute + MINUTE_MS)
        .await;
    // The next minute has closed: 30 s and more are over since the revised one did.
    assert_eq!((rows.len(), &rows[1]), (2, &told[1]));
    let (was, is) = (&rows[0], &told[0]);
    assert_eq!((&was[0], &was[1]), (&is[0], &is[1]));
    let moved = number(&is[4]) / number(&was[4]);
    assert!((moved - 1.015).abs() < 0.001, "{was} {is}");
    assert!(number(&is[2]) >= number(&is[4]) && number(&is[5]) > number(&was[5]));
    assert_eq!(exchange.simulator.faults().faults[0].strikes, 1);
}

#[tokio::test]
async fn h19_a_longer_candle_that_closes_later_is_the_sum_with_the_revised_minute() {
    let exchange = Exchange::start(fast(300.0)).await;
    let mut client = exchange.subscribed(&["solusdt@kline_5m"]).await;
    let minute = exchange.fault(&json!({
        "kind": "candle.revise", "delay_ms": 1, "percent": 3.0, "symbol": "SOLUSDT", "after_ms": 5 * MINUTE_MS,
        "for_ms": 10 * MINUTE_MS,
    }));
    // Five minutes that are revised all but the last, which is when they are told.
    let five = (minute + 5 * MINUTE_MS - 1) / (5 * MINUTE_MS) * (5 * MINUTE_MS);
    let close = closes(&mut client, "5m", five, five + 5 * MINUTE_MS).await;
    let minutes = exchange
        .told("SOLUSDT", "1m", five, five + 4 * MINUTE_MS)
        .await;
    let now = exchange.told("SOLUSDT", "5m", five, five).await;
    let stream = row_of(&close[0]);
    let volume = |rows: &[Value]| rows.iter().map(|row| number(&row[5])).sum::<f64>();
    assert!(
        (volume(&minutes) - volume(&now)).abs() < 1e-6 * volume(&now),
        "{now:?}"
    );
    let missing = volume(&now) - number(&stream[5]);
    assert!(
        missing > 0.0,
        "the stream lacks the last revision: {stream} {now:?}"
    );
    assert_eq!((&now[0][4], &now[0][1]), (&minutes[4][4], &minutes[0][1]));
}

#[tokio::test]
async fn h22_a_permanent_hole_is_in_stream_rest_and_truth_alike() {
    let exchange = Exchange::start(fast(300.0)).await;
    let mut client = exchange.subscribed(&["solusdt@kline_1m"]).await;
    let hole = exchange.fault(&json!({
        "kind": "candle.hole", "symbol": "SOLUSDT", "interval": "1m", "after_ms": 3 * MINUTE_MS, "count": 3,
    }));
    let (begin, end) = (hole - 2 * MINUTE_MS, hole + 7 * MINUTE_MS);
    let stream = closes(&mut client, "1m", begin, end).await;
    let told = exchange.told("SOLUSDT", "1m", begin, end - 1).await;
    assert_eq!(opens(&told, begin), [0, 1, 5, 6, 7, 8]);
    assert_eq!(stream.iter().map(row_of).collect::<Vec<_>>(), told);
    let five = hole / (5 * MINUTE_MS) * (5 * MINUTE_MS);
    let sum = exchange.told("SOLUSDT", "5m", five, five).await;
    let minutes = exchange
        .told("SOLUSDT", "1m", five, five + 4 * MINUTE_MS)
        .await;
    let volume: f64 = minutes.iter().map(|row| number(&row[5])).sum();
    assert!(minutes.len() < 5 && (number(&sum[0][5]) - volume).abs() <= 1e-6 * volume);
    let others = exchange.told("ETHUSDT", "1m", begin, end - 1).await;
    assert_eq!(others.len(), 9);
    let fault = &exchange.simulator.faults().faults[0];
    assert_eq!((fault.strikes, fault.fault.scope.count), (3, Some(3)));
}

#[tokio::test]
async fn h22_a_hole_once_is_in_the_first_answers_only() {
    let exchange = Exchange::start(settings()).await;
    let from = NEXT_MS - 6 * MINUTE_MS;
    exchange.fault(&json!({
        "kind": "candle.rest_hole", "answers": 2, "symbol": "SOLUSDT", "interval": "1m",
        "from_ms": from, "to_ms": from + 2 * MINUTE_MS,
    }));
    let ask = |symbol: &str, interval: &str| {
        format!(
            "/fapi/v1/klines?symbol={symbol}&interval={interval}&startTime={}&endTime={}",
            from - MINUTE_MS,
            from + 3 * MINUTE_MS - 1
        )
    };
    let mut counts = Vec::new();
    for _ in 0..3 {
        counts.push(exchange.get(&ask("SOLUSDT", "1m")).await.rows().len());
        assert_eq!(exchange.get(&ask("ETHUSDT", "1m")).await.rows().len(), 4);
    }
    assert_eq!(counts, [2, 2, 4]);
    assert_eq!(exchange.get(&ask("SOLUSDT", "3m")).await.rows().len(), 1);
    assert_eq!(exchange.simulator.faults().faults[0].strikes, 4);
    let told = exchange.told("SOLUSDT", "1m", from, from + MINUTE_MS).await;
    assert_eq!(told.len(), 2, "the truth has always had them");
}

#[tokio::test]
async fn h22_a_hole_of_answers_ends_with_its_fault() {
    let exchange = Exchange::start(settings()).await;
    let from = NEXT_MS - 6 * MINUTE_MS;
    let hole = json!({
        "kind": "candle.rest_hole", "answers": 1_000_000, "symbol": "SOLUSDT",
        "from_ms": from, "to_ms": from + 2 * MINUTE_MS,
    });
    let ask = format!(
        "/fapi/v1/klines?symbol=SOLUSDT&interval=1m&startTime={from}&endTime={}",
        from + 4 * MINUTE_MS - 1
    );
    exchange.fault(&hole);
    assert_eq!(exchange.get(&ask).await.rows().len(), 2);
    exchange.simulator.clear_faults();
    assert_eq!(exchange.get(&ask).await.rows().len(), 4);
    exchange.fault(&hole);
    assert_eq!(exchange.get(&ask).await.rows().len(), 2, "told anew");
}

#[tokio::test]
async fn h21_without_trades_closes_still_come() {
    let exchange = Exchange::start(fast(300.0)).await;
    let mut client = exchange.subscribed(&["btcusdt@kline_1m"]).await;
    let first = exchange.fault(&json!({
        "kind": "candle.zero_volume", "symbol": "BTCUSDT", "after_ms": 2 * MINUTE_MS, "count": 3,
    }));
    let (begin, end) = (first - MINUTE_MS, first + 4 * MINUTE_MS);
    let stream = closes(&mut client, "1m", begin, end).await;
    let told = exchange.told("BTCUSDT", "1m", begin, end - 1).await;
    assert_eq!(stream.iter().map(row_of).collect::<Vec<_>>(), told);
    assert_eq!(told.len(), 5);
    let last_price = &told[0][4];
    for (flat, close) in told[1..4].iter().zip(&stream[1..4]) {
        assert_eq!([&flat[1], &flat[2], &flat[3], &flat[4]], [last_price; 4]);
        assert_eq!((number(&flat[5]), &close["n"]), (0.0, &json!(0)));
    }
    let undisturbed = Exchange::start(fast(300.0)).await;
    undisturbed
        .subscribed(&["btcusdt@kline_1m"])
        .await
        .until_close(end - MINUTE_MS)
        .await;
    let plain = undisturbed.told("BTCUSDT", "1m", begin, end - 1).await;
    assert_eq!(
        (&told[0], &told[4]),
        (&plain[0], &plain[4]),
        "before and after as ever"
    );
}

#[tokio::test]
async fn h28_extreme_digits_are_the_same_texts_everywhere() {
    let exchange = Exchange::start(SimulatorSettings {
        faults: hamacast::simulator::Fault::parse_all(
            r#"[{"kind":"candle.extreme_digits","digits":"tiny","symbol":"SOLUSDT"},
                {"kind":"candle.extreme_digits","digits":"long","symbol":"BTCUSDT"}]"#,
        )
        .unwrap(),
        ..fast(300.0)
    })
    .await;
    let mut client = exchange
        .subscribed(&["solusdt@kline_1m", "btcusdt@kline_1m"])
        .await;
    let mut seen = std::collections::BTreeMap::new();
    while seen.len() < 2 {
        let close = client.next_close("1m").await;
        seen.insert(close["s"].as_str().unwrap().to_owned(), close);
    }
    for (symbol, close) in &seen {
        let open = close["t"].as_i64().unwrap();
        let told = exchange.told(symbol, "1m", open, open).await;
        assert_eq!(row_of(close), told[0]);
    }
    let info = exchange.listed("SOLUSDT").await.0.unwrap();
    assert_eq!(
        (&info["pricePrecision"], &info["filters"][0]["tickSize"]),
        (&json!(8), &json!("0.00000001"))
    );
    let price = seen["SOLUSDT"]["c"].as_str().unwrap();
    assert!(
        price.starts_with("0.000000") && price.len() == 10,
        "{price}"
    );
    let long = seen["BTCUSDT"]["c"].as_str().unwrap();
    let digits = long.bytes().filter(u8::is_ascii_digit).count();
    assert_eq!(digits, 17, "{long}");
    let volume = seen["BTCUSDT"]["v"].as_str().unwrap();
    assert!(volume.trim_end_matches('0').len() >= 15, "{volume}");
}

#[tokio::test]
async fn same_seed_same_market_whatever_happens_elsewhere() {
    let everything = json!([
        {"kind": "candle.hole", "symbol": "ETHUSDT", "from_ms": NEXT_MS - 300 * MINUTE_MS, "share": 0.2},
        {"kind": "candle.revise", "delay_ms": 1, "symbol": "SOLUSDT", "from_ms": NEXT_MS - 300 * MINUTE_MS},
        {"kind": "candle.zero_volume", "symbol": "XRPUSDT", "from_ms": NEXT_MS - 300 * MINUTE_MS},
        {"kind": "candle.extreme_digits", "digits": "long", "symbol": "BNBUSDT"},
        {"kind": "universe.list", "symbol": "FRESHUSDT"},
        {"kind": "universe.delist", "symbol": "DOGEUSDT", "from_ms": NEXT_MS - 100 * MINUTE_MS},
        {"kind": "universe.rename", "symbol": "ZECUSDT", "to": "NEWZECUSDT", "from_ms": NEXT_MS - 100 * MINUTE_MS},
    ]);
    let (plain, faulty, again) = (
        Exchange::start(settings()).await,
        Exchange::start(settings()).await,
        Exchange::start(settings()).await,
    );
    faulty.fault(&everything);
    again.fault(&everything);
    let (from, to) = (NEXT_MS - 400 * MINUTE_MS, NEXT_MS - 2 * MINUTE_MS);
    for symbol in ["BTCUSDT", "ADAUSDT"] {
        for interval in ["1m", "15m", "4h"] {
            let told = plain.told(symbol, interval, from, to).await;
            assert_eq!(
                told,
                faulty.told(symbol, interval, from, to).await,
                "{symbol}"
            );
        }
    }
    for symbol in ["ETHUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT", "ZECUSDT"] {
        let disturbed = faulty.told(symbol, "1m", from, to).await;
        assert_eq!(
            disturbed,
            again.told(symbol, "1m", from, to).await,
            "{symbol}"
        );
        let undisturbed = plain.told(symbol, "1m", from, to).await;
        assert_ne!(disturbed, undisturbed, "{symbol}");
        let before = NEXT_MS - 301 * MINUTE_MS;
        let early = |rows: &[Value]| {
            let rows = rows.iter().filter(|row| row[0].as_i64().unwrap() < before);
            rows.cloned().collect::<Vec<_>>()
        };
        assert_eq!(early(&disturbed), early(&undisturbed), "{symbol}");
    }
    let holes = faulty.told("ETHUSDT", "1m", from, to).await.len();
    assert!(
        (315..365).contains(&holes),
        "a fifth of 298 minutes is missing: {holes} of 399"
    );
}

#[tokio::test]
async fn what_has_happened_stays_when_faults_are_cleared() {
    let exchange = Exchange::start(fast(60.0)).await;
    exchange.fault(&json!([
        {"kind": "candle.zero_volume", "symbol": "SOLUSDT", "from_ms": NEXT_MS - 20 * MINUTE_MS},
        {"kind": "universe.list", "symbol": "SOONUSDT", "after_ms": 3_600_000},
        {"kind": "universe.delist", "symbol": "ETHUSDT", "from_ms": NEXT_MS - 5 * MINUTE_MS},
    ]));
    assert_eq!(
        exchange.simulator.faults().faults[1].state,
        FaultState::Waiting
    );
    exchange.simulator.clear_faults();
    assert_eq!(exchange.simulator.faults().faults, []);
    let cleared = exchange.simulator.now().ms();
    let mut client = exchange.subscribed(&["solusdt@kline_1m"]).await;
    // It is traded again, but for its usual lulls.
    let next = cleared / MINUTE_MS * MINUTE_MS + MINUTE_MS;
    while number(&client.until_close(next).await["v"]) == 0.0 {}
    let past = NEXT_MS - 15 * MINUTE_MS;
    let told = exchange
        .told("SOLUSDT", "1m", past, past + 5 * MINUTE_MS)
        .await;
    assert!(told.iter().all(|row| number(&row[5]) == 0.0), "{told:?}");
    assert_eq!(
        exchange.listed("ETHUSDT").await.0.unwrap()["status"],
        "SETTLING"
    );
    // The name of the listing that did not come about is free again.
    exchange.fault(&json!({"kind": "universe.list", "symbol": "SOONUSDT", "from_ms": cleared}));
    assert_eq!(
        exchange.listed("SOONUSDT").await.0.unwrap()["status"],
        "TRADING"
    );
}
