//! What stream paths and names mean: which door, which form, which stream of which contract.
//! A name delivers only when it is exactly right; whether it is acknowledged is not decided here (it always is).

use super::World;
use super::catalogue::{Catalogue, ContractId};
use super::server::percent_decoded;
use super::settings::LegacyPaths;
use crate::market::{Interval, TimeMs};

/// The first segment of a stream path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// `/market`: candles and tickers.
    Market,
    /// `/public`: books, of which there are none here.
    Public,
    /// `/private`: user data, of which there is none here.
    Private,
    /// No first segment: what it serves is a setting.
    Legacy,
}

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The event alone.
    Raw,
    /// `{"stream":name,"data":event}`.
    Combined,
}

/// What a stream path asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    /// Which door.
    pub door: Door,
    /// How events are written at first.
    pub form: Form,
    /// Names subscribed to by the path.
    pub names: Vec<String>,
}

/// A stream that exists. Ordered by interval, so that the first one closes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum StreamKey {
    /// Candles of a contract.
    Candles {
        interval: Interval,
        contract: ContractId,
        kind: CandleKind,
    },
    /// `!ticker@arr`.
    Tickers,
    /// `!contractInfo`.
    ContractInfo,
}

/// Which event carries the candles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CandleKind {
    Kline,
    Continuous,
}

impl Route {
    /// Reads `/market/stream?streams=a/b`, `/ws/a/b` and the like; `None`: no stream path.
    pub(super) fn at(path: &str, query: &str) -> Option<Self> {
        let doors = [
            ("/market", Door::Market),
            ("/public", Door::Public),
            ("/private", Door::Private),
        ];
        let (door, rest) = doors
            .into_iter()
            .find_map(|(prefix, door)| Some((door, path.strip_prefix(prefix)?)))
            .unwrap_or((Door::Legacy, path));
        let mut segments = rest.strip_prefix('/')?.split('/');
        let names = |text: &str| -> Vec<String> {
            let names = text.split('/').filter(|name| !name.is_empty());
            // ccxt appends a connection number to the path: no stream.
            let names = names.filter(|name| !name.bytes().all(|byte| byte.is_ascii_digit()));
            names.map(str::to_owned).collect()
        };
        match segments.next()? {
            "ws" => Some(Self {
                door,
                form: Form::Raw,
                names: segments.flat_map(|s| names(&percent_decoded(s))).collect(),
            }),
            "stream" => {
                let mut parts = query
                    .split('&')
                    .filter_map(|part| part.strip_prefix("streams="));
                Some(Self {
                    door,
                    form: Form::Combined,
                    names: parts
                        .next()
                        .map_or(Vec::new(), |s| names(&percent_decoded(s))),
                })
            }
            _ => None,
        }
    }
}

impl Door {
    /// The stream `name` means here: exactly the lower-case name of something that exists and is served at this door.
    pub(super) fn stream(self, name: &str, world: &World) -> Option<StreamKey> {
        let serves = match self {
            Self::Market => true,
            Self::Public | Self::Private => false,
            Self::Legacy => world.settings.legacy_paths == LegacyPaths::Market,
        };
        serves
            .then(|| StreamKey::parse(name, &world.market.catalogue(), world.clock.now()))
            .flatten()
    }
}

impl StreamKey {
    fn parse(name: &str, catalogue: &Catalogue, now: TimeMs) -> Option<Self> {
        let listed = |id: &ContractId| catalogue.get(*id).is_listed(now);
        match name {
            "!ticker@arr" => return Some(Self::Tickers),
            "!contractInfo" => return Some(Self::ContractInfo),
            _ => {}
        }
        let (subject, what) = name.split_once('@')?;
        if let Some(interval) = what.strip_prefix("kline_") {
            return Some(Self::Candles {
                interval: Interval::parse(interval).ok()?,
                contract: catalogue.find_lower(subject).filter(listed)?,
                kind: CandleKind::Kline,
            });
        }
        let interval = Interval::parse(what.strip_prefix("continuousKline_")?).ok()?;
        let (pair, contract_type) = subject.split_once('_')?;
        let contract = catalogue.all().iter().position(|c| {
            c.is_listed(now)
                && c.pair.to_ascii_lowercase() == pair
                && c.contract_type.to_ascii_lowercase() == contract_type
        })?;
        Some(Self::Candles {
            interval,
            contract: ContractId(contract),
            kind: CandleKind::Continuous,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_the_clients_write_them() {
        let route = |path: &str, query: &str| Route::at(path, query);
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let ccxt = route("/market/ws/0", "").unwrap();
        assert_eq!(
            (ccxt.door, ccxt.form, ccxt.names),
            (Door::Market, Form::Raw, names(&[]))
        );
        let raw = route("/public/ws/a@kline_1m/b@kline_1m", "").unwrap();
        assert_eq!(raw.names, names(&["a@kline_1m", "b@kline_1m"]));
        let combined = route("/stream", "streams=%E5%B8%81usdt@kline_1m/b@kline_1h").unwrap();
        assert_eq!(
            (combined.door, combined.form),
            (Door::Legacy, Form::Combined)
        );
        assert_eq!(combined.names, names(&["币usdt@kline_1m", "b@kline_1h"]));
        assert!(route("/market/stream/", "").is_some());
        for path in ["/", "/market", "/fapi/v1/time", "/markets/ws", "/wss"] {
            assert_eq!(route(path, ""), None, "{path}");
        }
    }
}
