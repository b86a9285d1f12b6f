//! Streams: what is delivered, what is dropped, and how connections are kept.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hamacast::exchange::binance::{Binance, BinanceSettings, Times};
use hamacast::exchange::{Advice, FeedEvent};
use hamacast::market::TimeMs;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::client::{Client, closed_event, event};
use super::script::StreamScript;
use super::{NOW, OPEN_MS, clock, key, keys, times, within};

#[tokio::test]
async fn h08_a_subscribed_series_delivers_open_and_closed_candles_from_below_market() {
    let server = StreamScript::start().await;
    let mut client = Client::start(&server, keys(&["BTCUSDT", "币安人生USDT"]));
    let mut peer = server.accept().await;
    assert_eq!(peer.path, "/market/stream");
    let asked = peer.acknowledge().await;
    assert_eq!(asked.method, "SUBSCRIBE");
    let names = ["!contractInfo", "btcusdt@kline_1m", "币安人生usdt@kline_1m"];
    assert_eq!(asked.names, names);
    assert_eq!(client.expect_up().await.len(), 2);
    peer.say(&event("BTCUSDT", OPEN_MS, NOW.ms(), false)).await;
    let FeedEvent::Open {
        key: of,
        candle,
        event_time,
    } = client.next().await
    else {
        panic!("an open candle");
    };
    assert_eq!((of, event_time), (key("BTCUSDT"), NOW));
    assert_eq!((candle.open_time.ms(), candle.close), (OPEN_MS, 83_142.9));
    peer.say(&closed_event("币安人生USDT")).await;
    client.expect_close_of("币安人生USDT").await;
}

