//! REST of the simulated exchange: shapes, weights, errors, limits.

use hamacast::market::Interval;
use hamacast::simulator::{SimulatorSettings, WeightTable};

use super::{Exchange, START_MS, settings};

#[tokio::test]
async fn the_clock_says_its_speed_and_every_weighted_answer_the_weight_used() {
    let exchange = Exchange::start(settings()).await;
    assert_eq!(exchange.get("/fapi/v1/ping").await.used_weight(), 1);
    let time = exchange.get("/fapi/v1/time").await;
    assert_eq!(time.used_weight(), 2);
    assert_eq!(time.json["simSpeed"], 1.0);
    let shown = time.json["serverTime"].as_i64().unwrap();
    assert!((START_MS..START_MS + 20_000).contains(&shown), "{shown}");
    assert_eq!(exchange.get("/fapi/v1/ticker/24hr").await.used_weight(), 42);
    assert_eq!(
        exchange
            .get("/fapi/v1/ticker/24hr?symbol=ethusdt")
            .await
            .used_weight(),
        43
    );
    assert_eq!(
        exchange.get("/fapi/v1/premiumIndex").await.used_weight(),
        53
    );
    let stats = exchange.get("/sim/stats").await;
    assert!(!stats.headers.contains_key("x-mbx-used-weight-1m"));
    assert_eq!(stats.json["violations"], serde_json::json!([]));
    assert_eq!(stats.json["totals"]["weight_peak"], 53);
}

#[tokio::test]
async fn the_clock_and_the_minute_of_the_budget_run_at_its_speed() {
    let exchange = Exchange::start(SimulatorSettings {
        speed: 3_600.0, // a minute is 16.7 ms
        ..settings()
    })
    .await;
    let before = exchange.get("/fapi/v1/time").await;
    assert_eq!(before.json["simSpeed"], 3_600.0);
    let mut used = before.used_weight();
    let mut minutes = 0;
    while minutes < 3 {
        let now = exchange.get("/fapi/v1/ping").await.used_weight();
        minutes += u32::from(now <= used);
        used = now;
    }
    let after = exchange.get("/fapi/v1/time").await;
    let passed = |a: &serde_json::Value, b: &serde_json::Value| {
        b["serverTime"].as_i64().unwrap() - a["serverTime"].as_i64().unwrap()
    };
    assert!(passed(&before.json, &after.json) > 2 * 60_000);
}

#[tokio::test]
async fn answers_are_as_late_as_they_are_told_to_be() {
    let latency = std::time::Duration::from_millis(120);
    let exchange = Exchange::start(SimulatorSettings {
        latency,
        ..settings()
    })
    .await;
    let asked = std::time::Instant::now();
    exchange.get("/fapi/v1/ping").await;
    assert!(asked.elapsed() >= latency);
}

#[tokio::test]
async fn h26_the_list_of_contracts_has_rows_to_leave_alone() {
    let exchange = Exchange::start(settings()).await;
    let info = exchange.get("/fapi/v1/exchangeInfo").await;
    assert_eq!(info.json["rateLimits"][0]["limit"], 2_400);
    let row = |name: &str| {
        let rows = info.json["symbols"].as_array().unwrap();
        rows.iter()
            .find(|row| row["symbol"] == name)
            .unwrap()
            .clone()
    };
    let bitcoin = row("BTCUSDT");
    assert_eq!(bitcoin["contractType"], "PERPETUAL");
    assert_eq!(bitcoin["pricePrecision"], 2);
    assert_eq!(bitcoin["filters"][0]["tickSize"], "0.10");
    assert_eq!(row("币安人生USDT")["status"], "TRADING");
    assert_eq!(row("MOONUSDT")["status"], "AUCTION_2027");
    assert_eq!(row("SWIRLUSDT")["contractType"], "EVERLASTING_OPTION");
    let delisted = row("OMGUSDT");
    assert_eq!(delisted["status"], "SETTLING");
    let ended = delisted["deliveryDate"].as_i64().unwrap();
    assert!(ended < START_MS, "a delisted contract's delivery is past");
    assert!(bitcoin["deliveryDate"].as_i64().unwrap() > 4_000_000_000_000);
    let last = exchange
        .get("/fapi/v1/klines?symbol=OMGUSDT&interval=1h&limit=3")
        .await;
    assert_eq!(last.rows()[2][6], ended - 1, "its candles end with it");
    assert_eq!(row("XAUUSDT")["contractType"], "TRADIFI_PERPETUAL");
    assert_eq!(row("BTCUSDT_261225")["pair"], "BTCUSDT");
    assert_eq!(row("BTCUSDC")["quoteAsset"], "USDC");
    let ticker = exchange.get("/fapi/v1/ticker/24hr").await;
    let listed = |name: &str| ticker.rows().iter().any(|row| row["symbol"] == name);
    assert!(listed("BTCUSDT") && listed("XAUUSDT") && !listed("OMGUSDT"));
    let volume = |name: &str| -> f64 {
        let row = ticker
            .rows()
            .iter()
            .find(|row| row["symbol"] == name)
            .unwrap();
        row["quoteVolume"].as_str().unwrap().parse().unwrap()
    };
    assert!(volume("BTCUSDT") > 10.0 * volume("1000SHIBUSDT"));
}

