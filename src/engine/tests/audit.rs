//! Holding known candles against REST: what differs is counted, taken in and corrected; what REST has no more is kept; and
//! all that is kept comes up in time.

use std::collections::BTreeSet;

use super::world::{CloseEvent, START, World, candle, key};
use crate::market::{Candle, HISTORY_MAX, SeriesStatus};

/// Lets the next sweep begin and answers its reads.
fn sweep(world: &mut World) {
    let mut audits = 0;
    for _ in 0..5 {
        world.next_minute(CloseEvent::Comes);
        world.answer_all();
        audits += world.audits.len();
        world.answer_audits();
    }
    assert_eq!(audits, 1);
}

fn revised(minute: i64) -> Candle {
    Candle {
        high: 190.0,
        close: 180.0,
        ..candle(minute)
    }
}

#[test]
fn h19_a_revision_the_sweep_finds_is_counted_replaced_recomputed_and_corrected() {
    let mut world = World::live();
    world.answer_audits();
    world.answer_samples();
    for _ in 0..24 {
        sweep(&mut world);
    }
    let spike = revised(world.minute() - 60);
    world.market.insert(spike.open_time, spike);
    sweep(&mut world);
    assert!(!world.corrections.is_empty());
    assert_eq!(world.stands(), world.expected());
    let audit = world.engine.info().audit;
    assert_eq!((audit.replaced, audit.added, audit.lacking), (1, 0, 0));
    assert!(audit.checked > 24 * 98);
    sweep(&mut world);
    assert_eq!(
        world.engine.info().audit.replaced,
        1,
        "the same again is no news"
    );
}

#[test]
fn h19_a_candle_revised_long_after_it_closed_is_found_by_the_samples() {
    let mut world = World::live_with((0..START + 2_000).map(candle));
    world.answer_audits();
    world.answer_samples();
    for _ in 0..40 {
        sweep(&mut world);
        world.answer_samples();
    }
    let spike = revised(world.minute() - 400);
    world.market.insert(spike.open_time, spike);
    let mut sweeps = 0;
    while world.engine.info().audit.replaced == 0 {
        sweep(&mut world);
        world.answer_samples();
        sweeps += 1;
    }
    assert!(sweeps < 16, "{sweeps}");
    assert_eq!(world.stands(), world.expected());
}

#[test]
fn samples_go_back_through_all_that_is_kept_and_begin_anew() {
    let mut world = World::live_with((0..START + 2_000).map(candle));
    for _ in 0..300 {
        sweep(&mut world); // to a full ring
    }
    let mut seen = BTreeSet::new();
    for _ in 0..40 {
        for job in std::mem::take(&mut world.samples) {
            assert_eq!(job.request.weight(), 1);
            let rows = world.rows(&job.request);
            seen.extend(rows.iter().map(|row| row.open_time));
            world.answer(job.request, rows);
        }
        sweep(&mut world);
        let newest = world.engine.watched[&key()]
            .check_request(98, &world.now)
            .unwrap();
        seen.extend(world.rows(&newest).iter().map(|row| row.open_time));
    }
    let history = world.engine.watched[&key()].series().history();
    assert_eq!(history.len(), HISTORY_MAX);
    let final_ones = history.len() - 1; // the newest has closed 100 ms ago
    let unseen = history
        .iter()
        .take(final_ones)
        .filter(|known| !seen.contains(&known.open_time));
    assert_eq!(unseen.count(), 0);
}

#[test]
fn h21_zero_volume_candles_pass_the_audit_and_h19_what_rest_has_no_more_is_kept_and_counted() {
    let flat = |minute: i64| {
        let price = candle(minute).open;
        Candle {
            high: price,
            low: price,
            close: price,
            volume: 0.0,
            ..candle(minute)
        }
    };
    let quiet = START + 3..START + 9;
    let mut world = World::live_with((0..START + 600).map(|minute| {
        if quiet.contains(&minute) {
            flat(minute)
        } else {
            candle(minute)
        }
    }));
    world.answer_audits();
    for _ in 0..4 {
        sweep(&mut world);
    }
    let audit = world.engine.info().audit;
    assert_eq!(
        (audit.replaced, audit.lacking, world.corrections.len()),
        (0, 0, 0)
    );
    let expected = world.expected();
    let lost = candle(START + 5).open_time;
    world.market.remove(&lost);
    sweep(&mut world);
    assert_eq!(world.engine.info().audit.lacking, 1);
    let series = world.engine.watched[&key()].series();
    assert!(series.history().iter().any(|known| known.open_time == lost));
    assert_eq!(world.status(), SeriesStatus::Live);
    assert_eq!(world.told()[..expected.len()], expected[..]);
}
