//! What readers of every process want watched, as one sorted set: series by expiry (Unix milliseconds, by Redis' own
//! clock, so that no process' clock counts). What is wanted here goes there, a new want at once; and what stands there is
//! heard here every second, so that engines, standbys and hubs know the same.
//! Redis away: what is wanted in this process still is, and is told when it is back.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::connect::CommandLink;
use super::error::RedisError;
use super::follower::{REDIAL_FIRST, REDIAL_LAST};
use super::keys;
use super::settings::RedisSettings;
use crate::backoff::Backoff;
use crate::clock::Mono;
use crate::market::SeriesKey;
use crate::store::Interest;
use crate::tasks::Tasks;

/// How often it is heard what others want, and told what holds for longer.
const EVERY: Duration = Duration::from_secs(1);

/// Series kept in Redis; above it those go that expire first.
const MAX_SERIES: isize = 8_000;

/// The link, and Redis' clock as it was last read: its Unix time at the start of this program.
struct Open {
    link: CommandLink,
    started_unix_ms: i64,
}

/// Tells and hears, until the program stops.
pub(super) async fn share(interest: Interest, settings: RedisSettings, tasks: Tasks) {
    let stopping = tasks.clone();
    tokio::select! {
        () = run(&interest, &settings) => {}
        () = stopping.stopping() => {}
    }
}

async fn run(interest: &Interest, settings: &RedisSettings) {
    let mut open: Option<Open> = None;
    let mut backoff = Backoff::new(REDIAL_FIRST, REDIAL_LAST);
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = interest.own_changed() => {}
        }
        match exchange(open.take(), interest, settings).await {
            Ok(link) => {
                backoff.reset();
                open = Some(link);
            }
            Err(error) => {
                // The follower says that Redis is away.
                tracing::debug!(%error, "what is wanted cannot be shared; trying on");
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }
}

/// One round: what is new goes there, what stands there is heard.
async fn exchange(
    open: Option<Open>,
    interest: &Interest,
    settings: &RedisSettings,
) -> Result<Open, RedisError> {
    let mut open = match open {
        Some(open) => open,
        None => {
            interest.tell_all_again(); // Redis may have been emptied meanwhile
            Open::new(settings).await?
        }
    };
    let now = Mono::now();
    let untold = interest.take_untold(now);
    let heard = open.round(&untold, now).await?;
    interest.hear(heard, now);
    Ok(open)
}

type Clock = (i64, i64);

impl Open {
    async fn new(settings: &RedisSettings) -> Result<Self, RedisError> {
        let mut link = CommandLink::open(settings).await?;
        let clock = link.query("TIME", &redis::cmd("TIME")).await?;
        let started_unix_ms = started(clock);
        Ok(Self {
            link,
            started_unix_ms,
        })
    }

    async fn round(
        &mut self,
        untold: &[(SeriesKey, Mono)],
        now: Mono,
    ) -> Result<Vec<(SeriesKey, Mono)>, RedisError> {
        let mut pipeline = redis::Pipeline::with_capacity(5);
        pipeline.cmd("TIME");
        if !untold.is_empty() {
            let add = pipeline.cmd("ZADD").arg(keys::INTEREST).arg("GT");
            for (key, until) in untold {
                add.arg(self.unix_ms(*until)).arg(keys::field(key));
            }
            pipeline.ignore();
        }
        let expired = pipeline.cmd("ZREMRANGEBYSCORE").arg(keys::INTEREST);
        expired.arg("-inf").arg(self.unix_ms(now)).ignore();
        let above = pipeline.cmd("ZREMRANGEBYRANK").arg(keys::INTEREST);
        above.arg(0).arg(-MAX_SERIES - 1).ignore();
        let all = pipeline.cmd("ZRANGE").arg(keys::INTEREST).arg(0).arg(-1);
        all.arg("WITHSCORES");
        let answer = self.link.pipeline("ZADD and ZRANGE", &pipeline).await?;
        let (clock, wanted): (Clock, Vec<(String, f64)>) = answer;
        self.started_unix_ms = started(clock);
        let wanted = wanted.into_iter();
        Ok(wanted
            .filter_map(|(field, unix_ms)| {
                let key = keys::series_of_field(&field)?;
                Some((key, self.mono(unix_ms)))
            })
            .collect())
    }

    fn unix_ms(&self, at: Mono) -> i64 {
        let ms = i64::try_from(at.ms()).unwrap_or(i64::MAX);
        self.started_unix_ms.saturating_add(ms)
    }

    fn mono(&self, unix_ms: f64) -> Mono {
        let ms = (unix_ms as i64).saturating_sub(self.started_unix_ms);
        Mono::from_ms(u64::try_from(ms).unwrap_or(0))
    }
}

/// Redis' Unix time at the start of this program, when it answers `clock` (seconds, microseconds) now.
fn started((seconds, micros): Clock) -> i64 {
    let now_ms = seconds.saturating_mul(1_000).saturating_add(micros / 1_000);
    now_ms.saturating_sub(i64::try_from(Mono::now().ms()).unwrap_or(i64::MAX))
}
