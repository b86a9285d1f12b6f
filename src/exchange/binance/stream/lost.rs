//! Why a connection ended, and how soon the next may be tried. No close code is final: the exchange closes with 1000 and
//! 1008 too, and a client that takes them for the end goes deaf (hazard 12).

use std::time::Duration;

use tokio_tungstenite::tungstenite::{self, http::StatusCode};

use super::super::rest::{BAN, BAN_MAX, retry_after};
use super::Times;
use crate::exchange::WayError;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    /// No socket.
    #[error("no connection: {0}")]
    NoWay(#[source] WayError),
    /// No TLS, no handshake.
    #[error("no connection: {0}")]
    Connect(#[source] Box<tungstenite::Error>),
    /// The handshake was answered with an HTTP status instead.
    #[error("handshake refused with {status}")]
    Handshake {
        status: StatusCode,
        /// What it said in `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// 429 or 418: this address is to be quiet for so long, all connections of it.
    #[error(
        "handshake refused with {status} (too many requests): all connections wait {again_in:?}"
    )]
    Limited { status: u16, again_in: Duration },
    /// 403 or 451.
    #[error("handshake refused with {status} (region or proxy): set PROXY_URL, or another proxy")]
    NotServed { status: u16, again_in: Duration },
    /// Nothing was sent because of a 429 or 418 before.
    #[error("refused with {status} before (too many requests)")]
    Quiet { status: u16, again_in: Duration },
    /// Nothing was sent because of a 403 or 451 before.
    #[error("refused with {status} before (region or proxy): set PROXY_URL, or another proxy")]
    Held { status: u16, again_in: Duration },
    /// The handshake took too long.
    #[error("no handshake within {0:?}")]
    HandshakeTimedOut(Duration),
    /// The exchange closed.
    #[error("closed by the exchange with {code:?}: {reason}")]
    Closed { code: Option<u16>, reason: String },
    /// The socket broke.
    #[error("broken: {0}")]
    Broken(#[source] Box<tungstenite::Error>),
    /// Nothing was heard for so long.
    #[error("no frame of any kind for {0:?}")]
    Silent(Duration),
    /// Subscriptions are acknowledged, and no candle comes (hazards 7, 8, 10).
    #[error("acknowledged, but no candle for {0:?}")]
    Deaf(Duration),
    /// A subscription was not answered.
    #[error("no answer to a subscription within {0:?}")]
    Unanswered(Duration),
    /// Our own message could not be sent.
    #[error("a message could not be sent within {0:?}")]
    Stuck(Duration),
    /// The engine has not read for so long that it cannot even be told that we are up.
    #[error("the engine does not read")]
    EngineBehind,
}

impl Lost {
    pub(super) fn connect(error: tungstenite::Error) -> Self {
        if let tungstenite::Error::Http(response) = &error {
            return Self::Handshake {
                status: response.status(),
                retry_after: retry_after(response.headers()),
            };
        }
        Self::Connect(Box::new(error))
    }

    /// A refused handshake that asks for quiet, and for how long it does.
    pub(super) fn asks_for_quiet(&self, times: &Times) -> Option<(u16, Duration)> {
        let Self::Handshake {
            status,
            retry_after,
        } = self
        else {
            return None;
        };
        let usual = match status.as_u16() {
            418 => BAN,
            429 => times.reconnect.1,
            _ => return None,
        };
        let quiet = retry_after.unwrap_or(usual).min(BAN_MAX);
        Some((status.as_u16(), quiet))
    }

    /// The close code, when one was sent.
    pub(super) fn code(&self) -> Option<u16> {
        match self {
            Self::Closed { code, .. } => *code,
            Self::NoWay(_)
            | Self::NotServed { .. }
            | Self::Limited { .. }
            | Self::Quiet { .. }
            | Self::Held { .. }
            | Self::Connect(_)
            | Self::Handshake { .. }
            | Self::HandshakeTimedOut(_)
            | Self::Broken(_)
            | Self::Silent(_)
            | Self::Deaf(_)
            | Self::Unanswered(_)
            | Self::Stuck(_)
            | Self::EngineBehind => None,
        }
    }

    /// How long nothing was heard, when that is why; else zero.
    pub(super) fn silent_for(&self) -> Duration {
        match self {
            Self::Silent(silence) | Self::Deaf(silence) => *silence,
            Self::NoWay(_)
            | Self::NotServed { .. }
            | Self::Limited { .. }
            | Self::Quiet { .. }
            | Self::Held { .. }
            | Self::Connect(_)
            | Self::Handshake { .. }
            | Self::HandshakeTimedOut(_)
            | Self::Closed { .. }
            | Self::Broken(_)
            | Self::Unanswered(_)
            | Self::Stuck(_)
            | Self::EngineBehind => Duration::ZERO,
        }
    }

    /// Whether we broke a rule of the exchange: a fault of ours, worth an alarm.
    pub(super) fn is_our_fault(&self) -> bool {
        self.code() == Some(1008)
    }

    /// Whether nothing was tried, since a refusal stands.
    pub(super) fn is_held(&self) -> bool {
        matches!(
            self,
            Self::Held { .. } | Self::Quiet { .. } | Self::NoWay(WayError::Held { .. })
        )
    }

    /// Whether candles did not come, though all else was well.
    pub(super) fn is_deafness(&self) -> bool {
        matches!(self, Self::Deaf(_))
    }

    /// The least wait before the next try.
    pub(super) fn least_wait(&self, times: &Times) -> Duration {
        if self.is_our_fault() {
            return times.after_policy;
        }
        match self {
            Self::NotServed { again_in, .. }
            | Self::Limited { again_in, .. }
            | Self::Quiet { again_in, .. }
            | Self::Held { again_in, .. }
            | Self::NoWay(WayError::Held { again_in, .. }) => *again_in,
            // Asking again soon changes nothing and may be punished.
            Self::Handshake { status, .. } if status.is_client_error() => times.reconnect.1,
            // A password the proxy refuses is not to be tried every second.
            Self::NoWay(WayError::Proxy { fault, .. }) if fault.needs_a_person() => {
                times.after_refusal
            }
            Self::NoWay(_)
            | Self::Handshake { .. }
            | Self::Connect(_)
            | Self::HandshakeTimedOut(_)
            | Self::Closed { .. }
            | Self::Broken(_)
            | Self::Silent(_)
            | Self::Deaf(_)
            | Self::Unanswered(_)
            | Self::Stuck(_)
            | Self::EngineBehind => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h12_no_end_is_final_and_a_broken_rule_and_a_refused_handshake_wait_longer() {
        let times = Times::default();
        let closed = |code| Lost::Closed {
            code,
            reason: String::new(),
        };
        for code in [
            Some(1000),
            Some(1001),
            Some(1006),
            Some(1011),
            Some(1012),
            None,
        ] {
            assert_eq!(closed(code).least_wait(&times), Duration::ZERO, "{code:?}");
            assert!(!closed(code).is_our_fault());
        }
        let policy = closed(Some(1008));
        assert!(policy.is_our_fault() && policy.least_wait(&times) == times.after_policy);
        for status in [400, 403, 451] {
            let refused = refused(status, None);
            assert_eq!(refused.least_wait(&times), times.reconnect.1, "{status}");
        }
        assert_eq!(refused(503, None).least_wait(&times), Duration::ZERO);
    }

    fn refused(status: u16, retry_after: Option<Duration>) -> Lost {
        Lost::Handshake {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after,
        }
    }

    #[test]
    fn h30_a_refused_handshake_asks_for_as_much_quiet_as_it_says_and_a_ban_for_two_minutes() {
        let times = Times::default();
        let secs = Duration::from_secs;
        for (status, said, quiet) in [
            (418, Some(secs(600)), Some(secs(600))),
            (418, None, Some(secs(120))),
            (429, Some(secs(5)), Some(secs(5))),
            (429, None, Some(times.reconnect.1)),
            (418, Some(secs(4_000_000)), Some(BAN_MAX)),
            (403, Some(secs(9)), None),
            (503, Some(secs(9)), None),
        ] {
            let asked = refused(status, said).asks_for_quiet(&times);
            assert_eq!(
                asked,
                quiet.map(|quiet| (status, quiet)),
                "{status} {said:?}"
            );
        }
        let mut answer = tungstenite::http::Response::new(None);
        *answer.status_mut() = StatusCode::IM_A_TEAPOT;
        answer
            .headers_mut()
            .insert("retry-after", "7".parse().unwrap());
        let lost = Lost::connect(tungstenite::Error::Http(Box::new(answer)));
        assert_eq!(lost.asks_for_quiet(&times), Some((418, secs(7))));
    }
}
