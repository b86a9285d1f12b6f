//! A reader of every change and every result, as a bot would be: it keeps what it was told, and notes what it never should
//! have been.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hamacast::market::{Interval, SeriesKey};
use hamacast::tasks::Tasks;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::hub::{Client, items};

/// What a reader was told.
#[derive(Debug, Default, Clone)]
pub(super) struct Record {
    /// Close time of the first result of each series: changes after it are told.
    pub(super) bases: BTreeMap<String, i64>,
    /// Every `signal` and `correction`, in order.
    pub(super) changes: Vec<Value>,
    /// What never should have come.
    pub(super) broken: Vec<String>,
    statuses: BTreeMap<String, String>,
    /// Series that told a change while their last result was not live: the next one must be.
    owing: BTreeMap<String, Value>,
    seq: u64,
    live: usize,
}

/// One connection to the feed, read until the scene ends.
pub(super) struct Reader {
    record: Arc<Mutex<Record>>,
}

impl Reader {
    /// Subscribes to everything and returns once all streams are live.
    pub(super) async fn start(address: &str, intervals: &[Interval], tasks: &Tasks) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        let mut client = Client::over(socket, "/stream").await;
        let streams: Vec<_> = intervals
            .iter()
            .flat_map(|interval| {
                [
                    format!("!signal_{interval}@arr"),
                    format!("!hama_{interval}@arr"),
                ]
            })
            .collect();
        let ask = serde_json::json!({"method": "SUBSCRIBE", "params": streams, "id": 1});
        client.send(&ask.to_string()).await;
        let mut record = Record::default();
        while record.live < streams.len() {
            record.take(&client.next().await);
        }
        let record = Arc::new(Mutex::new(record));
        let shared = Arc::clone(&record);
        let stopping = tasks.clone();
        tasks.spawn_short("reader of the feed", async move {
            let reading = async {
                loop {
                    match client.message().await {
                        Some(Ok(Message::Text(text))) => {
                            let message = serde_json::from_str(&text).unwrap();
                            lock(&shared).take(&message);
                        }
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                        end => return lock(&shared).broken.push(format!("the end: {end:?}")),
                    }
                }
            };
            tokio::select! {
                () = stopping.stopping() => {}
                () = reading => {}
            }
        });
        Self { record }
    }

    pub(super) fn record(&self) -> Record {
        lock(&self.record).clone()
    }

    /// Number of the newest change it was told.
    pub(super) fn seq(&self) -> u64 {
        lock(&self.record).seq
    }
}

fn lock(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

fn name(item: &Value) -> String {
    format!(
        "{}:{}",
        item["symbol"].as_str().unwrap_or_default(),
        item["interval"].as_str().unwrap_or_default()
    )
}

impl Record {
    fn take(&mut self, message: &Value) {
        let is_signal = message["stream"]
            .as_str()
            .is_some_and(|stream| stream.contains("signal"));
        for item in items(message) {
            match item["type"].as_str().unwrap_or_default() {
                "snapshot" if is_signal => self.begin(&item),
                "snapshot" | "hama" => self.result(&item),
                "signal" | "correction" => self.change(item),
                "live" => {
                    self.live += 1;
                    self.seq = item["seq"].as_u64().unwrap();
                }
                "reset" => self.broken.push(format!("unexpected: {item}")),
                _ => {} // answers, welcome, status, symbols
            }
        }
    }

    fn begin(&mut self, snapshot: &Value) {
        if let Some(close) = snapshot["candle_close_time"].as_i64()
            && !snapshot["recommendation"].is_null()
        {
            self.bases.entry(name(snapshot)).or_insert(close);
        }
    }

    fn result(&mut self, item: &Value) {
        let status = item["status"].as_str().unwrap_or_default().to_owned();
        if let Some(change) = self.owing.remove(&name(item))
            && status != "live"
        {
            self.broken
                .push(format!("{change}\nby a series that is {status}"));
        }
        self.statuses.insert(name(item), status);
    }

    fn change(&mut self, change: Value) {
        let seq = change["seq"].as_u64().unwrap();
        if seq != self.seq + 1 {
            self.broken.push(format!("after {}: {change}", self.seq));
        }
        self.seq = seq;
        let name = name(&change);
        // A change is sent before the result that shows it, also when that result is the one that is live again.
        if self
            .statuses
            .get(&name)
            .is_some_and(|status| status != "live")
        {
            self.owing.insert(name, change.clone());
        }
        self.changes.push(change);
    }

    pub(super) fn corrections(&self) -> usize {
        let corrections = self
            .changes
            .iter()
            .filter(|one| one["type"] == "correction");
        corrections.count()
    }

    /// Close time and recommendation of what holds of a series after all corrections, in order; a change that came before
    /// an older one is told as `Err`.
    pub(super) fn stands(&self, key: &SeriesKey) -> Result<Vec<(i64, String)>, String> {
        let name = key.to_string();
        let mut stands: BTreeMap<i64, (u64, String)> = BTreeMap::new();
        for change in self.changes.iter().filter(|one| self::name(one) == name) {
            let seq = change["seq"].as_u64().unwrap();
            if change["type"] == "correction" {
                let corrects = change["corrects"].as_array().unwrap();
                stands.retain(|_, (told, _)| !corrects.contains(&Value::from(*told)));
                for stand in change["stands"].as_array().unwrap() {
                    stands.insert(close(stand), (seq, word(stand)));
                }
                continue;
            }
            if stands.keys().next_back() >= Some(&close(change)) {
                return Err(format!("out of order or twice: {change}"));
            }
            stands.insert(close(change), (seq, word(change)));
        }
        Ok(stands
            .into_iter()
            .map(|(close, (_, word))| (close, word))
            .collect())
    }
}

fn close(item: &Value) -> i64 {
    item["candle_close_time"].as_i64().unwrap()
}

fn word(item: &Value) -> String {
    item["recommendation"].as_str().unwrap().to_owned()
}
