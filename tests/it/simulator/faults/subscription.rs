//! Faults of subscriptions: what is acknowledged and silent, refused, unanswered, half carried out, forgotten.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::{Client, Exchange, settings};

fn subscribe(names: &[&str], id: u64) -> String {
    json!({"method": "SUBSCRIBE", "params": names, "id": id}).to_string()
}

/// The contracts heard until `marker` has told ten events: more pushes than any silent contract would let pass.
async fn heard(client: &mut Client, marker: &str) -> BTreeSet<String> {
    let mut heard = BTreeSet::new();
    let mut marks = 0;
    while marks < 10 {
        if let Some(symbol) = client.next().await["s"].as_str() {
            marks += usize::from(symbol == marker);
            heard.insert(symbol.to_owned());
        }
    }
    heard
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn h07_a_silent_name_is_acknowledged_and_delivers_when_it_is_subscribed_again() {
    let exchange = Exchange::start(settings()).await;
    exchange.tell(r#"{"kind":"subscription.silent","symbol":"BTCUSDT","interval":"1m"}"#);
    let mut client = exchange.connect("/market/ws").await;
    let names = ["btcusdt@kline_1m", "ethusdt@kline_1m"];
    assert_eq!(
        client.answer(&subscribe(&names, 1)).await,
        json!({"result": null, "id": 1})
    );
    assert_eq!(heard(&mut client, "ETHUSDT").await, set(&["ETHUSDT"]));
    assert_eq!(exchange.strikes(), [1]);
    exchange.simulator.clear_faults();
    assert_eq!(
        heard(&mut client, "ETHUSDT").await,
        set(&["ETHUSDT"]),
        "it stays silent"
    );
    client.answer(&subscribe(&names[..1], 2)).await;
    while client.next().await["s"] != "BTCUSDT" {}
}

#[tokio::test]
async fn a_request_is_answered_with_an_error_and_not_carried_out() {
    let exchange = Exchange::start(settings()).await;
    exchange.tell(r#"{"kind":"subscription.error","code":2,"msg":"Invalid request: as told","symbol":"BTCUSDT","count":1}"#);
    let mut client = exchange.connect("/market/ws").await;
    client.answer(&subscribe(&["ethusdt@kline_1m"], 1)).await;
    let answer = client
        .answer(&subscribe(&["solusdt@kline_1m", "btcusdt@kline_1m"], 2))
        .await;
    let error = json!({"code": 2, "msg": "Invalid request: as told"});
    assert_eq!(answer, json!({"error": error, "id": 2}));
    assert_eq!(heard(&mut client, "ETHUSDT").await, set(&["ETHUSDT"]));
    let answer = client.answer(&subscribe(&["btcusdt@kline_1m"], 3)).await;
    assert_eq!(answer["result"], Value::Null);
    assert_eq!(exchange.strikes(), [1]);
}

#[tokio::test]
async fn a_request_is_not_answered_and_not_carried_out() {
    let exchange = Exchange::start(settings()).await;
    let mut client = exchange.connect("/market/ws").await;
    let mut other = exchange.connect("/market/ws").await;
    exchange.tell(r#"{"kind":"subscription.no_reply","connection":1}"#);
    client.say(&subscribe(&["btcusdt@kline_1m"], 1)).await;
    // Marker: the next request is answered, the first never was.
    client
        .say(r#"{"method":"LIST_SUBSCRIPTIONS","id":2}"#)
        .await;
    assert_eq!(client.next().await, json!({"result": [], "id": 2}));
    let answer = other.answer(&subscribe(&["btcusdt@kline_1m"], 3)).await;
    assert_eq!(answer["id"], 3);
    assert_eq!(exchange.strikes(), [1]);
}

#[tokio::test]
async fn h10_of_many_names_only_so_many_deliver_and_in_every_run_the_same() {
    let names = [
        "btcusdt", "ethusdt", "solusdt", "xrpusdt", "dogeusdt", "bnbusdt",
    ];
    let mut runs = Vec::new();
    for _ in 0..2 {
        let exchange = Exchange::start(settings()).await;
        exchange.tell(r#"{"kind":"subscription.partial","deliver":2,"interval":"1m"}"#);
        let mut client = exchange.connect("/market/ws").await;
        let minutes: Vec<_> = names
            .iter()
            .map(|name| format!("{name}@kline_1m"))
            .collect();
        let mut asked: Vec<_> = minutes.iter().map(String::as_str).collect();
        asked.push("adausdt@kline_1h"); // out of scope
        client.answer(&subscribe(&asked, 1)).await;
        let heard = heard(&mut client, "ADAUSDT").await;
        assert_eq!(heard.len(), 3, "{heard:?}");
        assert_eq!(exchange.strikes(), [1]);
        runs.push(heard);
    }
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test]
async fn names_known_from_an_earlier_connection_are_forgotten_on_a_fresh_one() {
    let exchange = Exchange::start(settings()).await;
    exchange.tell(r#"{"kind":"subscription.forget","path":"/market"}"#);
    let mut first = exchange.connect("/market/ws").await;
    first.answer(&subscribe(&["btcusdt@kline_1m"], 1)).await;
    while first.next().await["s"] != "BTCUSDT" {}
    drop(first);
    let mut fresh = exchange.connect("/market/ws").await;
    let names = ["btcusdt@kline_1m", "ethusdt@kline_1m"];
    assert_eq!(
        fresh.answer(&subscribe(&names, 2)).await,
        json!({"result": null, "id": 2})
    );
    assert_eq!(heard(&mut fresh, "ETHUSDT").await, set(&["ETHUSDT"]));
    assert_eq!(exchange.strikes(), [1]);
    exchange.simulator.clear_faults();
    let mut last = exchange.connect("/market/ws").await;
    last.answer(&subscribe(&names, 3)).await;
    while last.next().await["s"] != "BTCUSDT" {}
}
