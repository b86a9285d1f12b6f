//! 451 while it stands and when it ends: told once and in the status, asked again by one at a time, recovered from without a
//! restart.

use std::collections::BTreeSet;
use std::time::Duration;

use hamacast::clock::ExchangeClock;
use hamacast::engine::{self, EngineHandle, EngineSettings, WatchList};
use hamacast::exchange::binance::{Binance, BinanceSettings, Times};
use hamacast::exchange::{Exchange, FeedEvent, Side, feed_queue};
use hamacast::market::{Interval, SeriesKey, Symbol};
use hamacast::simulator::{Simulator, SimulatorSettings};
use hamacast::store::Store;
use hamacast::tasks::Tasks;
use tokio::sync::mpsc;

use super::front::{Asked, Front, Refuses};
use super::{PATIENCE, START, get, live, log, logged, state_where};
use crate::support::process::Server;

const AGAIN: Duration = Duration::from_millis(400);
/// With the news of contracts that is one name more than a connection carries: there are two.
const SYMBOLS: usize = 200;

async fn exchange(tasks: &Tasks) -> Simulator {
    let settings = SimulatorSettings {
        symbols: SYMBOLS,
        intervals: vec![Interval::M15],
        start: Some(START),
        ..SimulatorSettings::default()
    };
    let any = "127.0.0.1:0".parse().unwrap();
    Simulator::start(settings, any, tasks).await.unwrap()
}

fn binance(front: &Front, clock: &ExchangeClock) -> Binance {
    let settings = BinanceSettings {
        rest_url: format!("http://{}", front.address),
        ws_url: format!("ws://{}", front.address),
        proxy: None,
        times: Times {
            connect_gap: Duration::from_millis(5),
            reconnect: (Duration::from_millis(10), Duration::from_millis(40)),
            after_refusal: AGAIN,
            ..Times::default()
        },
    };
    Binance::new(&settings, clock.clone()).unwrap()
}

fn refused(asked: &[Asked]) -> Vec<&Asked> {
    asked.iter().filter(|asked| asked.refused).collect()
}

/// No two were sent closer to each other than may be.
fn assert_rare(refused: &[&Asked]) {
    for pair in refused.windows(2) {
        let apart = pair[1].at - pair[0].at;
        assert!(apart >= AGAIN.mul_f32(0.9), "{apart:?}: {pair:?}");
    }
}

async fn until_refused(engine: &EngineHandle, by: Option<Side>) {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let reached = async {
        while engine.info().refusal.map(|refusal| refusal.side) != by {
            tick.tick().await;
        }
    };
    let reached = tokio::time::timeout(PATIENCE, reached).await;
    assert!(reached.is_ok(), "still {:?}", engine.info().refusal);
}

/// Asks for the time again and again, beside the engine and behind the same door.
async fn ask_on(binance: Binance) {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    loop {
        tick.tick().await;
        let _it_is_refused = binance.server_time().await;
    }
}

