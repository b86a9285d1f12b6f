//! The adapter and its proxy: what each failure says and advises, and that a loopback exchange is no exception.

use std::collections::BTreeSet;
use std::time::Duration;

use hamacast::clock::ExchangeClock;
use hamacast::exchange::binance::{Binance, BinanceSettings, Times};
use hamacast::exchange::{Advice, ExchangeError, FeedEvent, Proxy, feed_queue};
use hamacast::market::{Interval, SeriesKey, Symbol};
use hamacast::simulator::proxy::{ProxyFault, ProxyKind, Targeted};
use hamacast::tasks::Tasks;
use tokio::net::TcpListener;

use super::{LOGIN, NAME, PATIENCE, World};

fn times() -> Times {
    Times {
        connect: Duration::from_secs(2),
        connect_gap: Duration::from_millis(5),
        reconnect: (Duration::from_millis(10), Duration::from_millis(40)),
        ..Times::default()
    }
}

fn binance(host: &str, proxy: &str) -> Binance {
    let settings = BinanceSettings {
        rest_url: format!("http://{host}"),
        ws_url: format!("ws://{host}"),
        proxy: Some(Proxy::parse(proxy).unwrap()),
        times: times(),
    };
    Binance::new(&settings, ExchangeClock::from_wall()).unwrap()
}

/// The error of a client that could reach the exchange without its proxy.
async fn error(world: &World, proxy: &str) -> ExchangeError {
    let answer = binance(&world.reachable(), proxy).server_time().await;
    answer.map(drop).unwrap_err()
}

/// An error, words of which it must have one, and what it must advise.
type Case = (ExchangeError, &'static [&'static str], Advice);

/// What goes wrong by our own settings.
async fn badly_set(world: &World, kind: ProxyKind) -> Vec<Case> {
    let url = world.url(LOGIN);
    let (_, rest) = url.split_once("://").unwrap();
    // One protocol's first bytes are to the other nonsense, a reason to hang up, or a line without an end.
    let (other, truths): (_, &[_]) = match kind {
        ProxyKind::Http => ("socks5://", &["SOCKS5", "broke before", "no tunnel"]),
        ProxyKind::Socks5 => ("http://", &["HTTP CONNECT", "broke before", "no tunnel"]),
    };
    let without = error(world, &world.proxy.url()).await;
    let wrong = error(world, &world.url("me:no")).await;
    let other = error(world, &format!("{other}{rest}")).await;
    let nobody = error(world, "http://127.0.0.1:1").await;
    let unknown = error(world, "socks5://proxy.invalid").await;
    vec![
        (
            without,
            &["wants a user and a password"],
            Advice::AskTheOperator,
        ),
        (
            wrong,
            &["refuses the user or the password"],
            Advice::AskTheOperator,
        ),
        (other, truths, Advice::BackOff),
        (nobody, &["is it running"], Advice::BackOff),
        (unknown, &["no connection to it"], Advice::BackOff),
    ]
}

#[tokio::test]
async fn h31_each_failure_of_a_proxy_says_what_to_do_and_nothing_goes_past_it() {
    for kind in [ProxyKind::Http, ProxyKind::Socks5] {
        let world = World::start(kind).await;
        let url = world.url(LOGIN);
        binance(NAME, &url).server_time().await.unwrap();
        let mut cases = badly_set(&world, kind).await;
        let hangs = "within 2s; it hangs";
        let faults: [(_, &[_], _); 3] = [
            (
                ProxyFault::Refuse { status: 403 },
                &["does not let us through"],
                Advice::AskTheOperator,
            ),
            (
                ProxyFault::Refuse { status: 502 },
                &["has no connection to"],
                Advice::BackOff,
            ),
            (ProxyFault::Hang, &[hangs], Advice::BackOff),
        ];
        for (fault, words, advice) in faults {
            world.proxy.set_fault(fault);
            cases.push((error(&world, &url).await, words, advice));
        }
        for (error, words, advice) in cases {
            let text = error.to_string();
            assert!(words.iter().any(|word| text.contains(word)), "{text}");
            assert!(
                text.contains("proxy http://") || text.contains("proxy socks5h://"),
                "{text}"
            );
            assert!(!text.contains("p@ss") && !text.contains("p%40ss"), "{text}");
            assert_eq!(error.advice(), advice, "{text}");
        }
        let proxied = world.exchange.stats().proxied_connections;
        assert_eq!(proxied, 1, "the good one");
        world.assert_nothing_went_past_the_proxy();
    }
}

