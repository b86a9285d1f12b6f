//! What faults have made of the market: the catalogue of the start, and what was told since, made into the catalogue
//! of today, which is replaced as a whole. What is told of any instant is then a pure function of the catalogue and
//! that instant. Contracts keep their place in it for ever, also those that were withdrawn before they were listed.

mod listing;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::bar::Bar;
use super::catalogue::{Catalogue, Contract};
use super::edits::{Change, Edit, Picks};
use super::fault::{CandleFault, ExtremeDigits, Fault, FaultError, FaultKind, UniverseFault};
use super::generator::mix;
use super::tape::Digits;
use crate::market::{Interval, OpenTime, Symbol, TimeMs};

/// Later than anything: the end of the year 9999, with room to add to.
const NEVER: TimeMs = TimeMs::new(253_402_300_799_000);
/// Rows of REST remembered as left out; beyond them none is.
const KEPT_ROWS: usize = 200_000;

/// The market under faults.
#[derive(Debug)]
pub(super) struct Alterations {
    seed: u64,
    start: Arc<Catalogue>,
    state: RwLock<State>,
    left_out: Mutex<BTreeMap<(usize, Symbol, Interval, OpenTime), u32>>,
}

#[derive(Debug)]
struct State {
    told: Vec<Alteration>,
    /// Of `told` those before it have been cleared: what they did stays.
    cleared: usize,
    catalogue: Arc<Catalogue>,
}

/// A fault with the times it holds for.
#[derive(Debug, Clone)]
struct Alteration {
    fault: Fault,
    from: TimeMs,
    to: Option<TimeMs>,
}

impl Alterations {
    /// The market as it starts.
    pub(super) fn none(seed: u64, start: Catalogue) -> Self {
        let start = Arc::new(start);
        Self {
            seed,
            state: RwLock::new(State {
                told: Vec::new(),
                cleared: 0,
                catalogue: Arc::clone(&start),
            }),
            start,
            left_out: Mutex::default(),
        }
    }

    /// The contracts as they are now told.
    pub(super) fn catalogue(&self) -> Arc<Catalogue> {
        Arc::clone(&self.read().catalogue)
    }

    /// Takes those of `faults` that change the market, told at `now`; all of them or, if one cannot be, none.
    pub(super) fn add(&self, faults: &[Fault], now: TimeMs) -> Result<(), FaultError> {
        let changes = faults.iter().filter(|fault| alters(&fault.kind));
        let mut more = changes.map(|fault| Alteration::told(fault, now)).peekable();
        if more.peek().is_none() {
            return Ok(());
        }
        let mut state = self.write();
        let mut told = state.told.clone();
        told.extend(more);
        state.catalogue = Arc::new(self.made_of(&told)?);
        state.told = told;
        Ok(())
    }

    /// Ends what can end at `now` and withdraws what has not begun. What has happened to the data stays: a delisting, a
    /// revision, a hole cannot be undone.
    pub(super) fn clear(&self, now: TimeMs) {
        let mut state = self.write();
        let mut told = state.told.clone();
        told.iter_mut().for_each(|one| one.end(now));
        // Less than before cannot become impossible; if it did, the market would stay as it was.
        if let Ok(catalogue) = self.made_of(&told) {
            state.catalogue = Arc::new(catalogue);
            state.cleared = told.len();
            state.told = told;
        }
    }

    /// How often each fault that changes the market, of those that are not cleared, has struck by `now`: candles that
    /// have opened, answers that lacked a row, or once.
    pub(super) fn strikes(&self, now: TimeMs) -> Vec<u64> {
        let state = self.read();
        let count = |(at, one): (usize, &Alteration)| match &one.fault.kind {
            FaultKind::Candle(CandleFault::RestHole { .. }) => self.rows_left_out(at),
            FaultKind::Candle(CandleFault::ExtremeDigits { .. }) => 1,
            FaultKind::Candle(_) => {
                let hit = state.catalogue.all().iter().filter(|c| one.is_about(c));
                let picks = hit.map(|c| self.picks(at, one, c).count(now) as u64);
                picks.sum()
            }
            FaultKind::Universe(_)
            | FaultKind::Clock(_)
            | FaultKind::Transport(_)
            | FaultKind::Subscription(_)
            | FaultKind::Stream(_)
            | FaultKind::Rest(_)
            | FaultKind::Proxy(_) => u64::from(one.from <= now),
        };
        let all = state.told.iter().enumerate().skip(state.cleared);
        all.map(count).collect()
    }

