//! What faults of the universe make of the contracts: delisted, listed, renamed, with other words and figures.
//! Only what is told and when; where a contract is not traded its candles are stopped (`pause`), nothing else of them
//! is touched.

use super::{Alteration, NEVER};
use crate::market::{Interval, Symbol};
use crate::simulator::catalogue::{Contract, Instead, Told, listed_by_fault};
use crate::simulator::edits::Halt;
use crate::simulator::fault::UniverseFault;
use crate::simulator::life::{Life, PENDING, SETTLING, TRADING};

/// Does to `contracts` what a fault of the universe says.
pub(super) fn change(
    seed: u64,
    contracts: &mut Vec<Contract>,
    one: &Alteration,
    fault: &UniverseFault,
) -> Result<(), String> {
    let about = |contracts: &mut [Contract], change: &mut dyn FnMut(&mut Contract)| {
        let mut count = 0;
        for contract in contracts.iter_mut().filter(|c| one.is_about(c)) {
            change(contract);
            count += 1;
        }
        if count == 0 {
            Err(no_such(one))
        } else {
            Ok(())
        }
    };
    let told = |what: Instead| Told {
        from: one.from,
        to: one.to.unwrap_or(NEVER),
        what,
    };
    match fault {
        UniverseFault::Delist {} => about(contracts, &mut |contract| {
            contract
                .life
                .change(one.from, one.to, SETTLING.into(), Some(one.from));
        }),
        UniverseFault::Status { status } => about(contracts, &mut |contract| {
            contract
                .life
                .change(one.from, one.to, status.clone().into(), None);
        }),
        UniverseFault::ContractType { contract_type } => about(contracts, &mut |contract| {
            contract
                .told
                .push(told(Instead::ContractType(contract_type.clone())));
        }),
        UniverseFault::MalformedRow { broken } => about(contracts, &mut |contract| {
            contract.told.push(told(Instead::Broken(*broken)));
        }),
        UniverseFault::Turnover { quote_volume } => about(contracts, &mut |contract| {
            contract.told.push(told(Instead::Turnover(*quote_volume)));
        }),
        UniverseFault::List { .. } => {
            let listed = newcomer(seed, one, fault)?;
            enter(contracts, listed)
        }
        UniverseFault::Rename { to } => rename(contracts, one, to),
    }
}

/// The contract that a `list` fault brings.
fn newcomer(seed: u64, one: &Alteration, fault: &UniverseFault) -> Result<Contract, String> {
    let UniverseFault::List {
        pending_ms,
        history,
        price,
        quote_volume,
        contract_type,
        underlying,
        margin,
    } = fault
    else {
        return Err("it lists nothing".to_owned());
    };
    let symbol = one
        .fault
        .scope
        .symbol
        .as_ref()
        .ok_or("`symbol` is missing")?;
    let trades = one.from.plus_ms(*pending_ms);
    let interval = one.fault.scope.interval.unwrap_or(Interval::M1);
    let born = match history {
        0 => trades,
        _ => interval
            .steps(interval.open_at(trades), -i64::from(*history))
            .time(),
    };
    let mut contract = listed_by_fault(seed, symbol, *price, *quote_volume, born);
    let delivery = contract.life.at(trades).delivery;
    contract.contract_type = contract_type.clone().into();
    contract.underlying = underlying.clone().into();
    contract.margin = *margin;
    contract.onboard = trades;
    contract.candles.edits.born = born;
    contract.life = Life::from(one.from, PENDING, delivery);
    if *pending_ms == 0 {
        contract.life = Life::from(one.from, TRADING, delivery);
    } else {
        contract.life.change(trades, None, TRADING.into(), None);
    }
    if let Some((pair, _)) = symbol.as_str().split_once('_') {
        pair.clone_into(&mut contract.pair);
    }
    Ok(contract)
}

/// Appends a contract, whose name must be free: nobody is listed under it, or whoever was to be has been withdrawn.
fn enter(contracts: &mut Vec<Contract>, contract: Contract) -> Result<(), String> {
    let taken = contracts.iter().any(|known| {
        let is_same =
            known.symbol == contract.symbol || known.symbol.lower() == contract.symbol.lower();
        is_same && known.life.is_listed(NEVER.plus_ms(-1))
    });
    if taken {
        return Err(format!("{} is listed already, or will be", contract.symbol));
    }
    contracts.push(contract);
    Ok(())
}

fn rename(contracts: &mut Vec<Contract>, one: &Alteration, to: &str) -> Result<(), String> {
    let symbol = Symbol::parse(to).map_err(|error| error.to_string())?;
    // The last of that name: one that was withdrawn may stand before it.
    let old = contracts
        .iter_mut()
        .rev()
        .find(|contract| one.is_about(contract));
    let old = old.ok_or_else(|| no_such(one))?;
    let delivery = old.life.at(one.from).delivery;
    let mut renamed = Contract {
        pair: to.to_owned(),
        symbol,
        onboard: one.from,
        life: Life::from(one.from, TRADING, delivery),
        candles: old.candles.same_market(),
        told: Vec::new(),
        ..old.clone()
    };
    to.trim_end_matches(renamed.quote.as_str())
        .clone_into(&mut renamed.base);
    renamed.candles.edits.born = one.from;
    old.life
        .change(one.from, None, SETTLING.into(), Some(one.from));
    enter(contracts, renamed)
}

/// Stops a contract's candles where its life says that it is not traded.
pub(super) fn pause(contract: &mut Contract) {
    for (from, to) in contract.life.pauses() {
        if let Some(price) = contract.candles.market_price(from) {
            contract.candles.edits.halts.push(Halt { from, to, price });
        }
    }
}

/// Why a fault about a contract cannot be.
pub(super) fn no_such(one: &Alteration) -> String {
    let symbol = one.fault.scope.symbol.as_ref();
    format!(
        "{} is not listed",
        symbol.map_or("this contract", Symbol::as_str)
    )
}
