//! Faults of candle events: each is seen on the connection in its scope, while another connection and another contract
//! hear everything as it is.

use std::collections::BTreeSet;

use hamacast::simulator::SimulatorSettings;
use serde_json::{Value, json};

use super::super::{Client, Exchange, START_MS, settings};
use super::parsed;

const MINUTE_MS: i64 = 60_000;
/// Minutes a fault is in force.
const MINUTES: i64 = 8;
const NAMES: &str = "/market/ws/solusdt@kline_1m/ethusdt@kline_1m";

fn fast() -> SimulatorSettings {
    SimulatorSettings {
        speed: 600.0, // a minute is 100 ms
        ..settings()
    }
}

/// Events of SOLUSDT before, during and after a fault that is in force for `MINUTES` from `from` on.
struct Heard {
    exchange: Exchange,
    from: i64,
    to: i64,
    /// On the connection in scope.
    struck: Vec<Value>,
    /// On another one.
    plain: Vec<Value>,
}

/// Every event until ETHUSDT, which no fault strikes, has come to `end`; all of its closes are there and once.
async fn until(client: &mut Client, end: i64) -> Vec<Value> {
    let (mut solana, mut closes) = (Vec::new(), Vec::new());
    loop {
        let event = client.next().await;
        if event["s"] == "SOLUSDT" {
            solana.push(event);
            continue;
        }
        if event["k"]["x"] == true {
            closes.push(event["k"]["t"].as_i64().unwrap());
        }
        if event["E"].as_i64().unwrap() > end {
            break;
        }
    }
    assert!(
        closes.windows(2).all(|pair| pair[1] == pair[0] + MINUTE_MS),
        "{closes:?}"
    );
    solana
}

async fn hear(fault: Value) -> Heard {
    let exchange = Exchange::start(fast()).await;
    let mut scoped = exchange.connect(NAMES).await;
    let mut other = exchange.connect(NAMES).await;
    scoped.next().await;
    other.next().await;
    let from = (exchange.simulator.now().ms() / MINUTE_MS + 3) * MINUTE_MS;
    let to = from + MINUTES * MINUTE_MS;
    let mut told = json!({"symbol": "SOLUSDT", "interval": "1m", "connection": 1, "from_ms": from, "to_ms": to});
    told.as_object_mut()
        .unwrap()
        .extend(fault.as_object().unwrap().clone());
    exchange.tell(&told.to_string());
    let end = to + 8 * MINUTE_MS;
    let (struck, plain) = tokio::join!(until(&mut scoped, end), until(&mut other, end));
    let opens = opens(&plain);
    assert!(
        opens.windows(2).all(|pair| pair[1] == pair[0] + MINUTE_MS),
        "{opens:?}"
    );
    assert!(
        opens[0] < from - MINUTE_MS,
        "the fault began after the first close"
    );
    Heard {
        exchange,
        from,
        to,
        struck,
        plain,
    }
}

fn is_close(event: &Value) -> bool {
    event["k"]["x"] == true
}

fn number(event: &Value, field: &str) -> i64 {
    event["k"][field].as_i64().unwrap()
}

fn stamp(event: &Value) -> i64 {
    event["E"].as_i64().unwrap()
}

/// Open times of the closes, as they came.
fn opens(events: &[Value]) -> Vec<i64> {
    events
        .iter()
        .filter(|event| is_close(event))
        .map(|event| number(event, "t"))
        .collect()
}

impl Heard {
    /// Open times of the candles that close while the fault is in force.
    fn closing(&self) -> BTreeSet<i64> {
        (-1..MINUTES - 1)
            .map(|minute| self.from + minute * MINUTE_MS)
            .collect()
    }

    fn opening(&self) -> BTreeSet<i64> {
        (0..MINUTES)
            .map(|minute| self.from + minute * MINUTE_MS)
            .collect()
    }

    fn lost(&self) -> BTreeSet<i64> {
        let heard: BTreeSet<_> = opens(&self.struck).into_iter().collect();
        opens(&self.plain)
            .into_iter()
            .filter(|open| !heard.contains(open))
            .collect()
    }

    fn plain_close(&self, open: i64) -> &Value {
        let mut closes = self.plain.iter().filter(|event| is_close(event));
        closes.find(|event| number(event, "t") == open).unwrap()
    }

