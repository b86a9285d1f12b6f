//! One socket's life: subscribe, listen, ping, notice silence, close. Every candle event is checked against the series it
//! claims to be of before it goes into the feed; a bad one is counted and dropped, and its series is none the worse.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{FutureExt, SinkExt, StreamExt};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message as Frame};

use super::connection::{End, Socket};
use super::lost::Lost;
use super::message::{self, CandleFrame, Message};
use super::subscriptions::{Subscriptions, stream_name};
use super::{Keys, Setup, whole_ms};
use crate::clock::Mono;
use crate::exchange::binance::row;
use crate::exchange::{BadRow, ConnectionId, FeedEvent, Offered, StreamCounts};
use crate::market::{OpenTime, SeriesKey, TimeMs};
use crate::tasks::Tasks;

/// Frames read in one go before stop, timers and changes are looked at again.
const BURST: usize = 64;
/// How long a closing handshake may take.
const CLOSING: Duration = Duration::from_secs(1);
/// One line about bad events per connection and minute.
const COMPLAIN_EVERY_MS: u64 = 60_000;
/// An event stamped further ahead than this of our idea of the exchange's time does not move the clock: one bad stamp
/// would close candles that are still forming (hazard 29).
const STAMP_AHEAD_MS: f64 = 60_000.0;

/// A connected socket and what it carries.
pub(super) struct Session {
    setup: Arc<Setup>,
    socket: Socket,
    part: watch::Receiver<Keys>,
    id: ConnectionId,
    names: HashMap<String, SeriesKey>,
    subscriptions: Subscriptions,
    heard: Mono,
    ping_at: Mono,
    delivered: bool,
    deliver_by: Option<Mono>,
    complain_at: Mono,
    unsaid: u64,
}

/// Whether to go on.
type Step = Result<(), End>;

impl Session {
    pub(super) fn new(setup: Arc<Setup>, socket: Socket, mut part: watch::Receiver<Keys>) -> Self {
        let now = Mono::now();
        let times = setup.times;
        let wanted = Arc::clone(&part.borrow_and_update());
        Self {
            id: setup.new_id(),
            names: names(&wanted),
            subscriptions: Subscriptions::new(wanted, times.message_gap, times.ack),
            heard: now,
            ping_at: now.plus_ms(whole_ms(times.ping_every)),
            delivered: false,
            deliver_by: None,
            complain_at: now,
            unsaid: 0,
            setup,
            socket,
            part,
        }
    }

    pub(super) fn id(&self) -> ConnectionId {
        self.id
    }

    /// The series a loss of this socket takes away.
    pub(super) fn carried(&self) -> Arc<[SeriesKey]> {
        self.subscriptions.carried()
    }

    /// Lives until the socket is lost, nothing is left to carry, or we stop.
    pub(super) async fn run(&mut self, tasks: &Tasks) -> End {
        loop {
            if let Err(end) = self.turn(tasks).await {
                if matches!(end, End::Finished) {
                    self.close().await;
                }
                return end;
            }
        }
    }

    async fn turn(&mut self, tasks: &Tasks) -> Step {
        if self.names.is_empty() {
            return Err(End::Finished); // given up while we connected
        }
        let now = Mono::now();
        self.check_deadlines(now)?;
        self.notice_muteness(now);
        self.speak(now).await?;
        let wake = Duration::from_millis(self.wake_at().ms_since(now));
        tokio::select! {
            biased;
            () = tasks.stopping() => Err(End::Finished),
            changed = self.part.changed() => self.on_change(changed.is_ok()),
            frame = self.socket.next() => {
                self.heard = Mono::now();
                self.on_frame(frame)?;
                self.drain()
            }
            () = tokio::time::sleep(wake) => Ok(()),
        }
    }

    fn check_deadlines(&self, now: Mono) -> Step {
        let times = &self.setup.times;
        if now.ms_since(self.heard) >= whole_ms(times.silence) {
            return Err(self.lost(Lost::Silent(times.silence)));
        }
        if self.subscriptions.is_overdue(now) {
            return Err(self.lost(Lost::Unanswered(times.ack)));
        }
        Ok(())
    }

    /// Acknowledged and silent (hazard 7) looks like a calm market; that no series at all delivers does not.
    fn notice_muteness(&mut self, now: Mono) {
        if self.delivered {
            self.deliver_by = None;
        } else if self.deliver_by.is_some_and(|by| now >= by) {
            self.deliver_by = None;
            let series = self.names.len();
            tracing::warn!(connection = %self.id, series, "acknowledged, but not one candle yet");
        }
    }

    /// Says what is due: a request, else a ping.
    async fn speak(&mut self, now: Mono) -> Step {
        if let Some(text) = self.subscriptions.next_request(now) {
            return self.send(Frame::text(text)).await;
        }
        if now >= self.ping_at {
            self.ping_at = now.plus_ms(whole_ms(self.setup.times.ping_every));
            self.subscriptions.spoke(now);
            return self.send(Frame::Ping(Bytes::new())).await;
        }
        Ok(())
    }

    async fn send(&mut self, frame: Frame) -> Step {
        let limit = self.setup.times.ack;
        match tokio::time::timeout(limit, self.socket.send(frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.lost(Lost::Broken(Box::new(error)))),
            Err(_) => Err(self.lost(Lost::Stuck(limit))),
        }
    }

    fn wake_at(&self) -> Mono {
        let dead_at = self.heard.plus_ms(whole_ms(self.setup.times.silence));
        let due = dead_at.min(self.ping_at);
        self.subscriptions.look_at().map_or(due, |at| at.min(due))
    }

