//! The store's promises: numbers without a hole, each identity once, changes before results, one moment per read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::mirror::{Account, Loaded};
use super::{Base, Batch, ChangeFilter, Item, MemoryStore, Occasion, ResetReason, Store, Write};
use crate::market::{Interval, OpenTime, SeriesKey, SeriesStatus, Symbol, TimeMs};
use crate::signal::{
    ChangeBody, Correction, Recommendation, Seq, SignalChange, SignalResult, Source, Stand,
};

fn key(symbol: &str) -> SeriesKey {
    SeriesKey::new(Symbol::parse(symbol).unwrap(), Interval::M15)
}

fn close_of(candle: i64) -> TimeMs {
    Interval::M15.close_time(OpenTime::from_ms(candle * 900_000))
}

fn change(symbol: &str, candle: i64) -> Write {
    Write::Change(ChangeBody::Signal(SignalChange {
        key: key(symbol),
        recommendation: Recommendation::Buy,
        previous: Recommendation::Hold,
        confidence: 0.8,
        price: 1.0,
        hama_close: 1.0,
        ma: 1.0,
        deviation_pct: 0.5,
        candle_open_time: OpenTime::from_ms(candle * 900_000),
        candle_close_time: close_of(candle),
        last_cross_direction: 1,
        last_cross_time: None,
        event_time: close_of(candle).plus_ms(100),
        source: Source::Stream,
    }))
}

fn result(symbol: &str, occasion: Occasion) -> Write {
    let result = SignalResult {
        status: SeriesStatus::Live,
        recommendation: Some(Recommendation::Buy),
        last_cross_direction: 1,
        ..SignalResult::warming(&key(symbol), TimeMs::new(0))
    };
    Write::Result {
        result: Box::new(result),
        occasion,
    }
}

/// `seq:prev_seq:symbol` of the changes in a batch, then `symbol@change_seq` of its results.
fn shape(batch: &Batch) -> Vec<String> {
    batch
        .items
        .iter()
        .map(|item| match item {
            Item::Change(change) => format!(
                "{}:{}:{}",
                change.seq,
                change.prev_seq,
                change.body.key().symbol
            ),
            Item::Result { result, .. } => format!("{}@{}", result.symbol, result.change_seq),
            Item::Ended(_) | Item::Symbols { .. } | Item::Tradable(_) | Item::Status(_) => {
                "other".to_owned()
            }
        })
        .collect()
}

/// A live result of a series, and what the log says of its base.
fn began(symbol: &str, candle: i64) -> (SeriesKey, Base) {
    let base = Base {
        close_time: close_of(candle),
        recommendation: Recommendation::Buy,
    };
    (key(symbol), base)
}

#[test]
fn a_loaded_series_whose_beginning_no_change_tells_has_begun() {
    let writer = MemoryStore::new(100);
    let written = writer.write(vec![change("A", 5), change("B", 5)]);
    let changes = written.items.into_iter().filter_map(|item| {
        let Item::Change(change) = item else {
            return None;
        };
        Some(change)
    });
    // A goes on from its change, B left and came back since, C is live and has never changed, D has never been live.
    let bases = [began("A", 5), began("B", 9), began("C", 2)];
    let mut series: BTreeMap<_, _> = bases
        .into_iter()
        .map(|(key, base)| {
            let base = Some(base);
            let account = Account {
                base,
                ..Account::default()
            };
            (key, account)
        })
        .collect();
    series.insert(key("D"), Account::default());
    let loaded = Loaded {
        epoch: written.epoch,
        changes: changes.collect(),
        series,
        results: Vec::new(),
        tradable: BTreeSet::new(),
        at: TimeMs::new(0),
    };
    let batch = MemoryStore::new(100).load(loaded, ResetReason::LogLost);
    let began = batch.items.iter().filter_map(|item| {
        let Item::Result { result, occasion } = item else {
            return None;
        };
        (*occasion == Occasion::FirstLive).then(|| result.symbol.as_str())
    });
    assert_eq!(began.collect::<Vec<_>>(), ["B", "C"]);
}

#[test]
fn a_loaded_series_without_a_result_stands_as_it_was_kept() {
    let writer = MemoryStore::new(100);
    let written = writer.write(vec![change("A", 5), change("B", 5)]);
    let of_b = written.items.iter().filter_map(|item| match item {
        Item::Change(change) => (change.seq == Seq::new(2)).then(|| change.clone()),
        Item::Result { .. }
        | Item::Ended(_)
        | Item::Symbols { .. }
        | Item::Tradable(_)
        | Item::Status(_) => None,
    });
    let kept = |status, last| Account {
        status: Some(status),
        last: Seq::new(last),
        base: None,
    };
    let series = [
        (key("A"), kept(SeriesStatus::Stopped, 1)),
        (key("B"), kept(SeriesStatus::Live, 2)),
    ];
    let loaded = Loaded {
        epoch: written.epoch.clone(),
        changes: of_b.collect(), // the first is trimmed
        series: BTreeMap::from(series),
        results: Vec::new(),
        tradable: BTreeSet::new(),
        at: TimeMs::new(0),
    };
    let store = MemoryStore::new(100);
    store.load(loaded, ResetReason::LogLost);
    let published = store.published();
    let of = |symbol| {
        let result = &published.results[&key(symbol)];
        (result.status, result.recommendation, result.change_seq)
    };
    assert_eq!(of("A"), (SeriesStatus::Stopped, None, Seq::new(1)));
    let buy = Some(Recommendation::Buy);
    assert_eq!(of("B"), (SeriesStatus::Warming, buy, Seq::new(2)));
}