    fn struck_closes(&self, open: i64) -> Vec<&Value> {
        let closes = self.struck.iter().filter(|event| is_close(event));
        closes.filter(|event| number(event, "t") == open).collect()
    }

    fn strikes(&self, count: i64) {
        assert_eq!(self.exchange.strikes(), [u64::try_from(count).unwrap()]);
    }
}

#[tokio::test]
async fn h04_closes_are_dropped_and_the_updates_of_their_candles_are_not() {
    let heard = hear(json!({"kind": "stream.drop_close"})).await;
    assert_eq!(heard.lost(), heard.closing());
    heard.strikes(MINUTES);
    let updates = heard.struck.iter().filter(|event| !is_close(event));
    let updated: BTreeSet<_> = updates.map(|event| number(event, "t")).collect();
    assert!(
        updated.intersection(&heard.closing()).count() > 0,
        "{updated:?}"
    );
}

#[tokio::test]
async fn a_count_of_dropped_closes_is_kept() {
    let heard = hear(json!({"kind": "stream.drop_close", "count": 2})).await;
    let first_two: BTreeSet<_> = heard.closing().into_iter().take(2).collect();
    assert_eq!(heard.lost(), first_two);
    heard.strikes(2);
}

#[tokio::test]
async fn updates_are_dropped_and_closes_are_not() {
    let heard = hear(json!({"kind": "stream.drop_updates"})).await;
    assert_eq!(heard.lost(), BTreeSet::new());
    let within =
        |event: &&Value| !is_close(event) && (heard.from..heard.to).contains(&stamp(event));
    assert_eq!(heard.struck.iter().filter(within).count(), 0);
    assert!(heard.plain.iter().filter(within).count() > 0);
}

#[tokio::test]
async fn h04_closes_come_late_by_as_much_as_told() {
    let late = 5 * MINUTE_MS;
    let heard = hear(json!({"kind": "stream.delay_close", "by_ms": late})).await;
    assert_eq!(heard.lost(), BTreeSet::new());
    for open in heard.closing() {
        let closes = heard.struck_closes(open);
        assert_eq!(closes.len(), 1);
        assert!(stamp(closes[0]) >= open + MINUTE_MS + late, "{}", closes[0]);
        assert_eq!(closes[0]["k"], heard.plain_close(open)["k"]);
    }
    heard.strikes(MINUTES);
}

#[tokio::test]
async fn h16_closes_come_twice_and_the_same() {
    let heard = hear(json!({"kind": "stream.duplicate"})).await;
    for open in opens(&heard.plain) {
        let closes = heard.struck_closes(open);
        let times = if heard.closing().contains(&open) {
            2
        } else {
            1
        };
        assert_eq!(closes.len(), times, "{open}");
        assert!(
            closes
                .iter()
                .all(|close| close["k"] == heard.plain_close(open)["k"])
        );
    }
    heard.strikes(MINUTES);
}

#[tokio::test]
async fn h18_closes_come_twice_with_different_values_one_of_them_right() {
    for (right, at) in [("first", 0), ("last", 1)] {
        let heard = hear(json!({"kind": "stream.conflicting_close", "right": right})).await;
        for open in heard.closing() {
            let closes = heard.struck_closes(open);
            assert_eq!(closes.len(), 2);
            assert_eq!(closes[at]["k"], heard.plain_close(open)["k"]);
            assert_ne!(closes[1 - at]["k"]["c"], heard.plain_close(open)["k"]["c"]);
        }
    }
}

#[tokio::test]
async fn h17_a_close_comes_after_the_next_candles() {
    let heard = hear(json!({"kind": "stream.out_of_order", "count": 1})).await;
    let struck = *heard.closing().first().unwrap();
    let mut expected = opens(&heard.plain);
    let at = expected.iter().position(|open| *open == struck).unwrap();
    expected.swap(at, at + 1);
    let heard_opens = opens(&heard.struck);
    let common = heard_opens.len().min(expected.len());
    assert_eq!(heard_opens[..common], expected[..common]);
    heard.strikes(1);
}

