//! Links to a real server: each call ends by its deadline, errors say what to do and never show a password, and what
//! was subscribed is heard.

use std::time::{Duration, Instant};

use hamacast::store::redis::log::{self, EntryId};
use hamacast::store::redis::{
    Advice, BLOCKING_DEADLINE, BlockingLink, COMMAND_DEADLINE, CONNECT_DEADLINE, CommandLink,
    PubSubLink, RedisError, RedisSettings, Warning, keys,
};
use redis::AsyncCommands;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::support::redis::{Keeps, RedisOptions, RedisServer};

#[tokio::test]
async fn a_silent_server_costs_a_deadline_and_no_more() {
    let server = RedisServer::start().await;
    let settings = server.settings();
    let mut link = CommandLink::open(&settings).await.unwrap();
    let blocking = BlockingLink::open(&settings).await.unwrap();
    let mut messages = PubSubLink::open(&settings, &[], &[keys::BEAT])
        .await
        .unwrap();
    server.pause();
    let asked = Instant::now();
    let (command, read, ping, connect) = tokio::join!(
        async { (log::tail(&mut link).await.unwrap_err(), asked.elapsed()) },
        async {
            let read = log::read_after(blocking, EntryId::Start).await;
            (read.unwrap_err(), asked.elapsed())
        },
        async { (messages.ping().await.unwrap_err(), asked.elapsed()) },
        async {
            let link = CommandLink::open(&settings).await;
            (link.unwrap_err(), asked.elapsed())
        },
    );
    server.resume();
    for ((error, took), deadline) in [
        (command, COMMAND_DEADLINE),
        (read, BLOCKING_DEADLINE),
        (ping, COMMAND_DEADLINE),
        (connect, CONNECT_DEADLINE),
    ] {
        println!("{took:?}: {error}");
        assert!(matches!(error, RedisError::NoAnswer { .. }), "{error:?}");
        assert_eq!(error.advice(), Advice::Retry);
        assert!(took >= deadline && took < 5 * deadline, "{took:?}");
    }
}

#[tokio::test]
async fn a_wrong_or_missing_password_asks_the_operator_and_is_never_shown() {
    let server = RedisServer::with(RedisOptions {
        password: Some("r1ght"),
        ..RedisOptions::default()
    })
    .await;
    let port = server.port();
    assert!(CommandLink::open(&server.settings()).await.is_ok());
    for password in [Some("wr0ng-s3cret"), None] {
        let settings = RedisSettings::of_host("127.0.0.1", port, 0, password).unwrap();
        let by_command = async {
            let mut link = CommandLink::open(&settings).await?;
            link.warnings().await
        };
        let by_reading = async {
            let link = BlockingLink::open(&settings).await?;
            log::read_after(link, EntryId::Start).await
        };
        let errors = [
            by_command.await.unwrap_err(),
            by_reading.await.unwrap_err(),
            PubSubLink::open(&settings, &[], &["c"]).await.unwrap_err(),
        ];
        for error in errors {
            let said = format!("{error} {error:?} {settings:?}");
            assert_eq!(error.advice(), Advice::AskTheOperator, "{said}");
            assert!(said.contains(&format!("127.0.0.1:{port}")), "{said}");
            assert!(error.to_string().contains("REDIS_PASSWORD"), "{said}");
            assert!(!said.contains("s3cret"), "{said}");
        }
    }
}

