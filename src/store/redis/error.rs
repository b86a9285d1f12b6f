//! What can go wrong with Redis, and what to do then. Callers act on `advice()`, never on text.
//! A message names the server, the reason and, where a person must act, what to do; a password is in none of them.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::{ErrorKind, ServerErrorKind};

/// What the caller does about an error: the link it happened on is dropped in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Connect again, with growing waits.
    Retry,
    /// It will not work until a person has changed something: try rarely, and show the message.
    AskTheOperator,
}

/// Why an entry of the log, or what is told of a series, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BadEntry {
    /// Its id is not of the form `<seq>-0`, or `0-1` for the mark of an epoch.
    #[error("its id is no number of a change")]
    Id,
    /// A field that every entry has.
    #[error("field {0} is missing or malformed")]
    Field(&'static str),
    /// Its JSON is no change.
    #[error("its JSON is no change: {0}")]
    Json(#[source] serde_json::Error),
    /// Its fields and its JSON do not say the same.
    #[error("its JSON contradicts its field {0}")]
    Contradicts(&'static str),
}

/// What went wrong with Redis at `at` (`host:port`).
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum RedisError {
    /// No connection.
    #[error(
        "Redis at {at}: no connection ({source}): is it running, and are REDIS_HOST and REDIS_PORT right?"
    )]
    Unreachable {
        at: Arc<str>,
        #[source]
        source: redis::RedisError,
    },
    /// Not within its deadline. Whether a write was done is unknown.
    #[error("Redis at {at}: no answer to {what} within {} ms", .deadline.as_millis())]
    NoAnswer {
        at: Arc<str>,
        what: &'static str,
        deadline: Duration,
    },
    /// The connection ended. Whether a write was done is unknown.
    #[error("Redis at {at}: the connection was lost during {what}")]
    Cut {
        at: Arc<str>,
        what: &'static str,
        #[source]
        source: Option<redis::RedisError>,
    },
    /// User or password, or their rights.
    #[error(
        "Redis at {at} refused {what} ({source}): check REDIS_PASSWORD, or user and password in REDIS_URL, and the user's rights"
    )]
    Auth {
        at: Arc<str>,
        what: &'static str,
        #[source]
        source: redis::RedisError,
    },
    /// No such database.
    #[error(
        "Redis at {at} has no database {db} ({source}): check REDIS_DB, or the path of REDIS_URL"
    )]
    Database {
        at: Arc<str>,
        db: i64,
        #[source]
        source: redis::RedisError,
    },
    /// The handshake of TLS failed.
    #[error(
        "Redis at {at}: no TLS ({source}): check its certificate, or use redis:// for a server without TLS"
    )]
    Tls {
        at: Arc<str>,
        #[source]
        source: redis::RedisError,
    },
    /// It does not speak RESP3.
    #[error("Redis at {at} is too old: version 7 or newer is needed")]
    TooOld { at: Arc<str> },
    /// It answered with an error: loading, read-only, out of memory.
    #[error("Redis at {at} refused {what}: {source}")]
    Refused {
        at: Arc<str>,
        what: &'static str,
        #[source]
        source: redis::RedisError,
    },
    /// An answer this program does not understand.
    #[error("Redis at {at}: the answer to {what} makes no sense: {detail}")]
    Malformed {
        at: Arc<str>,
        what: &'static str,
        detail: String,
    },
    /// An entry of the log is not ours, or damaged. It is never skipped: a change would be lost.
    #[error("Redis at {at}: entry {id} of the log cannot be read: {source}")]
    BadEntry {
        at: Arc<str>,
        id: String,
        #[source]
        source: BadEntry,
    },
    /// Messages came faster than they were read, and some were lost: read everything again.
    #[error("Redis at {at}: more than {queue} messages waited, some were lost")]
    Overrun { at: Arc<str>, queue: usize },
}

impl RedisError {
    /// What the caller does.
    pub fn advice(&self) -> Advice {
        match self {
            Self::Unreachable { .. }
            | Self::NoAnswer { .. }
            | Self::Cut { .. }
            | Self::Refused { .. }
            | Self::Malformed { .. }
            | Self::Overrun { .. } => Advice::Retry,
            Self::Auth { .. }
            | Self::Database { .. }
            | Self::Tls { .. }
            | Self::TooOld { .. }
            | Self::BadEntry { .. } => Advice::AskTheOperator,
        }
    }

    /// Sorts what the crate says while a connection is made.
    pub(super) fn connecting(
        at: &Arc<str>,
        db: i64,
        what: &'static str,
        deadline: Duration,
        source: redis::RedisError,
    ) -> Self {
        let at = at.clone();
        let kind = source.kind();
        if kind == ErrorKind::Server(ServerErrorKind::ResponseError) && db != 0 {
            return Self::Database { at, db, source };
        }
        if kind == ErrorKind::RESP3NotSupported {
            return Self::TooOld { at };
        }
        if is_of_tls(&source) {
            return Self::Tls { at, source };
        }
        let reached = kind != ErrorKind::Io && kind != ErrorKind::InvalidClientConfig;
        if reached || source.is_timeout() {
            return Self::of(&at, what, deadline, source);
        }
        Self::Unreachable { at, source }
    }

    /// Sorts what the crate says of a command.
    pub(super) fn of(
        at: &Arc<str>,
        what: &'static str,
        deadline: Duration,
        source: redis::RedisError,
    ) -> Self {
        let at = at.clone();
        let kind = source.kind();
        let refused_by_name = matches!(source.code(), Some("NOAUTH" | "WRONGPASS"));
        if refused_by_name
            || kind == ErrorKind::AuthenticationFailed
            || kind == ErrorKind::Server(ServerErrorKind::NoPerm)
        {
            Self::Auth { at, what, source }
        } else if source.is_timeout() {
            Self::NoAnswer { at, what, deadline }
        } else if kind == ErrorKind::Io {
            let source = Some(source);
            Self::Cut { at, what, source }
        } else if kind == ErrorKind::Parse || kind == ErrorKind::UnexpectedReturnType {
            let detail = source.to_string();
            Self::Malformed { at, what, detail }
        } else {
            Self::Refused { at, what, source }
        }
    }
}

/// The crate keeps its cause in an `Arc`, and an `io::Error` hides what it wraps from `source()`.
fn is_of_tls(error: &redis::RedisError) -> bool {
    error
        .source()
        .and_then(|cause| cause.downcast_ref::<Arc<dyn Error + Send + Sync>>())
        .and_then(|cause| cause.downcast_ref::<io::Error>())
        .and_then(io::Error::get_ref)
        .is_some_and(<dyn Error + Send + Sync>::is::<rustls::Error>)
}
