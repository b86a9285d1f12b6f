//! Sums are exact, spans keep the right end, open candles grow into their rows, whatever faults make of the minutes;
//! and outside their scope everything stays.

use super::super::candles::Generated;
use super::super::edits::{Change, Edit, Halt, Picks};
use super::super::generator::{Personality, Voice};
use super::*;

const NOW_MS: i64 = 1_767_225_600_000 + 37 * 60_000 + 12_345; // 2026-01-01T00:37:12.345Z
const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;
const NOW: TimeMs = TimeMs::new(NOW_MS);

const SCALE: Scale = Scale {
    price_decimals: 4,
    volume_decimals: 1,
    tick: 1,
};

fn contract() -> Tape {
    let like = Personality {
        price: 2.5,
        quote_volume: 5e7,
        minute_move: 0.001,
        trend: 1.1,
        naps: 0.05,
    };
    let voice = Voice::new(7, "XRPUSDT", SCALE, like);
    let candles = Generated::new(voice, 1_700_006_400_000);
    Tape::new(SCALE, Candles::Generated(Box::new(candles)))
}

fn all(from_ms: i64, to_ms: i64) -> Span {
    Span {
        from: OpenTime::from_ms(from_ms),
        to: OpenTime::from_ms(to_ms),
        limit: usize::MAX,
        keep: Keep::Oldest,
    }
}

/// `change` for the candles of `interval` that open in the 100 minutes from 00:10 of the day before.
fn altered(interval: Interval, share: f64, change: Change) -> Tape {
    let mut tape = contract();
    let from = NOW_MS / DAY_MS * DAY_MS - DAY_MS + 10 * MINUTE_MS;
    let picks = Picks {
        interval,
        from: TimeMs::new(from),
        to: TimeMs::new(from + 100 * MINUTE_MS),
        share,
        seed: 3,
    };
    tape.edits.rules.push(Edit { picks, change });
    tape
}

fn halted() -> Tape {
    let mut tape = contract();
    let from = TimeMs::new(NOW_MS - 3 * DAY_MS);
    tape.edits.halts.push(Halt {
        from,
        to: TimeMs::new(NOW_MS - DAY_MS),
        price: tape.market_price(from).unwrap(),
    });
    tape
}

fn born() -> Tape {
    let mut tape = contract();
    tape.edits.born = TimeMs::new(NOW_MS - 2 * DAY_MS + 2_500 * 60);
    tape
}

fn every_kind() -> Vec<Tape> {
    let later = Change::Revised {
        delay_ms: 90_000,
        percent: 0.5,
    };
    vec![
        contract(),
        altered(Interval::M1, 1.0, Change::Absent),
        altered(Interval::M15, 0.5, Change::Absent),
        altered(Interval::M1, 1.0, Change::Flat(Some(25_000))),
        altered(Interval::M5, 0.3, Change::Flat(None)),
        altered(Interval::M1, 0.4, later.clone()),
        altered(Interval::H1, 1.0, later),
        halted(),
        born(),
    ]
}

#[test]
fn every_interval_is_the_exact_sum_of_its_minutes() {
    for candles in every_kind() {
        let from = NOW_MS - 4 * DAY_MS;
        let minutes = candles.closed(Interval::M1, all(from, NOW_MS), NOW);
        for interval in Interval::ALL {
            for (open, bar) in candles.closed(interval, all(from, NOW_MS), NOW) {
                let (begin, end) = (open, interval.after(open));
                let first = minutes.partition_point(|(at, _)| *at < begin);
                let after = minutes.partition_point(|(at, _)| *at < end);
                let sum = Bar::of(minutes[first..after].iter().map(|(_, bar)| bar));
                assert_eq!(Some(bar), sum, "{interval} {open} {:?}", candles.edits);
            }
        }
    }
}

#[test]
fn a_span_keeps_the_end_that_was_asked_for() {
    let candles = contract();
    let mut span = all(0, i64::MAX);
    span.limit = 3;
    let oldest = candles.closed(Interval::H4, span, NOW);
    assert_eq!(oldest[0].0.ms(), 1_700_006_400_000);
    span.keep = Keep::Newest;
    let newest = candles.closed(Interval::H4, span, NOW);
    assert_eq!(newest.len(), 3);
    assert_eq!(newest[2].0.ms(), 1_767_225_600_000 - 4 * 3_600_000);
}

