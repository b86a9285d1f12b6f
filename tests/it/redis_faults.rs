//! What a process shows after things that Redis and its neighbours do rarely: a role taken twice under one lease, terms
//! that begin again, a log that vanishes or is trimmed past a reader, a second deployment on the same server.

use std::collections::BTreeSet;
use std::time::Duration;

use hamacast::market::{Interval, SeriesStatus, Symbol};
use hamacast::signal::{Epoch, FeedState, SignalResult};
use hamacast::store::redis::{Fallback, PubSubLink, RedisSettings, keys};
use hamacast::store::{Item, Occasion, Published, SavedScheduler, Write};
use redis::AsyncCommands;

use super::support::fixtures;
use super::support::puppet::{Puppet, result, series};
use super::support::redis::{Line, RedisServer};

/// What the engine says of every series: its result after a candle, but for what `alter` makes of it.
fn results(candle: i64, alter: impl Fn(&mut SignalResult)) -> Vec<Write> {
    let told = series().into_iter().map(|key| {
        let mut result = result(&key, candle);
        alter(&mut result);
        Write::Result {
            result: Box::new(result),
            occasion: Occasion::Close,
        }
    });
    told.collect()
}

fn priced(price: f64) -> impl Fn(&mut SignalResult) {
    move |result| result.price = Some(price)
}

fn all(now: &Published, holds: impl Fn(&SignalResult) -> bool) -> bool {
    now.results.len() == series().len() && now.results.values().all(|result| holds(result))
}

fn is_priced(price: f64) -> impl Fn(&Published) -> bool {
    move |now| all(now, |result| result.price == Some(price))
}

fn is_live(now: &Published) -> bool {
    all(now, |result| result.status == SeriesStatus::Live)
}

