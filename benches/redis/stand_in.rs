//! An engine played over the real store: a market of 600 series in which every candle changes every recommendation.
//! It speaks as the real engine does: after the leave to speak, every series' first live result, then candle by candle.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hamacast::clock::ExchangeClock;
use hamacast::market::{Interval, OpenTime, SeriesKey, SeriesStatus, Symbol};
use hamacast::signal::{
    ChangeBody, FeedState, FeedStatus, Recommendation, SeriesCounts, SignalChange, SignalResult,
    Source, StoreState, Technical,
};
use hamacast::store::redis::{EngineTies, Fallback, Part, RedisSettings, WatchedSeries};
use hamacast::store::{Batch, Occasion, RedisStore, Voice, Write};
use hamacast::tasks::Tasks;
use tokio::sync::mpsc;

pub(crate) const SERIES: u64 = 600;

/// The quarter of an hour in which the market begins.
const FIRST_OPEN_MS: i64 = 1_767_000_600_000;
const QUARTER_MS: i64 = 900_000;

/// A process' store with the engine played.
pub(crate) struct StandIn {
    pub(crate) store: RedisStore,
    series: Vec<SeriesKey>,
    candle: i64,
    writes: mpsc::Sender<Vec<Write>>,
    _ties: EngineTies,
    _batches: mpsc::Receiver<Arc<Batch>>,
}

impl StandIn {
    /// Waits for the leave to speak and says every series' first live result.
    pub(crate) async fn begin(redis_url: &str, tasks: &Tasks) -> anyhow::Result<Self> {
        let series = (0..SERIES)
            .map(|n| Symbol::parse(&format!("BENCH{n}USDT")))
            .map(|symbol| Ok(SeriesKey::new(symbol?, Interval::M15)));
        let series: Vec<SeriesKey> = series.collect::<anyhow::Result<_>>()?;
        let store = RedisStore::new(RedisSettings::of_url(redis_url)?);
        let (reader, batches) = mpsc::channel(100_000);
        let (writes, inbox) = mpsc::channel(64);
        let part = Part {
            primary: Interval::M15,
            fallback: Fallback::Wait,
        };
        let clock = ExchangeClock::from_wall();
        let mut ties = store.join(part, inbox, vec![reader], &clock, tasks);
        ties.watched.send_replace(Arc::new(WatchedSeries {
            series: series.iter().cloned().collect(),
            about: String::new(),
            ..WatchedSeries::default()
        }));
        let speaking = |voice: &Voice| matches!(voice, Voice::Speaking { .. });
        let voice = ties.voice.wait_for(speaking);
        let voice = tokio::time::timeout(Duration::from_secs(30), voice).await;
        let voice = voice.context("no leave to speak within 30 s")??.clone();
        let Voice::Speaking { turn, .. } = voice else {
            anyhow::bail!("silent");
        };
        let mut said = vec![Write::Turn(turn)];
        said.extend(series.iter().map(|key| result(key, 0, Occasion::FirstLive)));
        said.extend(series.iter().map(technical)); // without them no compatible form is written
        said.push(Write::Status(status()));
        writes.send(said).await?;
        Ok(Self {
            store,
            series,
            candle: 0,
            writes,
            _ties: ties,
            _batches: batches,
        })
    }

    /// What the next candle's close says: every series changes.
    pub(crate) fn next_candle(&mut self) -> Vec<Write> {
        self.candle += 1;
        let of_series = self.series.iter().flat_map(|key| {
            let change = Write::Change(ChangeBody::Signal(change(key, self.candle)));
            [change, result(key, self.candle, Occasion::Close)]
        });
        of_series.collect()
    }

    pub(crate) async fn say(&self, said: Vec<Write>) -> anyhow::Result<()> {
        Ok(self.writes.send(said).await?)
    }

    /// Waits until this process' own view holds the log up to this candle and the result of every series.
    pub(crate) async fn until_read_back(&self) -> anyhow::Result<()> {
        let open = open(self.candle);
        let mut published = self.store.view().follow();
        let there = published.wait_for(|now| {
            let results = now.results.values();
            let new = results.filter(|result| result.candle_open_time == Some(open));
            new.count() == self.series.len() && now.seq.get() == self.candle as u64 * SERIES
        });
        let there = tokio::time::timeout(Duration::from_secs(30), there).await;
        there.context("not read back within 30 s")??;
        Ok(())
    }
}

fn open(candle: i64) -> OpenTime {
    OpenTime::from_ms(FIRST_OPEN_MS + candle * QUARTER_MS)
}

/// What holds after a candle: HOLD, BUY, HOLD, BUY, ...
fn after(candle: i64) -> Recommendation {
    if candle % 2 == 0 {
        Recommendation::Hold
    } else {
        Recommendation::Buy
    }
}

fn result(key: &SeriesKey, candle: i64, occasion: Occasion) -> Write {
    let open = open(candle);
    let close = key.interval.close_time(open);
    let result = SignalResult {
        status: SeriesStatus::Live,
        recommendation: Some(after(candle)),
        confidence: Some(0.3),
        price: Some(67_123.4),
        hama_open: Some(67_000.5),
        hama_high: Some(67_200.5),
        hama_low: Some(66_900.5),
        hama_close: Some(67_001.25),
        ma: Some(66_890.12),
        deviation_pct: Some(0.166),
        last_cross_direction: 1,
        last_cross_time: Some(open),
        candle_open_time: Some(open),
        candle_close_time: Some(close),
        ..SignalResult::warming(key, close.plus_ms(124))
    };
    Write::Result {
        result: Box::new(result),
        occasion,
    }
}

fn technical(key: &SeriesKey) -> Write {
    let technical = Technical {
        rsi: Some(54.721_549_636),
        ema_20: Some(66_912.312_316),
        ema_50: Some(66_711.315_7),
        support: Some(65_900.5),
        resistance: Some(67_350.1),
        is_volume_confirmed: Some(true),
        macd: None,
    };
    Write::Technical {
        symbol: key.symbol.clone(),
        technical: Box::new(technical),
    }
}

fn change(key: &SeriesKey, candle: i64) -> SignalChange {
    let open = open(candle);
    let close = key.interval.close_time(open);
    SignalChange {
        key: key.clone(),
        recommendation: after(candle),
        previous: after(candle - 1),
        confidence: 0.7332,
        price: 67_123.4,
        hama_close: 67_001.25,
        ma: 66_890.12,
        deviation_pct: 0.166,
        candle_open_time: open,
        candle_close_time: close,
        last_cross_direction: 1,
        last_cross_time: Some(open),
        event_time: close.plus_ms(124),
        source: Source::Stream,
    }
}

fn status() -> FeedStatus {
    FeedStatus {
        feed: FeedState::Live,
        store: StoreState::Redis,
        series: SeriesCounts {
            live: SERIES as usize,
            ..SeriesCounts::default()
        },
        lag_ms: Some(3),
        speed: 1.0,
        simulated: true,
    }
}
