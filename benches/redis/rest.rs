//! `analyze-symbol` answered from the cache, over 32 connections that stay open: as fast as they go, at the goal's
//! rate and at half of it. `serve` runs on a simulated exchange (125 contracts, four updates a second each) meanwhile. Readers, server
//! and Redis share the machine's cores.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::BytesMut;
use futures::future::try_join_all;
use memchr::memmem;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Interval, interval_at};

use super::feed::Feed;
use super::figures::{at_least, at_most, median, ms_between, now, percentile};
use super::process::Process;

const CONTRACTS: u64 = 125;
const CONNECTIONS: u32 = 32;
const RATE: f64 = 20_000.0;
const LIMIT_MS: f64 = 2.0;
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(6);

/// A server and what stands behind it.
struct Setting {
    server: Process,
    redis: Process,
    _exchange: Process,
    requests: Vec<Vec<u8>>,
}

/// How often each connection asks.
#[derive(Debug, Clone, Copy)]
enum Pace {
    /// Again as soon as it has its answer.
    AtOnce,
    /// One request each so long.
    Every(Duration),
}

impl Pace {
    /// When the requests of a connection are due; one that is late does not move those after it.
    fn ticks(self, began: Instant) -> Option<Interval> {
        match self {
            Self::AtOnce => None,
            Self::Every(each) => Some(interval_at(began.into(), each)),
        }
    }
}

/// What a round gave.
struct Round {
    rate: f64,
    p50_ms: f64,
    p99_ms: f64,
}

pub(crate) async fn measure() -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    for (cache, name) in [("redis", "way.rest_cached"), ("memory", "way.rest_memory")] {
        let setting = Setting::start(cache).await?;
        let (mut free, mut paced, mut half) = (Vec::new(), Vec::new(), Vec::new());
        let each = Duration::from_secs_f64(f64::from(CONNECTIONS) / RATE);
        for _ in 0..ROUNDS {
            free.push(setting.round(cache, Pace::AtOnce).await?);
            paced.push(setting.round(cache, Pace::Every(each)).await?);
            half.push(setting.round(cache, Pace::Every(2 * each)).await?);
        }
        let of = |rounds: &[Round], figure: fn(&Round) -> f64| {
            median(rounds.iter().map(figure).collect())
        };
        println!(
            "rest {cache}: free {:.0}/s, p99 {:.2} ms; at the goal's rate {:.0}/s; at half of it p50 {:.2} ms, p99 {:.2} ms",
            of(&free, |round| round.rate),
            of(&free, |round| round.p99_ms),
            of(&paced, |round| round.rate),
            of(&half, |round| round.p50_ms),
            of(&half, |round| round.p99_ms),
        );
        let p99 = of(&paced, |round| round.p99_ms);
        lines.push(at_most(&format!("{name}.p99"), p99, LIMIT_MS));
        let rate = of(&free, |round| round.rate);
        lines.push(at_least(&format!("{name}.rate"), rate, RATE));
    }
    Ok(lines)
}

impl Setting {
    /// Starts the server and waits until it answers every contract from `cache`.
    async fn start(cache: &str) -> anyhow::Result<Self> {
        let count = CONTRACTS.to_string();
        let market = ["exchange", "--symbols", &count, "--intervals", "15m"];
        let exchange = Process::hamacast(&market, &[])?;
        let mut variables = vec![
            (
                "HAMA_BINANCE_REST_URL",
                format!("http://{}", exchange.address),
            ),
            ("HAMA_BINANCE_WS_URL", format!("ws://{}", exchange.address)),
            ("HAMA_TOP", count),
        ];
        let redis = Process::redis().await?;
        if cache == "redis" {
            variables.push(("REDIS_URL", redis.redis_url()));
        }
        let server = Process::hamacast(&["serve"], &variables)?;
        let mut feed = Feed::connect(&server.address, "").await?;
        feed.until_live(CONTRACTS).await?;
        let mut asker = Asker::connect(&server.address).await?;
        let symbols = asker
            .ask(b"GET /api/v1/symbols HTTP/1.1\r\nHost: bench\r\n\r\n")
            .await?;
        let symbols: Value = serde_json::from_slice(&symbols)?;
        let symbols = symbols["symbols"].as_array().context("no symbols")?;
        let names = symbols.iter().filter_map(|entry| entry["symbol"].as_str());
        let requests: Vec<Vec<u8>> = names.map(request).collect();
        ensure!(
            requests.len() as u64 == CONTRACTS,
            "{} symbols",
            requests.len()
        );
        for request in &requests {
            asker.until_answered_from(cache, request).await?;
        }
        Ok(Self {
            server,
            redis,
            _exchange: exchange,
            requests,
        })
    }