#[tokio::test]
async fn h31_a_tunnel_cut_in_the_middle_is_no_answer_and_the_next_is_whole() {
    let world = World::start(ProxyKind::Http).await;
    let binance = binance(NAME, &world.url(LOGIN));
    world.proxy.set_fault(ProxyFault::DropAfter { bytes: 100 });
    let error = binance.contracts().await.unwrap_err();
    assert!(
        matches!(error, ExchangeError::Unreachable { .. }),
        "{error:?}"
    );
    assert_eq!(error.advice(), Advice::BackOff);
    world.proxy.set_fault(ProxyFault::None);
    assert!(binance.contracts().await.unwrap().rows.len() >= 3);
    world.assert_nothing_went_past_the_proxy();
}

#[tokio::test]
async fn h31_an_exchange_on_this_machine_is_reached_through_the_proxy_too() {
    for kind in [ProxyKind::Http, ProxyKind::Socks5] {
        let world = World::start(kind).await;
        let port = world.exchange.local_addr().port();
        for host in ["localhost", "127.0.0.1", "[::1]"] {
            let binance = binance(&format!("{host}:{port}"), &world.url(LOGIN));
            binance.server_time().await.unwrap();
        }
        let targets = world.proxy.report().targets;
        let [by_name, by_address] = [(1, 0), (0, 1)].map(|(by_name, by_address)| Targeted {
            by_name,
            by_address,
        });
        assert_eq!(targets[&format!("localhost:{port}")], by_name);
        assert_eq!(targets[&format!("127.0.0.1:{port}")], by_address);
        assert_eq!(targets[&format!("[::1]:{port}")], by_address);
        world.assert_nothing_went_past_the_proxy();
    }
}

