//! Through a real Redis: what readers of a hub want, the engine's process hears; what it trades, the hubs hear.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hamacast::clock::Mono;
use hamacast::market::Interval;
use hamacast::store::redis::Fallback;
use hamacast::store::{Store, Write};

use crate::support::fixtures::{first_live, key, tradable};
use crate::support::puppet::{Puppet, result, series};
use crate::support::redis::RedisServer;

const PATIENCE: Duration = Duration::from_secs(30);
const INTEREST: &str = "hama:{log}:interest";
const UNIVERSE: &str = "hama:{log}:universe";
const SERIES: &str = "hama:{log}:series";

fn wants(puppet: &Puppet) -> Vec<String> {
    let store = Store::Redis(puppet.store.clone());
    let wanted = store.interest().wanted(Mono::now());
    wanted.iter().map(ToString::to_string).collect()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    while !holds().await {
        tick.tick().await;
        assert!(began.elapsed() < PATIENCE, "never: {what}");
    }
}

/// What stands in Redis, by series: seconds until it expires, by its own clock.
async fn in_redis(server: &RedisServer) -> BTreeMap<String, f64> {
    let mut client = server.client().await;
    let (seconds, _): (f64, f64) = redis::cmd("TIME").query_async(&mut client).await.unwrap();
    let mut range = redis::cmd("ZRANGE");
    range.arg(INTEREST).arg(0).arg(-1).arg("WITHSCORES");
    let all: Vec<(String, f64)> = range.query_async(&mut client).await.unwrap();
    let all = all.into_iter();
    all.map(|(series, unix_ms)| (series, unix_ms / 1_000.0 - seconds))
        .collect()
}

