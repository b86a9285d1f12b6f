//! The compatible API, call by call, against stored examples of its envelope and fields: names and types exactly,
//! values where they are fixed.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use hamacast::engine::{
    Chart, ChartRow, Order, OrderError, SchedulerInfo, StartOrder, Started, SweepFigures,
    SweepOutcome, SweepProgress,
};
use hamacast::indicator::BandState;
use hamacast::market::{Interval, SeriesKey, SeriesStatus, Symbol, TimeMs};
use hamacast::signal::{Bollinger, Recommendation, SignalResult};
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;

use crate::support::http_room::{OPEN_MS, Room, empty_chart, key, live, result, written};

const M15: Interval = Interval::M15;
const ROOT: &str = "/api/gainer-analysis";

/// A room whose BTCUSDT says BUY, and the charts its engine is asked for.
async fn room() -> (Room, Receiver<Order>) {
    let mut room = Room::start_live().await;
    room.write(vec![written(buy())]);
    let (_, none) = tokio::sync::mpsc::channel(1);
    let orders = std::mem::replace(&mut room.orders, none);
    (room, orders)
}

fn buy() -> SignalResult {
    SignalResult {
        recommendation: Some(Recommendation::Buy),
        confidence: Some(0.7332),
        bollinger: Some(Bollinger {
            upper: 68_000.0,
            basis: 67_000.0,
            lower: 66_000.0,
            width: 0.03,
            state: BandState::Squeeze,
        }),
        ..result("BTCUSDT", M15)
    }
}

/// 60 closed candles, the last of which opens at `OPEN_MS`, each 1 above the one before; then an open one far off.
fn chart(key: &SeriesKey) -> Chart {
    let row = |i: i64, close: f64| ChartRow {
        open_time: M15.steps(hamacast::market::OpenTime::from_ms(OPEN_MS), i - 59),
        open: close,
        high: close + 0.5,
        low: close - 0.5,
        close,
        volume: if i == 59 { 10.0 } else { 5.0 },
        closed: i < 60,
        hama_open: None,
        hama_high: None,
        hama_low: None,
        hama_close: None,
        ma: None,
        bb_upper: None,
        bb_basis: None,
        bb_lower: None,
        bb_state: None,
        body_color: None,
        cross: 0,
        recommendation: None,
        change: None,
    };
    let closed = (0..60_u8).map(|i| row(i64::from(i), 100.0 + f64::from(i)));
    Chart {
        candles: closed.chain([row(60, 1.0)]).collect(),
        ..empty_chart(key)
    }
}

/// Does `work` while the engine answers charts; how many it was asked for.
async fn with_engine<T>(
    queries: &mut Receiver<Order>,
    work: impl Future<Output = T>,
) -> (T, usize) {
    tokio::pin!(work);
    let mut asked = 0;
    loop {
        tokio::select! {
            done = &mut work => return (done, asked),
            Some(order) = queries.recv() => match order {
                Order::Chart { key, answer, .. } => {
                    asked += 1;
                    let _ = answer.send(Some(chart(&key)));
                }
                Order::Refresh { answer, .. } => {
                    let _ = answer.send(Ok(()));
                }
                Order::Start { .. } | Order::Stop { .. } => panic!("{order:?}"),
            },
        }
    }
}

