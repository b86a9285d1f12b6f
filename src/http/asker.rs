//! Who asks, to the limits of watching on demand: whoever sits at this machine is exempt, everybody else is an address:
//! that of his socket, or behind proxies the operator trusts the one they name. A proxy on this machine speaks for
//! strangers: what it passes on is not from here, whatever it says.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};

use super::admin::passed_on;
use super::serve::Peer;
use super::state::HttpState;
use crate::hub::Asker;

/// Each proxy appends who asked it: the last address is of the one that was asked last.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Proxies whose X-Forwarded-For counts, as networks: an address in it, and how many leading bits count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(pub Vec<(IpAddr, u8)>);

impl TrustedProxies {
    fn trusts(&self, address: IpAddr) -> bool {
        let within = |(network, prefix_len): &(IpAddr, u8)| {
            let length = u32::from(*prefix_len);
            match (network, address) {
                (IpAddr::V4(network), IpAddr::V4(address)) => {
                    let differing = network.to_bits() ^ address.to_bits();
                    differing.leading_zeros() >= length
                }
                (IpAddr::V6(network), IpAddr::V6(address)) => {
                    let differing = network.to_bits() ^ address.to_bits();
                    differing.leading_zeros() >= length
                }
                (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
            }
        };
        self.0.iter().any(within)
    }

    /// Who is behind the socket: its peer, or, where that is a trusted proxy, the first address from the right of
    /// X-Forwarded-For that is not one. What stands left of it anybody may have written; where nobody is named that can be
    /// read, it is the last one that was.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer;
        let values = headers.get_all(FORWARDED_FOR).iter().rev();
        for value in values {
            for named in value.to_str().unwrap_or_default().rsplit(',') {
                if !self.trusts(client) {
                    return client;
                }
                let Some(address) = address(named.trim()) else {
                    return client;
                };
                client = address;
            }
        }
        client
    }
}

/// `203.0.113.7`, `2001:db8::7`, and both with a port.
fn address(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse().map(|address: SocketAddr| address.ip());
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let address: Option<IpAddr> = bare.parse().or_else(|_| with_port()).ok();
    address.map(|address| address.to_canonical())
}

/// `Asker` of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct AskedBy(pub(super) Asker);

impl FromRequestParts<HttpState> for AskedBy {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &HttpState) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<Peer>().copied();
        let proxies = &state.settings.trusted_proxies;
        Ok(Self(asker(peer, &parts.headers, proxies)))
    }
}

/// Who sends a request with these headers. The one place where somebody is let off the limits.
pub(super) fn asker(peer: Option<Peer>, headers: &HeaderMap, proxies: &TrustedProxies) -> Asker {
    match peer {
        Some(Peer(address)) if address.is_loopback() && passed_on(headers).is_none() => {
            Asker::Exempt
        }
        Some(Peer(address)) => Asker::Address(proxies.client(address, headers)),
        None => Asker::Address(Ipv4Addr::UNSPECIFIED.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies() -> TrustedProxies {
        let networks = [("127.0.0.1", 32), ("10.1.0.0", 16), ("2001:db8:1::", 48)];
        let networks = networks.map(|(address, length)| (address.parse().unwrap(), length));
        TrustedProxies(networks.to_vec())
    }

    /// Who asks from `peer` with these X-Forwarded-For headers.
    fn from(peer: &str, named: &[&str], proxies: &TrustedProxies) -> String {
        let mut headers = HeaderMap::new();
        for value in named {
            headers.append(FORWARDED_FOR, value.parse().unwrap());
        }
        match asker(Some(Peer(peer.parse().unwrap())), &headers, proxies) {
            Asker::Exempt => "exempt".to_owned(),
            Asker::Address(address) => address.to_string(),
        }
    }

    #[test]
    fn the_first_untrusted_address_from_the_right_asks() {
        let from = |peer, named: &[&str]| from(peer, named, &proxies());
        let stranger = "203.0.113.7";
        assert_eq!(from("10.1.2.3", &[stranger]), stranger);
        assert_eq!(from("10.1.2.3", &["198.51.100.1, 203.0.113.7"]), stranger);
        assert_eq!(
            from("10.1.2.3", &["198.51.100.1, 203.0.113.7 ,10.1.9.9"]),
            stranger
        );
        assert_eq!(
            from("10.1.2.3", &["198.51.100.1", "203.0.113.7", "10.1.9.9"]),
            stranger
        );
        assert_eq!(from("10.1.2.3", &["203.0.113.7:51000"]), stranger);
        assert_eq!(from("10.1.2.3", &["::ffff:203.0.113.7"]), stranger);
        assert_eq!(
            from("2001:db8:1::5", &["[2001:db8:2::9]:443"]),
            "2001:db8:2::9"
        );
        assert_eq!(from("10.1.2.3", &["10.1.4.4"]), "10.1.4.4", "none but ours");
        assert_eq!(
            from("10.1.2.3", &["198.51.100.1, unknown, 10.1.9.9"]),
            "10.1.9.9"
        );
        assert_eq!(from("10.1.2.3", &[]), "10.1.2.3");
    }

    #[test]
    fn who_is_no_trusted_proxy_speaks_for_himself_alone() {
        for peer in ["10.2.0.1", "203.0.113.9", "2001:db8:2::1"] {
            assert_eq!(from(peer, &["198.51.100.1"], &proxies()), peer);
        }
        let nobody = TrustedProxies::default();
        assert_eq!(from("127.0.0.1", &["198.51.100.1"], &nobody), "127.0.0.1");
    }

    #[test]
    fn nobody_is_let_off_the_limits_by_what_a_header_says() {
        for proxies in [proxies(), TrustedProxies::default()] {
            for named in ["127.0.0.1", "::1", "", "unknown", "127.0.0.1, 127.0.0.1"] {
                for peer in ["127.0.0.1", "10.1.2.3", "203.0.113.9"] {
                    assert_ne!(from(peer, &[named], &proxies), "exempt", "{peer}: {named}");
                }
            }
            assert_eq!(from("127.0.0.1", &[], &proxies), "exempt", "who sits here");
        }
    }
}