    /// Takes out of an answer of REST the rows that a fault lets it lack.
    pub(super) fn leave_out(
        &self,
        contract: &Contract,
        interval: Interval,
        rows: &mut Vec<(OpenTime, Bar)>,
    ) {
        let state = self.read();
        let in_force = state.told.iter().enumerate().skip(state.cleared);
        for (at, one) in in_force {
            let FaultKind::Candle(CandleFault::RestHole { answers }) = one.fault.kind else {
                continue;
            };
            let is_other = one
                .fault
                .scope
                .interval
                .is_some_and(|named| named != interval);
            if is_other || !one.is_about(contract) {
                continue;
            }
            let picks = Picks {
                interval,
                ..self.picks(at, one, contract)
            };
            rows.retain(|(open, _)| {
                let key = (at, contract.symbol.clone(), interval, *open);
                !picks.takes(*open) || !self.is_left_out(key, answers)
            });
        }
    }

    fn is_left_out(&self, key: (usize, Symbol, Interval, OpenTime), answers: u32) -> bool {
        let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        if left_out.len() >= KEPT_ROWS && !left_out.contains_key(&key) {
            return false;
        }
        let count = left_out.entry(key).or_default();
        if *count >= answers {
            return false;
        }
        *count += 1;
        true
    }

    fn rows_left_out(&self, at: usize) -> u64 {
        let left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        let of_it = left_out.iter().filter(|((fault, ..), _)| *fault == at);
        of_it.map(|(_, count)| u64::from(*count)).sum()
    }

    /// The catalogue of the start with all that was told.
    fn made_of(&self, told: &[Alteration]) -> Result<Catalogue, FaultError> {
        let mut contracts = self.start.all().to_vec();
        for one in told {
            if let FaultKind::Universe(fault) = &one.fault.kind {
                let done = listing::change(self.seed, &mut contracts, one, fault);
                done.map_err(|reason| one.impossible(reason))?;
            }
        }
        for contract in &mut contracts {
            listing::pause(contract);
        }
        for (at, one) in told.iter().enumerate() {
            let FaultKind::Candle(fault) = &one.fault.kind else {
                continue;
            };
            if !contracts.iter().any(|contract| one.is_about(contract)) {
                return Err(one.impossible(listing::no_such(one)));
            }
            let about = contracts
                .iter_mut()
                .filter(|contract| one.is_about(contract));
            for contract in about {
                let done = self.alter(contract, at, one, fault);
                done.map_err(|reason| one.impossible(reason))?;
            }
        }
        Ok(Catalogue::of(contracts))
    }

    fn alter(
        &self,
        contract: &mut Contract,
        at: usize,
        one: &Alteration,
        fault: &CandleFault,
    ) -> Result<(), String> {
        let picks = self.picks(at, one, contract);
        let change = match fault {
            CandleFault::Hole {} => Change::Absent,
            CandleFault::Revise { delay_ms, percent } => Change::Revised {
                delay_ms: *delay_ms,
                percent: *percent,
            },
            CandleFault::ZeroVolume {} => {
                // A whole run stands at the price it began with; candles picked one by one stand each at its own.
                let is_run = picks.share >= 1.0;
                let began = picks.first_open().filter(|_| is_run);
                Change::Flat(began.and_then(|open| contract.candles.market_price(open.time())))
            }
            CandleFault::RestHole { .. } => return Ok(()), // the rows are there, some answers lack them
            CandleFault::ExtremeDigits { digits } => return tell_with(contract, *digits, one.from),
        };
        contract.candles.edits.rules.push(Edit { picks, change });
        Ok(())
    }

