//! Streams of the simulated exchange: names, acknowledgements, closes, limits.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use hamacast::market::{Interval, Symbol, TimeMs};
use hamacast::simulator::{LegacyPaths, Rule, SimulatorSettings};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{Client, Exchange, PATIENCE, settings};

fn fast(speed: f64) -> SimulatorSettings {
    SimulatorSettings {
        speed,
        ..settings()
    }
}

fn subscribe(names: &[String], id: u64) -> String {
    json!({"method": "SUBSCRIBE", "params": names, "id": id}).to_string()
}

fn number(value: &Value) -> f64 {
    value
        .as_str()
        .map_or_else(|| value.as_f64().unwrap(), |text| text.parse().unwrap())
}

#[tokio::test]
async fn truth_and_rest_and_stream_tell_the_same_closes_in_order() {
    let exchange = Exchange::start(fast(600.0)).await;
    let mut client = exchange.connect("/market/ws").await;
    client
        .answer(r#"{"method":"SUBSCRIBE","params":["solusdt@kline_1m"],"id":1}"#)
        .await;
    let symbol = Symbol::parse("SOLUSDT").unwrap();
    let mut closes = Vec::new();
    let mut last = json!(null);
    while closes.len() < 25 {
        let event = client.next().await;
        let candle = event["k"].clone();
        assert_eq!(
            (&event["e"], &event["s"]),
            (&json!("kline"), &json!("SOLUSDT"))
        );
        assert_eq!(
            candle["T"].as_i64().unwrap(),
            candle["t"].as_i64().unwrap() + 59_999
        );
        if last["t"] == candle["t"] {
            for field in ["n", "v", "q", "h"] {
                assert!(
                    number(&candle[field]) >= number(&last[field]),
                    "{field} {candle}"
                );
            }
            assert!(number(&candle["l"]) <= number(&last["l"]), "{candle}");
            assert_ne!(last["x"], true, "an update after its close: {candle}");
        }
        last = candle.clone();
        if candle["x"] == true {
            assert!(event["E"].as_i64().unwrap() > candle["T"].as_i64().unwrap());
            closes.push(candle);
        }
    }
    let (first, end) = (&closes[0]["t"], closes[24]["t"].as_i64().unwrap());
    let from = first.as_i64().unwrap();
    assert_eq!(end - from, 24 * 60_000, "one close for every minute");
    let to = Some(TimeMs::new(end));
    let truth = exchange
        .simulator
        .truth(&symbol, Interval::M1, TimeMs::new(from), to);
    let path = format!("/fapi/v1/klines?symbol=SOLUSDT&interval=1m&startTime={from}&endTime={end}");
    let rest = exchange.get(&path).await;
    assert_eq!((truth.len(), rest.rows().len()), (25, 25));
    for ((close, truth), row) in closes.iter().zip(&truth).zip(rest.rows()) {
        let told = json!([
            truth.open_time,
            truth.open,
            truth.high,
            truth.low,
            truth.close,
            truth.volume
        ]);
        assert_eq!(
            told,
            json!([
                close["t"], close["o"], close["h"], close["l"], close["c"], close["v"]
            ])
        );
        assert_eq!(told.as_array().unwrap()[..], row.as_array().unwrap()[..6]);
        let rest = json!([
            close["T"], close["q"], close["n"], close["V"], close["Q"], close["B"]
        ]);
        assert_eq!(rest.as_array().unwrap()[..], row.as_array().unwrap()[6..]);
    }
    assert_eq!(exchange.simulator.stats().violation_count, 0);
}

#[tokio::test]
async fn every_close_is_sent_in_order_however_many_pass_between_two_pushes() {
    let exchange = Exchange::start(SimulatorSettings {
        update_every: Duration::from_millis(400), // 24 minutes at this speed
        ..fast(3_600.0)
    })
    .await;
    let mut client = exchange
        .connect("/market/stream?streams=btcusdt@kline_1m")
        .await;
    let mut last = None;
    for _ in 0..60 {
        let event = loop {
            let event = client.next().await;
            assert_eq!(event["stream"], "btcusdt@kline_1m");
            if event["data"]["k"]["x"] == true {
                break event;
            }
        };
        let open = event["data"]["k"]["t"].as_i64().unwrap();
        assert!(last.is_none_or(|last| open == last + 60_000));
        last = Some(open);
    }
}

#[tokio::test]
async fn h07_what_does_not_exist_is_acknowledged_and_silent() {
    let exchange = Exchange::start(settings()).await;
    let mut client = exchange.connect("/market/ws/0").await;
    let names = [
        "BTCUSDT@kline_1m",
        "btcusdt@kline_1s",
        "nopeusdt@kline_1m",
        "btcusdt@bananas",
        "omgusdt@kline_1m",
    ];
    let request = subscribe(&names.map(str::to_owned), 1_767_225_600_000_123);
    let done = client.answer(&request).await;
    assert_eq!(
        done,
        json!({"result": null, "id": 1_767_225_600_000_123_u64})
    );
    // Marker: what does exist is heard, and nothing else before it.
    client
        .say(r#"{"method":"SUBSCRIBE","params":["\u5e01\u5b89\u4eba\u751fusdt@kline_1m"],"id":2}"#)
        .await;
    assert_eq!(client.next().await, json!({"result": null, "id": 2}));
    assert_eq!(client.next().await["s"], "币安人生USDT");
    let listed = client
        .answer(r#"{"method":"LIST_SUBSCRIPTIONS","id":3}"#)
        .await;
    assert_eq!(listed["result"].as_array().unwrap().len(), 6);
    let stats = exchange.simulator.stats();
    assert_eq!(
        (
            stats.connections[0].unknown_names,
            stats.connections[0].streams
        ),
        (4, 6)
    );
    client
        .answer(r#"{"method":"UNSUBSCRIBE","params":["btcusdt@bananas"],"id":4}"#)
        .await;
    assert_eq!(exchange.simulator.stats().connections[0].streams, 5);
}

#[tokio::test]
async fn h08_candles_come_only_through_the_market_door() {
    let name = "btcusdt@kline_1m";
    let exchange = Exchange::start(settings()).await;
    for path in ["/ws", "/public/ws", "/private/ws"] {
        let mut client = exchange.connect(&format!("{path}/{name}")).await;
        // Marker: two requests are answered while the market door has delivered several events.
        let mut market = exchange.connect(&format!("/market/ws/{name}")).await;
        market.next().await;
        market.next().await;
        client
            .say(r#"{"method":"LIST_SUBSCRIPTIONS","id":1}"#)
            .await;
        assert_eq!(
            client.next().await,
            json!({"result": [name], "id": 1}),
            "{path}"
        );
    }
    let old = Exchange::start(SimulatorSettings {
        legacy_paths: LegacyPaths::Market,
        ..settings()
    })
    .await;
    let mut client = old.connect(&format!("/stream?streams={name}")).await;
    assert_eq!(client.next().await["data"]["s"], "BTCUSDT");
}

#[tokio::test]
async fn the_form_of_events_is_a_property_and_other_streams_exist() {
    let exchange = Exchange::start(settings()).await;
    let mut client = exchange.connect("/market/ws").await;
    let form = r#"{"method":"GET_PROPERTY","params":["combined"],"id":1}"#;
    assert_eq!(client.answer(form).await, json!({"result": false, "id": 1}));
    client
        .answer(r#"{"method":"SET_PROPERTY","params":["combined",true],"id":2}"#)
        .await;
    assert_eq!(client.answer(form).await["result"], true);
    let names = [
        "btcusdt_perpetual@continuousKline_1h",
        "!ticker@arr",
        "!contractInfo",
    ];
    client
        .answer(&subscribe(&names.map(str::to_owned), 3))
        .await;
    let (mut continuous, mut tickers) = (None, None);
    while continuous.is_none() || tickers.is_none() {
        let event = client.next().await;
        match event["stream"].as_str() {
            Some("!ticker@arr") => tickers = Some(event["data"].clone()),
            Some(_) => continuous = Some(event["data"].clone()),
            None => {}
        }
    }
    let continuous = continuous.unwrap();
    assert_eq!(
        (&continuous["e"], &continuous["ps"]),
        (&json!("continuous_kline"), &json!("BTCUSDT"))
    );
    assert!(continuous["k"].get("s").is_none());
    let tickers = tickers.unwrap();
    let of_market = |st: u64| {
        tickers
            .as_array()
            .unwrap()
            .iter()
            .filter(|r| r["st"] == st)
            .count()
    };
    assert_eq!((of_market(1), of_market(2)), (29, 1));
}

#[tokio::test]
async fn h14_one_stream_too_many_loses_the_connection() {
    let exchange = Exchange::start(settings()).await;
    let mut client = exchange.connect("/market/ws").await;
    let name = |n: usize| format!("made{n}usdt@kline_1m");
    for part in 0..8 {
        let names: Vec<_> = (part * 128..(part + 1) * 128).map(name).collect();
        client.answer(&subscribe(&names, part as u64)).await;
    }
    assert_eq!(exchange.simulator.stats().violation_count, 0);
    let refused = client.answer(&subscribe(&[name(1_024)], 9)).await;
    assert_eq!(
        refused,
        json!({"error": {"code": 4, "msg": "Too many subscriptions"}})
    );
    assert_eq!(client.closed().await, (1008, "Invalid request".into()));
    assert_eq!(
        exchange.simulator.stats().violations[0].rule,
        Rule::StreamCount
    );
}

#[tokio::test]
async fn h13_fifteen_messages_at_once_are_answered_and_then_the_connection_is_lost() {
    let exchange = Exchange::start(settings()).await;
    let mut client = exchange.connect("/market/ws").await;
    let mut requests: Vec<_> = (0..40)
        .map(|id| {
            Ok(Message::text(format!(
                r#"{{"method":"LIST_SUBSCRIPTIONS","id":{id}}}"#
            )))
        })
        .collect();
    let mut burst = futures::stream::iter(requests.drain(..));
    client.0.send_all(&mut burst).await.unwrap();
    let mut answered = 0;
    let close = loop {
        match client.frame().await {
            Message::Text(text) => {
                let answer: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(answer["id"], answered);
                answered += 1;
            }
            Message::Close(close) => break close.unwrap(),
            Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => {}
        }
    };
    // A message read later than the burst began may find a place refilled meanwhile, one every 100 ms.
    assert!((15..=19).contains(&answered), "{answered} answered");
    assert_eq!(u16::from(close.code), 1008);
    assert_eq!(close.reason.as_str(), "Too many requests");
    assert_eq!(
        exchange.simulator.stats().violations[0].rule,
        Rule::MessageRate
    );
}

#[tokio::test]
async fn nonsense_is_answered_with_its_code_and_changes_nothing() {
    let exchange = Exchange::start(settings()).await;
    let mut client = exchange.connect("/market/ws").await;
    for (text, code) in [
        ("{", 3),
        ("[1]", 2),
        (r#"{"id":4}"#, 2),
        (r#"{"method":"X","id":4}"#, 2),
    ] {
        assert_eq!(client.answer(text).await["error"]["code"], code, "{text}");
    }
    let listed = client
        .answer(r#"{"method":"LIST_SUBSCRIPTIONS","id":5}"#)
        .await;
    assert_eq!(listed, json!({"result": [], "id": 5}));
}

#[tokio::test]
async fn pings_go_both_ways_and_a_client_without_pongs_is_cut() {
    let exchange = Exchange::start(SimulatorSettings {
        ping_every: Duration::from_millis(60),
        pong_timeout: Duration::from_millis(200),
        ..settings()
    })
    .await;
    let mut client = exchange.connect("/market/ws").await;
    client
        .0
        .send(Message::Pong("unasked".into()))
        .await
        .unwrap();
    client.0.send(Message::Ping("mine".into())).await.unwrap();
    let (mut pinged, mut ponged) = (false, false);
    while !(pinged && ponged) {
        match client.frame().await {
            Message::Ping(payload) => {
                let stamp: i64 = std::str::from_utf8(&payload).unwrap().parse().unwrap();
                assert!(stamp >= super::START_MS);
                pinged = true;
            }
            Message::Pong(payload) => ponged = payload == "mine",
            other @ (Message::Text(_)
            | Message::Binary(_)
            | Message::Close(_)
            | Message::Frame(_)) => panic!("{other:?}"),
        }
    }
    // A second client reads nothing, so it answers no ping; the first one's frames are the clock.
    let _mute = exchange.connect("/market/ws").await;
    while exchange.simulator.stats().connections[1].open {
        client.frame().await;
    }
    let stats = exchange.simulator.stats();
    assert_eq!(stats.connections[1].ended.as_deref(), Some("no pong"));
    assert!(stats.connections[1].pongs_missed >= 3 && stats.connections[0].open);
}

#[tokio::test]
async fn a_connection_ends_at_its_greatest_age() {
    let exchange = Exchange::start(SimulatorSettings {
        max_age: Duration::from_millis(300),
        ..settings()
    })
    .await;
    let mut client = exchange.connect("/market/ws/btcusdt@kline_1m").await;
    assert_eq!(client.closed().await, (1001, "24 hours over".into()));
    let again = exchange.connect("/market/ws").await;
    assert!(exchange.simulator.stats().connections[1].open);
    drop(again);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_and_holds_nobody_up() {
    let exchange = Exchange::start(SimulatorSettings {
        symbols: 300,
        update_every: Duration::from_millis(10),
        ..fast(3_600.0)
    })
    .await;
    let names: Vec<_> = exchange
        .simulator
        .symbols()
        .iter()
        .flat_map(|symbol| ["1m", "3m", "5m"].map(|i| format!("{}@kline_{i}", symbol.lower())))
        .collect();
    let mut deaf = exchange.connect("/market/ws").await;
    deaf.say(&subscribe(&names, 1)).await;
    let mut client = exchange.connect("/market/ws/btcusdt@kline_1m").await;
    let watch = async {
        let mut last: Option<i64> = None;
        while exchange
            .simulator
            .stats()
            .connections
            .first()
            .is_none_or(|c| c.open)
        {
            let open = client.next_close("1m").await["t"].as_i64().unwrap();
            assert!(last.is_none_or(|last| open == last + 60_000));
            last = Some(open);
        }
    };
    tokio::time::timeout(3 * PATIENCE, watch)
        .await
        .expect("the deaf client is cut");
    let stats = exchange.simulator.stats();
    assert_eq!(stats.connections[0].ended.as_deref(), Some("too slow"));
    assert!(stats.connections[1].open);
}

#[tokio::test]
async fn the_stop_says_goodbye_and_leaves_nothing_running() {
    let exchange = Exchange::start(settings()).await;
    let mut client: Client = exchange.connect("/market/ws/btcusdt@kline_1m").await;
    client.next().await;
    let tasks = exchange.tasks.clone();
    let (left, goodbye) = tokio::join!(tasks.drain(Duration::from_secs(5)), async {
        let goodbye = client.closed().await;
        while let Some(Ok(_)) = client.0.next().await {}
        goodbye
    });
    assert_eq!(left, Vec::<&str>::new());
    assert_eq!(goodbye.0, 1001);
}
