//! Watching on demand, as readers may ask for it over any door: what trades and is not watched becomes wanted
//! (`store::Interest`), within limits, so that no stranger spends the exchange's request weight. Asking for what is
//! watched, or wanted already, is free and renews the want. Bounded in memory; addresses are forgotten after an hour.
//! Whether a name trades at all the caller has asked before; who is exempt from the limits HTTP says.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Mono;
use crate::market::{SeriesKey, SeriesStatus, Symbol};
use crate::store::{Noted, Store};

/// How long it is remembered that a contract was asked for: longer than anybody waits for its first result.
const ASKED_LATELY_MS: u64 = 60_000;

/// What `new_contracts_per_hour` counts over.
const HOUR_MS: u64 = 3_600_000;

/// Addresses remembered at a time, about 2 MB; a new one above it is refused until one is forgotten.
const MAX_ADDRESSES: usize = 10_000;

/// So much of an IPv6 address names a customer; the rest is his to choose.
const NETWORK_BITS: u32 = 64;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// Somebody at this machine: nothing is counted.
    Exempt,
    /// Anybody at this address.
    Address(IpAddr),
}

/// Why a contract that trades is not watched for who asks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// His address has asked for too many new ones.
    #[error(
        "not allowed: at most {per_hour} contracts an hour that nobody watches yet; try again in {retry_after_s} s"
    )]
    TooMany {
        /// How many it may ask for in an hour.
        per_hour: usize,
        /// When as many as were asked for may be asked for.
        retry_after_s: u64,
    },
    /// No more can be watched.
    #[error(
        "not allowed: as many contracts are watched as may be ({0}, HAMA_MAX_WATCHED); try again in a few minutes"
    )]
    Full(usize),
}

/// The door to what is not watched; clones share its limits.
#[derive(Debug, Clone)]
pub struct Demand(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Store,
    max_watched: usize,
    per_hour: usize,
    asked: Mutex<Asked>,
}

/// What was asked for that nobody watched.
#[derive(Debug, Default)]
struct Asked {
    /// When each address asked, within the last hour, oldest first.
    by_address: HashMap<IpAddr, VecDeque<Mono>>,
    /// When each contract was last asked for anew.
    at: BTreeMap<Symbol, Mono>,
}

impl Demand {
    /// Over this store: at most `max_watched` contracts in all, and `per_hour` new ones of one address.
    pub fn new(store: Store, max_watched: usize, per_hour: usize) -> Self {
        Self(Arc::new(Shared {
            store,
            max_watched,
            per_hour,
            asked: Mutex::default(),
        }))
    }

    /// Notes that `asker` wants these series of contracts that trade: all of them, or none and why.
    ///
    /// # Errors
    /// `Denied`.
    pub fn ask(&self, asker: Asker, series: &[SeriesKey], now: Mono) -> Result<(), Denied> {
        let (store, interest) = (&self.0.store, self.0.store.interest());
        let published = store.published();
        let is_watched = |key: &SeriesKey| published.results.contains_key(key);
        if !series.iter().all(is_watched) {
            let mut asked = self.asked();
            let wanted = interest.wanted(now);
            let new: BTreeSet<&Symbol> = series
                .iter()
                .filter(|key| !is_watched(key))
                .map(|key| &key.symbol)
                .filter(|symbol| !wanted.contains(symbol))
                .collect();
            if !new.is_empty() {
                self.has_room(&wanted, new.len())?;
                asked.count(asker, new.len(), self.0.per_hour, now)?;
                asked.note(new, now);
            }
        }
        match interest.want(series.iter().cloned(), now) {
            Noted::All => Ok(()),
            Noted::Full => Err(Denied::Full(self.0.max_watched)),
        }
    }

    /// When a contract that nobody watched was last asked for; none when that is long ago.
    pub fn asked_at(&self, symbol: &Symbol) -> Option<Mono> {
        self.asked().at.get(symbol).copied()
    }

    /// These series are still subscribed to, or were until now.
    pub(super) fn renew(&self, series: impl IntoIterator<Item = SeriesKey>, now: Mono) {
        // What is watched by a subscription was noted when it began, so that it is not refused now.
        let _ = self.0.store.interest().want(series, now);
    }

    fn has_room(&self, wanted: &BTreeSet<Symbol>, new: usize) -> Result<(), Denied> {
        let published = self.0.store.published();
        let watched = published.results.iter();
        let watched = watched.filter(|(_, result)| result.status != SeriesStatus::Ended);
        let mut taken: BTreeSet<&Symbol> = watched.map(|(key, _)| &key.symbol).collect();
        taken.extend(wanted.intersection(&published.tradable));
        if taken.len() + new > self.0.max_watched {
            return Err(Denied::Full(self.0.max_watched));
        }
        Ok(())
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        let asked = self.0.asked.lock();
        asked.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked {
    /// Counts `new` contracts more for who asks, unless that is too many.
    fn count(
        &mut self,
        asker: Asker,
        new: usize,
        per_hour: usize,
        now: Mono,
    ) -> Result<(), Denied> {
        let Asker::Address(address) = asker else {
            return Ok(());
        };
        let address = network(address);
        self.forget_old(now);
        let too_many = |wait_ms: u64| Denied::TooMany {
            per_hour,
            retry_after_s: wait_ms.div_ceil(1_000).max(1),
        };
        if self.by_address.len() >= MAX_ADDRESSES && !self.by_address.contains_key(&address) {
            return Err(too_many(HOUR_MS));
        }
        let had = self.by_address.entry(address).or_default();
        let above = (had.len() + new).saturating_sub(per_hour);
        if above > 0 {
            // So many of the oldest must be an hour old; who asks for more than an hour's at once never gets them.
            let gone = had.get(above - 1).or(had.back()).copied().unwrap_or(now);
            return Err(too_many(gone.plus_ms(HOUR_MS).ms_since(now)));
        }
        had.extend(std::iter::repeat_n(now, new));
        Ok(())
    }

    fn forget_old(&mut self, now: Mono) {
        self.by_address.retain(|_, had| {
            had.retain(|at| now.ms_since(*at) < HOUR_MS);
            !had.is_empty()
        });
    }

    fn note(&mut self, new: BTreeSet<&Symbol>, now: Mono) {
        self.at.retain(|_, at| now.ms_since(*at) < ASKED_LATELY_MS);
        self.at
            .extend(new.into_iter().map(|symbol| (symbol.clone(), now)));
    }
}

/// An address, of IPv6 the network it is in.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let mask = u128::MAX << (u128::BITS - NETWORK_BITS);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}
