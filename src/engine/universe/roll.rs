//! Who is watched: the list in force and, beside it, what readers ask for. Plain code: listings, figures and wants go in,
//! sets come out; nothing is waited for.
//! What must hold: never more than `max_watched` that trade; the list comes first, then the contract wanted longest. A ranked
//! contract leaves only by re-ranking, an explicit one never. What no longer trades stays as ended until then, so that whoever
//! follows it sees that, and takes nobody's place. Coin-margined, dated and TradFi contracts are never watched, others than USDT perpetuals never ranked
//! (hazard 26).

use std::collections::{BTreeMap, BTreeSet};

use super::listing::Listing;
use super::watch_list::{Names, WatchList, WatchListError};
use crate::engine::handle::WatchedContract;
use crate::engine::moment::Moment;
use crate::exchange::{Contract, Ticker};
use crate::market::Symbol;

/// What turnover is ranked in; sums in other assets are not comparable (hazard 26).
const RANKED_IN: &str = "USDT";

/// The watch list, and all it is made from.
#[derive(Debug)]
pub(super) struct Roll {
    /// What a start without names means.
    configured: WatchList,
    in_force: WatchList,
    max_watched: usize,
    listing: Listing,
    /// The last 24 hours as last read.
    figures: BTreeMap<Symbol, Ticker>,
    /// The last turnover known of each: a row that is missing once does not make its contract the last of all.
    turnover: BTreeMap<Symbol, f64>,
    /// Places of the USDT perpetuals by turnover, from 1.
    ranks: BTreeMap<Symbol, usize>,
    /// What the list in force comes to; empty before it was made.
    list: BTreeSet<Symbol>,
    /// What readers want, the earliest first.
    wanted: Vec<Symbol>,
    /// What the engine before this one watched, until there is a list to add it to.
    before: BTreeSet<Symbol>,
}

impl Roll {
    pub(super) fn new(configured: WatchList, max_watched: usize) -> Self {
        Self {
            in_force: configured.clone(),
            configured,
            max_watched,
            listing: Listing::default(),
            figures: BTreeMap::new(),
            turnover: BTreeMap::new(),
            ranks: BTreeMap::new(),
            list: BTreeSet::new(),
            wanted: Vec::new(),
            before: BTreeSet::new(),
        }
    }

    /// Takes in a listing. While the ranked list is shorter than it should be, newcomers join at once.
    ///
    /// # Errors
    /// It is no listing to go by, and changed nothing.
    pub(super) fn take_listing(
        &mut self,
        rows: Vec<Contract>,
        now: &Moment,
    ) -> Result<(), WatchListError> {
        self.listing.take(rows, now)?;
        self.rank();
        if self.has_list()
            && let WatchList::Top(count) = self.in_force
        {
            self.fill_up(count);
        }
        Ok(())
    }

    fn fill_up(&mut self, count: usize) {
        let room = count.saturating_sub(self.list.len());
        let new = self.first(count).filter(|one| !self.list.contains(*one));
        let mut joins: Vec<_> = new.cloned().collect();
        joins.sort_by_key(|symbol| self.ranks.get(symbol).copied());
        self.list.extend(joins.into_iter().take(room));
    }

    /// Takes in the last 24 hours. Ranks move, the list does not.
    pub(super) fn take_figures(&mut self, tickers: Vec<Ticker>) {
        let turnover = |one: &Ticker| (one.symbol.clone(), one.quote_volume_24h);
        self.turnover.extend(tickers.iter().map(turnover));
        let by_symbol = tickers.into_iter().map(|one| (one.symbol.clone(), one));
        self.figures = by_symbol.collect();
        self.rank();
    }

    /// Whether a contract that trades and is watched has no row in the last figures: a delisted one leaves them first.
    pub(super) fn misses_figures(&self) -> bool {
        let watched = self.watched();
        let mut trading = watched.iter().filter(|symbol| self.listing.trades(symbol));
        trading.any(|symbol| !self.figures.contains_key(symbol))
    }

    fn rank(&mut self) {
        let usdt = |one: &&Contract| one.quote_asset == RANKED_IN && one.margin_asset == RANKED_IN;
        let turnover = |one: &Contract| self.turnover.get(&one.symbol).copied().unwrap_or(0.0);
        let mut ranked: Vec<_> = self.listing.trading().filter(usdt).collect();
        ranked.sort_by(|a, b| {
            let by_turnover = turnover(b).total_cmp(&turnover(a));
            by_turnover.then_with(|| a.symbol.cmp(&b.symbol))
        });
        let places = ranked.into_iter().zip(1..);
        self.ranks = places.map(|(one, at)| (one.symbol.clone(), at)).collect();
    }

    /// Whether the last figures say enough to rank by: with most rows missing the order would be that of the alphabet, or
    /// of an hour that is over (hazard 33).
    fn check_figures(&self) -> Result<(), WatchListError> {
        let trading = self.ranks.len();
        let known = self
            .ranks
            .keys()
            .filter(|one| self.figures.contains_key(*one))
            .count();
        if known * 2 < trading {
            return Err(WatchListError::Unranked { known, trading });
        }
        Ok(())
    }

