//! Over REST and the compatible API: the call waits for the first result, or says what to do instead.

use std::time::Duration;

use hamacast::clock::Mono;
use hamacast::engine::Order;
use hamacast::market::{Interval, SeriesKey};
use serde_json::{Value, json};

use crate::support::fixtures::{first_live, tradable};
use crate::support::http_room::{Room, empty_chart, result};

const M15: Interval = Interval::M15;
const TRADED: [&str; 4] = ["BTCUSDT", "ETHUSDT", "NEWUSDT", "币安人生USDT"];

/// A room in which NEWUSDT trades and is not watched, and a call waits so long for it.
async fn room(first_result_within: Duration) -> Room {
    furnish(Room::start_hasty(first_result_within).await)
}

fn furnish(room: Room) -> Room {
    let mut writes = vec![tradable(&TRADED)];
    for name in ["BTCUSDT", "ETHUSDT"] {
        for interval in [M15, Interval::H1] {
            writes.push(first_live(result(name, interval)));
        }
    }
    room.write(writes);
    room
}

async fn until_wanted(room: &Room, name: &str) {
    let is_wanted = || {
        let wanted = room.memory.interest().wanted(Mono::now());
        wanted.iter().any(|symbol| symbol.as_str() == name)
    };
    let wanted = async {
        while !is_wanted() {
            tokio::task::yield_now().await;
        }
    };
    let within = Duration::from_secs(20);
    assert!(
        tokio::time::timeout(within, wanted).await.is_ok(),
        "{name} is never wanted"
    );
}

const PATIENT: Duration = Duration::from_secs(30);
const HASTY: Duration = Duration::from_millis(20);

#[tokio::test]
async fn a_call_for_what_is_not_watched_waits_for_its_first_result() {
    let room = room(PATIENT).await;
    let asking = room.get("/api/v1/signals/newusdt");
    let coming = async {
        until_wanted(&room, "NEWUSDT").await;
        room.write(vec![first_live(result("NEWUSDT", M15))]);
    };
    let ((status, body), ()) = tokio::join!(asking, coming);
    assert_eq!(
        (status, &body["symbol"], &body["status"]),
        (200, &json!("NEWUSDT"), &json!("live"))
    );
}

#[tokio::test]
async fn a_list_of_contracts_is_answered_once_every_one_has_a_result() {
    let room = room(PATIENT).await;
    let asking = room.get("/api/v1/signals?interval=all&symbols=btcusdt,newusdt");
    let coming = async {
        until_wanted(&room, "NEWUSDT").await;
        room.write(vec![first_live(result("NEWUSDT", M15))]);
        room.write(vec![first_live(result("NEWUSDT", Interval::H1))]);
    };
    let ((status, body), ()) = tokio::join!(asking, coming);
    assert_eq!(
        (status, body["signals"].as_array().unwrap().len()),
        (200, 4),
        "{body}"
    );
}

#[tokio::test]
async fn what_does_not_come_in_time_is_503_and_retry_after_and_still_wanted() {
    let room = room(HASTY).await;
    let calls = [
        "/api/v1/signals/NEWUSDT",
        "/api/v1/signals?symbols=NEWUSDT",
        "/api/v1/candles/NEWUSDT",
        "/api/v1/changes?symbol=NEWUSDT",
    ];
    for path in calls {
        let answer = room.request(path).send().await.unwrap();
        assert_eq!(answer.status(), 503, "{path}");
        assert_eq!(answer.headers()["retry-after"], "5", "{path}");
        let detail = room.problem(path, 503, "no-result-yet").await;
        assert!(
            detail.starts_with("NEWUSDT:15m: watched from now on"),
            "{detail}"
        );
    }
    until_wanted(&room, "NEWUSDT").await;
    let (status, body) = analyze(&room, "NEWUSDT", None).await;
    assert_eq!((status, &body["code"]), (503, &json!(0)), "{body}");
    room.problem("/api/v1/signals/FOOUSDT", 404, "unknown-symbol")
        .await;
}

/// No name is called unknown, and none is wanted.
async fn assert_not_loaded(room: &Room) {
    for name in ["NEWUSDT", "FOOUSDT"] {
        let path = format!("/api/v1/signals/{name}");
        let detail = room.problem(&path, 503, "not-loaded").await;
        let expected = "the watch list is not loaded yet; try again in a few seconds";
        assert_eq!(detail, expected);
        let answer = room.request(&path).send().await.unwrap();
        assert_eq!(answer.headers()["retry-after"], "5");
        let (status, body) = analyze(room, name, None).await;
        assert_eq!((status, &body["code"]), (503, &json!(0)), "{body}");
    }
    assert!(room.memory.interest().wanted(Mono::now()).is_empty());
}

