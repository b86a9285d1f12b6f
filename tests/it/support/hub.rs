//! A hub on a real socket, fed by hand-made writes through a real store, and clients to talk to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use hamacast::clock::ExchangeClock;
use hamacast::hub::{Asker, Connecting, Form, Hub, HubSettings, Tables};
use hamacast::market::{Interval, OpenTime, SeriesStatus};
use hamacast::signal::{ChangeBody, Recommendation, SignalResult, Source};
use hamacast::store::{Batch, Store, Write};
use hamacast::tasks::Tasks;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::fixtures::{self, key, signal, tradable};
pub(crate) use super::fixtures::{status as feed, update};

/// A test that waits longer has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running hub and everything around it.
pub(crate) struct TestHub {
    pub(crate) hub: Hub,
    pub(crate) store: Store,
    pub(crate) writes: Option<mpsc::Sender<Vec<Write>>>,
    /// Straight to the shards, past the store.
    pub(crate) shards: Vec<mpsc::Sender<Arc<Batch>>>,
    pub(crate) clock: ExchangeClock,
    pub(crate) tasks: Tasks,
    pub(crate) address: SocketAddr,
}

/// Settings of the tests: 15m and 1h, and as many client messages as a test likes.
pub(crate) fn settings() -> HubSettings {
    let mut settings = HubSettings::new(vec![Interval::M15, Interval::H1]);
    settings.limits.client_messages_per_s = 1_000_000;
    settings
}

impl TestHub {
    pub(crate) async fn start(settings: HubSettings) -> Self {
        Self::start_on(settings, Store::memory()).await
    }

