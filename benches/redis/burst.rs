//! One candle close of 600 series, every one of them with a change: how long the append script and the pipeline of
//! results take on the writer's own connection (a relay before Redis notes when bytes pass), and how long until a reader
//! of a hub in another process has all 600 changes, counted from the burst's entering the writer's inbox.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use hamacast::tasks::Tasks;

use super::feed::{Feed, changes};
use super::figures::{at_most, median, ms_between, now};
use super::process::Process;
use super::relay::{self, Passed, Record, Way, lock};
use super::stand_in::{SERIES, StandIn};

const ROUNDS: usize = 25;

/// A burst fills the relay's reads; beats, leases and messages are smaller.
const BURST_BYTES: usize = 8 * 1_024;

/// Milliseconds of one close.
struct Close {
    append: f64,
    results: f64,
    hub: f64,
}

pub(crate) async fn measure() -> anyhow::Result<Vec<String>> {
    let tasks = Tasks::new();
    let redis = Process::redis().await?;
    let (address, record) = relay::of_redis(&redis.address, &tasks).await?;
    let mut engine = StandIn::begin(&format!("redis://{address}/0"), &tasks).await?;
    let variables = [("REDIS_URL", redis.redis_url())];
    let hub = Process::hamacast(&["hub"], &variables)?;
    Feed::connect(&hub.address, "")
        .await?
        .until_live(SERIES)
        .await?;
    let mut feed = Feed::connect(&hub.address, "!signal_15m@arr").await?;
    let mut closes = Vec::new();
    for _ in 0..ROUNDS {
        let burst = engine.next_candle();
        lock(&record).clear();
        let began = now();
        engine.say(burst).await?;
        let all_read = until_all_read(&mut feed).await?;
        engine.until_read_back().await?;
        let (append, results) = until_answered(&record).await?;
        closes.push(Close {
            append,
            results,
            hub: ms_between(began, all_read),
        });
    }
    tasks.stop();
    let of = |figure: fn(&Close) -> f64| median(closes.iter().map(figure).collect());
    let worst = |figure: fn(&Close) -> f64| closes.iter().map(figure).fold(0.0, f64::max);
    println!(
        "burst of {SERIES}: worst of {ROUNDS}: append {:.2} ms, results {:.2} ms, hub {:.2} ms",
        worst(|close| close.append),
        worst(|close| close.results),
        worst(|close| close.hub)
    );
    Ok(vec![
        at_most("way.redis_append.600", of(|close| close.append), 10.0),
        at_most("way.redis_results.600", of(|close| close.results), 20.0),
        format!(
            "bench way.redis_hub_has.600 hamacast={:.2}",
            of(|close| close.hub)
        ),
    ])
}

async fn until_all_read(feed: &mut Feed) -> anyhow::Result<Instant> {
    let reading = async {
        let mut left = SERIES as usize;
        loop {
            let (at, data) = feed.next().await?;
            left = left
                .checked_sub(changes(&data).len())
                .context("one too many")?;
            if left == 0 {
                return anyhow::Ok(at);
            }
        }
    };
    let reading = tokio::time::timeout(Duration::from_secs(30), reading).await;
    reading.context("not all changes within 30 s")?
}

/// The times on the wire. The last answers to the pipeline are on their way when the last message is read back: the
/// record is looked at until nothing was added to it for a while.
async fn until_answered(record: &Record) -> anyhow::Result<(f64, f64)> {
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    let mut seen = 0;
    loop {
        looks.tick().await;
        let passed = lock(record);
        if passed.len() == seen {
            return on_the_wire(&passed).context("no burst on the wire");
        }
        seen = passed.len();
    }
}

/// Times of the script and of the pipeline, each from its first byte to the last of its answer, on the connection that
/// carried most.
fn on_the_wire(passed: &[Passed]) -> Option<(f64, f64)> {
    let bursts = |one: &&Passed| one.way == Way::Asked && one.bytes >= BURST_BYTES;
    let writer = passed.iter().find(bursts)?.connection;
    let passed: Vec<Passed> = passed
        .iter()
        .filter(|one| one.connection == writer)
        .copied()
        .collect();
    let append = passed.iter().position(|one| bursts(&one))?;
    let after = passed.get(append..)?;
    let answer = after.iter().position(|one| one.way == Way::Answered)?;
    let after_answer = after.get(answer + 1..)?;
    let results = after_answer.iter().find(bursts)?;
    let last = after_answer.iter().rfind(|one| one.way == Way::Answered)?;
    let script = ms_between(after.first()?.at, after.get(answer)?.at);
    Some((script, ms_between(results.at, last.at)))
}
