//! The lease's and the log's scripts on a real server: who may write, what is refused, and that a refusal changes nothing.

use std::sync::Arc;
use std::time::Instant;

use hamacast::market::{Interval, OpenTime, SeriesKey, SeriesStatus, Symbol, TimeMs};
use hamacast::signal::{
    Change, ChangeBody, Correction, Epoch, Recommendation, Seq, SignalChange, Source, Stand,
};
use hamacast::store::Base;
use hamacast::store::redis::log::{self, Entry, EntryId, SeriesEntry};
use hamacast::store::redis::scripts::{self, Burst, Kept, Refusal, Tail, Take};
use hamacast::store::redis::{
    BlockingLink, CommandLink, EngineId, Grant, LEASE, PubSubLink, RedisError, Term, keys,
};

use crate::support::redis::RedisServer;

fn engine(name: &str) -> EngineId {
    EngineId::parse(name).unwrap()
}

fn series(n: usize) -> SeriesKey {
    SeriesKey::new(Symbol::parse(&format!("C{n}USDT")).unwrap(), Interval::M15)
}

fn change(seq: u64, epoch: &str) -> Arc<Change> {
    let body = ChangeBody::Signal(SignalChange {
        key: series(seq as usize % 600),
        recommendation: Recommendation::Buy,
        previous: Recommendation::Hold,
        confidence: 0.1 + 0.2,
        price: 67_123.4,
        hama_close: 1.0 / 3.0,
        ma: 66_890.12,
        deviation_pct: 5e-324,
        candle_open_time: OpenTime::from_ms(1_766_999_700_000),
        candle_close_time: TimeMs::new(1_767_000_599_999),
        last_cross_direction: 1,
        last_cross_time: None,
        event_time: TimeMs::new(1_767_000_600_123),
        source: Source::Stream,
    });
    numbered(seq, epoch, Vec::new(), body)
}

fn numbered(seq: u64, epoch: &str, corrects: Vec<Seq>, body: ChangeBody) -> Arc<Change> {
    Arc::new(Change {
        seq: Seq::new(seq),
        prev_seq: Seq::NONE,
        epoch: Epoch::new(epoch),
        corrects,
        body,
    })
}

fn correction(seq: u64, epoch: &str) -> Arc<Change> {
    let body = ChangeBody::Correction(Correction {
        key: series(1),
        revision: 1,
        corrects: Vec::new(),
        stands: vec![Stand {
            candle_close_time: TimeMs::new(1_767_000_599_999),
            recommendation: Recommendation::Sell,
            previous: Recommendation::Buy,
        }],
        recommendation: Recommendation::Sell,
        previous: Recommendation::Buy,
        candle_open_time: OpenTime::from_ms(1_766_999_700_000),
        candle_close_time: TimeMs::new(1_767_000_599_999),
        event_time: TimeMs::new(1_767_000_600_123),
        source: Source::Rest,
    });
    numbered(seq, epoch, vec![Seq::new(1)], body)
}

fn told(n: usize) -> (SeriesKey, SeriesEntry) {
    let base = Base {
        close_time: TimeMs::new(1_767_000_599_999),
        recommendation: Recommendation::Buy,
    };
    let entry = SeriesEntry {
        status: SeriesStatus::Live,
        change_seq: Seq::new(n as u64),
        base: Some(base),
    };
    (series(n), entry)
}

fn burst<'a>(epoch: &'a Epoch, changes: &'a [Arc<Change>]) -> Burst<'a> {
    Burst {
        epoch,
        changes,
        told: &[],
        forgotten: &[],
    }
}

async fn taken(link: &mut CommandLink, name: &str, highest: u64) -> Grant {
    let taken = scripts::take(link, &engine(name), Term::new(highest), LEASE).await;
    match taken.unwrap() {
        Take::Taken { term, .. } => Grant {
            engine: engine(name),
            term,
        },
        held @ Take::Held { .. } => panic!("{held:?}"),
    }
}

/// A server with an epoch `e` begun by engine `a`.
async fn begun() -> (RedisServer, CommandLink, Grant, Epoch) {
    let server = RedisServer::start().await;
    let mut link = CommandLink::open(&server.settings()).await.unwrap();
    let grant = taken(&mut link, "a", 0).await;
    let epoch = Epoch::new("e");
    let begun = scripts::begin_epoch(&mut link, &grant, None, &epoch).await;
    assert_eq!(begun.unwrap(), Ok(()));
    (server, link, grant, epoch)
}

