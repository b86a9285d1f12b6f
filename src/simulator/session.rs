//! One stream connection: reads the client's requests, writes acknowledgements and events, pings, and closes it for
//! what the exchange closes connections for, or what a fault tells it to. One task; everything it sends goes through
//! `send`. What a subscription delivers is decided in `subscribing.rs`.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

use super::World;
use super::fault::{FaultKind, Opened, Place, Strike, TransportFault};
use super::line::Line;
use super::requests::{self, Request};
use super::routes::{Form, Route};
use super::spoil;
use super::stats::{Rule, SharedConnection, lock};
use super::streams::{Batch, Listener, QUEUE_BATCHES};
use super::subscribing::{self, Asked, Subscriber};
use crate::clock::Mono;

/// Names a connection may be subscribed to.
const MAX_STREAMS: usize = 1_024;
/// Messages a client may send a second, and at once.
const MESSAGES_PER_SECOND: f64 = 10.0;
const MESSAGE_BURST: f64 = 15.0;
/// A write that takes longer means that nobody reads.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the client's answer to a close is waited for.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// Why a session ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    ClientGone,
    ClientClosed,
    TooManyMessages,
    TooManyStreams,
    TooSlow,
    NoPong,
    TooOld,
    Stopping,
    /// A fault: reset.
    Reset,
    /// A fault: closed with a code and a reason; 1006: cut.
    Told(u16, Utf8Bytes),
}

impl End {
    fn words(&self) -> &str {
        match self {
            Self::ClientGone => "client gone",
            Self::ClientClosed => "closed by the client",
            Self::TooManyMessages => "Too many requests",
            Self::TooManyStreams => "Invalid request",
            Self::TooSlow => "too slow",
            Self::NoPong => "no pong",
            Self::TooOld => "24 hours over",
            Self::Stopping => "stopping",
            Self::Reset => "reset by a fault",
            Self::Told(_, _) => "closed by a fault",
        }
    }

    /// The close frame sent; `None`: the connection is just cut.
    fn frame(&self) -> Option<CloseFrame> {
        let reason = Utf8Bytes::from(self.words());
        let (code, reason) = match self {
            Self::ClientGone | Self::ClientClosed | Self::TooSlow | Self::NoPong | Self::Reset => {
                return None;
            }
            Self::Told(1006, _) => return None,
            Self::TooManyMessages | Self::TooManyStreams => (CloseCode::Policy, reason),
            Self::TooOld | Self::Stopping => (CloseCode::Away, reason),
            Self::Told(code, reason) => (CloseCode::from(*code), reason.clone()),
        };
        Some(CloseFrame { code, reason })
    }
}

struct Session {
    world: Arc<World>,
    socket: WebSocketStream<Line>,
    counts: SharedConnection,
    subscriber: Subscriber,
    form: Form,
    names: BTreeSet<String>,
    pace: Pace,
    cut: CancellationToken,
    unanswered_ping: Option<Mono>,
    opened: Opened,
    began: Mono,
}

/// Serves an upgraded connection until it ends.
pub(super) async fn run(
    stream: Line,
    already_read: Vec<u8>,
    route: Route,
    client: SocketAddr,
    path: String,
    opened: Opened,
    world: Arc<World>,
) {
    let config = WebSocketConfig::default()
        .read_buffer_size(16 * 1_024)
        .max_message_size(Some(MAX_MESSAGE_BYTES));
    let socket =
        WebSocketStream::from_partially_read(stream, already_read, Role::Server, Some(config))
            .await;
    let counts = world.stats.connected(client, &path, world.clock.now().ms());
    let id = lock(&counts).id;
    let (queue, inbox) = mpsc::channel(QUEUE_BATCHES);
    let cut = CancellationToken::new();
    let listener = Listener {
        path: path.clone(),
        form: route.form,
        queue,
        cut: cut.clone(),
    };
    world.streams.join(id, listener);
    let mut session = Session {
        socket,
        subscriber: Subscriber {
            id,
            address: client.ip(),
            door: route.door,
            path,
        },
        opened,
        began: Mono::now(),
        form: route.form,
        names: BTreeSet::new(),
        pace: Pace::new(),
        cut,
        unanswered_ping: None,
        counts: Arc::clone(&counts),
        world: Arc::clone(&world),
    };
    let end = session.serve(route, inbox).await;
    world.streams.leave(id);
    session.close(&end).await;
    world.stats.ended(&counts, end.words());
}

