//! Fan-out: CPU time of the server per delivered change, and its memory per idle connection.
//! The server is a process of its own, so that its time is not mixed with the readers'; beside it runs the least a server
//! could do, one `write` per message and reader. A figure counts only when every reader got every change.
//! `cargo bench --bench fanout [-- <connections> <seconds>]`

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::{Buf as _, Bytes, BytesMut};
use futures::future::try_join_all;
use hamacast::clock::{ExchangeClock, Mono};
use hamacast::hub::{Asker, Connecting, Form, Hub, HubSettings};
use hamacast::market::{Interval, OpenTime, SeriesKey, SeriesStatus, Symbol, TimeMs};
use hamacast::signal::{ChangeBody, Recommendation, SignalChange, SignalResult, Source};
use hamacast::store::{Occasion, Store, Write};
use hamacast::tasks::Tasks;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// How many changes at once, how often.
#[derive(Debug, Clone, Copy)]
struct Load {
    name: &'static str,
    at_once: u64,
    every: Duration,
}

const LOADS: [Load; 2] = [
    Load {
        name: "steady",
        at_once: 1,
        every: Duration::from_millis(10),
    },
    Load {
        name: "burst",
        at_once: 125,
        every: Duration::from_secs(1),
    },
];

/// `CLK_TCK` of Linux, what /proc counts processor time in.
const TICKS_PER_S: f64 = 100.0;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new()?;
    match args.first().map(String::as_str) {
        Some("serve") => runtime.block_on(serve()),
        Some("write") => runtime.block_on(write()),
        _ => {
            let mut numbers = args.iter().filter_map(|arg| arg.parse::<u64>().ok());
            let connections = numbers.next().unwrap_or(1_000);
            let seconds = numbers.next().unwrap_or(10);
            for kind in ["write", "serve"] {
                runtime.block_on(measure(kind, connections, seconds))?;
            }
            Ok(())
        }
    }
}

// The measuring process.

struct Server {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    port: u16,
}

impl Server {
    fn start(kind: &str) -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg(kind)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = process.stdin.take().context("no stdin")?;
        let mut answers = BufReader::new(process.stdout.take().context("no stdout")?);
        let mut line = String::new();
        answers.read_line(&mut line)?;
        Ok(Self {
            port: line.trim().parse()?,
            process,
            orders,
            answers,
        })
    }

    /// User and system time so far, in seconds.
    fn cpu_s(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let fields = stat.rsplit(')').next().context("no fields")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks: f64 = fields.get(11).context("utime")?.parse::<f64>()?
            + fields.get(12).context("stime")?.parse::<f64>()?;
        Ok(ticks / TICKS_PER_S)
    }

    fn rss_kib(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(number.context("no VmRSS")?.parse()?)
    }
}

/// Counts changes and keeps nothing.
struct Reader {
    socket: TcpStream,
    bytes: BytesMut,
}

impl Reader {
    async fn connect(port: u16) -> anyhow::Result<Self> {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await?;
        socket.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
        let mut bytes = BytesMut::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            ensure!(socket.read_buf(&mut bytes).await? > 0, "no handshake");
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                bytes.advance(end + 4);
                break;
            }
        }
        Ok(Self { socket, bytes })
    }

    async fn read(&mut self, changes: u64) -> anyhow::Result<()> {
        let mut left = changes;
        loop {
            while let Some(is_change) = self.next_frame() {
                left = left
                    .checked_sub(u64::from(is_change))
                    .context("one too many")?;
            }
            if left == 0 {
                return Ok(());
            }
            self.bytes.reserve(16 * 1_024);
            let read = self.socket.read_buf(&mut self.bytes).await?;
            ensure!(read > 0, "closed, {left} changes are missing");
        }
    }

    /// Takes a frame off the buffer, if a whole one is there: whether it was a change.
    fn next_frame(&mut self) -> Option<bool> {
        let (head, length) = match *self.bytes.get(..2)? {
            [_, 126] => match *self.bytes.get(2..4)? {
                [a, b] => (4, usize::from(u16::from_be_bytes([a, b]))),
                _ => return None,
            },
            [_, short] => (2, usize::from(short)),
            _ => return None,
        };
        let payload = self.bytes.get(head..head + length)?;
        let is_change = payload.starts_with(br#"{"type":"signal""#);
        self.bytes.advance(head + length);
        Some(is_change)
    }
}

async fn measure(kind: &str, connections: u64, seconds: u64) -> anyhow::Result<()> {
    let mut server = Server::start(kind)?;
    let mut readers = Vec::new();
    let empty_kib = server.rss_kib()?;
    for _ in 0..connections {
        readers.push(Reader::connect(server.port).await?);
    }
    order(&mut server, "steady", 1)?;
    try_join_all(readers.iter_mut().map(|reader| reader.read(1))).await?;
    let idle_kib = (server.rss_kib()? - empty_kib) as f64 / connections as f64;
    println!("{kind:>6} idle: {idle_kib:.1} KiB a connection above {empty_kib} KiB");
    for load in LOADS {
        let times = seconds * 1_000 / load.every.as_millis() as u64;
        let (before_s, began) = (server.cpu_s()?, Mono::now());
        order(&mut server, load.name, times)?;
        let changes = times * load.at_once;
        try_join_all(readers.iter_mut().map(|reader| reader.read(changes))).await?;
        let (cpu_s, passed_ms) = (server.cpu_s()? - before_s, Mono::now().ms_since(began));
        let delivered = changes * connections;
        let each_us = cpu_s * 1e6 / delivered as f64;
        println!(
            "{kind:>6} {}: {each_us:.2} us a change, {delivered} delivered in {passed_ms} ms, {} KiB",
            load.name,
            server.rss_kib()?
        );
    }
    drop(server.orders);
    drop(server.answers);
    server.process.wait()?;
    Ok(())
}

