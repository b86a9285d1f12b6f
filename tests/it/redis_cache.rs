//! The cache in Redis as operators and clients of the old service know it: keys that never expire under a running engine,
//! the compatible API at a hub, and one read at the exchange however many ask.

use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::{Value, json};

use crate::compat_api::{example, is_like};
use crate::support::cluster::{Cluster, Market, Node};
use crate::support::redis::Keeps;

const ROOT: &str = "/api/gainer-analysis";

const CALM: Market = Market {
    symbols: 20,
    speed: 1,
    update_ms: 500,
};

/// Nothing happens for longer than a key lives.
const QUIET: Market = Market {
    update_ms: 10_000,
    ..CALM
};

async fn symbols(cluster: &Cluster, hub: &Node) -> Vec<String> {
    cluster.bases(hub).await.into_keys().collect()
}

async fn call(cluster: &Cluster, hub: &Node, path: &str) -> Value {
    let (status, answer) = cluster.get(&hub.address, &format!("{ROOT}/{path}")).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

async fn ask(cluster: &Cluster, hub: &Node, path: &str, body: Value) -> (u16, Value) {
    let path = format!("{ROOT}/{path}");
    cluster.post(&hub.address, &path, &body).await
}

/// Waits for the end of the first sweep.
async fn swept(cluster: &Cluster, hub: &Node) {
    let all = cluster.market.symbols;
    let path = format!("{ROOT}/scheduler/status");
    let done = |_: u16, answer: &Value| answer["data"]["sweep"]["succeeded"] == all;
    cluster.until(hub, &path, done).await;
}

async fn count_there(cluster: &Cluster, keys: &[String]) -> usize {
    let mut command = vec!["EXISTS"];
    command.extend(keys.iter().map(String::as_str));
    cluster.redis_says(&command).await
}

#[tokio::test]
async fn no_key_expires_under_a_running_engine_and_all_do_after_a_stop() {
    let watched_s = std::env::var("HAMACAST_REDIS_SECONDS")
        .map_or(20, |text| text.parse().expect("a whole number"));
    let mut cluster = Cluster::start(QUIET, Keeps::Nothing).await;
    cluster.variables.push(("HAMA_CACHE_TTL", "6"));
    let (_engine, hub) = (cluster.run("engine"), cluster.run("hub"));
    cluster.all_live(&hub).await;
    swept(&cluster, &hub).await;
    let both = |symbol: String| {
        [
            format!("hama:result:{symbol}:15m"),
            format!("hama:analysis:{symbol}"),
        ]
    };
    let keys: Vec<_> = symbols(&cluster, &hub)
        .await
        .into_iter()
        .flat_map(both)
        .collect();
    let began = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let mut looks = 0;
    while began.elapsed() < Duration::from_secs(watched_s) {
        tick.tick().await;
        assert_eq!(
            count_there(&cluster, &keys).await,
            40,
            "after {:?}",
            began.elapsed()
        );
        looks += 1;
    }
    println!("40 keys of 6 s were there at each of {looks} looks in {watched_s} s");
    let (status, answer) = ask(&cluster, &hub, "scheduler/stop", json!({})).await;
    assert_eq!(status, 200);
    is_like(&example("scheduler-stop"), &answer, "stop");
    let stopped = Instant::now();
    while count_there(&cluster, &keys).await > 0 {
        tick.tick().await;
        assert!(
            stopped.elapsed() < Duration::from_secs(30),
            "they never expire"
        );
    }
    println!(
        "all gone {:?} after the stop (promised: 6 s)",
        stopped.elapsed()
    );
}

/// The names are the example's and the values of its types, or null where there may be none.
fn has_the_fields_of(example: &Value, seen: &Value, at: &str) {
    match (example, seen) {
        (Value::Object(wanted), Value::Object(found)) => {
            let names: Vec<_> = wanted.keys().collect();
            assert!(wanted.len() == found.len(), "{at}: {names:?}, not {seen}");
            for name in names {
                let value = found
                    .get(name)
                    .unwrap_or_else(|| panic!("{at}: no {name} in {seen}"));
                has_the_fields_of(&wanted[name], value, &format!("{at}.{name}"));
            }
        }
        (Value::Array(wanted), Value::Array(found)) => {
            for one in found {
                has_the_fields_of(&wanted[0], one, at);
            }
        }
        (Value::String(kind), seen) if kind == "<v1>" => assert!(seen.is_object(), "{at}"),
        (Value::String(kind), seen) if kind == "<number>" => {
            assert!(seen.is_number() || seen.is_null(), "{at}: {seen}");
        }
        (wanted, seen) => {
            let same = std::mem::discriminant(wanted) == std::mem::discriminant(seen);
            assert!(same || seen.is_null(), "{at}: {seen}");
        }
    }
}

#[tokio::test]
async fn the_compatible_api_answers_at_a_hub_from_redis() {
    let cluster = Cluster::start(CALM, Keeps::Nothing).await;
    let (_engine, hub) = (cluster.run("engine"), cluster.run("hub"));
    cluster.all_live(&hub).await;
    swept(&cluster, &hub).await;
    let symbols = symbols(&cluster, &hub).await;
    let keys: Vec<String> = cluster.redis_says(&["KEYS", "hama:analysis:*"]).await;
    assert_eq!(keys.len(), 20, "they count the contracts");
    for key in &keys {
        let ttl: i64 = cluster.redis_says(&["TTL", key]).await;
        assert!((1..=300).contains(&ttl), "{key}: {ttl}");
    }
    served_as_stored(&cluster, &hub, &symbols[0]).await;

    let cache = json!({"available": true, "cached_symbols": 20, "cache_ttl_seconds": 300});
    let mut wanted = example("scheduler-status");
    wanted["data"]["symbols_count"] = json!(20);
    wanted["data"]["cache_stats"] = cache.clone();
    for (name, value) in [
        ("last_duration_seconds", json!("<number>")),
        ("succeeded", json!(20)),
        ("failed", json!(0)),
        ("last", json!("<time>")),
        ("next", json!("<time>")),
    ] {
        wanted["data"]["sweep"][name] = value;
    }
    is_like(
        &wanted,
        &call(&cluster, &hub, "scheduler/status").await,
        "status",
    );
    let stats = call(&cluster, &hub, "cache-stats").await;
    has_the_fields_of(&example("cache-stats"), &stats, "stats");
    let stats = &stats["data"];
    assert_eq!(
        (&stats["cache_type"], &stats["available"]),
        (&json!("redis"), &json!(true))
    );
    assert_eq!(
        (&stats["symbols"], &stats["misses"]),
        (&json!(symbols), &json!(0))
    );
    assert!(
        stats["hits"].as_u64() >= Some(1) && stats["hit_rate"] == 1.0,
        "{stats}"
    );
    let gainers = call(&cluster, &hub, "top-gainers?limit=2").await;
    has_the_fields_of(&example("top-gainers"), &gainers, "gainers");
    assert_eq!(gainers["data"]["symbols"].as_array().unwrap().len(), 2);

    let body = json!({"symbols": [symbols[0], symbols[1], "FOOUSDT"]});
    let (status, batch) = ask(&cluster, &hub, "analyze-batch", body).await;
    let summary = json!({"total": 3, "success": 2, "failed": 1, "cached": 2});
    assert_eq!((status, &batch["data"]["summary"]), (200, &summary));
    let (_, started) = ask(&cluster, &hub, "scheduler/start", json!({})).await;
    let mut wanted = example("scheduler-start");
    wanted["data"]["symbols_count"] = json!(20);
    wanted["data"]["cache_stats"] = cache;
    is_like(&wanted, &started, "start");
    refusals_come_in_the_envelope(&cluster, &hub).await;
}

/// What is served is what is stored, but for where it was found.
async fn served_as_stored(cluster: &Cluster, hub: &Node, symbol: &str) {
    let key = format!("hama:analysis:{symbol}");
    loop {
        let before: String = cluster.redis_says(&["GET", &key]).await;
        let (status, mut served) =
            ask(cluster, hub, "analyze-symbol", json!({"symbol": symbol})).await;
        let after: String = cluster.redis_says(&["GET", &key]).await;
        if before != after {
            continue; // written anew meanwhile
        }
        assert_eq!(status, 200, "{served}");
        let data = served["data"].as_object_mut().unwrap();
        assert_eq!(data.remove("cache_source"), Some(json!("redis")));
        assert_eq!(
            data.insert("cached".to_owned(), json!(false)),
            Some(json!(true))
        );
        let stored: Value = serde_json::from_str(&before).unwrap();
        assert_eq!(stored["cached"], false);
        assert_eq!(served["data"], stored);
        return has_the_fields_of(&example("analyze-symbol"), &served, "answer");
    }
}

async fn refusals_come_in_the_envelope(cluster: &Cluster, hub: &Node) {
    let many: Vec<_> = (0..201).map(|i| format!("A{i}USDT")).collect();
    for (path, body, wanted) in [
        ("analyze-symbol", json!({}), 400),
        ("analyze-symbol", json!({"symbol": 5}), 400),
        ("analyze-symbol", json!({"symbol": "FOOUSDT"}), 404),
        ("analyze-batch", json!({"symbols": many}), 400),
        ("scheduler/start", json!({"symbols": ["FOOUSDT"]}), 400),
        ("scheduler/start", json!({"interval_minutes": 0}), 400),
        ("no-such-call", json!({}), 404),
    ] {
        let (status, answer) = ask(cluster, hub, path, body).await;
        assert_eq!(status, wanted, "{path}: {answer}");
        is_like(&example("error"), &answer, path);
    }
    for path in ["top-gainers?limit=0", "no-such-call"] {
        let (status, answer) = cluster.get(&hub.address, &format!("{ROOT}/{path}")).await;
        assert!((400..405).contains(&status), "{path}: {status}");
        is_like(&example("error"), &answer, path);
    }
}

/// Reads of candles the exchange has answered so far.
async fn reads(cluster: &Cluster) -> u64 {
    let (_, stats) = cluster.get(&cluster.exchange.address, "/sim/stats").await;
    let paths = stats["totals"]["requests_by_path"].as_object().unwrap();
    let candles = paths
        .iter()
        .filter(|(path, _)| path.to_ascii_lowercase().contains("klines"));
    candles.map(|(_, count)| count.as_u64().unwrap()).sum()
}

#[tokio::test]
async fn many_callers_of_a_key_that_is_gone_cost_one_read_at_the_exchange() {
    let cluster = Cluster::start(CALM, Keeps::Nothing).await;
    let (_engine, hub) = (cluster.run("engine"), cluster.run("hub"));
    cluster.all_live(&hub).await;
    swept(&cluster, &hub).await;
    let symbols = symbols(&cluster, &hub).await;
    let before = reads(&cluster).await;
    let body = json!({"symbol": symbols[0], "force_refresh": true});
    let (status, forced) = ask(&cluster, &hub, "analyze-symbol", body).await;
    assert_eq!(
        (status, &forced["data"]["cached"]),
        (200, &json!(false)),
        "{forced}"
    );
    assert_eq!(
        reads(&cluster).await,
        before + 1,
        "force_refresh reads anew"
    );

    // The engine may write a key again before anybody asks: then another contract. None was asked for before.
    for symbol in &symbols[1..] {
        let before = reads(&cluster).await;
        let gone: usize = cluster
            .redis_says(&["DEL", &format!("hama:analysis:{symbol}")])
            .await;
        assert_eq!(gone, 1);
        let callers =
            (0..20).map(|_| ask(&cluster, &hub, "analyze-symbol", json!({"symbol": symbol})));
        let answers = futures::future::join_all(callers).await;
        let cost = reads(&cluster).await - before;
        assert!(cost <= 1, "{symbol}: {cost} reads");
        for (status, answer) in &answers {
            assert_eq!(
                (*status, &answer["data"]["symbol"]),
                (200, &json!(symbol)),
                "{answer}"
            );
        }
        if cost == 1 {
            let computed = answers
                .iter()
                .filter(|(_, answer)| answer["data"]["cached"] == false);
            assert_eq!(computed.count(), 1, "one computes, the others share it");
            return;
        }
    }
    panic!("every key was there again before anybody asked");
}

#[tokio::test]
async fn after_one_sweep_a_thousand_calls_are_all_answered_from_redis() {
    let market = Market {
        symbols: 125,
        ..CALM
    };
    let cluster = Cluster::start(market, Keeps::Nothing).await;
    let (_engine, hub) = (cluster.run("engine"), cluster.run("hub"));
    cluster.all_live(&hub).await;
    swept(&cluster, &hub).await;
    let symbols = symbols(&cluster, &hub).await;
    let mut dice = fastrand::Rng::with_seed(5);
    let asked: Vec<_> = (0..1_000)
        .map(|_| symbols[dice.usize(0..125)].clone())
        .collect();
    let began = Instant::now();
    let answers: Vec<_> = futures::stream::iter(asked)
        .map(|symbol| ask(&cluster, &hub, "analyze-symbol", json!({"symbol": symbol})))
        .buffer_unordered(16)
        .collect()
        .await;
    println!("1,000 calls in {:?}", began.elapsed());
    for (status, answer) in answers {
        let data = &answer["data"];
        let found = (status, &data["cached"], &data["cache_source"]);
        assert_eq!(found, (200, &json!(true), &json!("redis")), "{answer}");
    }
}
