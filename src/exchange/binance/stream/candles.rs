//! From a candle's frame to the feed. Every event is checked against the series it claims to be of; a bad one is counted
//! and dropped, and its series is none the worse. Which series deliver is `health`'s question.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Setup;
use super::message::CandleFrame;
use super::name::{Name, Names};
use crate::clock::Mono;
use crate::exchange::binance::row;
use crate::exchange::{BadRow, ConnectionId, FeedEvent, Offered, StreamCounts};
use crate::market::{OpenTime, SeriesKey, TimeMs};

/// One line about bad events per connection and minute.
const COMPLAIN_EVERY_MS: u64 = 60_000;
/// An event stamped further ahead than this of our idea of the exchange's time does not move the clock: one bad stamp
/// would close candles that are still forming (hazard 29).
const STAMP_AHEAD_MS: f64 = 60_000.0;

/// What became of a frame.
pub(super) enum Taken {
    /// Its series delivers.
    Of(SeriesKey),
    /// It was bad, or of nobody.
    Dropped,
    /// Nobody reads the feed any more.
    FeedGone,
}

/// Takes the candles of one connection in.
pub(super) struct Candles {
    setup: Arc<Setup>,
    connection: ConnectionId,
    names: HashMap<String, SeriesKey>,
    complain_at: Mono,
    unsaid: u64,
}

impl Candles {
    pub(super) fn new(setup: Arc<Setup>, connection: ConnectionId, wanted: &Names) -> Self {
        Self {
            setup,
            connection,
            names: names(wanted),
            complain_at: Mono::default(),
            unsaid: 0,
        }
    }

    /// Takes only those of `wanted` from now on.
    pub(super) fn want(&mut self, wanted: &Names) {
        self.names = names(wanted);
    }

    pub(super) fn take(&mut self, frame: &CandleFrame<'_>) -> Taken {
        let Some(key) = self.names.get(frame.stream.as_ref()).cloned() else {
            // A series just given up still sends until the exchange has taken that in; its name alone is no fault.
            self.setup.counts.foreign.fetch_add(1, Ordering::Relaxed);
            return Taken::Dropped;
        };
        if !frame.is_of(&key) {
            self.complain(
                |counts| &counts.foreign,
                "event of another series",
                &frame.stream,
            );
            return Taken::Dropped;
        }
        let wire = &frame.data.candle;
        let texts = [wire.open, wire.high, wire.low, wire.close, wire.volume];
        let open_time = OpenTime::from_ms(wire.open_time);
        let close_time = TimeMs::new(wire.close_time);
        let candle = match row::candle(key.interval, open_time, close_time, texts) {
            Ok(candle) => candle,
            Err(bad) => {
                self.setup.counts.rows.count(&bad);
                self.complain(counter_of(&bad), &bad.to_string(), &frame.stream);
                return Taken::Dropped;
            }
        };
        let event_time = TimeMs::new(frame.data.event_time);
        self.push_clock(event_time);
        self.tell_heard(&key);
        let of = key.clone();
        let event = if wire.closed {
            FeedEvent::Closed {
                key,
                candle,
                event_time,
            }
        } else {
            FeedEvent::Open {
                key,
                candle,
                event_time,
            }
        };
        self.offer(event, of)
    }

    fn offer(&self, event: FeedEvent, of: SeriesKey) -> Taken {
        let counts = &self.setup.counts;
        match self.setup.feed.offer(event) {
            Offered::Queued | Offered::Replaced | Offered::Outdated => {
                counts.events.fetch_add(1, Ordering::Relaxed);
                Taken::Of(of)
            }
            Offered::Refused => {
                counts.refused.fetch_add(1, Ordering::Relaxed);
                Taken::Of(of)
            }
            Offered::Gone => Taken::FeedGone,
        }
    }

    /// A series that was said to be mute is mute no more, whichever connection brought its candle.
    fn tell_heard(&self, key: &SeriesKey) {
        if self.setup.mute.heard(key) {
            tracing::info!(connection = %self.connection, series = %key, "mute series delivers again");
            self.setup.feed.offer(FeedEvent::Heard { key: key.clone() });
        }
    }

    fn push_clock(&self, event_time: TimeMs) {
        let clock = &self.setup.clock;
        let ahead = event_time.ms_since(clock.now()) as f64;
        if ahead <= STAMP_AHEAD_MS * clock.speed() {
            clock.at_least(event_time);
        }
    }

    /// Counts every bad event, speaks of them once a minute.
    pub(super) fn complain(
        &mut self,
        counter: fn(&StreamCounts) -> &AtomicU64,
        what: &str,
        about: &str,
    ) {
        counter(&self.setup.counts).fetch_add(1, Ordering::Relaxed);
        let now = Mono::now();
        if now < self.complain_at {
            self.unsaid += 1;
            return;
        }
        let about: String = about.chars().take(200).collect();
        tracing::warn!(connection = %self.connection, what, about, unsaid = self.unsaid, "bad event dropped");
        self.unsaid = 0;
        self.complain_at = now.plus_ms(COMPLAIN_EVERY_MS);
    }
}

impl CandleFrame<'_> {
    /// Whether name and content agree.
    fn is_of(&self, key: &SeriesKey) -> bool {
        let event = &self.data;
        event.kind == "kline"
            && event.symbol == key.symbol.as_str()
            && event.candle.symbol == key.symbol.as_str()
            && event.candle.interval == key.interval.name()
    }
}

fn counter_of(bad: &BadRow) -> fn(&StreamCounts) -> &AtomicU64 {
    match bad {
        BadRow::OffGrid { .. } | BadRow::WrongClose { .. } => |counts| &counts.off_grid,
        BadRow::NotANumber { .. }
        | BadRow::Candle(_)
        | BadRow::NotAscending { .. }
        | BadRow::NotAsked { .. } => |counts| &counts.impossible,
    }
}

fn names(wanted: &Names) -> HashMap<String, SeriesKey> {
    let series = |name: &Name| Some((name.wire(), name.series()?.clone()));
    wanted.iter().filter_map(series).collect()
}
