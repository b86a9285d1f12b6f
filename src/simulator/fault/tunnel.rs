//! Faults of the exchange's own proxies, all of them. They go before what a proxy was started with.

use serde::{Deserialize, Serialize};

use super::FaultKind;
use super::transport::within;
use crate::simulator::proxy::ProxyFault;

/// A fault of the proxies. A strike is a connection to one of them; of `Cut` a tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum TunnelFault {
    /// No login is good enough.
    Auth {},
    /// Nobody is let through: HTTP answers with a status; SOCKS5 to 403 "not allowed", to others "host unreachable".
    Refuse {
        /// 400 to 599.
        #[serde(default = "forbidden")]
        status: u16,
    },
    /// The connection is taken and nothing is said. When the fault ends it is closed.
    Hang {},
    /// Each new tunnel is cut in the middle.
    Drop {
        /// After so many bytes of the exchange's.
        #[serde(default = "some_bytes")]
        bytes: u64,
    },
    /// Tunnels are cut. With neither an end nor a count: those that are open when it begins.
    Cut {},
}

const fn forbidden() -> u16 {
    403
}

const fn some_bytes() -> u64 {
    64 * 1024
}

impl TunnelFault {
    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Self::Refuse { status } => within("status", (*status).into(), 400, 599),
            Self::Drop { bytes } => within("bytes", *bytes, 1, 1 << 40),
            Self::Auth {} | Self::Hang {} | Self::Cut {} => Ok(()),
        }
    }

    /// What a proxy does wrong with its next connection.
    pub(in crate::simulator) fn of_the_next(&self) -> Option<ProxyFault> {
        match *self {
            Self::Auth {} => Some(ProxyFault::Auth),
            Self::Refuse { status } => Some(ProxyFault::Refuse { status }),
            Self::Hang {} => Some(ProxyFault::Hang),
            Self::Drop { bytes } => Some(ProxyFault::DropAfter { bytes }),
            Self::Cut {} => None,
        }
    }
}

impl From<TunnelFault> for FaultKind {
    fn from(fault: TunnelFault) -> Self {
        Self::Proxy(fault)
    }
}