/// Everything in Redis that a refused write must leave alone.
async fn everything(server: &RedisServer) -> String {
    let mut client = server.client().await;
    let mut pipe = redis::pipe();
    pipe.cmd("XRANGE").arg(keys::CHANGES).arg("-").arg("+");
    pipe.cmd("HGETALL").arg(keys::SERIES);
    pipe.cmd("GET").arg(keys::ENGINE);
    pipe.cmd("GET").arg(keys::TERM);
    let all: redis::Value = pipe.query_async(&mut client).await.unwrap();
    format!("{all:?}")
}

#[tokio::test]
async fn one_engine_holds_the_lease_and_terms_only_grow() {
    let server = RedisServer::start().await;
    let mut link = CommandLink::open(&server.settings()).await.unwrap();
    let first = taken(&mut link, "ab", 0).await;
    assert_eq!(first.term, Term::new(1));
    let held = scripts::take(&mut link, &engine("b"), Term::default(), LEASE).await;
    let Take::Held { by, left } = held.unwrap() else {
        panic!("two hold the lease");
    };
    assert_eq!(by, Some(first.clone()));
    assert!(left.is_some_and(|left| left <= LEASE));
    // a name that begins alike is another engine
    let alike = scripts::take(&mut link, &engine("a"), Term::default(), LEASE).await;
    assert!(matches!(alike.unwrap(), Take::Held { .. }));
    let other = Grant {
        engine: engine("b"),
        term: first.term,
    };
    let by = Some(first.clone());
    let fenced = Kept::Fenced { by };
    assert_eq!(
        scripts::renew(&mut link, &other, LEASE).await.unwrap(),
        fenced
    );
    assert_eq!(scripts::release(&mut link, &other).await.unwrap(), fenced);
    assert_eq!(
        scripts::renew(&mut link, &first, LEASE).await.unwrap(),
        Kept::Done
    );

    // its own lease, whose answer was lost: anew, so that what is on its way under the old term is refused
    let again = taken(&mut link, "ab", 0).await;
    assert_eq!(again.term, Term::new(2));
    let by = Some(again.clone());
    assert_eq!(
        scripts::renew(&mut link, &first, LEASE).await.unwrap(),
        Kept::Fenced { by }
    );
    assert_eq!(
        scripts::release(&mut link, &again).await.unwrap(),
        Kept::Done
    );
    assert_eq!(
        scripts::release(&mut link, &again).await.unwrap(),
        Kept::Fenced { by: None }
    );
    assert_eq!(taken(&mut link, "b", 0).await.term, Term::new(3));
}

#[tokio::test]
async fn a_term_is_higher_than_counter_log_and_what_the_engine_has_seen() {
    let (server, mut link, grant, _epoch) = begun().await;
    scripts::release(&mut link, &grant).await.unwrap();
    let high = taken(&mut link, "a", 41).await;
    assert_eq!(high.term, Term::new(42), "the engine has seen 41");
    let (old, new) = (Epoch::new("e"), Epoch::new("f"));
    let begun = scripts::begin_epoch(&mut link, &high, Some(&old), &new);
    assert_eq!(begun.await.unwrap(), Ok(()));

    let mut client = server.client().await;
    let lost = [keys::TERM, keys::ENGINE];
    let () = redis::cmd("DEL")
        .arg(&lost)
        .query_async(&mut client)
        .await
        .unwrap();
    let take = scripts::take(&mut link, &engine("b"), Term::new(5), LEASE).await;
    let tail = Tail {
        epoch: Epoch::new("f"),
        seq: Seq::NONE,
        term: Term::new(42),
    };
    let expected = Take::Taken {
        term: Term::new(43),
        tail: Some(tail),
    };
    assert_eq!(take.unwrap(), expected, "the log says 42");

    let () = redis::cmd("FLUSHALL")
        .query_async(&mut client)
        .await
        .unwrap();
    let take = scripts::take(&mut link, &engine("b"), Term::new(43), LEASE).await;
    let expected = Take::Taken {
        term: Term::new(44),
        tail: None,
    };
    assert_eq!(
        take.unwrap(),
        expected,
        "everything is lost but what it saw"
    );
}

