//! The examples of the feed's contract, to the letter: each line a client is told it may send is sent as it stands there,
//! each line it is told it will get comes as it stands there (line breaks within an example are the document's).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hamacast::market::{Interval, OpenTime, TimeMs};
use hamacast::signal::{
    Change, ChangeBody, Correction, Epoch, FeedState, FeedStatus, Recommendation, Seq,
    SeriesCounts, SignalChange, Source, Stand, StoreState,
};
use hamacast::store::{Batch, Item, Occasion, ResetReason};

use crate::support::fixtures::key;
use crate::support::hub::{Client, TestHub, result, settings};

const OPENED: i64 = 1_766_999_700_000;
const CLOSED: i64 = 1_767_000_599_999;
const SIGNAL: &str = r#"{"stream":"btcusdt@signal_15m","data":{"type":"signal","id":"BTCUSDT:15m:1767000599999:0","seq":1042,"prev_seq":977,"epoch":"k3v9",
        "symbol":"BTCUSDT","interval":"15m","recommendation":"BUY","previous":"HOLD","confidence":0.7332,
        "price":67123.4,"hama_close":67001.25,"ma":66890.12,"deviation_pct":0.166,
        "candle_open_time":1766999700000,"candle_close_time":1767000599999,"last_cross_direction":1,"last_cross_time":1766999700000,
        "event_time":1767000600123,"late_ms":124,"source":"stream"}}"#;

fn unbroken(example: &str) -> String {
    example.lines().map(str::trim_start).collect()
}

/// The example's change with this number.
fn signal(seq: u64, prev_seq: u64) -> Change {
    Change {
        seq: Seq::new(seq),
        prev_seq: Seq::new(prev_seq),
        epoch: Epoch::new("k3v9"),
        corrects: Vec::new(),
        body: ChangeBody::Signal(SignalChange {
            key: result("BTCUSDT", Interval::M15).key(),
            recommendation: Recommendation::Buy,
            previous: Recommendation::Hold,
            confidence: 0.7332,
            price: 67_123.4,
            hama_close: 67_001.25,
            ma: 66_890.12,
            deviation_pct: 0.166,
            candle_open_time: OpenTime::from_ms(OPENED),
            candle_close_time: TimeMs::new(CLOSED),
            last_cross_direction: 1,
            last_cross_time: Some(OpenTime::from_ms(OPENED)),
            event_time: TimeMs::new(1_767_000_600_123),
            source: Source::Stream,
        }),
    }
}

/// What takes the example's change back.
fn correction() -> Change {
    let stand = Stand {
        candle_close_time: TimeMs::new(CLOSED),
        recommendation: Recommendation::Hold,
        previous: Recommendation::Hold,
    };
    Change {
        seq: Seq::new(1_043),
        prev_seq: Seq::new(1_042),
        epoch: Epoch::new("k3v9"),
        corrects: vec![Seq::new(1_042)],
        body: ChangeBody::Correction(Correction {
            key: result("BTCUSDT", Interval::M15).key(),
            revision: 1,
            corrects: vec![TimeMs::new(CLOSED)],
            stands: vec![stand],
            recommendation: Recommendation::Hold,
            previous: Recommendation::Buy,
            candle_open_time: OpenTime::from_ms(OPENED),
            candle_close_time: TimeMs::new(CLOSED),
            event_time: TimeMs::new(1_767_000_605_000),
            source: Source::Rest,
        }),
    }
}

fn batch(epoch: &str, head: u64, items: Vec<Item>) -> Batch {
    Batch {
        reset: ResetReason::LogLost,
        epoch: Epoch::new(epoch),
        head: Seq::new(head),
        items,
    }
}

fn changes(changes: Vec<Change>) -> Vec<Item> {
    let items = changes.into_iter().map(Arc::new);
    items.map(Item::Change).collect()
}