#[tokio::test]
async fn before_it_is_known_what_trades_no_name_is_called_unknown() {
    let room = Room::start_hasty(HASTY).await;
    assert_not_loaded(&room).await;
    room.write(vec![first_live(result("BTCUSDT", M15))]);
    assert_not_loaded(&room).await;
    let (status, _) = room.get("/api/v1/signals/BTCUSDT").await;
    assert_eq!(status, 200, "it is on the list");
    room.write(vec![tradable(&TRADED)]);
    room.problem("/api/v1/signals/FOOUSDT", 404, "unknown-symbol")
        .await;
    room.problem("/api/v1/signals/NEWUSDT", 503, "no-result-yet")
        .await;
}

#[tokio::test]
async fn before_the_list_is_known_nothing_is_taken_to_be_outside_of_it() {
    let room = Room::start_hasty(HASTY).await;
    room.write(vec![tradable(&TRADED)]);
    assert_not_loaded(&room).await;
}

#[tokio::test]
async fn all_who_ask_wait_until_the_same_moment() {
    let within = Duration::from_secs(2);
    let room = room(within).await;
    let ask = async || {
        room.problem("/api/v1/signals/NEWUSDT", 503, "no-result-yet")
            .await
    };
    ask().await;
    let again = async {
        for _ in 0..5 {
            ask().await; // at once: the time of the first is over
        }
    };
    assert!(tokio::time::timeout(within * 3, again).await.is_ok());
}

