//! REST: good and bad answers, and what is advised about each.

use std::io::Write;
use std::time::Duration;

use hamacast::clock::ExchangeClock;
use hamacast::exchange::binance::{Binance, BinanceSettings, Times};
use hamacast::exchange::{
    Advice, CandleRequest, ContractKind, ContractStatus, ExchangeError, Proof,
};
use hamacast::market::{Candle, OpenTime, TimeMs};
use hamacast::tasks::Tasks;

use super::script::{Answer, HttpScript};
use super::{NOW, OPEN_MS, clock, key, times, within};

const MINUTE_MS: i64 = 60_000;
const NEXT_MINUTE: TimeMs = TimeMs::new(OPEN_MS + MINUTE_MS);

fn binance(rest_url: &str) -> Binance {
    with(rest_url, times(), clock())
}

fn with(rest_url: &str, times: Times, clock: ExchangeClock) -> Binance {
    let settings = BinanceSettings {
        rest_url: rest_url.into(),
        times,
        ..BinanceSettings::default()
    };
    Binance::new(&settings, clock).unwrap()
}

/// The last `limit` closed candles at `NOW`.
fn last(limit: u16) -> CandleRequest {
    CandleRequest {
        key: key("币安人生USDT"),
        from: None,
        until: OpenTime::from_ms(OPEN_MS - MINUTE_MS),
        limit,
        proof: Proof::Clock,
    }
}

fn row(open_ms: i64) -> String {
    let close_ms = open_ms + MINUTE_MS - 1;
    format!(
        r#"[{open_ms},"83074.10","83128.30","83040.10","83070.80","116.857",{close_ms},"9709518.1",3885,"83.9","69.4","0"]"#
    )
}

/// The last `count` closed rows at `NOW`, oldest first.
fn rows(count: i64) -> String {
    let rows: Vec<_> = (1..=count)
        .rev()
        .map(|back| row(OPEN_MS - back * MINUTE_MS))
        .collect();
    format!("[{}]", rows.join(","))
}

async fn answered(answer: Answer) -> Result<Vec<Candle>, ExchangeError> {
    let server = HttpScript::start(vec![answer]).await;
    within("an answer", binance(&server.url).candles(&last(3))).await
}

async fn error(answer: Answer) -> ExchangeError {
    answered(answer).await.unwrap_err()
}

/// The error of a client that waits 200 ms for an answer.
async fn hasty_error(answer: Answer) -> ExchangeError {
    let server = HttpScript::start(vec![answer]).await;
    let hasty = Times {
        answer: Duration::from_millis(200),
        ..times()
    };
    let binance = with(&server.url, hasty, clock());
    within("an error", binance.candles(&last(3)))
        .await
        .unwrap_err()
}

#[tokio::test]
async fn h27_candles_are_asked_for_by_utf8_name_with_end_and_limit_and_come_oldest_first() {
    let server = HttpScript::start(vec![Answer::ok(&rows(3))]).await;
    let mut request = last(3);
    request.from = Some(OpenTime::from_ms(OPEN_MS - 3 * MINUTE_MS));
    let candles = binance(&server.url).candles(&request).await.unwrap();
    let opens: Vec<_> = candles.iter().map(|candle| candle.open_time.ms()).collect();
    let expected: Vec<_> = (1..=3).rev().map(|n| OPEN_MS - n * MINUTE_MS).collect();
    assert_eq!(opens, expected);
    let first = candles[0];
    assert_eq!(
        [first.open, first.high, first.low, first.close, first.volume],
        [83_074.1, 83_128.3, 83_040.1, 83_070.8, 116.857]
    );
    let name = "%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT";
    assert_eq!(
        server.asked(),
        [format!(
            "GET /fapi/v1/klines?symbol={name}&interval=1m&endTime={}&limit=3&startTime={}",
            OPEN_MS - 1,
            OPEN_MS - 3 * MINUTE_MS
        )]
    );
}

#[tokio::test]
async fn no_rows_are_an_answer_too() {
    assert_eq!(answered(Answer::ok("[]")).await.unwrap(), []);
}

