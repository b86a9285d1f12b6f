//! Every example of the feed's contract, said and heard over a real socket.

use hamacast::market::{Interval, SeriesStatus, Symbol};
use hamacast::signal::FeedState;
use hamacast::store::{Occasion, Write};
use serde_json::{Value, json};

use crate::support::fixtures::tradable;
use crate::support::hub::{
    TestHub, change, correction, data, feed, items, price, result, settings, update, warming,
};

async fn two() -> TestHub {
    TestHub::with(&["BTCUSDT", "ETHUSDT"], settings()).await
}

#[tokio::test]
async fn a_wrapped_connection_begins_with_welcome_and_gets_the_heartbeat() {
    let hub = two().await;
    let mut client = hub.client("/stream").await;
    let welcome = client.next().await;
    assert_eq!(welcome["stream"], "!status");
    let data = &welcome["data"];
    assert_eq!(data["type"], "welcome");
    assert_eq!(data["server"], "hamacast/0.1.0");
    assert_eq!(data["epoch"], hub.store.published().epoch.as_str());
    assert_eq!((&data["seq"], &data["kept_from"]), (&json!(0), &json!(1)));
    assert_eq!(data["limits"]["streams"], 1_024);
    hub.write(vec![Write::Status(feed(FeedState::Live))]).await;
    let text = client.next_text().await;
    let status: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status["stream"], "!status");
    assert_eq!(status["data"]["feed"], "live");
    assert_eq!(status["data"]["seq"], 0);
    assert!(status["data"]["epoch"].is_string());
    assert!(text.contains(r#""store":"memory","series":{"live":0,"warming":0,"stale":0,"dirty":0,"ended":0,"stopped":0},"lag_ms":3,"speed":1.0"#), "{text}");
}

#[tokio::test]
async fn a_subscription_is_answer_snapshot_live_and_then_changes_before_results() {
    let hub = two().await;
    let mut client = hub.client("/ws").await;
    client
        .send(r#"{"method":"SUBSCRIBE","params":["btcusdt@signal_15m","btcusdt@hama_15m"],"id":18446744073709551615}"#)
        .await;
    assert_eq!(
        client.next_text().await,
        r#"{"result":null,"id":18446744073709551615}"#
    );
    for _ in 0..2 {
        let snapshot = client.next().await;
        assert_eq!(snapshot["type"], "snapshot");
        assert_eq!(snapshot["seq"], 0);
        assert_eq!(snapshot["recommendation"], "HOLD");
        assert_eq!(client.next().await["type"], "live");
    }
    hub.write(vec![price("BTCUSDT", 2.0), change("BTCUSDT", 1)])
        .await;
    let signal = client.next().await;
    assert_eq!(signal["type"], "signal");
    assert_eq!(
        (&signal["seq"], &signal["prev_seq"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(signal["id"], "BTCUSDT:15m:1799999:0");
    assert_eq!(signal["source"], "stream");
    let hama = client.next().await;
    assert_eq!(hama["type"], "hama");
    assert_eq!(
        (&hama["change_seq"], &hama["price"]),
        (&json!(1), &json!(2.0))
    );
    hub.write(vec![correction("BTCUSDT", 1)]).await;
    let correction = client.next().await;
    assert_eq!(correction["type"], "correction");
    assert_eq!(
        (&correction["prev_seq"], &correction["corrects"]),
        (&json!(1), &json!([1]))
    );
    assert_eq!(correction["stands"][0]["recommendation"], "HOLD");
}

#[tokio::test]
async fn array_streams_carry_snapshots_lives_and_changes_as_arrays() {
    let hub = two().await;
    let mut client = hub
        .client("/stream?streams=!signal_15m@arr/!hama_15m@arr")
        .await;
    assert_eq!(client.next_item().await["data"]["type"], "welcome");
    for name in ["!signal_15m@arr", "!hama_15m@arr"] {
        let snapshots = client.next_item().await;
        assert_eq!(snapshots["stream"], name);
        let symbols: Vec<_> = items(&snapshots)
            .iter()
            .map(|i| i["symbol"].clone())
            .collect();
        assert_eq!(symbols, ["BTCUSDT", "ETHUSDT"]);
        assert_eq!(data(&client.next_item().await)[0]["type"], "live");
    }
    hub.write(vec![
        change("BTCUSDT", 1),
        change("ETHUSDT", 1),
        price("BTCUSDT", 3.0),
    ])
    .await;
    let changes = client.next_item().await;
    assert_eq!(changes["stream"], "!signal_15m@arr");
    let seqs: Vec<_> = items(&changes).iter().map(|i| i["seq"].clone()).collect();
    assert_eq!(seqs, [1, 2]);
    let results = client.next_item().await;
    assert_eq!(results["stream"], "!hama_15m@arr");
    assert_eq!(items(&results).len(), 1, "only what changed");
    assert_eq!(items(&results)[0]["change_seq"], 1);
}

#[tokio::test]
async fn numbers_ascend_over_all_streams_of_a_connection() {
    let hub = two().await;
    let mut client = hub
        .client("/ws/!signal_15m@arr/ethusdt@signal_15m/btcusdt@signal_15m")
        .await;
    for _ in 0..6 {
        client.next().await;
    }
    hub.write(
        (1..=40)
            .flat_map(|n| [change("BTCUSDT", n), change("ETHUSDT", n)])
            .collect(),
    )
    .await;
    let mut seen: Vec<u64> = Vec::new();
    while seen.len() < 160 {
        seen.extend(
            items(&client.next_item().await)
                .iter()
                .map(|i| i["seq"].as_u64().unwrap()),
        );
    }
    assert!(seen.is_sorted(), "{seen:?}");
}

#[tokio::test]
async fn an_empty_array_stream_says_so_and_works_from_the_start() {
    let hub = TestHub::start(settings()).await;
    let mut client = hub.client("/ws/!signal_15m@arr").await;
    assert_eq!(client.next_text().await, "[]");
    assert_eq!(client.next().await[0]["type"], "live");
    let answer = client.ask("SUBSCRIBE", r#"["btcusdt@signal_15m"]"#).await;
    assert_eq!(answer["error"]["code"], 2);
    assert!(
        answer["error"]["msg"]
            .as_str()
            .unwrap()
            .contains("not loaded yet")
    );
}

#[tokio::test]
async fn who_comes_before_the_watch_list_is_loaded_may_come_back() {
    let hub = TestHub::start(settings()).await;
    let (code, reason) = hub.client("/ws/btcusdt@signal_15m").await.closed().await;
    assert_eq!(code, 1013, "1008 would keep an honest bot away for ever");
    assert!(reason.contains("not loaded yet"), "{reason}");
    let (code, _) = hub.client("/ws/btcusdt@nonsense").await.closed().await;
    assert_eq!(code, 1008);
}

#[tokio::test]
async fn a_series_that_becomes_live_sends_its_snapshot() {
    let hub = two().await;
    hub.write(vec![
        update(warming("NEWUSDT", Interval::M15)),
        update(warming("NEWUSDT", Interval::H1)),
    ])
    .await;
    hub.settle("NEWUSDT").await;
    let mut client = hub.client("/ws/newusdt@signal_15m/!signal_15m@arr").await;
    let warm = client.next().await;
    assert_eq!(warm["status"], "warming");
    assert_eq!(warm["recommendation"], Value::Null);
    for _ in 0..3 {
        client.next().await;
    }
    hub.write(vec![Write::Result {
        result: Box::new(result("NEWUSDT", Interval::M15)),
        occasion: Occasion::FirstLive,
    }])
    .await;
    let mut both = [client.next().await, client.next().await];
    both.sort_by_key(Value::is_array);
    assert_eq!(
        (&both[0]["type"], &both[0]["status"]),
        (&json!("snapshot"), &json!("live"))
    );
    assert_eq!(both[1][0], both[0]);
}

#[tokio::test]
async fn the_watch_list_and_the_end_of_a_contract_are_told() {
    let hub = two().await;
    let mut client = hub
        .client("/stream?streams=btcusdt@signal_15m/btcusdt@hama_15m")
        .await;
    for _ in 0..5 {
        client.next_item().await;
    }
    let mut ended = result("BTCUSDT", Interval::M15);
    ended.status = SeriesStatus::Ended;
    let key = ended.key();
    hub.write(vec![
        tradable(&["NEWUSDT"]),
        update(ended),
        Write::Ended(key),
        Write::Symbols {
            added: vec![Symbol::parse("NEWUSDT").unwrap()],
            removed: vec![Symbol::parse("ETHUSDT").unwrap()],
        },
    ])
    .await;
    let mut kinds = Vec::new();
    while kinds.len() < 4 {
        let item = client.next_item().await;
        kinds.push((item["stream"].clone(), item["data"]["type"].clone()));
        if item["data"]["type"] == "symbols" {
            assert_eq!(item["data"]["added"], json!(["NEWUSDT"]));
            assert_eq!(item["data"]["removed"], json!(["ETHUSDT"]));
        }
    }
    for wanted in [
        ("btcusdt@signal_15m", "ended"),
        ("btcusdt@hama_15m", "ended"),
        ("btcusdt@hama_15m", "hama"),
        ("!status", "symbols"),
    ] {
        assert!(
            kinds.contains(&(wanted.0.into(), wanted.1.into())),
            "{kinds:?}"
        );
    }
    let gone = client.ask("SUBSCRIBE", r#"["ethusdt@signal_15m"]"#).await;
    assert_eq!(gone["error"]["code"], 2);
}

#[tokio::test]
async fn one_bad_name_subscribes_nothing_and_every_bad_one_is_named() {
    let hub = two().await;
    let mut client = hub.client("/ws").await;
    let answer = client
        .ask("SUBSCRIBE", r#"["btcusdt@signal_15m","foousdt@signal_15m","barusdt@hama_1h","BTCUSDT@signal_15m","!signal_5m@arr"]"#)
        .await;
    assert_eq!(answer["error"]["code"], 2);
    let words = answer["error"]["msg"].as_str().unwrap();
    for part in [
        "unknown symbol 'FOOUSDT', 'BARUSDT'; see /api/v1/symbols",
        "'!signal_5m@arr' is not watched; watched: 15m, 1h",
        "unknown stream 'BTCUSDT@signal_15m'",
    ] {
        assert!(words.contains(part), "{words}");
    }
    assert!(!words.contains("'btcusdt@signal_15m'"), "{words}");
    assert_eq!(
        client.ask("LIST_SUBSCRIPTIONS", "[]").await["result"],
        json!([])
    );
    let one = client.ask("SUBSCRIBE", r#"["foousdt@signal_15m"]"#).await;
    assert_eq!(
        one["error"],
        json!({"code": 2, "msg": "unknown symbol 'FOOUSDT'; see /api/v1/symbols"})
    );
}

#[tokio::test]
async fn subscriptions_are_listed_ended_and_twice_is_no_error() {
    let hub = two().await;
    let mut client = hub.client("/ws").await;
    for _ in 0..2 {
        let answer = client
            .ask(
                "SUBSCRIBE",
                r#"["ethusdt@signal_15m","btcusdt@signal_15m","btcusdt@signal_15m"]"#,
            )
            .await;
        assert_eq!(answer["result"], Value::Null);
        for _ in 0..4 {
            client.next_item().await;
        }
    }
    let list = client.ask("LIST_SUBSCRIPTIONS", "[]").await;
    assert_eq!(
        list["result"],
        json!(["btcusdt@signal_15m", "ethusdt@signal_15m"])
    );
    hub.write(vec![change("BTCUSDT", 1)]).await;
    assert_eq!(client.next_item().await["seq"], 1, "once, not twice");
    let answer = client
        .ask("UNSUBSCRIBE", r#"["btcusdt@signal_15m","!status"]"#)
        .await;
    assert_eq!(answer["result"], Value::Null);
    let bad = client.ask("UNSUBSCRIBE", r#"["nonsense"]"#).await;
    assert_eq!(bad["error"]["code"], 2);
    hub.write(vec![change("BTCUSDT", 2), change("ETHUSDT", 2)])
        .await;
    let next = client.next_item().await;
    assert_eq!(
        (&next["symbol"], &next["seq"]),
        (&json!("ETHUSDT"), &json!(3))
    );
    client.assert_quiet().await;
}

#[tokio::test]
async fn ping_auth_and_properties_are_answered() {
    let hub = two().await;
    let mut client = hub.client("/ws/btcusdt@signal_15m").await;
    client.next().await;
    client.next().await;
    hub.write(vec![change("BTCUSDT", 1)]).await;
    client.next().await;
    let pong = client.ask("PING", "[]").await;
    assert_eq!(pong["result"]["seq"], 1);
    assert_eq!(
        pong["result"]["epoch"],
        hub.store.published().epoch.as_str()
    );
    assert!(pong["result"]["server_time"].is_i64());
    assert_eq!(
        client.ask("AUTH", r#"["key"]"#).await["result"],
        Value::Null
    );
    assert_eq!(
        client.ask("GET_PROPERTY", r#"["combined"]"#).await["result"],
        false
    );
    let answer = client.ask("SET_PROPERTY", r#"["combined",true]"#).await;
    assert_eq!(answer["result"], Value::Null);
    assert_eq!(
        client.ask("GET_PROPERTY", r#"["combined"]"#).await["result"],
        true
    );
    hub.write(vec![change("BTCUSDT", 2)]).await;
    let wrapped = client.next_item().await;
    assert_eq!(
        (&wrapped["stream"], &wrapped["data"]["seq"]),
        (&json!("btcusdt@signal_15m"), &json!(2))
    );
    assert_eq!(
        client.ask("SET_PROPERTY", r#"["x",true]"#).await["error"]["code"],
        0
    );
    assert_eq!(
        client.ask("SET_PROPERTY", r#"["combined","x"]"#).await["error"]["code"],
        1
    );
}

#[tokio::test]
async fn invalid_requests_are_answered_and_leave_the_connection_open() {
    let hub = two().await;
    let mut client = hub.client("/ws").await;
    for (text, code) in [
        ("{", 3),
        ("nonsense", 3),
        ("[1]", 2),
        (r#"{"method":"SUBSCRIBE","params":["!status"],"id":-1}"#, 2),
        (r#"{"method":"NO","id":7}"#, 2),
    ] {
        client.send(text).await;
        assert_eq!(client.next_item().await["error"]["code"], code, "{text}");
    }
    client.assert_quiet().await;
}

#[tokio::test]
async fn bad_names_in_the_url_are_named_and_the_connection_is_closed() {
    let hub = two().await;
    let mut client = hub.client("/ws/foousdt@signal_15m").await;
    let error = client.next().await;
    assert_eq!(
        (&error["error"]["code"], &error["id"]),
        (&json!(2), &Value::Null)
    );
    let (code, reason) = client.closed().await;
    assert_eq!(
        (code, &*reason),
        (1008, "unknown symbol 'FOOUSDT'; see /api/v1/symbols")
    );
}

#[tokio::test]
async fn the_heartbeat_can_be_subscribed_raw_and_beats_come_only_there() {
    let mut settings = settings();
    settings.timings.beat_every = std::time::Duration::from_millis(50);
    settings.timings.status_every = std::time::Duration::from_millis(50);
    let hub = TestHub::with(&["BTCUSDT"], settings).await;
    let mut raw = hub.client("/ws/!status").await;
    assert_eq!(raw.next().await["type"], "status");
    assert_eq!(raw.next().await["type"], "live");
    let mut kinds = std::collections::BTreeSet::new();
    while kinds.len() < 2 {
        let item = raw.next().await;
        assert!(item["epoch"].is_string() && item["seq"].is_u64(), "{item}");
        kinds.insert(item["type"].to_string());
    }
    assert!(kinds.contains("\"beat\"") && kinds.contains("\"status\""));
    let mut wrapped = hub.client("/stream").await;
    for _ in 0..6 {
        assert_ne!(wrapped.next().await["data"]["type"], "beat");
    }
}

#[tokio::test]
async fn results_of_an_array_stream_come_at_most_every_quarter_second() {
    let hub = TestHub::with(&["BTCUSDT"], settings()).await;
    let mut client = hub.client("/ws/!hama_15m@arr/btcusdt@hama_15m").await;
    for _ in 0..4 {
        client.next().await;
    }
    let began = hamacast::clock::Mono::now();
    let (mut arrays, mut singles, mut last) = (0, 0, 0.0);
    for n in 1..=300_i32 {
        hub.write(vec![price("BTCUSDT", f64::from(n))]).await;
    }
    while last < 300.0 {
        let message = client.next_item().await;
        if message.is_array() {
            arrays += 1;
            last = message[0]["price"].as_f64().unwrap();
        } else {
            singles += 1;
        }
    }
    let passed_ms = hamacast::clock::Mono::now().ms_since(began);
    assert!(arrays <= passed_ms / 250 + 1, "{arrays} in {passed_ms} ms");
    assert!(singles > 0);
}
