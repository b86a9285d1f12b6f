//! What the queue promises.

use std::sync::Arc;

use super::*;
use crate::exchange::ConnectionId;
use crate::market::{Interval, OpenTime, Symbol};

const MINUTE_MS: i64 = 60_000;

fn key(name: &str) -> SeriesKey {
    SeriesKey::new(Symbol::parse(name).unwrap(), Interval::M1)
}

fn candle(minute: i64, close: f64) -> Candle {
    Candle {
        open_time: OpenTime::from_ms(minute * MINUTE_MS),
        open: 1.0,
        high: 9.0,
        low: 0.5,
        close,
        volume: 0.0,
    }
}

fn open(name: &str, minute: i64, close: f64) -> FeedEvent {
    FeedEvent::Open {
        key: key(name),
        candle: candle(minute, close),
        event_time: TimeMs::new(minute * MINUTE_MS + close as i64),
    }
}

fn closed(name: &str, minute: i64) -> FeedEvent {
    FeedEvent::Closed {
        key: key(name),
        candle: candle(minute, 2.0),
        event_time: TimeMs::new((minute + 1) * MINUTE_MS),
    }
}

fn up(number: u64) -> FeedEvent {
    FeedEvent::Up {
        connection: ConnectionId::new(number),
        keys: Arc::from([key("A")]),
    }
}

fn down(number: u64) -> FeedEvent {
    FeedEvent::Down {
        connection: ConnectionId::new(number),
        keys: Arc::from([key("A")]),
        reason: String::new(),
        code: Some(1008),
        silent_for: std::time::Duration::ZERO,
    }
}

#[tokio::test]
async fn one_open_candle_per_series_waits_and_the_newest_wins() {
    let (feed, mut queue) = feed_queue();
    assert_eq!(feed.offer(open("A", 1, 2.0)), Offered::Queued);
    assert_eq!(feed.offer(open("A", 1, 3.0)), Offered::Replaced);
    assert_eq!(feed.offer(open("A", 0, 4.0)), Offered::Outdated);
    assert_eq!(feed.offer(open("B", 0, 5.0)), Offered::Queued);
    let batch = queue.next_batch().await.unwrap();
    assert_eq!(batch, [open("A", 1, 3.0), open("B", 0, 5.0)]);
}

#[tokio::test]
async fn closed_candles_and_connections_come_first_and_in_order() {
    let (feed, mut queue) = feed_queue();
    let offered = [
        open("B", 7, 2.0),
        up(1),
        closed("A", 0),
        down(1),
        up(2),
        closed("A", 1),
    ];
    for event in offered.clone() {
        feed.offer(event);
    }
    let batch = queue.next_batch().await.unwrap();
    assert_eq!(batch[..5], offered[1..]);
    assert_eq!(batch[5], offered[0]);
}

#[tokio::test]
async fn a_close_takes_the_place_of_its_open_candle_but_not_of_a_newer_one() {
    let (feed, mut queue) = feed_queue();
    feed.offer(open("A", 1, 2.0));
    feed.offer(closed("A", 1));
    feed.offer(open("B", 2, 2.0));
    feed.offer(closed("B", 1));
    let batch = queue.next_batch().await.unwrap();
    assert_eq!(batch, [closed("A", 1), closed("B", 1), open("B", 2, 2.0)]);
}

#[tokio::test]
async fn nothing_of_a_lost_connection_is_read_after_its_down() {
    let (feed, mut queue) = feed_queue();
    feed.offer(open("A", 1, 2.0));
    feed.offer(down(1));
    assert_eq!(queue.next_batch().await.unwrap(), [down(1)]);
}

#[tokio::test]
async fn h34_a_close_that_finds_the_queue_full_marks_its_series() {
    let (feed, mut queue) = feed_queue();
    for minute in 0..CLOSED_MAX {
        assert_eq!(
            feed.offer(closed("A", i64::try_from(minute).unwrap())),
            Offered::Queued
        );
    }
    assert_eq!(feed.offer(closed("B", 0)), Offered::Refused);
    assert_eq!(feed.offer(closed("B", 1)), Offered::Refused);
    feed.offer(open("C", 0, 2.0));
    let batch = queue.next_batch().await.unwrap();
    assert_eq!(batch.len(), CLOSED_MAX + 2);
    let refused = FeedEvent::Refused { key: key("B") };
    assert_eq!(batch[CLOSED_MAX..], [refused, open("C", 0, 2.0)]);
    assert_eq!(feed.offer(closed("B", 2)), Offered::Queued, "room again");
}

#[tokio::test]
async fn h24_news_of_contracts_are_never_lost_and_never_more_than_one() {
    let (feed, mut queue) = feed_queue();
    let news = |status: &str| FeedEvent::Listing {
        symbol: "AUSDT".into(),
        status: status.into(),
    };
    for _ in 0..CLOSED_MAX {
        feed.offer(closed("A", 0));
    }
    assert_eq!(feed.offer(news("PENDING_TRADING")), Offered::Queued);
    assert_eq!(feed.offer(news("TRADING")), Offered::Replaced);
    feed.offer(open("A", 1, 2.0));
    let batch = queue.next_batch().await.unwrap();
    assert_eq!(batch[CLOSED_MAX..], [news("TRADING"), open("A", 1, 2.0)]);
}

#[tokio::test]
async fn h10_of_a_mute_series_the_last_word_waits() {
    let (feed, mut queue) = feed_queue();
    assert_eq!(
        feed.offer(FeedEvent::Mute { key: key("A") }),
        Offered::Queued
    );
    assert_eq!(
        feed.offer(FeedEvent::Mute { key: key("B") }),
        Offered::Queued
    );
    assert_eq!(
        feed.offer(FeedEvent::Heard { key: key("A") }),
        Offered::Replaced
    );
    let words = [
        FeedEvent::Heard { key: key("A") },
        FeedEvent::Mute { key: key("B") },
    ];
    assert_eq!(queue.next_batch().await.unwrap(), words);
}

#[tokio::test]
async fn an_up_can_be_refused_a_down_never_is() {
    let (feed, mut queue) = feed_queue();
    for _ in 0..LINKS_MAX {
        assert_eq!(feed.offer(up(1)), Offered::Queued);
    }
    assert_eq!(feed.offer(up(1)), Offered::Refused);
    assert_eq!(feed.offer(down(1)), Offered::Queued);
    assert_eq!(queue.next_batch().await.unwrap().len(), LINKS_MAX + 1);
    assert_eq!(feed.offer(up(1)), Offered::Queued);
}

#[tokio::test]
async fn the_queue_ends_when_all_senders_are_gone_and_it_is_empty() {
    let (feed, mut queue) = feed_queue();
    let second = feed.clone();
    feed.offer(closed("A", 0));
    drop(feed);
    assert_eq!(queue.next_batch().await.unwrap(), [closed("A", 0)]);
    let (ended, ()) = tokio::join!(queue.next_batch(), async { drop(second) });
    assert_eq!(ended, None);
}

#[tokio::test]
async fn a_waiting_reader_is_woken_and_a_gone_one_is_noticed() {
    let (feed, mut queue) = feed_queue();
    let (batch, offered) = tokio::join!(queue.next_batch(), async { feed.offer(up(1)) });
    assert_eq!((batch.unwrap().len(), offered), (1, Offered::Queued));
    drop(queue);
    assert_eq!(feed.offer(closed("A", 0)), Offered::Gone);
}
