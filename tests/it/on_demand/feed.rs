//! Over the feed: subscribing, what is refused, resuming, leaving.

use std::sync::Arc;
use std::time::Duration;

use hamacast::clock::Mono;
use hamacast::market::{Interval, Symbol};
use hamacast::store::{MemoryStore, Store, Write};
use serde_json::{Value, json};

use crate::support::fixtures::{first_live, tradable};
use crate::support::hub::{PATIENCE, TestHub, change, result, settings, warming};

const TRADED: [&str; 4] = ["BTCUSDT", "NEWUSDT", "ODDUSDT", "币安人生USDT"];
const M15: Interval = Interval::M15;

fn symbol(name: &str) -> Symbol {
    Symbol::parse(name).unwrap()
}

/// A hub that watches BTCUSDT and knows what else trades.
async fn hub() -> TestHub {
    hub_with(settings()).await
}

async fn hub_with(settings: hamacast::hub::HubSettings) -> TestHub {
    let hub = TestHub::with(&["BTCUSDT"], settings).await;
    trade(&hub, &TRADED).await;
    hub
}

/// Tells what trades and waits until the hub knows it.
async fn trade(hub: &TestHub, names: &[&str]) {
    hub.write(vec![
        tradable(names),
        crate::support::hub::change("BTCUSDT", 1),
    ])
    .await;
    let head = || async { hub.store.published().seq.get() };
    while head().await == 0 {
        tokio::task::yield_now().await;
    }
    let mut client = hub.client("/ws").await;
    while client.ask("PING", "[]").await["result"]["seq"] != head().await {}
    client.leave().await;
}

