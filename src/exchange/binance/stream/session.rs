//! One socket's life: subscribe, listen, ping, notice silence, close. What a candle's frame says is `candles`', who delivers
//! is `health`'s; here is when to look, and what follows. Tells the engine of itself only while it carries (`role`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{FutureExt, SinkExt, StreamExt};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message as Frame};

use super::candles::{Candles, Taken};
use super::connection::{End, Socket};
use super::health::{Finding, Health};
use super::lost::Lost;
use super::message::{self, CandleFrame, Message};
use super::name::Names;
use super::refused_names::RefusedNames;
use super::role::{News, Role, Terms, Why};
use super::subscriptions::{Refused, Subscriptions};
use super::{Setup, whole_ms};
use crate::clock::Mono;
use crate::exchange::{FeedEvent, Offered};
use crate::market::SeriesKey;
use crate::tasks::Tasks;

/// Frames read in one go before stop, timers and changes are looked at again.
const BURST: usize = 64;
/// How long a closing handshake may take.
const CLOSING: Duration = Duration::from_secs(1);
/// Health is looked at that many times within the silence it allows.
const LOOKS: u32 = 30;
/// What was subscribed anew may be silent that many times as long before the connection is moved: a series whose only
/// candles are its closes has had one by then.
const RENEWAL_PATIENCE: u32 = 2;
/// Series named in one line.
pub(super) const NAMED_MAX: usize = 8;

/// What is done about mute series.
enum Healing {
    Nothing,
    /// They were subscribed anew, and are judged then.
    Renewed {
        keys: Vec<SeriesKey>,
        judge_at: Mono,
    },
}

/// A connected socket and what it carries.
pub(super) struct Session {
    setup: Arc<Setup>,
    socket: Socket,
    part: watch::Receiver<Names>,
    terms: Terms,
    role: Role,
    candles: Candles,
    subscriptions: Subscriptions,
    health: Health,
    healing: Healing,
    heard: Mono,
    ping_at: Mono,
    look_at: Mono,
    delivered: bool,
    refusals: RefusedNames,
    /// It has said `Up`, so its loss is to be told.
    is_known: bool,
    prove_by: Option<Mono>,
    is_ready: bool,
    replace: Option<Why>,
}

/// Whether to go on.
type Step = Result<(), End>;

impl Session {
    pub(super) fn new(
        setup: Arc<Setup>,
        socket: Socket,
        mut part: watch::Receiver<Names>,
        mut terms: Terms,
    ) -> Self {
        let now = Mono::now();
        let times = setup.times;
        let wanted = Arc::clone(&part.borrow_and_update());
        let role = *terms.role.borrow_and_update();
        Self {
            candles: Candles::new(Arc::clone(&setup), terms.id, &wanted),
            subscriptions: Subscriptions::new(wanted, terms.message_gap, times.ack),
            health: Health::new(times.silence, terms.patience),
            healing: Healing::Nothing,
            heard: now,
            ping_at: now.plus_ms(whole_ms(times.ping_every)),
            look_at: now,
            delivered: false,
            refusals: RefusedNames::new(times.heal_every),
            is_known: false,
            prove_by: None,
            is_ready: false,
            replace: None,
            setup,
            socket,
            part,
            terms,
            role,
        }
    }

    /// Lives until the socket is lost or replaced, nothing is left to carry, or we stop.
    pub(super) async fn run(mut self, tasks: &Tasks) -> End {
        loop {
            if let Err(end) = self.turn(tasks).await {
                match &end {
                    End::Finished => {
                        if !tasks.is_stopping() {
                            let carried = self.subscriptions.carried();
                            self.tell_left(&carried);
                        }
                        self.close().await;
                    }
                    End::Lost { why, .. } => self.tell_down(why),
                }
                return end;
            }
        }
    }

