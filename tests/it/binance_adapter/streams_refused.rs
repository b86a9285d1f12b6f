//! Subscriptions that the exchange refuses: they cost nobody else anything, are asked for again, and are never taken for
//! carried meanwhile.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hamacast::exchange::FeedEvent;
use hamacast::exchange::binance::Times;
use tokio_tungstenite::tungstenite::Message;

use super::client::{Client, closed_event};
use super::script::{Asked, Peer, StreamScript, read_request};
use super::{key, keys, times, within};

const BAD: &str = "xrpusdt@kline_1m";

impl Peer {
    /// Answers the next request: one that names `BAD` with an error.
    async fn answer_refusing(&mut self) -> (Asked, bool) {
        let asked = self.request().await;
        let is_bad = asked.names.iter().any(|name| name == BAD);
        if is_bad {
            self.refuse_request(&asked).await;
        } else {
            self.accept_request(&asked).await;
        }
        (asked, is_bad)
    }

    async fn refuse_request(&mut self, asked: &Asked) {
        let id = asked.id;
        self.say(&format!(
            r#"{{"error":{{"code":2,"msg":"Invalid request: unknown"}},"id":{id}}}"#
        ))
        .await;
    }

    /// Until `BAD` alone was asked for and refused.
    async fn refuse_bad_alone(&mut self) {
        loop {
            let (asked, is_bad) = self.answer_refusing().await;
            if is_bad && asked.names.len() == 1 {
                return;
            }
        }
    }
}

#[tokio::test]
async fn h12_a_refused_name_costs_neither_the_connection_nor_the_others_and_is_asked_for_again() {
    let server = StreamScript::start().await;
    let healing = Times {
        heal_every: Duration::from_millis(300),
        ..times()
    };
    let watched = keys(&["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"]);
    let mut client = Client::start_with(healing, &server, watched);
    let mut peer = server.accept().await;
    peer.refuse_bad_alone().await;
    let mut up = Vec::new();
    while up.len() < 3 {
        let (asked, is_bad) = tokio::select! {
            event = client.next() => {
                let FeedEvent::Up { keys, .. } = event else { panic!("an up expected, came {event:?}") };
                up.extend(keys.iter().cloned());
                continue;
            }
            answered = peer.answer_refusing() => answered,
        };
        assert!(!is_bad || asked.names.len() == 1, "{asked:?}");
    }
    assert!(!up.contains(&key("XRPUSDT")), "{up:?}");
    peer.say(&closed_event("BTCUSDT")).await;
    client.expect_close_of("BTCUSDT").await;
    let again = loop {
        let asked = peer.request().await;
        if asked.names == [BAD] {
            break asked;
        }
        peer.accept_request(&asked).await;
    };
    assert_eq!(again.method, "SUBSCRIBE");
    peer.accept_request(&again).await;
    assert_eq!(client.expect_up().await, [key("XRPUSDT")]);
    let counts = client.streams.counts();
    assert_eq!(counts.connects.load(Ordering::Relaxed), 1);
    assert_eq!(counts.losses.load(Ordering::Relaxed), 0);
}

/// The old connection carries all, the new one is refused one: that one is carried by nobody, and the engine knows.
#[tokio::test]
async fn h11_what_a_replacement_is_refused_is_told_as_left() {
    let server = StreamScript::start().await;
    let ageing = Times {
        rotate_after: Duration::from_millis(400),
        rotate_spread: Duration::ZERO,
        ..times()
    };
    let mut client = Client::start_with(ageing, &server, keys(&["BTCUSDT", "XRPUSDT"]));
    let _old = server.accept_subscribed().await;
    let (old_id, both) = client.expect_up_of().await;
    assert_eq!(both.len(), 2);
    let mut new = server.accept().await;
    new.refuse_bad_alone().await;
    new.say(&closed_event("BTCUSDT")).await; // subscribed or about to be: it delivers
    let delivering = async {
        loop {
            match new.frame().await {
                Message::Text(text) => {
                    let asked = read_request(&text);
                    new.accept_request(&asked).await;
                    new.say(&closed_event("BTCUSDT")).await;
                }
                Message::Ping(_) => new.say(&closed_event("BTCUSDT")).await,
                other => panic!("came {other:?}"),
            }
        }
    };
    let told = async {
        let mut told = Vec::new();
        while told.len() < 2 {
            match client.next().await {
                FeedEvent::Closed { .. } => {}
                word => told.push(word),
            }
        }
        told
    };
    let told = tokio::select! {
        told = within("an up and what has left", told) => told,
        () = delivering => unreachable!("it goes on for ever"),
    };
    let FeedEvent::Up { connection, keys } = &told[0] else {
        panic!("an up expected, came {told:?}");
    };
    assert!(
        *connection > old_id && **keys == [key("BTCUSDT")],
        "{told:?}"
    );
    let left = FeedEvent::Left {
        connection: old_id,
        keys: [key("XRPUSDT")].into(),
    };
    assert_eq!(told[1], left);
}

/// Three connections are wanted; the ban that the first meets is everybody's.
#[tokio::test]
async fn h30_a_ban_told_to_one_handshake_holds_every_connection_for_as_long_as_it_says() {
    for status in [418, 429] {
        let server = StreamScript::start().await;
        let names: Vec<_> = (0..450).map(|n| format!("N{n}USDT")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let mut client = Client::start(&server, keys(&names));
        server.refuse_with(status, "Retry-After: 1\r\n").await;
        let refused = Instant::now();
        let mut peers = Vec::new();
        while peers.len() < 3 {
            peers.push(server.accept_subscribed().await);
            let after = refused.elapsed();
            assert!(after >= Duration::from_millis(950), "{status}: {after:?}");
        }
        for _ in 0..3 {
            client.expect_up().await;
        }
        let counts = client.streams.counts();
        assert_eq!(
            counts.losses.load(Ordering::Relaxed),
            1,
            "the one who asked"
        );
    }
}
