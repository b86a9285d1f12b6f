//! `serve` while Redis is away, silent, back with everything or back with nothing; and a log that loses its end or all of
//! it under running hubs. Readers stay connected and are told.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::cluster::{Cluster, FAST, Feed, Node, assert_once};
use crate::support::redis::Keeps;

/// What happens to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Stopped,
    Silent,
}

async fn is_away(cluster: &Cluster, serve: &Node) {
    let degraded = |status, ready: &Value| status == 200 && ready["store"] == "degraded";
    cluster.until(serve, "/readyz", degraded).await;
    let (status, page) = cluster.get(&serve.address, "/").await;
    assert!(
        status == 200 && page.as_str().unwrap().contains("<html"),
        "{page}"
    );
    let (status, signals) = cluster.get(&serve.address, "/api/v1/signals").await;
    assert_eq!(status, 200);
    assert_eq!(
        signals["signals"].as_array().unwrap().len(),
        cluster.market.symbols
    );
}

/// Waits until every result is in Redis again; how long after `came`.
async fn is_back(cluster: &Cluster, serve: &Node, came: Instant) {
    let in_redis = |status, ready: &Value| status == 200 && ready["store"] == "redis";
    cluster.until(serve, "/readyz", in_redis).await;
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    loop {
        tick.tick().await;
        let keys: Vec<String> = cluster.redis_says(&["KEYS", "hama:analysis:*"]).await;
        if keys.len() == cluster.market.symbols {
            break;
        }
        assert!(
            came.elapsed() < Duration::from_secs(25),
            "{} keys",
            keys.len()
        );
    }
    let took = came.elapsed();
    println!(
        "{} keys {took:?} after redis came back (promised: 5 s)",
        cluster.market.symbols
    );
    assert!(took < Duration::from_secs(25));
}

async fn serve_goes_on(keeps: Keeps, fault: Fault) {
    let mut cluster = Cluster::start(FAST, keeps).await;
    let serve = cluster.run("serve");
    cluster.all_live(&serve).await;
    let ready = |status, ready: &Value| status == 200 && ready["store"] == "redis";
    cluster.until(&serve, "/readyz", ready).await;
    let bases = cluster.bases(&serve).await;
    let mut feed = Feed::open(&serve).await;
    feed.until_more(3).await;
    let began = Instant::now();
    match fault {
        Fault::Stopped => cluster.redis.stop(),
        Fault::Silent => cluster.redis.pause(),
    }
    let took = feed.until_reset("store_away").await;
    println!("{fault:?}, {keeps:?}: store_away after {took:?}");
    assert_eq!(feed.snapshots, cluster.market.symbols);
    assert!(
        feed.epoch.contains('.'),
        "a numbering of its own: {}",
        feed.epoch
    );
    let alone = feed.record.len();
    feed.until("degraded", |feed| feed.status["store"] == "degraded")
        .await;
    is_away(&cluster, &serve).await;
    let silence = Duration::from_secs(8);
    feed.until("changes alone", |feed| {
        feed.record.len() >= alone + 5 && (fault == Fault::Stopped || began.elapsed() >= silence)
    })
    .await;
    match fault {
        Fault::Stopped => cluster.redis.restart().await,
        Fault::Silent => cluster.redis.resume(),
    }
    let came = Instant::now();
    feed.until_reset("store_back").await;
    println!("store_back {:?} after redis came back", came.elapsed());
    assert_eq!(feed.snapshots, cluster.market.symbols);
    is_back(&cluster, &serve, came).await;
    feed.until_more(3).await;
    feed.until("redis", |feed| feed.status["store"] == "redis")
        .await;

    let told: BTreeSet<_> = feed.record.iter().map(|c| c["id"].as_str()).collect();
    assert_eq!(
        told.len(),
        feed.record.len(),
        "the reader was told one twice"
    );
    let log = cluster.log_in_redis().await;
    assert_once(&log);
    let logged: BTreeSet<_> = log.iter().map(|change| change["id"].as_str()).collect();
    let since = feed.record[alone..].iter().map(|c| c["id"].as_str());
    let missing: Vec<_> = since.filter(|id| !logged.contains(id)).collect();
    assert_eq!(
        missing, [None; 0],
        "told while redis was away, and not in the log"
    );
    if keeps == Keeps::Everything || fault == Fault::Silent {
        let compared = cluster.assert_log_is_truth(&serve, &bases).await;
        println!("{compared} changes are those of the exchange's candles");
    }
}

