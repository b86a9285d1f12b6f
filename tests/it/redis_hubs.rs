//! Hubs as processes of their own: a cursor of one is a cursor of all, and a hub that loses Redis keeps its readers and
//! says so. `HAMACAST_REDIS_SECONDS` says for how long readers jump at least (`make redis-soak`).

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::cluster::{Cluster, FAST, Feed, Node, assert_once};
use crate::support::redis::Keeps;

/// Seconds a test goes on at least, beyond what it must see.
fn seconds() -> u64 {
    std::env::var("HAMACAST_REDIS_SECONDS").map_or(0, |text| text.parse().expect("a whole number"))
}

/// Reads for so long, and is cut off in the middle of whatever comes.
async fn read_for(feed: &mut Feed, time: Duration) {
    let reading = async {
        loop {
            feed.step().await;
        }
    };
    // It never ends by itself: the time running out is the cut.
    let _ = tokio::time::timeout(time, reading).await;
}

#[tokio::test]
async fn a_reader_that_jumps_between_two_hubs_has_exactly_the_log() {
    let cluster = Cluster::start(FAST, Keeps::Nothing).await;
    let _engine = cluster.run("engine");
    let hubs = [cluster.run("hub"), cluster.run("hub")];
    for hub in &hubs {
        cluster.all_live(hub).await;
    }
    let mut feed = Feed::open(&hubs[0]).await;
    let from = feed.seq;
    let mut dice = fastrand::Rng::with_seed(11);
    let (began, mut jumps, mut absences) = (Instant::now(), 0, 0);
    let least = Duration::from_secs(seconds());
    while feed.record.len() < 100 || jumps < 30 || began.elapsed() < least {
        let time = Duration::from_millis(dice.u64(1..1_500));
        read_for(&mut feed, time).await;
        let next = dice.usize(0..2);
        if dice.bool() {
            // It stays away until it has missed something, as the other hub knows.
            let missed = |_: u16, page: &Value| page["seq"].as_u64() > Some(feed.seq);
            let path = "/api/v1/changes?interval=all&limit=1";
            cluster.until(&hubs[1 - next], path, missed).await;
            absences += 1;
        }
        feed.go_on_at(&hubs[next]).await;
        jumps += 1;
    }
    let log = cluster.log_at(&hubs[0]).await;
    let last = log.len() as u64;
    feed.until("the log's end", |feed| feed.seq >= last).await;
    feed.record
        .retain(|change| change["seq"].as_u64().unwrap() <= last);
    assert_once(&log);
    assert_eq!(feed.record, log[usize::try_from(from).unwrap()..]);
    assert_eq!(cluster.log_at(&hubs[1]).await[..log.len()], log);
    assert_eq!(cluster.log_in_redis().await[..log.len()], log);
    assert_eq!(feed.resets, [""; 0]);
    println!(
        "{} changes over {jumps} jumps, {absences} of them late, in {:.0} s: nothing missing, nothing doubled",
        feed.record.len(),
        began.elapsed().as_secs_f64()
    );
}

/// What the handshake of the feed is answered with.
async fn handshake(hub: &Node) -> u16 {
    let socket = TcpStream::connect(&hub.address).await.unwrap();
    match tokio_tungstenite::client_async("ws://localhost/stream", socket).await {
        Ok(_) => 101,
        Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => answer.status().as_u16(),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_hub_without_redis_waits_for_it_and_later_keeps_its_readers() {
    let mut cluster = Cluster::start(FAST, Keeps::Everything).await;
    cluster.redis.stop();
    let (engine, hub) = (cluster.run("engine"), cluster.run("hub"));
    for node in [&engine, &hub] {
        let (status, ready) = cluster.get(&node.address, "/readyz").await;
        let reasons = ready["reasons"].as_array().unwrap();
        assert_eq!(status, 503, "{ready}");
        assert!(reasons.contains(&json!("waiting for redis")), "{ready}");
        assert_eq!(cluster.get(&node.address, "/healthz").await.0, 200);
    }
    assert_eq!(handshake(&hub).await, 503, "it has never read the log");
    cluster.redis.restart().await;
    cluster.all_live(&hub).await;
    cluster
        .until(&hub, "/readyz", |status, _| status == 200)
        .await;
    let bases = cluster.bases(&hub).await;
    let mut feed = Feed::open(&hub).await;
    feed.until_more(3).await;

    cluster.redis.stop();
    let stopped = Instant::now();
    let told = feed.until("degraded", |feed| feed.status["store"] == "degraded");
    println!("hub: degraded told after {:?}", told.await);
    let away = |status, ready: &Value| {
        let reasons = ready["reasons"].as_array().unwrap();
        assert!(
            status == 200 || reasons.contains(&json!("redis away")),
            "for another reason: {ready}"
        );
        status == 503
    };
    let reading = async {
        loop {
            feed.step().await; // it stays connected
        }
    };
    tokio::select! {
        () = reading => {}
        _ = cluster.until(&hub, "/readyz", away) => {}
    }
    let took = stopped.elapsed();
    println!("hub: not ready {took:?} after redis went (promised: about 10 s)");
    assert!(took > Duration::from_secs(9) && took < Duration::from_secs(50));
    assert_eq!(handshake(&hub).await, 101, "what it knows it still serves");
    let seen = feed.record.len();
    cluster.redis.restart().await;
    let back = feed.until("changes again", |feed| {
        feed.record.len() > seen && feed.status["store"] == "redis"
    });
    println!(
        "hub: changes and store redis {:?} after redis came back",
        back.await
    );
    assert_eq!(feed.resets, [""; 0], "redis kept everything");
    let compared = cluster.assert_log_is_truth(&hub, &bases).await;
    println!("{compared} changes are those of the exchange's candles");
}
