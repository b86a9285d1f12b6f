//! Two engines, one log: however the active one ends, the other goes on where it stopped, and what an operator stopped
//! stays stopped. `HAMACAST_HANDOVER_ROUNDS` says how often (`make redis-soak`).

use std::time::{Duration, Instant};

use hamacast::store::redis::{PubSubLink, keys};
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, FAST, Feed, Market};
use crate::support::redis::Keeps;

const SCHEDULER: &str = "/api/gainer-analysis/scheduler";

/// The beats of the active engine, for the test.
struct Beats(PubSubLink);

impl Beats {
    async fn of(cluster: &Cluster) -> Self {
        let link = PubSubLink::open(&cluster.redis.settings(), &[], &[keys::BEAT]).await;
        Self(link.unwrap())
    }

    /// The next beat that is as wanted.
    async fn until(&mut self, holds: impl Fn(&Value) -> bool) -> Value {
        let waited = async {
            loop {
                let message = self.0.next().await.unwrap();
                let beat = serde_json::from_slice(&message.payload).unwrap();
                if holds(&beat) {
                    return beat;
                }
            }
        };
        let beat = tokio::time::timeout(Duration::from_secs(60), waited).await;
        beat.expect("a beat as wanted within a minute")
    }

    /// Waits for so many seconds by the engine's clock, which runs as the exchange's; the exchange's time then.
    async fn pass(&mut self, seconds: i64) -> i64 {
        let now = self.until(|_| true).await["time"].as_i64().unwrap();
        let then = now + seconds * 1_000 * i64::from(FAST.speed);
        self.until(|beat| beat["time"].as_i64() > Some(then)).await;
        then
    }

    /// The first beat of an engine that took over after `term`.
    async fn after_term(&mut self, term: u64) -> u64 {
        let beat = self
            .until(|beat| beat["term"].as_u64() > Some(term) && beat["leaving"] != true)
            .await;
        beat["term"].as_u64().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_over_loses_nothing_and_invents_nothing() {
    let rounds = std::env::var("HAMACAST_HANDOVER_ROUNDS")
        .map_or(3, |text| text.parse().expect("a whole number"));
    let cluster = Cluster::start(FAST, Keeps::Nothing).await;
    let mut beats = Beats::of(&cluster).await;
    let mut active = cluster.run("engine");
    let mut term = beats.after_term(0).await;
    let hub = cluster.run("hub");
    cluster.all_live(&hub).await;
    let bases = cluster.bases(&hub).await;
    let mut feed = Feed::open(&hub).await;
    for round in 1..=rounds {
        for killed in [false, true] {
            let standby = cluster.run("engine");
            // It follows the exchange before it is needed; its history is read while changes come.
            standby.until_logged("stream connection up").await;
            feed.until_more(3).await;
            let (told, promised_s) = (Instant::now(), if killed { 6 } else { 1 });
            if killed {
                active.kill();
                term = beats.after_term(term).await;
            } else {
                active.ask_to_end();
                term = beats.after_term(term).await;
                assert_eq!(active.ended(), Some(0));
            }
            let took = told.elapsed();
            let how = if killed { "killed" } else { "asked to end" };
            println!(
                "round {round}: {how}: the other writes after {took:?} (promised: {promised_s} s)"
            );
            assert!(took < Duration::from_secs(5 * promised_s), "{took:?}");
            active = standby;
            feed.until_more(3).await;
        }
    }
    let compared = cluster.assert_log_is_truth(&hub, &bases).await;
    assert_eq!(feed.resets, [""; 0]);
    println!("{compared} changes since the start are those of the exchange's candles");
    assert!(compared > 5 * rounds, "too few to mean anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_at_the_hub_outlives_the_engine_it_stopped_and_a_start_tells_what_was_missed() {
    let cluster = Cluster::start(FAST, Keeps::Nothing).await;
    let mut beats = Beats::of(&cluster).await;
    let active = cluster.run("engine");
    let term = beats.after_term(0).await;
    let hub = cluster.run("hub");
    cluster.all_live(&hub).await;
    let bases = cluster.bases(&hub).await;
    let operate = async |call: &str| {
        let path = format!("{SCHEDULER}/{call}");
        let (status, answer) = cluster.post(&hub.address, &path, &json!({})).await;
        assert_eq!(status, 200, "{answer}");
    };
    operate("stop").await;
    let path = format!("{SCHEDULER}/status");
    let stopped = |_: u16, answer: &Value| answer["data"]["running"] == false;
    cluster.until(&hub, &path, stopped).await;
    let is_told = |status: u16, ready: &Value| {
        status == 503
            && ready["reasons"]
                .as_array()
                .unwrap()
                .contains(&json!("stopped"))
    };
    for node in [&hub, &active] {
        cluster.until(node, "/readyz", is_told).await;
    }
    let log = cluster.log_in_redis().await;

    let standby = cluster.run("engine");
    cluster.until(&standby, "/readyz", is_told).await;
    // Orders of the last ten seconds are read again by whoever takes over; it is to know of the stop without them.
    beats.pass(11).await;
    active.kill();
    beats.after_term(term).await;
    let passed = beats.pass(8).await;
    assert_eq!(cluster.log_in_redis().await, log, "the stop holds");
    cluster.until(&hub, &path, stopped).await;

    operate("start").await;
    cluster
        .until(&hub, "/readyz", |status, _| status == 200)
        .await;
    let compared = cluster.assert_log_is_truth(&hub, &bases).await;
    let missed = cluster.log_at(&hub).await.split_off(log.len());
    let is_late = |change: &&Value| change["candle_close_time"].as_i64() <= Some(passed);
    let missed: Vec<_> = missed.iter().filter(is_late).collect();
    assert!(missed.len() > 5, "too few to mean anything: {missed:?}");
    for change in &missed {
        assert_eq!(change["source"], "catch_up", "{change}");
        assert!(change["late_ms"].as_i64() > Some(0), "{change}");
    }
    println!("{} changes caught up on, {compared} compared", missed.len());
    cluster.all_live(&hub).await;
}

/// Whoever runs the program starts it again and again: that must not prolong the ban (hazard 30).
#[tokio::test]
async fn h30_a_ban_outlives_restarts_where_there_is_a_redis() {
    let market = Market {
        symbols: 3,
        speed: 1,
        update_ms: 500,
    };
    let cluster = Cluster::start(market, Keeps::Nothing).await;
    let exchange = &cluster.exchange.address;
    let engine = cluster.run("engine");
    engine.until_logged("feed=Live").await;
    let ban = json!({"kind": "rest.status", "status": 418, "retry_after_secs": 900, "count": 1});
    let (status, answer) = cluster.post(exchange, "/sim/fault", &ban).await;
    assert_eq!(status, 200, "{answer}");
    let key = format!("hama:quiet:{exchange}");
    let began = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    // Ten minutes of it are kept.
    while cluster.redis_says::<i64>(&["PTTL", &key]).await < 590_000 {
        assert!(began.elapsed() < Duration::from_secs(90), "never kept");
        tick.tick().await;
    }
    let banned = async || {
        let (_, stats) = cluster.get(exchange, "/sim/stats").await;
        stats["totals"]["requests_while_banned"].as_u64().unwrap()
    };
    let before = banned().await;
    engine.kill();
    for _ in 0..3 {
        let engine = cluster.run("engine");
        engine.until_logged("and still does").await;
        engine
            .until_logged("the exchange's listing cannot be had")
            .await; // and was not asked for
        engine.kill();
    }
    assert_eq!(banned().await, before);
}