#[tokio::test]
async fn serve_goes_on_from_memory_and_comes_back_to_a_redis_that_kept_everything() {
    serve_goes_on(Keeps::Everything, Fault::Stopped).await;
}

#[tokio::test]
async fn serve_goes_on_from_memory_and_comes_back_to_an_empty_redis() {
    serve_goes_on(Keeps::Nothing, Fault::Stopped).await;
}

#[tokio::test]
async fn serve_goes_on_from_memory_while_redis_is_silent() {
    serve_goes_on(Keeps::Nothing, Fault::Silent).await;
}

#[tokio::test]
async fn serve_starts_without_redis_and_brings_it_up_to_date_when_it_comes() {
    let mut cluster = Cluster::start(FAST, Keeps::Nothing).await;
    cluster.redis.stop();
    let serve = cluster.run("serve");
    cluster.all_live(&serve).await;
    is_away(&cluster, &serve).await;
    let mut feed = Feed::open(&serve).await;
    feed.until_more(3).await;
    cluster.redis.restart().await;
    let came = Instant::now();
    feed.until_reset("store_back").await;
    is_back(&cluster, &serve, came).await;
    feed.until_more(3).await;
    let told: BTreeSet<_> = feed.record.iter().map(|c| c["id"].as_str()).collect();
    assert_eq!(
        told.len(),
        feed.record.len(),
        "the reader was told one twice"
    );
}

/// An engine and a hub, live, and a reader that has been told something.
async fn engine_and_hub() -> (Cluster, [Node; 2], Feed) {
    let cluster = Cluster::start(FAST, Keeps::Nothing).await;
    let nodes = [cluster.run("engine"), cluster.run("hub")];
    cluster.all_live(&nodes[1]).await;
    let mut feed = Feed::open(&nodes[1]).await;
    feed.until_more(5).await;
    (cluster, nodes, feed)
}

/// After `log_lost`: a whole snapshot, and changes go on, in the log and at the reader.
async fn goes_on(cluster: &Cluster, hub: &Node, mut feed: Feed) {
    let took = feed.until_reset("log_lost").await;
    println!("log_lost told after {took:?}");
    assert_eq!(feed.snapshots, cluster.market.symbols);
    let before = feed.record.len();
    let from = usize::try_from(feed.seq).unwrap();
    feed.until_more(5).await;
    let log = cluster.log_in_redis().await;
    assert_once(&log);
    assert_eq!(log[from..from + 5], feed.record[before..before + 5]);
    cluster
        .until(hub, "/readyz", |status, _| status == 200)
        .await;
    assert_eq!(feed.resets, ["log_lost"]);
    let told: BTreeSet<_> = feed.record.iter().map(|c| c["id"].as_str()).collect();
    assert_eq!(
        told.len(),
        feed.record.len(),
        "the reader was told one twice"
    );
}

#[tokio::test]
async fn an_emptied_redis_is_told_as_log_lost_and_everything_goes_on() {
    let (cluster, [_engine, hub], feed) = engine_and_hub().await;
    cluster.redis_says::<()>(&["FLUSHALL"]).await;
    goes_on(&cluster, &hub, feed).await;
}

#[tokio::test]
async fn a_log_whose_tail_was_lost_is_told_as_log_lost_and_everything_goes_on() {
    let (cluster, [engine, hub], feed) = engine_and_hub().await;
    // As a failover to a replica that lags: the last entries are gone, and the numbers would be given again.
    let script = r"
        local key = 'hama:{log}:changes'
        local all = redis.call('XRANGE', key, '-', '+')
        redis.call('DEL', key)
        for i = 1, #all - 3 do redis.call('XADD', key, all[i][1], unpack(all[i][2])) end
        return #all";
    let entries: usize = cluster.redis_says(&["EVAL", script, "0"]).await;
    println!("3 of {entries} entries lost");
    goes_on(&cluster, &hub, feed).await;
    drop(engine);
}