/// A hub in the example's epoch, with the example's head, its clock stopped at the example's time.
async fn at_1041() -> TestHub {
    let mut settings = settings();
    settings.timings.status_every = Duration::from_secs(3_600);
    let hub = TestHub::start(settings).await;
    hub.clock
        .set(TimeMs::new(1_767_000_600_123), 0.0, Duration::ZERO);
    let result = |interval| Item::Result {
        result: Arc::new(result("BTCUSDT", interval)),
        occasion: Occasion::Update,
    };
    let trades = Item::Tradable(Arc::new(BTreeSet::from([
        key("BTCUSDT", Interval::M15).symbol
    ])));
    let items = vec![trades, result(Interval::M15), result(Interval::H1)];
    hub.push(batch("k3v9", 1_041, items)).await;
    until(&hub, r#""epoch":"k3v9","seq":1041"#).await;
    hub
}

/// Waits until the hub's own cursor is this.
async fn until(hub: &TestHub, cursor: &str) {
    let mut client = hub.client("/ws").await;
    loop {
        client.send(r#"{"method":"PING","id":5}"#).await;
        if client.next_text().await.contains(cursor) {
            return client.leave().await;
        }
    }
}

async fn says(client: &mut Client, said: &str, answer: &str) {
    client.send(said).await;
    assert_eq!(client.next_text().await, answer);
}

#[tokio::test]
async fn requests_and_their_answers() {
    let hub = at_1041().await;
    let mut client = hub.client("/ws").await;
    let subscribe =
        r#"{"method":"SUBSCRIBE","params":["btcusdt@signal_15m","!hama_15m@arr"],"id":1}"#;
    says(&mut client, subscribe, r#"{"result":null,"id":1}"#).await;
    for part in [
        r#"{"type":"snapshot","epoch":"k3v9","seq":1041,"symbol":"BTCUSDT","#,
        r#"{"type":"live","epoch":"k3v9","seq":1041}"#,
        r#"[{"type":"snapshot","epoch":"k3v9","seq":1041,"symbol":"BTCUSDT","#,
        r#"[{"type":"live","epoch":"k3v9","seq":1041}]"#,
    ] {
        let text = client.next_text().await;
        assert!(text.starts_with(part), "{text}");
    }
    let list = r#"{"method":"LIST_SUBSCRIPTIONS","id":4}"#;
    let both = r#"{"result":["!hama_15m@arr","btcusdt@signal_15m"],"id":4}"#;
    says(&mut client, list, both).await;
    let unsubscribe = r#"{"method":"UNSUBSCRIBE","params":["btcusdt@signal_15m"],"id":3}"#;
    says(&mut client, unsubscribe, r#"{"result":null,"id":3}"#).await;
    let one = r#"{"result":["!hama_15m@arr"],"id":4}"#;
    says(&mut client, list, one).await;
    let auth = r#"{"method":"AUTH","params":["<key>"],"id":6}"#;
    says(&mut client, auth, r#"{"result":null,"id":6}"#).await;
    hub.push(batch("k3v9", 1_044, Vec::new())).await;
    until(&hub, "1044").await;
    let pong = r#"{"result":{"server_time":1767000600123,"epoch":"k3v9","seq":1044},"id":5}"#;
    says(&mut client, r#"{"method":"PING","id":5}"#, pong).await;
    let unknown = r#"{"method":"SUBSCRIBE","params":["foousdt@signal_15m"],"id":1}"#;
    let error =
        r#"{"error":{"code":2,"msg":"unknown symbol 'FOOUSDT'; see /api/v1/symbols"},"id":1}"#;
    says(&mut client, unknown, error).await;
}

#[tokio::test]
async fn a_resume_and_one_that_is_none() {
    let hub = at_1041().await;
    let resume = r#"{"method":"SUBSCRIBE","params":["!signal_15m@arr"],"since":{"epoch":"k3v9","seq":1041},"id":2}"#;
    let mut second = signal(1_043, 1_042);
    if let ChangeBody::Signal(change) = &mut second.body {
        change.recommendation = Recommendation::Sell;
    }
    let items = changes(vec![signal(1_042, 977), second, signal(1_044, 1_043)]);
    hub.push(batch("k3v9", 1_044, items)).await;
    until(&hub, "1044").await;
    let mut client = hub.client("/ws").await;
    let resumed = r#"{"result":{"resumed":true,"replayed":3,"epoch":"k3v9","seq":1044},"id":2}"#;
    says(&mut client, resume, resumed).await;
    let replay = client.next_text().await;
    assert!(
        replay.starts_with(r#"[{"type":"signal","id":"BTCUSDT:15m:1767000599999:0","seq":1042,"#),
        "{replay}"
    );
    let live = r#"[{"type":"live","epoch":"k3v9","seq":1044}]"#;
    assert_eq!(client.next_text().await, live);
    hub.push(batch("p0c2", 17, Vec::new())).await;
    let reset = r#"[{"type":"reset","epoch":"p0c2","seq":17,"reason":"log_lost"}]"#;
    assert_eq!(client.next_text().await, reset);
    let mut client = hub.client("/ws").await;
    let refused = r#"{"result":{"resumed":false,"reason":"epoch","epoch":"p0c2","seq":17},"id":2}"#;
    says(&mut client, resume, refused).await;
}

#[tokio::test]
async fn what_comes_unasked_and_on_streams() {
    let mut hub = at_1041().await;
    let mut client = hub.client("/stream?streams=btcusdt@signal_15m").await;
    let welcome = client.next_text().await;
    let begins = r#"{"stream":"!status","data":{"type":"welcome","server":"hamacast/0.1.0","server_time":1767000600123,"epoch":"k3v9","seq":1041,"kept_from":1,"#;
    assert!(welcome.starts_with(begins), "{welcome}");
    assert!(welcome.contains(r#""limits":{"#), "{welcome}");
    client.next_text().await;
    let live =
        r#"{"stream":"btcusdt@signal_15m","data":{"type":"live","epoch":"k3v9","seq":1041}}"#;
    assert_eq!(client.next_text().await, live);
    let items = changes(vec![signal(1_042, 977), correction()]);
    hub.push(batch("k3v9", 1_043, items)).await;
    assert_eq!(client.next_text().await, unbroken(SIGNAL));
    let correction = client.next_text().await;
    for part in [
        r#"{"type":"correction","id":"BTCUSDT:15m:1767000599999:1","seq":1043,"prev_seq":1042,"epoch":"k3v9","symbol":"BTCUSDT","interval":"15m","#,
        r#""revision":1,"corrects":[1042],"stands":[{"candle_close_time":1767000599999,"recommendation":"HOLD","previous":"HOLD"}],"recommendation":"HOLD""#,
        r#""previous":"BUY","event_time":1767000605000,"source":"rest""#,
    ] {
        assert!(correction.contains(part), "{correction}");
    }
    let status = Item::Status(FeedStatus {
        feed: FeedState::Live,
        store: StoreState::Memory,
        series: SeriesCounts {
            live: 125,
            ..SeriesCounts::default()
        },
        lag_ms: Some(3),
        speed: 1.0,
        simulated: false,
    });
    hub.push(batch("k3v9", 1_043, vec![status])).await;
    assert_eq!(
        client.next_text().await,
        r#"{"stream":"!status","data":{"type":"status","server_time":1767000600123,"epoch":"k3v9","seq":1043,"feed":"live","store":"memory","series":{"live":125,"warming":0,"stale":0,"dirty":0,"ended":0,"stopped":0},"lag_ms":3,"speed":1.0}}"#
    );
    let leaves = async {
        let reconnect = client.next_text().await;
        let begins = r#"{"stream":"!status","data":{"type":"reconnect","after_ms":"#;
        assert!(reconnect.starts_with(begins), "{reconnect}");
        client.leave().await;
    };
    tokio::join!(hub.stop(), leaves);
}
