//! Who joins, who leaves, who has ended; and what makes a choice impossible.

use super::*;
use crate::clock::Mono;
use crate::exchange::{ContractKind, ContractStatus};
use crate::market::TimeMs;

fn symbol(name: &str) -> Symbol {
    Symbol::parse(name).unwrap()
}

fn contract(name: &str, quote_asset: &str, status: ContractStatus) -> Contract {
    Contract {
        symbol: symbol(name),
        base_asset: "X".into(),
        quote_asset: quote_asset.into(),
        kind: ContractKind::Perpetual,
        status,
        margin_asset: quote_asset.into(),
        tick_size: None,
        onboard_time: TimeMs::new(0),
    }
}

fn trading(name: &str) -> Contract {
    contract(name, "USDT", ContractStatus::Trading)
}

fn ticker(name: &str, quote_volume_24h: f64) -> Ticker {
    Ticker {
        symbol: symbol(name),
        last_price: 1.0,
        change_pct_24h: 0.0,
        quote_volume_24h,
    }
}

/// So many seconds after the start, by both clocks.
fn at(secs: u32) -> Moment {
    let ms = i64::from(secs) * 1_000;
    Moment {
        exchange: TimeMs::new(1_700_000_000_000 + ms),
        mono: Mono::from_ms(u64::from(secs) * 1_000),
        wall: TimeMs::new(0),
        speed: 1.0,
        error_ms: 0,
        doubt_ms: 0,
    }
}

/// A market of `S00USDT`, `S01USDT`, ... in the order of their turnover.
fn market(count: usize) -> (Vec<Contract>, Vec<Ticker>) {
    let names: Vec<_> = (0..count).map(|n| format!("S{n:02}USDT")).collect();
    let contracts = names.iter().map(|name| trading(name)).collect();
    let volumes = names.iter().zip(0..);
    let tickers = volumes.map(|(name, n)| ticker(name, 1_000.0 - f64::from(n)));
    (contracts, tickers.collect())
}

fn roll(list: WatchList, contracts: Vec<Contract>, tickers: Vec<Ticker>) -> Roll {
    let mut roll = Roll::new(list, 600);
    roll.take_figures(tickers);
    roll.take_listing(contracts, &at(0)).unwrap();
    roll.begin(0).unwrap();
    roll
}

fn names(symbols: &BTreeSet<Symbol>) -> String {
    let names: Vec<_> = symbols.iter().map(Symbol::as_str).collect();
    names.join(" ")
}

fn set(names: &[&str]) -> BTreeSet<Symbol> {
    names.iter().map(|name| symbol(name)).collect()
}

fn ranks(roll: &Roll) -> Vec<(String, Option<usize>)> {
    let contracts = roll.contracts().into_iter();
    contracts
        .map(|contract| (contract.symbol.as_str().to_owned(), contract.rank))
        .collect()
}

fn polluted() -> (Vec<Contract>, Vec<Ticker>) {
    let listed = vec![
        trading("AUSDT"),
        contract("BUSDC", "USDC", ContractStatus::Trading),
        contract("CUSDT", "USDT", ContractStatus::Other),
        trading("DUSDT"),
        trading("EUSDT"),
        Contract {
            kind: ContractKind::Other, // TradFi, quarterly, coin-margined
            ..trading("XAUUSDT")
        },
        Contract {
            margin_asset: "BTC".into(),
            ..trading("FUSDT")
        },
        contract("GUSDT", "USDT", ContractStatus::Pending),
        contract("HUSDT", "USDT", ContractStatus::Ended),
    ];
    let tickers = vec![
        ticker("AUSDT", 5.0),
        ticker("BUSDC", 900.0),
        ticker("CUSDT", 800.0),
        ticker("EUSDT", 70.0),
        ticker("XAUUSDT", 9_000.0),
        ticker("FUSDT", 700.0),
        ticker("GUSDT", 600.0),
        ticker("HUSDT", 600.0),
    ];
    (listed, tickers)
}

