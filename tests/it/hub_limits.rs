//! Limits, slow readers, keeping alive, leaving.

use std::time::Duration;

use hamacast::market::Interval;
use hamacast::store::Write;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::hub::{TestHub, change, price, result, settings, update};

#[tokio::test]
async fn too_many_streams_are_refused_and_the_connection_stays() {
    let mut settings = settings();
    settings.limits.max_streams = 2;
    let hub = TestHub::with(&["BTCUSDT"], settings).await;
    let mut client = hub.client("/ws").await;
    let three = r#"["btcusdt@signal_15m","btcusdt@hama_15m","!status"]"#;
    assert_eq!(client.ask("SUBSCRIBE", three).await["error"]["code"], 4);
    let two = r#"["btcusdt@signal_15m","btcusdt@hama_15m"]"#;
    assert_eq!(client.ask("SUBSCRIBE", two).await["result"], json!(null));
    assert_eq!(
        client.ask("SUBSCRIBE", r#"["!status"]"#).await["error"]["code"],
        4
    );
    assert_eq!(
        client.ask("SUBSCRIBE", two).await["result"],
        json!(null),
        "none is new"
    );
}

#[tokio::test]
async fn too_many_messages_close_the_connection() {
    let mut settings = settings();
    settings.limits.client_messages_per_s = 10;
    let hub = TestHub::with(&["BTCUSDT"], settings).await;
    let mut client = hub.client("/ws").await;
    for _ in 0..20 {
        client.ask("PING", "[]").await;
    }
    for _ in 0..20 {
        let _ = client.send_message(Message::text("{}")).await;
    }
    let (code, reason) = client.closed().await;
    assert_eq!(
        (code, &*reason),
        (1008, "too many messages: 10 a second, 20 at once")
    );
}

#[tokio::test]
async fn who_never_subscribes_is_closed_and_who_does_stays() {
    let mut settings = settings();
    settings.timings.subscribe_within = Duration::from_millis(200);
    let hub = TestHub::with(&["BTCUSDT"], settings).await;
    let mut other = hub.client("/ws").await;
    other.ask("SUBSCRIBE", r#"["btcusdt@signal_15m"]"#).await;
    for path in ["/ws", "/stream"] {
        let (code, reason) = hub.client(path).await.closed().await;
        assert_eq!((code, &*reason), (1008, "no SUBSCRIBE within 0 s"));
    }
    other.ask("PING", "[]").await;
}

#[tokio::test]
async fn pings_come_and_who_does_not_answer_is_closed() {
    let mut settings = settings();
    settings.timings.ping_every = Duration::from_millis(50);
    settings.timings.pong_within = Duration::from_millis(400);
    let hub = TestHub::with(&["BTCUSDT"], settings).await;
    let mut answers = hub.client("/ws/btcusdt@signal_15m").await;
    let mut pings = 0;
    while pings < 16 {
        if let Some(Ok(Message::Ping(_))) = answers.message().await {
            pings += 1; // the library answers while it is read
        }
    }
    let mut mute = hub.bare("/ws/btcusdt@signal_15m").await;
    let bytes = crate::hub_sockets::read_to_end(&mut mute).await;
    let close = [0x03, 0xe9]; // 1001
    assert!(bytes.windows(2).any(|two| two == close), "{bytes:?}");
}

#[tokio::test]
async fn a_slow_reader_is_closed_and_slows_nobody() {
    let mut settings = settings();
    settings.limits.slow_bytes = 100_000;
    let hub = TestHub::with(&["BTCUSDT"], settings).await;
    let mut slow = hub.slow_client("/ws/btcusdt@signal_15m").await;
    let mut quick = hub.client("/ws/btcusdt@signal_15m").await;
    slow.next().await;
    slow.next().await;
    quick.next().await;
    quick.next().await;
    let mut last = 0;
    while hub.hub.connections() > 1 {
        last += 1;
        hub.write(vec![change("BTCUSDT", last)]).await;
        assert_eq!(quick.next_item().await["seq"], last);
        if hub.hub.tables().await.queued_bytes == 0 && last > 3_000 {
            break; // closed: its queue is gone
        }
    }
    let (code, reason) = slow.closed().await;
    assert_eq!(code, 4008, "{reason}");
    assert!(reason.starts_with("slow: 1"), "{reason}");
    assert!(reason.contains(" bytes, oldest "), "{reason}");
    quick.assert_quiet().await;
}

#[tokio::test]
async fn changes_that_wait_too_long_close_the_connection() {
    let mut settings = settings();
    settings.limits.slow_age = Duration::from_millis(300);
    let hub = TestHub::with(&["BTCUSDT"], settings).await;
    let mut slow = hub.slow_client("/ws/btcusdt@signal_15m").await;
    let mut last = 0;
    while hub.hub.tables().await.queued_bytes == 0 {
        last += 1;
        hub.write(vec![change("BTCUSDT", last)]).await;
    }
    // Its queue empties only when it is closed: nobody reads.
    while hub.hub.tables().await.queued_bytes > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(slow.closed().await.0, 4008);
}

#[tokio::test]
async fn results_a_slow_reader_did_not_take_are_replaced_by_newer_ones() {
    let hub = TestHub::with(&["BTCUSDT"], settings()).await;
    let mut slow = hub.slow_client("/ws/btcusdt@hama_15m").await;
    let mut quick = hub.client("/ws/btcusdt@hama_15m").await;
    for _ in 0..2 {
        slow.next().await;
        quick.next().await;
    }
    for n in 1..=5_000 {
        hub.write(vec![price("BTCUSDT", f64::from(n))]).await;
    }
    hub.write(vec![change("BTCUSDT", 1), price("BTCUSDT", 5_001.0)])
        .await;
    while quick.next_item().await["price"] != 5_001.0 {}
    assert_eq!(
        hub.hub.tables().await.queued_bytes,
        0,
        "results do not queue"
    );
    let (mut taken, mut last) = (0, 0.0);
    while last < 5_001.0 {
        let price = slow.next_item().await["price"].as_f64().unwrap();
        assert!(price > last, "newer only");
        (taken, last) = (taken + 1, price);
    }
    assert!(taken < 3_000, "{taken} of 5001 results were sent");
}

#[tokio::test]
async fn all_queues_together_have_a_bound() {
    let mut settings = settings();
    settings.limits.queue_total_bytes = 50_000;
    let hub = TestHub::with(&["BTCUSDT"], settings).await;
    let mut slow = hub.slow_client("/ws/btcusdt@signal_15m").await;
    let mut n = 0;
    while hub.hub.tables().await.queued_bytes < 50_000 {
        n += 1;
        hub.write(vec![change("BTCUSDT", n)]).await;
    }
    while hub.hub.tables().await.queued_bytes > 50_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(slow.closed().await.0, 4008);
}

#[tokio::test]
async fn the_bound_on_all_queues_is_shared_by_the_shards() {
    let mut settings = settings();
    settings.shards = 2;
    settings.limits.queue_total_bytes = 200_000;
    settings.limits.slow_age = Duration::from_secs(3_600);
    let hub = TestHub::with(&["BTCUSDT"], settings).await;
    let mut slow = hub.slow_client("/ws/btcusdt@signal_15m").await;
    let mut n = 0;
    while hub.hub.tables().await.queued_bytes == 0 {
        n += 1;
        hub.write(vec![change("BTCUSDT", n)]).await;
    }
    let more = (n + 1..n + 250).map(|n| change("BTCUSDT", n)); // about 130,000 bytes
    hub.write(more.collect()).await;
    while hub.store.published().seq.get() < n as u64 + 249 {
        tokio::task::yield_now().await;
    }
    hub.until_tables(|tables| tables.queued_bytes == 0).await;
    assert_eq!(slow.closed().await.0, 4008);
}

#[tokio::test]
async fn answers_and_snapshots_nobody_takes_have_a_bound() {
    let hub = TestHub::with(&["BTCUSDT"], settings()).await;
    let many = (0..600).map(|n| update(result(&format!("COIN{n}USDT"), Interval::M15)));
    hub.write(many.collect()).await;
    let mut quick = hub.client("/ws/btcusdt@signal_15m").await;
    while quick
        .ask("SUBSCRIBE", r#"["coin599usdt@hama_15m"]"#)
        .await
        .get("error")
        .is_some()
    {}
    let mut slow = hub.slow_client("/ws").await;
    for id in 0..80 {
        if id == 10 {
            let is_slow = |bytes| bytes > 1_024 * 1_024;
            hub.until_tables(|tables| is_slow(tables.queued_bytes))
                .await;
        }
        let text = format!(r#"{{"method":"SUBSCRIBE","params":["!hama_15m@arr"],"id":{id}}}"#);
        slow.send(&text).await;
    }
    hub.until_tables(|tables| tables.queued_bytes == 0).await;
    let (code, reason) = slow.closed().await;
    assert_eq!(code, 4008, "{reason}");
    quick.ask("PING", "[]").await;
}

#[tokio::test]
async fn a_stop_says_when_to_come_back_and_closes_with_1012() {
    let mut hub = TestHub::with(&["BTCUSDT"], settings()).await;
    let mut clients = vec![
        hub.client("/stream?streams=btcusdt@signal_15m").await,
        hub.client("/ws/btcusdt@signal_15m").await,
    ];
    hub.write(vec![change("BTCUSDT", 1)]).await;
    for client in &mut clients {
        while crate::support::hub::data(&client.next().await)["type"] != "signal" {}
    }
    hub.write(
        (2..=20)
            .map(|n| change("BTCUSDT", n))
            .collect::<Vec<Write>>(),
    )
    .await;
    let stopped = hub.stop();
    let read = async {
        for client in &mut clients {
            let mut seqs = 1;
            loop {
                let item = client.next_item().await;
                let item = crate::support::hub::data(&item);
                if item["type"] == "reconnect" {
                    assert!(item["after_ms"].as_u64().unwrap() < 5_000);
                    break;
                }
                seqs += 1;
                assert_eq!(item["seq"], seqs);
            }
            assert_eq!(seqs, 20, "what was queued is flushed");
            assert_eq!(client.closed().await.0, 1012);
            // Reading on answers the goodbye.
            while let Some(Ok(_)) = client.message().await {}
        }
    };
    tokio::join!(stopped, read);
    assert_eq!(hub.hub.connections(), 0);
}

#[tokio::test]
async fn a_stop_waits_for_no_one_who_does_not_read() {
    let mut settings = settings();
    settings.timings.goodbye_within = Duration::from_millis(200);
    let mut hub = TestHub::with(&["BTCUSDT"], settings).await;
    let _slow = hub.slow_client("/ws/btcusdt@signal_15m").await;
    let mut n = 0;
    while hub.hub.tables().await.queued_bytes == 0 {
        n += 1;
        hub.write(vec![change("BTCUSDT", n)]).await;
    }
    hub.stop().await;
}
