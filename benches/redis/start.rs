//! A hub's start over a log that is full: from the start of its process until it takes readers, and what it then holds
//! in memory, beside a hub that starts over a log of a single candle.

use hamacast::tasks::Tasks;

use super::feed::Feed;
use super::figures::{median, ms_between, now};
use super::process::Process;
use super::stand_in::{SERIES, StandIn};

const CHANGES: u64 = 100_000;
const ROUNDS: usize = 5;

pub(crate) async fn measure() -> anyhow::Result<Vec<String>> {
    let tasks = Tasks::new();
    let redis = Process::redis().await?;
    let mut engine = StandIn::begin(&redis.redis_url(), &tasks).await?;
    next(&mut engine).await?;
    let (bare_ms, bare_mib) = starts(&redis).await?;
    let began = now();
    for _ in 0..CHANGES / SERIES {
        next(&mut engine).await?;
    }
    println!(
        "start: {CHANGES} changes written in {:.1} s; redis holds {:.0} MiB",
        ms_between(began, now()) / 1_000.0,
        redis.rss_mib()?
    );
    let (full_ms, full_mib) = starts(&redis).await?;
    tasks.stop();
    println!("start: a log of {SERIES} changes: {bare_ms:.0} ms, {bare_mib:.0} MiB");
    Ok(vec![
        format!("bench way.hub_start.100000.ms hamacast={full_ms:.0}"),
        format!("bench way.hub_start.100000.mib hamacast={full_mib:.0}"),
    ])
}

async fn next(engine: &mut StandIn) -> anyhow::Result<()> {
    let burst = engine.next_candle();
    engine.say(burst).await?;
    engine.until_read_back().await
}

/// Milliseconds until a hub takes readers and MiB it then holds, medians.
async fn starts(redis: &Process) -> anyhow::Result<(f64, f64)> {
    let (mut times, mut sizes) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let began = now();
        let hub = Process::hamacast(&["hub"], &[("REDIS_URL", redis.redis_url())])?;
        Feed::connect(&hub.address, "").await?;
        times.push(ms_between(began, now()));
        sizes.push(hub.rss_mib()?);
    }
    Ok((median(times), median(sizes)))
}
