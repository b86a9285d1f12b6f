//! Where one way of getting changes ends and another begins: a hub behind the store, a replay and what happens
//! meanwhile, a new numbering, more than one shard.

use std::sync::Arc;
use std::time::Duration;

use hamacast::market::{Interval, Symbol};
use hamacast::signal::{FeedState, Seq};
use hamacast::store::{Batch, ChangeFilter, Item, MemoryStore, Store, Write};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::fixtures::tradable;
use crate::support::hub::{
    Client, PATIENCE, TestHub, change, data, feed, items, price, result, settings, update,
};

const PAIR: [&str; 2] = ["BTCUSDT", "ETHUSDT"];
const ALL: &str = r#"["!signal_15m@arr"]"#;

fn epoch(hub: &TestHub) -> String {
    hub.store.published().epoch.to_string()
}

/// Numbered by the hub's store, but not handed to the shards: as a hub that reads the log a moment later.
fn numbered(hub: &TestHub, writes: Vec<Write>) -> Batch {
    let store = hub.store.view();
    store.write(writes)
}

async fn subscribe_since(client: &mut Client, name: &str, epoch: &str, seq: u64) {
    let since = format!(r#""since":{{"epoch":"{epoch}","seq":{seq}}}"#);
    let text = format!(r#"{{"method":"SUBSCRIBE","params":["{name}"],{since},"id":"ahead"}}"#);
    client.send(&text).await;
}

/// Waits until a cursor is held.
async fn held(hub: &TestHub) {
    hub.until_tables(|tables| tables.replaying == 1).await;
}

fn seq(item: &Value) -> u64 {
    data(item)["seq"].as_u64().unwrap()
}

#[tokio::test]
async fn while_a_cursor_ahead_is_held_nothing_with_a_number_comes() {
    let mut settings = settings();
    settings.timings.beat_every = Duration::from_millis(20);
    settings.timings.status_every = Duration::from_millis(20);
    let hub = TestHub::with(&PAIR, settings).await;
    let mut client = hub.client("/ws/ethusdt@signal_15m/!status").await;
    for _ in 0..3 {
        client.next_item().await; // the heartbeat is none
    }
    let of_eth = numbered(&hub, vec![change("ETHUSDT", 1), price("ETHUSDT", 2.0)]);
    let of_btc = numbered(&hub, vec![change("BTCUSDT", 1)]);
    subscribe_since(&mut client, "btcusdt@signal_15m", &epoch(&hub), 2).await;
    held(&hub).await;
    while client.ask("PING", "[]").await["result"]
        .get("seq")
        .is_some()
    {}
    hub.push(of_eth).await;
    for _ in 0..10 {
        let item = client.next().await;
        assert!(item.get("seq").is_none(), "{item}");
    }
    hub.push(of_btc).await;
    let answer = loop {
        let item = client.next().await;
        if item["id"] == "ahead" {
            break item;
        }
        assert!(item.get("seq").is_none(), "{item}");
    };
    // 1 is another stream's and waits still, so nobody may be told more than 0 before it.
    let told = json!({"resumed": true, "replayed": 0, "epoch": epoch(&hub), "seq": 0});
    assert_eq!(answer["result"], told);
    let live = client.next_item().await;
    assert_eq!(
        (&live["type"], seq(&live)),
        (&json!("live"), 0),
        "a cursor of both streams"
    );
    let waited = client.next_item().await;
    assert_eq!(
        (&waited["symbol"], seq(&waited)),
        (&json!("ETHUSDT"), 1),
        "2 was had before"
    );
    hub.push(numbered(&hub, vec![change("BTCUSDT", 2)])).await;
    assert_eq!(seq(&client.next_item().await), 3);
    client.assert_quiet().await;
}

#[tokio::test]
async fn a_held_cursor_gets_what_came_after_it_and_the_other_streams_lose_nothing() {
    let hub = TestHub::with(&PAIR, settings()).await;
    let mut client = hub.client("/ws/ethusdt@signal_15m").await;
    for _ in 0..2 {
        client.next_item().await;
    }
    let mut batch = numbered(&hub, vec![change("BTCUSDT", 1)]);
    subscribe_since(&mut client, "btcusdt@signal_15m", &epoch(&hub), 1).await;
    held(&hub).await;
    // The log goes on in the very batch that reaches the cursor.
    let more = numbered(
        &hub,
        (2..=9).map(|n| change(PAIR[(n % 2) as usize], n)).collect(),
    );
    batch.items.extend(more.items);
    batch.head = more.head;
    hub.push(batch).await;
    let answer = client.next_item().await;
    assert_eq!(answer["result"]["replayed"], 1, "{answer}");
    assert_eq!(answer["result"]["seq"], 2, "3 is the other stream's");
    let mut all = Vec::new();
    for _ in 0..9 {
        let item = client.next_item().await;
        all.push((data(&item)["type"] == "live", seq(&item)));
    }
    let mut expected: Vec<(bool, u64)> = (2..=9).map(|n| (false, n)).collect();
    expected.insert(1, (true, 2));
    assert_eq!(all, expected);
    client.assert_quiet().await;
}

#[tokio::test]
async fn what_the_store_has_beyond_the_hubs_head_is_sent_once() {
    let mut settings = settings();
    settings.limits.kept_changes = 1;
    let hub = TestHub::with(&PAIR, settings).await;
    let first = (1..=3_000).map(|n| change("BTCUSDT", n));
    hub.push(numbered(&hub, first.collect())).await;
    let mut client = hub.slow_client("/ws").await;
    while client.ask("PING", "[]").await["result"]["seq"] != 3_000 {}
    subscribe_since(&mut client, "btcusdt@signal_15m", &epoch(&hub), 0).await;
    held(&hub).await;
    let meanwhile = (3_001..=3_010).map(|n| change("BTCUSDT", n));
    hub.push(numbered(&hub, meanwhile.collect())).await;
    let not_yet = numbered(
        &hub,
        (3_011..=3_020).map(|n| change("BTCUSDT", n)).collect(),
    );
    let mut seen = Vec::new();
    while seen.last() != Some(&3_010) {
        let item = client.next_item().await;
        if item["type"] == "signal" {
            seen.push(seq(&item));
        }
    }
    hub.until_tables(|tables| tables.replaying == 0).await;
    hub.push(not_yet).await;
    hub.push(numbered(&hub, vec![change("BTCUSDT", 3_021)]))
        .await;
    while seen.last() != Some(&3_021) {
        seen.push(seq(&client.next_item().await));
    }
    let doubled = seen.windows(2).find(|two| two[0] + 1 != two[1]);
    assert_eq!((seen[0], doubled), (1, None));
}

#[tokio::test]
async fn a_reader_the_log_has_gone_past_is_closed_and_told_so() {
    let mut settings = settings();
    settings.limits.kept_changes = 5;
    let store = Store::Memory(Arc::new(MemoryStore::new(2_000)));
    let hub = TestHub::start_on(settings, store).await;
    hub.watch(&PAIR).await;
    let fill = (1..=2_000).map(|n| change("BTCUSDT", n));
    hub.push(numbered(&hub, fill.collect())).await;
    let mut slow = hub.slow_client("/ws").await;
    while slow.ask("PING", "[]").await["result"]["seq"] != 2_000 {}
    subscribe_since(&mut slow, "btcusdt@signal_15m", &epoch(&hub), 0).await;
    held(&hub).await;
    for from in [2_001, 4_001] {
        let more = (from..from + 2_000).map(|n| change("BTCUSDT", n));
        hub.push(numbered(&hub, more.collect())).await;
    }
    let mut quick = hub.client("/ws").await;
    while quick.ask("PING", "[]").await["result"]["seq"] != 6_000 {}
    let mut last = 0;
    let close = loop {
        match slow.message().await {
            Some(Ok(Message::Close(Some(close)))) => break close,
            Some(Ok(message)) => {
                let item: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
                if item["type"] == "signal" {
                    assert_eq!(seq(&item), last + 1, "no hole before the goodbye");
                    last += 1;
                }
            }
            other => panic!("no close frame but {other:?}"),
        }
    };
    assert_eq!(u16::from(close.code), 4008);
    assert_eq!(
        close.reason.as_str(),
        "slow: the log has gone past what was taken"
    );
    assert!(last < 6_000);
}

#[tokio::test]
async fn a_new_numbering_loses_nothing_else_that_came_with_it() {
    let hub = TestHub::with(&PAIR, settings()).await;
    hub.write(vec![change("ETHUSDT", 1), price("ETHUSDT", 1.0)])
        .await;
    let mut client = hub
        .client("/stream?streams=btcusdt@hama_15m/ethusdt@signal_15m")
        .await;
    while client.ask("PING", "[]").await["result"]["seq"] != 1 {}
    let fresh = MemoryStore::new(10);
    hub.push(fresh.write(vec![
        price("BTCUSDT", 7.0),
        Write::Ended(result("BTCUSDT", Interval::M15).key()),
        Write::Symbols {
            added: vec![Symbol::parse("NEWUSDT").unwrap()],
            removed: Vec::new(),
        },
        Write::Status(feed(FeedState::Live)),
    ]))
    .await;
    let mut kinds = Vec::new();
    while !kinds.contains(&"status".to_owned()) {
        let item = client.next().await;
        let item = data(&item);
        if item["type"] == "snapshot" && kinds.contains(&"reset".to_owned()) {
            assert_eq!(
                item["change_seq"], 0,
                "a number of the old epoch means nothing here"
            );
            assert_eq!(item["changed_at"], Value::Null);
        }
        if item["feed"] != "down" {
            kinds.push(item["type"].as_str().unwrap().to_owned());
        }
    }
    let told: Vec<&str> = kinds.iter().map(String::as_str).collect();
    let from = told.iter().position(|kind| *kind == "reset").unwrap();
    assert_eq!(
        told[from..],
        [
            "reset", "snapshot", "live", "ended", "hama", "symbols", "status"
        ]
    );
}

/// Every change of both streams up to `last`, in the order in which it came.
async fn record(mut client: Client, last: u64) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        for item in items(&client.next_item().await) {
            if item["type"] == "signal" {
                all.push(item);
            }
        }
        if all.last().is_some_and(|item| seq(item) == last) {
            return all;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_shard_gives_every_reader_the_same_record() {
    let mut settings = settings();
    settings.shards = 2;
    let hub = TestHub::with(&PAIR, settings).await;
    let mut readers = Vec::new();
    for n in 0..40 {
        let path = ["/ws/!signal_15m@arr", "/stream?streams=!signal_15m@arr"][n / 2 % 2];
        let mut client = hub.client(path).await;
        while items(&client.next_item().await)[0]["type"] != "live" {}
        readers.push(record(client, 600));
    }
    let all = async {
        for n in 0..100 {
            let six = (1..=6).map(|i| change(PAIR[(i % 2) as usize], n * 6 + i));
            hub.write(six.collect()).await;
        }
    };
    let (records, ()) = tokio::join!(futures::future::join_all(readers), all);
    let log = hub
        .store
        .changes(Seq::NONE, 1_000, &ChangeFilter::default());
    let log = serde_json::to_value(log.unwrap().changes).unwrap();
    for record in records {
        assert_eq!(Value::from(record), log);
    }
}

#[tokio::test]
async fn a_cursor_the_log_never_reaches_is_given_up_and_the_other_streams_go_on() {
    let mut settings = settings();
    settings.timings.hold_within = Duration::from_millis(200);
    let hub = TestHub::with(&PAIR, settings).await;
    let mut client = hub.client("/ws/ethusdt@signal_15m").await;
    for _ in 0..2 {
        client.next_item().await;
    }
    let of_eth = numbered(&hub, vec![change("ETHUSDT", 1)]);
    let never = numbered(&hub, vec![change("BTCUSDT", 1)]);
    subscribe_since(&mut client, "btcusdt@signal_15m", &epoch(&hub), 2).await;
    held(&hub).await;
    hub.push(of_eth).await;
    let told = client.next_item().await;
    assert_eq!(
        (&told["id"], &told["error"]["code"]),
        (&json!("ahead"), &json!(2)),
        "{told}"
    );
    assert_eq!(seq(&client.next_item().await), 1);
    hub.push(never).await;
    hub.push(numbered(&hub, vec![change("ETHUSDT", 2)])).await;
    assert_eq!(
        seq(&client.next_item().await),
        3,
        "BTCUSDT was not subscribed"
    );
    client.assert_quiet().await;
}

#[tokio::test]
async fn a_resume_misses_no_change_of_a_series_that_had_left_when_the_hub_began() {
    let store = Store::memory();
    let all = ["BTCUSDT", "ETHUSDT", "XRPUSDT"];
    let first = all.map(|name| update(result(name, Interval::M15)));
    for writes in [
        first.into_iter().chain([tradable(&all)]).collect(),
        vec![change("BTCUSDT", 1), price("BTCUSDT", 2.0)],
        vec![change("XRPUSDT", 1)],
        vec![Write::Symbols {
            added: Vec::new(),
            removed: vec![Symbol::parse("XRPUSDT").unwrap()],
        }],
    ] {
        store.view().write(writes);
    }
    let hub = TestHub::start_on(settings(), store).await;
    let mut client = hub.client("/ws").await;
    let answer = client.resume(ALL, &epoch(&hub), 1).await;
    let told = json!({"resumed": true, "replayed": 1, "epoch": epoch(&hub), "seq": 2});
    assert_eq!(answer["result"], told);
    let missed = items(&client.next_item().await);
    assert_eq!(
        (&missed[0]["seq"], &missed[0]["symbol"]),
        (&json!(2), &json!("XRPUSDT"))
    );
}

#[tokio::test]
async fn who_reads_signals_at_a_hub_that_missed_some_is_sent_away_and_told_on_return() {
    let store = Store::Memory(Arc::new(MemoryStore::new(3)));
    let hub = TestHub::start_on(settings(), store).await;
    hub.write(vec![tradable(&PAIR)]).await;
    hub.watch(&PAIR).await;
    hub.write(vec![change("ETHUSDT", 1), price("ETHUSDT", 2.0)])
        .await;
    hub.write(vec![change("BTCUSDT", 1), change("BTCUSDT", 2)])
        .await;
    let mut ahead = hub.client("/ws").await;
    while ahead.ask("PING", "[]").await["result"]["seq"] != 3 {}
    let mut signals = Vec::new();
    for path in ["/ws/btcusdt@signal_15m", "/ws/!signal_15m@arr"] {
        let mut client = hub.client(path).await;
        while items(&client.next_item().await)[0]["type"] != "live" {}
        signals.push(client);
    }
    let mut results = hub.client("/ws/btcusdt@hama_15m").await;
    for _ in 0..2 {
        results.next_item().await;
    }
    // The log goes on to 10 and keeps three; the hub reads it anew.
    let missed = (3..=9).map(|n| change("BTCUSDT", n));
    let mut batch = numbered(&hub, missed.chain([price("BTCUSDT", 7.0)]).collect());
    batch.items.retain(|item| !matches!(item, Item::Change(_)));
    subscribe_since(&mut ahead, "btcusdt@signal_15m", &epoch(&hub), 10).await;
    held(&hub).await;
    signals.push(ahead);
    hub.push(batch).await;
    for mut client in signals {
        let closed = tokio::time::timeout(PATIENCE, client.closed()).await;
        let (code, reason) = closed.expect("a goodbye within 20 s");
        assert_eq!(code, 4008, "{reason}");
    }
    assert_eq!(results.next_item().await["price"], 7.0, "the others go on");
    let btc = r#"["btcusdt@signal_15m"]"#;
    for (names, since, told) in [
        (btc, 2, json!("too_old")),
        (ALL, 3, json!("too_old")),
        (r#"["ethusdt@signal_15m"]"#, 3, json!(0)),
        (btc, 7, json!(3)),
        (btc, 9, json!(1)),
    ] {
        let mut client = hub.client("/ws").await;
        let answer = client.resume(names, &epoch(&hub), since).await;
        let result = &answer["result"];
        let seen = result.get("reason").unwrap_or(&result["replayed"]);
        assert_eq!(seen, &told, "{names} since {since}: {answer}");
        client.leave().await;
    }
    hub.write(vec![change("BTCUSDT", 10)]).await;
    let mut client = hub.client("/ws").await;
    while client.ask("PING", "[]").await["result"]["seq"] != 11 {}
    let answer = client.resume(btc, &epoch(&hub), 7).await;
    assert_eq!(answer["result"]["reason"], "too_old", "{answer}");
    let answer = hub.client("/ws").await.resume(btc, &epoch(&hub), 9).await;
    assert_eq!(answer["result"]["replayed"], 2, "{answer}");
}