    async fn round(&self, cache: &str, pace: Pace) -> anyhow::Result<Round> {
        let cpu_s = || anyhow::Ok((self.server.cpu_s()?, self.redis.cpu_s()?));
        let (before, began) = (cpu_s()?, now());
        let asking = (0..CONNECTIONS as usize).map(|first| self.one_connection(first, began, pace));
        let waits = try_join_all(asking).await?;
        let (after, seconds) = (cpu_s()?, ms_between(began, now()) / 1_000.0);
        let mut waits: Vec<f64> = waits.into_iter().flatten().collect();
        let answers = waits.len() as f64;
        let round = Round {
            rate: answers / seconds,
            p50_ms: percentile(&mut waits, 0.5),
            p99_ms: percentile(&mut waits, 0.99),
        };
        println!(
            "rest {cache} {pace:?}: {:.0}/s, p50 {:.2} ms, p99 {:.2} ms; CPU an answer: server {:.1} us, redis {:.1} us",
            round.rate,
            round.p50_ms,
            round.p99_ms,
            (after.0 - before.0) * 1e6 / answers,
            (after.1 - before.1) * 1e6 / answers,
        );
        Ok(round)
    }

    /// The milliseconds of each answer: from the moment the request was due, if the answer before it made it late.
    async fn one_connection(
        &self,
        first: usize,
        began: Instant,
        pace: Pace,
    ) -> anyhow::Result<Vec<f64>> {
        let mut asker = Asker::connect(&self.server.address).await?;
        let mut waits = Vec::new();
        let mut ticks = pace.ticks(began);
        for request in self.requests.iter().cycle().skip(first) {
            let mut from = now();
            if from.saturating_duration_since(began) >= ROUND {
                break;
            }
            if let Some(ticks) = &mut ticks {
                let due = ticks.tick().await.into_std();
                // A request that was waited for begins now: the timer's grain is a millisecond, its delay not the server's.
                from = if due <= from { due } else { now() };
            }
            asker.ask(request).await?;
            waits.push(ms_between(from, now()));
        }
        Ok(waits)
    }
}

fn request(symbol: &str) -> Vec<u8> {
    let body = format!(r#"{{"symbol":"{symbol}"}}"#);
    format!(
        "POST /api/gainer-analysis/analyze-symbol HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A connection that stays open.
struct Asker {
    socket: TcpStream,
    bytes: BytesMut,
}

impl Asker {
    async fn connect(address: &str) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let bytes = BytesMut::with_capacity(64 * 1_024);
        Ok(Self { socket, bytes })
    }

    /// The body of the answer, which must be a 200.
    async fn ask(&mut self, request: &[u8]) -> anyhow::Result<BytesMut> {
        self.socket.write_all(request).await?;
        loop {
            if let Some(end) = memmem::find(&self.bytes, b"\r\n\r\n") {
                let length = body_bytes(&self.bytes[..end])?;
                if self.bytes.len() >= end + 4 + length {
                    let mut answer = self.bytes.split_to(end + 4 + length);
                    return Ok(answer.split_off(end + 4));
                }
            }
            self.bytes.reserve(16 * 1_024);
            let read = self.socket.read_buf(&mut self.bytes).await?;
            ensure!(read > 0, "closed before the answer");
        }
    }

    async fn until_answered_from(&mut self, cache: &str, request: &[u8]) -> anyhow::Result<()> {
        let mut again = tokio::time::interval(Duration::from_millis(5));
        for _ in 0..2_000 {
            let answer: Value = serde_json::from_slice(&self.ask(request).await?)?;
            if answer["data"]["cache_source"] == cache {
                return Ok(());
            }
            again.tick().await;
        }
        anyhow::bail!("no answer from {cache}")
    }
}

fn body_bytes(head: &[u8]) -> anyhow::Result<usize> {
    ensure!(
        head.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(head)
    );
    let head = std::str::from_utf8(head)?.to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).context("no length")?;
    let length = length.split("\r\n").next().unwrap_or_default();
    Ok(length.parse()?)
}