impl Session {
    async fn serve(&mut self, route: Route, mut inbox: mpsc::Receiver<Batch>) -> End {
        let world = Arc::clone(&self.world);
        let cut = self.cut.clone();
        let mut told = world.faults.changes();
        let mut pings = tokio::time::interval(world.settings.ping_every);
        pings.reset(); // the first one is due after a period, not at once
        let mut end_of_life = self.began;
        let mut looked = world.clock.now();
        let mut begun = match self.faults(&mut end_of_life).await {
            Ok(()) => self.subscribe(route.names).await,
            Err(end) => Err(end),
        };
        loop {
            if let Err(end) = begun {
                return end;
            }
            let life_left = Duration::from_millis(end_of_life.ms_since(Mono::now()));
            let next_fault = world
                .faults
                .until_change(looked, &world.clock)
                .unwrap_or(Duration::MAX);
            begun = tokio::select! {
                message = self.socket.next() => match message {
                    None | Some(Err(_)) => Err(End::ClientGone),
                    Some(Ok(message)) => self.receive(message).await,
                },
                Some(batch) = inbox.recv() => self.send_all(batch).await,
                _ = pings.tick() => self.ping().await,
                () = cut.cancelled() => Err(End::TooSlow),
                () = world.tasks.stopping() => Err(End::Stopping),
                _ = told.changed() => {
                    looked = world.clock.now();
                    self.faults(&mut end_of_life).await
                }
                () = tokio::time::sleep(next_fault) => {
                    looked = world.clock.now();
                    self.faults(&mut end_of_life).await
                }
                () = tokio::time::sleep(life_left) => Err(End::TooOld),
            };
        }
    }

    /// Suffers the faults that have begun for this connection, and no longer those that are over.
    async fn faults(&mut self, end_of_life: &mut Mono) -> Result<(), End> {
        let ms = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let mut most_age_ms = ms(self.world.settings.max_age);
        let mut bytes_per_second = None;
        for Strike { number, what } in self.struck() {
            match what {
                TransportFault::Reset {} => return Err(End::Reset),
                TransportFault::Close { code, reason } => {
                    return Err(End::Told(code, reason.into()));
                }
                TransportFault::MaxAge { max_age_ms } => most_age_ms = most_age_ms.min(max_age_ms),
                TransportFault::HalfOpen {} => return Err(self.half_open(number).await),
                TransportFault::SlowBytes {
                    bytes_per_second: rate,
                } => bytes_per_second = Some(rate),
                TransportFault::Stall {}
                | TransportFault::RefuseHandshake { .. }
                | TransportFault::HangHandshake {}
                | TransportFault::RefuseConnect { .. } => {}
            }
        }
        *end_of_life = self.began.plus_ms(most_age_ms);
        self.socket.get_ref().control().slow_to(bytes_per_second);
        Ok(())
    }

    fn struck(&self) -> Vec<Strike<TransportFault>> {
        let place = Place {
            path: Some(&self.subscriber.path),
            connection: Some(self.subscriber.id),
            opened: Some(self.opened),
            ..Place::default()
        };
        let pick = |kind: &FaultKind| {
            let of_connections = |fault: &&TransportFault| match fault {
                TransportFault::Reset {}
                | TransportFault::Close { .. }
                | TransportFault::MaxAge { .. }
                | TransportFault::HalfOpen {}
                | TransportFault::SlowBytes { .. } => true,
                TransportFault::Stall {}
                | TransportFault::RefuseHandshake { .. }
                | TransportFault::HangHandshake {}
                | TransportFault::RefuseConnect { .. } => false,
            };
            kind.transport().filter(of_connections).cloned()
        };
        let key = format!("connection {}", self.subscriber.id);
        self.world
            .faults
            .hold(self.world.clock.now(), &place, &key, pick)
    }