async fn post(room: &Room, call: &str, body: &Value) -> (u16, Value) {
    let request = room.client.post(room.url(&format!("{ROOT}/{call}")));
    let response = request.json(body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn analyze(room: &Room, body: Value) -> (u16, Value) {
    post(room, "analyze-symbol", &body).await
}

pub(crate) fn example(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/compat/{name}.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The answer has the example's fields, of its types, with its values; `<number>` and the like stand for any.
pub(crate) fn is_like(example: &Value, seen: &Value, at: &str) {
    match (example, seen) {
        (Value::Object(wanted), Value::Object(found)) => {
            let names = |object: &serde_json::Map<String, Value>| -> BTreeSet<String> {
                object.keys().cloned().collect()
            };
            assert_eq!(names(wanted), names(found), "{at}");
            for (name, value) in wanted {
                is_like(value, &found[name], &format!("{at}.{name}"));
            }
        }
        (Value::Array(wanted), Value::Array(found)) => {
            assert_eq!(wanted.len(), found.len(), "{at}");
            for (i, (value, seen)) in wanted.iter().zip(found).enumerate() {
                is_like(value, seen, &format!("{at}[{i}]"));
            }
        }
        (Value::String(kind), seen) if kind.starts_with('<') => {
            let fits = match kind.as_str() {
                "<number>" => seen.is_f64(),
                "<text>" => seen.as_str().is_some_and(|text| !text.is_empty()),
                "<time>" => seen.as_str().is_some_and(is_time),
                "<v1>" | "<analysis>" => seen.is_object(),
                other => panic!("{at}: {other} is no kind"),
            };
            assert!(fits, "{at}: {seen} is no {kind}");
        }
        (wanted, seen) => assert_eq!(wanted, seen, "{at}"),
    }
}

/// `2026-01-10T06:55:13`
fn is_time(text: &str) -> bool {
    let form: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    form == "0000-00-00T00:00:00"
}

#[tokio::test]
async fn a_contract_is_analysed_once_and_then_served_from_the_cache() {
    let (room, mut queries) = room().await;
    let work = analyze(&room, json!({"symbol": " btcusdt "}));
    let ((status, computed), asked) = with_engine(&mut queries, work).await;
    assert_eq!((status, asked), (200, 1), "{computed}");
    is_like(&example("analyze-symbol"), &computed, "answer");
    let published = room.memory.published().results[&key("BTCUSDT", M15)].clone();
    assert_eq!(
        computed["data"]["v1"],
        serde_json::to_value(&*published).unwrap()
    );

    let work = analyze(&room, json!({"symbol": "BTCUSDT", "force_refresh": false}));
    let ((_, mut cached), asked) = with_engine(&mut queries, work).await;
    assert_eq!(asked, 0);
    assert_eq!(cached["data"]["cached"], true);
    let source = cached["data"]
        .as_object_mut()
        .unwrap()
        .remove("cache_source");
    assert_eq!(source, Some(json!("memory")));
    cached["data"]["cached"] = json!(false);
    assert_eq!(cached, computed, "all else is the same");
}

#[tokio::test]
async fn a_newer_candle_a_revision_or_a_status_ends_what_was_cached_and_a_price_does_not() {
    let (room, mut queries) = room().await;
    let ask = || analyze(&room, json!({"symbol": "BTCUSDT"}));
    let (_, asked) = with_engine(&mut queries, ask()).await;
    assert_eq!(asked, 1);
    let moved = SignalResult {
        live: Some(live(70_000.0)),
        ..buy()
    };
    room.write(vec![written(moved)]);
    assert_eq!(with_engine(&mut queries, ask()).await.1, 0);
    let stale = SignalResult {
        status: SeriesStatus::Stale,
        ..buy()
    };
    let revised = SignalResult {
        hama_close: Some(67_001.0),
        ..buy()
    };
    for newer in [stale, revised] {
        room.write(vec![written(newer.clone())]);
        let ((_, answer), asked) = with_engine(&mut queries, ask()).await;
        assert_eq!((asked, &answer["data"]["cached"]), (1, &json!(false)));
        assert_eq!(answer["data"]["v1"]["status"], json!(newer.status.word()));
    }
}

#[tokio::test]
async fn figures_are_of_the_candle_the_result_is_of() {
    let (room, mut queries) = room().await;
    // The chart already has the next candle; what is published is of the one before.
    let earlier = M15.steps(buy().candle_open_time.unwrap(), -1);
    let behind = SignalResult {
        candle_open_time: Some(earlier),
        ..buy()
    };
    room.write(vec![written(behind)]);
    let ask = || analyze(&room, json!({"symbol": "BTCUSDT", "force_refresh": true}));
    let ((_, answer), _) = with_engine(&mut queries, ask()).await;
    let technical = &answer["data"]["hama_analysis"]["technical_indicators"];
    assert_eq!(technical["resistance_level"], 158.5);
    // The chart has not reached the published candle: nothing is mixed, the caller comes back.
    let ahead = SignalResult {
        candle_open_time: Some(M15.after(buy().candle_open_time.unwrap())),
        ..buy()
    };
    room.write(vec![written(ahead)]);
    let ((status, answer), _) = with_engine(&mut queries, ask()).await;
    assert_eq!(status, 503);
    is_like(&example("error"), &answer, "answer");
}

#[tokio::test]
async fn what_has_no_history_yet_is_null() {
    let (room, mut queries) = room().await;
    let known = result("ETHUSDT", M15);
    let young = SignalResult::warming(&known.key(), known.event_time);
    room.write(vec![written(young)]);
    let work = analyze(&room, json!({"symbol": "ETHUSDT"}));
    let ((status, answer), _) = with_engine(&mut queries, work).await;
    assert_eq!(status, 200);
    is_like(&example("young-symbol"), &answer, "answer");
}

#[tokio::test]
async fn many_callers_of_one_uncached_contract_cost_one_chart() {
    const CALLERS: usize = 40;
    let (room, mut queries) = room().await;
    let calls = (0..CALLERS).map(|_| analyze(&room, json!({"symbol": "BTCUSDT"})));
    let engine = async {
        let Some(Order::Chart { key, answer, .. }) = queries.recv().await else {
            panic!("another order");
        };
        room.in_flight_by(CALLERS).await; // at least half of the others wait by now
        let _ = answer.send(Some(chart(&key)));
    };
    let (answers, ()) = tokio::join!(futures::future::join_all(calls), engine);
    assert!(answers.iter().all(|(status, _)| *status == 200));
    let computed = answers
        .iter()
        .filter(|(_, answer)| answer["data"]["cached"] == false);
    assert_eq!(computed.count(), 1);
    assert!(queries.try_recv().is_err(), "the engine was asked twice");
    let (_, stats) = room.get(&format!("{ROOT}/cache-stats")).await;
    assert_eq!(stats["data"]["hits"], CALLERS - 1);
}

#[tokio::test]
async fn a_batch_tells_each_contract_and_how_it_went() {
    let (room, mut queries) = room().await;
    let work = async {
        analyze(&room, json!({"symbol": "ETHUSDT"})).await;
        let body = json!({"symbols": ["BTCUSDT", "ETHUSDT", "FOOUSDT", "BTCUSDT", "币安人生usdt"]});
        post(&room, "analyze-batch", &body).await
    };
    let ((status, answer), asked) = with_engine(&mut queries, work).await;
    assert_eq!((status, asked), (200, 3), "{answer}");
    is_like(&example("analyze-batch"), &answer, "batch");
    let data = &answer["data"];
    let mut alone = example("analyze-symbol")["data"].clone();
    is_like(&alone, &data["results"]["BTCUSDT"], "results.BTCUSDT");
    alone["symbol"] = json!("币安人生USDT");
    assert_eq!(data["results"]["币安人生usdt"]["symbol"], alone["symbol"]);
    assert_eq!(data["results"]["ETHUSDT"]["cached"], true);
}

#[tokio::test]
async fn status_cache_and_gainers_answer_as_their_clients_know_them() {
    let (room, mut queries) = room().await;
    let (_, answer) = room.get(&format!("{ROOT}/scheduler/status")).await;
    is_like(&example("scheduler-status"), &answer, "status");
    for force in [false, false, false, true, false] {
        let work = analyze(&room, json!({"symbol": "BTCUSDT", "force_refresh": force}));
        let ((_, answer), asked) = with_engine(&mut queries, work).await;
        assert_eq!(answer["data"]["cached"] == false, asked == 1);
    }
    let (_, answer) = room.get(&format!("{ROOT}/cache-stats")).await;
    is_like(&example("cache-stats"), &answer, "stats");

    room.write(vec![written(result("BTCUSDT", M15))]);
    room.set_changes(&[("BTCUSDT", -1.25), ("ETHUSDT", 7.5)]);
    let (_, answer) = room.get(&format!("{ROOT}/top-gainers?limit=2")).await;
    is_like(&example("top-gainers"), &answer, "gainers");
    let (_, all) = room.get(&format!("{ROOT}/top-gainers?market=spot")).await;
    let last = &all["data"]["symbols"][2];
    assert_eq!(
        (&last["symbol"], &last["price_change_percent"]),
        (&json!("币安人生USDT"), &Value::Null)
    );
}

#[tokio::test]
async fn the_state_of_the_sweeps_is_told() {
    let (room, _orders) = room().await;
    room.scheduler.send_replace(SchedulerInfo {
        running: false,
        symbols: 3,
        sweep_every: Duration::from_secs(600),
        sweep: SweepFigures {
            progress: Some(SweepProgress { done: 2, total: 3 }),
            last: Some(SweepOutcome {
                ok: 2,
                failed: 1,
                duration_ms: 1_250,
                ended_at: TimeMs::new(OPEN_MS),
            }),
            next_at: Some(TimeMs::new(OPEN_MS + 600_000)),
        },
    });
    let (_, answer) = room.get(&format!("{ROOT}/scheduler/status")).await;
    is_like(&example("scheduler-status-sweeping"), &answer, "status");
    let (_, own) = room.get("/api/v1/status").await;
    assert_eq!(
        own["scheduler"],
        json!({"running": false, "sweep_every_s": 600, "sweep": {
            "progress": {"done": 2, "total": 3},
            "last": {"ok": 2, "failed": 1, "duration_ms": 1_250, "ended_at": OPEN_MS},
            "next_at": OPEN_MS + 600_000}})
    );
}

#[tokio::test]
async fn start_and_stop_are_passed_to_the_engine_and_answered_as_their_clients_know_them() {
    let (room, mut orders) = room().await;
    let engine = async {
        let mut seen = Vec::new();
        while let Some(order) = orders.recv().await {
            match order {
                Order::Start { order, answer } => {
                    let unknown = Symbol::parse("FOOUSDT").unwrap();
                    let asks_unknown = order.symbols.iter().flatten().any(|one| *one == unknown);
                    let started = Started {
                        symbols: order.symbols.as_ref().map_or(3, Vec::len),
                        sweep_every: order.sweep_every.unwrap_or(Duration::from_secs(300)),
                    };
                    seen.push(order);
                    let _ = answer.send(if asks_unknown {
                        Err(OrderError::Unknown(vec![unknown]))
                    } else {
                        Ok(started)
                    });
                }
                Order::Stop { answer } => {
                    let _ = answer.send(Ok(()));
                    return seen;
                }
                Order::Chart { .. } | Order::Refresh { .. } => panic!("{order:?}"),
            }
        }
        seen
    };
    let calls = async {
        let (status, answer) = post(&room, "scheduler/start", &json!({})).await;
        assert_eq!(status, 200);
        is_like(&example("scheduler-start"), &answer, "start");
        let body = json!({"symbols": ["ethusdt", "BTCUSDT", "ETHUSDT"], "interval_minutes": 10});
        let (_, answer) = post(&room, "scheduler/start", &body).await;
        assert_eq!(answer["data"]["symbols_count"], 2);
        assert_eq!(answer["data"]["interval_minutes"], 10);
        let body = json!({"symbols": ["FOOUSDT", "BTCUSDT"]});
        let (status, answer) = post(&room, "scheduler/start", &body).await;
        assert_eq!(status, 400);
        is_like(&example("error"), &answer, "unknown");
        assert!(answer["msg"].as_str().unwrap().contains("FOOUSDT"));
        let body = json!({"symbols": ["BTCUSDT", "BARUSDT", "A/B"]});
        let (status, answer) = post(&room, "scheduler/start", &body).await;
        let msg = "symbols: there is no contract A/B, BARUSDT";
        assert_eq!((status, answer["msg"].as_str()), (400, Some(msg)));
        // Nothing in the body, as `curl -X POST` sends it.
        let request = room
            .client
            .post(room.url(&format!("{ROOT}/scheduler/stop")));
        let request = request.header("content-type", "application/json");
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        is_like(&example("scheduler-stop"), &answer, "stop");
    };
    let (seen, ()) = tokio::join!(engine, calls);
    let named = |names: &[&str]| {
        names
            .iter()
            .map(|name| Symbol::parse(name).unwrap())
            .collect()
    };
    assert_eq!(
        seen[..2],
        [
            StartOrder::default(),
            StartOrder {
                symbols: Some(named(&["BTCUSDT", "ETHUSDT"])),
                sweep_every: Some(Duration::from_secs(600)),
            },
        ]
    );
}

#[tokio::test]
async fn a_forced_refresh_reads_the_candles_anew_before_it_computes() {
    let (room, mut orders) = room().await;
    let engine = async {
        let Some(Order::Refresh {
            key: refreshed,
            answer,
        }) = orders.recv().await
        else {
            panic!("computed from what was there");
        };
        answer.send(Ok(())).unwrap();
        let Some(Order::Chart { key, answer, .. }) = orders.recv().await else {
            panic!("no chart was asked for");
        };
        answer.send(Some(chart(&key))).unwrap();
        assert_eq!(refreshed, key);
        let Some(Order::Refresh { answer, .. }) = orders.recv().await else {
            panic!("computed from what was there");
        };
        let unreadable = OrderError::Unreadable("the exchange is away".to_owned());
        answer.send(Err(unreadable)).unwrap();
    };
    let calls = async {
        let body = json!({"symbol": "BTCUSDT", "force_refresh": true});
        let (status, answer) = analyze(&room, body.clone()).await;
        assert_eq!((status, &answer["data"]["cached"]), (200, &json!(false)));
        let (status, answer) = analyze(&room, body).await;
        assert_eq!(status, 503);
        is_like(&example("error"), &answer, "unreadable");
    };
    tokio::join!(engine, calls);
}

/// The answer to a POST of `body` as it stands.
async fn refused(room: &Room, call: &str, kind: &str, body: String) -> u16 {
    let request = room.client.post(room.url(&format!("{ROOT}/{call}")));
    let response = request
        .header("content-type", kind)
        .body(body)
        .send()
        .await
        .unwrap();
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/json");
    is_like(&example("error"), &response.json().await.unwrap(), call);
    status
}

#[tokio::test]
async fn a_start_that_is_not_as_described_or_not_the_operators_changes_nothing() {
    let (room, mut orders) = room().await;
    let json = "application/json";
    let over = json!({"symbols": vec!["BTCUSDT"; 601]}).to_string();
    let cases = [
        ("scheduler/start", json, "[]", 400),
        ("scheduler/start", json, r#"{"symbols": []}"#, 400),
        ("scheduler/start", json, r#"{"symbols": [7]}"#, 400),
        ("scheduler/start", json, r#"{"symbols": ["A/B"]}"#, 400),
        ("scheduler/start", json, r#"{"interval_minutes": 0}"#, 400),
        (
            "scheduler/start",
            json,
            r#"{"interval_minutes": 1441}"#,
            400,
        ),
        ("scheduler/start", json, r#"{"interval_minutes": 2.5}"#, 400),
        ("scheduler/start", json, r#"{"interval_minutes": "5"}"#, 400),
        ("scheduler/start", json, &over, 400),
        ("scheduler/start", "text/plain", "{}", 403),
        ("scheduler/stop", "text/plain", "{}", 403),
        ("scheduler/stop", json, "{", 400),
    ];
    for (call, kind, body, expected) in cases {
        let status = refused(&room, call, kind, body.to_owned()).await;
        assert_eq!(status, expected, "{call} {body}");
    }
    assert!(orders.try_recv().is_err(), "the engine was asked");
}

#[tokio::test]
async fn every_refusal_comes_in_the_envelope_with_a_fitting_status() {
    let (room, _queries) = room().await;
    let json = "application/json";
    let many = json!({"symbols": vec!["BTCUSDT"; 201]}).to_string();
    let cases = [
        ("analyze-symbol", json, "{", 400),
        ("analyze-symbol", json, "", 400),
        ("analyze-symbol", json, "[]", 400),
        ("analyze-symbol", json, "{}", 400),
        ("analyze-symbol", json, r#"{"symbol": 7}"#, 400),
        ("analyze-symbol", json, r#"{"symbol": null}"#, 400),
        ("analyze-symbol", json, r#"{"symbol": "  "}"#, 400),
        (
            "analyze-symbol",
            json,
            r#"{"symbol": "BTCUSDT", "force_refresh": "yes"}"#,
            400,
        ),
        ("analyze-symbol", json, r#"{"symbol": "FOOUSDT"}"#, 404),
        ("analyze-symbol", json, r#"{"symbol": "BTC/USDT"}"#, 404),
        (
            "analyze-symbol",
            "text/plain",
            r#"{"symbol": "BTCUSDT"}"#,
            415,
        ),
        ("analyze-batch", json, r#"{"symbols": "BTCUSDT"}"#, 400),
        ("analyze-batch", json, r#"{"symbols": []}"#, 400),
        ("analyze-batch", json, r#"{"symbols": ["BTCUSDT", 7]}"#, 400),
        ("analyze-batch", json, &many, 400),
        ("top-gainers", json, "{}", 405),
        ("nothing", json, "{}", 404),
        ("", json, "{}", 404),
    ];
    for (call, kind, body, expected) in cases {
        let status = refused(&room, call, kind, body.to_owned()).await;
        assert_eq!(status, expected, "{call} {body}");
    }
    let large = format!(r#"{{"symbol": "{}"}}"#, "A".repeat(70_000));
    assert_eq!(refused(&room, "analyze-symbol", json, large).await, 413);
    for (path, expected) in [
        ("", 404),
        ("/top-gainers?limit=0", 400),
        ("/top-gainers?limit=101", 400),
        ("/top-gainers?limit=ten", 400),
        ("/analyze-symbol", 405),
        ("/scheduler", 404),
    ] {
        let (status, answer) = room.get(&format!("{ROOT}{path}")).await;
        assert_eq!(status, expected, "{path}");
        is_like(&example("error"), &answer, path);
    }
    room.problem("/api/gainer-analysisx", 404, "unknown-path")
        .await;
}

#[tokio::test]
async fn a_wrong_method_is_told_which_is_right_and_an_engine_that_is_gone_when_to_come_back() {
    let (room, queries) = room().await;
    let response = room
        .request(&format!("{ROOT}/analyze-symbol"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["allow"], "POST");
    drop(queries);
    let request = room
        .client
        .post(room.url(&format!("{ROOT}/analyze-symbol")));
    let response = request
        .json(&json!({"symbol": "BTCUSDT"}))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "5");
    let body = json!({"symbols": ["BTCUSDT"]});
    let (status, answer) = post(&room, "analyze-batch", &body).await;
    assert_eq!(
        (status, &answer["data"]["summary"]["failed"]),
        (200, &json!(1))
    );
}
