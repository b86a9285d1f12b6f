//! Holding known candles against REST: what differs is counted, taken in and corrected; what REST has no more is kept; and
//! all that is kept comes up in time.

use std::collections::BTreeSet;

use super::world::{CloseEvent, MINUTE, ORIGIN_MS, START, World, candle, key};
use crate::engine::{Event, FetchJob};
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
        let watched = world.engine.watched.get_mut(&key()).unwrap();
        let newest = watched.check_request(98, &world.now).unwrap();
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

/// An audit that is on its way, in a world that has changes to correct.
fn with_audit_under_way() -> (World, FetchJob) {
    let mut world = World::live();
    world.answer_audits();
    world.answer_samples();
    for _ in 0..24 {
        sweep(&mut world);
        world.answer_samples();
    }
    while world.audits.is_empty() {
        world.next_minute(CloseEvent::Comes);
        world.answer_all();
    }
    let audit = world.audits.remove(0);
    (world, audit)
}

/// Revises the candle three minutes before the last change that was told.
fn revise_under_last_change(world: &mut World) -> Candle {
    let (changed_at, ..) = *world.told().last().unwrap();
    let spike = revised((changed_at.ms() + 1 - ORIGIN_MS) / MINUTE - 4);
    world.market.insert(spike.open_time, spike);
    spike
}

#[test]
fn h19_an_older_answer_that_comes_after_a_newer_one_takes_nothing_back() {
    let (mut world, audit) = with_audit_under_way();
    let as_it_was = world.rows(&audit.request);
    let spike = revise_under_last_change(&mut world);
    world.close(spike);
    world.answer_all();
    assert_eq!(world.corrections.len(), 1);
    world.answer(audit.request, as_it_was);
    world.answer_all();
    assert_eq!(world.corrections.len(), 1, "not back and forth");
    assert_eq!(world.stands(), world.expected());
    for _ in 0..2 {
        sweep(&mut world);
    }
    assert_eq!(world.corrections.len(), 1);
    assert_eq!(world.stands(), world.expected());
}

#[test]
fn h19_the_older_answer_may_be_the_one_that_was_to_decide() {
    let (mut world, audit) = with_audit_under_way();
    let late = world.rows(&audit.request);
    world.answer(audit.request, late);
    world.answer_samples();
    let (changed_at, ..) = *world.told().last().unwrap();
    let minute = (changed_at.ms() + 1 - ORIGIN_MS) / MINUTE - 4;
    world.close(revised(minute));
    let decision = world.asked.remove(0).request;
    let as_it_was = world.rows(&decision);
    revise_under_last_change(&mut world);
    world.apply(Event::Refresh(key()));
    world.answer_all();
    assert_eq!(world.corrections.len(), 1);
    world.answer(decision, as_it_was);
    world.answer_all();
    assert_eq!(world.corrections.len(), 1);
    assert_eq!(world.stands(), world.expected());
}

#[test]
fn h19_an_answer_that_was_on_its_way_before_the_dispute_does_not_settle_it() {
    let (mut world, audit) = with_audit_under_way();
    let as_it_was = world.rows(&audit.request);
    world.next_minute(CloseEvent::Lost);
    world.wait_ms(2_500);
    let close = world.asked.remove(0).request; // holds up the decision
    let spike = revise_under_last_change(&mut world);
    world.close(spike);
    world.answer(audit.request, as_it_was);
    assert_eq!(world.corrections.len(), 0);
    let rows = world.rows(&close);
    world.answer(close, rows);
    world.answer_all();
    assert_eq!(world.corrections.len(), 1);
    assert_eq!(world.stands(), world.expected());
}
