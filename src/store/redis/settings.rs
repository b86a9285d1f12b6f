//! Where Redis is and how it is used. What is here was checked: opening a connection asks nothing of these texts again.

use std::sync::Arc;
use std::time::Duration;

use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion};

use crate::store::WANTED_FOR;

const KEEPALIVE: Duration = Duration::from_secs(10);
/// How long sent bytes may stay without acknowledgement: a server that vanished is noticed without a probe.
const USER_TIMEOUT: Duration = Duration::from_secs(5);

/// Settings of the Redis store. `Debug` shows no password.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    target: ConnectionInfo,
    at: Arc<str>,
    /// Seconds a cached result lives.
    pub cache_ttl_secs: u64,
    /// Shortest time between two results of one open candle.
    pub result_interval_ms: u64,
    /// How many replicas must have a change before it is told.
    pub wait_replicas: u8,
    /// How long a want of this process' readers holds.
    pub wanted_for: Duration,
}

/// A URL that says no Redis. It never shows the URL: a password may stand in it.
#[derive(Debug, thiserror::Error)]
#[error(
    "REDIS_URL {reason}; wanted: redis://[user:password@]host[:port][/database], with rediss:// for TLS"
)]
pub struct BadRedisUrl {
    reason: &'static str,
    #[source]
    source: Option<redis::RedisError>,
}

impl RedisSettings {
    /// Redis as a URL says: `redis://` or, over TLS, `rediss://`.
    ///
    /// # Errors
    /// `BadRedisUrl` for any other scheme, an unreadable URL, a database that is no number, and options after `#` or `?`
    /// (they would switch off checks of TLS, or the protocol this program counts on).
    pub fn of_url(url: &str) -> Result<Self, BadRedisUrl> {
        let bad = |reason, source| Err(BadRedisUrl { reason, source });
        if !url.starts_with("redis://") && !url.starts_with("rediss://") {
            return bad("begins with neither redis:// nor rediss://", None);
        }
        if url.contains(['#', '?']) {
            return bad(
                "has options after # or ?, which are not supported (in a password they are written %23 and %3F)",
                None,
            );
        }
        match url.into_connection_info() {
            Ok(target) => Ok(Self::of_target(target)),
            Err(source) => bad("is no URL of a Redis", Some(source)),
        }
    }

    /// Redis at `host` and `port`, without TLS.
    ///
    /// # Errors
    /// `BadRedisUrl` when the crate refuses the pair.
    pub fn of_host(
        host: &str,
        port: u16,
        db: u16,
        password: Option<&str>,
    ) -> Result<Self, BadRedisUrl> {
        let target = ConnectionAddr::Tcp(host.to_owned(), port)
            .into_connection_info()
            .map_err(|source| BadRedisUrl {
                reason: "cannot be made of REDIS_HOST and REDIS_PORT",
                source: Some(source),
            })?;
        let mut redis = target.redis_settings().clone().set_db(i64::from(db));
        if let Some(password) = password {
            redis = redis.set_password(password);
        }
        Ok(Self::of_target(target.set_redis_settings(redis)))
    }

    /// `host:port`, for messages.
    pub fn at(&self) -> &Arc<str> {
        &self.at
    }

    fn of_target(target: ConnectionInfo) -> Self {
        let tcp = TcpSettings::default()
            .set_nodelay(true)
            .set_keepalive(
                TcpKeepalive::new()
                    .with_time(KEEPALIVE)
                    .with_interval(KEEPALIVE),
            )
            .set_user_timeout(USER_TIMEOUT);
        let target = target.set_tcp_settings(tcp);
        Self {
            at: target.addr().to_string().into(),
            target,
            cache_ttl_secs: 300,
            result_interval_ms: 250,
            wait_replicas: 0,
            wanted_for: WANTED_FOR,
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        matches!(self.target.addr(), ConnectionAddr::TcpTls { .. })
    }

    pub(super) fn db(&self) -> i64 {
        self.target.redis_settings().db()
    }

    /// What the crate connects to, speaking `protocol`.
    pub(super) fn target(&self, protocol: ProtocolVersion) -> ConnectionInfo {
        let redis = self.target.redis_settings().clone().set_protocol(protocol);
        self.target.clone().set_redis_settings(redis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_never_shows_its_password() {
        let url = "rediss://bot:s%20cret@db.example:7000/3";
        let settings = RedisSettings::of_url(url).unwrap();
        assert_eq!(&**settings.at(), "db.example:7000");
        assert_eq!(settings.db(), 3);
        let target = settings.target(ProtocolVersion::RESP2);
        assert_eq!(target.redis_settings().password(), Some("s cret"));
        assert!(matches!(target.addr(), ConnectionAddr::TcpTls { .. }));
        let host = RedisSettings::of_host("h", 6379, 2, Some("s cret")).unwrap();
        let shown = format!("{settings:?} {host:?}");
        assert!(!shown.contains("cret"), "{shown}");
    }

    #[test]
    fn a_bad_url_gets_one_line_without_its_password() {
        for url in [
            "http://:s3cret@h",
            "redis://:s3cret@h:99999",
            "redis://:s3cret@h/db",
            "rediss://:s3cret@h/#insecure",
            "redis://:s3cret@h/?protocol=resp3",
            "redis://:s3cret@",
            "unix:///s3cret",
            "",
        ] {
            let error = RedisSettings::of_url(url).unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(error.to_string().starts_with("REDIS_URL "), "{said}");
            assert!(!said.contains("s3cret"), "{url}: {said}");
            assert_eq!(said.lines().count(), 1);
        }
    }
}
