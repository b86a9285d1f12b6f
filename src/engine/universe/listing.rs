//! The exchange's listing as far as it can be believed. What must hold: a contract ends at the exchange's own word, or when
//! it has no readable row in two listings a minute apart; never because one row, or most of a listing, was missing once
//! (hazard 33). A listing without a single trading perpetual changes nothing, nor does one of less than half the rows of the
//! last, until it has been that small on every look for an hour.

use std::collections::{BTreeMap, BTreeSet};

use super::watch_list::WatchListError;
use crate::clock::Mono;
use crate::engine::moment::Moment;
use crate::engine::patience::SeenTwice;
use crate::exchange::{Contract, ContractKind, ContractStatus};
use crate::market::Symbol;

/// A listing that shrank below half is believed once it has stayed so for so long, exchange time ...
const LASTING_MS: i64 = 3_600_000;

/// ... and so long in real time: on an exchange that runs fast an hour would be two looks.
const LASTING_REAL_MS: u64 = 10_000;

/// Rows come and go by so many while nothing is wrong.
const ROWS_APART: usize = 5;

/// Every contract the exchange has listed since the start, as it was last believed.
#[derive(Debug, Default)]
pub(super) struct Listing {
    contracts: BTreeMap<Symbol, Contract>,
    /// Rows of the last listing that was believed.
    rows: usize,
    /// Rows of a listing too small to be believed, and since when it has been so.
    shrunk: Option<(usize, Mono)>,
    /// Contracts that traded and whose row is missing, or says something nobody knows.
    doubtful: BTreeMap<Symbol, SeenTwice<()>>,
}

impl Listing {
    /// Takes in what the exchange lists now.
    ///
    /// # Errors
    /// `Empty` or `Torn`: it is no listing to go by, and changed nothing.
    pub(super) fn take(&mut self, rows: Vec<Contract>, now: &Moment) -> Result<(), WatchListError> {
        if !rows.iter().any(trades) {
            self.shrunk = None;
            return Err(WatchListError::Empty);
        }
        let (count, before) = (rows.len(), self.rows);
        if count * 2 < before {
            if !self.has_shrunk_for_good(count, now) {
                return Err(WatchListError::Torn {
                    rows: count,
                    before,
                });
            }
            tracing::warn!(
                rows = count,
                before,
                "the exchange's listing has been this small for an hour: believed from now on"
            );
        }
        (self.rows, self.shrunk) = (count, None);
        let mut told = BTreeSet::new();
        for row in rows {
            if self.is_plain(&row) {
                told.insert(row.symbol.clone());
                self.doubtful.remove(&row.symbol);
                self.contracts.insert(row.symbol.clone(), row);
            }
        }
        for contract in self.contracts.values_mut() {
            if !trades(contract) || told.contains(&contract.symbol) {
                continue;
            }
            let doubt = self.doubtful.entry(contract.symbol.clone()).or_default();
            if doubt.confirm((), now) {
                tracing::warn!(symbol = %contract.symbol, "twice without a readable row in the exchange's listing: taken to have ended");
                contract.status = ContractStatus::Ended;
                self.doubtful.remove(&contract.symbol);
            }
        }
        Ok(())
    }

    /// Whether every listing for an hour had as few rows as this one.
    fn has_shrunk_for_good(&mut self, count: usize, now: &Moment) -> bool {
        let same = |(rows, _): &(usize, Mono)| rows.abs_diff(count) <= ROWS_APART;
        let (_, since) = *match &mut self.shrunk {
            Some(seen) if same(seen) => seen,
            other => other.insert((count, now.mono)),
        };
        let real_ms = now.mono.ms_since(since);
        real_ms >= LASTING_REAL_MS && now.from_real_ms(real_ms as f64) >= LASTING_MS
    }

    /// Whether a row can be taken at its word: one that says something unknown of a contract that traded cannot yet.
    fn is_plain(&self, row: &Contract) -> bool {
        let known = match row.status {
            ContractStatus::Trading | ContractStatus::Pending | ContractStatus::Ended => {
                row.kind == ContractKind::Perpetual
            }
            ContractStatus::Other => false,
        };
        known || !self.trades(&row.symbol)
    }

    /// Whether `symbol` is a perpetual that trades.
    pub(super) fn trades(&self, symbol: &Symbol) -> bool {
        self.contracts.get(symbol).is_some_and(trades)
    }

    /// The perpetuals that trade, by symbol.
    pub(super) fn trading(&self) -> impl Iterator<Item = &Contract> {
        self.contracts.values().filter(|contract| trades(contract))
    }

    /// Whether `symbol` is, or was, a contract one can watch while it trades.
    pub(super) fn is_perpetual(&self, symbol: &Symbol) -> bool {
        let contract = self.contracts.get(symbol);
        contract.is_some_and(|contract| contract.kind == ContractKind::Perpetual)
    }

    /// What was last known of `symbol`, whether it trades or not.
    pub(super) fn contract(&self, symbol: &Symbol) -> Option<&Contract> {
        self.contracts.get(symbol)
    }

    /// Whether a second look is due sooner than usual.
    pub(super) fn is_in_doubt(&self) -> bool {
        !self.doubtful.is_empty()
    }
}

fn trades(contract: &Contract) -> bool {
    contract.kind == ContractKind::Perpetual && contract.status == ContractStatus::Trading
}
