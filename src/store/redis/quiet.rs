//! How long an exchange wants to hear nothing from us (429, 418), kept over restarts: a program that is started again and
//! again must not prolong its own ban (hazard 30). Ten minutes at most, so that a new address does not wait for the old
//! one's ban.

use std::time::Duration;

use super::connect::CommandLink;
use super::error::RedisError;
use super::{RedisStore, keys};

/// What is kept of a longer ban.
const KEPT_MAX: Duration = Duration::from_secs(600);

impl RedisStore {
    /// For how long `host` still wants to hear nothing, by what an engine before this one kept.
    ///
    /// # Errors
    /// Redis cannot be asked.
    pub async fn kept_quiet(&self, host: &str) -> Result<Option<Duration>, RedisError> {
        let mut link = CommandLink::open(&self.shared.settings).await?;
        let mut command = redis::cmd("PTTL");
        command.arg(keys::quiet(host));
        let left_ms: i64 = link.query("PTTL", &command).await?;
        let left_ms = u64::try_from(left_ms).ok().filter(|left| *left > 0); // below 0: there is none
        Ok(left_ms.map(|left| Duration::from_millis(left).min(KEPT_MAX)))
    }

    /// Keeps that `host` wants to hear nothing for so long.
    ///
    /// # Errors
    /// Redis cannot be told.
    pub async fn keep_quiet(&self, host: &str, quiet: Duration) -> Result<(), RedisError> {
        let quiet_ms = u64::try_from(quiet.min(KEPT_MAX).as_millis()).unwrap_or(u64::MAX);
        let mut link = CommandLink::open(&self.shared.settings).await?;
        let mut command = redis::cmd("SET");
        let key = keys::quiet(host);
        command.arg(key).arg("held").arg("PX").arg(quiet_ms.max(1));
        link.query("SET", &command).await
    }
}