#[tokio::test]
async fn h32_one_bad_row_rejects_the_whole_answer_with_its_reason() {
    let old = OPEN_MS - 2 * MINUTE_MS;
    let new = OPEN_MS - MINUTE_MS;
    let bad = |from: &str, to: &str| format!("[{},{}]", row(old), row(new).replace(from, to));
    let cases = [
        (bad("83074.10", "NaN"), "open is not a decimal number"),
        (bad("83074.10", "1e5"), "open is not a decimal number"),
        (bad("83040.10", "0"), "low is 0, a price must be above 0"),
        (bad("83128.30", "83000"), "low 83040.1 is above high 83000"),
        (bad("116.857", "-1"), "volume -1 is below 0"),
        (
            bad(&new.to_string(), &(new - 1).to_string()),
            "off its interval's grid",
        ),
        (
            bad(&(OPEN_MS - 1).to_string(), &OPEN_MS.to_string()),
            "closes at 1791383640000 instead of 1791383639999",
        ),
        (
            format!("[{},{}]", row(old), row(old)),
            "not after the row before",
        ),
        (
            format!("[{},{}]", row(new), row(old)),
            "not after the row before",
        ),
        (
            format!("[{},{}]", row(new), row(OPEN_MS)),
            "outside of what was asked",
        ),
    ];
    for (body, reason) in cases {
        let error = error(Answer::ok(&body)).await;
        assert!(error.to_string().contains(reason), "{error} for {body}");
        assert!(error.to_string().contains("row 1"), "{error}");
        assert_eq!(error.advice(), Advice::BackOff, "{body}");
    }
}

#[tokio::test]
async fn h32_an_answer_of_another_shape_is_refused_whole() {
    let unreadable = [
        "",
        "{}",
        "null",
        "<html>captive portal</html>",
        "[[1]]",
        "[[\"a\"]]",
        "[{}]",
        r#"[[1791383580000,1.0,"1","1","1","1",1791383639999]]"#,
    ];
    for body in unreadable {
        let error = error(Answer::ok(body)).await;
        assert!(
            matches!(error, ExchangeError::Unreadable { .. }),
            "{error:?} for {body}"
        );
        assert_eq!(error.advice(), Advice::BackOff);
    }
    let cut = rows(3);
    let error = error(Answer::ok(&cut[..cut.len() - 9])).await;
    assert!(matches!(error, ExchangeError::Unreadable { .. }));
    let error = self::error(Answer::ok(&rows(4))).await;
    assert!(matches!(error, ExchangeError::TooManyRows { rows: 4, .. }));
}