#[tokio::test]
async fn h01_the_last_row_is_the_open_candle_unless_the_end_excludes_it() {
    let exchange = Exchange::start(settings()).await;
    let quarter = START_MS - START_MS % 900_000;
    let with_open = exchange
        .get("/fapi/v1/klines?symbol=btcusdt&interval=15m&limit=499")
        .await;
    let rows = with_open.rows();
    assert_eq!(rows.len(), 499);
    assert_eq!(rows[498][0], quarter);
    assert_eq!(rows[498][6], quarter + 899_999);
    assert_eq!(rows[498].as_array().unwrap().len(), 12);
    assert_eq!(rows[498][11], "0");
    assert!(
        rows.windows(2)
            .all(|w| w[1][0].as_i64() == w[0][0].as_i64().map(|t| t + 900_000))
    );
    let end = quarter - 1;
    let path = format!("/fapi/v1/klines?symbol=BTCUSDT&interval=15m&limit=499&endTime={end}");
    let closed = exchange.get(&path).await;
    assert_eq!(closed.rows().len(), 499);
    assert_eq!(closed.rows()[498], rows[497]);
    let from = quarter - 900_000 * 3;
    let path = format!("/fapi/v1/klines?symbol=BTCUSDT&interval=15m&startTime={from}");
    let since = exchange.get(&path).await;
    assert_eq!(since.rows().len(), 4);
    assert_eq!(since.rows()[..3], rows[495..498]);
    let path = format!("{path}&limit=2");
    assert_eq!(exchange.get(&path).await.rows()[..], rows[495..497]);
    let future = format!(
        "/fapi/v1/klines?symbol=BTCUSDT&interval=15m&startTime={}",
        START_MS * 2
    );
    assert!(exchange.get(&future).await.rows().is_empty());
}

#[tokio::test]
async fn h27_names_of_any_script_are_found_percent_encoded_and_in_lower_case() {
    let exchange = Exchange::start(settings()).await;
    let encoded = "%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9Fusdt";
    let rows = exchange
        .get(&format!(
            "/fapi/v1/klines?symbol={encoded}&interval=1h&limit=5"
        ))
        .await;
    assert_eq!(rows.rows().len(), 5);
    let same = "/fapi/v1/continuousKlines?pair=BTCUSDT&contractType=PERPETUAL&interval=4h&limit=9";
    let same = exchange.get(same).await;
    let klines = exchange
        .get("/fapi/v1/klines?symbol=BTCUSDT&interval=4h&limit=9")
        .await;
    assert_eq!(same.rows()[..8], klines.rows()[..8]);
}

#[tokio::test]
async fn refusals_have_a_code_and_cost_their_weight() {
    let exchange = Exchange::start(settings()).await;
    let cases = [
        ("symbol=NOPEUSDT&interval=1m&limit=10", -1121, 1),
        ("symbol=BTCUSDT&interval=1s&limit=499", -1120, 2),
        ("symbol=BTCUSDT&interval=1m&limit=1501", -1130, 10),
        ("symbol=BTCUSDT&interval=1m&limit=0", -1130, 1),
        ("symbol=BTCUSDT&interval=1m&limit=many", -1130, 5),
        ("symbol=BTCUSDT&interval=1m&startTime=x", -1130, 5),
        ("interval=1m", -1102, 5),
        ("symbol=BTCUSDT&limit=1000", -1102, 5),
    ];
    let mut used = 0;
    for (query, code, weight) in cases {
        let answer = exchange.get(&format!("/fapi/v1/klines?{query}")).await;
        answer.refused(400, code);
        used += weight;
        assert_eq!(answer.used_weight(), used, "{query}");
    }
    exchange.get("/fapi/v2/klines").await.refused(404, -1000);
    exchange.get("/").await.refused(404, -1000);
    exchange.get("/market/ws").await.refused(400, -1000);
    let documented = Exchange::start(SimulatorSettings {
        weights: WeightTable::Documented,
        ..settings()
    })
    .await;
    let path = "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=100";
    assert_eq!(exchange.get(path).await.used_weight(), used + 1);
    assert_eq!(documented.get(path).await.used_weight(), 2);
}