#[tokio::test]
async fn a_burst_is_appended_whole_read_back_to_the_bit_and_published() {
    let (server, mut link, grant, epoch) = begun().await;
    let mut heard = PubSubLink::open(&server.settings(), &[], &[keys::SIGNALS])
        .await
        .unwrap();
    let changes = [change(1, "e"), correction(2, "e"), change(3, "e")];
    let told: Vec<_> = (1..=3).map(told).collect();
    let whole = Burst {
        told: &told,
        ..burst(&epoch, &changes)
    };
    let tail = Tail {
        epoch: epoch.clone(),
        seq: Seq::new(3),
        term: grant.term,
    };
    let appended = scripts::append(&mut link, &grant, whole).await.unwrap();
    assert_eq!(appended, Ok(tail.clone()));
    assert_eq!(log::tail(&mut link).await.unwrap(), Some(tail.clone()));

    let entries = log::read_page(&mut link, EntryId::Start).await.unwrap();
    assert!(matches!(&entries[0], Entry::Mark { epoch, .. } if epoch.as_str() == "e"));
    let read = entries[1..].iter().map(|entry| match entry {
        Entry::Change { change, engine, .. } => {
            assert_eq!(*engine, grant.engine);
            change.clone()
        }
        Entry::Mark { .. } => panic!("a second mark"),
    });
    assert_eq!(read.collect::<Vec<_>>(), changes);
    for change in &changes {
        let message = heard.next().await.unwrap();
        assert_eq!(message.payload, serde_json::to_vec(change).unwrap());
    }
    let stored = log::read_series(&mut link).await.unwrap();
    assert_eq!(stored.into_iter().collect::<Vec<_>>(), told);

    // without changes: what was told moves alone
    let (forgotten, told) = ([series(1)], [(series(9), told[0].1.clone())]);
    let moved = Burst {
        told: &told,
        forgotten: &forgotten,
        ..burst(&epoch, &[])
    };
    let appended = scripts::append(&mut link, &grant, moved).await.unwrap();
    assert_eq!(appended, Ok(tail));
    let stored = log::read_series(&mut link).await.unwrap();
    let named: Vec<_> = stored.keys().cloned().collect();
    assert_eq!(named, [series(2), series(3), series(9)]);
}

#[tokio::test]
async fn every_refusal_says_what_redis_holds_and_changes_nothing() {
    let (server, mut link, grant, epoch) = begun().await;
    let first = [change(1, "e")];
    let appended = scripts::append(&mut link, &grant, burst(&epoch, &first)).await;
    let tail = appended.unwrap().unwrap();
    let before = everything(&server).await;

    let (other, next) = (Epoch::new("other"), [change(2, "e")]);
    let refused = scripts::append(&mut link, &grant, burst(&other, &next)).await;
    let other_epoch = Refusal::OtherEpoch { tail: tail.clone() };
    assert_eq!(refused.unwrap(), Err(other_epoch.clone()));
    let not_next = Refusal::NotNext { tail };
    let (twice, ahead) = ([change(1, "e")], [change(3, "e")]);
    let holed = [change(2, "e"), change(4, "e")];
    for wrong in [&twice[..], &ahead, &holed] {
        let refused = scripts::append(&mut link, &grant, burst(&epoch, wrong)).await;
        assert_eq!(refused.unwrap(), Err(not_next.clone()));
    }
    for wrong in [None, Some(&other)] {
        let refused = scripts::begin_epoch(&mut link, &grant, wrong, &Epoch::new("f")).await;
        assert_eq!(refused.unwrap(), Err(other_epoch.clone()));
    }
    assert_eq!(everything(&server).await, before);

    let mut client = server.client().await;
    let () = redis::cmd("DEL")
        .arg(keys::CHANGES)
        .query_async(&mut client)
        .await
        .unwrap();
    let before = everything(&server).await;
    let refused = scripts::append(&mut link, &grant, burst(&epoch, &next)).await;
    assert_eq!(refused.unwrap(), Err(Refusal::LogMissing));
    let refused = scripts::begin_epoch(&mut link, &grant, Some(&epoch), &other).await;
    assert_eq!(refused.unwrap(), Err(Refusal::LogMissing));
    assert_eq!(everything(&server).await, before);
    let begun = scripts::begin_epoch(&mut link, &grant, None, &other).await;
    assert_eq!(begun.unwrap(), Ok(()));
}

#[tokio::test]
async fn an_engine_paused_past_its_lease_writes_nothing() {
    let (server, mut link, paused, epoch) = begun().await;
    let mut client = server.client().await;
    // the lease ran out
    let () = redis::cmd("DEL")
        .arg(keys::ENGINE)
        .query_async(&mut client)
        .await
        .unwrap();
    let late = [change(1, "e")];
    let refused = scripts::append(&mut link, &paused, burst(&epoch, &late)).await;
    assert_eq!(refused.unwrap(), Err(Refusal::Fenced { by: None }));
    // and another engine took it
    let now = taken(&mut link, "b", 0).await;
    let before = everything(&server).await;
    let by = Some(now.clone());
    let fenced = Refusal::Fenced { by };
    let refused = scripts::append(&mut link, &paused, burst(&epoch, &late)).await;
    assert_eq!(refused.unwrap(), Err(fenced.clone()));
    let refused = scripts::begin_epoch(&mut link, &paused, Some(&epoch), &Epoch::new("f")).await;
    assert_eq!(refused.unwrap(), Err(fenced));
    assert_eq!(everything(&server).await, before);
    let appended = scripts::append(&mut link, &now, burst(&epoch, &late)).await;
    assert!(appended.unwrap().is_ok());
}