#[test]
fn a_burst_is_numbered_by_close_time_then_symbol_and_stands_before_its_results() {
    let store = MemoryStore::new(100);
    let batch = store.write(vec![
        result("B", Occasion::Close),
        change("B", 2),
        change("C", 1),
        result("B", Occasion::Update),
        change("A", 2),
        result("A", Occasion::Close),
    ]);
    assert_eq!(shape(&batch), ["1:0:C", "2:0:A", "3:0:B", "A@2", "B@3"]);
    let batch = store.write(vec![change("B", 3)]);
    assert_eq!(
        (shape(&batch), batch.head),
        (vec!["4:3:B".to_owned()], Seq::new(4))
    );
}

#[test]
fn what_a_series_says_in_a_burst_stays_in_the_order_in_which_it_said_it() {
    let store = MemoryStore::new(100);
    let taken_back = Write::Change(ChangeBody::Correction(Correction {
        key: key("A"),
        revision: 1,
        corrects: vec![close_of(7)],
        stands: Vec::new(),
        recommendation: Recommendation::Hold,
        previous: Recommendation::Buy,
        candle_open_time: OpenTime::from_ms(5 * 900_000),
        candle_close_time: close_of(5),
        event_time: close_of(7).plus_ms(200),
        source: Source::Rest,
    }));
    let batch = store.write(vec![change("A", 7), taken_back, change("B", 6)]);
    assert_eq!(shape(&batch), ["1:0:B", "2:0:A", "3:2:A"]);
    let Item::Change(last) = &batch.items[2] else {
        panic!("{batch:?}");
    };
    assert_eq!(last.body.recommendation(), Recommendation::Hold);
    assert_eq!(last.corrects, [Seq::new(2)]);
}

#[test]
fn of_two_results_the_newer_stays_with_the_more_telling_occasion() {
    let store = MemoryStore::new(100);
    let batch = store.write(vec![
        result("A", Occasion::FirstLive),
        result("A", Occasion::Update),
    ]);
    assert!(matches!(
        &batch.items[..],
        [Item::Result {
            occasion: Occasion::FirstLive,
            ..
        }]
    ));
}

#[test]
fn an_identity_that_was_numbered_is_never_numbered_again() {
    let store = MemoryStore::new(100);
    store.write(vec![change("A", 5)]);
    let again = store.write(vec![change("A", 5), change("A", 4), change("A", 6)]);
    assert_eq!(shape(&again), ["2:1:A"]);
}

#[test]
fn a_correction_in_one_burst_with_what_it_takes_back_comes_after_it() {
    let store = MemoryStore::new(100);
    let correction = Write::Change(ChangeBody::Correction(Correction {
        key: key("A"),
        revision: 1,
        corrects: vec![close_of(7)],
        stands: vec![],
        recommendation: Recommendation::Hold,
        previous: Recommendation::Buy,
        candle_open_time: OpenTime::from_ms(4 * 900_000),
        candle_close_time: close_of(4),
        event_time: close_of(8),
        source: Source::Rest,
    }));
    let batch = store.write(vec![
        change("B", 6),
        change("A", 7),
        correction,
        change("A", 8),
    ]);
    let ids: Vec<_> = batch
        .items
        .iter()
        .filter_map(|item| match item {
            Item::Change(change) => Some((change.body.id().to_string(), change.corrects.clone())),
            Item::Result { .. }
            | Item::Ended(_)
            | Item::Symbols { .. }
            | Item::Tradable(_)
            | Item::Status(_) => None,
        })
        .collect();
    assert_eq!(
        ids,
        [
            (format!("B:15m:{}:0", close_of(6)), vec![]),
            (format!("A:15m:{}:0", close_of(7)), vec![]),
            (format!("A:15m:{}:1", close_of(4)), vec![Seq::new(2)]),
            (format!("A:15m:{}:0", close_of(8)), vec![]),
        ]
    );
}

#[test]
fn a_correction_of_an_old_change_leaves_the_newest_one_the_last() {
    let store = MemoryStore::new(100);
    store.write(vec![change("A", 5), change("A", 9)]);
    let stand = Stand {
        candle_close_time: close_of(6),
        recommendation: Recommendation::Buy,
        previous: Recommendation::Hold,
    };
    let correction = Write::Change(ChangeBody::Correction(Correction {
        key: key("A"),
        revision: 1,
        corrects: vec![close_of(5)],
        stands: vec![stand],
        recommendation: Recommendation::Buy,
        previous: Recommendation::Buy,
        candle_open_time: OpenTime::from_ms(4 * 900_000),
        candle_close_time: close_of(4),
        event_time: close_of(10),
        source: Source::Rest,
    }));
    store.write(vec![correction, result("A", Occasion::Close)]);
    let changed_at = store.published().results[&key("A")].changed_at;
    assert_eq!(changed_at, Some(close_of(9)));
    let again = store.write(vec![change("A", 9)]);
    assert_eq!(again.items, vec![], "it was told already");
}