    fn picks(&self, at: usize, one: &Alteration, contract: &Contract) -> Picks {
        let scope = &one.fault.scope;
        let name = contract.symbol.as_str().bytes();
        let seed = mix(self.seed ^ mix(0x6361_6e64_6c65 ^ at as u64));
        // Candles are counted from the contract's first one on.
        let first = match contract.candles.edits.born {
            born if born.ms() < 0 => contract.onboard,
            born => born,
        };
        let picks = Picks {
            interval: scope
                .interval
                .unwrap_or(Interval::M1)
                .max(contract.candles.shortest()),
            from: one.from.max(first),
            to: one.to.unwrap_or(NEVER),
            share: scope.share.unwrap_or(1.0),
            seed: name.fold(seed, |hash, byte| mix(hash ^ u64::from(byte))),
        };
        match scope.count {
            Some(count) => picks.first(usize::try_from(count).unwrap_or(usize::MAX)),
            None => picks,
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Alteration {
    fn told(fault: &Fault, now: TimeMs) -> Self {
        let (from, to) = fault.scope.window(now);
        // What begins now begins after all that has been told of now: its event is not missed.
        let begins_now = fault.scope.from_ms.is_none() && from == now;
        Self {
            fault: fault.clone(),
            from: if begins_now { now.plus_ms(1) } else { from },
            to,
        }
    }

    fn is_about(&self, contract: &Contract) -> bool {
        let symbol = self.fault.scope.symbol.as_ref();
        symbol.is_none_or(|symbol| *symbol == contract.symbol)
    }

    fn end(&mut self, now: TimeMs) {
        if self.from > now {
            self.from = NEVER;
            self.to = None;
            return;
        }
        let stays = match &self.fault.kind {
            FaultKind::Universe(fault) => match fault {
                UniverseFault::Delist {}
                | UniverseFault::List { .. }
                | UniverseFault::Rename { .. } => true,
                UniverseFault::Status { .. }
                | UniverseFault::ContractType { .. }
                | UniverseFault::MalformedRow { .. }
                | UniverseFault::Turnover { .. } => false,
            },
            FaultKind::Candle(fault) => matches!(fault, CandleFault::ExtremeDigits { .. }),
            FaultKind::Clock(_)
            | FaultKind::Transport(_)
            | FaultKind::Subscription(_)
            | FaultKind::Stream(_)
            | FaultKind::Rest(_)
            | FaultKind::Proxy(_) => true,
        };
        if !stays {
            self.to = Some(self.to.map_or(now, |to| to.min(now)));
        }
    }

    fn impossible(&self, reason: String) -> FaultError {
        FaultError::Impossible {
            kind: self.fault.name(),
            reason,
        }
    }
}

/// Whether a fault changes the market.
pub(super) const fn alters(kind: &FaultKind) -> bool {
    match kind {
        FaultKind::Candle(_) | FaultKind::Universe(_) => true,
        FaultKind::Clock(_)
        | FaultKind::Transport(_)
        | FaultKind::Subscription(_)
        | FaultKind::Stream(_)
        | FaultKind::Rest(_)
        | FaultKind::Proxy(_) => false,
    }
}

/// Digits are chosen by the price at `now`, so that the usual ones have just as many.
fn tell_with(contract: &mut Contract, digits: ExtremeDigits, now: TimeMs) -> Result<(), String> {
    if contract.candles.digits() != Digits::PLAIN {
        return Err(format!("{} has extreme digits already", contract.symbol));
    }
    let usual = contract
        .candles
        .market_price(now)
        .unwrap_or(contract.scale.tick)
        .max(1);
    let (digits, scale) = Digits::extreme(digits, usual, contract.scale);
    contract.candles.tell_with(digits);
    contract.scale = scale;
    Ok(())
}