fn wants(hub: &TestHub) -> Vec<String> {
    let wanted = hub.store.interest().wanted(Mono::now());
    wanted.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn subscribing_to_what_trades_has_it_watched_and_brings_it_as_any_warming_series() {
    let hub = hub().await;
    assert_eq!(wants(&hub), ["BTCUSDT"], "of the clients that looked at it");
    let mut client = hub.client("/ws").await;
    let streams = r#"["newusdt@signal_15m","newusdt@hama_15m"]"#;
    let answer = client.ask("SUBSCRIBE", streams).await;
    assert_eq!(answer["result"], json!(null), "{answer}");
    assert_eq!(wants(&hub), ["BTCUSDT", "NEWUSDT"]);
    for _ in 0..2 {
        let snapshot = client.next_item().await;
        assert_eq!(snapshot["type"], "snapshot", "{snapshot}");
        assert_eq!(snapshot["symbol"], "NEWUSDT", "{snapshot}");
        assert_eq!(snapshot["status"], "warming", "{snapshot}");
        assert_eq!(snapshot["recommendation"], json!(null), "{snapshot}");
        assert_eq!(client.next_item().await["type"], "live");
    }
    let added = Write::Symbols {
        added: vec![symbol("NEWUSDT")],
        removed: Vec::new(),
    };
    let warming = crate::support::fixtures::update(warming("NEWUSDT", M15));
    hub.write(vec![added, warming]).await;
    let item = client.next_item().await;
    assert_eq!(
        (&item["type"], &item["status"]),
        (&json!("hama"), &json!("warming"))
    );
    hub.write(vec![first_live(result("NEWUSDT", M15))]).await;
    let item = client.next_item().await;
    assert_eq!(
        (&item["type"], &item["status"]),
        (&json!("snapshot"), &json!("live"))
    );
    assert_eq!(client.next_item().await["type"], "hama");
    hub.write(vec![change("NEWUSDT", 1)]).await;
    let item = client.next_item().await;
    assert_eq!(
        (&item["type"], &item["symbol"]),
        (&json!("signal"), &json!("NEWUSDT"))
    );
}

#[tokio::test]
async fn a_name_in_any_script_is_watched_from_a_url_too() {
    let hub = hub().await;
    let mut raw = hub.client("/ws/oddusdt@hama_1h").await;
    assert_eq!(raw.next_item().await["status"], "warming");
    let mut wrapped = hub.client("/stream").await;
    let answer = wrapped
        .ask("SUBSCRIBE", r#"["币安人生usdt@signal_15m"]"#)
        .await;
    assert_eq!(answer["result"], json!(null), "{answer}");
    assert_eq!(wants(&hub), ["BTCUSDT", "ODDUSDT", "币安人生USDT"]);
}

#[tokio::test]
async fn what_does_not_trade_is_unknown_and_then_nothing_of_the_request_is_watched() {
    let hub = hub().await;
    let mut client = hub.client("/ws").await;
    let answer = client
        .ask(
            "SUBSCRIBE",
            r#"["newusdt@signal_15m","foousdt@signal_15m"]"#,
        )
        .await;
    let error = json!({"code": 2, "msg": "unknown symbol 'FOOUSDT'; see /api/v1/symbols"});
    assert_eq!(answer["error"], error);
    assert_eq!(wants(&hub), ["BTCUSDT"]);
}

#[tokio::test]
async fn before_it_is_known_what_trades_no_name_is_called_unknown() {
    let hub = TestHub::start(settings()).await;
    hub.watch(&["BTCUSDT"]).await;
    let mut client = hub.client("/ws").await;
    for name in ["newusdt", "foousdt"] {
        let stream = format!(r#"["{name}@signal_15m"]"#);
        let answer = client.ask("SUBSCRIBE", &stream).await;
        let msg = "the watch list is not loaded yet; try again in a few seconds";
        assert_eq!(answer["error"], json!({"code": 2, "msg": msg}), "{name}");
    }
    let (code, _) = hub.client("/ws/foousdt@signal_15m").await.closed().await;
    assert_eq!(code, 1013, "the same URL may be right in a moment");
    assert_eq!(wants(&hub), ["BTCUSDT"], "nothing came of them");
    trade(&hub, &TRADED).await;
    let answer = client.ask("SUBSCRIBE", r#"["newusdt@signal_15m"]"#).await;
    assert_eq!(answer["result"], json!(null), "{answer}");
    let mut client = hub.client("/ws").await;
    let answer = client.ask("SUBSCRIBE", r#"["foousdt@signal_15m"]"#).await;
    let msg = "unknown symbol 'FOOUSDT'; see /api/v1/symbols";
    assert_eq!(answer["error"], json!({"code": 2, "msg": msg}));
}

#[tokio::test]
async fn an_address_may_have_so_many_new_contracts_an_hour_and_this_machine_any() {
    let mut settings = settings();
    settings.limits.new_contracts_per_hour = 2;
    let hub = hub_with(settings).await;
    let mut stranger = hub.client_from("203.0.113.7", "/ws").await;
    let two = r#"["newusdt@signal_15m","newusdt@hama_1h","oddusdt@signal_15m"]"#;
    assert_eq!(stranger.ask("SUBSCRIBE", two).await["result"], json!(null));
    let third = r#"["币安人生usdt@signal_15m"]"#;
    let refused = stranger.ask("SUBSCRIBE", third).await;
    assert_eq!(refused["error"]["code"], 5, "{refused}");
    let words = refused["error"]["msg"].as_str().unwrap();
    assert!(
        words.starts_with("not allowed: at most 2 contracts an hour")
            && words.contains("try again in 36"),
        "{words}"
    );
    let again = stranger.ask("SUBSCRIBE", two).await;
    assert_eq!(
        again["result"],
        json!(null),
        "what is wanted already is free"
    );
    let mut closed = hub
        .client_from("203.0.113.7", "/ws/币安人生usdt@signal_15m")
        .await;
    assert_eq!(closed.next_item().await["error"]["code"], 5);
    assert_eq!(
        closed.closed().await.0,
        1013,
        "the same URL is right an hour later"
    );
    assert_eq!(wants(&hub), ["BTCUSDT", "NEWUSDT", "ODDUSDT"]);
    let mut here = hub.client("/ws").await;
    assert_eq!(here.ask("SUBSCRIBE", third).await["result"], json!(null));
}

#[tokio::test]
async fn more_at_once_than_an_hours_is_refused_without_a_time_to_try_again() {
    let mut settings = settings();
    settings.limits.new_contracts_per_hour = 1;
    let hub = hub_with(settings).await;
    let mut stranger = hub.client_from("203.0.113.7", "/ws").await;
    let two = r#"["newusdt@signal_15m","oddusdt@signal_15m"]"#;
    let refused = stranger.ask("SUBSCRIBE", two).await;
    let msg = "not allowed: at most 1 new contracts an hour that nobody watches yet: ask for fewer";
    assert_eq!(refused["error"], json!({"code": 5, "msg": msg}));
    let url = "/ws/newusdt@signal_15m/oddusdt@signal_15m";
    let mut closed = hub.client_from("203.0.113.7", url).await;
    assert_eq!(closed.next_item().await["error"]["code"], 5);
    assert_eq!(closed.closed().await.0, 1008, "the same URL is never right");
    assert_eq!(wants(&hub), ["BTCUSDT"]);
}

#[tokio::test]
async fn who_follows_a_contract_that_had_to_make_room_is_shown_that_nothing_is_known_of_it() {
    let hub = hub().await;
    let mut client = hub.client("/ws").await;
    let streams = r#"["newusdt@signal_15m","newusdt@hama_15m"]"#;
    hub.write(vec![first_live(result("NEWUSDT", M15))]).await;
    while hub.store.published().results.len() < 3 {
        tokio::task::yield_now().await;
    }
    client.ask("SUBSCRIBE", streams).await;
    let mut lives = 0;
    while lives < 2 {
        lives += usize::from(client.next_item().await["type"] == "live");
    }
    let gone = Write::Symbols {
        added: Vec::new(),
        removed: vec![symbol("NEWUSDT")],
    };
    hub.write(vec![gone]).await;
    for _ in 0..2 {
        let item = client.next_item().await;
        assert_eq!(
            (&item["type"], &item["status"], &item["recommendation"]),
            (&json!("snapshot"), &json!("warming"), &json!(null)),
            "{item}"
        );
    }
    hub.write(vec![first_live(result("NEWUSDT", M15))]).await;
    assert_eq!(client.next_item().await["status"], "live", "it is back");
}

#[tokio::test]
async fn more_than_may_be_watched_is_refused_by_the_name_of_the_setting() {
    let mut settings = settings();
    settings.limits.max_watched = 2;
    let hub = hub_with(settings).await;
    let mut client = hub.client("/ws").await;
    let both = r#"["newusdt@signal_15m","oddusdt@signal_15m"]"#;
    let refused = client.ask("SUBSCRIBE", both).await;
    assert_eq!(refused["error"]["code"], 5, "{refused}");
    let words = refused["error"]["msg"].as_str().unwrap();
    assert!(words.contains("(2, HAMA_MAX_WATCHED)"), "{words}");
    let one = r#"["newusdt@signal_15m"]"#;
    assert_eq!(client.ask("SUBSCRIBE", one).await["result"], json!(null));
    let next = client.ask("SUBSCRIBE", r#"["oddusdt@signal_15m"]"#).await;
    assert_eq!(next["error"]["code"], 5, "{next}");
}

#[tokio::test]
async fn a_want_lasts_as_long_as_a_subscription_and_the_agreed_time_beyond() {
    let wanted_for = Duration::from_secs(3);
    let memory = MemoryStore::new(100).wanted_for(wanted_for);
    let hub = TestHub::start_on(settings(), Store::Memory(Arc::new(memory))).await;
    hub.watch(&["BTCUSDT"]).await;
    trade(&hub, &TRADED).await;
    let mut client = hub.client("/ws/newusdt@signal_15m").await;
    client.next_item().await;
    let began = Mono::now();
    let is_wanted = || wants(&hub).contains(&"NEWUSDT".to_owned());
    while Mono::now().ms_since(began) < 4_500 {
        assert!(is_wanted(), "while somebody is subscribed");
        tokio::task::yield_now().await;
    }
    client.leave().await;
    hub.until_tables(|tables| tables.topics == 0).await;
    let left = Mono::now();
    assert!(is_wanted(), "from the last moment on");
    while is_wanted() {
        assert!(Mono::now().ms_since(left) < PATIENCE.as_millis() as u64);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_agreed_time_is_counted_from_when_the_last_subscriber_leaves() {
    let hub = hub().await;
    let mut client = hub.client("/ws/newusdt@signal_15m").await;
    client.next_item().await;
    let subscribed = Mono::now();
    while Mono::now().ms_since(subscribed) < 20 {
        tokio::task::yield_now().await;
    }
    let leaves = Mono::now();
    client.leave().await;
    hub.until_tables(|tables| tables.topics == 0).await;
    let wanted = hub.store.interest().wanted(leaves.plus_ms(599_999));
    assert!(wanted.contains(&symbol("NEWUSDT")), "{wanted:?}");
}

/// Takes items up to the `live`, then the next one.
async fn after_live(client: &mut crate::support::hub::Client) -> (Vec<String>, Value) {
    let mut before = Vec::new();
    loop {
        let item = client.next_item().await;
        let kind = item["type"].as_str().unwrap().to_owned();
        if kind == "live" {
            return (before, client.next_item().await);
        }
        before.push(kind);
    }
}

#[tokio::test]
async fn who_resumes_is_shown_what_began_anew_while_he_was_away() {
    let hub = hub().await;
    let epoch = hub.store.published().epoch.to_string();
    let streams = r#"["newusdt@signal_15m"]"#;
    // Not watched: nothing to replay, and that it warms up.
    let mut client = hub.client("/ws").await;
    let answer = client.resume(streams, &epoch, 1).await;
    assert_eq!(answer["result"]["resumed"], true, "{answer}");
    let (before, next) = after_live(&mut client).await;
    assert_eq!(before, [""; 0]);
    assert_eq!(
        (&next["type"], &next["status"]),
        (&json!("snapshot"), &json!("warming"))
    );
    client.leave().await;
    // It became live meanwhile, which no change tells.
    hub.write(vec![
        first_live(result("NEWUSDT", M15)),
        change("BTCUSDT", 2),
    ])
    .await;
    for (streams, seen) in [(streams, 0), (r#"["!signal_15m@arr"]"#, 1)] {
        let mut client = hub.client("/ws").await;
        while client.ask("PING", "[]").await["result"]["seq"] != 2 {}
        let answer = client.resume(streams, &epoch, 1).await;
        assert_eq!(answer["result"]["replayed"], seen, "{answer}");
        let mut live = false;
        loop {
            let message = client.next_item().await;
            let item = message.get(0).unwrap_or(&message);
            match item["type"].as_str().unwrap() {
                "signal" => assert!(!live, "{item}"),
                "live" => live = true,
                "snapshot" => {
                    assert!(live, "the replay ends before it: {item}");
                    assert_eq!(
                        (&item["symbol"], &item["status"]),
                        (&json!("NEWUSDT"), &json!("live"))
                    );
                    break;
                }
                _ => panic!("{item}"),
            }
        }
        client.leave().await;
    }
    // Who has read on since has seen it.
    hub.write(vec![change("BTCUSDT", 3)]).await;
    let mut client = hub.client("/ws").await;
    while client.ask("PING", "[]").await["result"]["seq"] != 3 {}
    let answer = client.resume(streams, &epoch, 3).await;
    assert_eq!(answer["result"]["resumed"], true, "{answer}");
    assert_eq!(client.next_item().await["type"], "live");
    client.assert_quiet().await;
}

#[tokio::test]
async fn what_stops_trading_before_it_came_has_ended_for_who_waits() {
    let hub = hub().await;
    let mut client = hub.client("/ws/newusdt@signal_15m").await;
    assert_eq!(client.next_item().await["type"], "snapshot");
    assert_eq!(client.next_item().await["type"], "live");
    hub.write(vec![tradable(&["BTCUSDT", "ODDUSDT"])]).await;
    let item = client.next_item().await;
    assert_eq!(
        (&item["type"], &item["symbol"]),
        (&json!("ended"), &json!("NEWUSDT"))
    );
    let mut late = hub.client("/ws").await;
    let answer = late.ask("SUBSCRIBE", r#"["newusdt@signal_15m"]"#).await;
    assert_eq!(answer["error"]["code"], 2, "{answer}");
}