    async fn turn(&mut self, tasks: &Tasks) -> Step {
        if self.part.borrow().is_empty() {
            return Err(End::Finished); // given up while we connected
        }
        let now = Mono::now();
        self.check_deadlines(now)?;
        if now >= self.look_at {
            self.look_at = now.plus_ms(whole_ms(self.setup.times.silence / LOOKS));
            self.check_health(now)?;
        }
        self.report(now).await;
        self.speak(now).await?;
        let wake = Duration::from_millis(self.wake_at().ms_since(now));
        tokio::select! {
            biased;
            () = tasks.stopping() => Err(End::Finished),
            changed = self.terms.role.changed() => self.on_role(changed.is_ok()),
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

    fn check_health(&mut self, now: Mono) -> Step {
        self.refusals.tell(self.terms.id);
        if self.refusals.is_time_to_ask(now) {
            self.subscriptions.ask_again();
        }
        let has_heard = self.setup.has_heard.load(Ordering::Relaxed);
        let unheard = self.health.unheard_for(now).filter(|_| !has_heard);
        if unheard.is_some_and(|silence| silence >= self.setup.times.first_candle) {
            self.tell_deafness();
        }
        match self.health.look(now) {
            Finding::Mute(fallen) => {
                self.tell_mute(&fallen)?;
                self.heal(now);
                Ok(())
            }
            Finding::NeverDelivered(silence) => {
                self.tell_deafness();
                Err(self.lost(Lost::Deaf(silence)))
            }
            Finding::FellSilent(silence) => Err(self.lost(Lost::Deaf(silence))),
        }
    }

    /// Said once, until a candle comes.
    fn tell_deafness(&self) {
        if !self.setup.deafness_told.swap(true, Ordering::Relaxed) {
            let url = &self.setup.host.target.url;
            tracing::error!(connection = %self.terms.id, url, "acknowledged, but not one candle: is this a dead path?");
        }
    }

    fn tell_mute(&self, fallen: &[SeriesKey]) -> Step {
        let mut told = Vec::new();
        for key in fallen {
            if self.setup.mute.add(key) {
                self.setup.counts.mutes.fetch_add(1, Ordering::Relaxed);
                self.offer(FeedEvent::Mute { key: key.clone() })?;
                told.push(key.to_string());
            }
        }
        if !told.is_empty() {
            let series = told.len();
            told.truncate(NAMED_MAX);
            let names = told.join(" ");
            tracing::warn!(connection = %self.terms.id, series, names, "acknowledged, but mute");
        }
        Ok(())
    }

    /// Mute series are subscribed anew, once; if that does not help, the connection is moved.
    fn heal(&mut self, now: Mono) {
        let mute = self.health.mute();
        let times = &self.setup.times;
        match &self.healing {
            Healing::Nothing => {
                if mute.is_empty() || now < self.terms.heal_at || self.role != Role::Carrying {
                    return;
                }
                let keys: Vec<_> = mute.into_iter().collect();
                self.subscriptions.renew(&keys);
                let patience = times.silence * RENEWAL_PATIENCE;
                let judge_at = now.plus_ms(whole_ms(patience));
                self.healing = Healing::Renewed { keys, judge_at };
                self.terms.heal_at = now.plus_ms(whole_ms(times.heal_every));
            }
            Healing::Renewed { judge_at, .. } if now < *judge_at => {}
            Healing::Renewed { keys, .. } => {
                if keys.iter().any(|key| mute.contains(key)) {
                    self.replace = Some(Why::Mute);
                }
                self.healing = Healing::Nothing;
            }
        }
    }

    /// Tells the place what it must know: that we may take over, or should be replaced.
    async fn report(&mut self, now: Mono) {
        if let Some(why) = self.replace.take() {
            self.tell_place(News::Replace(why)).await;
        }
        if self.role == Role::Proving && !self.is_ready && self.has_proved_itself(now) {
            self.is_ready = true;
            self.tell_place(News::Ready).await;
        }
    }

    /// All is acknowledged, and all deliver, or most do who ever will within a while. Who was refused some names must
    /// deliver something.
    fn has_proved_itself(&mut self, now: Mono) -> bool {
        if !self.subscriptions.are_complete() {
            return false;
        }
        let limit = self.setup.times.prove;
        let by = *self
            .prove_by
            .get_or_insert_with(|| now.plus_ms(whole_ms(limit)));
        let all = self.health.all_deliver();
        if self.health.delivers() {
            return all || now >= by;
        }
        all && self.subscriptions.missing().is_empty()
    }

    async fn tell_place(&self, news: News) {
        let _place_may_be_gone = self.terms.reports.send((self.terms.id, news)).await;
    }

    /// Says what is due: a ping, which is rare, else a request.
    async fn speak(&mut self, now: Mono) -> Step {
        if now >= self.ping_due() {
            self.ping_at = now.plus_ms(whole_ms(self.setup.times.ping_every));
            self.subscriptions.spoke(now);
            return self.send(Frame::Ping(Bytes::new())).await;
        }
        match self.subscriptions.next_request(now) {
            Some(text) => self.send(Frame::text(text)).await,
            None => Ok(()),
        }
    }

    /// A ping keeps its distance as every other message.
    fn ping_due(&self) -> Mono {
        self.ping_at.max(self.subscriptions.speak_at())
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
        let due = dead_at.min(self.ping_due()).min(self.look_at);
        self.subscriptions.look_at().map_or(due, |at| at.min(due))
    }

    fn on_role(&mut self, told: bool) -> Step {
        self.role = *self.terms.role.borrow_and_update();
        if !told {
            return Err(End::Finished); // the place is gone
        }
        match self.role {
            Role::Proving => Ok(()),
            Role::Carrying => {
                self.tell_up(self.subscriptions.carried())?;
                self.tell_missing();
                Ok(())
            }
            Role::Retired => Err(End::Finished),
        }
    }

    fn on_change(&mut self, told: bool) -> Step {
        let wanted = Arc::clone(&self.part.borrow_and_update());
        if !told || wanted.is_empty() {
            return Err(End::Finished);
        }
        self.candles.want(&wanted);
        self.health.keep(&wanted);
        let before = self.subscriptions.carried();
        self.subscriptions.want(wanted);
        let after = self.subscriptions.carried();
        // What comes back before it was unsubscribed was never away, but for whoever was told that it left.
        let back = after.iter().filter(|key| !before.contains(key));
        let back: Arc<[SeriesKey]> = back.cloned().collect();
        let left = before.iter().filter(|key| !after.contains(key));
        let left: Vec<SeriesKey> = left.cloned().collect();
        self.tell_left(&left);
        match self.role {
            Role::Carrying => self.tell_up(back),
            Role::Proving | Role::Retired => Ok(()),
        }
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
                self.candles
                    .complain(|counts| &counts.unreadable, "binary frame", "");
                Ok(())
            }
            Some(Ok(Frame::Ping(_))) => {
                self.subscriptions.answered_ping(self.heard); // by tungstenite, at once
                Ok(())
            }
            Some(Ok(Frame::Pong(_) | Frame::Frame(_))) => Ok(()),
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
            Ok(Message::Refused { id, code, message }) => {
                self.on_refused(id, code, &message);
                Ok(())
            }
            Ok(Message::Listing { symbol, status }) => {
                self.offer(FeedEvent::Listing { symbol, status })
            }
            Ok(Message::ElsewhereListed) => Ok(()),
            Ok(Message::Shutdown) => {
                self.replace = Some(Why::Shutdown);
                Ok(())
            }
            Err(_) => {
                self.candles
                    .complain(|counts| &counts.unreadable, "unreadable message", text);
                Ok(())
            }
        }
    }