#[test]
fn h26_the_first_by_turnover_are_perpetuals_that_trade_and_are_priced_and_paid_in_usdt() {
    let (listed, tickers) = polluted();
    let roll = roll(WatchList::Top(2), listed, tickers);
    let expected = [("AUSDT".into(), Some(2)), ("EUSDT".into(), Some(1))];
    assert_eq!(ranks(&roll), expected);
    assert_eq!(names(&roll.tradable()), "AUSDT BUSDC DUSDT EUSDT FUSDT");
}

#[test]
fn h26_an_explicit_list_takes_any_quote_asset_and_has_no_ranks() {
    let (listed, tickers) = polluted();
    let roll = roll(named(&["BUSDC", "AUSDT"]), listed, tickers);
    assert_eq!(
        ranks(&roll),
        [("AUSDT".into(), None), ("BUSDC".into(), None)]
    );
}

#[test]
fn h27_names_of_any_script_and_digits_first_are_ranked_and_listed_as_any_other() {
    let listed = vec![
        trading("1000PEPEUSDT"),
        trading("币安人生USDT"),
        trading("AUSDT"),
    ];
    let tickers = vec![ticker("币安人生USDT", 9.0), ticker("1000PEPEUSDT", 8.0)];
    let ranked = roll(WatchList::Top(2), listed.clone(), tickers.clone());
    assert_eq!(names(&ranked.watched()), "1000PEPEUSDT 币安人生USDT");
    let list = vec![Symbol::parse_any_case("币安人生usdt").unwrap()];
    let explicit = roll(WatchList::Named(list), listed, tickers);
    assert_eq!(names(&explicit.watched()), "币安人生USDT");
}

fn named(names: &[&str]) -> WatchList {
    WatchList::Named(names.iter().map(|name| symbol(name)).collect())
}

