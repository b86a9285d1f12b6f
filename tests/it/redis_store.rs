//! The store in Redis: what an engine says comes to every process by the log, once and in order, whoever dies.

use std::time::{Duration, Instant};

use hamacast::signal::Seq;
use hamacast::store::redis::{Fallback, RedisSettings};
use hamacast::store::{ChangeFilter, MemoryStore};

use super::support::puppet::{Puppet, series};
use super::support::redis::RedisServer;

/// `seq id` of every change a process knows.
fn log_of(view: &MemoryStore) -> Vec<String> {
    let page = view.changes(Seq::NONE, 10_000, &ChangeFilter::default());
    let changes = page.unwrap().changes;
    let lines = changes.iter().map(|c| format!("{} {}", c.seq, c.body.id()));
    lines.collect()
}

/// What the log must say after `candles` candles.
fn expected(candles: i64) -> Vec<String> {
    let mut lines = Vec::new();
    for candle in 1..=candles {
        let close = 1_767_000_600_000 + (candle + 1) * 900_000 - 1;
        for key in series() {
            let seq = lines.len() + 1;
            lines.push(format!("{seq} {key}:{close}:0"));
        }
    }
    lines
}

fn short_lived(server: &RedisServer) -> RedisSettings {
    let mut settings = server.settings();
    settings.cache_ttl_secs = 6;
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_engine_says_comes_to_every_process_by_the_log() {
    let server = RedisServer::start().await;
    let mut engine = Puppet::engine(short_lived(&server), Fallback::Wait);
    assert_eq!(
        engine.speak().await,
        0,
        "a first live series tells no change"
    );
    let hub = Puppet::hub(server.settings());
    for _ in 0..50 {
        engine.next_candle().await;
    }
    engine.reaches(150).await;
    hub.reaches(150).await;
    assert_eq!(log_of(hub.store.view()), expected(50));
    assert_eq!(log_of(engine.store.view()), expected(50));
    let late = Puppet::hub(server.settings());
    late.reaches(150).await;
    assert_eq!(log_of(late.store.view()), expected(50));
    let mut client = server.client().await;
    for key in series() {
        let name = format!("hama:result:{key}");
        let ttl: i64 = redis::cmd("TTL")
            .arg(&name)
            .query_async(&mut client)
            .await
            .unwrap();
        assert!((1..=6).contains(&ttl), "{name}: {ttl}");
    }
    engine.stop().await;
    hub.stop().await;
    late.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_goes_on_with_the_log_after_a_clean_stop() {
    let server = RedisServer::start().await;
    let mut engine = Puppet::engine(server.settings(), Fallback::Wait);
    engine.speak().await;
    for _ in 0..10 {
        engine.next_candle().await;
    }
    let mut standby = Puppet::engine(server.settings(), Fallback::Wait);
    standby.reaches(30).await;
    standby.candle = 13; // it has followed the market meanwhile
    let stopped = Instant::now();
    engine.stop().await;
    assert_eq!(standby.speak().await, 9, "three candles of three series");
    println!("handed over after {:?}", stopped.elapsed());
    standby.reaches(39).await;
    assert_eq!(log_of(standby.store.view()), expected(13));
    standby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_away_the_readers_of_serve_go_on_in_a_numbering_of_its_own() {
    let mut server = RedisServer::start().await;
    let mut engine = Puppet::engine(server.settings(), Fallback::Memory);
    engine.speak().await;
    for _ in 0..5 {
        engine.next_candle().await;
    }
    engine.reaches(15).await;
    let before = engine.store.view().published().epoch.clone();
    server.stop();
    let mut published = engine.store.view().follow();
    published.wait_for(|now| now.epoch != before).await.unwrap();
    let alone = engine.store.view().published();
    assert!(alone.epoch.as_str().starts_with(&format!("{before}.")));
    assert_eq!(alone.results.len(), 3, "every result is still there");
    assert_eq!(engine.speak().await, 0, "our readers have everything");
    engine.next_candle().await;
    engine.reaches(3).await;
    server.restart().await;
    let back = Instant::now();
    engine.speak().await;
    let epoch = alone.epoch.clone();
    let returned = published.wait_for(|now| now.epoch != epoch);
    let returned = tokio::time::timeout(Duration::from_secs(25), returned).await;
    assert!(returned.is_ok(), "back in redis' numbering");
    drop(returned); // it holds the published state still
    println!("back in redis after {:?}", back.elapsed());
    engine.next_candle().await;
    engine.reaches(3).await;
    engine.stop().await;
}

/// Also where nobody is left to take what was being opened.
#[tokio::test]
async fn a_hub_that_stops_while_it_opens_its_connections_leaves_no_task_behind() {
    let server = RedisServer::start().await;
    let mut engine = Puppet::engine(server.settings(), Fallback::Wait);
    engine.speak().await;
    for moment in 0..100 {
        let hub = Puppet::hub(server.settings());
        for _ in 0..moment * 20 {
            tokio::task::yield_now().await;
        }
        hub.stop().await;
    }
    engine.stop().await;
}