#[test]
fn a_correction_names_the_numbers_it_takes_back() {
    let store = MemoryStore::new(100);
    store.write(vec![change("A", 5), change("B", 5), change("A", 7)]);
    let correction = Write::Change(ChangeBody::Correction(Correction {
        key: key("A"),
        revision: 1,
        corrects: vec![close_of(5), close_of(7)],
        stands: vec![Stand {
            candle_close_time: close_of(6),
            recommendation: Recommendation::Sell,
            previous: Recommendation::Hold,
        }],
        recommendation: Recommendation::Sell,
        previous: Recommendation::Buy,
        candle_open_time: OpenTime::from_ms(4 * 900_000),
        candle_close_time: close_of(4),
        event_time: close_of(8),
        source: Source::Rest,
    }));
    let batch = store.write(vec![correction.clone()]);
    let [Item::Change(logged)] = &batch.items[..] else {
        panic!("{batch:?}")
    };
    assert_eq!((logged.seq.get(), logged.prev_seq.get()), (4, 3));
    assert_eq!(logged.corrects, [Seq::new(1), Seq::new(3)]);
    assert_eq!(
        logged.body.id().to_string(),
        format!("A:15m:{}:1", close_of(4))
    );
    assert_eq!(shape(&store.write(vec![correction])), Vec::<String>::new());
    assert_eq!(
        shape(&store.write(vec![change("A", 8)])),
        ["5:4:A"],
        "the series goes on"
    );
}

#[test]
fn the_log_is_read_page_by_page_and_says_what_is_gone() {
    let store = MemoryStore::new(10);
    for candle in 0..25 {
        store.write(vec![change(
            if candle % 2 == 0 { "A" } else { "B" },
            candle,
        )]);
    }
    let page = |since: u64, limit| store.changes(Seq::new(since), limit, &ChangeFilter::default());
    let numbers = |since, limit| {
        page(since, limit)
            .unwrap()
            .changes
            .iter()
            .map(|c| c.seq.get())
            .collect::<Vec<_>>()
    };
    assert_eq!(numbers(0, 3), [16, 17, 18], "0 is the oldest kept");
    assert_eq!(numbers(15, 2), [16, 17]);
    assert_eq!(numbers(24, 100), [25]);
    assert_eq!(
        (
            page(20, 2).unwrap().next.get(),
            page(24, 2).unwrap().next.get()
        ),
        (22, 25)
    );
    assert_eq!(numbers(25, 100), Vec::<u64>::new());
    let gone = page(14, 2).unwrap_err();
    assert_eq!((gone.kept_from.get(), gone.seq.get()), (16, 25));
    assert!(page(26, 2).is_err(), "a number never given");
    let only_b = ChangeFilter {
        symbol: Some(key("B").symbol),
        interval: None,
    };
    let page = store.changes(Seq::new(15), 2, &only_b).unwrap();
    assert_eq!(
        page.changes.iter().map(|c| c.seq.get()).collect::<Vec<_>>(),
        [16, 18]
    );
}

#[test]
fn a_contract_that_left_the_watch_list_leaves_the_published_state() {
    let store = MemoryStore::new(10);
    store.write(vec![
        result("A", Occasion::Close),
        result("B", Occasion::Close),
        change("A", 1),
    ]);
    let before = store.published();
    let removed = vec![key("A").symbol];
    store.write(vec![Write::Symbols {
        added: Vec::new(),
        removed,
    }]);
    assert_eq!(
        store
            .published()
            .results
            .keys()
            .cloned()
            .collect::<Vec<_>>(),
        [key("B")]
    );
    assert_eq!(
        before.results.len(),
        2,
        "who holds a state keeps it as it was"
    );
    assert_eq!(
        (before.seq, before.results[&key("A")].change_seq),
        (Seq::new(1), Seq::new(1))
    );
}

#[tokio::test]
async fn every_reader_gets_every_batch_and_one_that_is_gone_holds_nobody_back() {
    let store = Store::memory();
    let (writes, inbox) = mpsc::channel(4);
    let (to_reader, mut reader) = mpsc::channel::<Arc<Batch>>(1);
    let (to_gone, gone) = mpsc::channel(1);
    drop(gone);
    let tasks = crate::tasks::Tasks::new();
    tasks.spawn_short(
        "writer",
        store
            .view()
            .clone()
            .write_all(inbox, vec![to_gone, to_reader]),
    );
    let mut seen = 0;
    for candle in 0..20 {
        writes.send(vec![change("A", candle)]).await.unwrap();
        if candle % 3 == 0 {
            seen += reader.recv().await.unwrap().items.len();
        }
    }
    drop(writes);
    while let Some(batch) = reader.recv().await {
        seen += batch.items.len();
    }
    assert_eq!((seen, store.published().seq), (20, Seq::new(20)));
}
