//! What REST refuses, and how: every error is a problem document that says what is allowed; none is ours.

use hamacast::market::{Interval, SeriesStatus};
use hamacast::signal::SignalResult;

use crate::support::http_room::{Room, result, written};

#[tokio::test]
async fn a_bad_value_is_refused_with_what_is_allowed() {
    let room = Room::start_live().await;
    let cases = [
        (
            "signals?interval=17m",
            "bad-interval",
            "allowed: 1m 3m 5m 15m",
        ),
        (
            "signals?interval=15M",
            "bad-interval",
            "'15M' is no interval",
        ),
        (
            "signals?interval=4h",
            "interval-not-watched",
            "watched: 15m 1h",
        ),
        (
            "signals/BTCUSDT?interval=4h",
            "interval-not-watched",
            "watched: 15m 1h",
        ),
        (
            "signals?recommendation=STRONG",
            "bad-recommendation",
            "allowed: BUY SELL HOLD",
        ),
        (
            "signals?status=up",
            "bad-status",
            "allowed: live warming stale dirty ended stopped",
        ),
        ("signals?view=half", "bad-view", "allowed: full confirmed"),
        (
            "changes?limit=0",
            "bad-limit",
            "'0' allowed: a whole number from 1 to 1000",
        ),
        ("changes?limit=1001", "bad-limit", "from 1 to 1000"),
        ("changes?limit=ten", "bad-limit", "from 1 to 1000"),
        ("changes?since=-1", "bad-since", "a whole number from 0"),
        ("changes?since=1.5", "bad-since", "a whole number from 0"),
        (
            "changes?since=99999999999999999999",
            "bad-since",
            "a whole number from 0",
        ),
        (
            "changes?since=18446744073709551615",
            "bad-since",
            "a whole number from 0",
        ),
        ("changes?wait=26", "bad-wait", "from 0 to 25"),
        (
            "changes?interval=15m,1h",
            "bad-interval",
            "'15m,1h' is no interval",
        ),
        ("changes?since=1&since=2", "bad-since", "given twice"),
        ("candles/BTCUSDT?limit=1501", "bad-limit", "from 1 to 1500"),
    ];
    for (call, slug, says) in cases {
        let detail = room.problem(&format!("/api/v1/{call}"), 400, slug).await;
        assert!(detail.contains(says), "{call}: {detail}");
    }
}

#[tokio::test]
async fn an_unknown_symbol_is_not_found_and_every_one_is_named() {
    let room = Room::start_live().await;
    for call in [
        "signals/FOOUSDT",
        "candles/FOOUSDT",
        "changes?symbol=FOOUSDT",
        "signals/BTC-USDT",
    ] {
        let detail = room
            .problem(&format!("/api/v1/{call}"), 404, "unknown-symbol")
            .await;
        assert!(detail.ends_with("; see /api/v1/symbols"), "{detail}");
    }
    let path = "/api/v1/signals?symbols=BTCUSDT,FOO,BAR";
    let detail = room.problem(path, 404, "unknown-symbol").await;
    assert_eq!(detail, "unknown symbols 'FOO', 'BAR'; see /api/v1/symbols");
    room.problem("/api/v1/signals/%FF%FE", 400, "bad-path")
        .await;
}

#[tokio::test]
async fn a_watched_series_without_a_result_says_to_come_back() {
    let room = Room::start().await;
    let response = room
        .request("/api/v1/signals/BTCUSDT")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "5");
    room.problem("/api/v1/signals/BTCUSDT", 503, "no-result-yet")
        .await;
}

#[tokio::test]
async fn an_engine_that_is_gone_is_a_503_and_a_delisted_contract_is_still_known() {
    let mut room = Room::start_live().await;
    let ended = SignalResult {
        status: SeriesStatus::Ended,
        ..result("LUNAUSDT", Interval::M15)
    };
    room.write(vec![written(ended)]);
    assert_eq!(
        room.get("/api/v1/signals/LUNAUSDT").await.1["status"],
        "ended"
    );
    room.orders.close();
    room.problem("/api/v1/candles/BTCUSDT", 503, "engine-busy")
        .await;
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_are_problems_too() {
    let room = Room::start_live().await;
    for path in [
        "/api/v1/nothing",
        "/api/v2/signals",
        "/api",
        "/nowhere.js",
        "/stream/abc",
    ] {
        room.problem(path, 404, "unknown-path").await;
    }
    let posted = room
        .client
        .post(room.url("/api/v1/signals"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (posted.status().as_u16(), &posted.headers()["allow"]),
        (405, &"GET,HEAD".parse().unwrap())
    );
    assert_eq!(posted.headers()["content-type"], "application/problem+json");
    let head = room
        .client
        .head(room.url("/api/v1/status"))
        .send()
        .await
        .unwrap();
    assert_eq!(head.status(), 200);
}

const CALLS: [&str; 6] = [
    "signals",
    "signals/BTCUSDT",
    "changes",
    "symbols",
    "status",
    "signals/%F0%9F",
];
const NAMES: [&str; 11] = [
    "interval",
    "recommendation",
    "symbols",
    "symbol",
    "status",
    "view",
    "since",
    "epoch",
    "limit",
    "%00",
    "",
];
const VALUES: [&str; 26] = [
    "15m",
    "1h",
    "all",
    "BUY",
    "btcusdt",
    "0",
    "1",
    "-1",
    "1e3",
    "%2B1",
    "18446744073709551615",
    "18446744073709551616",
    "NaN",
    "%",
    "%zz",
    "%FF",
    "%00",
    ",",
    ",,,",
    "a,b",
    "[]",
    "{}",
    "''",
    "%E5%B8%81",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "",
];

/// Xorshift: the same queries in every run.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).unwrap()
    }
}

#[tokio::test]
async fn no_query_string_makes_the_server_fail() {
    let room = Room::start_live().await;
    let mut seeded = Seeded(0x5EED);
    for _ in 0..600 {
        let pairs: Vec<_> = (0..seeded.below(5))
            .map(|_| {
                format!(
                    "{}={}",
                    NAMES[seeded.below(NAMES.len())],
                    VALUES[seeded.below(VALUES.len())]
                )
            })
            .collect();
        let path = format!(
            "/api/v1/{}?{}",
            CALLS[seeded.below(CALLS.len())],
            pairs.join("&")
        );
        let response = room.request(&path).send().await.unwrap();
        let status = response.status().as_u16();
        assert!([200, 400, 404, 410].contains(&status), "{path}: {status}");
        if status != 200 {
            assert_eq!(
                response.headers()["content-type"],
                "application/problem+json",
                "{path}"
            );
        }
    }
}
