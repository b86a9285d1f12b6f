//! Connections to Redis, each with a deadline on every call. None of them mends itself: a link that failed is dropped,
//! and its owner opens a new one when it thinks fit, knowing that something may have been missed.
//! Three kinds, since each is waited for in its own way: commands, one blocking read, messages.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, ProtocolVersion, PushInfo, PushKind, Value,
};
use tokio::sync::mpsc;

use super::error::RedisError;
use super::settings::RedisSettings;

/// TCP, TLS and the first words.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
/// An answer to a command or a script.
pub const COMMAND_DEADLINE: Duration = Duration::from_secs(2);
/// A blocking read, the second it blocks included.
pub const BLOCKING_DEADLINE: Duration = Duration::from_secs(3);
/// Messages that may wait for the owner of a `PubSubLink`: a sweep of 600 series, several times over (about 1.5 kB each).
/// When full the link fails with `Overrun`.
pub const MESSAGE_QUEUE: usize = 8_192;

/// Something about a server that its operator should know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// Keys may vanish when memory is short, the lease and the log among them.
    #[error("maxmemory-policy {0} may evict keys: set it to noeviction")]
    MayEvict(String),
    /// Writes will be refused.
    #[error("it is a replica: connect to its primary")]
    Replica,
    /// Older than what this program is tested with.
    #[error("version {0} is older than 7")]
    Old(String),
}

/// For commands, scripts and pipelines; clones share the connection.
#[derive(Debug, Clone)]
pub struct CommandLink {
    connection: MultiplexedConnection,
    at: Arc<str>,
}

impl CommandLink {
    /// Connects.
    ///
    /// # Errors
    /// `RedisError`, at the latest after `CONNECT_DEADLINE`.
    pub async fn open(settings: &RedisSettings) -> Result<Self, RedisError> {
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(COMMAND_DEADLINE));
        Ok(Self {
            connection: connect(settings, ProtocolVersion::RESP2, config).await?,
            at: settings.at().clone(),
        })
    }

    /// `host:port`, for messages.
    pub fn at(&self) -> &Arc<str> {
        &self.at
    }

    /// The answer to one command; `what` names it in errors.
    ///
    /// # Errors
    /// `RedisError`, at the latest after `COMMAND_DEADLINE`.
    pub async fn query<T: FromRedisValue>(
        &mut self,
        what: &'static str,
        command: &Cmd,
    ) -> Result<T, RedisError> {
        let answer = command.query_async(&mut self.connection);
        within(&self.at, what, COMMAND_DEADLINE, answer).await
    }

    /// The answers to a pipeline.
    ///
    /// # Errors
    /// As `query`.
    pub async fn pipeline<T: FromRedisValue>(
        &mut self,
        what: &'static str,
        pipeline: &redis::Pipeline,
    ) -> Result<T, RedisError> {
        let answer = pipeline.query_async(&mut self.connection);
        within(&self.at, what, COMMAND_DEADLINE, answer).await
    }

    /// The answer of a script, which is loaded when the server does not know it yet.
    pub(super) async fn script(
        &mut self,
        what: &'static str,
        script: &redis::ScriptInvocation<'_>,
    ) -> Result<Vec<String>, RedisError> {
        let answer = script.invoke_async(&mut self.connection);
        within(&self.at, what, COMMAND_DEADLINE, answer).await
    }

    /// What about this server its operator should know.
    ///
    /// # Errors
    /// As `query`.
    pub async fn warnings(&mut self) -> Result<Vec<Warning>, RedisError> {
        let info: String = self.query("INFO", &redis::cmd("INFO")).await?;
        Ok(warnings_in(&info))
    }
}

fn warnings_in(info: &str) -> Vec<Warning> {
    let value = |name: &str| {
        let mut lines = info.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    };
    let mut warnings = Vec::new();
    if let Some(policy) = value("maxmemory_policy").filter(|policy| *policy != "noeviction") {
        warnings.push(Warning::MayEvict(policy.to_owned()));
    }
    if value("role").is_some_and(|role| role == "slave") {
        warnings.push(Warning::Replica);
    }
    if let Some(version) = value("redis_version") {
        let major = version
            .split('.')
            .next()
            .and_then(|n| n.parse::<u32>().ok());
        if major.is_some_and(|major| major < 7) {
            warnings.push(Warning::Old(version.to_owned()));
        }
    }
    warnings
}

/// For one blocking read at a time. The read takes the link and gives it back with the answer, so that a read that
/// failed, or was given up, leaves no link behind on which a late answer could be taken for the next one's.
#[derive(Debug)]
pub struct BlockingLink {
    connection: MultiplexedConnection,
    at: Arc<str>,
}

impl BlockingLink {
    /// Connects.
    ///
    /// # Errors
    /// `RedisError`, at the latest after `CONNECT_DEADLINE`.
    pub async fn open(settings: &RedisSettings) -> Result<Self, RedisError> {
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        Ok(Self {
            connection: connect(settings, ProtocolVersion::RESP2, config).await?,
            at: settings.at().clone(),
        })
    }

    /// `host:port`, for messages.
    pub fn at(&self) -> &Arc<str> {
        &self.at
    }

    /// The answer to a command that blocks for at most a second.
    ///
    /// # Errors
    /// `RedisError`, at the latest after `BLOCKING_DEADLINE`; the link is gone then.
    pub async fn query<T: FromRedisValue>(
        mut self,
        what: &'static str,
        command: &Cmd,
    ) -> Result<(Self, T), RedisError> {
        let answer = command.query_async(&mut self.connection);
        let answer = within(&self.at, what, BLOCKING_DEADLINE, answer).await?;
        Ok((self, answer))
    }
}

