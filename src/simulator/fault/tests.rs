//! Tests of the fault model: the JSON shape, scopes, windows, counts, shares.

use super::*;
use crate::market::{Interval, Symbol, TimeMs};

const NOW: TimeMs = TimeMs::new(1_767_225_600_000);

fn refused(json: &str) -> String {
    Fault::parse_all(json).unwrap_err().to_string()
}

fn faults(seed: u64, json: &str) -> Faults {
    let faults = Faults::new(seed);
    faults.add(Fault::parse_all(json).unwrap(), NOW).unwrap();
    faults
}

/// How often `rest.*` strikes a key that is asked for `times` times, and when.
fn strikes(faults: &Faults, now: TimeMs, place: &Place<'_>, times: usize) -> Vec<bool> {
    let ask = |_| {
        !faults
            .strike(now, place, "key", |kind| {
                matches!(kind, FaultKind::Rest(_)).then_some(())
            })
            .is_empty()
    };
    (0..times).map(ask).collect()
}

#[test]
fn what_is_written_is_read_again_as_the_same() {
    let json = r#"[
        {"kind":"transport.close","code":1012,"reason":"restart","connection":3,"count":1},
        {"kind":"rest.status","status":429,"retry_after_secs":9,"path":"/fapi/v1/klines","share":0.25},
        {"kind":"stream.drop_close","symbol":"btcusdt","interval":"1m","after_ms":60000,"for_ms":300000},
        {"kind":"subscription.partial","deliver":3,"connection":"all"}]"#;
    let faults = Fault::parse_all(json).unwrap();
    let again = Fault::parse_all(&serde_json::to_string(&faults).unwrap()).unwrap();
    assert_eq!(faults, again);
    assert_eq!(
        faults[2].scope.symbol,
        Some(Symbol::parse("BTCUSDT").unwrap())
    );
    assert_eq!(faults[1].name(), "rest.status");
}

#[test]
fn what_is_not_understood_is_refused_with_what_is_allowed() {
    let wrong = [
        ("{", "JSON"),
        ("7", "neither"),
        ("{}", "missing: allowed are the groups transport"),
        (
            r#"{"kind":"weather.rain"}"#,
            "allowed are the groups transport",
        ),
        (
            r#"{"kind":"transport.rest"}"#,
            "expected one of `reset`, `close`",
        ),
        (
            r#"{"kind":"transport.close","code":1000,"colour":1}"#,
            "unknown field `colour`",
        ),
        (
            r#"{"kind":"transport.reset","code":1000}"#,
            "unknown field `code`",
        ),
        (r#"{"kind":"transport.close"}"#, "missing field `code`"),
        (
            r#"{"kind":"transport.close","code":1005}"#,
            "allowed 1000 to 1003",
        ),
        (r#"{"kind":"rest.status","status":200}"#, "allowed 403, 408"),
        (r#"{"kind":"rest.empty","share":1.5}"#, "allowed 0 to 1"),
        (r#"{"kind":"rest.empty","count":0}"#, "allowed 1 and more"),
        (
            r#"{"kind":"rest.empty","connection":3}"#,
            "its scope is path, symbol, interval",
        ),
        (
            r#"{"kind":"rest.empty","from_ms":5,"to_ms":5}"#,
            "end before it begins",
        ),
        (
            r#"{"kind":"rest.empty","from_ms":5,"after_ms":5}"#,
            "one of them",
        ),
        (r#"{"kind":"rest.empty","symbol":"a-b"}"#, "is no symbol"),
        (r#"{"kind":"rest.empty","interval":"7m"}"#, "`1m`"),
        (
            r#"{"kind":"rest.empty","path":"fapi"}"#,
            "begins with a slash",
        ),
        (r#"{"kind":"stream.jump","connection":"some"}"#, "\"all\""),
        (
            r#"[{"kind":"rest.empty"},{"kind":"rest.full"}]"#,
            "fault 2 of 2",
        ),
    ];
    for (json, says) in wrong {
        let message = refused(json);
        assert!(message.contains(says), "{json}: {message}");
    }
}

#[test]
fn a_fault_strikes_in_its_place_and_its_time() {
    let faults = faults(
        1,
        r#"{"kind":"rest.empty","path":"/fapi/v1/klines","symbol":"BTCUSDT","interval":"1h","after_ms":1000,"for_ms":500}"#,
    );
    let bitcoin = Symbol::parse("BTCUSDT").unwrap();
    let other = Symbol::parse("ETHUSDT").unwrap();
    let place = Place {
        path: Some("/fapi/v1/klines"),
        symbol: Some(bitcoin),
        interval: Some(Interval::H1),
        connection: None,
        opened: None,
    };
    let then = NOW.plus_ms(1_000);
    assert_eq!(strikes(&faults, NOW.plus_ms(999), &place, 1), [false]);
    assert_eq!(strikes(&faults, then, &place, 2), [true, true]);
    assert_eq!(strikes(&faults, then.plus_ms(500), &place, 1), [false]);
    let elsewhere = [
        Place {
            path: Some("/fapi/v1/time"),
            ..place.clone()
        },
        Place {
            symbol: Some(other),
            ..place.clone()
        },
        Place {
            symbol: None,
            ..place.clone()
        },
        Place {
            interval: Some(Interval::M1),
            ..place.clone()
        },
    ];
    for place in elsewhere {
        assert_eq!(strikes(&faults, then, &place, 1), [false], "{place:?}");
    }
    let report = faults.report(then.plus_ms(500));
    assert_eq!(
        (report.faults[0].strikes, report.faults[0].state),
        (2, FaultState::Over)
    );
    assert_eq!(report.faults[0].fault.scope.from_ms, Some(then.ms()));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["faults"][0]["kind"], "rest.empty");
    assert_eq!(json["faults"][0]["state"], "over");
}

#[test]
fn a_count_is_an_end_and_a_share_is_the_seeds() {
    let place = Place::default();
    let counted = faults(1, r#"{"kind":"rest.empty","count":2}"#);
    assert_eq!(
        strikes(&counted, NOW, &place, 4),
        [true, true, false, false]
    );
    assert_eq!(counted.report(NOW).faults[0].state, FaultState::Over);
    let json = r#"{"kind":"rest.empty","share":0.25}"#;
    let first = strikes(&faults(7, json), NOW, &place, 4_000);
    assert_eq!(first, strikes(&faults(7, json), NOW, &place, 4_000));
    assert_ne!(first, strikes(&faults(8, json), NOW, &place, 4_000));
    let taken = first.iter().filter(|taken| **taken).count();
    assert!((900..1_100).contains(&taken), "{taken}");
}

#[test]
fn what_lasts_is_decided_once_for_its_key() {
    let faults = faults(3, r#"{"kind":"transport.stall","count":1}"#);
    let holds = |key: &str| {
        let pick = |kind: &FaultKind| matches!(kind, FaultKind::Transport(_)).then_some(());
        faults.hold(NOW, &Place::default(), key, pick).len()
    };
    assert_eq!((holds("a"), holds("b"), holds("a")), (1, 0, 1));
    assert_eq!(faults.report(NOW).faults[0].strikes, 1);
    faults.clear();
    assert_eq!(holds("a"), 0);
}
