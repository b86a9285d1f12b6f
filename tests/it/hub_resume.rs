//! Nothing lost, nothing doubled, nothing out of order: at the seam of a subscription and across lost connections.

use std::sync::Arc;

use hamacast::signal::Seq;
use hamacast::store::{ChangeFilter, MemoryStore, Store, Write};
use serde_json::{Value, json};

use crate::support::hub::{Client, TestHub, change, data, items, price, settings};

const PAIR: [&str; 2] = ["BTCUSDT", "ETHUSDT"];

/// Two thirds of the changes are BTCUSDT's.
fn change_number(n: i64) -> Write {
    change(PAIR[usize::from(n % 3 == 0)], n)
}

async fn written(hub: &TestHub, from: i64, to: i64) {
    for n in from..=to {
        hub.write(vec![change_number(n), price("BTCUSDT", n as f64)])
            .await;
    }
    reached(hub, to as u64).await;
}

/// Waits until the hub's head is `seq`.
async fn reached(hub: &TestHub, seq: u64) {
    let mut client = hub.client("/ws").await;
    while client.ask("PING", "[]").await["result"]["seq"] != seq {}
    client.leave().await;
}

fn epoch(hub: &TestHub) -> String {
    hub.store.published().epoch.to_string()
}

/// Numbers of the changes up to the `live` of each of `streams`, which must all be of the same number.
async fn replayed(client: &mut Client, streams: usize) -> (Vec<u64>, u64) {
    let (mut seqs, mut lives) = (Vec::new(), Vec::new());
    while lives.len() < streams {
        for item in items(&client.next_item().await) {
            let seq = item["seq"].as_u64().unwrap();
            match item["type"].as_str().unwrap() {
                "signal" if lives.is_empty() => seqs.push(seq),
                "live" => lives.push(seq),
                _ => panic!("{item}"),
            }
        }
    }
    lives.dedup();
    assert_eq!(lives.len(), 1);
    (seqs, lives[0])
}

