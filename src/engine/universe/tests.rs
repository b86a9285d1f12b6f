//! What the reader does with an answer that is not what it should be, and with starts nobody waits for any more.

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::engine::order::StartOrder;
use crate::exchange::binance::{Binance, BinanceSettings};
use crate::exchange::{Contract, ContractKind, ContractStatus, Rows, Ticker};

/// A reader whose exchange is never reached, and what it tells the engine.
struct Bench {
    reader: UniverseReader,
    words: mpsc::Receiver<Word>,
}

impl Bench {
    fn new(list: WatchList) -> Self {
        let settings = EngineSettings::new(list, vec![Interval::M1]);
        let clock = ExchangeClock::from_wall();
        let never_reached = BinanceSettings::default();
        let exchange = Exchange::Binance(Binance::new(&never_reached, clock.clone()).unwrap());
        let (sender, words) = mpsc::channel(16);
        let ties = Ties {
            exchange,
            clock,
            interest: Interest::default(),
            listing_news: Arc::default(),
            published: watch::channel(Universe::none_yet(&settings)).0,
            words: sender,
            voice: None,
        };
        let reader = UniverseReader::new(ties, &settings);
        Self { reader, words }
    }

    /// The exchange lists `names`, those with a figure as its turnover; `skipped` rows of either cannot be read.
    async fn read(&mut self, names: &[(&str, Option<f64>)], skipped: usize) -> Option<String> {
        let contracts = names.iter().map(|(name, _)| trading(name)).collect();
        let figures = names.iter();
        let figures = figures.filter_map(|(name, volume)| Some(ticker(name, (*volume)?)));
        let reading = Reading {
            scope: Scope::Both,
            simulated: false,
            contracts: Some(Rows {
                rows: contracts,
                skipped,
            }),
            tickers: Some(Rows {
                rows: figures.collect(),
                skipped,
            }),
        };
        let failure = self.reader.take(reading).await.unwrap();
        failure.map(|failure| failure.to_string())
    }

    fn watched(&self) -> Vec<String> {
        let watched = self.reader.roll.watched();
        watched.iter().map(|one| one.as_str().to_owned()).collect()
    }
}

fn symbol(name: &str) -> Symbol {
    Symbol::parse(name).unwrap()
}

fn trading(name: &str) -> Contract {
    Contract {
        symbol: symbol(name),
        base_asset: "X".into(),
        quote_asset: "USDT".into(),
        kind: ContractKind::Perpetual,
        status: ContractStatus::Trading,
        margin_asset: "USDT".into(),
        tick_size: None,
        onboard_time: TimeMs::new(0),
    }
}

fn ticker(name: &str, quote_volume_24h: f64) -> Ticker {
    Ticker {
        symbol: symbol(name),
        last_price: 1.0,
        change_pct_24h: 0.0,
        quote_volume_24h,
    }
}

#[tokio::test]
async fn while_an_answer_is_on_its_way_the_reader_rests() {
    let reader = Bench::new(WatchList::Top(1)).reader;
    let at_once = Duration::from_millis(1);
    assert_eq!(reader.pause(&None), at_once, "everything is due");
    let on_its_way: OnItsWay = Some(std::future::pending().boxed());
    assert_eq!(reader.pause(&on_its_way), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn h33_figures_of_less_than_half_the_contracts_rank_nothing_and_are_asked_for_again() {
    let mut bench = Bench::new(WatchList::Top(1));
    let whole = [
        ("AUSDT", Some(1.0)),
        ("BUSDT", Some(9.0)),
        ("CUSDT", Some(2.0)),
    ];
    let torn = [("AUSDT", Some(1.0)), ("BUSDT", None), ("CUSDT", None)];
    let why = bench.read(&torn, 2).await.unwrap();
    assert!(why.contains("of 1 contracts where 3"), "{why}");
    assert_eq!(bench.watched(), [] as [&str; 0], "no list by the alphabet");
    assert_eq!(bench.read(&whole, 0).await, None);
    assert_eq!(bench.watched(), ["BUSDT"]);
    tokio::time::advance(Duration::from_secs(3_600)).await;
    let moved = [("AUSDT", Some(99.0)), ("BUSDT", None), ("CUSDT", None)];
    bench.read(&moved, 2).await.unwrap();
    assert_eq!(bench.watched(), ["BUSDT"]);
    let speed = bench.reader.ties.clock.speed();
    let due = bench.reader.pace.due(Mono::now(), speed);
    assert_eq!(due, Some(Scope::Both), "the ranking is still due");
    let moved = [("AUSDT", Some(99.0)), ("BUSDT", None), ("CUSDT", Some(2.0))];
    assert_eq!(bench.read(&moved, 1).await, None);
    assert_eq!(
        bench.watched(),
        ["AUSDT"],
        "B is the second by what was last known"
    );
    assert_eq!(bench.reader.pace.due(Mono::now(), speed), None);
}

#[tokio::test]
async fn h33_a_list_of_names_needs_no_figures() {
    let mut bench = Bench::new(WatchList::Named(vec![symbol("AUSDT")]));
    let listed = [("AUSDT", None), ("BUSDT", None), ("CUSDT", Some(1.0))];
    assert_eq!(bench.read(&listed, 2).await, None);
    assert_eq!(bench.watched(), ["AUSDT"]);
}

#[tokio::test]
async fn a_start_that_waited_until_its_asker_had_gone_or_a_stop_came_is_dropped() {
    let mut bench = Bench::new(WatchList::Top(1));
    assert_eq!(bench.read(&[("AUSDT", Some(1.0))], 0).await, None);
    while bench.words.try_recv().is_ok() {}
    let stopped = CancellationToken::new();
    let ask = |stopped: &CancellationToken, symbols: Option<Vec<Symbol>>| {
        let (answer, asker) = oneshot::channel();
        let order = StartOrder {
            symbols,
            sweep_every: None,
        };
        let asked = StartAsked::by_operator(order, answer, stopped.clone());
        (asked, asker)
    };
    for symbols in [None, Some(vec![symbol("AUSDT")])] {
        let (asked, asker) = ask(&stopped, symbols);
        drop(asker);
        bench.reader.take_start(asked).await;
        assert!(bench.words.try_recv().is_err(), "his deadline is over");
        assert!(bench.reader.asked.is_none());
    }
    let (asked, _waits) = ask(&stopped, Some(vec![symbol("AUSDT")]));
    bench.reader.take_start(asked).await;
    assert!(bench.reader.asked.is_some(), "its list is being made");
    stopped.cancel();
    assert_eq!(bench.read(&[("AUSDT", Some(1.0))], 0).await, None);
    assert!(bench.words.try_recv().is_err(), "a stop came first");
    assert!(bench.reader.roll.is_in_force(&WatchList::Top(1)));
    let (asked, _waits) = ask(&CancellationToken::new(), None);
    bench.reader.take_start(asked).await;
    assert!(matches!(bench.words.try_recv(), Ok(Word::Started(_))));
}