    /// The first `count` by turnover.
    fn first(&self, count: usize) -> impl Iterator<Item = &Symbol> {
        let within = move |(symbol, rank)| (rank <= count).then_some(symbol);
        let places = self.ranks.iter().map(|(symbol, rank)| (symbol, *rank));
        places.filter_map(within)
    }

    /// Whether the list in force has been made.
    pub(super) fn has_list(&self) -> bool {
        !self.list.is_empty()
    }

    /// What a start that names `symbols`, or nothing, puts in force.
    pub(super) fn meant_by(&self, symbols: Option<&[Symbol]>) -> WatchList {
        symbols.map_or_else(
            || self.configured.clone(),
            |symbols| WatchList::Named(symbols.to_vec()),
        )
    }

    /// Whether `list` is in force already.
    pub(super) fn is_in_force(&self, list: &WatchList) -> bool {
        *list == self.in_force && self.has_list()
    }

    /// Puts `list` in force, as it comes by what is known now.
    ///
    /// # Errors
    /// It names what does not trade, nothing trades, or the figures do not rank it; the list in force stays.
    pub(super) fn put_in_force(
        &mut self,
        list: WatchList,
        names: Names,
    ) -> Result<(), WatchListError> {
        self.list = self.choose(&list, names)?;
        self.in_force = list;
        Ok(())
    }

    /// As `put_in_force`, of the list the program begins with. `unreadable`: rows of the listing that cannot be read.
    ///
    /// # Errors
    /// As `put_in_force`. `Unknown`: only who gave the names can mend it.
    pub(super) fn begin(&mut self, unreadable: usize) -> Result<(), WatchListError> {
        let begun = self.put_in_force(self.in_force.clone(), Names::MustExist);
        if let Err(WatchListError::Unknown(symbols)) = begun {
            let is_absent = |symbol| self.listing.contract(symbol).is_none();
            return Err(if unreadable > 0 && symbols.iter().all(is_absent) {
                let rows = unreadable; // theirs may be among them
                WatchListError::Unreadable { symbols, rows }
            } else {
                WatchListError::Unknown(symbols)
            });
        }
        self.keep_those_of_before();
        begun
    }

    /// Goes on with what another engine watched: a ranked contract that it had not let go of yet stays, as it would have
    /// with that one. Whether the list is another than before.
    pub(super) fn go_on_with(&mut self, watched: BTreeSet<Symbol>) -> bool {
        self.before = watched;
        self.keep_those_of_before()
    }

    fn keep_those_of_before(&mut self) -> bool {
        let WatchList::Top(count) = self.in_force else {
            return false;
        };
        if !self.has_list() {
            return false;
        }
        let before = std::mem::take(&mut self.before);
        let length = self.list.len();
        let room = self.max_watched.saturating_sub(length);
        let new = before.into_iter().filter(|one| !self.list.contains(one));
        let near: Vec<_> = new.filter(|one| self.is_near(one, count)).collect();
        self.list.extend(near.into_iter().take(room));
        self.list.len() > length
    }

    /// Whether a contract is no further than 1.2 times the list's length down: it stays if it is on the list.
    fn is_near(&self, symbol: &Symbol, count: usize) -> bool {
        let rank = self.ranks.get(symbol);
        rank.is_some_and(|rank| rank * 5 <= count * 6)
    }

    fn choose(&self, list: &WatchList, names: Names) -> Result<BTreeSet<Symbol>, WatchListError> {
        if self.listing.trading().next().is_none() {
            return Err(WatchListError::Empty); // and no name is wrong because of it
        }
        let chosen: BTreeSet<_> = match list {
            WatchList::Top(count) => {
                self.check_figures()?;
                self.first(*count).cloned().collect()
            }
            WatchList::Named(symbols) => self.named(symbols, names)?,
        };
        if chosen.is_empty() {
            return Err(WatchListError::Empty);
        }
        Ok(chosen)
    }

    fn named(&self, symbols: &[Symbol], names: Names) -> Result<BTreeSet<Symbol>, WatchListError> {
        let (trading, other): (Vec<_>, Vec<_>) = symbols
            .iter()
            .cloned()
            .partition(|symbol| self.listing.trades(symbol));
        let (ended, strange): (Vec<_>, Vec<_>) = other
            .iter()
            .cloned()
            .partition(|symbol| self.listing.is_perpetual(symbol));
        let wrong = match names {
            Names::MustTrade => other,
            Names::MustExist => strange,
            Names::MayHaveEnded if trading.is_empty() => other,
            Names::MayHaveEnded => Vec::new(),
        };
        if !wrong.is_empty() {
            return Err(WatchListError::Unknown(wrong));
        }
        Ok(trading.into_iter().chain(ended).collect())
    }

