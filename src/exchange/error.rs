//! What can go wrong with an exchange, and what to do then. Callers act on `advice()`, never on text.
//! A message names the place, the reason and, where a person must act, what to do.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use super::way::WayError;
use crate::market::{BadCandle, OpenTime, TimeMs};

/// What the caller does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Ask again at this instant of exchange time, not before.
    WaitUntil(TimeMs),
    /// Ask again later, with growing waits.
    BackOff,
    /// Asking again will not help until a person has changed something; ask rarely, and show the message.
    AskTheOperator,
    /// This very request will never be answered: drop it.
    GiveUp,
}

/// Why a row of an answer is not a candle of the series asked for.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum BadRow {
    /// A price or amount that is not a decimal number.
    #[error("{field} is not a decimal number")]
    NotANumber {
        /// Which value.
        field: &'static str,
    },
    /// An impossible candle.
    #[error(transparent)]
    Candle(#[from] BadCandle),
    /// It opens between two candles of its interval (hazard 23).
    #[error("opens at {open}, off its interval's grid")]
    OffGrid {
        /// Where it opens.
        open: OpenTime,
    },
    /// It does not end where a candle of its interval must.
    #[error("closes at {close} instead of {expected}")]
    WrongClose {
        /// Where it ends.
        close: TimeMs,
        /// Where it should.
        expected: TimeMs,
    },
    /// It does not open after the row before it.
    #[error("opens at {open}, not after the row before it")]
    NotAscending {
        /// Where it opens.
        open: OpenTime,
    },
    /// It lies outside what was asked for.
    #[error("opens at {open}, outside of what was asked for")]
    NotAsked {
        /// Where it opens.
        open: OpenTime,
    },
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The minute's budget is spent; nothing was sent.
    #[error("request budget of this minute is spent; next try at {retry_at}")]
    BudgetSpent {
        /// When it can be tried again, exchange time.
        retry_at: TimeMs,
    },
    /// The exchange told us to be quiet (429), or has banned this address for a while (418).
    #[error("{path}: the exchange answered {status} (too many requests); next try at {retry_at}")]
    Limited {
        /// What was asked.
        path: &'static str,
        /// 429 or 418.
        status: u16,
        /// When it can be tried again, exchange time.
        retry_at: TimeMs,
    },
    /// A candle that has not closed was asked for; nothing was sent.
    #[error("candle {until} closes only at {closes_at}")]
    NotClosedYet {
        /// The last candle asked for.
        until: OpenTime,
        /// Its last millisecond, exchange time.
        closes_at: TimeMs,
    },
    /// The request makes no sense; nothing was sent.
    #[error("bad request: {reason}")]
    BadRequest {
        /// Why.
        reason: &'static str,
    },
    /// 403 or 451: this address is not served.
    #[error(
        "{host} refused {path} with {status} (region or proxy): set PROXY_URL, or another proxy. It said: {message}"
    )]
    NotServed {
        /// The exchange's host.
        host: String,
        /// What was asked.
        path: &'static str,
        /// 403 or 451.
        status: u16,
        /// The beginning of what it said.
        message: String,
        /// When it may be asked again, real time; until then nothing is sent.
        again_in: Duration,
    },
    /// The proxy opened no tunnel; nothing was sent past it.
    #[error("{path}: {source}")]
    NoWay {
        /// What was asked.
        path: &'static str,
        /// What happened.
        #[source]
        source: WayError,
    },
    /// The exchange refuses this request: an unknown symbol, a bad parameter.
    #[error("{path}: the exchange answered {status}, code {code:?}: {message}")]
    Refused {
        /// What was asked.
        path: &'static str,
        /// The HTTP status.
        status: u16,
        /// The exchange's own code: -1121 is an unknown symbol.
        code: Option<i64>,
        /// The beginning of what it said.
        message: String,
    },
    /// The exchange cannot answer now.
    #[error("{path}: the exchange answered {status}, code {code:?}: {message}")]
    Unavailable {
        /// What was asked.
        path: &'static str,
        /// The HTTP status.
        status: u16,
        /// The exchange's own code.
        code: Option<i64>,
        /// The beginning of what it said.
        message: String,
    },
    /// No whole answer in time.
    #[error("{path}: no whole answer within {limit:?}")]
    TimedOut {
        /// What was asked.
        path: &'static str,
        /// How long was waited.
        limit: Duration,
    },
    /// No connection, or it broke.
    #[error(
        "{host}: no whole answer to {path} ({}); is it running, and the network up?",
        first_cause(source)
    )]
    Unreachable {
        /// The exchange's host.
        host: String,
        /// What was asked.
        path: &'static str,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The answer is larger than any right one.
    #[error("{path}: the answer is larger than {limit_bytes} bytes")]
    TooLarge {
        /// What was asked.
        path: &'static str,
        /// The most that is read, after decompression.
        limit_bytes: usize,
    },
    /// The answer is not the JSON it should be.
    #[error("{path}: the answer cannot be read")]
    Unreadable {
        /// What was asked.
        path: &'static str,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// One row of candles is wrong, so none is taken (hazard 32).
    #[error("{path}: row {row}: {reason}")]
    BadRow {
        /// What was asked.
        path: &'static str,
        /// Which row, from 0.
        row: usize,
        /// What is wrong.
        #[source]
        reason: BadRow,
    },
    /// More rows than asked for.
    #[error("{path}: {rows} rows where at most {limit} were asked for")]
    TooManyRows {
        /// What was asked.
        path: &'static str,
        /// How many came.
        rows: usize,
        /// How many were asked for.
        limit: u16,
    },
    /// A URL of the settings cannot be used.
    #[error("'{url}' is no {schemes} URL of an exchange")]
    BadUrl {
        /// The URL as set.
        url: String,
        /// What it may begin with.
        schemes: &'static str,
    },
    /// TLS could not be set up.
    #[error("TLS could not be set up")]
    Tls {
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

impl ExchangeError {
    /// What to do now.
    pub const fn advice(&self) -> Advice {
        match self {
            Self::BudgetSpent { retry_at } | Self::Limited { retry_at, .. } => {
                Advice::WaitUntil(*retry_at)
            }
            Self::NotClosedYet { closes_at, .. } => Advice::WaitUntil(closes_at.plus_ms(1)),
            Self::Refused { status: 400, .. } | Self::BadRequest { .. } => Advice::GiveUp,
            // 401, 404 and the like speak of the host or its URL, not of one request.
            Self::Refused { .. }
            | Self::NotServed { .. }
            | Self::BadUrl { .. }
            | Self::Tls { .. } => Advice::AskTheOperator,
            Self::NoWay {
                source: WayError::Proxy { fault, .. } | WayError::Held { fault, .. },
                ..
            } if fault.needs_a_person() => Advice::AskTheOperator,
            Self::Unavailable { .. }
            | Self::TimedOut { .. }
            | Self::Unreachable { .. }
            | Self::TooLarge { .. }
            | Self::Unreadable { .. }
            | Self::BadRow { .. }
            | Self::TooManyRows { .. }
            | Self::NoWay { .. } => Advice::BackOff,
        }
    }

    /// How long nothing is sent because this address is not served, or refused by the proxy; `None` for every other error.
    pub const fn again_in(&self) -> Option<Duration> {
        match self {
            Self::NotServed { again_in, .. } => Some(*again_in),
            Self::NoWay { source, .. } => source.again_in(),
            Self::BudgetSpent { .. }
            | Self::Limited { .. }
            | Self::NotClosedYet { .. }
            | Self::BadRequest { .. }
            | Self::Refused { .. }
            | Self::Unavailable { .. }
            | Self::TimedOut { .. }
            | Self::Unreachable { .. }
            | Self::TooLarge { .. }
            | Self::Unreadable { .. }
            | Self::BadRow { .. }
            | Self::TooManyRows { .. }
            | Self::BadUrl { .. }
            | Self::Tls { .. } => None,
        }
    }
}

/// What lies under an error of ours; an error that is told twice shares it.
#[derive(Debug, Clone)]
pub struct Cause(Arc<dyn Error + Send + Sync>);

impl Cause {
    pub(super) fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Arc::from(cause.into()))
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// What is at the bottom of an error: `Connection refused`, not the three layers that wrapped it.
pub(super) fn first_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