#[test]
fn a_name_that_is_not_listed_or_no_perpetual_is_refused_by_name_but_not_while_nothing_trades() {
    let list = named(&["AUSDT", "NOPEUSDT", "XAUUSDT"]);
    let dated = Contract {
        kind: ContractKind::Other,
        ..trading("XAUUSDT")
    };
    let mut roll = Roll::new(list, 600);
    roll.take_listing(vec![trading("AUSDT"), dated], &at(0))
        .unwrap();
    let error = roll.begin(0).unwrap_err();
    assert!(matches!(error, WatchListError::Unknown(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains("called NOPEUSDT, XAUUSDT;"), "{text}");
    let halted = vec![contract("AUSDT", "USDT", ContractStatus::Other)];
    let mut roll = Roll::new(WatchList::Top(5), 600);
    let error = roll.take_listing(halted, &at(0)).unwrap_err();
    assert!(matches!(error, WatchListError::Empty), "{error}");
    assert!(matches!(roll.begin(0), Err(WatchListError::Empty)));
}

#[test]
fn h24_a_restart_shows_the_named_contracts_that_ended_meanwhile_and_goes_on_with_the_others() {
    let mut listed = vec![
        trading("AUSDT"),
        contract("OLDUSDT", "USDT", ContractStatus::Ended),
        contract("NEWUSDT", "USDT", ContractStatus::Pending),
        contract("ODDUSDT", "USDT", ContractStatus::Other),
    ];
    let list = named(&["AUSDT", "OLDUSDT", "NEWUSDT", "ODDUSDT"]);
    let mut some = roll(list, listed.clone(), vec![]);
    assert_eq!(names(&some.watched()), "AUSDT NEWUSDT ODDUSDT OLDUSDT");
    assert_eq!(names(&some.ended()), "NEWUSDT ODDUSDT OLDUSDT");
    listed[2].status = ContractStatus::Trading;
    some.take_listing(listed.clone(), &at(10)).unwrap();
    assert_eq!(names(&some.ended()), "ODDUSDT OLDUSDT");
    let all = roll(named(&["OLDUSDT"]), listed.clone(), vec![]);
    assert_eq!(names(&all.ended()), "OLDUSDT");
    let mut given = roll(named(&["AUSDT"]), listed, vec![]);
    let error = given.put_in_force(named(&["AUSDT", "OLDUSDT"]), Names::MustTrade);
    let refused =
        matches!(error, Err(WatchListError::Unknown(wrong)) if wrong == [symbol("OLDUSDT")]);
    assert!(refused, "who gives a name now can mend it");
}

#[test]
fn h33_a_name_whose_row_may_be_unreadable_is_no_settings_error() {
    let dated = Contract {
        kind: ContractKind::Other,
        ..trading("XAUUSDT")
    };
    let listed = vec![trading("AUSDT"), dated];
    let mut one = Roll::new(named(&["AUSDT", "BUSDT"]), 600);
    one.take_listing(listed.clone(), &at(0)).unwrap();
    let error = one.begin(1).unwrap_err();
    assert!(
        matches!(error, WatchListError::Unreadable { rows: 1, .. }),
        "{error}"
    );
    assert!(!one.has_list());
    let readable = [listed.clone(), vec![trading("BUSDT")]].concat();
    one.take_listing(readable, &at(10)).unwrap();
    one.begin(0).unwrap();
    assert_eq!(names(&one.watched()), "AUSDT BUSDT");
    let mut never = Roll::new(named(&["AUSDT", "BUSDT", "XAUUSDT"]), 600);
    never.take_listing(listed, &at(0)).unwrap();
    let error = never.begin(1).unwrap_err();
    assert!(matches!(error, WatchListError::Unknown(_)), "{error}");
}

#[test]
fn a_list_that_was_right_once_keeps_the_names_that_have_ended_as_ended() {
    let (mut listed, tickers) = market(3);
    listed[2].status = ContractStatus::Ended;
    let mut roll = roll(WatchList::Top(1), listed, tickers);
    let saved = named(&["S01USDT", "S02USDT", "GONEUSDT"]);
    roll.put_in_force(saved.clone(), Names::MustTrade)
        .unwrap_err();
    assert_eq!(names(&roll.watched()), "S00USDT", "nothing was changed");
    roll.put_in_force(saved, Names::MayHaveEnded).unwrap();
    assert_eq!(names(&roll.watched()), "S01USDT S02USDT");
    assert_eq!(names(&roll.ended()), "S02USDT");
    let nothing = named(&["S02USDT", "GONEUSDT"]);
    roll.put_in_force(nothing, Names::MayHaveEnded).unwrap_err();
}

#[test]
fn h24_what_no_longer_trades_ends_at_the_exchanges_word_and_leaves_with_the_next_ranking() {
    let (mut listed, tickers) = market(5);
    let mut roll = roll(WatchList::Top(2), listed.clone(), tickers);
    listed[0].status = ContractStatus::Ended;
    roll.take_listing(listed.clone(), &at(10)).unwrap();
    assert_eq!(names(&roll.ended()), "S00USDT");
    assert_eq!(names(&roll.watched()), "S00USDT S01USDT");
    assert!(!roll.tradable().contains(&symbol("S00USDT")));
    roll.rerank().unwrap();
    assert_eq!(names(&roll.watched()), "S01USDT S02USDT");
    assert_eq!(names(&roll.ended()), "");
    listed[0].status = ContractStatus::Trading; // it was only halted
    roll.take_listing(listed, &at(20)).unwrap();
    roll.rerank().unwrap();
    assert_eq!(names(&roll.watched()), "S00USDT S01USDT");
}

#[test]
fn h26_a_takeover_lets_go_of_nothing_that_the_engine_before_would_have_kept() {
    let (listed, tickers) = market(20);
    let before = |names: &[&str]| names.iter().map(|name| symbol(name)).collect();
    // 1.2 times 10 is 12; the places begin at 1.
    let watched = || before(&["S00USDT", "S11USDT", "S12USDT", "GONEUSDT"]);
    let mut late = roll(WatchList::Top(10), listed.clone(), tickers.clone());
    assert!(late.go_on_with(watched()));
    assert!(!late.go_on_with(watched()), "it has it");
    let mut early = Roll::new(WatchList::Top(10), 600);
    assert!(!early.go_on_with(watched()), "there is no list yet");
    early.take_listing(listed.clone(), &at(0)).unwrap();
    early.take_figures(tickers.clone());
    early.begin(0).unwrap();
    for roll in [late, early] {
        let watched = roll.watched();
        assert_eq!(watched.len(), 11);
        assert!(watched.contains(&symbol("S11USDT")));
    }
    let mut named = roll(named(&["S00USDT"]), listed, tickers);
    assert!(
        !named.go_on_with(watched()),
        "who names contracts has those"
    );
}

#[test]
fn h24_an_explicit_list_shows_what_has_ended_for_good() {
    let (mut listed, tickers) = market(3);
    let list = named(&["S00USDT", "S01USDT"]);
    let mut roll = roll(list, listed.clone(), tickers);
    listed[1].status = ContractStatus::Ended;
    roll.take_listing(listed, &at(10)).unwrap();
    roll.rerank().unwrap();
    assert_eq!(names(&roll.ended()), "S01USDT");
    let told = roll.contracts();
    assert_eq!(told.len(), 2, "with all that is known of it");
}

#[test]
fn h25_a_new_listing_is_nobody_before_it_trades_and_joins_by_its_turnover_then() {
    let (mut listed, mut tickers) = market(4);
    listed.push(contract("NEWUSDT", "USDT", ContractStatus::Pending));
    let mut roll = roll(WatchList::Top(2), listed.clone(), tickers.clone());
    assert!(!roll.heed(&set(&["NEWUSDT"])), "nothing comes of it");
    assert_eq!(names(&roll.watched()), "S00USDT S01USDT", "asked for");
    roll.rerank().unwrap();
    assert_eq!(names(&roll.watched()), "S00USDT S01USDT");
    listed[4].status = ContractStatus::Trading;
    roll.take_listing(listed.clone(), &at(10)).unwrap();
    assert!(roll.tradable().contains(&symbol("NEWUSDT")));
    roll.rerank().unwrap();
    assert_eq!(names(&roll.watched()), "S00USDT S01USDT", "no figures yet");
    tickers.push(ticker("NEWUSDT", 5_000.0));
    roll.take_figures(tickers);
    assert_eq!(
        names(&roll.watched()),
        "S00USDT S01USDT",
        "not within the hour"
    );
    roll.rerank().unwrap();
    let expected = [("NEWUSDT".into(), Some(1)), ("S00USDT".into(), Some(2))];
    assert_eq!(
        ranks(&roll),
        expected,
        "S01 has fallen to the third place of 2"
    );
}

#[test]
fn h33_a_contract_whose_figures_are_missing_keeps_the_place_it_had() {
    let (listed, tickers) = market(20);
    let mut roll = roll(WatchList::Top(10), listed, tickers.clone());
    roll.take_figures(tickers[1..].to_vec());
    roll.rerank().unwrap();
    assert!(roll.watched().contains(&symbol("S00USDT")));
    let told = roll.contracts().remove(0);
    assert_eq!((told.rank, told.quote_volume_24h), (Some(1), None));
    roll.take_figures(tickers[11..].to_vec());
    let error = roll.rerank().unwrap_err();
    assert!(
        matches!(
            error,
            WatchListError::Unranked {
                known: 9,
                trading: 20
            }
        ),
        "{error}"
    );
    assert_eq!(roll.watched().len(), 10);
    assert!(
        roll.put_in_force(WatchList::Top(3), Names::MustTrade)
            .is_err()
    );
    roll.put_in_force(named(&["S19USDT"]), Names::MustTrade)
        .unwrap();
    roll.rerank().unwrap();
}

#[test]
fn a_contract_leaves_only_past_one_and_a_fifth_of_the_list_and_only_unasked_for() {
    let (listed, tickers) = market(20);
    let mut roll = roll(WatchList::Top(10), listed, tickers.clone());
    let fall = |roll: &mut Roll, volume: f64| {
        let mut tickers = tickers.clone();
        tickers[0].quote_volume_24h = volume;
        roll.take_figures(tickers);
        roll.rerank().unwrap();
    };
    fall(&mut roll, 988.5); // the twelfth now
    assert_eq!(ranks(&roll)[0], ("S00USDT".into(), Some(12)));
    assert_eq!(roll.watched().len(), 11);
    assert!(roll.heed(&set(&["S00USDT"])));
    assert!(!roll.heed(&set(&["S00USDT"])), "no news");
    fall(&mut roll, 987.5); // the thirteenth
    assert_eq!(ranks(&roll)[0], ("S00USDT".into(), Some(13)), "asked for");
    assert!(roll.heed(&set(&[])), "one less");
    assert_eq!(roll.watched().len(), 11, "until the next ranking");
    fall(&mut roll, 987.5);
    assert!(!roll.watched().contains(&symbol("S00USDT")));
    assert_eq!(roll.watched().len(), 10);
}

#[test]
fn what_readers_ask_for_is_watched_beside_the_list_while_they_do_and_while_there_is_room() {
    let (mut listed, tickers) = market(6);
    listed.push(contract("BUSDC", "USDC", ContractStatus::Trading));
    let mut roll = Roll::new(WatchList::Top(2), 4);
    roll.heed(&set(&["S05USDT"]));
    assert_eq!(names(&roll.watched()), "", "nothing is known to trade yet");
    roll.take_figures(tickers);
    roll.take_listing(listed.clone(), &at(0)).unwrap();
    roll.begin(0).unwrap();
    roll.heed(&set(&["S05USDT", "NOPEUSDT", "S01USDT"]));
    assert_eq!(names(&roll.watched()), "S00USDT S01USDT S05USDT");
    roll.heed(&set(&["BUSDC", "S05USDT"]));
    roll.heed(&set(&["BUSDC", "S03USDT", "S05USDT"]));
    assert_eq!(
        names(&roll.watched()),
        "BUSDC S00USDT S01USDT S05USDT",
        "the earliest two"
    );
    let told = ranks(&roll);
    assert_eq!(
        told[0],
        ("BUSDC".into(), None),
        "no place among USDT contracts"
    );
    assert_eq!(told[3], ("S05USDT".into(), Some(6)));
    roll.heed(&set(&["S03USDT", "S05USDT"]));
    assert_eq!(names(&roll.watched()), "S00USDT S01USDT S03USDT S05USDT");
    listed[5].status = ContractStatus::Ended;
    roll.take_listing(listed, &at(10)).unwrap();
    assert_eq!(
        names(&roll.ended()),
        "S05USDT",
        "who asked for it sees that"
    );
    roll.rerank().unwrap();
    assert_eq!(names(&roll.watched()), "S00USDT S01USDT S03USDT");
}

#[test]
fn whoever_is_past_the_lists_length_and_unwanted_yields_to_what_readers_want() {
    let (listed, tickers) = market(20);
    let mut roll = Roll::new(WatchList::Top(10), 11);
    roll.take_figures(tickers.clone());
    roll.take_listing(listed, &at(0)).unwrap();
    roll.begin(0).unwrap();
    roll.heed(&set(&["S19USDT"]));
    assert_eq!(roll.watched().len(), 11);
    let fall = |roll: &mut Roll, volume: f64| {
        let mut tickers = tickers.clone();
        tickers[0].quote_volume_24h = volume;
        roll.take_figures(tickers);
        roll.rerank().unwrap();
    };
    fall(&mut roll, 989.5); // the eleventh now, and S10USDT the tenth
    assert!(roll.watched().contains(&symbol("S10USDT")));
    assert!(roll.watched().contains(&symbol("S19USDT")), "asked for");
    assert!(!roll.watched().contains(&symbol("S00USDT")), "it yields");
    roll.heed(&set(&[]));
    fall(&mut roll, 1_000.0);
    fall(&mut roll, 989.5);
    assert_eq!(roll.watched().len(), 11, "where there is room it stays");
    assert!(roll.watched().contains(&symbol("S00USDT")));
}

#[test]
fn what_has_ended_takes_nobodys_place() {
    let (mut listed, tickers) = market(6);
    let mut roll = Roll::new(WatchList::Top(2), 3);
    roll.take_figures(tickers);
    roll.take_listing(listed.clone(), &at(0)).unwrap();
    roll.begin(0).unwrap();
    roll.heed(&set(&["S04USDT"]));
    roll.heed(&set(&["S04USDT", "S05USDT"]));
    assert_eq!(names(&roll.watched()), "S00USDT S01USDT S04USDT");
    listed[0].status = ContractStatus::Ended;
    roll.take_listing(listed.clone(), &at(10)).unwrap();
    assert_eq!(names(&roll.ended()), "S00USDT");
    assert_eq!(
        names(&roll.watched()),
        "S00USDT S01USDT S04USDT S05USDT",
        "one of the list"
    );
    listed[4].status = ContractStatus::Ended;
    roll.take_listing(listed, &at(20)).unwrap();
    roll.heed(&set(&["S03USDT", "S04USDT", "S05USDT"]));
    assert_eq!(
        names(&roll.watched()),
        "S00USDT S01USDT S03USDT S04USDT S05USDT",
        "one that was asked for"
    );
}

#[test]
fn the_list_never_passes_the_bound_however_much_moves() {
    let (listed, tickers) = market(40);
    let mut roll = Roll::new(WatchList::Top(10), 11);
    roll.take_figures(tickers.clone());
    roll.take_listing(listed, &at(0)).unwrap();
    roll.begin(0).unwrap();
    let mut dice = fastrand::Rng::with_seed(26);
    for round in 0..200 {
        let mut moved = tickers.clone();
        for ticker in &mut moved {
            ticker.quote_volume_24h += f64::from(dice.u32(..8));
        }
        roll.take_figures(moved);
        let wanted: BTreeSet<_> = (0..dice.usize(..30))
            .map(|_| tickers[dice.usize(..40)].symbol.clone())
            .collect();
        roll.heed(&wanted);
        roll.rerank().unwrap();
        let watched = roll.watched();
        assert!(watched.len() <= 11, "round {round}: {}", names(&watched));
        let first: BTreeSet<_> = roll.first(10).cloned().collect();
        assert!(watched.is_superset(&first), "round {round}");
    }
}

#[test]
fn h33_a_missing_row_ends_a_contract_only_when_it_is_missing_twice_a_minute_apart() {
    let (listed, tickers) = market(5);
    let mut roll = roll(WatchList::Top(3), listed.clone(), tickers);
    let without: Vec<_> = listed[1..].to_vec();
    roll.take_listing(without.clone(), &at(100)).unwrap();
    assert!(roll.is_in_doubt());
    roll.take_listing(without.clone(), &at(159)).unwrap();
    assert_eq!(names(&roll.ended()), "", "too soon");
    roll.take_listing(listed, &at(170)).unwrap();
    assert!(!roll.is_in_doubt(), "it was there all the time");
    roll.take_listing(without.clone(), &at(180)).unwrap();
    roll.take_listing(without.clone(), &at(239)).unwrap();
    assert_eq!(names(&roll.ended()), "");
    roll.take_listing(without.clone(), &at(240)).unwrap();
    assert_eq!(names(&roll.ended()), "S00USDT");
    roll.take_listing(without, &at(600)).unwrap();
    assert_eq!(names(&roll.ended()), "S00USDT");
    assert!(!roll.is_in_doubt());
}

#[test]
fn h33_a_word_nobody_knows_is_doubted_as_a_missing_row_is() {
    let (mut listed, tickers) = market(5);
    let mut roll = roll(WatchList::Top(3), listed.clone(), tickers);
    listed[0].status = ContractStatus::Other;
    listed[1].kind = ContractKind::Other;
    roll.take_listing(listed.clone(), &at(100)).unwrap();
    assert_eq!(names(&roll.ended()), "");
    roll.take_listing(listed, &at(160)).unwrap();
    assert_eq!(names(&roll.ended()), "S00USDT S01USDT");
}

#[test]
fn h33_an_empty_or_tiny_listing_ends_nothing() {
    let (listed, tickers) = market(9);
    let mut roll = roll(WatchList::Top(5), listed.clone(), tickers);
    for secs in [100, 200, 300] {
        let error = roll.take_listing(listed[..4].to_vec(), &at(secs));
        assert!(matches!(
            error,
            Err(WatchListError::Torn { rows: 4, before: 9 })
        ));
        let error = roll.take_listing(vec![], &at(secs + 1));
        assert!(matches!(error, Err(WatchListError::Empty)));
    }
    assert_eq!(names(&roll.ended()), "");
    assert_eq!((roll.tradable().len(), roll.watched().len()), (9, 5));
}

#[test]
fn h33_a_listing_that_stays_small_for_an_hour_is_believed_and_ends_what_it_lacks() {
    let (listed, tickers) = market(30);
    let mut roll = roll(WatchList::Top(20), listed.clone(), tickers);
    let small = |rows: usize| listed[..rows].to_vec();
    let torn = |outcome| matches!(outcome, Err(WatchListError::Torn { before: 30, .. }));
    assert!(torn(roll.take_listing(small(9), &at(100))));
    assert!(
        torn(roll.take_listing(small(11), &at(2_000))),
        "within a few"
    );
    assert!(
        torn(roll.take_listing(small(3), &at(3_600))),
        "smaller still"
    );
    assert!(torn(roll.take_listing(small(5), &at(7_199))));
    roll.take_listing(small(5), &at(7_200)).unwrap();
    assert_eq!(
        names(&roll.ended()),
        "",
        "and doubted as any missing row is"
    );
    assert!(roll.is_in_doubt());
    roll.take_listing(small(5), &at(7_260)).unwrap();
    assert_eq!((roll.ended().len(), roll.tradable().len()), (15, 5));
}

#[test]
fn h33_a_whole_listing_or_an_empty_one_begins_the_hour_of_a_small_one_anew() {
    let (listed, tickers) = market(30);
    let mut roll = roll(WatchList::Top(20), listed.clone(), tickers);
    let small = listed[..9].to_vec();
    roll.take_listing(small.clone(), &at(100)).unwrap_err();
    roll.take_listing(listed, &at(200)).unwrap();
    roll.take_listing(small.clone(), &at(3_700)).unwrap_err();
    roll.take_listing(vec![], &at(4_000)).unwrap_err();
    roll.take_listing(small.clone(), &at(7_300)).unwrap_err();
    roll.take_listing(small, &at(10_900)).unwrap();
}

#[test]
fn h33_a_start_from_a_torn_listing_is_made_good_by_the_next() {
    let (listed, tickers) = market(9);
    let mut roll = roll(WatchList::Top(5), listed[6..].to_vec(), tickers);
    assert_eq!(names(&roll.watched()), "S06USDT S07USDT S08USDT");
    roll.take_listing(listed, &at(300)).unwrap();
    assert_eq!(roll.watched().len(), 5, "there was room");
    roll.rerank().unwrap();
    assert_eq!(
        names(&roll.watched()),
        "S00USDT S01USDT S02USDT S03USDT S04USDT"
    );
}