#[test]
fn h22_behind_a_hole_a_span_goes_on_until_it_is_full() {
    let candles = altered(Interval::M1, 1.0, Change::Absent);
    let hole = NOW_MS / DAY_MS * DAY_MS - DAY_MS + 10 * MINUTE_MS;
    let end = hole + 100 * MINUTE_MS;
    let mut span = all(0, end + 4 * MINUTE_MS);
    span.limit = 8;
    span.keep = Keep::Newest;
    let opens = |span| {
        let rows = candles.closed(Interval::M1, span, NOW);
        let minutes = rows.iter().map(|(open, _)| (open.ms() - hole) / MINUTE_MS);
        minutes.collect::<Vec<_>>()
    };
    assert_eq!(opens(span), [-3, -2, -1, 100, 101, 102, 103, 104]);
    span.from = OpenTime::from_ms(hole - 2 * MINUTE_MS);
    span.limit = 4;
    span.keep = Keep::Oldest;
    assert_eq!(opens(span), [-2, -1, 100, 101]);
}

#[test]
fn an_open_candle_grows_into_its_row() {
    for candles in every_kind() {
        for interval in [Interval::M1, Interval::M15, Interval::H4, Interval::D1] {
            let open = interval.open_at(NOW);
            let end = interval.after(open).time();
            let whole = candles.closed_at(interval, open, end).unwrap();
            let mut last = candles.forming(interval, open.time()).unwrap();
            assert_eq!(last, Bar::flat(whole.open));
            let step = (interval.nominal_ms() / 500).max(1);
            let mut now = open.time();
            while now < end {
                let bar = candles.forming(interval, now).unwrap();
                assert!(bar.high >= last.high && bar.low <= last.low && bar.open == whole.open);
                assert!(bar.volume >= last.volume && bar.trades >= last.trades);
                assert!(bar.high <= whole.high && bar.low >= whole.low);
                assert!(bar.volume <= whole.volume);
                last = bar;
                now = now.plus_ms(step);
            }
        }
    }
}

#[test]
fn what_is_outside_a_scope_stays_as_it_was() {
    let plain = contract();
    let minutes = |tape: &Tape| tape.closed(Interval::M1, all(NOW_MS - 4 * DAY_MS, NOW_MS), NOW);
    let (before, day) = (minutes(&plain), NOW_MS / DAY_MS * DAY_MS - DAY_MS);
    let scope = day + 10 * MINUTE_MS..day + 110 * MINUTE_MS;
    let revised = Change::Revised {
        delay_ms: 1,
        percent: 0.5,
    };
    for change in [Change::Absent, Change::Flat(None), revised] {
        let after = minutes(&altered(Interval::M1, 1.0, change));
        let outside = |rows: &[(OpenTime, Bar)]| {
            let rows = rows.iter().filter(|(open, _)| !scope.contains(&open.ms()));
            rows.copied().collect::<Vec<_>>()
        };
        assert_eq!(outside(&before), outside(&after));
        assert_ne!(before, after);
    }
}

#[test]
fn h19_a_revision_is_told_from_its_time_on() {
    let change = Change::Revised {
        delay_ms: 5_000,
        percent: 1.0,
    };
    let (revised, plain) = (altered(Interval::M15, 1.0, change), contract());
    let open = OpenTime::from_ms(NOW_MS / DAY_MS * DAY_MS - DAY_MS + 15 * MINUTE_MS);
    let end = Interval::M15.after(open).time();
    let at = |tape: &Tape, interval, open, now| tape.closed_at(interval, open, now).unwrap();
    for now in [end, end.plus_ms(4_999)] {
        assert_eq!(
            at(&revised, Interval::M15, open, now),
            at(&plain, Interval::M15, open, now)
        );
    }
    let now = end.plus_ms(5_000);
    let (new, old) = (
        at(&revised, Interval::M15, open, now),
        at(&plain, Interval::M15, open, now),
    );
    assert!(new.close > old.close && new.volume > old.volume && new.open == old.open);
    let minute = Interval::M1.steps(OpenTime::at(end), -1);
    assert_eq!(at(&revised, Interval::M1, minute, now).close, new.close);
    let first = at(&revised, Interval::M1, open, now);
    assert_eq!(
        first,
        at(&plain, Interval::M1, open, now),
        "only its last minute"
    );
}

