//! What a `SUBSCRIBE` comes to: which of its names deliver, and what faults make of the request and of each name.
//! Whatever becomes of a name, the connection counts it as subscribed: an acknowledgement proves nothing (hazard 7).

use std::net::IpAddr;

use super::World;
use super::fault::{FaultKind, Place, Strike, SubscriptionFault};
use super::routes::{Door, StreamKey};

/// Who subscribes.
#[derive(Debug)]
pub(super) struct Subscriber {
    /// The connection's number.
    pub id: u64,
    /// The client's address.
    pub address: IpAddr,
    /// The door it came through.
    pub door: Door,
    /// The path and query it connected to.
    pub path: String,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// It is carried out.
    Heard,
    /// It is answered with an error.
    Refused {
        /// The exchange's code.
        code: i64,
        /// Its words.
        message: String,
    },
    /// It is not answered.
    Lost,
}

/// What faults make of a request for `names` as a whole.
pub(super) fn asked(world: &World, subscriber: &Subscriber, names: &[String]) -> Asked {
    let known: Vec<_> = names
        .iter()
        .map(|name| subscriber.door.stream(name, world))
        .collect();
    let places: Vec<_> = known
        .iter()
        .map(|key| subscriber.place(world, *key))
        .collect();
    let pick = |kind: &FaultKind| match kind.subscription()? {
        SubscriptionFault::Error { code, msg } => Some(Asked::Refused {
            code: *code,
            message: msg.clone(),
        }),
        SubscriptionFault::NoReply {} => Some(Asked::Lost),
        SubscriptionFault::Silent {}
        | SubscriptionFault::Partial { .. }
        | SubscriptionFault::Forget {} => None,
    };
    let struck = world
        .faults
        .strike_any(world.clock.now(), &places, "request", pick);
    struck
        .into_iter()
        .next()
        .map_or(Asked::Heard, |strike| strike.what)
}

/// Lets the connection hear those of `names` that exist and that no fault keeps silent. Returns those that do not exist.
pub(super) fn listen<'a>(
    world: &World,
    subscriber: &Subscriber,
    names: &'a [String],
) -> Vec<&'a str> {
    let mut unknown = Vec::new();
    let mut known = Vec::new();
    for name in names {
        match subscriber.door.stream(name, world) {
            Some(key) => known.push((name.as_str(), key)),
            None => unknown.push(name.as_str()),
        }
    }
    let left_out = left_out(world, subscriber, &known);
    let now = world.clock.now();
    for (name, key) in known {
        let forgotten = world
            .streams
            .subscribed(subscriber.address, subscriber.id, key);
        if left_out.contains(&key) || is_silent(world, subscriber, name, key, forgotten) {
            world.streams.unlisten(subscriber.id, key);
        } else {
            world.streams.listen(subscriber.id, key, name, now);
        }
    }
    unknown
}

/// Whether an address has subscribed a name on an earlier connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Before,
    New,
}

fn is_silent(
    world: &World,
    subscriber: &Subscriber,
    name: &str,
    key: StreamKey,
    known: Known,
) -> bool {
    let pick = |kind: &FaultKind| match kind.subscription()? {
        SubscriptionFault::Silent {} => Some(()),
        SubscriptionFault::Forget {} => (known == Known::Before).then_some(()),
        SubscriptionFault::Error { .. }
        | SubscriptionFault::NoReply {}
        | SubscriptionFault::Partial { .. } => None,
    };
    let place = subscriber.place(world, Some(key));
    !world
        .faults
        .strike(world.clock.now(), &place, name, pick)
        .is_empty()
}

/// Those of one request's names that a fault leaves out: all in its scope but a few, which ones by the seed.
fn left_out(world: &World, subscriber: &Subscriber, known: &[(&str, StreamKey)]) -> Vec<StreamKey> {
    let places: Vec<_> = known
        .iter()
        .map(|(_, key)| subscriber.place(world, Some(*key)))
        .collect();
    let pick = |kind: &FaultKind| {
        let fault = kind.subscription()?;
        if let SubscriptionFault::Partial { deliver } = fault {
            Some(*deliver)
        } else {
            None
        }
    };
    let mut out = Vec::new();
    for Strike { number, what } in
        world
            .faults
            .strike_any(world.clock.now(), &places, "names", pick)
    {
        let deliver = usize::try_from(what).unwrap_or(usize::MAX);
        let in_scope = known
            .iter()
            .zip(&places)
            .filter(|(_, place)| world.faults.covers(number, place));
        let mut ranked: Vec<_> = in_scope
            .map(|((name, key), _)| (world.faults.rank(number, name), *key))
            .collect();
        ranked.sort_unstable();
        out.extend(ranked.into_iter().skip(deliver).map(|(_, key)| key));
    }
    out
}

impl Subscriber {
    /// Where a name of this connection is.
    fn place(&self, world: &World, key: Option<StreamKey>) -> Place<'_> {
        let (symbol, interval) = match key {
            Some(StreamKey::Candles {
                interval, contract, ..
            }) => {
                let symbol = world.market.catalogue().get(contract).symbol.clone();
                (Some(symbol), Some(interval))
            }
            Some(StreamKey::Tickers | StreamKey::ContractInfo) | None => (None, None),
        };
        Place {
            path: Some(&self.path),
            connection: Some(self.id),
            symbol,
            interval,
            opened: None,
        }
    }
}