    fn on_change(&mut self, told: bool) -> Step {
        let wanted = Arc::clone(&self.part.borrow_and_update());
        if !told || wanted.is_empty() {
            return Err(End::Finished);
        }
        self.names.extend(names(&wanted));
        self.names.retain(|_, key| wanted.contains(key));
        self.subscriptions.want(wanted);
        Ok(())
    }

    /// Reads what else has already arrived: at the top of a minute 200 closes come at once.
    fn drain(&mut self) -> Step {
        for _ in 0..BURST {
            let Some(frame) = self.socket.next().now_or_never() else {
                return Ok(());
            };
            self.on_frame(frame)?;
        }
        Ok(())
    }

    fn on_frame(&mut self, frame: Option<Result<Frame, Error>>) -> Step {
        match frame {
            Some(Ok(Frame::Text(text))) => self.on_text(text.as_str()),
            Some(Ok(Frame::Binary(_))) => {
                self.complain(|counts| &counts.unreadable, "binary frame", "");
                Ok(())
            }
            Some(Ok(Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_))) => Ok(()),
            Some(Ok(Frame::Close(frame))) => Err(self.lost(Lost::Closed {
                code: frame.as_ref().map(|frame| frame.code.into()),
                reason: frame.map_or_else(String::new, |frame| frame.reason.to_string()),
            })),
            Some(Err(error)) => Err(self.lost(Lost::Broken(Box::new(error)))),
            None => Err(self.lost(Lost::Closed {
                code: None,
                reason: "without a word".into(),
            })),
        }
    }

    fn on_text(&mut self, text: &str) -> Step {
        match message::read(text) {
            Ok(Message::Candle(frame)) => self.on_candle(&frame),
            Ok(Message::Accepted { id }) => self.on_accepted(id),
            Ok(Message::Refused { code, message }) => {
                Err(self.lost(Lost::Refused { code, message }))
            }
            Err(_) => {
                self.complain(|counts| &counts.unreadable, "unreadable message", text);
                Ok(())
            }
        }
    }

    fn on_accepted(&mut self, id: u64) -> Step {
        let Some(keys) = self.subscriptions.accepted(id) else {
            return Ok(());
        };
        let times = &self.setup.times;
        self.deliver_by = Some(Mono::now().plus_ms(whole_ms(times.silence)));
        let connection = self.id;
        match self.setup.feed.offer(FeedEvent::Up { connection, keys }) {
            Offered::Queued | Offered::Replaced | Offered::Outdated => Ok(()),
            Offered::Refused => Err(self.lost(Lost::EngineBehind)),
            Offered::Gone => Err(End::Finished),
        }
    }

    fn on_candle(&mut self, frame: &CandleFrame<'_>) -> Step {
        let Some(key) = self.names.get(frame.stream.as_ref()).cloned() else {
            // A series just given up still sends until the exchange has taken that in; its name alone is no fault.
            self.setup.counts.foreign.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        };
        if !frame.is_of(&key) {
            self.complain(
                |counts| &counts.foreign,
                "event of another series",
                &frame.stream,
            );
            return Ok(());
        }
        let wire = &frame.data.candle;
        let texts = [wire.open, wire.high, wire.low, wire.close, wire.volume];
        let open_time = OpenTime::from_ms(wire.open_time);
        let close_time = TimeMs::new(wire.close_time);
        match row::candle(key.interval, open_time, close_time, texts) {
            Ok(candle) => {
                let event_time = TimeMs::new(frame.data.event_time);
                self.push_clock(event_time);
                self.deliver(if wire.closed {
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
                })
            }
            Err(bad) => {
                self.setup.counts.rows.count(&bad);
                self.complain(counter_of(&bad), &bad.to_string(), &frame.stream);
                Ok(())
            }
        }
    }

    fn push_clock(&self, event_time: TimeMs) {
        let clock = &self.setup.clock;
        let ahead = event_time.ms_since(clock.now()) as f64;
        if ahead <= STAMP_AHEAD_MS * clock.speed() {
            clock.at_least(event_time);
        }
    }

    fn deliver(&mut self, event: FeedEvent) -> Step {
        self.delivered = true;
        let counts = &self.setup.counts;
        match self.setup.feed.offer(event) {
            Offered::Queued | Offered::Replaced | Offered::Outdated => {
                counts.events.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Offered::Refused => {
                counts.refused.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Offered::Gone => Err(End::Finished),
        }
    }

    /// Counts every bad event, speaks of them once a minute.
    fn complain(&mut self, counter: fn(&StreamCounts) -> &AtomicU64, what: &str, about: &str) {
        counter(&self.setup.counts).fetch_add(1, Ordering::Relaxed);
        let now = Mono::now();
        if now < self.complain_at {
            self.unsaid += 1;
            return;
        }
        let about: String = about.chars().take(200).collect();
        tracing::warn!(connection = %self.id, what, about, unsaid = self.unsaid, "bad event dropped");
        self.unsaid = 0;
        self.complain_at = now.plus_ms(COMPLAIN_EVERY_MS);
    }

    /// Says goodbye and waits for the exchange to say so too, but not for long.
    async fn close(&mut self) {
        let goodbye = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        let _in_time = tokio::time::timeout(CLOSING, async {
            if self.socket.close(Some(goodbye)).await.is_ok() {
                while let Some(Ok(_)) = self.socket.next().await {}
            }
        })
        .await;
    }

    fn lost(&self, why: Lost) -> End {
        End::Lost {
            why,
            delivered: self.delivered,
        }
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

fn names(keys: &Keys) -> HashMap<String, SeriesKey> {
    keys.iter()
        .map(|key| (stream_name(key), key.clone()))
        .collect()
}
