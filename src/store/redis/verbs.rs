//! The few plain commands the store uses, each with its deadline.

use super::cache::CacheWrite;
use super::connect::CommandLink;
use super::error::RedisError;

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