#[tokio::test]
async fn a_wrong_database_missing_tls_and_a_closed_port_are_told_apart() {
    let mut server = RedisServer::start().await;
    let port = server.port();
    let url = format!("redis://127.0.0.1:{port}/9"); // the server has four
    let error = CommandLink::open(&RedisSettings::of_url(&url).unwrap()).await;
    let error = error.unwrap_err();
    assert!(
        matches!(error, RedisError::Database { db: 9, .. }),
        "{error}"
    );
    assert_eq!(error.advice(), Advice::AskTheOperator);

    // a Redis without TLS takes our first words for the beginning of a line, and waits for its end
    let url = format!("rediss://127.0.0.1:{port}");
    let error = CommandLink::open(&RedisSettings::of_url(&url).unwrap()).await;
    let error = error.unwrap_err();
    assert!(matches!(error, RedisError::NoAnswer { .. }), "{error:?}");
    assert!(error.to_string().contains("TLS"), "{error}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("rediss://{}", listener.local_addr().unwrap());
    let settings = RedisSettings::of_url(&url).unwrap();
    let (error, _answered) = tokio::join!(CommandLink::open(&settings), async {
        let (mut socket, _peer) = listener.accept().await.unwrap();
        socket.write_all(b"-ERR what is this?\r\n").await.unwrap();
        socket
    });
    let error = error.unwrap_err();
    assert!(matches!(error, RedisError::Tls { .. }), "{error:?}");
    assert_eq!(error.advice(), Advice::AskTheOperator);

    server.kill();
    let error = CommandLink::open(&server.settings()).await.unwrap_err();
    assert!(matches!(error, RedisError::Unreachable { .. }), "{error:?}");
    assert_eq!(error.advice(), Advice::Retry);
}

#[tokio::test]
async fn what_is_subscribed_is_heard_and_a_lost_server_ends_the_link() {
    let mut server = RedisServer::start().await;
    let answers = keys::answers("h1");
    let mut link = PubSubLink::open(
        &server.settings(),
        &[keys::UPDATES_OF_ALL],
        &[keys::BEAT, &answers],
    )
    .await
    .unwrap();
    let mut client = server.client().await;
    let sent = ["hama:updates:BTCUSDT", "hama:other", keys::BEAT, &answers];
    for channel in sent {
        let () = client.publish(channel, b"\xff\x00").await.unwrap();
    }
    for channel in [sent[0], sent[2], sent[3]] {
        let message = link.next().await.unwrap();
        assert_eq!(
            (message.channel.as_str(), &message.payload[..]),
            (channel, &b"\xff\x00"[..])
        );
    }
    link.ping().await.unwrap();
    server.kill();
    let error = link.next().await.unwrap_err();
    assert!(matches!(error, RedisError::Cut { .. }), "{error:?}");
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_told_that_messages_were_lost() {
    let server = RedisServer::start().await;
    let mut link = PubSubLink::open(&server.settings(), &[], &["c"])
        .await
        .unwrap();
    let mut client = server.client().await;
    for _ in 0..9 {
        let mut pipe = redis::pipe();
        for _ in 0..1_000 {
            pipe.publish("c", "m").ignore();
        }
        let () = pipe.query_async(&mut client).await.unwrap();
    }
    link.ping().await.unwrap(); // its answer stands behind all messages
    let error = link.next().await.unwrap_err();
    assert!(matches!(error, RedisError::Overrun { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_may_evict_is_warned_of() {
    let server = RedisServer::start().await;
    let mut link = CommandLink::open(&server.settings()).await.unwrap();
    assert_eq!(link.warnings().await.unwrap(), []);
    let mut client = server.client().await;
    let mut set = redis::cmd("CONFIG");
    set.arg(&["SET", "maxmemory-policy", "allkeys-lru"]);
    let () = set.query_async(&mut client).await.unwrap();
    let expected = [Warning::MayEvict("allkeys-lru".to_owned())];
    assert_eq!(link.warnings().await.unwrap(), expected);
}

#[tokio::test]
async fn a_server_that_keeps_everything_has_it_after_a_kill_and_one_that_does_not_has_not() {
    for (keeps, expected) in [
        (Keeps::Everything, Some("v".to_owned())),
        (Keeps::Nothing, None),
    ] {
        let options = RedisOptions {
            keeps,
            ..RedisOptions::default()
        };
        let mut server = RedisServer::with(options).await;
        let () = server.client().await.set("k", "v").await.unwrap();
        server.kill();
        server.restart().await;
        let kept: Option<String> = server.client().await.get("k").await.unwrap();
        assert_eq!(kept, expected);
        server.stop();
    }
}

#[tokio::test]
async fn a_link_that_failed_stays_failed_and_a_new_one_works() {
    let mut server = RedisServer::start().await;
    let mut link = CommandLink::open(&server.settings()).await.unwrap();
    assert_eq!(log::tail(&mut link).await.unwrap(), None);
    server.kill();
    let error = log::tail(&mut link).await.unwrap_err();
    assert!(matches!(error, RedisError::Cut { .. }), "{error:?}");
    server.restart().await;
    let asked = Instant::now();
    assert!(log::tail(&mut link).await.is_err());
    assert!(asked.elapsed() < 5 * Duration::from_secs(2));
    let mut link = CommandLink::open(&server.settings()).await.unwrap();
    assert_eq!(log::tail(&mut link).await.unwrap(), None);
}