#[tokio::test]
async fn h31_an_engine_that_is_refused_asks_rarely_and_goes_on_when_it_is_served() {
    let tasks = Tasks::new();
    let exchange = exchange(&tasks).await;
    let front = Front::before(exchange.local_addr(), Refuses::Everybody).await;
    let clock = ExchangeClock::from_wall();
    let (writes, mut written) = mpsc::channel(64);
    tasks.spawn(
        "reader",
        async move { while written.recv().await.is_some() {} },
    );
    let binance = binance(&front, &clock);
    let engine = engine::start(
        &EngineSettings::new(WatchList::Top(SYMBOLS), vec![Interval::M15]),
        Exchange::Binance(binance.clone()),
        clock,
        writes,
        None,
        Store::memory().interest().clone(),
        &tasks,
    );
    until_refused(&engine, Some(Side::Rest)).await;
    let asked = tokio::select! {
        asked = front.until(|asked| refused(asked).len() >= 3) => asked,
        () = ask_on(binance) => unreachable!("it goes on for ever"),
    };
    assert_rare(&refused(&asked));
    front.refuse(Refuses::Streams);
    until_refused(&engine, Some(Side::Streams)).await;
    let handshakes = |asked: &[Asked]| {
        let all = refused(asked).into_iter();
        all.filter(|asked| asked.path.starts_with("/market"))
            .cloned()
            .collect::<Vec<_>>()
    };
    let asked = front.until(|asked| handshakes(asked).len() >= 4).await;
    assert_rare(&handshakes(&asked).iter().collect::<Vec<_>>());
    front.refuse(Refuses::Nobody);
    until_refused(&engine, None).await;
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let up = async {
        while engine.info().connections_up < 2 {
            tick.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, up).await.unwrap();
}

#[tokio::test]
async fn h31_of_many_refused_connections_one_asks_at_a_time_and_all_come_back() {
    let tasks = Tasks::new();
    let exchange = exchange(&tasks).await;
    let front = Front::before(exchange.local_addr(), Refuses::Streams).await;
    let (feed, mut queue) = feed_queue();
    let streams = binance(&front, &ExchangeClock::from_wall()).streams(&tasks, feed);
    let key = |n: i32| SeriesKey::new(Symbol::parse(&format!("N{n}USDT")).unwrap(), Interval::M15);
    let keys: BTreeSet<_> = (0..900).map(key).collect(); // five connections of 200 names
    streams.set(keys.clone());
    let asked = front.until(|asked| refused(asked).len() == 4).await;
    assert_eq!(asked.len(), 4);
    assert_rare(&refused(&asked));
    front.refuse(Refuses::Nobody);
    let mut up = BTreeSet::new();
    let all_up = async {
        while up.len() < keys.len() {
            for event in queue.next_batch().await.expect("the feed goes on") {
                if let FeedEvent::Up { keys, .. } = event {
                    up.extend(keys.iter().cloned());
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, all_up).await.unwrap();
    let served = front.asked().len() - refused(&front.asked()).len();
    assert_eq!(served, 5);
}

/// Returns once nothing is asked for any more: what a sweep asks for beside its own follows at once.
async fn quiet(front: &Front) {
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    tick.tick().await;
    let mut before = 0;
    while before < front.asked().len() {
        before = front.asked().len();
        tick.tick().await;
    }
}

#[tokio::test]
async fn h31_serve_tells_a_refusal_once_and_in_its_status_and_sends_next_to_nothing() {
    let tasks = Tasks::new();
    let exchange = exchange(&tasks).await;
    let front = Front::before(exchange.local_addr(), Refuses::Nobody).await;
    let log = log("refused");
    let serve = Server::start_logging(
        &["serve", "--listen", "127.0.0.1:0"],
        &[
            ("HAMA_TOP", &SYMBOLS.to_string()),
            (
                "HAMA_BINANCE_REST_URL",
                &format!("http://{}", front.address),
            ),
            ("HAMA_BINANCE_WS_URL", &format!("ws://{}", front.address)),
        ],
        &log,
    );
    live(&serve, SYMBOLS).await;
    state_where(&serve, "swept", |state| {
        state["scheduler"]["sweep"]["last"] != serde_json::Value::Null
    })
    .await;
    quiet(&front).await;
    front.refuse(Refuses::Everybody);
    let state = state_where(&serve, "refused and down", |state| {
        state["exchange"]["refusal"] != serde_json::Value::Null && state["feed"] == "down"
    })
    .await;
    let told =
        "the exchange refuses streams with 451 (region or proxy): set PROXY_URL, or another proxy";
    assert_eq!(state["exchange"]["refusal"]["status"], 451);
    assert_eq!(state["exchange"]["refusal"]["message"], told);
    let ready = get(&serve, "/readyz?verbose").await;
    let checks = ready["checks"].as_array().unwrap().iter();
    let mut down = checks.filter(|check| check["name"] == "feed down");
    let detail = down.next().unwrap()["detail"].as_str().unwrap();
    assert_eq!(detail, format!("0 series live; {told}"));
    logged(&log, "region or proxy").await;
    assert_eq!(serve.terminate().0, Some(0));
    let said = std::fs::read_to_string(&log).unwrap();
    assert_eq!(said.matches("region or proxy").count(), 1, "{said}");
    assert_eq!(said.matches("ERROR").count(), 1, "{said}");
    assert_eq!(refused(&front.asked()).len(), 1, "{:?}", front.asked());
}