    /// Says nothing more and reads what comes without a look at it, until the client goes or the fault is over.
    async fn half_open(&mut self, fault: u64) -> End {
        self.world.streams.leave(self.subscriber.id);
        let world = Arc::clone(&self.world);
        let line = self.socket.get_mut();
        let deaf = async {
            let mut thrown_away = [0; 4_096];
            while matches!(line.read(&mut thrown_away).await, Ok(1..)) {}
        };
        tokio::select! {
            () = deaf => End::ClientGone,
            () = spoil::until_over(&world, fault) => End::Reset,
        }
    }

    async fn receive(&mut self, message: Message) -> Result<(), End> {
        let now = Mono::now();
        match message {
            Message::Text(text) => {
                self.paced(now)?;
                self.request(&text).await
            }
            Message::Binary(_) => {
                self.paced(now)?;
                self.reply(requests::not_json("binary message")).await
            }
            Message::Ping(_) => {
                self.paced(now)?;
                // The answer is queued by the protocol layer; flushing sends it at once.
                self.flush().await
            }
            Message::Pong(_) => {
                // Any pong counts, also an empty or an unasked one: clients send both.
                self.unanswered_ping = None;
                Ok(())
            }
            Message::Close(_) => Err(End::ClientClosed),
            Message::Frame(_) => Ok(()),
        }
    }

    /// Counts a message and refuses the one too many.
    fn paced(&mut self, now: Mono) -> Result<(), End> {
        let in_second = self.pace.count(now);
        {
            let mut counts = lock(&self.counts);
            counts.messages_received += 1;
            counts.messages_per_second_peak = counts.messages_per_second_peak.max(in_second);
        }
        let allowed = self.pace.take(now);
        if in_second == MESSAGES_PER_SECOND as u64 + 1 || !allowed {
            let detail = format!("{in_second} messages within a second");
            self.broken(Rule::MessageRate, detail);
        }
        if allowed {
            Ok(())
        } else {
            Err(End::TooManyMessages)
        }
    }

    async fn request(&mut self, text: &str) -> Result<(), End> {
        let (id, request) = match requests::parse(text) {
            Ok(parsed) => parsed,
            Err(reply) => return self.reply(reply).await,
        };
        let reply = match request {
            Request::Subscribe(names) => {
                match subscribing::asked(&self.world, &self.subscriber, &names) {
                    Asked::Lost => return Ok(()),
                    Asked::Refused { code, message } => requests::refused(id, code, &message),
                    Asked::Heard => {
                        self.subscribe(names).await?;
                        requests::done(id)
                    }
                }
            }
            Request::Unsubscribe(names) => {
                self.unsubscribe(&names);
                requests::done(id)
            }
            Request::List => requests::names(id, &self.names),
            Request::SetForm(form) => {
                self.form = form;
                self.world.streams.set_form(self.subscriber.id, form);
                requests::done(id)
            }
            Request::GetForm => requests::form(id, self.form),
        };
        self.reply(reply).await
    }

    /// Subscribes to names, known or not: unknown ones count and deliver nothing, as on the live exchange.
    async fn subscribe(&mut self, names: Vec<String>) -> Result<(), End> {
        self.names.extend(names.iter().cloned());
        if self.names.len() > MAX_STREAMS {
            let detail = format!("{} streams, 1024 allowed", self.names.len());
            self.broken(Rule::StreamCount, detail);
            self.reply(requests::too_many_subscriptions()).await?;
            return Err(End::TooManyStreams);
        }
        for unknown in subscribing::listen(&self.world, &self.subscriber, &names) {
            lock(&self.counts).asked_for_unknown(unknown);
        }
        let mut counts = lock(&self.counts);
        counts.streams = self.names.len();
        counts.streams_peak = counts.streams_peak.max(counts.streams);
        Ok(())
    }