fn order(server: &mut Server, load: &str, times: u64) -> anyhow::Result<()> {
    writeln!(server.orders, "{load} {times}")?;
    Ok(server.orders.flush()?)
}

// The servers.

/// Orders from the measuring process, until it is gone: which load, how often.
fn orders() -> mpsc::Receiver<(Load, u64)> {
    let (order, orders) = mpsc::channel(1);
    Tasks::new().spawn_short("orders", async move {
        while let Ok(Some(next)) = tokio::task::spawn_blocking(read_order).await {
            if order.send(next).await.is_err() {
                return;
            }
        }
    });
    orders
}

fn read_order() -> Option<(Load, u64)> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).ok()?;
    let (name, times) = line.trim().split_once(' ')?;
    let load = LOADS.into_iter().find(|load| load.name == name)?;
    Some((load, times.parse().ok()?))
}

/// Accepts, reads the request, answers 101.
async fn accept(listener: &TcpListener) -> anyhow::Result<TcpStream> {
    let (mut socket, _) = listener.accept().await?;
    let mut head = BytesMut::new();
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(socket.read_buf(&mut head).await? > 0, "no request");
    }
    let switching = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
    socket.write_all(switching).await?;
    Ok(socket)
}

async fn listen() -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    Ok(listener)
}

/// The least: the same bytes, one `write` for each reader and change.
async fn write() -> anyhow::Result<()> {
    let listener = listen().await?;
    let (mut orders, mut sockets) = (orders(), Vec::new());
    let item = serde_json::to_vec(&numbered(1)?)?;
    let mut frame = vec![0x81, 126];
    frame.extend(u16::try_from(item.len())?.to_be_bytes());
    frame.extend(item);
    loop {
        let (load, times) = tokio::select! {
            socket = accept(&listener) => {
                sockets.push(socket?);
                continue;
            }
            order = orders.recv() => match order {
                Some(order) => order,
                None => return Ok(()),
            },
        };
        let mut interval = tokio::time::interval(load.every);
        for _ in 0..times {
            interval.tick().await;
            for _ in 0..load.at_once {
                for socket in &mut sockets {
                    socket.write_all(&frame).await?;
                }
            }
        }
    }
}

/// The change of this number, as the store makes it.
fn numbered(candle: i64) -> anyhow::Result<std::sync::Arc<hamacast::signal::Change>> {
    let store = hamacast::store::MemoryStore::new(1);
    let batch = store.write(vec![change(candle)?]);
    match batch.items.into_iter().next() {
        Some(hamacast::store::Item::Change(change)) => Ok(change),
        other => anyhow::bail!("no change but {other:?}"),
    }
}

/// The hub, fed through the store.
async fn serve() -> anyhow::Result<()> {
    let (tasks, store) = (Tasks::new(), Store::memory());
    let clock = ExchangeClock::from_wall();
    let settings = HubSettings::new(vec![Interval::M15]);
    let (hub, readers) = Hub::start(settings, &store, &clock, &tasks);
    let (writes, inbox) = mpsc::channel(16);
    tasks.spawn(
        "store writer",
        store.view().clone().write_all(inbox, readers),
    );
    writes.send(vec![result()?]).await?;
    while store.published().results.is_empty() {
        tokio::task::yield_now().await;
    }
    let listener = listen().await?;
    let (mut orders, mut candle) = (orders(), 0);
    loop {
        let (load, times) = tokio::select! {
            socket = accept(&listener) => {
                let socket = socket?;
                let connecting = Connecting {
                    mode: Form::Raw,
                    streams: vec!["btcusdt@signal_15m".into()],
                    asker: Asker::Exempt,
                    peer: socket.peer_addr()?.ip(),
                };
                hub.accept(socket, Bytes::new(), connecting);
                continue;
            }
            order = orders.recv() => match order {
                Some(order) => order,
                None => return Ok(()),
            },
        };
        let mut interval = tokio::time::interval(load.every);
        for _ in 0..times {
            interval.tick().await;
            let mut burst = Vec::new();
            for _ in 0..load.at_once {
                candle += 1;
                burst.push(change(candle)?);
            }
            writes.send(burst).await?;
        }
    }
}

fn key() -> anyhow::Result<SeriesKey> {
    Ok(SeriesKey::new(Symbol::parse("BTCUSDT")?, Interval::M15))
}

fn change(candle: i64) -> anyhow::Result<Write> {
    let open = candle * 900_000;
    Ok(Write::Change(ChangeBody::Signal(SignalChange {
        key: key()?,
        recommendation: Recommendation::Buy,
        previous: Recommendation::Hold,
        confidence: 0.7332,
        price: 67_123.4,
        hama_close: 67_001.25,
        ma: 66_890.12,
        deviation_pct: 0.166,
        candle_open_time: OpenTime::from_ms(open),
        candle_close_time: TimeMs::new(open + 899_999),
        last_cross_direction: 1,
        last_cross_time: Some(OpenTime::from_ms(open)),
        event_time: TimeMs::new(open + 900_123),
        source: Source::Stream,
    })))
}

fn result() -> anyhow::Result<Write> {
    let key = key()?;
    let result = SignalResult {
        status: SeriesStatus::Live,
        recommendation: Some(Recommendation::Hold),
        confidence: Some(0.3),
        price: Some(1.5),
        ..SignalResult::warming(&key, TimeMs::new(0))
    };
    Ok(Write::Result {
        result: Box::new(result),
        occasion: Occasion::Update,
    })
}