fn want(puppet: &Puppet, name: &str) {
    let store = Store::Redis(puppet.store.clone());
    store
        .interest()
        .want([key(name, Interval::M15)], Mono::now());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hub_wants_engine_and_standby_hear_and_what_is_lost_is_told_again() {
    let mut server = RedisServer::start().await;
    let engine = Puppet::engine(server.settings(), Fallback::Wait);
    let standby = Puppet::engine(server.settings(), Fallback::Wait);
    let hub = Puppet::hub(server.settings());
    let began = Instant::now();
    want(&hub, "NEWUSDT");
    until("the engine hears it", async || {
        wants(&engine) == ["NEWUSDT"]
    })
    .await;
    until("the standby hears it", async || {
        wants(&standby) == ["NEWUSDT"]
    })
    .await;
    println!("heard after {:.1} s", began.elapsed().as_secs_f64());
    let held = in_redis(&server).await;
    let names: Vec<_> = held.keys().map(String::as_str).collect();
    assert_eq!(names, ["NEWUSDT:15m"]);
    let left = held["NEWUSDT:15m"];
    assert!((560.0..=602.0).contains(&left), "{left} s");
    want(&engine, "ODDUSDT");
    until("the hub hears of others", async || {
        wants(&hub) == ["NEWUSDT", "ODDUSDT"]
    })
    .await;
    server.stop();
    want(&hub, "LATEUSDT");
    assert!(wants(&hub).contains(&"LATEUSDT".to_owned()), "here at once");
    server.restart().await;
    let all = ["LATEUSDT", "NEWUSDT", "ODDUSDT"];
    until("Redis, emptied, has all again", async || {
        in_redis(&server).await.len() == 3
    })
    .await;
    until("the engine hears the rest", async || wants(&engine) == all).await;
    for puppet in [engine, standby, hub] {
        puppet.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_and_what_nobody_understands_wants_nothing() {
    let server = RedisServer::start().await;
    let mut client = server.client().await;
    let mut add = redis::cmd("ZADD");
    add.arg(INTEREST).arg(1_000).arg("OLDUSDT:15m");
    add.arg(9e15).arg("EVERUSDT:15m");
    add.arg(9e15).arg("NEWUSDT:15m");
    add.arg(9e15).arg("no series");
    let _: u64 = add.query_async(&mut client).await.unwrap();
    let engine = Puppet::engine(server.settings(), Fallback::Wait);
    want(&engine, "NEWUSDT"); // told before anything is heard
    until("the engine hears it", async || {
        wants(&engine) == ["EVERUSDT", "NEWUSDT"]
    })
    .await;
    let now = Mono::now();
    let longest = now.plus_ms(601_000);
    let store = Store::Redis(engine.store.clone());
    let later = store.interest().wanted(longest);
    assert!(later.is_empty(), "for ten minutes at most: {later:?}");
    let held = in_redis(&server).await;
    assert!(!held.contains_key("OLDUSDT:15m"));
    let left = held["NEWUSDT:15m"];
    assert!(
        left > 1e9,
        "a shorter want shortens no longer one: {left} s"
    );
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_more_series_than_redis_keeps_those_go_that_expire_first() {
    let server = RedisServer::start().await;
    let mut client = server.client().await;
    let mut add = redis::cmd("ZADD");
    add.arg(INTEREST);
    for n in 0..8_100 {
        let until = 9e14 + f64::from(n);
        add.arg(until).arg(format!("N{n}USDT:15m"));
    }
    let _: u64 = add.query_async(&mut client).await.unwrap();
    let engine = Puppet::engine(server.settings(), Fallback::Wait);
    until("the bound is kept", async || {
        in_redis(&server).await.len() == 8_000
    })
    .await;
    let left = in_redis(&server).await;
    let is_left = |name: &str| left.contains_key(name);
    assert!(!is_left("N99USDT:15m") && is_left("N100USDT:15m"));
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hubs_hear_what_trades_whenever_they_come() {
    let server = RedisServer::start().await;
    let mut engine = Puppet::engine(server.settings(), Fallback::Wait);
    engine.speak().await;
    let early = Puppet::hub(server.settings());
    engine.say(vec![tradable(&["BTCUSDT", "NEWUSDT"])]).await;
    let traded = |puppet: &Puppet| {
        let published = puppet.store.view().published();
        published
            .tradable
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    until("who is there hears it", async || {
        traded(&early) == ["BTCUSDT", "NEWUSDT"]
    })
    .await;
    until("so does its own process", async || {
        traded(&engine) == ["BTCUSDT", "NEWUSDT"]
    })
    .await;
    let late = Puppet::hub(server.settings());
    until("and who comes later", async || {
        traded(&late) == ["BTCUSDT", "NEWUSDT"]
    })
    .await;
    engine.say(vec![tradable(&["BTCUSDT"])]).await;
    until("a delisting too", async || traded(&early) == ["BTCUSDT"]).await;
    for puppet in [engine, early, late] {
        puppet.stop().await;
    }
}

/// How many series and tradable contracts the watch list in Redis has.
async fn list_in_redis(server: &RedisServer) -> (usize, usize) {
    let mut client = server.client().await;
    let mut get = redis::cmd("GET");
    let json: Option<String> = get.arg(UNIVERSE).query_async(&mut client).await.unwrap();
    let list: serde_json::Value = serde_json::from_str(&json.unwrap_or("{}".to_owned())).unwrap();
    let length = |name: &str| list[name].as_array().map_or(0, Vec::len);
    (length("series"), length("tradable"))
}

/// The series Redis keeps the state of.
async fn kept_in_redis(server: &RedisServer) -> Vec<String> {
    let mut client = server.client().await;
    let mut fields = redis::cmd("HKEYS");
    let mut names: Vec<String> = fields.arg(SERIES).query_async(&mut client).await.unwrap();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_begins_again_empties_no_hub_before_it_has_read_its_list() {
    let server = RedisServer::start().await;
    let mut engine = Puppet::engine(server.settings(), Fallback::Wait);
    engine.speak().await;
    engine.say(vec![tradable(&["BTCUSDT", "NEWUSDT"])]).await;
    until("its list stands there", async || {
        list_in_redis(&server).await == (3, 2)
    })
    .await;
    engine.stop().await;
    let mut next = Puppet::unread_engine(server.settings(), Fallback::Wait);
    next.speak().await;
    next.next_candle().await;
    next.reaches(3).await;
    assert_eq!(
        list_in_redis(&server).await,
        (3, 2),
        "until it knows better"
    );
    assert_eq!(kept_in_redis(&server).await.len(), 3);
    next.watch(series().into_iter().take(2));
    next.say(vec![tradable(&[
        "BTCUSDT", "ETHUSDT", "NEWUSDT", "ODDUSDT",
    ])])
    .await;
    until("its own list", async || {
        list_in_redis(&server).await == (2, 4)
    })
    .await;
    until("what is not on it is forgotten", async || {
        kept_in_redis(&server).await == ["BTCUSDT:15m", "ETHUSDT:15m"]
    })
    .await;
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_after_the_list_is_not_forgotten_because_something_else_trades() {
    let server = RedisServer::start().await;
    let mut engine = Puppet::engine(server.settings(), Fallback::Wait);
    engine.speak().await;
    engine.say(vec![tradable(&["BTCUSDT"])]).await;
    until("its list stands there", async || {
        list_in_redis(&server).await == (3, 1)
    })
    .await;
    let new = key("NEWUSDT", Interval::M15);
    engine.say(vec![first_live(result(&new, 0))]).await;
    let has_new = async || {
        let kept = kept_in_redis(&server).await;
        kept.contains(&"NEWUSDT:15m".to_owned())
    };
    until("the new series is kept", has_new).await;
    engine.say(vec![tradable(&["BTCUSDT", "NEWUSDT"])]).await;
    until("what trades is told", async || {
        list_in_redis(&server).await == (3, 2)
    })
    .await;
    engine.next_candle().await;
    engine.reaches(3).await;
    assert!(has_new().await, "the list is the one it was");
    let symbol = new.symbol.clone();
    let gone = Write::Symbols {
        added: Vec::new(),
        removed: vec![symbol],
    };
    engine.say(vec![gone]).await;
    until("it goes when it is let go", async || !has_new().await).await;
    engine.stop().await;
}