fn epoch_of(puppet: &Puppet) -> Epoch {
    puppet.store.view().published().epoch.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn results_of_a_role_taken_anew_under_one_term_are_newer_than_those_before() {
    let server = RedisServer::start().await;
    let mut engine = Puppet::engine(server.settings(), Fallback::Wait);
    engine.speak().await;
    for _ in 0..5 {
        engine.next_candle().await;
    }
    let hub = Puppet::hub(server.settings());
    hub.reaches(15).await;
    engine.say(results(5, priced(1.0))).await;
    hub.shows("what the first role said", is_priced(1.0)).await;
    // Somebody saw as much of the log as there is: the engine reads it again, under the lease it has.
    let epoch = epoch_of(&hub);
    let order = format!(r#"{{"lost_tail":{{"epoch":"{epoch}","seq":15}}}}"#);
    let mut client = server.client().await;
    let given = [("from", ""), ("id", "0"), ("json", &order)];
    let _: String = client
        .xadd("hama:{log}:commands", "*", &given)
        .await
        .unwrap();
    assert_eq!(engine.speak().await, 0, "nothing was missed");
    engine.say(results(5, priced(2.0))).await;
    hub.shows("what the second role said", is_priced(2.0)).await;
    assert_eq!(epoch_of(&hub), epoch);
    engine.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_everything_was_lost_a_hub_believes_an_engine_whose_term_is_lower() {
    let server = RedisServer::start().await;
    let mut client = server.client().await;
    let () = client.set("hama:{log}:term", 4).await.unwrap();
    let mut engine = Puppet::engine(server.settings(), Fallback::Wait);
    engine.speak().await;
    let hub = Puppet::hub(server.settings());
    let has_heard_a_beat = |now: &Published| is_live(now) && now.status.feed == FeedState::Live;
    hub.shows("everything", has_heard_a_beat).await;
    engine.stop().await;
    let () = redis::cmd("FLUSHALL")
        .query_async(&mut client)
        .await
        .unwrap();
    let mut next = Puppet::engine(server.settings(), Fallback::Wait);
    next.speak().await;
    next.say(results(7, priced(2.0))).await;
    let is_believed = |now: &Published| is_live(now) && is_priced(2.0)(now);
    hub.shows("what the next engine says, live", is_believed)
        .await;
    // For more than the two seconds that a new engine has to say its series.
    let mut beats = PubSubLink::open(&server.settings(), &[], &[keys::BEAT])
        .await
        .unwrap();
    for _ in 0..5 {
        beats.next().await.unwrap();
    }
    hub.shows("the same", is_believed).await;
    next.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_vanishes_under_its_lease_is_begun_anew_without_waiting_for_a_change() {
    let server = RedisServer::start().await;
    let mut client = server.client().await;
    let mut engine = Puppet::engine(server.settings(), Fallback::Memory);
    engine.speak().await;
    engine.next_candle().await;
    engine.reaches(3).await;
    // The engine's own process sees it, where there is no hub.
    let before = epoch_of(&engine);
    let () = client.del("hama:{log}:changes").await.unwrap();
    engine.speak().await;
    engine
        .shows("a new numbering", |now| {
            now.epoch != before && !now.epoch.as_str().contains('.') && is_live(now)
        })
        .await;
    let hub = Puppet::hub(server.settings());
    hub.shows("everything", is_live).await;
    engine.next_candle().await;
    hub.reaches(3).await;
    let before = epoch_of(&hub);
    let () = client.del("hama:{log}:changes").await.unwrap();
    engine.speak().await;
    hub.shows("a new numbering", |now| now.epoch != before && is_live(now))
        .await;
    engine.next_candle().await;
    hub.reaches(3).await;
    engine.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_watched_does_not_come_anew_when_redis_was_emptied() {
    let server = RedisServer::start().await;
    let mut engine = Puppet::engine(server.settings(), Fallback::Wait);
    engine.speak().await;
    let mut hub = Puppet::hub(server.settings());
    hub.shows("everything", is_live).await;
    let mut watched = hub.store.watched();
    let is_told = watched.wait_for(|watched| watched.series.len() == series().len());
    drop(is_told.await.unwrap());
    // What the hub tells of its first list is told before what it hears after that.
    engine.next_candle().await;
    hub.reaches(series().len() as u64).await;
    while hub.batches.try_recv().is_ok() {}
    let before = epoch_of(&hub);
    let mut client = server.client().await;
    let () = redis::cmd("FLUSHALL")
        .query_async(&mut client)
        .await
        .unwrap();
    engine.speak().await;
    // The list comes to the hub after the numbering: what it reads together with that is no change of it.
    hub.shows("a new numbering", |now| now.epoch != before && is_live(now))
        .await;
    let one_more = fixtures::key("XRPUSDT", Interval::M15);
    engine.watch(series().into_iter().chain([one_more.clone()]));
    let mut came = BTreeSet::<Symbol>::new();
    let told = async {
        while !came.contains(&one_more.symbol) {
            for item in &hub.batches.recv().await.unwrap().items {
                if let Item::Symbols { added, removed } = item {
                    came.extend(added.iter().cloned());
                    assert_eq!(removed, &[], "nobody left");
                }
            }
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(30), told).await;
    told.expect("the new list within 30 s");
    assert_eq!(Vec::from_iter(came), [one_more.symbol]);
    engine.stop().await;
    hub.stop().await;
}

/// Away while more changes come than the log keeps, a hub that holds `candles` candles reads it anew.
async fn comes_back_to_a_trimmed_log(candles: u64) {
    let server = RedisServer::start().await;
    let mut engine = Puppet::engine(server.settings(), Fallback::Wait);
    engine.speak().await;
    for _ in 0..candles {
        engine.next_candle().await;
    }
    let mut line = Line::to(&server).await;
    let mut hub = Puppet::hub(line.settings());
    hub.shows("everything", |now| {
        is_live(now) && now.seq.get() == 3 * candles
    })
    .await;
    let epoch = epoch_of(&hub);
    line.cut().await;
    for _ in 0..5 {
        engine.next_candle().await;
    }
    let head = 3 * (candles + 5);
    engine.reaches(head).await;
    let mut client = server.client().await;
    let mut trim = redis::cmd("XTRIM");
    trim.arg("hama:{log}:changes").arg("MAXLEN").arg(3);
    let () = trim.query_async(&mut client).await.unwrap();
    while hub.batches.try_recv().is_ok() {}
    line.mend().await;
    let mut at = 0;
    while at < head {
        let batch = tokio::time::timeout(Duration::from_secs(30), hub.batches.recv()).await;
        let batch = batch.expect("the log's end within 30 s").unwrap();
        assert_eq!(batch.epoch, epoch, "the numbering is the same");
        let changes = batch.items.iter();
        let changes = changes.filter(|item| matches!(item, Item::Change(_)));
        assert_eq!(changes.count(), 0, "as if nothing were missing before them");
        at = batch.head.get();
    }
    let kept_from = hub.store.view().published().kept_from;
    assert_eq!(kept_from.get(), head - 2);
    engine.stop().await;
    hub.stop().await;
    line.cut().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_was_away_for_more_than_the_log_keeps_reads_it_anew() {
    comes_back_to_a_trimmed_log(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_had_no_change_yet_sees_too_that_the_first_ones_are_trimmed() {
    comes_back_to_a_trimmed_log(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_deployment_in_another_database_of_the_server_is_not_heard() {
    let server = RedisServer::start().await;
    let other = RedisSettings::of_host("127.0.0.1", server.port(), 1, None).unwrap();
    let mut engine = Puppet::engine(server.settings(), Fallback::Wait);
    engine.speak().await;
    let mut hub = Puppet::hub(server.settings());
    hub.shows("everything", is_live).await;
    let epoch = epoch_of(&hub);
    // Its terms are higher, so that what it says would be the newer.
    let mut client = server.client().await;
    let mut pipeline = redis::pipe();
    pipeline.cmd("SELECT").arg(1).ignore();
    pipeline.set("hama:{log}:term", 9).ignore();
    let () = pipeline.query_async(&mut client).await.unwrap();
    let mut foreign = Puppet::engine(other.clone(), Fallback::Wait);
    foreign.speak().await;
    let foreign_hub = Puppet::hub(other);
    foreign_hub.shows("everything", is_live).await;
    foreign.say(results(0, priced(9.0))).await;
    foreign_hub.shows("its own", is_priced(9.0)).await;
    engine.say(results(0, priced(1.0))).await;
    hub.shows("its own", is_priced(1.0)).await;
    engine.next_candle().await;
    hub.reaches(3).await;
    assert_eq!(epoch_of(&hub), epoch);
    while let Ok(batch) = hub.batches.try_recv() {
        for item in &batch.items {
            if let Item::Result { result, .. } = item {
                assert_ne!(result.price, Some(9.0), "the other's");
            }
        }
    }
    for puppet in [engine, hub, foreign, foreign_hub] {
        puppet.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_word_of_the_operator_does_not_undo_a_newer_one_that_was_on_its_way() {
    let server = RedisServer::start().await;
    let mut client = server.client().await;
    let saved = [
        ("running", "true"),
        ("symbols", ""),
        ("interval_minutes", "5"),
    ];
    let () = client
        .hset_multiple("hama:{log}:scheduler", &saved)
        .await
        .unwrap();
    let mut engine = Puppet::engine(server.settings(), Fallback::Wait);
    let wanted = |running| SavedScheduler {
        running,
        symbols: None,
        interval_minutes: 5,
    };
    assert_eq!(engine.leave().await.1, Some(wanted(true)));
    // Said before the engine has heard of that leave: there is no mark of it before.
    engine.say(vec![Write::Scheduler(wanted(false))]).await;
    assert_eq!(engine.leave().await.1, Some(wanted(false)));
    engine.say(results(0, priced(1.0))).await; // by no leave that still holds
    let hub = Puppet::hub(server.settings());
    let field = ("hama:{log}:scheduler", "running");
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    for looks in 0.. {
        tick.tick().await;
        let running: String = client.hget(field.0, field.1).await.unwrap();
        if running == "false" {
            break;
        }
        assert!(looks < 1_000, "the stop is not kept");
    }
    assert_eq!(hub.store.view().published().results.len(), 0);
    engine.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn series_of_a_stopped_engine_are_stopped_at_a_hub_that_comes_later() {
    let server = RedisServer::start().await;
    let mut engine = Puppet::engine(server.settings(), Fallback::Wait);
    engine.speak().await;
    engine.shows("everything", is_live).await;
    let stopped = |result: &mut SignalResult| result.status = SeriesStatus::Stopped;
    let mut told = results(0, stopped);
    told.push(Write::Status(fixtures::status(FeedState::Stopped)));
    engine.say(told).await;
    let is_stopped = |now: &Published| all(now, |result| result.status == SeriesStatus::Stopped);
    engine.shows("stopped", is_stopped).await;
    let keys: Vec<_> = series()
        .iter()
        .map(|key| format!("hama:result:{key}"))
        .collect();
    let mut client = server.client().await;
    let () = client.del(keys).await.unwrap(); // as when they expire
    let hub = Puppet::hub(server.settings());
    hub.shows("stopped", is_stopped).await;
    engine.stop().await;
    hub.stop().await;
}
