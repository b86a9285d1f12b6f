//! The few plain commands the store uses, each with its deadline.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use super::cache::CacheWrite;
use super::connect::CommandLink;
use super::error::RedisError;
use super::keys;
use crate::market::Symbol;
use crate::store::SavedScheduler;

/// What an operator may order; what else stands there is none of our writing.
const INTERVAL_MINUTES: RangeInclusive<u64> = 1..=1_440;

/// How long an append waits for its replicas.
const REPLICAS_WITHIN_MS: u64 = 1_000;

impl CommandLink {
    pub(super) async fn publish(&mut self, channel: &str, json: &str) -> Result<(), RedisError> {
        let command = redis::cmd("PUBLISH").arg(channel).arg(json).take();
        self.query::<()>("PUBLISH", &command).await
    }

    pub(super) async fn set(&mut self, key: &str, json: &str) -> Result<(), RedisError> {
        self.query::<()>("SET", &redis::cmd("SET").arg(key).arg(json).take())
            .await
    }

    /// Keeps what the operator wants for the engine that takes over.
    pub(super) async fn save_scheduler(
        &mut self,
        saved: &SavedScheduler,
    ) -> Result<(), RedisError> {
        let symbols = saved.symbols.iter().flatten().map(Symbol::as_str);
        let symbols = symbols.collect::<Vec<_>>().join(",");
        let mut command = redis::cmd("HSET");
        command.arg(keys::SCHEDULER);
        command.arg("running").arg(saved.running.to_string());
        command.arg("symbols").arg(symbols);
        command.arg("interval_minutes").arg(saved.interval_minutes);
        self.query::<()>("HSET", &command).await
    }

    /// What the operator last wanted; none when nobody has said, or it cannot be read.
    pub(super) async fn saved_scheduler(&mut self) -> Result<Option<SavedScheduler>, RedisError> {
        let command = redis::cmd("HGETALL").arg(keys::SCHEDULER).take();
        let fields: HashMap<String, String> = self.query("HGETALL", &command).await?;
        let saved = scheduler_of(&fields);
        if saved.is_none() && fields.contains_key("running") {
            tracing::warn!(
                key = keys::SCHEDULER,
                "cannot be read and counts as not there"
            );
        }
        Ok(saved)
    }

    /// Notes the newest order that was handed to the engine.
    pub(super) async fn note_order(&mut self, id: &str) -> Result<(), RedisError> {
        let mut command = redis::cmd("HSET");
        command.arg(keys::SCHEDULER).arg("order_seen").arg(id);
        self.query::<()>("HSET", &command).await
    }

    /// The newest order that any engine was handed.
    pub(super) async fn seen_order(&mut self) -> Result<Option<String>, RedisError> {
        let command = redis::cmd("HGET")
            .arg(keys::SCHEDULER)
            .arg("order_seen")
            .take();
        self.query("HGET", &command).await
    }

    pub(super) async fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, RedisError> {
        self.query("GET", &redis::cmd("GET").arg(key).take()).await
    }

    pub(super) async fn mget(
        &mut self,
        keys: &[String],
    ) -> Result<Vec<Option<Vec<u8>>>, RedisError> {
        self.query("MGET", &redis::cmd("MGET").arg(keys).take())
            .await
    }

    /// Which of these keys there are, in their order.
    pub(super) async fn exist(&mut self, keys: &[String]) -> Result<Vec<bool>, RedisError> {
        let mut pipeline = redis::Pipeline::with_capacity(keys.len());
        for key in keys {
            pipeline.cmd("EXISTS").arg(key);
        }
        self.pipeline("EXISTS", &pipeline).await
    }

    /// Results and their messages in one pipeline, without MULTI: a reader who sees half of it reads on.
    pub(super) async fn write_results(
        &mut self,
        writes: &[CacheWrite],
        ttl_secs: u64,
    ) -> Result<(), RedisError> {
        let mut pipeline = redis::Pipeline::with_capacity(writes.len());
        for write in writes {
            match write {
                CacheWrite::Set { key, json } => pipeline
                    .cmd("SET")
                    .arg(key)
                    .arg(&**json)
                    .arg("EX")
                    .arg(ttl_secs),
                CacheWrite::Publish { channel, json } => {
                    pipeline.cmd("PUBLISH").arg(channel).arg(&**json)
                }
            };
            pipeline.ignore();
        }
        self.pipeline::<()>("SET and PUBLISH", &pipeline).await
    }

    /// Waits until so many replicas have what this link wrote; says when they are fewer.
    pub(super) async fn wait_replicas(&mut self, wanted: u8) -> Result<(), RedisError> {
        let command = redis::cmd("WAIT")
            .arg(wanted)
            .arg(REPLICAS_WITHIN_MS)
            .take();
        let reached: u64 = self.query("WAIT", &command).await?;
        if reached < u64::from(wanted) {
            tracing::warn!(
                wanted,
                reached,
                "a change is on fewer replicas than it should be"
            );
        }
        Ok(())
    }
}

/// What the operator last wanted; none when it cannot be read.
fn scheduler_of(fields: &HashMap<String, String>) -> Option<SavedScheduler> {
    let names = fields.get("symbols")?.split(',');
    let symbols = names
        .filter(|name| !name.is_empty())
        .map(Symbol::parse)
        .collect::<Result<Vec<_>, _>>()
        .ok()?;
    let minutes = fields.get("interval_minutes")?.parse().ok()?;
    Some(SavedScheduler {
        running: fields.get("running")?.parse().ok()?,
        symbols: (!symbols.is_empty()).then_some(symbols),
        interval_minutes: INTERVAL_MINUTES.contains(&minutes).then_some(minutes)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_pace_no_operator_can_have_ordered_is_not_believed() {
        let saved = |minutes: &str| {
            let fields = [
                ("running", "true"),
                ("symbols", "BTCUSDT"),
                ("interval_minutes", minutes),
            ];
            let owned = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
            scheduler_of(&HashMap::from(owned)).map(|saved| saved.interval_minutes)
        };
        assert_eq!((saved("1"), saved("1440")), (Some(1), Some(1_440)));
        for other in ["0", "1441", "18446744073709551615", "-5", "", "five"] {
            assert_eq!(saved(other), None, "{other}");
        }
    }
}