#[tokio::test]
async fn h24_news_of_contracts_are_told_and_those_of_another_market_are_not() {
    let server = StreamScript::start().await;
    let mut client = Client::start(&server, keys(&["BTCUSDT"]));
    let mut peer = server.accept_subscribed().await;
    client.expect_up().await;
    let news = r#"{"stream":"!contractInfo","data":{"e":"contractInfo","E":1791383650000,"s":"IOTAUSDT","ct":"PERPETUAL","dt":4133404800000,"ot":1569398400000,"cs":"SETTLING","st":1}}"#;
    peer.say(&news.replace(r#""st":1"#, r#""st":2"#)).await;
    peer.say(&closed_event("BTCUSDT")).await;
    client.expect_close_of("BTCUSDT").await;
    peer.say(news).await;
    let told = FeedEvent::Listing {
        symbol: "IOTAUSDT".into(),
        status: "SETTLING".into(),
    };
    assert_eq!(client.next().await, told);
    assert_eq!(client.streams.counts().bad(), 0);
}

#[tokio::test]
async fn h12_every_close_is_followed_by_another_connection() {
    let server = StreamScript::start().await;
    let mut client = Client::start(&server, keys(&["BTCUSDT"]));
    for code in [1000, 1001, 1008, 1011, 1012] {
        let mut peer = server.accept_subscribed().await;
        client.expect_up().await;
        peer.say(&closed_event("BTCUSDT")).await;
        client.expect_close_of("BTCUSDT").await;
        peer.close(code, "as scripted").await;
        let (reason, told) = client.expect_down().await;
        assert_eq!(told, Some(code));
        assert!(reason.contains("as scripted"), "{reason}");
    }
    let peer = server.accept_subscribed().await;
    client.expect_up().await;
    drop(peer); // no closing frame at all
    assert_eq!(client.expect_down().await.1, None);
    let _peer = server.accept_subscribed().await;
    client.expect_up().await;
    let losses = client.streams.counts().losses.load(Ordering::Relaxed);
    assert_eq!(losses, 6);
}

#[tokio::test]
async fn h09_a_connection_without_any_frame_is_dead() {
    let server = StreamScript::start().await;
    let hasty = Times {
        silence: Duration::from_millis(300),
        ..times()
    };
    let mut client = Client::start_with(hasty, &server, keys(&["BTCUSDT"]));
    let _half_open = server.accept_subscribed().await; // nobody answers its pings
    client.expect_up().await;
    let (reason, _) = client.expect_down().await;
    assert!(reason.contains("no frame of any kind"), "{reason}");
    let _peer = server.accept_subscribed().await;
    client.expect_up().await;
}

#[tokio::test]
async fn a_quiet_market_with_answered_pings_is_no_dead_connection() {
    let server = StreamScript::start().await;
    let hasty = Times {
        ping_every: Duration::from_millis(300),
        silence: Duration::from_secs(2),
        ..times()
    };
    let mut client = Client::start_with(hasty, &server, keys(&["BTCUSDT"]));
    let mut peer = server.accept_subscribed().await;
    client.expect_up().await;
    peer.say(&event("BTCUSDT", OPEN_MS, NOW.ms(), false)).await;
    assert!(matches!(client.next().await, FeedEvent::Open { .. }));
    let mut pings = 0;
    while pings < 8 {
        pings += u32::from(matches!(peer.frame().await, Message::Ping(_)));
    }
    peer.say(&closed_event("BTCUSDT")).await;
    client.expect_close_of("BTCUSDT").await;
}

#[tokio::test]
async fn an_unanswered_or_refused_subscription_is_tried_on_a_new_connection() {
    let server = StreamScript::start().await;
    let hasty = Times {
        ack: Duration::from_millis(300),
        silence: Duration::from_secs(60),
        ..times()
    };
    let mut client = Client::start_with(hasty, &server, keys(&["BTCUSDT"]));
    server.refuse(451).await;
    let mut mute = server.accept().await;
    mute.request().await;
    mute.say_frame(Message::Ping(Bytes::new())).await;
    let mut refusing = server.accept().await;
    refusing.request().await;
    let refusal = r#"{"error":{"code":2,"msg":"Invalid request"},"id":1}"#;
    refusing.say(refusal).await;
    let _peer = server.accept_subscribed().await;
    assert_eq!(client.expect_up().await, [key("BTCUSDT")]);
    let losses = client.streams.counts().losses.load(Ordering::Relaxed);
    assert_eq!(losses, 3);
}

#[tokio::test]
async fn h23_bad_events_are_counted_and_dropped_and_the_stream_goes_on() {
    let server = StreamScript::start().await;
    let mut client = Client::start(&server, keys(&["BTCUSDT", "ETHUSDT"]));
    let mut peer = server.accept_subscribed().await;
    client.expect_up().await;
    let good = closed_event("BTCUSDT");
    let bad = [
        closed_event("XRPUSDT"),
        good.replacen("btcusdt", "ethusdt", 1),
        good.replace(r#""i":"1m""#, r#""i":"5m""#),
        good.replace(r#""e":"kline""#, r#""e":"other""#),
        event("BTCUSDT", OPEN_MS - 60_001, OPEN_MS, true),
        good.replace(&(OPEN_MS - 1).to_string(), &OPEN_MS.to_string()),
        good.replace("83070.70", "inf"),
        good.replace("83070.70", "0"),
        good.replace("83143.00", "83000"),
        good.replace("\"86.568\"", "86.568"),
        good[..good.len() - 1].to_owned(),
        "nonsense".to_owned(),
    ];
    for text in &bad {
        peer.say(text).await;
    }
    peer.say_frame(Message::binary(vec![0_u8, 255])).await;
    peer.say(&good).await;
    client.expect_close_of("BTCUSDT").await;
    let counts = client.streams.counts();
    let count = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
    let by_kind = [
        &counts.foreign,
        &counts.off_grid,
        &counts.impossible,
        &counts.unreadable,
    ];
    assert_eq!(by_kind.map(count), [4, 2, 3, 4]);
    assert_eq!((counts.bad(), count(&counts.events)), (13, 1));
}

#[tokio::test]
async fn series_come_and_go_on_a_living_connection() {
    let server = StreamScript::start().await;
    let mut client = Client::start(&server, keys(&["BTCUSDT", "ETHUSDT"]));
    let mut peer = server.accept_subscribed().await;
    client.expect_up().await;
    client.streams.set(keys(&["BTCUSDT", "XRPUSDT"]));
    let left = peer.acknowledge().await;
    assert_eq!(
        (left.method.as_str(), left.names),
        ("UNSUBSCRIBE", vec!["ethusdt@kline_1m".to_owned()])
    );
    let joined = peer.acknowledge().await;
    assert_eq!(
        (joined.method.as_str(), joined.names),
        ("SUBSCRIBE", vec!["xrpusdt@kline_1m".to_owned()])
    );
    assert_eq!(client.expect_left().await, [key("ETHUSDT")]);
    assert_eq!(client.expect_up().await, [key("XRPUSDT")]);
    peer.say(&closed_event("ETHUSDT")).await; // given up: no longer ours
    peer.say(&closed_event("XRPUSDT")).await;
    client.expect_close_of("XRPUSDT").await;
    client.streams.set(BTreeSet::new());
    loop {
        match peer.frame().await {
            Message::Close(frame) => {
                assert_eq!(u16::from(frame.unwrap().code), 1000);
                break;
            }
            other => assert!(other.is_ping(), "{other:?}"),
        }
    }
    let all = [key("BTCUSDT"), key("XRPUSDT")];
    assert_eq!(client.expect_left().await, all, "with its connection");
    client.streams.set(keys(&["ETHUSDT"]));
    let _peer = server.accept_subscribed().await;
    assert_eq!(client.expect_up().await, [key("ETHUSDT")]);
}

#[tokio::test]
async fn h14_many_series_are_divided_over_connections_of_two_hundred() {
    let server = StreamScript::start().await;
    let names: Vec<_> = (0..450).map(|n| format!("S{n}USDT")).collect();
    let watched: BTreeSet<_> = names.iter().map(|name| key(name)).collect();
    let mut client = Client::start(&server, watched.clone());
    let mut up = BTreeSet::new();
    let mut sizes = Vec::new();
    let mut peers = Vec::new();
    for _ in 0..3 {
        let mut peer = server.accept().await;
        sizes.push(peer.acknowledge().await.names.len());
        peers.push(peer);
        up.extend(client.expect_up().await);
    }
    sizes.sort_unstable();
    assert_eq!(sizes, [51, 200, 200], "news of contracts are a name too");
    assert_eq!(up, watched);
}

#[tokio::test]
async fn at_the_stop_sockets_are_closed_and_the_feed_ends() {
    let server = StreamScript::start().await;
    let mut client = Client::start(&server, keys(&["BTCUSDT"]));
    let mut peer = server.accept_subscribed().await;
    client.expect_up().await;
    peer.say(&closed_event("BTCUSDT")).await;
    client.expect_close_of("BTCUSDT").await;
    let tasks = client.tasks.clone();
    let (left, ()) = tokio::join!(tasks.drain(Duration::from_secs(3)), async {
        while !peer.frame().await.is_close() {}
    });
    assert_eq!(left, Vec::<&str>::new());
    assert_eq!(within("the end", client.queue.next_batch()).await, None);
}

#[tokio::test]
async fn both_transports_begin_a_tls_handshake_without_a_provider_from_elsewhere() {
    const TLS_HANDSHAKE: u8 = 0x16;
    let mut server = StreamScript::start().await;
    server.url = server.url.replace("ws:", "wss:");
    let _client = Client::start(&server, keys(&["BTCUSDT"]));
    assert_eq!(server.first_byte().await, TLS_HANDSHAKE);
    assert_eq!(server.first_byte().await, TLS_HANDSHAKE, "tried again");
    let rest = StreamScript::start().await;
    let settings = BinanceSettings {
        rest_url: rest.url.replace("ws:", "https:"),
        times: times(),
        ..BinanceSettings::default()
    };
    let binance = Binance::new(&settings, clock()).unwrap();
    let (answer, byte) = tokio::join!(binance.server_time(), rest.first_byte());
    assert_eq!(byte, TLS_HANDSHAKE);
    let error = answer.unwrap_err();
    assert_eq!(error.advice(), Advice::BackOff, "{error}");
}

#[tokio::test]
async fn h29_events_push_the_clock_forward_but_one_mad_stamp_does_not() {
    let server = StreamScript::start().await;
    let mut client = Client::start(&server, keys(&["BTCUSDT"]));
    let mut peer = server.accept_subscribed().await;
    client.expect_up().await;
    let ahead = NOW.plus_ms(30_000);
    peer.say(&event("BTCUSDT", OPEN_MS - 60_000, ahead.ms(), true))
        .await;
    client.expect_close_of("BTCUSDT").await;
    assert!(client.clock.now() >= ahead);
    let mad = NOW.plus_ms(86_400_000);
    peer.say(&event("BTCUSDT", OPEN_MS - 60_000, mad.ms(), true))
        .await;
    client.expect_close_of("BTCUSDT").await;
    assert!(client.clock.now() < TimeMs::new(OPEN_MS + 120_000));
}

#[tokio::test]
async fn no_mutation_of_an_event_stops_the_stream() {
    let server = StreamScript::start().await;
    let mut client = Client::start(&server, keys(&["BTCUSDT"]));
    let mut peer = server.accept_subscribed().await;
    client.expect_up().await;
    let good = closed_event("BTCUSDT");
    let mut rng = fastrand::Rng::with_seed(23);
    for _ in 0..2_000 {
        let mut bytes = good.clone().into_bytes();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..bytes.len().max(1));
            match rng.u8(..4) {
                0 => bytes[at] = b"0129-.\"{}[],:eE\\ x"[rng.usize(..18)],
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, b"09-\"e"[rng.usize(..5)]),
                _ => bytes.truncate(at.max(8)),
            }
        }
        peer.say(&String::from_utf8_lossy(&bytes)).await;
    }
    let marker = event("BTCUSDT", OPEN_MS - 600_000, NOW.ms(), true);
    peer.say(&marker).await;
    loop {
        match client.next().await {
            FeedEvent::Closed { candle, .. } if candle.open_time.ms() == OPEN_MS - 600_000 => break,
            FeedEvent::Closed { candle, .. } | FeedEvent::Open { candle, .. } => {
                assert_eq!(candle.check(), Ok(()));
            }
            other => panic!("only candles may come, came {other:?}"),
        }
    }
    assert!(client.streams.counts().bad() > 500);
}