#[tokio::test]
async fn a_resume_at_every_cursor_gives_exactly_what_was_missed() {
    let mut settings = settings();
    settings.limits.kept_changes = 10; // the older ones come from the store
    let hub = TestHub::with(&PAIR, settings).await;
    written(&hub, 1, 60).await;
    let log = hub
        .store
        .changes(Seq::NONE, 1_000, &ChangeFilter::default());
    let log = log.unwrap().changes;
    for since in 0..=60_u64 {
        for name in [
            "btcusdt@signal_15m",
            "ethusdt@signal_15m",
            "!signal_15m@arr",
        ] {
            let own = name.split('@').next().unwrap().to_ascii_uppercase();
            let expected: Vec<u64> = log
                .iter()
                .filter(|c| name.starts_with('!') || c.body.key().symbol.as_str() == own)
                .map(|c| c.seq.get())
                .filter(|seq| *seq > since)
                .collect();
            let mut client = hub.client("/ws").await;
            let answer = client
                .resume(&format!(r#"["{name}"]"#), &epoch(&hub), since)
                .await;
            let result = &answer["result"];
            assert_eq!(
                *result,
                json!({"resumed": true, "replayed": expected.len(), "epoch": epoch(&hub), "seq": 60})
            );
            assert_eq!(
                replayed(&mut client, 1).await,
                (expected, 60),
                "{name} since {since}"
            );
            client.assert_quiet().await;
        }
    }
}

#[tokio::test]
async fn what_cannot_be_resumed_says_why_and_gives_the_snapshot() {
    let store = Store::Memory(Arc::new(MemoryStore::new(20)));
    let mut settings = settings();
    settings.limits.replay_max = 12;
    settings.limits.kept_changes = 5;
    let hub = TestHub::start_on(settings, store).await;
    hub.watch(&["BTCUSDT", "ETHUSDT", "XRPUSDT"]).await;
    hub.write(vec![change("XRPUSDT", 1)]).await;
    written(&hub, 2, 40).await;
    let name = r#"["btcusdt@signal_15m"]"#;
    let epoch = epoch(&hub);
    for (since, epoch, reason) in [
        (17, "other", "epoch"),
        (41, &*epoch, "ahead"),
        (u64::MAX, &*epoch, "ahead"),
        (5, &*epoch, "too_old"),
        (0, &*epoch, "too_old"),
        (20, &*epoch, "too_many"),
    ] {
        let mut client = hub.client("/ws").await;
        let answer = client.resume(name, epoch, since).await;
        let result = &answer["result"];
        assert_eq!(
            (&result["resumed"], &result["reason"]),
            (&json!(false), &json!(reason))
        );
        assert_eq!(result["seq"], 40);
        assert_eq!(client.next_item().await["type"], "snapshot");
        assert_eq!(client.next_item().await["type"], "live");
    }
    let mut client = hub.client("/ws").await;
    let answer = client.resume(r#"["xrpusdt@signal_15m"]"#, &epoch, 5).await;
    assert_eq!(
        answer["result"]["resumed"], true,
        "its only change is older than the cursor"
    );
    assert_eq!(replayed(&mut client, 1).await, (vec![], 40));
}

#[tokio::test]
async fn a_resume_with_results_replays_first_and_then_gives_their_snapshot() {
    let hub = TestHub::with(&PAIR, settings()).await;
    written(&hub, 1, 9).await;
    let mut client = hub.client("/ws").await;
    let names = r#"["btcusdt@hama_15m","!signal_15m@arr","ethusdt@signal_15m"]"#;
    let answer = client.resume(names, &epoch(&hub), 4).await;
    assert_eq!(answer["result"]["replayed"], 5);
    let (mut seqs, live) = replayed(&mut client, 2).await;
    assert!(seqs.is_sorted());
    seqs.dedup();
    assert_eq!((seqs, live), ((5..=9).collect(), 9));
    assert_eq!(client.next_item().await["type"], "snapshot");
    assert_eq!(client.next_item().await["type"], "live");
}

#[tokio::test]
async fn while_a_replay_runs_other_changes_wait_and_a_second_since_is_refused() {
    let hub = TestHub::with(&PAIR, settings()).await;
    let all: Vec<Write> = (1..=9_000).map(|n| change("BTCUSDT", n)).collect();
    hub.write(all).await;
    reached(&hub, 9_000).await;
    let mut client = hub.client("/ws/ethusdt@signal_15m").await;
    client.next().await;
    client.next().await;
    let since = format!(r#""since":{{"epoch":"{}","seq":0}}"#, epoch(&hub));
    for (name, id) in [("btcusdt@signal_15m", 1), ("!signal_15m@arr", 2)] {
        let text = format!(r#"{{"method":"SUBSCRIBE","params":["{name}"],{since},"id":{id}}}"#);
        client.send(&text).await;
    }
    client.send(r#"{"method":"PING","id":3}"#).await;
    client
        .send(r#"{"method":"SUBSCRIBE","params":["btcusdt@signal_1h"],"id":4}"#)
        .await;
    // Ours has not read a byte, so its replay stands at what the sockets hold.
    while hub.hub.tables().await.replaying == 0 {}
    written(&hub, 9_001, 9_003).await;
    let first = client.next().await;
    assert_eq!(first["result"]["replayed"], 9_000, "{first}");
    let (mut seqs, mut answers, mut live) = (Vec::new(), Vec::new(), None);
    while seqs.len() < 9_003 || answers.len() < 3 {
        let item = client.next_item().await;
        match item["type"].as_str() {
            Some("signal") => {
                let seq = item["seq"].as_u64().unwrap();
                assert!(seq <= 9_000 || live == Some(9_000), "{seq} before live");
                seqs.push(seq);
            }
            Some("live") => live = live.or(item["seq"].as_u64()),
            Some("snapshot") => assert_eq!(item["seq"], 9_003),
            _ => {
                if item["id"] == 3 && live.is_none() {
                    assert!(
                        item["result"].get("seq").is_none(),
                        "no cursor before live: {item}"
                    );
                }
                answers.push((item["id"].clone(), item["error"]["code"].clone()));
            }
        }
    }
    assert_eq!(seqs, (1..=9_003).collect::<Vec<u64>>());
    assert_eq!(answers[0], (json!(2), json!(2)));
    assert_eq!(answers[2], (json!(4), Value::Null));
}

/// Writes changes of both contracts as fast as the hub takes them.
async fn hammer(writes: tokio::sync::mpsc::Sender<Vec<Write>>, total: i64) {
    let mut n = 0;
    while n < total {
        let burst = (1..=1 + n % 7).map(|i| change_number(n + i));
        let burst: Vec<Write> = burst.chain([price("BTCUSDT", n as f64)]).collect();
        n += 1 + n % 7;
        writes.send(burst).await.unwrap();
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn between_snapshot_and_first_change_nothing_is_missing_and_nothing_doubled() {
    let hub = TestHub::with(&PAIR, settings()).await;
    let writes = hub.writes.clone().unwrap();
    hub.tasks.spawn_short("hammer", hammer(writes, 6_000));
    let mut checked = 0;
    while hub.store.published().seq < Seq::new(5_900) || checked < 20 {
        let mut client = hub.client("/stream").await;
        let names = r#"["btcusdt@signal_15m","!signal_15m@arr"]"#;
        client.ask("SUBSCRIBE", names).await;
        let own = client.next_item().await["data"].clone();
        assert_eq!(own["type"], "snapshot");
        client.next_item().await;
        let all = client.next_item().await;
        let mut last_all = items(&all)[0]["seq"].as_u64().unwrap();
        assert_eq!(own["seq"], last_all, "one moment");
        client.next_item().await;
        let mut last_own = own["change_seq"].as_u64().unwrap();
        checked += 1;
        if last_all >= 5_900 {
            client.leave().await;
            continue;
        }
        for _ in 0..10 {
            let message = client.next_item().await;
            for item in items(&message) {
                let seq = item["seq"].as_u64().unwrap();
                if message["stream"] == "!signal_15m@arr" {
                    assert_eq!(seq, last_all + 1);
                    last_all = seq;
                } else {
                    assert_eq!(item["prev_seq"], last_own);
                    last_own = seq;
                }
            }
        }
        client.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_drops_and_resumes_at_random_has_exactly_the_log() {
    let mut settings = settings();
    settings.limits.kept_changes = 50;
    let hub = TestHub::with(&PAIR, settings).await;
    let writes = hub.writes.clone().unwrap();
    hub.tasks.spawn_short("hammer", hammer(writes, 3_000));
    let mut rng = fastrand::Rng::with_seed(11);
    let mut have: Vec<u64> = Vec::new();
    let (epoch, mut cursor) = (epoch(&hub), 0);
    while cursor < 2_990 {
        let mut client = hub.client("/stream").await;
        let answer = client
            .resume(r#"["!signal_15m@arr"]"#, &epoch, cursor)
            .await;
        assert_eq!(answer["result"]["resumed"], true, "{answer}");
        for _ in 0..rng.usize(1..8) {
            for item in items(&client.next_item().await) {
                if item["type"] == "signal" {
                    have.push(item["seq"].as_u64().unwrap());
                }
                cursor = cursor.max(item["seq"].as_u64().unwrap());
            }
            if cursor >= 2_990 {
                break;
            }
        }
        if rng.bool() {
            client.leave().await;
        } // else the socket is dropped as it is
    }
    let log: Vec<u64> = (1..=*have.last().unwrap()).collect();
    assert_eq!(have, log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_the_hub_has_not_read_yet_is_waited_for() {
    let hub = TestHub::with(&PAIR, settings()).await;
    let epoch = epoch(&hub);
    let mut client = hub.client("/ws").await;
    for n in 1..=300 {
        hub.write(vec![change_number(n)]).await;
        // REST would show this number at once; the shard may not have it yet.
        while hub.store.published().seq < Seq::new(n as u64) {
            tokio::task::yield_now().await;
        }
        let answer = client
            .resume(r#"["!signal_15m@arr"]"#, &epoch, n as u64)
            .await;
        assert_eq!(answer["result"]["resumed"], true, "{answer}");
        assert_eq!(data(&client.next_item().await)[0]["type"], "live");
        client.ask("UNSUBSCRIBE", r#"["!signal_15m@arr"]"#).await;
    }
}

#[tokio::test]
async fn a_new_epoch_resets_every_signal_stream_and_gives_snapshots() {
    let hub = TestHub::with(&PAIR, settings()).await;
    written(&hub, 1, 5).await;
    let mut client = hub
        .client("/ws/btcusdt@signal_15m/!signal_15m@arr/btcusdt@hama_15m")
        .await;
    for _ in 0..6 {
        client.next().await;
    }
    let fresh = MemoryStore::new(10);
    let epoch = fresh.published().epoch.to_string();
    let batch = fresh.write(vec![change("BTCUSDT", 9), price("BTCUSDT", 7.0)]);
    hub.shards[0].send(Arc::new(batch)).await.unwrap();
    for (kind, array) in [
        ("reset", false),
        ("reset", true),
        ("snapshot", false),
        ("live", false),
        ("snapshot", true),
        ("live", true),
    ] {
        let message = client.next_item().await;
        assert_eq!(message.is_array(), array, "{message}");
        let item = &items(&message)[0];
        assert_eq!((&item["type"], &item["seq"]), (&json!(kind), &json!(1)));
        assert_eq!(item["epoch"], *epoch);
    }
    let hama = client.next_item().await;
    assert_eq!(
        (&hama["type"], &hama["price"]),
        (&json!("hama"), &json!(7.0))
    );
    let batch = fresh.write(vec![change("BTCUSDT", 10)]);
    hub.shards[0].send(Arc::new(batch)).await.unwrap();
    for _ in 0..2 {
        let change = &items(&client.next_item().await)[0];
        assert_eq!(
            (&change["seq"], &change["prev_seq"]),
            (&json!(2), &json!(1))
        );
    }
    let old = client.resume(r#"["ethusdt@signal_15m"]"#, "old", 5).await;
    assert_eq!(old["result"]["reason"], "epoch");
}

#[tokio::test]
async fn a_cursor_the_store_knows_and_the_hub_does_not_is_held_until_the_batch_comes() {
    let hub = TestHub::with(&PAIR, settings()).await;
    let store = hub.store.view();
    let batch = store.write(vec![change("BTCUSDT", 1)]);
    let mut client = hub.client("/ws").await;
    let since = format!(r#""since":{{"epoch":"{}","seq":1}}"#, epoch(&hub));
    let names = r#"["btcusdt@signal_15m"]"#;
    client
        .send(&format!(
            r#"{{"method":"SUBSCRIBE","params":{names},{since},"id":1}}"#
        ))
        .await;
    client
        .send(r#"{"method":"LIST_SUBSCRIPTIONS","id":2}"#)
        .await;
    let pong = client.ask("PING", "[]").await;
    assert!(pong["result"].get("seq").is_none(), "{pong}");
    hub.shards[0].send(Arc::new(batch)).await.unwrap();
    let answer = client.next().await;
    assert_eq!(
        (&answer["id"], &answer["result"]["replayed"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(client.next().await["seq"], 1, "live");
    assert_eq!(client.next().await["result"], json!(["btcusdt@signal_15m"]));
}
