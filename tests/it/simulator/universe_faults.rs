//! Faults in what is listed: streams, candles, `exchangeInfo` and ticker agree on it at every time of the exchange.

use hamacast::simulator::{Fault, SimulatorSettings};
use serde_json::{Value, json};

use super::{Client, Exchange, START_MS, row_of, settings};

const MINUTE_MS: i64 = 60_000;

fn fast(speed: f64) -> SimulatorSettings {
    SimulatorSettings {
        speed,
        ..settings()
    }
}

/// The next `contractInfo` event about `symbol`.
async fn contract_event(client: &mut Client, symbol: &str) -> Value {
    loop {
        let event = client.next().await;
        if event["e"] == "contractInfo" && event["s"] == symbol {
            return event;
        }
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn h24_a_delisted_contract_settles_and_only_flat_closes_go_on() {
    let exchange = Exchange::start(fast(300.0)).await;
    let (row, ticker) = exchange.listed("SOLUSDT").await;
    assert_eq!(row.unwrap()["status"], "TRADING");
    assert!(ticker.is_some());
    let mut client = exchange
        .subscribed(&["!contractInfo", "solusdt@kline_1m"])
        .await;
    exchange.fault(&json!({"kind": "universe.delist", "symbol": "SOLUSDT", "after_ms": 100_000}));
    let event = contract_event(&mut client, "SOLUSDT").await;
    let at = event["dt"].as_i64().unwrap();
    assert_eq!(
        (&event["cs"], &event["st"], &event["ct"]),
        (&json!("SETTLING"), &json!(1), &json!("PERPETUAL"))
    );
    assert!(event["E"].as_i64().unwrap() >= at && at >= START_MS + 100_000);
    let (row, ticker) = exchange.listed("SOLUSDT").await;
    let row = row.unwrap();
    assert_eq!(
        (&row["status"], &row["deliveryDate"]),
        (&json!("SETTLING"), &event["dt"])
    );
    assert_eq!(ticker, None);
    exchange
        .get("/fapi/v1/ticker/24hr?symbol=SOLUSDT")
        .await
        .refused(400, -1122);
    let last = at / MINUTE_MS * MINUTE_MS;
    let mut flat = 0;
    while flat < 4 {
        let candle = client.next().await["k"].clone();
        if candle["t"].as_i64().unwrap() <= last {
            continue;
        }
        assert_eq!(
            (&candle["x"], &candle["n"]),
            (&json!(true), &json!(0)),
            "closes, and nothing else: {candle}"
        );
        let open = candle["t"].as_i64().unwrap();
        let told = exchange.told("SOLUSDT", "1m", last, open).await;
        assert_eq!(told.last(), Some(&row_of(&candle)));
        assert_eq!(told[0][4], candle["c"], "the last price stands");
        flat += 1;
    }
}

#[tokio::test]
async fn h25_a_contract_that_is_not_traded_yet_is_listed_and_has_no_candles() {
    let exchange = Exchange::start(settings()).await;
    exchange
        .get("/fapi/v1/klines?symbol=4FRESHUSDT&interval=1m")
        .await
        .refused(400, -1121);
    exchange.fault(&json!({
        "kind": "universe.list", "symbol": "4FRESHUSDT", "pending_ms": 60 * MINUTE_MS, "from_ms": START_MS - 1,
    }));
    let (row, ticker) = exchange.listed("4FRESHUSDT").await;
    let row = row.unwrap();
    assert_eq!(
        (
            &row["status"],
            &row["baseAsset"],
            &row["quoteAsset"],
            &row["onboardDate"]
        ),
        (
            &json!("PENDING_TRADING"),
            &json!("4FRESH"),
            &json!("USDT"),
            &json!(START_MS - 1 + 60 * MINUTE_MS)
        )
    );
    assert_eq!(ticker, None);
    let none = exchange
        .get("/fapi/v1/klines?symbol=4FRESHUSDT&interval=1m")
        .await;
    assert_eq!(none.rows().len(), 0);
}

#[tokio::test]
async fn h25_a_new_listing_is_announced_then_traded_and_its_history_begins_there() {
    let exchange = Exchange::start(fast(300.0)).await;
    let mut client = exchange.subscribed(&["!contractInfo"]).await;
    exchange.fault(&json!({
        "kind": "universe.list", "symbol": "4FRESHUSDT", "pending_ms": 2 * MINUTE_MS, "price": 0.25, "quote_volume": 5e9,
    }));
    let announced = contract_event(&mut client, "4FRESHUSDT").await;
    let traded = contract_event(&mut client, "4FRESHUSDT").await;
    assert_eq!(
        (&announced["cs"], &traded["cs"]),
        (&json!("PENDING_TRADING"), &json!("TRADING"))
    );
    let (row, ticker) = exchange.listed("4FRESHUSDT").await;
    let row = row.unwrap();
    assert_eq!(
        (&row["status"], &row["onboardDate"]),
        (&json!("TRADING"), &traded["ot"])
    );
    assert_eq!(ticker.unwrap()["symbol"], "4FRESHUSDT");
    client
        .answer(r#"{"method":"SUBSCRIBE","params":["4freshusdt@kline_1m"],"id":2}"#)
        .await;
    let close = client.next_close("1m").await;
    let told = exchange
        .told("4FRESHUSDT", "1m", 0, close["t"].as_i64().unwrap())
        .await;
    assert_eq!(told.last(), Some(&row_of(&close)));
    let onboard = traded["ot"].as_i64().unwrap();
    assert_eq!(
        told[0][0],
        onboard / MINUTE_MS * MINUTE_MS,
        "its first candle"
    );
    let hour = 60 * MINUTE_MS;
    let hours = exchange
        .get("/fapi/v1/klines?symbol=4FRESHUSDT&interval=1h")
        .await;
    assert_eq!(
        hours.rows()[0][0],
        onboard / hour * hour,
        "the first hour is made of what there is"
    );
}

#[tokio::test]
async fn h27_listings_have_any_name_and_as_many_candles_as_are_told() {
    let exchange = Exchange::start(settings()).await;
    exchange.fault(&json!([
        {"kind": "universe.list", "symbol": "龙虾USDT", "interval": "15m", "history": 150, "from_ms": START_MS - 1},
        {"kind": "universe.list", "symbol": "AAPLUSDT", "contract_type": "TRADIFI_PERPETUAL", "underlying": "EQUITY",
         "history": 10, "from_ms": START_MS - 1},
        {"kind": "universe.list", "symbol": "ETHUSDT_261225", "contract_type": "CURRENT_QUARTER", "from_ms": START_MS - 1},
        {"kind": "universe.list", "symbol": "ETHUSDC", "quote_volume": 9e9, "from_ms": START_MS - 1},
    ]));
    let lobster = percent_encoded("龙虾USDT");
    let ask = format!("/fapi/v1/klines?symbol={lobster}&interval=15m&limit=1500");
    let rows = exchange.get(&ask).await;
    assert_eq!(rows.rows().len(), 151, "150 closed ones and the open one");
    let mut client = exchange.subscribed(&["龙虾usdt@kline_1m"]).await;
    assert_eq!(client.next().await["s"], "龙虾USDT");
    assert_eq!(
        exchange.listed("龙虾USDT").await.0.unwrap()["baseAsset"],
        "龙虾"
    );
    let stock = exchange.listed("AAPLUSDT").await.0.unwrap();
    assert_eq!(
        (&stock["contractType"], &stock["underlyingType"]),
        (&json!("TRADIFI_PERPETUAL"), &json!("EQUITY"))
    );
    let quarter = exchange.listed("ETHUSDT_261225").await.0.unwrap();
    assert_eq!(
        (&quarter["pair"], &quarter["contractType"]),
        (&json!("ETHUSDT"), &json!("CURRENT_QUARTER"))
    );
    assert_eq!(
        exchange.listed("ETHUSDC").await.0.unwrap()["quoteAsset"],
        "USDC"
    );
}

#[tokio::test]
async fn h26_a_coin_margined_listing_is_in_the_all_market_streams_only() {
    let exchange = Exchange::start(settings()).await;
    let mut client = exchange.subscribed(&["!contractInfo", "!ticker@arr"]).await;
    exchange.fault(&json!({"kind": "universe.list", "symbol": "ETHUSD_PERP", "margin": "coin", "quote_volume": 1e11}));
    let event = contract_event(&mut client, "ETHUSD_PERP").await;
    assert_eq!((&event["st"], &event["ps"]), (&json!(2), &json!("ETHUSD")));
    let row = loop {
        let event = client.next().await;
        let Some(rows) = event.as_array() else {
            continue;
        };
        if let Some(row) = rows.iter().find(|row| row["s"] == "ETHUSD_PERP") {
            break row.clone();
        }
    };
    assert_eq!(row["st"], 2);
    assert_eq!(exchange.listed("ETHUSD_PERP").await, (None, None));
    exchange
        .get("/fapi/v1/klines?symbol=ETHUSD_PERP&interval=1m")
        .await
        .refused(400, -1121);
}

#[tokio::test]
async fn a_renamed_contract_settles_and_goes_on_under_its_new_name() {
    let exchange = Exchange::start(fast(300.0)).await;
    let mut client = exchange.subscribed(&["!contractInfo"]).await;
    exchange.fault(&json!({"kind": "universe.rename", "symbol": "SOLUSDT", "to": "NEWSOLUSDT", "after_ms": 30_000}));
    let old = contract_event(&mut client, "SOLUSDT").await;
    let new = contract_event(&mut client, "NEWSOLUSDT").await;
    assert_eq!(
        (&old["cs"], &new["cs"]),
        (&json!("SETTLING"), &json!("TRADING"))
    );
    assert_eq!(old["dt"], new["ot"], "at the same instant");
    let (settled, no_ticker) = exchange.listed("SOLUSDT").await;
    let (traded, ticker) = exchange.listed("NEWSOLUSDT").await;
    assert_eq!(
        (settled.unwrap()["status"].clone(), no_ticker),
        (json!("SETTLING"), None)
    );
    let traded = traded.unwrap();
    assert_eq!(
        (&traded["baseAsset"], &traded["status"]),
        (&json!("NEWSOL"), &json!("TRADING"))
    );
    assert!(ticker.is_some());
    client
        .answer(r#"{"method":"SUBSCRIBE","params":["newsolusdt@kline_1m"],"id":1}"#)
        .await;
    let close = client.next_close("1m").await;
    let open = close["t"].as_i64().unwrap();
    let told = exchange.told("NEWSOLUSDT", "1m", 0, open).await;
    assert_eq!(told.last(), Some(&row_of(&close)));
    assert_eq!(
        told[0][0].as_i64().unwrap(),
        new["ot"].as_i64().unwrap() / MINUTE_MS * MINUTE_MS
    );
}

#[tokio::test]
async fn h33_words_nobody_knows_and_broken_rows_are_told_for_their_time() {
    let exchange = Exchange::start(settings()).await;
    let past = START_MS - 1;
    exchange.fault(&json!([
        {"kind": "universe.status", "status": "AUCTION_2028", "symbol": "SOLUSDT", "from_ms": past},
        {"kind": "universe.contract_type", "contract_type": "ETERNAL", "symbol": "ETHUSDT", "from_ms": past},
        {"kind": "universe.malformed_row", "symbol": "XRPUSDT", "from_ms": past},
        {"kind": "universe.malformed_row", "broken": "wrong_types", "symbol": "BNBUSDT", "from_ms": past},
        {"kind": "universe.malformed_row", "broken": "not_an_object", "symbol": "ADAUSDT", "from_ms": past},
        {"kind": "universe.status", "status": "AUCTION_2028", "symbol": "BTCUSDT", "from_ms": past - 9, "to_ms": past},
    ]));
    let (row, ticker) = exchange.listed("SOLUSDT").await;
    assert_eq!(
        (row.unwrap()["status"].clone(), ticker),
        (json!("AUCTION_2028"), None)
    );
    let (row, ticker) = exchange.listed("ETHUSDT").await;
    assert_eq!(row.unwrap()["contractType"], "ETERNAL");
    assert!(ticker.is_some(), "it is traded");
    assert_eq!(exchange.listed("XRPUSDT").await.0, None);
    assert_eq!(exchange.listed("BNBUSDT").await.0.unwrap()["status"], 7);
    assert_eq!(
        exchange.listed("BTCUSDT").await.0.unwrap()["status"],
        "TRADING"
    );
    let info = exchange.get("/fapi/v1/exchangeInfo").await;
    let rows = info.json["symbols"].as_array().unwrap();
    assert!(rows.contains(&json!("ADAUSDT")));
    assert!(rows.iter().any(|row| row["pair"] == "XRPUSDT"));
    for symbol in ["XRPUSDT", "BNBUSDT", "ADAUSDT", "ETHUSDT"] {
        let past = START_MS - 10 * MINUTE_MS;
        assert_eq!(
            exchange
                .told(symbol, "1m", past, START_MS - 2 * MINUTE_MS)
                .await
                .len(),
            8
        );
    }
}

#[tokio::test]
async fn a_turnover_is_told_by_ticker_and_stream_and_moves_no_candle() {
    let exchange = Exchange::start(settings()).await;
    let plain = exchange.listed("DOTUSDT").await.1.unwrap_or_default();
    let told = exchange
        .told("XRPUSDT", "1m", START_MS - 10 * MINUTE_MS, START_MS)
        .await;
    exchange.fault(&json!({"kind": "universe.turnover", "quote_volume": 12_345_678.5, "symbol": "XRPUSDT", "from_ms": START_MS - 1}));
    let ticker = exchange.listed("XRPUSDT").await.1.unwrap();
    assert_eq!(ticker["quoteVolume"], "12345678.50000");
    let average = 12_345_678.5 / ticker["volume"].as_str().unwrap().parse::<f64>().unwrap();
    let last: f64 = ticker["lastPrice"].as_str().unwrap().parse().unwrap();
    assert!((average / last - 1.0).abs() < 0.2, "{average} {last}");
    let mut client = exchange.connect("/market/ws/!ticker@arr").await;
    let rows = client.next().await;
    let row = rows
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["s"] == "XRPUSDT");
    assert_eq!(row.unwrap()["q"], "12345678.50000");
    assert_eq!(
        exchange
            .told("XRPUSDT", "1m", START_MS - 10 * MINUTE_MS, START_MS)
            .await,
        told
    );
    let other = exchange.listed("DOTUSDT").await.1.unwrap_or_default();
    assert_eq!(other["openPrice"], plain["openPrice"]);
}

#[tokio::test]
async fn what_cannot_happen_is_refused_and_changes_nothing() {
    let exchange = Exchange::start(settings()).await;
    let refused = |json: Value| {
        let faults = Fault::parse_all(&json.to_string());
        let told = faults.and_then(|mut faults| exchange.simulator.fault(faults.remove(0)));
        told.unwrap_err().to_string()
    };
    for (fault, why) in [
        (
            json!({"kind": "universe.delist", "symbol": "NOSUCHUSDT"}),
            "NOSUCHUSDT is not listed",
        ),
        (json!({"kind": "universe.delist"}), "`symbol` is missing"),
        (
            json!({"kind": "universe.list", "symbol": "BTCUSDT"}),
            "BTCUSDT is listed already",
        ),
        (
            json!({"kind": "universe.rename", "symbol": "BTCUSDT", "to": "ETHUSDT"}),
            "ETHUSDT is listed already",
        ),
        (
            json!({"kind": "universe.rename", "symbol": "BTCUSDT", "to": "A B"}),
            "`to`",
        ),
        (
            json!({"kind": "universe.delist", "symbol": "BTCUSDT", "share": 0.5}),
            "it begins once",
        ),
        (
            json!({"kind": "universe.status", "status": "a b"}),
            "allowed 1 to 64 letters",
        ),
        (
            json!({"kind": "universe.list", "symbol": "XUSDT", "to_ms": 5_000_000_000_000_i64}),
            "`to_ms`",
        ),
        (
            json!({"kind": "candle.revise", "delay_ms": 0}),
            "allowed 1 to",
        ),
        (
            json!({"kind": "candle.hole", "symbol": "NOSUCHUSDT"}),
            "NOSUCHUSDT is not listed",
        ),
        (
            json!({"kind": "candle.hole", "path": "/market"}),
            "`path` means nothing here",
        ),
        (
            json!({"kind": "candle.extreme_digits", "digits": "tiny", "count": 1}),
            "its scope is `symbol`",
        ),
        (
            json!({"kind": "clock.step", "step_ms": 5, "for_ms": 5}),
            "clock.offset",
        ),
    ] {
        let text = refused(fault);
        assert!(text.contains(why), "{text}");
    }
    assert_eq!(exchange.simulator.faults().faults, []);
    assert_eq!(
        exchange.listed("BTCUSDT").await.0.unwrap()["status"],
        "TRADING"
    );
}
