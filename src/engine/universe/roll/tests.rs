//! Which contracts are chosen, and what makes a choice impossible.

use super::*;
use crate::market::TimeMs;

fn contract(name: &str, quote_asset: &str, status: ContractStatus) -> Contract {
    Contract {
        symbol: Symbol::parse(name).unwrap(),
        base_asset: "X".into(),
        quote_asset: quote_asset.into(),
        kind: ContractKind::Perpetual,
        status,
        margin_asset: quote_asset.into(),
        tick_size: None,
        onboard_time: TimeMs::new(0),
    }
}

fn ticker(name: &str, quote_volume_24h: f64) -> Ticker {
    Ticker {
        symbol: Symbol::parse(name).unwrap(),
        last_price: 1.0,
        change_pct_24h: 0.0,
        quote_volume_24h,
    }
}

fn names(chosen: &[WatchedContract]) -> Vec<(&str, Option<usize>)> {
    chosen
        .iter()
        .map(|contract| (contract.symbol.as_str(), contract.rank))
        .collect()
}

#[test]
fn h26_the_first_by_turnover_are_those_that_trade_and_are_priced_in_usdt() {
    let listed = [
        contract("AUSDT", "USDT", ContractStatus::Trading),
        contract("BUSDC", "USDC", ContractStatus::Trading),
        contract("CUSDT", "USDT", ContractStatus::Other),
        contract("DUSDT", "USDT", ContractStatus::Trading),
        contract("EUSDT", "USDT", ContractStatus::Trading),
    ];
    let tickers = [
        ticker("AUSDT", 5.0),
        ticker("BUSDC", 900.0),
        ticker("CUSDT", 800.0),
        ticker("EUSDT", 70.0),
    ];
    let chosen = WatchList::Top(2).choose(&listed, &tickers).unwrap();
    assert_eq!(names(&chosen), [("AUSDT", Some(2)), ("EUSDT", Some(1))]);
    let named = vec![Symbol::parse("BUSDC").unwrap()];
    let chosen = WatchList::Named(named).choose(&listed, &tickers).unwrap();
    assert_eq!(
        names(&chosen),
        [("BUSDC", None)],
        "whatever its quote asset"
    );
}

#[test]
fn a_name_that_does_not_trade_is_refused_by_name_but_not_while_nothing_trades() {
    let named = WatchList::Named(vec![
        Symbol::parse("AUSDT").unwrap(),
        Symbol::parse("NOPEUSDT").unwrap(),
    ]);
    let trading = [contract("AUSDT", "USDT", ContractStatus::Trading)];
    let error = named.choose(&trading, &[]).unwrap_err();
    assert!(matches!(error, WatchListError::Unknown(_)), "{error}");
    assert!(error.to_string().contains("called NOPEUSDT;"), "{error}");
    let halted = [contract("AUSDT", "USDT", ContractStatus::Other)];
    for list in [named, WatchList::Top(5)] {
        let error = list.choose(&halted, &[]).unwrap_err();
        assert!(matches!(error, WatchListError::Empty), "{error}");
    }
}