/// With neither share nor count all are struck: none may wait for one that is not.
#[tokio::test]
async fn h17_when_every_close_is_struck_they_come_in_swapped_pairs_and_none_is_lost() {
    let heard = hear(json!({"kind": "stream.out_of_order"})).await;
    assert_eq!(heard.lost(), BTreeSet::new());
    let first = *heard.closing().first().unwrap();
    let mut expected = opens(&heard.plain);
    let at = expected.iter().position(|open| *open == first).unwrap();
    for pair in expected[at..at + heard.closing().len()].chunks_exact_mut(2) {
        pair.swap(0, 1);
    }
    let heard_opens = opens(&heard.struck);
    let common = heard_opens.len().min(expected.len());
    assert_eq!(heard_opens[..common], expected[..common]);
}

#[tokio::test]
async fn h05_candles_are_not_on_the_stream_at_all() {
    let heard = hear(json!({"kind": "stream.jump"})).await;
    assert_eq!(heard.lost(), heard.opening());
    let skipped = |event: &&Value| heard.opening().contains(&number(event, "t"));
    assert_eq!(heard.struck.iter().filter(skipped).count(), 0);
    heard.strikes(MINUTES);
}

#[tokio::test]
async fn h23_candles_open_beside_the_grid() {
    let heard = hear(json!({"kind": "stream.off_grid", "by_ms": 1_234})).await;
    assert_eq!(heard.lost(), heard.opening());
    let moved = heard
        .struck
        .iter()
        .filter(|event| number(event, "t") % MINUTE_MS != 0);
    let opens: BTreeSet<_> = moved
        .map(|event| {
            assert_eq!(number(event, "T"), number(event, "t") + MINUTE_MS - 1);
            number(event, "t") - 1_234
        })
        .collect();
    assert_eq!(opens, heard.opening());
}

#[tokio::test]
async fn h29_events_are_stamped_with_a_time_that_has_not_come() {
    let hour = 60 * MINUTE_MS;
    let heard = hear(json!({"kind": "stream.future_stamp", "ahead_ms": hour})).await;
    let stamped = heard
        .struck
        .iter()
        .filter(|event| stamp(event) >= number(event, "t") + hour);
    let opens: BTreeSet<_> = stamped.map(|event| number(event, "t")).collect();
    let within: BTreeSet<_> = heard.opening().into_iter().take(6).collect();
    assert!(opens.is_superset(&within), "{opens:?}");
    assert!(
        heard
            .plain
            .iter()
            .all(|event| stamp(event) < number(event, "t") + hour)
    );
    assert_eq!(heard.lost(), BTreeSet::new());
}

#[tokio::test]
async fn a_share_of_closes_is_the_seeds_and_the_truth_stays_whole() {
    let from = START_MS / MINUTE_MS * MINUTE_MS + 30 * MINUTE_MS;
    let to = from + 20 * MINUTE_MS;
    let told = json!({"kind": "stream.drop_close", "share": 0.5, "from_ms": from, "to_ms": to})
        .to_string();
    let mut runs = Vec::new();
    for seed in [5, 5, 6] {
        let exchange = Exchange::start(SimulatorSettings {
            seed,
            faults: parsed(&told),
            ..fast()
        })
        .await;
        let mut client = exchange.connect("/market/ws/solusdt@kline_1m").await;
        let mut heard = Vec::new();
        while heard.last().is_none_or(|open| *open < to) {
            let event = client.next().await;
            if is_close(&event) {
                heard.push(number(&event, "t"));
            }
        }
        assert!(heard[0] < from - MINUTE_MS, "subscribed before the fault");
        let within = |minute: i64| from - MINUTE_MS + minute * MINUTE_MS;
        let lost: Vec<_> = (0..20)
            .map(within)
            .filter(|open| !heard.contains(open))
            .collect();
        assert_eq!(exchange.strikes(), [lost.len() as u64]);
        let path = format!(
            "/sim/truth?symbol=SOLUSDT&interval=1m&from={}&to={}",
            within(0),
            within(19)
        );
        assert_eq!(
            exchange.get(&path).await.json["candles"]
                .as_array()
                .unwrap()
                .len(),
            20
        );
        runs.push(lost);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
    assert!((3..18).contains(&runs[0].len()), "{:?}", runs[0]);
}