/// A published message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub channel: String,
    /// What.
    pub payload: Vec<u8>,
}

/// For messages. The socket is always drained, into a bounded queue: a reader that is too slow is told so.
#[derive(Debug)]
pub struct PubSubLink {
    connection: MultiplexedConnection,
    messages: mpsc::Receiver<Message>,
    overrun: Arc<AtomicBool>,
    at: Arc<str>,
}

impl PubSubLink {
    /// Connects and subscribes to `patterns` (`PSUBSCRIBE`) and `channels`; every message after that is seen.
    ///
    /// # Errors
    /// `RedisError`, at the latest after both deadlines.
    pub async fn open(
        settings: &RedisSettings,
        patterns: &[&str],
        channels: &[&str],
    ) -> Result<Self, RedisError> {
        let (queue, messages) = mpsc::channel(MESSAGE_QUEUE);
        let overrun = Arc::new(AtomicBool::new(false));
        let lost = overrun.clone();
        let take = move |push: PushInfo| -> Result<(), RedisLinkClosed> {
            let Some(message) = message_of(push) else {
                return Ok(()); // a confirmation of a subscription
            };
            queue.try_send(message).map_err(|error| {
                if matches!(error, mpsc::error::TrySendError::Full(_)) {
                    lost.store(true, Ordering::Release);
                }
                RedisLinkClosed
            })
        };
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(COMMAND_DEADLINE))
            .set_push_sender(take);
        let at = settings.at().clone();
        let mut connection = connect(settings, ProtocolVersion::RESP3, config).await?;
        if !patterns.is_empty() {
            let answer = connection.psubscribe(patterns);
            within(&at, "PSUBSCRIBE", COMMAND_DEADLINE, answer).await?;
        }
        if !channels.is_empty() {
            let answer = connection.subscribe(channels);
            within(&at, "SUBSCRIBE", COMMAND_DEADLINE, answer).await?;
        }
        Ok(Self {
            connection,
            messages,
            overrun,
            at,
        })
    }

    /// The next message; may be dropped while it waits, nothing is lost by that. It waits as long as none comes: that
    /// silence is too long is the owner's to say (the beat comes every second).
    ///
    /// # Errors
    /// `Overrun` when messages were lost, `Cut` when the connection ended.
    pub async fn next(&mut self) -> Result<Message, RedisError> {
        let message = self.messages.recv().await;
        let at = self.at.clone();
        if self.overrun.load(Ordering::Acquire) {
            let queue = MESSAGE_QUEUE;
            return Err(RedisError::Overrun { at, queue });
        }
        message.ok_or(RedisError::Cut {
            at,
            what: "listening",
            source: None,
        })
    }

    /// Whether the server still answers on this connection.
    ///
    /// # Errors
    /// `RedisError`, at the latest after `COMMAND_DEADLINE`.
    pub async fn ping(&mut self) -> Result<(), RedisError> {
        let ping = redis::cmd("PING");
        let answer = self.connection.req_packed_command(&ping);
        let _: Value = within(&self.at, "PING", COMMAND_DEADLINE, answer).await?;
        Ok(())
    }
}

/// Tells the crate that nobody listens; it goes on reading its socket.
struct RedisLinkClosed;

fn message_of(push: PushInfo) -> Option<Message> {
    let by_pattern = push.kind == PushKind::PMessage;
    if !by_pattern && push.kind != PushKind::Message {
        return None;
    }
    let mut data = push.data.into_iter().skip(usize::from(by_pattern)); // the pattern stands first
    let channel = redis::from_redis_value(data.next()?).ok()?;
    let payload = redis::from_redis_value(data.next()?).ok()?;
    Some(Message { channel, payload })
}

async fn connect(
    settings: &RedisSettings,
    protocol: ProtocolVersion,
    config: AsyncConnectionConfig,
) -> Result<MultiplexedConnection, RedisError> {
    // The crate's TLS takes the process's provider, and panics without one. Whoever was first named the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (at, db) = (settings.at(), settings.db());
    let what = if settings.is_tls() {
        "connecting with TLS (does the server use it?)"
    } else {
        "connecting"
    };
    let failed = |source| RedisError::connecting(at, db, what, CONNECT_DEADLINE, source);
    let client = Client::open(settings.target(protocol)).map_err(failed)?;
    let config = config.set_connection_timeout(Some(CONNECT_DEADLINE));
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .map_err(failed)
}

/// The crate's own limit counts a single request; a script may be three of them.
async fn within<T>(
    at: &Arc<str>,
    what: &'static str,
    deadline: Duration,
    answer: impl Future<Output = redis::RedisResult<T>>,
) -> Result<T, RedisError> {
    match tokio::time::timeout(deadline, answer).await {
        Ok(answer) => answer.map_err(|source| RedisError::of(at, what, deadline, source)),
        Err(_elapsed) => Err(RedisError::NoAnswer {
            at: at.clone(),
            what,
            deadline,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_loses_keys_or_refuses_writes_is_warned_of() {
        let fine = "# Server\r\nredis_version:7.0.15\r\n# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\nrole:master\r\n";
        assert_eq!(warnings_in(fine), []);
        let bad = fine
            .replace("7.0.15", "6.2.1")
            .replace("noeviction", "allkeys-lru")
            .replace("master", "slave");
        let expected = [
            Warning::MayEvict("allkeys-lru".to_owned()),
            Warning::Replica,
            Warning::Old("6.2.1".to_owned()),
        ];
        assert_eq!(warnings_in(&bad), expected);
        assert_eq!(warnings_in("nonsense"), []);
    }
}