#[tokio::test]
async fn six_hundred_changes_are_one_burst_and_the_log_is_read_in_pages() {
    let (server, mut link, grant, epoch) = begun().await;
    let told: Vec<_> = (0..600).map(told).collect();
    let mut fastest = u128::MAX;
    for round in 0..5 {
        let from = round * 600;
        let changes: Vec<_> = (from + 1..=from + 600).map(|n| change(n, "e")).collect();
        let whole = Burst {
            told: &told,
            ..burst(&epoch, &changes)
        };
        let sent = Instant::now();
        let appended = scripts::append(&mut link, &grant, whole).await.unwrap();
        fastest = fastest.min(sent.elapsed().as_micros());
        assert_eq!(appended.unwrap().seq, Seq::new(from + 600));
    }
    println!("600 changes and 600 series in one script: {fastest} us");
    assert!(fastest < 50_000, "{fastest} us: five times what is allowed");

    let (mut at, mut pages, mut read) = (EntryId::Start, 0, 0);
    loop {
        let page = log::read_page(&mut link, at).await.unwrap();
        let Some(last) = page.last() else { break };
        (at, pages, read) = (last.id(), pages + 1, read + page.len());
    }
    assert_eq!(
        (at, pages, read),
        (EntryId::Change(Seq::new(3_000)), 7, 3_001)
    );
    let at = EntryId::Change(Seq::new(1_234));
    let entry = log::entry_at(&mut link, at).await.unwrap();
    assert_eq!(entry.map(|entry| entry.id()), Some(at));
    let beyond = EntryId::Change(Seq::new(3_001));
    assert_eq!(log::entry_at(&mut link, beyond).await.unwrap(), None);
    let first = log::first_kept(&mut link).await.unwrap();
    assert_eq!(first.map(|entry| entry.id()), Some(EntryId::Mark));

    let mut client = server.client().await;
    let mut trim = redis::cmd("XTRIM");
    trim.arg(keys::CHANGES).arg("MINID").arg("2000-0");
    let () = trim.query_async(&mut client).await.unwrap();
    let first = log::first_kept(&mut link).await.unwrap();
    let kept = EntryId::Change(Seq::new(2_000));
    assert_eq!(first.map(|entry| entry.id()), Some(kept));
}

#[tokio::test]
async fn a_reader_that_waits_gets_what_is_appended_and_an_empty_second_is_an_answer() {
    let (server, mut link, grant, epoch) = begun().await;
    let reader = BlockingLink::open(&server.settings()).await.unwrap();
    let (reader, entries) = log::read_after(reader, EntryId::Start).await.unwrap();
    assert_eq!(entries[0].id(), EntryId::Mark);
    let (reader, entries) = log::read_after(reader, EntryId::Mark).await.unwrap();
    assert_eq!(entries, []);
    let first = [change(1, "e")];
    let (read, appended) = tokio::join!(
        log::read_after(reader, EntryId::Mark),
        scripts::append(&mut link, &grant, burst(&epoch, &first)),
    );
    assert!(appended.unwrap().is_ok());
    let (_reader, entries) = read.unwrap();
    assert_eq!(entries[0].id(), EntryId::Change(Seq::new(1)));
}

#[tokio::test]
async fn an_entry_of_somebody_else_is_an_error_and_a_strange_series_is_left_out() {
    let (server, mut link, grant, epoch) = begun().await;
    let (changes, told) = ([change(1, "e")], [told(1)]);
    let whole = Burst {
        told: &told,
        ..burst(&epoch, &changes)
    };
    scripts::append(&mut link, &grant, whole)
        .await
        .unwrap()
        .unwrap();
    let mut client = server.client().await;
    let mut add = redis::cmd("XADD");
    add.arg(keys::CHANGES)
        .arg("2-0")
        .arg(&["epoch", "e", "term", "1", "engine", "a"]);
    add.arg(&["id", "C1USDT:15m:1767000599999:0", "json"]);
    add.arg(serde_json::to_string(&changes[0]).unwrap());
    let () = add.query_async(&mut client).await.unwrap();
    let error = log::read_page(&mut link, EntryId::Start).await.unwrap_err();
    assert!(matches!(error, RedisError::BadEntry { .. }), "{error}");
    assert!(error.to_string().contains("entry 2-0"), "{error}");

    let mut set = redis::cmd("HSET");
    set.arg(keys::SERIES)
        .arg(&["nonsense", "{}", "C2USDT:15m", "[", "C3USDT:15m"]);
    let () = set.arg(b"\xff\xfe").query_async(&mut client).await.unwrap();
    let stored = log::read_series(&mut link).await.unwrap();
    assert_eq!(stored.into_iter().collect::<Vec<_>>(), told);
}
