//! Why a connection is closed: each reason has its code and says itself in words.

use bytes::{BufMut, Bytes, BytesMut};

use super::frame::{self, Opcode};

/// Close reasons are at most 123 bytes on the wire.
const REASON_BYTES: usize = 123;

/// Why a connection is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CloseReason {
    /// The peer said goodbye with this code, or none.
    #[error("")]
    Left(Option<u16>),
    /// It did not answer pings; it may come back.
    #[error("no answer to pings for {0} s")]
    Silent(u64),
    /// A frame that RFC 6455 does not allow.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    /// Binary data: the feed speaks text.
    #[error("binary messages are not accepted")]
    Binary,
    /// Text that is not UTF-8.
    #[error("text is not UTF-8")]
    NotUtf8,
    /// A rule of the feed was broken.
    #[error("{0}")]
    Rule(String),
    /// A message above the limit.
    #[error("message above {0} bytes")]
    TooBig(usize),
    /// The server has not loaded what was asked for yet; it may come back.
    #[error("{0}")]
    NotReady(String),
    /// The server goes away.
    #[error("server restarts")]
    Restart,
    /// The reader does not take what it asked for.
    #[error("slow: {bytes} bytes, oldest {}.{} s", .oldest_ms / 1_000, .oldest_ms % 1_000 / 100)]
    Slow {
        /// Unsent bytes.
        bytes: usize,
        /// Age of the oldest unsent change.
        oldest_ms: u64,
    },
    /// A replay was taken so slowly, or this server was away for so long, that the log no longer has the next change.
    #[error("slow: the log has gone past what was taken")]
    Outrun,
}

impl CloseReason {
    /// The close code; none echoes a close frame without one.
    pub(super) const fn code(&self) -> Option<u16> {
        match self {
            Self::Left(code) => *code,
            Self::Silent(_) => Some(1001),
            Self::Protocol(_) => Some(1002),
            Self::Binary => Some(1003),
            Self::NotUtf8 => Some(1007),
            Self::Rule(_) => Some(1008),
            Self::TooBig(_) => Some(1009),
            Self::Restart => Some(1012),
            Self::NotReady(_) => Some(1013),
            Self::Slow { .. } | Self::Outrun => Some(4008),
        }
    }

    /// Whether what waits is sent before the goodbye: not to a peer that left, broke the protocol, or is too slow.
    pub(super) const fn flushes(&self) -> bool {
        match self {
            Self::Rule(_) | Self::NotReady(_) | Self::Restart => true,
            Self::Left(_)
            | Self::Silent(_)
            | Self::Protocol(_)
            | Self::Binary
            | Self::NotUtf8
            | Self::TooBig(_)
            | Self::Slow { .. }
            | Self::Outrun => false,
        }
    }

    /// The close frame.
    pub(super) fn frame(&self) -> Bytes {
        let Some(code) = self.code() else {
            return frame::single(Opcode::Close, &[]);
        };
        let mut words = self.to_string();
        while words.len() > REASON_BYTES {
            words.pop();
        }
        let mut payload = BytesMut::new();
        payload.put_u16(code);
        payload.put_slice(words.as_bytes());
        frame::single(Opcode::Close, &payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_is_told_how_slow() {
        let reason = CloseReason::Slow {
            bytes: 1_048_811,
            oldest_ms: 3_250,
        };
        assert_eq!(reason.to_string(), "slow: 1048811 bytes, oldest 3.2 s");
        assert_eq!(reason.code(), Some(4008));
    }

    #[test]
    fn a_reason_fits_into_a_control_frame_whatever_it_says() {
        let frame = CloseReason::Rule("ü".repeat(500)).frame();
        assert_eq!(frame.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
    }
}
