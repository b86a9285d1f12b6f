//! What REST answers, over a real socket, of states the test wrote itself.

use std::time::Duration;

use hamacast::engine::{
    AuditFigures, CLOSE_DELAY_BUCKETS_MS, CloseDelays, EngineInfo, Losses, Order, RefusedRows,
    StreamFigures,
};
use hamacast::market::{Interval, SeriesStatus, Symbol};
use hamacast::signal::{FeedState, Recommendation, SignalResult};
use hamacast::store::Write;
use serde_json::{Value, json};

use crate::support::http_room::{
    Room, change, correction, empty_chart, live, result, status, written,
};

const M15: Interval = Interval::M15;

fn symbols_of(answer: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let signals = answer["signals"].as_array().unwrap().iter();
    signals
        .map(|signal| (text(&signal["symbol"]), text(&signal["interval"])))
        .collect()
}

fn seqs_of(answer: &Value) -> Vec<u64> {
    let changes = answer["changes"].as_array().unwrap().iter();
    changes
        .map(|change| change["seq"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn signals_are_of_one_published_state_with_its_cursor() {
    let room = Room::start_live().await;
    room.change("BTCUSDT", M15, 0, Recommendation::Buy);
    let (status, answer) = room.get("/api/v1/signals").await;
    let published = room.memory.published();
    assert_eq!(status, 200);
    assert_eq!(answer["epoch"], published.epoch.as_str());
    assert_eq!(answer["seq"], 1);
    assert!(answer["server_time"].is_i64());
    assert_eq!(
        answer["signals"].as_array().unwrap().len(),
        3,
        "the primary interval only"
    );
    let key = crate::support::http_room::key("BTCUSDT", M15);
    let expected = serde_json::to_value(published.results[&key].as_ref()).unwrap();
    assert_eq!(answer["signals"][0], expected);
}

#[tokio::test]
async fn each_filter_keeps_what_matches() {
    let room = Room::start_live().await;
    let buy = SignalResult {
        recommendation: Some(Recommendation::Buy),
        ..result("ETHUSDT", M15)
    };
    let warming = SignalResult {
        status: SeriesStatus::Warming,
        recommendation: None,
        ..result("币安人生USDT", M15)
    };
    room.write(vec![written(buy), written(warming)]);
    let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
        let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
        list.iter().map(owned).collect()
    };
    let (btc, eth, life) = ("BTCUSDT", "ETHUSDT", "币安人生USDT");
    let cases = [
        ("recommendation=BUY", pairs(&[(eth, "15m")])),
        (
            "recommendation=buy,HOLD",
            pairs(&[(btc, "15m"), (eth, "15m")]),
        ),
        ("recommendation=SELL", pairs(&[])),
        ("status=warming", pairs(&[(life, "15m")])),
        ("status=live,stale", pairs(&[(btc, "15m"), (eth, "15m")])),
        ("interval=1h&symbols=btcusdt", pairs(&[(btc, "1h")])),
        (
            "interval=15m,1h&symbols=EthUsdt",
            pairs(&[(eth, "15m"), (eth, "1h")]),
        ),
        (
            "interval=all&symbols=BTCUSDT",
            pairs(&[(btc, "15m"), (btc, "1h")]),
        ),
        (
            "symbols=ETHUSDT,%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9Fusdt",
            pairs(&[(eth, "15m"), (life, "15m")]),
        ),
        (
            "symbols=&recommendation=BUY&unknown=1",
            pairs(&[(eth, "15m")]),
        ),
    ];
    for (query, expected) in cases {
        let (status, answer) = room.get(&format!("/api/v1/signals?{query}")).await;
        assert_eq!((status, symbols_of(&answer)), (200, expected), "{query}");
    }
}

#[tokio::test]
async fn one_signal_is_found_in_any_case_and_any_script() {
    let room = Room::start_live().await;
    for name in ["BTCUSDT", "btcUsdt"] {
        let (status, answer) = room
            .get(&format!("/api/v1/signals/{name}?interval=1h"))
            .await;
        assert_eq!((status, &answer["symbol"]), (200, &json!("BTCUSDT")));
        assert_eq!(answer["interval"], "1h");
        assert_eq!(answer["live"]["price"], 67_130.0);
    }
    let path = "/api/v1/signals/%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9Fusdt";
    assert_eq!(room.get(path).await.1["symbol"], "币安人生USDT");
}

#[tokio::test]
async fn the_tag_of_the_confirmed_view_stays_until_something_confirmed_changes() {
    let room = Room::start_live().await;
    let path = "/api/v1/signals?view=confirmed";
    let first = room.request(path).send().await.unwrap();
    let tag = first.headers()["etag"].clone();
    let body: Value = first.json().await.unwrap();
    assert_eq!(body["signals"][0]["live"], Value::Null);

    let ask = || {
        room.request(path)
            .header("if-none-match", tag.clone())
            .send()
    };
    let mut ticked = result("BTCUSDT", M15);
    ticked.event_time = ticked.event_time.plus_ms(500);
    ticked.live = Some(live(67_500.0));
    room.write(vec![written(ticked.clone())]);
    let same = ask().await.unwrap();
    assert_eq!(same.status(), 304, "only the open candle moved");
    assert_eq!(same.headers()["etag"], tag);
    assert_eq!(same.bytes().await.unwrap().len(), 0);

    ticked.hama_open = Some(67_000.75);
    room.write(vec![written(ticked)]);
    let changed = ask().await.unwrap();
    assert_eq!(changed.status(), 200);
    assert_ne!(changed.headers()["etag"], tag);
    let full = room.request("/api/v1/signals").send().await.unwrap();
    assert!(!full.headers().contains_key("etag"));
    assert_eq!(full.headers()["cache-control"], "no-store");
}

#[tokio::test]
async fn changes_come_page_by_page_as_the_feed_carries_them() {
    let room = Room::start_live().await;
    for candle in 0..3 {
        room.change("BTCUSDT", M15, candle, Recommendation::Buy);
        room.change("ETHUSDT", Interval::H1, candle, Recommendation::Sell);
    }
    let revised = Write::Change(correction("BTCUSDT", M15, 2));
    room.write(vec![revised]);
    let (_, page) = room.get("/api/v1/changes?interval=all&limit=4").await;
    assert_eq!(seqs_of(&page), [1, 2, 3, 4]);
    assert_eq!(
        (&page["seq"], &page["kept_from"], &page["next"]),
        (&json!(7), &json!(1), &json!(4))
    );
    let (_, rest) = room.get("/api/v1/changes?interval=all&since=4").await;
    assert_eq!((seqs_of(&rest), &rest["next"]), (vec![5, 6, 7], &json!(7)));
    assert_eq!(rest["changes"][2]["type"], "correction");
    assert_eq!(rest["changes"][2]["corrects"], json!([5]));

    assert_eq!(
        seqs_of(&room.get("/api/v1/changes").await.1),
        [1, 3, 5, 7],
        "primary"
    );
    assert_eq!(
        seqs_of(&room.get("/api/v1/changes?interval=1h").await.1),
        [2, 4, 6]
    );
    let none = room.get("/api/v1/changes?symbol=ethusdt&since=1").await.1;
    assert_eq!((seqs_of(&none), &none["next"]), (vec![], &json!(7)));
    let epoch = page["epoch"].as_str().unwrap();
    let same = room
        .get(&format!("/api/v1/changes?epoch={epoch}&since=6"))
        .await
        .1;
    assert_eq!(seqs_of(&same), [7]);
}

#[tokio::test]
async fn numbers_that_are_gone_answer_with_where_to_go_on() {
    let room = Room::start_live().await;
    for candle in 0..25 {
        room.change("BTCUSDT", M15, candle, Recommendation::Buy);
    }
    assert_eq!(
        seqs_of(&room.get("/api/v1/changes?since=0").await.1)[0],
        6,
        "from the oldest kept"
    );
    for query in [
        "since=4",
        "since=26",
        "since=25&epoch=old",
        "since=18446744073709551614",
    ] {
        let path = format!("/api/v1/changes?{query}");
        room.problem(&path, 410, "gone").await;
        let (_, gone) = room.get(&path).await;
        assert_eq!(gone["epoch"], room.memory.published().epoch.as_str());
        assert_eq!(
            (&gone["seq"], &gone["kept_from"]),
            (&json!(25), &json!(6)),
            "{query}"
        );
    }
    assert_eq!(room.get("/api/v1/changes?since=5").await.0, 200);
}

#[tokio::test]
async fn a_long_poll_is_released_by_the_first_change_that_matches() {
    let room = Room::start_live().await;
    let path = "/api/v1/changes?symbol=BTCUSDT&since=0&wait=25";
    let polling = tokio::time::timeout(Duration::from_secs(10), room.get(path));
    // ETHUSDT's changes come first and must not release it; BTCUSDT's come until one does.
    let writing = async {
        let eth = change("ETHUSDT", M15, 0, Recommendation::Buy);
        room.write(vec![Write::Change(eth)]);
        room.in_flight().await;
        room.change("BTCUSDT", M15, 0, Recommendation::Sell);
    };
    let (answer, ()) = tokio::join!(polling, writing);
    let (_, answer) = answer.expect("released by the change, not by the time");
    assert_eq!((seqs_of(&answer), &answer["next"]), (vec![2], &json!(2)));
}

#[tokio::test]
async fn a_long_poll_ends_empty_when_the_program_leaves() {
    let room = Room::start_live().await;
    let polling = room.get("/api/v1/changes?wait=25");
    let leaving = async {
        room.in_flight().await;
        assert_eq!(room.leave().await, Vec::<&str>::new());
    };
    let ((status, answer), ()) = tokio::join!(polling, leaving);
    assert_eq!((status, seqs_of(&answer)), (200, vec![]));
}

#[tokio::test]
async fn candles_are_asked_of_the_engine() {
    let mut room = Room::start_live().await;
    let url = room.url("/api/v1/candles/btcusdt?interval=1h&limit=1500");
    let (asking, client) = (url, room.client.clone());
    let engine = async {
        let Some(Order::Chart { key, limit, answer }) = room.orders.recv().await else {
            panic!("another order");
        };
        assert_eq!((key.to_string().as_str(), limit), ("BTCUSDT:1h", 1_500));
        answer.send(Some(empty_chart(&key))).unwrap();
    };
    let (response, ()) = tokio::join!(client.get(asking).send(), engine);
    let body: Value = response.unwrap().json().await.unwrap();
    assert_eq!(
        body,
        json!({"symbol": "BTCUSDT", "interval": "1h", "candles": []})
    );
}

#[tokio::test]
async fn symbols_tell_what_is_watched_and_what_others_call_it() {
    let room = Room::start_live().await;
    let stale = SignalResult {
        status: SeriesStatus::Stale,
        ..result("BTCUSDT", Interval::H1)
    };
    room.write(vec![written(stale)]);
    let (status, answer) = room.get("/api/v1/symbols").await;
    assert_eq!(
        (status, answer["symbols"].as_array().unwrap().len()),
        (200, 3)
    );
    assert_eq!(answer["intervals"], json!(["15m", "1h"]));
    let expected = json!({
        "symbol": "BTCUSDT", "base_asset": "BTC", "quote_asset": "USDT", "intervals": ["15m", "1h"],
        "status": {"15m": "live", "1h": "stale"}, "rank": 1, "tick_size": 0.1, "quote_volume_24h": 1e9,
        "change_pct_24h": null, "ccxt": "BTC/USDT:USDT", "tradingview": "BINANCE:BTCUSDT.P",
    });
    assert_eq!(answer["symbols"][0], expected);
}

#[tokio::test]
async fn status_tells_the_programs_state() {
    let room = Room::start_live().await;
    room.change("BTCUSDT", M15, 0, Recommendation::Buy);
    let (status, answer) = room.get("/api/v1/status").await;
    assert_eq!(status, 200);
    for (field, expected) in [
        ("version", json!("0.1.0")),
        ("seq", json!(1)),
        ("kept_from", json!(1)),
        ("ready", json!(true)),
        ("feed", json!("live")),
        ("store", json!("memory")),
        ("intervals", json!(["15m", "1h"])),
        ("symbols", json!(3)),
        ("lag_ms", json!(12)),
        ("simulated", json!(true)),
        ("connections", json!(0)),
    ] {
        assert_eq!(answer[field], expected, "{field}");
    }
    assert_eq!(answer["series"]["live"], 6);
    assert_eq!(answer["limits"]["kept_changes"], 20);
}

#[tokio::test]
async fn status_shows_what_the_feed_met_and_what_the_audits_found() {
    let room = Room::start_live().await;
    let mut close_delays = CloseDelays::default();
    close_delays.counts[0] = 90;
    close_delays.counts[CLOSE_DELAY_BUCKETS_MS.len()] = 2;
    close_delays.sum_ms = 70_000;
    room.info.send_replace(EngineInfo {
        duplicates: 3,
        late_closes: 2,
        dirty_ms: 1_500,
        refused: RefusedRows {
            early: 4,
            ..RefusedRows::default()
        },
        audit: AuditFigures {
            checked: 980,
            replaced: 5,
            added: 6,
            lacking: 7,
        },
        close_delays,
        streams: StreamFigures {
            rotations: 8,
            mutes: 9,
            losses: [(None, 1), (Some(1_008), 2)]
                .map(|(code, count)| Losses { code, count })
                .into(),
        },
        ..EngineInfo::default()
    });
    let (_, answer) = room.get("/api/v1/status").await;
    let candles = &answer["candles"];
    assert_eq!(
        candles["audit"],
        json!({"checked": 980, "replaced": 5, "added": 6, "lacking": 7})
    );
    assert_eq!(candles["refused"]["early"], 4);
    let counted = ["duplicates", "late_closes", "dirty_ms"].map(|field| candles[field].clone());
    assert_eq!(counted, [json!(3), json!(2), json!(1_500)]);
    let delays = &candles["close_delays"];
    assert_eq!(delays["buckets"][0], json!({"up_to_ms": 250, "count": 90}));
    assert_eq!(delays["buckets"][7], json!({"up_to_ms": null, "count": 2}));
    assert_eq!(delays["sum_ms"], 70_000);
    assert_eq!(
        answer["exchange"]["streams"],
        json!({"rotations": 8, "mutes": 9, "losses": [
            {"code": null, "count": 1}, {"code": 1_008, "count": 2},
        ]})
    );
}

#[tokio::test]
async fn readiness_says_why_not() {
    let room = Room::start().await;
    assert_eq!(room.request("/healthz").send().await.unwrap().status(), 200);
    let reasons = async || {
        let (status, answer) = room.get("/readyz").await;
        assert_eq!(answer["ready"], status == 200);
        assert!(answer.get("checks").is_none());
        answer["reasons"].clone()
    };
    assert_eq!(reasons().await, json!(["warming", "feed down"]));
    room.write(vec![Write::Status(status(FeedState::Stopped))]);
    assert_eq!(reasons().await, json!(["warming", "stopped"]));
    let results = ["BTCUSDT", "ETHUSDT", "币安人生USDT"].map(|name| written(result(name, M15)));
    room.write(results.into());
    room.write(vec![Write::Status(status(FeedState::Degraded))]);
    assert_eq!(reasons().await, json!([]));
    let gone = vec![Symbol::parse("ETHUSDT").unwrap()];
    let removed = Write::Symbols {
        added: vec![],
        removed: gone,
    };
    room.write(vec![removed]);
    assert_eq!(reasons().await, json!(["warming"]), "2 of 3 are no 95 %");
    room.draining.cancel();
    assert_eq!(reasons().await, json!(["warming", "draining"]));
    let checks = room.get("/readyz?verbose").await.1["checks"].clone();
    assert_eq!(checks.as_array().unwrap().len(), 6);
    assert_eq!(
        checks[0]["detail"],
        "2 of 3 series of the primary interval live"
    );
}
