//! Faults of connections. They are told to whoever connects; what a connection carries is the other groups' question.

use serde::{Deserialize, Serialize};

use super::FaultKind;

/// A fault of connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum TransportFault {
    /// Stream connections are reset. With neither an end nor a count: those that are open when it begins.
    Reset {},
    /// Stream connections are closed with a code; 1006: cut without a close frame. Which ones: as `Reset`.
    Close {
        /// The code.
        code: u16,
        /// The text beside it, at most 123 bytes.
        #[serde(default)]
        reason: String,
    },
    /// Stream connections are closed with 1001 at this age.
    MaxAge {
        /// Real time since the upgrade.
        max_age_ms: u64,
    },
    /// A stream connection is accepted, or was, and nothing comes from it any more, neither events nor answers nor
    /// pongs. When the fault ends it is reset.
    HalfOpen {},
    /// Streams send nothing while the connection answers; what would have come meanwhile is lost. A strike is a stream.
    Stall {},
    /// The upgrade is answered with a status and the body the exchange has for it.
    RefuseHandshake {
        /// 400 to 599.
        status: u16,
        /// A `Retry-After` header, in seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_secs: Option<u32>,
    },
    /// The upgrade is never answered. When the fault ends the connection is reset.
    HangHandshake {},
    /// Bytes leave slowly, on streams and REST alike.
    SlowBytes {
        /// In real time, per connection.
        bytes_per_second: u64,
    },
    /// No connection comes about, whatever for: also not for `/sim`.
    RefuseConnect {
        /// What the client sees.
        #[serde(default)]
        how: Refusing,
    },
}

/// How a connection is refused before anything is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusing {
    /// Reset at once.
    #[default]
    Reset,
    /// Accepted by the system and then left alone; reset when the fault ends.
    Ignore,
}

impl TransportFault {
    const MOST_REASON_BYTES: usize = 123;

    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Self::Close { code, reason } => {
                if !matches!(code, 1000..=1003 | 1006..=1014 | 3000..=4999) {
                    return Err(format!(
                        "`code` is {code}: allowed 1000 to 1003, 1006 to 1014, 3000 to 4999"
                    ));
                }
                if reason.len() > Self::MOST_REASON_BYTES {
                    return Err(format!("`reason` has {} bytes: allowed 123", reason.len()));
                }
                Ok(())
            }
            Self::MaxAge { max_age_ms } => within("max_age_ms", *max_age_ms, 1, 31_557_600_000),
            Self::RefuseHandshake { status, .. } => within("status", (*status).into(), 400, 599),
            Self::SlowBytes { bytes_per_second } => {
                within("bytes_per_second", *bytes_per_second, 1, 1_000_000_000)
            }
            Self::Reset {}
            | Self::HalfOpen {}
            | Self::Stall {}
            | Self::HangHandshake {}
            | Self::RefuseConnect { .. } => Ok(()),
        }
    }

    /// At most so many bytes a second.
    pub(in crate::simulator) fn bytes_per_second(&self) -> Option<u64> {
        if let Self::SlowBytes { bytes_per_second } = self {
            return Some(*bytes_per_second);
        }
        None
    }

    pub(super) fn scope_fields(&self) -> &'static [&'static str] {
        match self {
            Self::RefuseConnect { .. } => &[],
            Self::RefuseHandshake { .. } | Self::HangHandshake {} | Self::SlowBytes { .. } => {
                &["path"]
            }
            Self::Stall {} => &super::scope::ALL,
            Self::Reset {} | Self::Close { .. } | Self::MaxAge { .. } | Self::HalfOpen {} => {
                &["path", "connection"]
            }
        }
    }
}

/// Whether a number lies in its range.
pub(super) fn within(field: &str, value: u64, least: u64, most: u64) -> Result<(), String> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(format!("`{field}` is {value}: allowed {least} to {most}"))
}

impl From<TransportFault> for FaultKind {
    fn from(fault: TransportFault) -> Self {
        Self::Transport(fault)
    }
}
