//! The adapter's streams as a test sees them, and events as the exchange sends them.

use std::collections::{BTreeSet, VecDeque};

use hamacast::clock::ExchangeClock;
use hamacast::exchange::binance::{Binance, BinanceSettings, Times};
use hamacast::exchange::{ConnectionId, FeedEvent, FeedQueue, Streams, feed_queue};
use hamacast::market::SeriesKey;
use hamacast::tasks::Tasks;

use super::script::StreamScript;
use super::{OPEN_MS, clock, key, times, within};

/// The adapter's streams and what comes out of them.
pub(super) struct Client {
    pub(super) streams: Streams,
    pub(super) queue: FeedQueue,
    read: VecDeque<FeedEvent>,
    pub(super) tasks: Tasks,
    pub(super) clock: ExchangeClock,
}

impl Client {
    pub(super) fn start(server: &StreamScript, watched: BTreeSet<SeriesKey>) -> Self {
        Self::start_with(times(), server, watched)
    }

    pub(super) fn start_with(
        times: Times,
        server: &StreamScript,
        watched: BTreeSet<SeriesKey>,
    ) -> Self {
        let clock = clock();
        let settings = BinanceSettings {
            ws_url: server.url.clone(),
            times,
            ..BinanceSettings::default()
        };
        let tasks = Tasks::new();
        let (feed, queue) = feed_queue();
        let binance = Binance::new(&settings, clock.clone()).unwrap();
        let streams = binance.streams(&tasks, feed);
        streams.set(watched);
        Self {
            streams,
            queue,
            read: VecDeque::new(),
            tasks,
            clock,
        }
    }

    pub(super) async fn next(&mut self) -> FeedEvent {
        while self.read.is_empty() {
            let batch = within("a batch", self.queue.next_batch()).await;
            self.read.extend(batch.expect("the feed goes on"));
        }
        self.read.pop_front().unwrap()
    }

    pub(super) async fn expect_up(&mut self) -> Vec<SeriesKey> {
        self.expect_up_of().await.1
    }

    /// Which connection carries what.
    pub(super) async fn expect_up_of(&mut self) -> (ConnectionId, Vec<SeriesKey>) {
        match self.next().await {
            FeedEvent::Up { connection, keys } => (connection, keys.to_vec()),
            other => panic!("up expected, came {other:?}"),
        }
    }

    pub(super) async fn expect_down(&mut self) -> (String, Option<u16>) {
        match self.next().await {
            FeedEvent::Down {
                reason, code, keys, ..
            } => {
                assert_eq!(*keys, [key("BTCUSDT")]);
                (reason, code)
            }
            other => panic!("down expected, came {other:?}"),
        }
    }

    pub(super) async fn expect_left(&mut self) -> Vec<SeriesKey> {
        match self.next().await {
            FeedEvent::Left { keys, .. } => keys.to_vec(),
            other => panic!("left expected, came {other:?}"),
        }
    }

    pub(super) async fn expect_close_of(&mut self, name: &str) {
        match self.next().await {
            FeedEvent::Closed { key: closed, .. } => assert_eq!(closed, key(name)),
            other => panic!("a closed candle expected, came {other:?}"),
        }
    }
}

/// An event as the exchange sends it.
pub(super) fn event(name: &str, open_ms: i64, event_ms: i64, closed: bool) -> String {
    let lower = name.to_ascii_lowercase();
    let close_ms = open_ms + 59_999;
    format!(
        r#"{{"stream":"{lower}@kline_1m","data":{{"e":"kline","E":{event_ms},"s":"{name}","k":{{"t":{open_ms},"T":{close_ms},"s":"{name}","i":"1m","f":8153670676,"L":8153673404,"o":"83070.80","c":"83142.90","h":"83143.00","l":"83070.70","v":"86.568","n":2723,"x":{closed},"q":"7193689.13750","V":"55.410","Q":"4604044.96780","B":"0"}}}}}}"#
    )
}

pub(super) fn closed_event(name: &str) -> String {
    event(name, OPEN_MS - 60_000, OPEN_MS + 20, true)
}