#[test]
fn h24_a_halted_contract_keeps_its_last_price() {
    let (tape, plain) = (halted(), contract());
    let halt = tape.edits.halts[0];
    let open = Interval::M1.open_at(halt.from);
    let cut = tape
        .closed_at(Interval::M1, open, halt.from.plus_ms(MINUTE_MS))
        .unwrap();
    assert_eq!(
        Some(cut),
        plain.forming(Interval::M1, halt.from),
        "what was traded until then"
    );
    let next = Interval::M1.after(open);
    let later = tape.forming(Interval::M1, next.time().plus_ms(30_000));
    assert_eq!(later, Some(Bar::flat(cut.close)));
    let last = Interval::M1.open_at(halt.to);
    let first_again = Interval::M1.after(last);
    let at = |tape: &Tape, open| tape.closed_at(Interval::M1, open, NOW).unwrap();
    assert_eq!(at(&tape, last), Bar::flat(cut.close));
    assert_eq!(at(&tape, first_again), at(&plain, first_again));
}

#[test]
fn h25_a_young_contracts_first_long_candle_is_made_of_the_minutes_it_has() {
    let tape = born();
    let rows = |interval| tape.closed(interval, all(0, NOW_MS), NOW);
    let (minutes, hours) = (rows(Interval::M1), rows(Interval::H1));
    assert_eq!(minutes[0].0, Interval::M1.open_at(tape.edits.born));
    assert_eq!(hours[0].0, Interval::H1.open_at(tape.edits.born));
    assert!(
        hours[0].1.volume
            < contract()
                .closed_at(Interval::H1, hours[0].0, NOW)
                .unwrap()
                .volume
    );
    assert_eq!(
        tape.forming(Interval::M1, tape.edits.born.plus_ms(-1)),
        None
    );
}

#[test]
fn h28_extreme_digits_keep_order_and_sums() {
    for (which, decimals) in [(ExtremeDigits::Tiny, 8), (ExtremeDigits::Long, 16)] {
        let mut tape = contract();
        let (digits, scale) = Digits::extreme(which, 25_000, SCALE);
        assert_eq!(scale.price_decimals, decimals);
        tape.tell_with(digits);
        let minutes = tape.closed(Interval::M1, all(NOW_MS - 3 * DAY_MS, NOW_MS), NOW);
        for (_, bar) in &minutes {
            assert!(bar.low >= 1 && bar.low <= bar.open.min(bar.close));
            assert!(bar.high >= bar.open.max(bar.close));
        }
        for (open, bar) in tape.closed(Interval::H1, all(NOW_MS - 2 * DAY_MS, NOW_MS), NOW) {
            let end = Interval::H1.after(open);
            let parts = minutes.iter().filter(|(at, _)| *at >= open && *at < end);
            assert_eq!(Some(bar), Bar::of(parts.map(|(_, bar)| bar)));
        }
        let close = minutes.last().unwrap().1.close;
        match which {
            ExtremeDigits::Tiny => assert!((1..100).contains(&close), "{close}"),
            ExtremeDigits::Long => assert!((16..=18).contains(&(close.ilog10() + 1)), "{close}"),
        }
    }
}

#[test]
fn a_delisted_contract_ends() {
    let mut candles = contract();
    candles.end_at(TimeMs::new(NOW_MS - DAY_MS));
    let rows = candles.closed(Interval::H1, all(0, NOW_MS), NOW);
    assert!(rows.last().unwrap().0.ms() < NOW_MS - DAY_MS);
    assert_eq!(candles.forming(Interval::H1, NOW), None);
}