#[tokio::test]
async fn every_refusal_says_what_to_do() {
    let json = |code: i64| format!(r#"{{"code":{code},"msg":"what it said"}}"#);
    let cases = [
        (400, json(-1121), Advice::GiveUp),
        (400, json(-1001), Advice::BackOff),
        (400, json(-1003), Advice::WaitUntil(NEXT_MINUTE)),
        (401, json(-2014), Advice::AskTheOperator),
        (
            403,
            "<html>what it said</html>".into(),
            Advice::AskTheOperator,
        ),
        (404, "what it said".into(), Advice::AskTheOperator),
        (408, "what it said".into(), Advice::BackOff),
        (451, json(0), Advice::AskTheOperator),
        (302, "what it said".into(), Advice::BackOff),
        (500, json(-1000), Advice::BackOff),
        (503, "what it said".into(), Advice::BackOff),
        (504, String::new(), Advice::BackOff),
    ];
    for (status, body, advice) in cases {
        let error = error(Answer::new(status, "", body.as_bytes())).await;
        match (error.advice(), advice) {
            (Advice::WaitUntil(at), Advice::WaitUntil(_)) => assert!(at >= NEXT_MINUTE),
            (given, expected) => assert_eq!(given, expected, "{status} {body}: {error}"),
        }
        let said = body.is_empty() || error.to_string().contains("what it said");
        assert!(
            said || matches!(error, ExchangeError::Limited { .. }),
            "{error}"
        );
        let region = error.to_string().contains("set PROXY_URL");
        assert_eq!(region, matches!(status, 403 | 451), "{error}");
    }
}

#[tokio::test]
async fn h30_a_429_and_a_ban_hold_every_request_for_as_long_as_they_say() {
    let ban = br#"{"code":-1003,"msg":"Way too many requests; IP banned until 1791384000000."}"#;
    let cases: [(u16, &str, &[u8], i64); 5] = [
        (429, "Retry-After: 33\r\n", b"", 33_000),
        (429, "", b"{}", 50_000),
        (418, "Retry-After: 600\r\n", b"", 600_000),
        (418, "", b"", 120_000),
        (418, "", ban, 1_791_384_000_000 - NOW.ms()),
    ];
    for (status, headers, body, wait_ms) in cases {
        let server = HttpScript::start(vec![Answer::new(status, headers, body)]).await;
        let binance = binance(&server.url);
        let first = binance.candles(&last(3)).await.unwrap_err();
        let Advice::WaitUntil(at) = first.advice() else {
            panic!("{first}");
        };
        let told = at.ms_since(NOW);
        assert!(
            (wait_ms..wait_ms + 2_000).contains(&told),
            "{status}: {told}"
        );
        assert_eq!(binance.held_until(), Some(at));
        let second = binance.contracts().await.unwrap_err();
        assert!(
            matches!(second, ExchangeError::BudgetSpent { .. }),
            "{second}"
        );
        assert!(matches!(second.advice(), Advice::WaitUntil(then) if then >= at));
        assert_eq!(server.asked().len(), 1, "nothing more was sent");
    }
}

#[tokio::test]
async fn h30_the_exchanges_count_spends_our_budget_until_the_next_clock_minute() {
    let counted = Answer::new(200, "X-MBX-USED-WEIGHT-1M: 2159\r\n", rows(3).as_bytes());
    let server = HttpScript::start(vec![counted, Answer::ok(&rows(3))]).await;
    let clock = clock();
    let binance = with(&server.url, times(), clock.clone());
    binance.candles(&last(3)).await.unwrap();
    assert_eq!(binance.weight_used(), 2_159);
    let error = binance.candles(&last(499)).await.unwrap_err();
    let Advice::WaitUntil(at) = error.advice() else {
        panic!("{error}");
    };
    assert!((0..10).contains(&at.ms_since(NEXT_MINUTE)), "{at}");
    assert_eq!(server.asked().len(), 1, "nothing was sent");
    clock.set(at, 1.0, Duration::ZERO);
    binance.candles(&last(499)).await.unwrap();
    assert_eq!(binance.weight_used(), 2);
}

#[tokio::test]
async fn h32_a_body_that_breaks_off_stalls_or_never_comes_is_no_answer() {
    let whole = Answer::ok(&rows(3));
    let broken = error(whole.clone().cut_from_end(20)).await;
    assert!(
        matches!(broken, ExchangeError::Unreachable { .. }),
        "{broken:?}"
    );
    let stalled = hasty_error(whole.clone().cut_from_end(20).then_hang()).await;
    assert!(
        matches!(stalled, ExchangeError::TimedOut { .. }),
        "{stalled:?}"
    );
    let silent = hasty_error(Answer::raw(String::new(), b"").then_hang()).await;
    assert!(
        matches!(silent, ExchangeError::TimedOut { .. }),
        "{silent:?}"
    );
    let refused = binance("http://127.0.0.1:1")
        .candles(&last(3))
        .await
        .unwrap_err();
    assert!(
        matches!(refused, ExchangeError::Unreachable { .. }),
        "{refused:?}"
    );
    for error in [broken, stalled, silent, refused] {
        assert_eq!(error.advice(), Advice::BackOff, "{error}");
    }
}

#[tokio::test]
async fn a_429_whose_body_never_comes_still_holds() {
    let answer = Answer::new(429, "Retry-After: 20\r\n", b"{}").cut_from_end(1);
    let error = hasty_error(answer.then_hang()).await;
    assert!(matches!(error.advice(), Advice::WaitUntil(_)), "{error}");
}

#[tokio::test]
async fn gzip_is_read_and_a_bomb_is_not() {
    let zipped = |body: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(body).unwrap();
        let body = encoder.finish().unwrap();
        Answer::new(200, "Content-Encoding: gzip\r\n", &body)
    };
    let candles = answered(zipped(rows(3).as_bytes())).await.unwrap();
    assert_eq!(candles.len(), 3);
    let server = HttpScript::start(vec![zipped(&vec![b' '; 17 * 1024 * 1024])]).await;
    let binance = binance(&server.url);
    let error = binance.candles(&last(3)).await.unwrap_err();
    assert!(matches!(error, ExchangeError::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn h01_what_is_not_closed_or_makes_no_sense_is_never_asked() {
    let server = HttpScript::start(vec![Answer::ok("[]")]).await;
    let binance = binance(&server.url);
    let mut open = last(3);
    open.until = OpenTime::from_ms(OPEN_MS);
    let advice = binance.candles(&open).await.unwrap_err().advice();
    assert_eq!(advice, Advice::WaitUntil(NEXT_MINUTE));
    let mut off_grid = last(3);
    off_grid.until = OpenTime::from_ms(OPEN_MS - 1_000);
    let mut backwards = last(3);
    backwards.from = Some(OpenTime::from_ms(OPEN_MS));
    for request in [last(0), last(1_501), off_grid, backwards] {
        let error = binance.candles(&request).await.unwrap_err();
        assert_eq!(error.advice(), Advice::GiveUp, "{error}");
    }
    assert_eq!((server.asked().len(), binance.weight_used()), (0, 0));
}

#[tokio::test]
async fn h33_one_unknown_word_or_bad_row_costs_no_other_contract() {
    use ContractKind::{Other, Perpetual};
    use ContractStatus::{Ended, Other as Unknown, Pending, Trading};
    let contract = |name: &str, kind: &str, status: &str| {
        format!(
            r#"{{"symbol":"{name}","contractType":"{kind}","status":"{status}","baseAsset":"B","quoteAsset":"USDT",
            "marginAsset":"USDT","onboardDate":1569398400000,"pricePrecision":2,"new":{{"a":[1]}},
            "filters":[{{"filterType":"NEW"}},{{"filterType":"PRICE_FILTER","tickSize":"0.10"}}]}}"#
        )
    };
    let listed = [
        contract("BTCUSDT", "PERPETUAL", "TRADING"),
        contract("NEWUSDT", "PERPETUAL", "PENDING_TRADING"),
        contract("XAUUSDT", "TRADIFI_PERPETUAL", "TRADING"),
        contract("BTCUSDT_261225", "CURRENT_QUARTER", "TRADING"),
        contract("OMGUSDT", "PERPETUAL", "SETTLING"),
        contract("MOONUSDT", "PERPETUAL", "A_NEW_STATUS"),
        contract("bad name", "PERPETUAL", "TRADING"),
        r#"{"symbol":7}"#.into(),
        contract("币安人生USDT", "PERPETUAL", "TRADING").replace("0.10", "x"),
    ];
    let body = format!(r#"{{"timezone":"UTC","symbols":[{}]}}"#, listed.join(","));
    let server = HttpScript::start(vec![Answer::ok(&body)]).await;
    let contracts = binance(&server.url).contracts().await.unwrap();
    assert_eq!((contracts.rows.len(), contracts.skipped), (7, 2));
    let seen: Vec<_> = contracts
        .rows
        .iter()
        .map(|contract| (contract.kind, contract.status, contract.tick_size))
        .collect();
    assert_eq!(
        seen,
        [
            (Perpetual, Trading, Some(0.1)),
            (Perpetual, Pending, Some(0.1)),
            (Other, Trading, Some(0.1)),
            (Other, Trading, Some(0.1)),
            (Perpetual, Ended, Some(0.1)),
            (Perpetual, Unknown, Some(0.1)),
            (Perpetual, Trading, None),
        ]
    );
    assert_eq!(contracts.rows[0].onboard_time.ms(), 1_569_398_400_000);
}

#[tokio::test]
async fn h26_tickers_leave_out_coin_margined_rows_and_count_bad_ones() {
    let ticker = |name: &str, volume: &str, more: &str| {
        format!(
            r#"{{"symbol":"{name}","lastPrice":"2.5","priceChangePercent":"-1.25","quoteVolume":"{volume}"{more}}}"#
        )
    };
    let listed = [
        ticker("BTCUSDT", "1000.5", r#","st":1"#),
        ticker("ETHUSDT", "10", ""),
        ticker("BTCUSD_PERP", "9999999", r#","st":2"#),
        ticker("BADUSDT", "much", ""),
        ticker("LESSUSDT", "-3", ""),
    ];
    let body = format!("[{}]", listed.join(","));
    let server = HttpScript::start(vec![Answer::ok(&body)]).await;
    let binance = binance(&server.url);
    let tickers = binance.tickers().await.unwrap();
    assert_eq!((tickers.rows.len(), tickers.skipped), (2, 2));
    let first = &tickers.rows[0];
    assert_eq!(
        (
            first.last_price,
            first.change_pct_24h,
            first.quote_volume_24h
        ),
        (2.5, -1.25, 1_000.5)
    );
    assert_eq!(binance.weight_used(), 40);
}

#[tokio::test]
async fn a_listing_without_one_good_row_is_no_listing() {
    for body in [r#"{"symbols":[]}"#, r#"{"symbols":[{"a":1}]}"#, "{}"] {
        let server = HttpScript::start(vec![Answer::ok(body)]).await;
        let error = binance(&server.url).contracts().await.unwrap_err();
        assert_eq!(error.advice(), Advice::BackOff, "{body}");
    }
}

#[tokio::test]
async fn the_time_tells_whether_the_exchange_is_simulated_and_how_fast() {
    let server = HttpScript::start(vec![
        Answer::ok(r#"{"serverTime":1791383675683}"#),
        Answer::ok(r#"{"serverTime":1791383675683,"simSpeed":60}"#),
        Answer::ok(r#"{"serverTime":1791383675683,"simSpeed":-1}"#),
        Answer::ok(r#"{"serverTime":0}"#),
    ])
    .await;
    let binance = binance(&server.url);
    let real = binance.server_time().await.unwrap();
    assert_eq!(real.time.ms(), 1_791_383_675_683);
    assert_eq!((real.speed, real.simulated), (1.0, false));
    let simulated = binance.server_time().await.unwrap();
    assert_eq!((simulated.speed, simulated.simulated), (60.0, true));
    assert!(binance.server_time().await.is_err());
    assert!(binance.server_time().await.is_err());
}

#[tokio::test]
async fn h31_a_refusal_holds_before_its_body_has_come() {
    let head = "HTTP/1.1 451 X\r\nContent-Length: 9\r\n\r\n".to_owned();
    let server = HttpScript::start(vec![Answer::raw(head, b"").then_hang()]).await;
    let binance = binance(&server.url);
    let asking = binance.clone();
    let tasks = Tasks::new();
    tasks.spawn_short("who is refused", async move {
        let _refused = asking.candles(&last(3)).await;
    });
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let held = async {
        while binance.refusal().is_none() {
            tick.tick().await;
        }
        binance.candles(&last(3)).await.unwrap_err()
    };
    let error = within("a refusal", held).await;
    assert_eq!(error.advice(), Advice::AskTheOperator);
    assert_eq!(server.asked().len(), 1, "one was sent");
}

#[tokio::test]
async fn h09_no_request_follows_one_that_timed_out_on_its_connection() {
    let silent = Answer::raw(String::new(), b"").then_hang();
    let server = HttpScript::start(vec![silent, Answer::ok(&rows(3))]).await;
    let hasty = Times {
        answer: Duration::from_millis(200),
        ..times()
    };
    let hasty = with(&server.url, hasty, clock());
    let error = within("an error", hasty.candles(&last(3))).await;
    assert!(
        matches!(error, Err(ExchangeError::TimedOut { .. })),
        "{error:?}"
    );
    let answer = within("an answer", hasty.candles(&last(3))).await;
    assert_eq!(answer.unwrap().len(), 3);
}
