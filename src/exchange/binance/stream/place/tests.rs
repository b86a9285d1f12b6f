//! What a place does with what its sockets report.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64};

use futures::FutureExt;

use super::*;
use crate::clock::ExchangeClock;
use crate::exchange::binance::stream::Host;
use crate::exchange::binance::stream::mute::Mute;
use crate::exchange::binance::url::stream_target;
use crate::exchange::binance::{Times, tls};
use crate::exchange::refusal::Served;
use crate::exchange::way::Way;
use crate::exchange::{FeedQueue, Side, StreamCounts, feed_queue};
use crate::market::{Interval, Symbol};

fn place() -> Place {
    place_and_feed().0
}

fn place_and_feed() -> (Place, FeedQueue) {
    let (feed, queue) = feed_queue();
    let (counts, times) = (Arc::new(StreamCounts::default()), Times::default());
    let setup = Setup {
        host: Arc::new(Host {
            target: stream_target("ws://127.0.0.1:9").unwrap(),
            way: Arc::new(Way::Straight),
            served: Served::new(Side::Streams, "127.0.0.1".to_owned(), times.after_refusal),
            quiet: Served::new(Side::Streams, "127.0.0.1".to_owned(), times.after_refusal),
            tls: Arc::new(tls::client_config().unwrap()),
        }),
        times,
        clock: ExchangeClock::from_wall(),
        feed,
        counts: Arc::clone(&counts),
        mute: Mute::new(counts),
        deafness_told: AtomicBool::new(false),
        has_heard: AtomicBool::new(false),
        last_id: AtomicU64::new(0),
        next_connect: Mutex::default(),
    };
    let (_part, its_part) = watch::channel(Names::default());
    let place = Place::new(Arc::new(setup), Tasks::new(), its_part);
    (place, queue)
}

fn life(number: u64, role: Role) -> Life {
    Life {
        id: ConnectionId::new(number),
        role: watch::channel(role).0,
        age: Age {
            ms: 0.0,
            limit_ms: 1_000.0,
            seen: Mono::default(),
        },
    }
}

fn closed(code: u16) -> Lost {
    Lost::Closed {
        code: Some(code),
        reason: String::new(),
    }
}

fn lost(why: Lost, delivered: bool) -> News {
    News::Ended(End::Lost {
        why,
        delivered,
        untold: Arc::default(),
    })
}

/// Loses the carrier at 0; returns after how many ms the next is opened.
fn lose(place: &mut Place, why: Lost, delivered: bool) -> u64 {
    place.carrier = Some(life(1, Role::Carrying));
    let ended = lost(why, delivered);
    let go_on = place.hear(ConnectionId::new(1), ended, Mono::default());
    assert!(go_on.is_continue() && place.carrier.is_none());
    match place.opening {
        Opening::After(at) => at.ms(),
        Opening::No | Opening::Turn(_) => panic!("another must follow"),
    }
}

#[test]
fn h12_waits_grow_until_a_candle_comes_whatever_the_end() {
    let mut place = place();
    let ends = [1000, 1001, 1006, 1011, 1012];
    let waits: Vec<_> = (0..20)
        .map(|turn| lose(&mut place, closed(ends[turn % 5]), false))
        .collect();
    assert!((500..=1_000).contains(&waits[0]), "{waits:?}");
    assert!(
        waits[10..]
            .iter()
            .all(|wait| (15_000..=30_000).contains(wait)),
        "{waits:?}"
    );
    let wait = lose(&mut place, closed(1001), true);
    assert!(wait <= 1_000, "after a candle it is {wait}");
}

#[test]
fn h12_who_breaks_a_rule_again_and_again_slows_down_even_if_it_delivers() {
    let mut place = place();
    let waits: Vec<_> = (0..7)
        .map(|_| lose(&mut place, closed(1008), true))
        .collect();
    assert_eq!(
        waits,
        [10_000, 20_000, 40_000, 80_000, 160_000, 320_000, 320_000]
    );
    lose(&mut place, closed(1001), true);
    assert_eq!(lose(&mut place, closed(1008), true), 10_000);
}

#[test]
fn h08_the_next_is_listened_to_for_longer_until_one_delivers() {
    let mut place = place();
    for deaf in [1, 2, 3, 4, 4] {
        lose(&mut place, Lost::Deaf(Duration::from_secs(30)), false);
        assert_eq!(place.deaf, deaf);
    }
    lose(&mut place, Lost::Silent(Duration::from_secs(30)), true);
    assert_eq!(place.deaf, 0);
}