    pub(crate) async fn start_on(settings: HubSettings, store: Store) -> Self {
        let tasks = Tasks::new();
        let clock = ExchangeClock::from_wall();
        let (hub, readers) = Hub::start(settings, &store, &clock, &tasks);
        let shards = readers.clone();
        let (writes, inbox) = mpsc::channel(16);
        tasks.spawn(
            "store writer",
            store.view().clone().write_all(inbox, readers),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tasks.spawn("listener", listen(listener, hub.clone(), tasks.clone()));
        Self {
            hub,
            store,
            writes: Some(writes),
            shards,
            clock,
            tasks,
            address,
        }
    }

    /// A hub that knows these contracts at both intervals, live and on HOLD, and that none besides them trades.
    pub(crate) async fn with(symbols: &[&str], settings: HubSettings) -> Self {
        let hub = Self::start(settings).await;
        hub.write(vec![tradable(symbols)]).await;
        hub.watch(symbols).await;
        hub
    }

    /// Writes a first result of each contract and waits until the hub has it.
    pub(crate) async fn watch(&self, symbols: &[&str]) {
        let both = |symbol: &&str| {
            [
                update(result(symbol, Interval::M15)),
                update(result(symbol, Interval::H1)),
            ]
        };
        self.write(symbols.iter().flat_map(both).collect()).await;
        self.settle(symbols[symbols.len() - 1]).await;
    }

    /// Waits until the hub knows `symbol`.
    pub(crate) async fn settle(&self, symbol: &str) {
        let name = format!("{}@signal_1h", symbol.to_ascii_lowercase());
        let mut client = self.client("/ws").await;
        loop {
            let answer = client.ask("SUBSCRIBE", &format!(r#"["{name}"]"#)).await;
            if answer.get("result").is_some() {
                return client.leave().await;
            }
        }
    }

    pub(crate) async fn write(&self, writes: Vec<Write>) {
        self.writes.as_ref().unwrap().send(writes).await.unwrap();
    }

    /// Hands the shards a batch as the store's writer would, past the writer.
    pub(crate) async fn push(&self, batch: Batch) {
        let batch = Arc::new(batch);
        for shard in &self.shards {
            shard.send(batch.clone()).await.unwrap();
        }
    }

    /// Waits until the tables are as wanted.
    pub(crate) async fn until_tables(&self, wanted: impl Fn(&Tables) -> bool) {
        let reached = async {
            while !wanted(&self.hub.tables().await) {
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(PATIENCE, reached).await.is_err() {
            panic!("still {:?}", self.hub.tables().await);
        }
    }

    pub(crate) async fn client(&self, path: &str) -> Client {
        let socket = TcpStream::connect(self.address).await.unwrap();
        Client::over(socket, path).await
    }

    /// As `client`, from another address than this machine's.
    pub(crate) async fn client_from(&self, address: &str, path: &str) -> Client {
        let socket = TcpStream::connect(self.address).await.unwrap();
        let mut request = format!("ws://localhost{path}")
            .into_client_request()
            .unwrap();
        let headers = request.headers_mut();
        headers.insert("x-asker", address.parse().unwrap());
        let (socket, _) = tokio_tungstenite::client_async(request, socket)
            .await
            .unwrap();
        Client { socket, next_id: 0 }
    }

    /// A socket behind its handshake, for bytes no client library would send.
    pub(crate) async fn bare(&self, path: &str) -> TcpStream {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        socket
    }

    /// A client that does not read by itself and has small buffers.
    pub(crate) async fn slow_client(&self, path: &str) -> Client {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let socket = socket.connect(self.address).await.unwrap();
        Client::over(socket, path).await
    }

    /// Waits until every table is empty.
    pub(crate) async fn emptied(&self) {
        let emptied = async {
            while self.hub.tables().await != Tables::default() || self.hub.connections() != 0 {
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(PATIENCE, emptied).await.is_err() {
            panic!("still {:?}", self.hub.tables().await);
        }
    }

    /// Stops the way the program does: sources first, then the end of each inbox.
    pub(crate) async fn stop(&mut self) {
        self.tasks.stop();
        self.writes = None;
        self.shards.clear();
        let left = self.tasks.drain(PATIENCE).await;
        assert!(left.is_empty(), "{left:?}");
    }
}

async fn listen(listener: TcpListener, hub: Hub, tasks: Tasks) {
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (socket, peer) = accepted.unwrap();
                tasks.spawn_short("upgrade", upgrade(socket, peer, hub.clone()));
            }
            () = tasks.stopping() => return,
        }
    }
}

/// The least of an HTTP server: the room `http` does this for real.
async fn upgrade(mut socket: TcpStream, peer: SocketAddr, hub: Hub) {
    let mut head = Vec::new();
    let end = loop {
        if let Some(at) = head.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if socket.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    };
    let rest = Bytes::copy_from_slice(&head[end..]);
    let text = String::from_utf8_lossy(&head[..end]).into_owned();
    let key = text
        .lines()
        .find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("sec-websocket-key")
                .then_some(value)
        })
        .unwrap();
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    if socket.write_all(answer.as_bytes()).await.is_err() {
        return;
    }
    let path = text.split(' ').nth(1).unwrap();
    let (mode, streams) = match path.strip_prefix("/ws") {
        Some(rest) => (Form::Raw, rest.trim_start_matches('/')),
        None => (
            Form::Wrapped,
            path.trim_start_matches("/stream")
                .trim_start_matches("?streams="),
        ),
    };
    let streams = streams.split('/').filter(|name| !name.is_empty());
    let connecting = Connecting {
        mode,
        streams: streams.map(str::to_owned).collect(),
        asker: asker(&text),
        peer: peer.ip(),
    };
    hub.accept(socket, rest, connecting);
}

/// This machine, or the address a header names.
fn asker(head: &str) -> Asker {
    let named = head.lines().find_map(|line| line.strip_prefix("x-asker: "));
    named.map_or(Asker::Exempt, |address| {
        Asker::Address(address.parse().unwrap())
    })
}

/// A client that speaks the feed's JSON.
pub(crate) struct Client {
    socket: WebSocketStream<TcpStream>,
    next_id: u64,
}

impl Client {
    pub(crate) async fn over(socket: TcpStream, path: &str) -> Self {
        let url = format!("ws://localhost{path}");
        let (socket, _) = tokio_tungstenite::client_async(url, socket).await.unwrap();
        Self { socket, next_id: 0 }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    pub(crate) async fn send_message(&mut self, message: Message) -> Result<(), Error> {
        self.socket.send(message).await
    }

    /// The next message of any kind; none at the end.
    pub(crate) async fn message(&mut self) -> Option<Result<Message, Error>> {
        tokio::time::timeout(PATIENCE, self.socket.next())
            .await
            .expect("nothing came")
    }

    /// The next JSON message.
    pub(crate) async fn next(&mut self) -> Value {
        serde_json::from_str(&self.next_text().await).unwrap()
    }

    /// Its text.
    pub(crate) async fn next_text(&mut self) -> String {
        loop {
            match self.message().await {
                Some(Ok(Message::Text(text))) => return text.to_string(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("instead of a text: {other:?}"),
            }
        }
    }

    /// The next message that is no heartbeat. Heartbeats keep nobody waiting for ever.
    pub(crate) async fn next_item(&mut self) -> Value {
        let item = tokio::time::timeout(PATIENCE, self.after_heartbeats()).await;
        item.expect("more than heartbeats within 20 s")
    }

    async fn after_heartbeats(&mut self) -> Value {
        loop {
            let item = self.next().await;
            let kind = item.get("data").unwrap_or(&item).get("type");
            if kind != Some(&"status".into()) && kind != Some(&"beat".into()) {
                return item;
            }
        }
    }

    /// Asks, and gives the answer; items that come before it are lost.
    pub(crate) async fn ask(&mut self, method: &str, params: &str) -> Value {
        self.next_id += 1;
        let id = self.next_id;
        self.send(&format!(
            r#"{{"method":"{method}","params":{params},"id":{id}}}"#
        ))
        .await;
        loop {
            let answer = self.next().await;
            if answer.get("id") == Some(&id.into()) {
                return answer;
            }
        }
    }

    /// Subscribes with a cursor and gives the answer.
    pub(crate) async fn resume(&mut self, params: &str, epoch: &str, seq: u64) -> Value {
        self.send(&format!(
            r#"{{"method":"SUBSCRIBE","params":{params},"since":{{"epoch":"{epoch}","seq":{seq}}},"id":"resume"}}"#
        ))
        .await;
        loop {
            let answer = self.next().await;
            if answer.get("id") == Some(&"resume".into()) {
                return answer;
            }
        }
    }

    /// Asserts that nothing is on its way: the answer to a PING is the next item.
    pub(crate) async fn assert_quiet(&mut self) {
        self.send(r#"{"method":"PING","id":"quiet"}"#).await;
        let next = self.next_item().await;
        assert_eq!(next["id"], "quiet", "{next}");
    }

    /// Reads to the close frame and gives its code and reason.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.message().await {
                Some(Ok(Message::Close(Some(frame)))) => {
                    return (frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(_)) => {}
                other => panic!("no close frame but {other:?}"),
            }
        }
    }

    /// Says goodbye and waits for the end.
    pub(crate) async fn leave(mut self) {
        let _ = self.socket.close(None).await;
        while let Some(Ok(_)) = self.message().await {}
    }

    /// The socket below.
    pub(crate) fn tcp(&self) -> &TcpStream {
        self.socket.get_ref()
    }
}

/// The data of an item, out of its wrapping if it has one.
pub(crate) fn data(item: &Value) -> &Value {
    item.get("data").unwrap_or(item)
}

/// Items of a message: of an array each, else the one.
pub(crate) fn items(message: &Value) -> Vec<Value> {
    let data = data(message);
    data.as_array()
        .cloned()
        .unwrap_or_else(|| vec![data.clone()])
}

/// A live result on HOLD.
pub(crate) fn result(symbol: &str, interval: Interval) -> SignalResult {
    fixtures::result(&key(symbol, interval), OpenTime::from_ms(0))
}

/// A result that warms up: everything is missing.
pub(crate) fn warming(symbol: &str, interval: Interval) -> SignalResult {
    SignalResult {
        status: SeriesStatus::Warming,
        recommendation: None,
        confidence: None,
        price: None,
        hama_close: None,
        ma: None,
        ..result(symbol, interval)
    }
}

/// A result with this price.
pub(crate) fn price(symbol: &str, price: f64) -> Write {
    let mut result = result(symbol, Interval::M15);
    result.price = Some(price);
    update(result)
}

/// The change of a 15m series at its `candle`th close.
pub(crate) fn change(symbol: &str, candle: i64) -> Write {
    let buys = candle % 2 == 1;
    let (to, from) = if buys {
        (Recommendation::Buy, Recommendation::Hold)
    } else {
        (Recommendation::Hold, Recommendation::Buy)
    };
    let key = key(symbol, Interval::M15);
    Write::Change(ChangeBody::Signal(signal(key, quarter(candle), from, to)))
}

/// A correction of the change at the `candle`th close.
pub(crate) fn correction(symbol: &str, candle: i64) -> Write {
    let key = key(symbol, Interval::M15);
    let body = fixtures::correction(key, quarter(candle), Source::CatchUp);
    Write::Change(ChangeBody::Correction(body))
}

fn quarter(candle: i64) -> OpenTime {
    OpenTime::from_ms(candle * 900_000)
}