/// Calls `analyze-symbol`, as passed on by a proxy for a stranger if one is named.
async fn analyze(room: &Room, symbol: &str, stranger: Option<&str>) -> (u16, Value) {
    let mut request = room
        .client
        .post(room.url("/api/gainer-analysis/analyze-symbol"))
        .json(&json!({ "symbol": symbol }));
    if let Some(address) = stranger {
        request = request.header("x-forwarded-for", address);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn an_analysis_of_what_is_not_watched_comes_with_its_first_result() {
    let mut room = room(PATIENT).await;
    let (_, none) = tokio::sync::mpsc::channel(1);
    let mut orders = std::mem::replace(&mut room.orders, none);
    let asking = analyze(&room, "newusdt", None);
    let engine = async {
        until_wanted(&room, "NEWUSDT").await;
        let mut first = result("NEWUSDT", M15);
        (first.candle_open_time, first.candle_close_time) = (None, None);
        room.write(vec![first_live(first)]);
        match orders.recv().await {
            Some(Order::Chart { key, answer, .. }) => {
                assert_eq!(key, SeriesKey::new(key.symbol.clone(), M15));
                let _ = answer.send(Some(empty_chart(&key)));
            }
            other => panic!("{other:?}"),
        }
    };
    let ((status, body), ()) = tokio::join!(asking, engine);
    assert_eq!((status, &body["code"]), (200, &json!(1)), "{body}");
    assert_eq!(body["data"]["symbol"], "NEWUSDT");
    assert_eq!(body["data"]["cached"], false);
}

#[tokio::test]
async fn a_batch_has_all_its_contracts_watched_at_once() {
    let room = room(HASTY).await;
    let names: Vec<_> = (0..20).map(|n| format!("N{n}USDT")).collect();
    let traded: Vec<_> = names.iter().map(String::as_str).collect();
    room.write(vec![tradable(&traded)]);
    let request = room
        .client
        .post(room.url("/api/gainer-analysis/analyze-batch"));
    let request = request.json(&json!({ "symbols": names }));
    let body: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(body["data"]["summary"]["failed"], 20, "{body}");
    assert_eq!(room.memory.interest().wanted(Mono::now()).len(), 20);
}

#[tokio::test]
async fn a_stranger_behind_a_proxy_has_twenty_new_contracts_an_hour() {
    let room = room(HASTY).await;
    let names: Vec<_> = (0..25).map(|n| format!("N{n}USDT")).collect();
    let traded: Vec<_> = names.iter().map(String::as_str).collect();
    room.write(vec![tradable(&traded)]);
    let ask = async |names: &[String]| {
        let path = format!("/api/v1/signals?symbols={}", names.join(","));
        let request = room.request(&path).header("x-forwarded-for", "203.0.113.7");
        let answer = request.send().await.unwrap();
        let wait = answer.headers().get("retry-after").cloned();
        let wait = wait.and_then(|wait| wait.to_str().unwrap().parse::<u64>().ok());
        (
            answer.status().as_u16(),
            wait,
            answer.json::<Value>().await.unwrap(),
        )
    };
    assert_eq!(ask(&names[..20]).await.0, 503, "watched, and not here yet");
    let (status, wait, body) = ask(&names[20..21]).await;
    assert_eq!(
        (status, &body["type"]),
        (429, &json!("urn:hamacast:problem:too-many-new-contracts"))
    );
    assert!(
        wait.is_some_and(|wait| (3_000..=3_600).contains(&wait)),
        "{wait:?}"
    );
    let (status, body) = analyze(&room, "N21USDT", Some("203.0.113.7")).await;
    assert_eq!((status, &body["code"]), (429, &json!(0)), "{body}");
    assert_eq!(ask(&names[..20]).await.0, 503, "what is wanted is free");
    let listed = ["币安人生USDT".to_owned()];
    assert_eq!(ask(&listed).await.0, 200, "on the list, and not here yet");
    // Who sits here is not counted, and the list has an end for him too.
    let (status, _) = room
        .get("/api/v1/signals?symbols=N20USDT,N21USDT,N22USDT,N23USDT")
        .await;
    assert_eq!(status, 503);
    let more: Vec<_> = (100..110).map(|n| format!("N{n}USDT")).collect();
    let all: Vec<_> = names.iter().chain(&more).map(String::as_str).collect();
    room.write(vec![tradable(&all)]);
    let path = format!("/api/v1/signals?symbols={}", more.join(","));
    let detail = room.problem(&path, 503, "watch-list-full").await;
    assert!(detail.contains("(30, HAMA_MAX_WATCHED)"), "{detail}");
    assert!(detail.ends_with("try again in 60 s"), "{detail}");
    let full = room.request(&path).send().await.unwrap();
    assert_eq!(full.headers()["retry-after"], "60");
}

#[tokio::test]
async fn behind_a_trusted_proxy_every_stranger_has_twenty_of_his_own() {
    let room = furnish(Room::start_behind_proxies(HASTY).await);
    let names: Vec<_> = (0..25).map(|n| format!("N{n}USDT")).collect();
    let traded: Vec<_> = names.iter().map(String::as_str).collect();
    room.write(vec![tradable(&traded)]);
    let ask = async |names: &[String], stranger: &str| {
        let path = format!("/api/v1/signals?symbols={}", names.join(","));
        let request = room.request(&path).header("x-forwarded-for", stranger);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(ask(&names[..20], "203.0.113.7").await, 503, "watched");
    assert_eq!(ask(&names[20..21], "203.0.113.7").await, 429);
    let made_up = "198.51.100.1, 203.0.113.7, 127.0.0.1";
    assert_eq!(ask(&names[20..21], made_up).await, 429, "the same one");
    assert_eq!(ask(&names[20..21], "203.0.113.8").await, 503, "another");
    let posing = ask(&names[..], "127.0.0.1").await;
    assert_eq!(
        posing, 503,
        "five of them are new, and it is an address as any"
    );
}

#[tokio::test]
async fn a_call_names_each_contract_once_and_at_most_200() {
    let room = room(HASTY).await;
    let same = ["btcusdt", "BTCUSDT"].repeat(1_000).join(",");
    let intervals = ["15m"; 1_000].join(",");
    let path = format!("/api/v1/signals?symbols={same}&interval={intervals}");
    let (status, body) = room.get(&path).await;
    assert_eq!(
        (status, body["signals"].as_array().map(Vec::len)),
        (200, Some(1))
    );
    let names: Vec<_> = (0..201).map(|n| format!("N{n}USDT")).collect();
    let path = format!("/api/v1/signals?symbols={}", names.join(","));
    let detail = room.problem(&path, 400, "bad-symbols").await;
    assert_eq!(
        detail,
        "symbols: 'N200USDT' is one too many; allowed: at most 200 contracts a call"
    );
    let traded: Vec<_> = names.iter().map(String::as_str).collect();
    room.write(vec![tradable(&traded)]);
    let path = format!("/api/v1/signals?symbols={}", names[..21].join(","));
    let request = room.request(&path).header("x-forwarded-for", "203.0.113.7");
    let answer = request.send().await.unwrap();
    assert_eq!(
        (
            answer.status().as_u16(),
            answer.headers().get("retry-after")
        ),
        (400, None)
    );
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["type"], "urn:hamacast:problem:too-many-new-contracts");
    let detail = body["detail"].as_str().unwrap();
    assert!(detail.ends_with("ask for fewer"), "{detail}");
    assert!(room.memory.interest().wanted(Mono::now()).len() <= 1);
}

#[tokio::test]
async fn a_bad_call_has_nothing_watched() {
    let room = room(HASTY).await;
    for path in [
        "/api/v1/signals?symbols=NEWUSDT,FOOUSDT",
        "/api/v1/signals?symbols=NEWUSDT&view=none",
        "/api/v1/signals/NEWUSDT?interval=7m",
        "/api/v1/candles/NEWUSDT?limit=0",
        "/api/v1/changes?symbol=NEWUSDT&epoch=a&epoch=b",
    ] {
        let (status, body) = room.get(path).await;
        assert!((400..500).contains(&status), "{path}: {body}");
    }
    assert!(room.memory.interest().wanted(Mono::now()).is_empty());
}

#[tokio::test]
async fn asking_for_what_is_watched_renews_its_want() {
    let room = room(HASTY).await;
    assert_eq!(room.get("/api/v1/signals/BTCUSDT").await.0, 200);
    assert_eq!(room.get("/api/v1/changes?symbol=ethusdt").await.0, 200);
    let wanted = room.memory.interest().wanted(Mono::now());
    let wanted: Vec<_> = wanted.iter().map(ToString::to_string).collect();
    assert_eq!(wanted, ["BTCUSDT", "ETHUSDT"]);
}
