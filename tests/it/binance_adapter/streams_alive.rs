//! Streams that stay alive: replaced before they are cut, watched series by series, brought back after every end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use hamacast::clock::Mono;
use hamacast::exchange::FeedEvent;
use hamacast::exchange::binance::Times;
use tokio_tungstenite::tungstenite::Message;

use super::client::{Client, closed_event, event};
use super::script::{Peer, StreamScript, read_request};
use super::{NOW, OPEN_MS, key, keys, times, within};

/// Connections are replaced after this long.
const AGE: Duration = Duration::from_millis(400);

fn ageing() -> Times {
    Times {
        rotate_after: AGE,
        rotate_spread: Duration::ZERO,
        ..times()
    }
}

/// The next event that is no candle.
async fn next_word(client: &mut Client) -> FeedEvent {
    loop {
        match client.next().await {
            FeedEvent::Open { .. } | FeedEvent::Closed { .. } => {}
            word => return word,
        }
    }
}

/// The numbered minute's close.
fn close_number(name: &str, minute: i64) -> String {
    event(name, OPEN_MS + minute * 60_000, NOW.ms() + minute, true)
}

/// Waits for the end of `peer`'s connection; tells whether it was closed in good order.
async fn is_closed_normally(peer: &mut Peer) -> bool {
    loop {
        match peer.frame().await {
            Message::Close(frame) => {
                return frame.is_some_and(|frame| u16::from(frame.code) == 1000);
            }
            Message::Ping(_) => {}
            other => panic!("an end expected, came {other:?}"),
        }
    }
}

#[tokio::test]
async fn h11_an_old_connection_is_replaced_without_a_moment_uncovered() {
    let server = StreamScript::start().await;
    let mut client = Client::start_with(ageing(), &server, keys(&["BTCUSDT", "ETHUSDT"]));
    let mut old = server.accept_subscribed().await;
    let (first, _) = client.expect_up_of().await;
    old.say(&closed_event("BTCUSDT")).await;
    client.expect_close_of("BTCUSDT").await;
    let mut new = server.accept().await;
    let asked = new.acknowledge().await;
    assert_eq!(asked.names.len(), 3, "all names at once");
    old.say(&closed_event("ETHUSDT")).await; // the old one still carries
    client.expect_close_of("ETHUSDT").await;
    new.say(&closed_event("ETHUSDT")).await; // both deliver: the commit sorts it out (hazard 16)
    client.expect_close_of("ETHUSDT").await;
    new.say(&closed_event("BTCUSDT")).await;
    client.expect_close_of("BTCUSDT").await;
    let (second, moved) = client.expect_up_of().await;
    assert!(second > first && moved.len() == 2, "{second} {moved:?}");
    assert!(is_closed_normally(&mut old).await);
    new.say(&close_number("BTCUSDT", 1)).await;
    client.expect_close_of("BTCUSDT").await; // and no `Down` before it
    let counts = client.streams.counts();
    assert_eq!(counts.rotations.load(Ordering::Relaxed), 1);
    assert_eq!(counts.losses.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn h11_a_replacement_that_delivers_nothing_never_takes_over() {
    let server = StreamScript::start().await;
    let hasty = Times {
        silence: Duration::from_millis(600),
        ..ageing()
    };
    let mut client = Client::start_with(hasty, &server, keys(&["BTCUSDT"]));
    let mut old = server.accept_subscribed().await;
    let (first, _) = client.expect_up_of().await;
    old.say(&close_number("BTCUSDT", 1)).await;
    client.expect_close_of("BTCUSDT").await;
    let replacements = async {
        for _ in 0..2 {
            let mut silent = server.accept_subscribed().await; // it answers pings, and that is all
            until_given_up(&mut silent).await;
        }
        let mut refused = server.accept().await;
        refused.request().await;
        refused.close(1008, "as scripted").await;
        let mut new = server.accept_subscribed().await;
        new.say(&close_number("BTCUSDT", 2)).await;
        new
    };
    let _new = while_answering(&mut old, replacements).await;
    client.expect_close_of("BTCUSDT").await;
    let (last, _) = client.expect_up_of().await; // and no `Down` at any time
    assert!(last > first);
    assert!(is_closed_normally(&mut old).await);
}

/// Does `work` while `peer` answers the client's pings, which it does as long as it is read.
async fn while_answering<T>(peer: &mut Peer, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            frame = peer.frame() => assert!(frame.is_ping(), "a ping expected, came {frame:?}"),
        }
    }
}

