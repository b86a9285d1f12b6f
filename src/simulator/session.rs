//! One stream connection: reads the client's requests, writes acknowledgements and events, pings, and closes it for
//! what the exchange closes connections for. One task; everything it sends goes through `send`.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

use super::World;
use super::requests::{self, Request};
use super::routes::{Door, Form, Route};
use super::stats::{Rule, SharedConnection, lock};
use super::streams::{Batch, Listener, QUEUE_BATCHES};
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    ClientGone,
    ClientClosed,
    TooManyMessages,
    TooManyStreams,
    TooSlow,
    NoPong,
    TooOld,
    Stopping,
}

impl End {
    fn words(self) -> &'static str {
        match self {
            Self::ClientGone => "client gone",
            Self::ClientClosed => "closed by the client",
            Self::TooManyMessages => "Too many requests",
            Self::TooManyStreams => "Invalid request",
            Self::TooSlow => "too slow",
            Self::NoPong => "no pong",
            Self::TooOld => "24 hours over",
            Self::Stopping => "stopping",
        }
    }

    /// The close code sent; `None`: the connection is just cut.
    fn code(self) -> Option<CloseCode> {
        match self {
            Self::ClientGone | Self::ClientClosed | Self::TooSlow | Self::NoPong => None,
            Self::TooManyMessages | Self::TooManyStreams => Some(CloseCode::Policy),
            Self::TooOld | Self::Stopping => Some(CloseCode::Away),
        }
    }
}

struct Session {
    world: Arc<World>,
    socket: WebSocketStream<TcpStream>,
    counts: SharedConnection,
    id: u64,
    door: Door,
    form: Form,
    names: BTreeSet<String>,
    pace: Pace,
    cut: CancellationToken,
    unanswered_ping: Option<Mono>,
}

/// Serves an upgraded connection until it ends.
pub(super) async fn run(
    stream: TcpStream,
    already_read: Vec<u8>,
    route: Route,
    client: SocketAddr,
    path: String,
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
        form: route.form,
        queue,
        cut: cut.clone(),
    };
    world.streams.join(id, listener);
    let mut session = Session {
        socket,
        id,
        door: route.door,
        form: route.form,
        names: BTreeSet::new(),
        pace: Pace::new(),
        cut,
        unanswered_ping: None,
        counts: Arc::clone(&counts),
        world: Arc::clone(&world),
    };
    let end = session.serve(route.names, inbox).await;
    world.streams.leave(id);
    session.close(end).await;
    world.stats.ended(&counts, end.words());
}

impl Session {
    async fn serve(&mut self, names: Vec<String>, mut inbox: mpsc::Receiver<Batch>) -> End {
        if let Err(end) = self.subscribe(names).await {
            return end;
        }
        let world = Arc::clone(&self.world);
        let cut = self.cut.clone();
        let mut pings = tokio::time::interval(world.settings.ping_every);
        pings.reset(); // the first one is due after a period, not at once
        let end_of_life = tokio::time::sleep(world.settings.max_age);
        tokio::pin!(end_of_life);
        loop {
            let step = tokio::select! {
                message = self.socket.next() => match message {
                    None | Some(Err(_)) => Err(End::ClientGone),
                    Some(Ok(message)) => self.receive(message).await,
                },
                Some(batch) = inbox.recv() => self.send_all(batch).await,
                _ = pings.tick() => self.ping().await,
                () = cut.cancelled() => Err(End::TooSlow),
                () = world.tasks.stopping() => Err(End::Stopping),
                () = &mut end_of_life => Err(End::TooOld),
            };
            if let Err(end) = step {
                return end;
            }
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
                self.subscribe(names).await?;
                requests::done(id)
            }
            Request::Unsubscribe(names) => {
                self.unsubscribe(&names);
                requests::done(id)
            }
            Request::List => requests::names(id, &self.names),
            Request::SetForm(form) => {
                self.form = form;
                self.world.streams.set_form(self.id, form);
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
        let now = self.world.clock.now();
        for name in &names {
            match self.door.stream(name, &self.world) {
                Some(key) => self.world.streams.listen(self.id, key, name, now),
                None => lock(&self.counts).asked_for_unknown(name),
            }
        }
        let mut counts = lock(&self.counts);
        counts.streams = self.names.len();
        counts.streams_peak = counts.streams_peak.max(counts.streams);
        Ok(())
    }

    fn unsubscribe(&mut self, names: &[String]) {
        for name in names {
            self.names.remove(name);
            if let Some(key) = self.door.stream(name, &self.world) {
                self.world.streams.unlisten(self.id, key);
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

    /// Says goodbye if the end has a code, and waits for the answer: cutting at once would lose what was just sent.
    async fn close(&mut self, end: End) {
        tracing::debug!(
            connection = self.id,
            why = end.words(),
            "stream connection ended"
        );
        let Some(code) = end.code() else {
            if end == End::ClientClosed {
                let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.socket.flush()).await;
            }
            return;
        };
        let frame = CloseFrame {
            code,
            reason: Utf8Bytes::from_static(end.words()),
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
