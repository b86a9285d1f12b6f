//! Faults of REST answers. A struck request has cost its weight. Paths under `/sim` are never struck.

use serde::{Deserialize, Serialize};

use super::FaultKind;
use super::transport::within;

/// A fault of REST answers. A strike is a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RestFault {
    /// The answer is a refusal, with the body the exchange has for it.
    Status {
        /// 403 (HTML), 408, 418, 429, 451, 500, 502 (HTML), 503 or 504 (HTML).
        status: u16,
        /// The `Retry-After` header, in seconds of exchange time. For 418: the address is banned so long.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_secs: Option<u32>,
    },
    /// The answer does not come. When the fault ends the connection is reset.
    Timeout {
        /// How far it comes.
        when: Phase,
    },
    /// The connection is reset instead of an answer.
    Reset {},
    /// The connection ends in the middle of the body.
    Truncate {},
    /// The body is no JSON.
    Malformed {},
    /// Texts are numbers and numbers texts.
    WrongTypes {},
    /// `[]` where an array is expected, else `{}`.
    Empty {},
    /// Arrays are in the opposite order.
    WrongOrder {},
    /// The body is blown up with blanks at its end.
    Oversized {
        /// To so many bytes, unpacked.
        bytes: u64,
        /// How it is sent.
        #[serde(default)]
        wrapping: Wrapping,
    },
    /// Another user of the same address spends weight before each struck request: the header jumps, the budget shrinks.
    Weight {
        /// So much.
        weight: u32,
    },
    /// Candles are served as they were a while ago: after a boundary the old candle is still open.
    Lag {
        /// So long ago, exchange time.
        lag_ms: i64,
    },
    /// `endTime` is ignored: the last row is the open candle, and nothing says so.
    OpenRow {},
}

/// How far an answer comes before it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing of it comes.
    BeforeHeaders,
    /// The head comes, the body does not.
    AfterHeaders,
}

/// How a body that is too large is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wrapping {
    /// As it is.
    #[default]
    Plain,
    /// Compressed to about a thousandth, whether that was asked for or not: a gzip bomb.
    Gzip,
}

impl RestFault {
    const STATUSES: [u16; 9] = [403, 408, 418, 429, 451, 500, 502, 503, 504];

    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Self::Status { status, .. } if !Self::STATUSES.contains(status) => Err(format!(
                "`status` is {status}: allowed 403, 408, 418, 429, 451, 500, 502, 503, 504"
            )),
            Self::Oversized { bytes, .. } => within("bytes", *bytes, 1, 1 << 30),
            Self::Weight { weight } => within("weight", (*weight).into(), 1, 1_000_000),
            Self::Lag { lag_ms } => {
                let lag = u64::try_from(*lag_ms).unwrap_or(0);
                within("lag_ms", lag, 1, 86_400_000)
            }
            Self::Status { .. }
            | Self::Timeout { .. }
            | Self::Reset {}
            | Self::Truncate {}
            | Self::Malformed {}
            | Self::WrongTypes {}
            | Self::Empty {}
            | Self::WrongOrder {}
            | Self::OpenRow {} => Ok(()),
        }
    }
}

impl From<RestFault> for FaultKind {
    fn from(fault: RestFault) -> Self {
        Self::Rest(fault)
    }
}