#[test]
fn h11_a_replacement_that_fails_is_tried_again_and_the_old_one_stays() {
    let mut place = place();
    place.carrier = Some(life(1, Role::Carrying));
    place.successor = Some(life(2, Role::Proving));
    let ended = lost(closed(1011), false);
    let go_on = place.hear(ConnectionId::new(2), ended, Mono::default());
    assert!(go_on.is_continue() && place.carrier.is_some() && place.successor.is_none());
    assert!(matches!(place.opening, Opening::After(at) if at.ms() >= 500));
    let of_nobody = News::Ended(End::Finished);
    let go_on = place.hear(ConnectionId::new(2), of_nobody, Mono::default());
    assert!(go_on.is_continue(), "the end of one that is no longer ours");
}

#[test]
fn h11_the_successor_takes_over_and_late_words_of_the_old_one_change_nothing() {
    let mut place = place();
    let (old, new) = (life(1, Role::Carrying), life(2, Role::Proving));
    let roles = (old.role.subscribe(), new.role.subscribe());
    (place.opening, place.carrier, place.successor) = (Opening::No, Some(old), Some(new));
    let _ = place.hear(ConnectionId::new(2), News::Ready, Mono::default());
    assert_eq!(
        (*roles.0.borrow(), *roles.1.borrow()),
        (Role::Retired, Role::Carrying)
    );
    let late = lost(closed(1001), true);
    let _ = place.hear(ConnectionId::new(1), late, Mono::default());
    let _ = place.hear(
        ConnectionId::new(1),
        News::Replace(Why::Mute),
        Mono::default(),
    );
    assert!(place.carrier.is_some() && place.opening == Opening::No);
    let shutdown = News::Replace(Why::Shutdown);
    let _ = place.hear(ConnectionId::new(2), shutdown, Mono::default());
    assert!(
        matches!(place.opening, Opening::After(at) if at.ms() == 30_000),
        "one replacement does not follow on the heels of another"
    );
}

#[test]
fn h10_healing_that_does_not_help_becomes_rare() {
    let mut place = place();
    let mut now = Mono::from_ms(100_000);
    let mut pauses = Vec::new();
    for _ in 0..7 {
        place.put_healing_off(now);
        pauses.push(place.heal_at.ms_since(now) / 60_000);
        now = place.heal_at.plus_ms(90_000);
    }
    assert_eq!(pauses, [5, 10, 20, 40, 80, 80, 80]);
    place.put_healing_off(now.plus_ms(6 * 3_600_000));
    assert_eq!(place.heal_pause, 1, "a new trouble");
}

#[test]
fn h11_age_is_added_up_at_the_exchanges_speed() {
    let mut age = life(1, Role::Carrying).age;
    assert!(!age.is_reached(Mono::from_ms(10), 1.0));
    assert!(!age.is_reached(Mono::from_ms(11), 600.0));
    assert!(age.is_reached(Mono::from_ms(12), 600.0));
}

#[test]
fn h11_the_loss_of_one_that_died_while_it_took_over_is_told() {
    let (mut place, mut feed) = place_and_feed();
    place.carrier = Some(life(1, Role::Carrying));
    place.successor = Some(life(2, Role::Proving));
    let _ = place.hear(ConnectionId::new(2), News::Ready, Mono::default());
    let key = SeriesKey::new(Symbol::parse("BTCUSDT").unwrap(), Interval::M1);
    let keys: Arc<[SeriesKey]> = [key].into();
    let died = News::Ended(End::Lost {
        why: closed(1011),
        delivered: true,
        untold: Arc::clone(&keys),
    });
    let _ = place.hear(ConnectionId::new(2), died, Mono::default());
    let connection = ConnectionId::new(2);
    let told = feed.next_batch().now_or_never().flatten();
    let told = told.expect("something is told");
    let up = FeedEvent::Up {
        connection,
        keys: Arc::clone(&keys),
    };
    assert_eq!(told[0], up);
    assert!(
        matches!(&told[1], FeedEvent::Down { connection: of, keys: lost, code: Some(1011), .. } if *of == connection && *lost == keys),
        "{told:?}"
    );
    assert!(place.carrier.is_none() && matches!(place.opening, Opening::After(_)));
}

#[test]
fn a_try_that_is_held_back_is_no_loss() {
    let mut place = place();
    let again_in = Duration::from_secs(7);
    let (status, losses) = (451, |place: &Place| {
        place.setup.counts.losses.load(Ordering::Relaxed)
    });
    let wait = lose(&mut place, Lost::Held { status, again_in }, false);
    assert!(wait >= 7_000 && losses(&place) == 0, "{wait}");
    lose(&mut place, Lost::NotServed { status, again_in }, false);
    assert_eq!(losses(&place), 1);
}

#[test]
fn connections_are_opened_one_after_the_other_a_second_apart() {
    let place = place();
    let turn = |ms| place.setup.connect_turn(Mono::from_ms(ms)).as_millis();
    assert_eq!([turn(10), turn(10), turn(510)], [0, 1_000, 1_500]);
    assert_eq!(turn(60_000), 0);
}
