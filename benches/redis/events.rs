//! From the exchange to a reader: the time from the moment a closed candle's message is written to the engine's socket
//! until a WebSocket reader has read the change it makes. Real processes: simulated exchange, server, redis-server.
//! 501 series with four updates a second each (2,004 a second); the exchange's clock runs 60 times as fast, so that every
//! second 167 to 501 candles close at once, which is what a change waits behind in life.

use std::time::{Duration, Instant};

use hamacast::tasks::Tasks;

use super::feed::{Feed, changes};
use super::figures::{at_most, median, ms_between, percentile};
use super::process::Process;
use super::relay::{self, Sent, lock};

const CONTRACTS: &str = "167";
const INTERVALS: &str = "1m,3m,5m";
const SERIES: u64 = 501;
const STREAMS: &str = "!signal_1m@arr/!signal_3m@arr/!signal_5m@arr";
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(12);

/// Which way the changes take.
#[derive(Debug, Clone, Copy)]
enum Through {
    Memory,
    /// `serve` with Redis: its readers, too, hear of a change by the log.
    Redis,
    /// `engine` and `hub`.
    TwoProcesses,
}

/// What one round gave.
struct Round {
    changes: usize,
    p50_ms: f64,
    p99_ms: f64,
}

pub(crate) async fn measure() -> anyhow::Result<Vec<String>> {
    let ways = [Through::Memory, Through::Redis, Through::TwoProcesses];
    let mut rounds: [Vec<Round>; 3] = Default::default();
    for _ in 0..ROUNDS {
        for (through, rounds) in ways.into_iter().zip(&mut rounds) {
            let round = round(through).await?;
            println!(
                "events {through:?}: {} changes, p50 {:.2} ms, p99 {:.2} ms",
                round.changes, round.p50_ms, round.p99_ms
            );
            rounds.push(round);
        }
    }
    let of =
        |rounds: &[Round], figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
    let [memory, one, two] = &rounds;
    let p50 = |round: &Round| round.p50_ms;
    let p99 = |round: &Round| round.p99_ms;
    println!(
        "events p50: memory {:.2} ms, redis in one process {:.2} ms, in two {:.2} ms",
        of(memory, p50),
        of(one, p50),
        of(two, p50)
    );
    Ok(vec![
        at_most("way.event_to_socket.p99", of(memory, p99), 2.0),
        at_most("way.redis_serve.p99", of(one, p99), 4.0),
        at_most("way.redis.p99", of(two, p99), 4.0),
    ])
}

async fn round(through: Through) -> anyhow::Result<Round> {
    let tasks = Tasks::new();
    let market = [
        "exchange",
        "--symbols",
        CONTRACTS,
        "--intervals",
        INTERVALS,
        "--speed",
        "60",
    ];
    let exchange = Process::hamacast(&market, &[])?;
    let (streams, sent) = relay::of_exchange(&exchange.address, &tasks).await?;
    let mut variables = vec![
        (
            "HAMA_BINANCE_REST_URL",
            format!("http://{}", exchange.address),
        ),
        ("HAMA_BINANCE_WS_URL", format!("ws://{streams}")),
        ("HAMA_TOP", CONTRACTS.to_owned()),
        ("HAMA_INTERVALS", INTERVALS.to_owned()),
    ];
    let redis = Process::redis().await?;
    let (server, _engine) = match through {
        Through::Memory => (Process::hamacast(&["serve"], &variables)?, None),
        Through::Redis => {
            variables.push(("REDIS_URL", redis.redis_url()));
            (Process::hamacast(&["serve"], &variables)?, None)
        }
        Through::TwoProcesses => {
            variables.push(("REDIS_URL", redis.redis_url()));
            let engine = Process::hamacast(&["engine"], &variables)?;
            (Process::hamacast(&["hub"], &variables)?, Some(engine))
        }
    };
    Feed::connect(&server.address, "")
        .await?
        .until_live(SERIES)
        .await?;
    let mut feed = Feed::connect(&server.address, STREAMS).await?;
    let mut waits = Vec::new();
    let reading = async {
        loop {
            let (at, data) = feed.next().await?;
            for change in changes(&data) {
                waits.extend(sent_at(&sent, change).map(|sent| ms_between(sent, at)));
            }
        }
    };
    let ended: Result<anyhow::Result<()>, _> = tokio::time::timeout(ROUND, reading).await;
    if let Ok(ended) = ended {
        ended?;
    }
    tasks.stop();
    Ok(Round {
        changes: waits.len(),
        p50_ms: percentile(&mut waits, 0.5),
        p99_ms: percentile(&mut waits, 0.99),
    })
}

/// When the candle of this change was written to the engine; none when the change came from elsewhere.
fn sent_at(sent: &Sent, change: &serde_json::Value) -> Option<Instant> {
    if change["source"] != "stream" {
        return None;
    }
    let name = (
        change["symbol"].as_str()?.to_owned(),
        change["interval"].as_str()?.to_owned(),
        change["candle_close_time"].as_i64()?,
    );
    lock(sent).get(&name).copied()
}
