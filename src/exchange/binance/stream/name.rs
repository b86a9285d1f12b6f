//! What a connection subscribes to, and how that is called on the wire. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::market::SeriesKey;

/// News of contracts: listed, settled, brackets changed.
const LISTING: &str = "!contractInfo";

/// One subscribed stream. `Listing` comes first, so it is among the names of the oldest connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    /// News of contracts; one connection carries it (hazard 24).
    Listing,
    /// A series' candles.
    Series(SeriesKey),
}

/// A set of names that may be replaced while it is being watched.
pub(super) type Names = Arc<BTreeSet<Name>>;

impl Name {
    /// The name on the wire. Upper case would be acknowledged and stay silent (hazard 27).
    pub(super) fn wire(&self) -> String {
        match self {
            Self::Listing => LISTING.to_owned(),
            Self::Series(key) => format!("{}@kline_{}", key.symbol.lower(), key.interval),
        }
    }

    /// The series, when it is one.
    pub(super) const fn series(&self) -> Option<&SeriesKey> {
        match self {
            Self::Listing => None,
            Self::Series(key) => Some(key),
        }
    }
}

/// What is subscribed for the series of `watched`: them, and news of contracts as long as there are any.
pub(super) fn names_for(watched: &BTreeSet<SeriesKey>) -> BTreeSet<Name> {
    let listing = (!watched.is_empty()).then_some(Name::Listing);
    let series = watched.iter().cloned().map(Name::Series);
    listing.into_iter().chain(series).collect()
}