    fn unsubscribe(&mut self, names: &[String]) {
        for name in names {
            self.names.remove(name);
            if let Some(key) = self.subscriber.door.stream(name, &self.world) {
                self.world.streams.unlisten(self.subscriber.id, key);
            }
        }
        lock(&self.counts).streams = self.names.len();
    }

    async fn ping(&mut self) -> Result<(), End> {
        let now = Mono::now();
        if let Some(since) = self.unanswered_ping {
            lock(&self.counts).pongs_missed += 1;
            self.broken(
                Rule::MissingPong,
                "a ping was not answered before the next".into(),
            );
            if u128::from(now.ms_since(since)) >= self.world.settings.pong_timeout.as_millis() {
                return Err(End::NoPong);
            }
        }
        self.unanswered_ping = self.unanswered_ping.or(Some(now));
        let payload = self.world.clock.now().to_string();
        self.send(Message::Ping(payload.into())).await?;
        self.flush().await
    }

    async fn reply(&mut self, text: String) -> Result<(), End> {
        self.send(Message::text(text)).await?;
        self.flush().await
    }

    async fn send_all(&mut self, batch: Vec<Utf8Bytes>) -> Result<(), End> {
        for text in batch {
            self.send(Message::Text(text)).await?;
        }
        self.flush().await
    }

    /// Every message leaves here. Ends the session when nobody reads.
    async fn send(&mut self, message: Message) -> Result<(), End> {
        {
            let mut counts = lock(&self.counts);
            counts.messages_sent += 1;
            counts.bytes_sent += message.len() as u64;
        }
        tokio::select! {
            sent = tokio::time::timeout(WRITE_TIMEOUT, self.socket.feed(message)) => ended(&sent),
            () = self.cut.cancelled() => Err(End::TooSlow),
        }
    }

    async fn flush(&mut self) -> Result<(), End> {
        tokio::select! {
            flushed = tokio::time::timeout(WRITE_TIMEOUT, self.socket.flush()) => ended(&flushed),
            () = self.cut.cancelled() => Err(End::TooSlow),
        }
    }

    /// Says goodbye if the end has a frame, and waits for the answer: cutting at once would lose what was just sent.
    async fn close(&mut self, end: &End) {
        let connection = self.subscriber.id;
        tracing::debug!(connection, why = end.words(), "stream connection ended");
        if *end == End::Reset {
            self.socket.get_ref().control().reset_at_end();
        }
        let Some(frame) = end.frame() else {
            if *end == End::ClientClosed {
                let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.socket.flush()).await;
            }
            return;
        };
        let goodbye = async {
            if self.socket.close(Some(frame)).await.is_ok() {
                while let Some(Ok(_)) = self.socket.next().await {}
            }
        };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, goodbye).await;
    }

    fn broken(&self, rule: Rule, detail: String) {
        let now = self.world.clock.now().ms();
        self.world.stats.broken_by(&self.counts, rule, detail, now);
    }
}

fn ended<E>(written: &Result<Result<(), E>, tokio::time::error::Elapsed>) -> Result<(), End> {
    match written {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::ClientGone),
        Err(_) => Err(End::TooSlow),
    }
}

/// How fast a client sends: a bucket of 15 that refills at 10 a second, and the messages of the last second.
#[derive(Debug)]
struct Pace {
    left: f64,
    at: Mono,
    last_second: VecDeque<Mono>,
}

impl Pace {
    fn new() -> Self {
        Self {
            left: MESSAGE_BURST,
            at: Mono::now(),
            last_second: VecDeque::new(),
        }
    }

    /// Messages within the second that ends now, this one included.
    fn count(&mut self, now: Mono) -> u64 {
        self.last_second.push_back(now);
        while self
            .last_second
            .front()
            .is_some_and(|at| now.ms_since(*at) >= 1_000)
        {
            self.last_second.pop_front();
        }
        self.last_second.len() as u64
    }

    fn take(&mut self, now: Mono) -> bool {
        let refill = now.ms_since(self.at) as f64 * MESSAGES_PER_SECOND / 1_000.0;
        self.at = now;
        self.left = (self.left + refill).min(MESSAGE_BURST) - 1.0;
        self.left >= 0.0
    }
}
