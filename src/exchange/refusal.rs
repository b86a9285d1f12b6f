//! Being refused: 403 and 451 mean that the exchange does not serve this address, and asking again soon changes nothing
//! and may be punished (hazard 31). One `Served` per side of the exchange, shared by all who ask there: while a refusal
//! stands, one of them asks once a minute and nobody else sends anything. Only a real answer lifts it.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Mono;

/// While one asks whether we are served again, the others look for his answer so often.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// A side of the exchange; each is a host of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Requests.
    Rest,
    /// Streams.
    Streams,
}

/// A refusal that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Who refused.
    pub side: Side,
    /// 403 or 451.
    pub status: u16,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.side {
            Side::Rest => "requests",
            Side::Streams => "streams",
        };
        let status = self.status;
        write!(
            f,
            "the exchange refuses {what} with {status} (region or proxy): set PROXY_URL, or another proxy"
        )
    }
}

/// Why nothing may be sent now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) refusal: Refusal,
    /// The beginning of what it said.
    pub(super) message: String,
    /// When to ask here again.
    pub(super) again_in: Duration,
}

/// Whether a side of the exchange serves us.
#[derive(Debug)]
pub(super) struct Served {
    side: Side,
    host: String,
    again_after: Duration,
    refused: Mutex<Option<Refused>>,
}

#[derive(Debug)]
struct Refused {
    status: u16,
    message: String,
    ask_at: Mono,
    asking: bool,
    told: bool,
}

impl Served {
    /// A side that has refused nothing yet; after a refusal it is asked again every `again_after`.
    pub(super) fn new(side: Side, host: String, again_after: Duration) -> Self {
        Self {
            side,
            host,
            again_after,
            refused: Mutex::default(),
        }
    }

    /// Whether something may be sent. While a refusal stands, this lets one asker through each time its wait is over.
    pub(super) fn admit(&self, now: Mono) -> Result<(), Held> {
        let mut refused = self.refused();
        let Some(standing) = refused.as_mut() else {
            return Ok(());
        };
        if now >= standing.ask_at {
            standing.ask_at = later(now, self.again_after);
            standing.asking = true;
            return Ok(());
        }
        let wait = Duration::from_millis(standing.ask_at.ms_since(now));
        let again_in = if standing.asking {
            wait.min(LOOK_AGAIN)
        } else {
            wait
        };
        Err(Held {
            refusal: Refusal {
                side: self.side,
                status: standing.status,
            },
            message: standing.message.clone(),
            again_in,
        })
    }

    /// It was refused; says so once. The answer is when to ask again.
    pub(super) fn refuse(&self, status: u16, message: &str, now: Mono) -> Duration {
        self.hold(status, now);
        self.tell(message);
        self.again_after
    }

    /// It was refused, and what it says to that is still on its way: holds at once. `tell` is to follow.
    pub(super) fn hold(&self, status: u16, now: Mono) {
        self.hold_for(status, self.again_after, now);
    }

    /// As `hold`, for as long as it says itself.
    pub(super) fn hold_for(&self, status: u16, span: Duration, now: Mono) {
        let mut refused = self.refused();
        let before = refused.take();
        *refused = Some(Refused {
            status,
            told: before.as_ref().is_some_and(|before| before.told),
            message: before.map_or_else(String::new, |before| before.message),
            ask_at: later(now, span),
            asking: false,
        });
    }

    /// What it said to the refusal that stands; says so once.
    pub(super) fn tell(&self, message: &str) {
        let mut refused = self.refused();
        let Some(standing) = refused.as_mut() else {
            return; // lifted meanwhile
        };
        message.clone_into(&mut standing.message);
        let (status, told) = (standing.status, standing.told);
        standing.told = true;
        drop(refused);
        if !told {
            let host = self.host.as_str();
            tracing::error!(
                host,
                status,
                message,
                "the exchange refuses us (region or proxy): set PROXY_URL, or another proxy; asking again once a minute"
            );
        }
    }

    /// It answered otherwise: we are served.
    pub(super) fn serve(&self) {
        if self.refused().take().is_some_and(|refused| refused.told) {
            let host = self.host.as_str();
            tracing::info!(host, "the exchange serves us again");
        }
    }

    /// Who was let through had no budget left to ask with: the next one may.
    pub(super) fn unasked(&self, now: Mono) {
        if let Some(standing) = self.refused().as_mut() {
            standing.ask_at = now;
            standing.asking = false;
        }
    }

    /// No answer came: the refusal stands, and nobody asks at present.
    pub(super) fn unanswered(&self) {
        if let Some(standing) = self.refused().as_mut() {
            standing.asking = false;
        }
    }

    /// The refusal that stands.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        let refused = self.refused();
        refused.as_ref().map(|standing| Refusal {
            side: self.side,
            status: standing.status,
        })
    }

    fn refused(&self) -> MutexGuard<'_, Option<Refused>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `span` after `now`.
pub(super) fn later(now: Mono, span: Duration) -> Mono {
    now.plus_ms(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono::from_ms(ms)
    }

    #[test]
    fn h31_while_a_refusal_stands_one_asks_a_minute_and_the_others_send_nothing() {
        let minute = Duration::from_secs(60);
        let served = Served::new(Side::Rest, "exchange".to_owned(), minute);
        assert_eq!(served.admit(at(0)), Ok(()));
        assert_eq!(served.refuse(451, "no", at(100)), minute);
        let sent = (101..240_000).filter(|ms| served.admit(at(*ms)).is_ok());
        assert_eq!(sent.collect::<Vec<_>>(), [60_100, 120_100, 180_100]);
        assert_eq!(served.refusal().unwrap().status, 451);
    }

    #[test]
    fn h31_all_go_on_when_the_one_who_asks_is_served() {
        let served = Served::new(
            Side::Streams,
            "exchange".to_owned(),
            Duration::from_secs(60),
        );
        served.refuse(403, "", at(0));
        let held = served.admit(at(1_000)).unwrap_err();
        assert_eq!(held.again_in, Duration::from_secs(59));
        assert_eq!(served.admit(at(60_000)), Ok(()));
        let held = served.admit(at(60_001)).unwrap_err();
        assert_eq!(held.again_in, LOOK_AGAIN, "somebody asks just now");
        served.unanswered();
        let held = served.admit(at(60_002)).unwrap_err();
        assert!(held.again_in > LOOK_AGAIN, "he was not answered");
        assert_eq!(served.admit(at(120_000)), Ok(()));
        served.unasked(at(120_000));
        assert_eq!(served.admit(at(120_001)), Ok(()));
        served.serve();
        assert_eq!(served.refusal(), None);
        assert_eq!(served.admit(at(120_002)), Ok(()));
    }

    #[test]
    fn h31_a_refusal_holds_before_its_message_has_come() {
        let minute = Duration::from_secs(60);
        let served = Served::new(Side::Rest, "exchange".to_owned(), minute);
        served.hold(451, at(0));
        let held = served.admit(at(1)).unwrap_err();
        assert_eq!((held.refusal.status, held.message.as_str()), (451, ""));
        served.tell("from a restricted location");
        let held = served.admit(at(2)).unwrap_err();
        assert_eq!(held.message, "from a restricted location");
        served.serve();
        served.tell("late");
        assert_eq!(served.admit(at(3)), Ok(()), "what is lifted stays so");
    }
}