    fn on_accepted(&mut self, id: u64) -> Step {
        let Some(keys) = self.subscriptions.accepted(id) else {
            return Ok(());
        };
        self.health.expect(&keys, self.heard);
        match self.role {
            Role::Carrying => self.tell_up(keys),
            Role::Proving | Role::Retired => Ok(()), // said when it takes over
        }
    }

    /// The connection stays: the next one would ask the same and hear the same.
    fn on_refused(&mut self, id: Option<u64>, code: i64, message: &str) {
        let aside = match self.subscriptions.refused(id) {
            Refused::Nothing => {
                let what = "a refusal of nothing we asked";
                return self
                    .candles
                    .complain(|counts| &counts.unreadable, what, message);
            }
            Refused::Halved => {
                let connection = self.terms.id;
                return tracing::debug!(%connection, code, message, "names refused: half of them next");
            }
            Refused::SetAside(aside) => aside,
        };
        self.refusals.came(self.heard);
        if aside.is_news {
            self.refusals.note(&aside.name, code, message);
        }
        if let Some(key) = aside.name.series().filter(|_| !aside.is_carried) {
            self.health.forget(key);
            if aside.was_carried {
                self.tell_left(std::slice::from_ref(key));
            }
        }
    }

    fn tell_up(&mut self, keys: Arc<[SeriesKey]>) -> Step {
        if keys.is_empty() {
            return Ok(());
        }
        self.is_known = true;
        let connection = self.terms.id;
        self.offer(FeedEvent::Up { connection, keys })
    }

    fn tell_down(&self, why: &Lost) {
        if !self.is_known {
            return;
        }
        self.setup.feed.offer(FeedEvent::Down {
            connection: self.terms.id,
            keys: self.subscriptions.carried(),
            reason: why.to_string(),
            code: why.code(),
            silent_for: why.silent_for(),
        });
    }

    /// What the one that was replaced carried and we were refused goes with it, and it closes without a word.
    fn tell_missing(&self) {
        let keys = self.subscriptions.missing();
        if let Some(connection) = self.terms.beside.filter(|_| !keys.is_empty()) {
            let _ = self.setup.feed.offer(FeedEvent::Left { connection, keys });
        }
    }

    /// These series are carried no longer, and no other connection has taken them over.
    fn tell_left(&self, left: &[SeriesKey]) {
        if !self.is_known || self.role == Role::Retired {
            return;
        }
        let keys: Arc<[SeriesKey]> = left.into();
        let connection = self.terms.id;
        if !keys.is_empty() {
            let _ = self.setup.feed.offer(FeedEvent::Left { connection, keys });
        }
    }

    fn on_candle(&mut self, frame: &CandleFrame<'_>) -> Step {
        match self.candles.take(frame) {
            Taken::Of(key) => {
                if !self.delivered {
                    self.delivered = true;
                    self.setup.deafness_told.store(false, Ordering::Relaxed);
                    self.setup.has_heard.store(true, Ordering::Relaxed);
                }
                self.health.heard(&key, self.heard);
                Ok(())
            }
            Taken::Dropped => Ok(()),
            Taken::FeedGone => Err(End::Finished),
        }
    }

    fn offer(&self, event: FeedEvent) -> Step {
        match self.setup.feed.offer(event) {
            Offered::Queued | Offered::Replaced | Offered::Outdated => Ok(()),
            Offered::Refused => Err(self.lost(Lost::EngineBehind)),
            Offered::Gone => Err(End::Finished),
        }
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
        let untold = if self.is_known {
            Arc::default()
        } else {
            self.subscriptions.carried()
        };
        End::Lost {
            why,
            delivered: self.delivered,
            untold,
        }
    }
}
