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
    /// A request was refused.
    Refused { code: i64, message: String },
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
    if memmem::find(text.as_bytes(), b"\"stream\"").is_some() {
        return serde_json::from_str(text).map(Message::Candle);
    }
    let reply: Reply = serde_json::from_str(text)?;
    match reply {
        Reply {
            error: Some(error), ..
        } => Ok(Message::Refused {
            code: error.code,
            message: error.msg.chars().take(200).collect(),
        }),
        Reply { id: Some(id), .. } => Ok(Message::Accepted { id }),
        Reply { id: None, .. } => Err(serde::de::Error::custom("neither a candle nor an answer")),
    }
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
    fn answers_are_told_from_refusals() {
        assert!(matches!(
            read(r#"{"result":null,"id":7}"#),
            Ok(Message::Accepted { id: 7 })
        ));
        assert!(matches!(
            read(r#"{"error":{"code":4,"msg":"Too many subscriptions"},"id":7}"#),
            Ok(Message::Refused { code: 4, .. })
        ));
        for bad in ["", "[]", "{}", "null", r#"{"stream":"a"}"#, "{\"id\":-1}"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