    /// The hour is over: newcomers within the list's length join; whoever has fallen past 1.2 times of it, or ended, leaves,
    /// unless readers want it. Who is past the list's length at all leaves before anything readers want has to.
    ///
    /// # Errors
    /// `Unranked`: there is too little to rank by, and nothing was changed.
    pub(super) fn rerank(&mut self) -> Result<(), WatchListError> {
        if let WatchList::Top(_) = self.in_force {
            self.check_figures()?;
        }
        let listing = &self.listing;
        self.wanted.retain(|symbol| listing.trades(symbol));
        if let WatchList::Top(count) = self.in_force
            && self.has_list()
        {
            self.rank_anew(count);
        }
        Ok(())
    }

    fn rank_anew(&mut self, count: usize) {
        let joins: Vec<_> = self.first(count).cloned().collect();
        let mut list = std::mem::take(&mut self.list);
        list.retain(|symbol| self.is_near(symbol, count) || self.wanted.contains(symbol));
        self.list = list;
        self.list.extend(joins);
        self.make_room(count);
        while self.list.len() > self.max_watched {
            let rank = |symbol: &&Symbol| self.ranks.get(*symbol).copied().unwrap_or(usize::MAX);
            let Some(last) = self.list.iter().max_by_key(rank).cloned() else {
                return;
            };
            self.list.remove(&last);
        }
    }

    /// Where not all that is wanted fits, contracts past the list's length that nobody wants go, the lowest first.
    fn make_room(&mut self, count: usize) {
        let beside = self.wanted.iter().filter(|one| !self.list.contains(*one));
        let above = (self.list.len() + beside.count()).saturating_sub(self.max_watched);
        let rank = |symbol: &Symbol| self.ranks.get(symbol).copied();
        let is_spare = |symbol: &&Symbol| {
            rank(symbol).is_none_or(|rank| rank > count) && !self.wanted.contains(symbol)
        };
        let mut spare: Vec<Symbol> = self.list.iter().filter(is_spare).cloned().collect();
        spare.sort_by_key(|symbol| std::cmp::Reverse(rank(symbol)));
        for symbol in spare.iter().take(above) {
            self.list.remove(symbol);
        }
    }

    /// What readers want now. What trades and fits is watched at once, what nobody wants any more is let go. Whether that
    /// is another than before.
    pub(super) fn heed(&mut self, wanted: &BTreeSet<Symbol>) -> bool {
        let before = self.wanted.len();
        self.wanted.retain(|symbol| wanted.contains(symbol));
        let kept = self.wanted.len();
        for symbol in wanted {
            if self.listing.trades(symbol) && !self.wanted.contains(symbol) {
                self.wanted.push(symbol.clone());
            }
        }
        kept < before || self.wanted.len() > kept
    }

    /// Every contract to be watched, the ended ones included.
    pub(super) fn watched(&self) -> BTreeSet<Symbol> {
        let mut watched = self.list.clone();
        if !self.has_list() {
            return watched;
        }
        let trades = |symbol: &&Symbol| self.listing.trades(symbol);
        let mut room = self
            .max_watched
            .saturating_sub(watched.iter().filter(trades).count());
        for symbol in self.wanted.iter().filter(|one| !self.list.contains(*one)) {
            if !trades(&symbol) {
                watched.insert(symbol.clone());
            } else if room > 0 {
                room -= 1;
                watched.insert(symbol.clone());
            }
        }
        watched
    }

    /// The watched contracts that no longer trade.
    pub(super) fn ended(&self) -> BTreeSet<Symbol> {
        let mut watched = self.watched();
        watched.retain(|symbol| !self.listing.trades(symbol));
        watched
    }

    /// Every perpetual that trades, whatever its quote asset.
    pub(super) fn tradable(&self) -> BTreeSet<Symbol> {
        self.listing
            .trading()
            .map(|one| one.symbol.clone())
            .collect()
    }

    /// Whether the listing must be read again soon.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.listing.is_in_doubt()
    }

    /// The watched contracts as readers are told, by symbol.
    pub(super) fn contracts(&self) -> Vec<WatchedContract> {
        let watched = self.watched();
        let known = watched.iter().filter_map(|one| self.listing.contract(one));
        known.map(|contract| self.describe(contract)).collect()
    }

    fn describe(&self, contract: &Contract) -> WatchedContract {
        let figures = self.figures.get(&contract.symbol);
        let rank = match self.in_force {
            WatchList::Top(_) => self.ranks.get(&contract.symbol).copied(),
            WatchList::Named(_) => None,
        };
        WatchedContract {
            symbol: contract.symbol.clone(),
            base_asset: contract.base_asset.clone(),
            quote_asset: contract.quote_asset.clone(),
            rank,
            tick_size: contract.tick_size,
            quote_volume_24h: figures.map(|figures| figures.quote_volume_24h),
            change_pct_24h: figures.map(|figures| figures.change_pct_24h),
        }
    }
}

#[cfg(test)]
mod tests;
