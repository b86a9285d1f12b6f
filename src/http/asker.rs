//! Who asks, to the limits of watching on demand: whoever sits at this machine is exempt, everybody else is the address
//! of his socket. A proxy on this machine speaks for strangers: what it passes on is not from here.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;

use super::admin::passed_on;
use super::serve::Peer;
use crate::hub::Asker;

/// `Asker` of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct AskedBy(pub(super) Asker);

impl<S: Sync> FromRequestParts<S> for AskedBy {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let peer = parts.extensions.get::<Peer>().copied();
        Ok(Self(asker(peer, &parts.headers)))
    }
}

/// Who sends a request with these headers. The one place where somebody is let off the limits.
pub(super) fn asker(peer: Option<Peer>, headers: &HeaderMap) -> Asker {
    match peer {
        Some(Peer(address)) if address.is_loopback() && passed_on(headers).is_none() => {
            Asker::Exempt
        }
        Some(Peer(address)) => Asker::Address(address),
        None => Asker::Address(std::net::Ipv4Addr::UNSPECIFIED.into()),
    }
}