#[tokio::test]
async fn h31_streams_come_back_through_the_proxy_after_it_has_cut_them() {
    let world = World::start(ProxyKind::Http).await;
    let tasks = Tasks::new();
    let (feed, mut queue) = feed_queue();
    let streams = binance(NAME, &world.url(LOGIN)).streams(&tasks, feed);
    let symbol = Symbol::parse("BTCUSDT").unwrap();
    streams.set(BTreeSet::from([SeriesKey::new(symbol, Interval::M15)]));
    let mut ups = 0;
    let story = async {
        while ups < 3 {
            for event in queue.next_batch().await.expect("the feed goes on") {
                if let FeedEvent::Up { .. } = event {
                    ups += 1;
                    world.proxy.cut();
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, story).await.unwrap();
    assert!(world.proxy.report().targets[&format!("{NAME}:80")].by_name >= 3);
    world.assert_nothing_went_past_the_proxy();
}

/// Some refusals only a person can mend: requests and streams together try once, and go on by themselves when it is done.
#[tokio::test]
async fn h31_a_proxy_that_refuses_us_is_tried_by_one_at_a_time_and_rarely() {
    let world = World::start(ProxyKind::Socks5).await;
    let wrong = binance(NAME, &world.url("me:no"));
    let tasks = Tasks::new();
    let (feed, mut queue) = feed_queue();
    let first = wrong.server_time().await.map(drop).unwrap_err();
    assert_eq!(first.again_in(), None, "this one was tried");
    let streams = wrong.streams(&tasks, feed);
    let key = |n: i32| SeriesKey::new(Symbol::parse(&format!("N{n}USDT")).unwrap(), Interval::M15);
    streams.set((0..900).map(key).collect()); // five connections of 200 names
    for _ in 0..20 {
        let error = wrong.server_time().await.map(drop).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("refuses the user or the password"),
            "{error}"
        );
        assert!(error.again_in().is_some() && error.advice() == Advice::AskTheOperator);
    }
    assert_eq!(world.proxy.report().wrong_logins, 1);
    drop(streams);
    assert!(tasks.drain(PATIENCE).await.is_empty());
    assert_eq!(queue.next_batch().await, None, "nothing came up");

    let soon = Times {
        after_refusal: Duration::from_millis(300),
        ..times()
    };
    let settings = BinanceSettings {
        rest_url: format!("http://{NAME}"),
        ws_url: format!("ws://{NAME}"),
        proxy: Some(Proxy::parse(&world.url(LOGIN)).unwrap()),
        times: soon,
    };
    let binance = Binance::new(&settings, ExchangeClock::from_wall()).unwrap();
    world.proxy.set_fault(ProxyFault::Refuse { status: 403 });
    binance.server_time().await.map(drop).unwrap_err();
    world.proxy.set_fault(ProxyFault::None);
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let mended = async {
        while binance.server_time().await.is_err() {
            tick.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, mended).await.unwrap();
    world.assert_nothing_went_past_the_proxy();
}

#[tokio::test]
async fn h31_the_tls_name_through_a_proxy_is_the_exchanges() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let settings = BinanceSettings {
        rest_url: format!("https://{NAME}"),
        ws_url: format!("wss://streams.{NAME}"),
        proxy: Some(Proxy::parse(&proxy).unwrap()),
        times: times(),
    };
    let binance = Binance::new(&settings, ExchangeClock::from_wall()).unwrap();
    let (answer, hello) = tokio::join!(binance.server_time(), hello(&listener));
    assert!(answer.is_err());
    assert_eq!(hello.0, format!("CONNECT {NAME}:443 HTTP/1.1"));
    assert!(hello.1.contains(NAME), "its name in the hello");
    let tasks = Tasks::new();
    let (feed, _queue) = feed_queue();
    let streams = binance.streams(&tasks, feed);
    let symbol = Symbol::parse("BTCUSDT").unwrap();
    streams.set(BTreeSet::from([SeriesKey::new(symbol, Interval::M15)]));
    let (line, hello) = self::hello(&listener).await;
    assert_eq!(line, format!("CONNECT streams.{NAME}:443 HTTP/1.1"));
    assert!(hello.contains(&format!("streams.{NAME}")));
}

/// The line of a CONNECT, and the first bytes through the tunnel, of a client that is then hung up on.
async fn hello(listener: &TcpListener) -> (String, String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let work = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let mut hello = vec![0; 5];
        socket.read_exact(&mut hello).await.unwrap();
        let length = usize::from(u16::from_be_bytes([hello[3], hello[4]]));
        hello.resize(length, 0);
        socket.read_exact(&mut hello).await.unwrap();
        let line = head.split(|byte| *byte == b'\r').next().unwrap();
        (
            String::from_utf8_lossy(line).into_owned(),
            String::from_utf8_lossy(&hello).into_owned(),
        )
    };
    tokio::time::timeout(PATIENCE, work).await.unwrap()
}

/// What a timeline or `POST /sim/fault` tells of the proxies strikes as what the process sets, and ends with its fault.
#[tokio::test]
async fn faults_of_the_proxies_are_told_as_any_other_and_end_with_them() {
    for kind in [ProxyKind::Http, ProxyKind::Socks5] {
        let world = World::start(kind).await;
        let url = world.url(LOGIN);
        let cases = [
            (
                r#"{"kind":"proxy.auth"}"#,
                "refuses the user or the password",
            ),
            (r#"{"kind":"proxy.refuse"}"#, "does not let us through"),
            (
                r#"{"kind":"proxy.refuse","status":502}"#,
                "has no connection to",
            ),
            (r#"{"kind":"proxy.hang"}"#, "it hangs"),
            (r#"{"kind":"proxy.drop","bytes":100}"#, ""),
        ];
        for (fault, says) in cases {
            world.tell(fault);
            let error = binance(NAME, &url).contracts().await.map(drop).unwrap_err();
            assert!(error.to_string().contains(says), "{fault}: {error}");
            assert_eq!(world.exchange.faults().faults[0].strikes, 1, "{fault}");
            world.exchange.clear_faults();
            binance(NAME, &url).contracts().await.unwrap();
        }
        world.tell(r#"{"kind":"proxy.refuse","count":1}"#);
        binance(NAME, &url)
            .server_time()
            .await
            .map(drop)
            .unwrap_err();
        binance(NAME, &url).server_time().await.unwrap();
        world.assert_nothing_went_past_the_proxy();
    }
}

#[tokio::test]
async fn a_cut_told_as_a_fault_cuts_the_tunnels_that_are_open_and_no_later_ones() {
    let world = World::start(ProxyKind::Http).await;
    let tasks = Tasks::new();
    let (feed, mut queue) = feed_queue();
    let streams = binance(NAME, &world.url(LOGIN)).streams(&tasks, feed);
    let symbol = Symbol::parse("BTCUSDT").unwrap();
    streams.set(BTreeSet::from([SeriesKey::new(symbol, Interval::M15)]));
    let (mut ups, mut downs) = (0, 0);
    let story = async {
        while ups < 2 || downs < 1 {
            for event in queue.next_batch().await.expect("the feed goes on") {
                if let FeedEvent::Up { .. } = event {
                    ups += 1;
                    if ups == 1 {
                        world.tell(r#"{"kind":"proxy.cut"}"#);
                    }
                }
                downs += i32::from(matches!(event, FeedEvent::Down { .. }));
            }
        }
    };
    tokio::time::timeout(PATIENCE, story).await.unwrap();
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..20 {
        tick.tick().await;
        binance(NAME, &world.url(LOGIN))
            .server_time()
            .await
            .unwrap();
    }
    assert_eq!((ups, downs), (2, 1));
    assert_eq!(world.exchange.stats().totals.ws_connections, 2);
    world.assert_nothing_went_past_the_proxy();
}