/// Reads until the client is gone.
async fn until_given_up(peer: &mut Peer) {
    let gone = async { while let Some(Message::Ping(_)) = peer.frame_or_end().await {} };
    within("the end of a silent connection", gone).await;
}

#[tokio::test]
async fn h11_when_the_old_connection_dies_meanwhile_the_new_one_carries_at_once() {
    let server = StreamScript::start().await;
    let mut client = Client::start_with(ageing(), &server, keys(&["BTCUSDT"]));
    let old = server.accept_subscribed().await;
    let (first, _) = client.expect_up_of().await;
    let mut new = server.accept_subscribed().await;
    old.close(1001, "cut").await;
    assert_eq!(client.expect_down().await.1, Some(1001));
    let (second, moved) = client.expect_up_of().await;
    assert!(second > first && moved == [key("BTCUSDT")]);
    new.say(&closed_event("BTCUSDT")).await;
    client.expect_close_of("BTCUSDT").await;
    let counts = client.streams.counts();
    assert_eq!(counts.connects.load(Ordering::Relaxed), 2);
    assert_eq!(counts.losses_by_code()[&Some(1001)], 1);
}

#[tokio::test]
async fn h11_an_announced_shutdown_is_not_waited_for() {
    let server = StreamScript::start().await;
    let mut client = Client::start(&server, keys(&["BTCUSDT"]));
    let mut old = server.accept_subscribed().await;
    client.expect_up().await;
    old.say(r#"{"e":"serverShutdown","E":1791383650000}"#).await;
    let mut new = server.accept_subscribed().await;
    new.say(&closed_event("BTCUSDT")).await;
    client.expect_close_of("BTCUSDT").await;
    client.expect_up().await;
    assert!(is_closed_normally(&mut old).await);
    assert_eq!(client.streams.counts().bad(), 0);
}

/// An exchange whose day takes 144 s: 23 of its hours are 138 s, so a second of ours is ten of its minutes.
#[tokio::test]
async fn h11_age_is_counted_in_the_exchanges_time() {
    let server = StreamScript::start().await;
    let day = Times {
        rotate_after: Duration::from_secs(240),
        rotate_spread: Duration::from_secs(60),
        ..times()
    };
    let mut client = Client::start_with(day, &server, keys(&["BTCUSDT"]));
    client.clock.set(NOW, 600.0, Duration::ZERO);
    let _old = server.accept_subscribed().await;
    client.expect_up().await;
    let mut new = server.accept_subscribed().await; // 0.4 s later, not 240
    new.say(&event("BTCUSDT", OPEN_MS - 60_000, NOW.ms(), true))
        .await;
    client.expect_close_of("BTCUSDT").await;
    client.expect_up().await;
}

/// One of three series never delivers: it is told, subscribed anew, and at last the connection is moved.
#[tokio::test]
async fn h07_a_series_that_never_delivers_is_told_subscribed_anew_and_then_moved() {
    let server = StreamScript::start().await;
    let hasty = Times {
        silence: Duration::from_millis(600),
        ..times()
    };
    let mut client = Client::start_with(hasty, &server, keys(&["BTCUSDT", "ETHUSDT", "XRPUSDT"]));
    let mut old = server.accept_subscribed().await;
    client.expect_up().await;
    let mut delivering = Delivering::default();
    let mute = FeedEvent::Mute {
        key: key("XRPUSDT"),
    };
    let left = delivering.until_request(&mut old).await;
    assert_eq!(
        left,
        (
            "UNSUBSCRIBE".to_owned(),
            vec!["xrpusdt@kline_1m".to_owned()]
        )
    );
    assert_eq!(next_word(&mut client).await, mute);
    let joined = delivering.until_request(&mut old).await;
    assert_eq!(
        joined,
        ("SUBSCRIBE".to_owned(), vec!["xrpusdt@kline_1m".to_owned()])
    );
    assert!(matches!(next_word(&mut client).await, FeedEvent::Up { .. }));
    let moved = async {
        let mut new = server.accept_subscribed().await;
        for name in ["BTCUSDT", "ETHUSDT", "XRPUSDT"] {
            new.say(&closed_event(name)).await;
        }
        new
    };
    let _new = tokio::select! {
        new = moved => new,
        asked = delivering.until_request(&mut old) => panic!("nothing more to ask, came {asked:?}"),
    };
    let words = [next_word(&mut client).await, next_word(&mut client).await];
    let heard = FeedEvent::Heard {
        key: key("XRPUSDT"),
    };
    assert!(words.contains(&heard), "{words:?}");
    let is_up = |word: &FeedEvent| matches!(word, FeedEvent::Up { .. });
    assert!(words.iter().any(is_up), "{words:?}");
    let counts = client.streams.counts();
    assert_eq!(counts.mutes.load(Ordering::Relaxed), 1);
    assert_eq!(counts.mute.load(Ordering::Relaxed), 0);
    assert_eq!(counts.rotations.load(Ordering::Relaxed), 1);
    assert_eq!(counts.losses.load(Ordering::Relaxed), 0);
}

/// Two series go on, at each ping of the client.
#[derive(Default)]
struct Delivering {
    minute: i64,
}

impl Delivering {
    /// Delivers until the client asks for something, which is acknowledged.
    async fn until_request(&mut self, peer: &mut Peer) -> (String, Vec<String>) {
        within("a request", self.deliver_until_request(peer)).await
    }

    async fn deliver_until_request(&mut self, peer: &mut Peer) -> (String, Vec<String>) {
        loop {
            match peer.frame().await {
                Message::Ping(_) => {
                    self.minute += 1;
                    peer.say(&close_number("BTCUSDT", self.minute)).await;
                    peer.say(&close_number("ETHUSDT", self.minute)).await;
                }
                Message::Text(text) => {
                    let asked = read_request(&text);
                    peer.accept_request(&asked).await;
                    return (asked.method, asked.names);
                }
                other => panic!("came {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn h10_one_of_many_busy_series_that_falls_silent_is_told_and_comes_back() {
    let server = StreamScript::start().await;
    let hasty = Times {
        silence: Duration::from_millis(600),
        ..times()
    };
    let names: Vec<_> = ["AUSDT", "BTCUSDT", "ETHUSDT"].map(key).into();
    let mut client = Client::start_with(hasty, &server, names.into_iter().collect());
    let mut peer = server.accept_subscribed().await;
    client.expect_up().await;
    for number in 0..120 {
        peer.say(&event("AUSDT", OPEN_MS, NOW.ms() + number, false))
            .await; // a busy habit
    }
    let mut delivering = Delivering::default();
    delivering.until_request(&mut peer).await;
    let told = FeedEvent::Mute { key: key("AUSDT") };
    assert_eq!(next_word(&mut client).await, told);
    peer.say(&closed_event("AUSDT")).await;
    let told = FeedEvent::Heard { key: key("AUSDT") };
    assert_eq!(next_word(&mut client).await, told);
}

#[tokio::test]
async fn h08_a_path_that_acknowledges_and_never_delivers_is_left_and_tried_again() {
    let server = StreamScript::start().await;
    let hasty = Times {
        silence: Duration::from_millis(300),
        ..times()
    };
    let mut client = Client::start_with(hasty, &server, keys(&["BTCUSDT"]));
    let mut dead = server.accept_subscribed().await;
    client.expect_up().await;
    until_given_up(&mut dead).await;
    let (reason, _) = client.expect_down().await;
    assert!(reason.contains("acknowledged, but no candle"), "{reason}");
    let mut good = server.accept_subscribed().await;
    client.expect_up().await;
    good.say(&closed_event("BTCUSDT")).await;
    client.expect_close_of("BTCUSDT").await;
}

/// How a connection ends, as the exchange does it.
enum Ending {
    Close(u16),
    CloseWithoutCode,
    Vanish,
    Handshake(u16),
}

#[tokio::test]
async fn h12_every_end_of_a_connection_is_followed_by_another() {
    let server = StreamScript::start().await;
    let mut client = Client::start(&server, keys(&["BTCUSDT"]));
    let codes = [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013, 3000, 4001,
    ];
    let statuses = [200, 301, 403, 418, 429, 451, 500, 503];
    let endings = codes
        .map(Ending::Close)
        .into_iter()
        .chain([Ending::CloseWithoutCode, Ending::Vanish])
        .chain(statuses.map(Ending::Handshake));
    let mut lost = 0;
    for ending in endings {
        lost += 1;
        end_in(&server, &mut client, &ending).await;
    }
    let mut peer = server.accept_subscribed().await;
    client.expect_up().await;
    peer.say(&closed_event("BTCUSDT")).await;
    client.expect_close_of("BTCUSDT").await;
    let counts = client.streams.counts();
    assert_eq!(counts.losses.load(Ordering::Relaxed), lost);
    let by_code = counts.losses_by_code();
    for code in codes {
        assert_eq!(by_code.get(&Some(code)), Some(&1), "{code}: {by_code:?}");
    }
    assert_eq!(by_code[&None], 2 + statuses.len() as u64);
}

async fn end_in(server: &StreamScript, client: &mut Client, ending: &Ending) {
    if let Ending::Handshake(status) = ending {
        return server.refuse(*status).await;
    }
    let mut peer = server.accept_subscribed().await;
    client.expect_up().await;
    let code = match ending {
        Ending::Close(code) => {
            peer.close(*code, "as scripted").await;
            Some(*code)
        }
        Ending::CloseWithoutCode => {
            peer.say_frame(Message::Close(None)).await;
            None
        }
        Ending::Vanish | Ending::Handshake(_) => {
            drop(peer);
            None
        }
    };
    assert_eq!(client.expect_down().await.1, code);
}

/// Measured from before the first message, so that a slow machine cannot make it shorter.
#[tokio::test]
async fn h13_changes_of_the_set_do_not_come_in_bursts() {
    let server = StreamScript::start().await;
    let paced = Times {
        message_gap: Duration::from_millis(100),
        ping_every: Duration::from_secs(3),
        ..times()
    };
    let begun = Mono::now();
    let mut client = Client::start_with(paced, &server, keys(&["BTCUSDT"]));
    let mut peer = server.accept_subscribed().await;
    client.expect_up().await;
    let sets: [&[&str]; 2] = [&["BTCUSDT", "ETHUSDT"], &["BTCUSDT"]];
    for turn in 0..6 {
        client.streams.set(keys(sets[turn % 2]));
        peer.acknowledge().await;
    }
    assert!(Mono::now().ms_since(begun) > 590);
}

/// As above, of pings and requests together: as fast as they are asked for, no two come at once.
#[tokio::test]
async fn h13_pings_and_requests_keep_their_distance_from_each_other() {
    let server = StreamScript::start().await;
    let paced = Times {
        message_gap: Duration::from_millis(100),
        ping_every: Duration::from_millis(150),
        ..times()
    };
    let begun = Mono::now();
    let client = Client::start_with(paced, &server, keys(&["BTCUSDT"]));
    let mut peer = server.accept().await;
    let sets: [&[&str]; 2] = [&["BTCUSDT", "ETHUSDT"], &["BTCUSDT"]];
    let (mut pings, mut requests) = (0, 0);
    while pings + requests < 14 {
        match peer.frame().await {
            Message::Ping(_) => pings += 1,
            Message::Text(text) => {
                peer.accept_request(&read_request(&text)).await;
                client.streams.set(keys(sets[requests % 2]));
                requests += 1;
            }
            other => panic!("came {other:?}"),
        }
    }
    let took_ms = Mono::now().ms_since(begun);
    assert!(
        pings > 2 && requests > 2,
        "{pings} pings, {requests} requests"
    );
    assert!(took_ms >= 1_290, "{pings} and {requests} in {took_ms} ms");
}

#[tokio::test]
async fn h14_a_replacement_carries_no_more_than_two_hundred_names() {
    let server = StreamScript::start().await;
    let patient = Times {
        silence: Duration::from_secs(60), // none is lost: the third and the fourth are replacements
        ..ageing()
    };
    let series = (0..250).map(|n| key(&format!("S{n}USDT")));
    let _client = Client::start_with(patient, &server, series.collect());
    let (mut sizes, mut peers) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let mut peer = server.accept().await;
        sizes.push(peer.acknowledge().await.names.len());
        peers.push(peer);
    }
    sizes.sort_unstable();
    assert_eq!(sizes, [51, 51, 200, 200], "two, and what replaces them");
}