#[tokio::test]
async fn h30_over_the_limit_is_429_and_going_on_is_a_ban() {
    let exchange = Exchange::start(settings()).await;
    let dear = "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=1501";
    for _ in 0..240 {
        exchange.get(dear).await.refused(400, -1130);
    }
    for _ in 0..20 {
        let limited = exchange.get("/fapi/v1/ping").await;
        limited.refused(429, -1003);
        let wait: i64 = limited.headers["retry-after"].parse().unwrap();
        assert!((1..=30).contains(&wait), "{wait}");
    }
    let banned = exchange.get("/fapi/v1/ping").await;
    banned.refused(418, -1003);
    assert_eq!(banned.headers["retry-after"], "120");
    assert!(
        banned.json["msg"]
            .as_str()
            .unwrap()
            .contains("banned until 1767226")
    );
    let stats = exchange.simulator.stats();
    assert_eq!(stats.totals.requests_while_limited, 20);
    assert_eq!(stats.totals.requests_while_banned, 1);
    assert_eq!(stats.violation_count, 21);
}

#[tokio::test]
async fn a_restart_with_the_same_seed_tells_the_same_truth() {
    let first = Exchange::start(settings()).await;
    let second = Exchange::start(settings()).await;
    let other = Exchange::start(SimulatorSettings {
        seed: 6,
        ..settings()
    })
    .await;
    for (symbol, interval) in [
        ("BTCUSDT", "15m"),
        ("1000PEPEUSDT", "4h"),
        ("SOLUSDT", "1m"),
    ] {
        let path = format!("/sim/truth?symbol={symbol}&interval={interval}&from=1766000000000");
        let path = format!("{path}&to=1767000000000");
        let truth = first.get(&path).await;
        assert!(truth.json["candles"].as_array().unwrap().len() > 60);
        assert_eq!(truth.json, second.get(&path).await.json);
        assert_ne!(truth.json, other.get(&path).await.json);
    }
    let beginning = first
        .get("/sim/truth?symbol=BTCUSDT&interval=4h&from=0")
        .await;
    let candles = beginning.json["candles"].as_array().unwrap();
    assert!(candles.len() >= 5_000, "{}", candles.len());
    let first_open = candles[0][0].as_i64().unwrap();
    assert!((START_MS - first_open) / 14_400_000 >= 5_000);
}

#[tokio::test]
async fn times_beyond_all_bounds_are_answered_and_end_nothing() {
    let exchange = Exchange::start(settings()).await;
    let ends = [i64::MIN, i64::MIN + 1, -1, 253_402_300_800_000, i64::MAX];
    for interval in Interval::ALL {
        for time in ends {
            for query in [
                format!("/fapi/v1/klines?limit=2&startTime={time}"),
                format!("/fapi/v1/klines?limit=2&endTime={time}"),
                format!("/sim/truth?from={time}&to={time}"),
                format!("/sim/truth?from=1767225600000&to={time}"),
            ] {
                let path = format!("{query}&symbol=BTCUSDT&interval={interval}");
                assert_eq!(exchange.get(&path).await.status, 200, "{path}");
            }
        }
    }
}

#[tokio::test]
async fn the_truth_is_told_whole_or_not_at_all() {
    let exchange = Exchange::start(settings()).await;
    let minutes = |count: i64| {
        let to = START_MS - START_MS % 60_000 - 60_000; // the last that has closed
        let from = to - (count - 1) * 60_000;
        format!("/sim/truth?symbol=BTCUSDT&interval=1m&from={from}&to={to}")
    };
    let all = exchange.get(&minutes(100_000)).await;
    assert_eq!(all.json["candles"].as_array().unwrap().len(), 100_000);
    let too_many = exchange.get(&minutes(100_001)).await;
    too_many.refused(400, -1130);
    let says = too_many.json["msg"].as_str().unwrap();
    assert!(says.contains("100000") && says.contains("`from`"), "{says}");
}

#[tokio::test]
async fn bodies_are_compressed_for_those_who_ask() {
    let exchange = Exchange::start(settings()).await;
    let url = format!(
        "http://{}/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=500",
        exchange.simulator.local_addr()
    );
    let plain = reqwest::Client::builder().no_gzip().build().unwrap();
    let zipped = plain
        .get(&url)
        .header("accept-encoding", "gzip")
        .send()
        .await
        .unwrap();
    assert_eq!(zipped.headers()["content-encoding"], "gzip");
    let zipped = zipped.bytes().await.unwrap().len();
    let whole = plain
        .get(&url)
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap()
        .len();
    assert!(zipped * 2 < whole, "{zipped} of {whole} bytes");
    assert_eq!(
        exchange
            .get("/fapi/v1/klines?symbol=BTCUSDT&interval=1m")
            .await
            .rows()
            .len(),
        500
    );
}
