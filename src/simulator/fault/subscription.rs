//! Faults of subscriptions: an acknowledgement proves nothing (hazard 7).

use serde::{Deserialize, Serialize};

use super::FaultKind;
use super::transport::within;

/// A fault of subscriptions. Where it concerns names, those subscribed by the path count too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum SubscriptionFault {
    /// Names are acknowledged and deliver nothing until they are subscribed again. A strike is a name.
    Silent {},
    /// `SUBSCRIBE` is answered with an error and not carried out.
    Error {
        /// The exchange's code.
        code: i64,
        /// Its words.
        msg: String,
    },
    /// `SUBSCRIBE` is neither answered nor carried out.
    NoReply {},
    /// Of the names of one request only so many deliver, which ones by the seed.
    Partial {
        /// How many.
        deliver: u64,
    },
    /// Names an address has subscribed on an earlier connection are acknowledged and deliver nothing on a later one.
    Forget {},
}

impl SubscriptionFault {
    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Self::Partial { deliver } => within("deliver", *deliver, 0, 1_024),
            Self::Silent {} | Self::Error { .. } | Self::NoReply {} | Self::Forget {} => Ok(()),
        }
    }
}

impl From<SubscriptionFault> for FaultKind {
    fn from(fault: SubscriptionFault) -> Self {
        Self::Subscription(fault)
    }
}
