//! What a text frame says. A candle event is read in one pass with its texts borrowed from the frame; nothing is believed
//! here but the JSON's shape. Names may be escaped (`\u5e01`), numbers never are.

use std::borrow::Cow;

use memchr::memmem;
use serde::Deserialize;

/// A frame's content.
#[derive(Debug)]
pub(super) enum Message<'a> {
    /// A candle, open or closed.
    Candle(CandleFrame<'a>),
    /// The request numbered `id` was accepted; that proves no delivery (hazard 7).
    Accepted { id: u64 },
    /// A request was refused, the one numbered `id` if it says so.
    Refused {
        id: Option<u64>,
        code: i64,
        message: String,
    },
    /// News of a contract: listed, settled, brackets changed.
    Listing { symbol: String, status: String },
    /// News of a contract of another market, which shares this stream since 2026-06-30 (hazard 26).
    ElsewhereListed,
    /// The exchange is about to close this connection. Documented for its other streams only.
    Shutdown,
}

/// `{"stream":..,"data":{..}}`.
#[derive(Debug, Deserialize)]
pub(super) struct CandleFrame<'a> {
    #[serde(borrow)]
    pub(super) stream: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) data: CandleEvent<'a>,
}

#[derive(Debug, Deserialize)]
pub(super) struct CandleEvent<'a> {
    #[serde(rename = "e")]
    pub(super) kind: &'a str,
    #[serde(rename = "E")]
    pub(super) event_time: i64,
    #[serde(rename = "s", borrow)]
    pub(super) symbol: Cow<'a, str>,
    #[serde(rename = "k", borrow)]
    pub(super) candle: WireCandle<'a>,
}

#[derive(Debug, Deserialize)]
pub(super) struct WireCandle<'a> {
    #[serde(rename = "t")]
    pub(super) open_time: i64,
    #[serde(rename = "T")]
    pub(super) close_time: i64,
    #[serde(rename = "s", borrow)]
    pub(super) symbol: Cow<'a, str>,
    #[serde(rename = "i")]
    pub(super) interval: &'a str,
    #[serde(rename = "o")]
    pub(super) open: &'a str,
    #[serde(rename = "h")]
    pub(super) high: &'a str,
    #[serde(rename = "l")]
    pub(super) low: &'a str,
    #[serde(rename = "c")]
    pub(super) close: &'a str,
    #[serde(rename = "v")]
    pub(super) volume: &'a str,
    #[serde(rename = "x")]
    pub(super) closed: bool,
}

/// Any event, wrapped or not, as far as its kind.
#[derive(Debug, Deserialize)]
struct Any {
    e: Option<String>,
    data: Option<Notice>,
    event: Option<Notice>,
}

#[derive(Debug, Deserialize)]
struct Notice {
    e: String,
    #[serde(default)]
    s: String,
    #[serde(default)]
    cs: String,
    /// The market: 2 is COIN-M.
    st: Option<u8>,
}

#[derive(Debug, Deserialize)]
struct Reply {
    id: Option<u64>,
    error: Option<ReplyError>,
}

#[derive(Debug, Deserialize)]
struct ReplyError {
    code: i64,
    #[serde(default)]
    msg: String,
}

/// Reads a frame.
pub(super) fn read(text: &str) -> Result<Message<'_>, serde_json::Error> {
    let is_wrapped = memmem::find(text.as_bytes(), b"\"stream\"").is_some();
    if is_wrapped && let Ok(candle) = serde_json::from_str(text) {
        return Ok(Message::Candle(candle));
    }
    if let Some(notice) = notice(text)? {
        return Ok(notice);
    }
    let reply: Reply = serde_json::from_str(text)?;
    match reply {
        Reply {
            id,
            error: Some(error),
        } => Ok(Message::Refused {
            id,
            code: error.code,
            message: error.msg.chars().take(200).collect(),
        }),
        Reply { id: Some(id), .. } => Ok(Message::Accepted { id }),
        Reply { id: None, .. } => Err(serde::de::Error::custom("neither a candle nor an answer")),
    }
}

/// What is neither a candle nor an answer, where we know its kind.
fn notice(text: &str) -> Result<Option<Message<'static>>, serde_json::Error> {
    let any: Any = serde_json::from_str(text)?;
    if any.e.as_deref() == Some("serverShutdown") {
        return Ok(Some(Message::Shutdown));
    }
    let Some(notice) = any.data.or(any.event) else {
        return Ok(None);
    };
    Ok(match notice.e.as_str() {
        "serverShutdown" => Some(Message::Shutdown),
        "contractInfo" if notice.st == Some(2) => Some(Message::ElsewhereListed),
        "contractInfo" => Some(Message::Listing {
            symbol: short(&notice.s),
            status: short(&notice.cs),
        }),
        _ => None,
    })
}

/// What is only for people to read is not kept at any length.
fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h27_an_escaped_name_is_read_like_a_plain_one() {
        let text = r#"{"stream":"\u5e01usdt@kline_1m","data":{"e":"kline","E":2,"s":"\u5e01USDT","k":{"t":0,"T":59999,
            "s":"币USDT","i":"1m","o":"1","h":"1","l":"1","c":"1","v":"0","x":true,"new":[{}]}}}"#;
        let Message::Candle(frame) = read(text).unwrap() else {
            panic!("a candle");
        };
        assert_eq!(frame.stream, "币usdt@kline_1m");
        assert_eq!(frame.data.symbol, frame.data.candle.symbol);
        assert!(frame.data.candle.closed);
    }

    #[test]
    fn h24_news_of_contracts_are_read_and_those_of_another_market_are_not_ours() {
        let text = r#"{"stream":"!contractInfo","data":{"e":"contractInfo","E":1669356423908,"s":"IOTAUSDT","ps":"IOTAUSDT",
            "ct":"PERPETUAL","dt":4133404800000,"ot":1569398400000,"cs":"SETTLING","st":1,"bks":[{"bs":1}]}}"#;
        let Ok(Message::Listing { symbol, status }) = read(text) else {
            panic!("news of a contract");
        };
        assert_eq!((symbol.as_str(), status.as_str()), ("IOTAUSDT", "SETTLING"));
        let other = text.replace(r#""st":1"#, r#""st":2"#);
        assert!(matches!(read(&other), Ok(Message::ElsewhereListed)));
    }

    #[test]
    fn h11_an_announced_shutdown_is_understood_wrapped_or_not() {
        for text in [
            r#"{"e":"serverShutdown","E":1}"#,
            r#"{"stream":"x","data":{"e":"serverShutdown","E":1}}"#,
            r#"{"event":{"e":"serverShutdown","E":1}}"#,
        ] {
            assert!(matches!(read(text), Ok(Message::Shutdown)), "{text}");
        }
    }

    #[test]
    fn answers_are_told_from_refusals() {
        assert!(matches!(
            read(r#"{"result":null,"id":7}"#),
            Ok(Message::Accepted { id: 7 })
        ));
        assert!(matches!(
            read(r#"{"error":{"code":4,"msg":"Too many subscriptions"},"id":7}"#),
            Ok(Message::Refused {
                id: Some(7),
                code: 4,
                ..
            })
        ));
        for bad in ["", "[]", "{}", "null", r#"{"stream":"a"}"#, "{\"id\":-1}"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
