//! What clients say and how they are answered, in Binance's form. Pure: text in, request or error out.
//! An id is echoed as the very text that came (up to 2^64 - 1: never through a double). Names are checked by the shard.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::demand::Denied;
use crate::signal::{Epoch, Seq};

/// Longest id that is a string, in characters.
const ID_CHARS: usize = 64;

/// A request's id, as JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestId(String);

impl RequestId {
    /// Of what nobody asked for.
    pub(super) fn null() -> Self {
        Self("null".into())
    }
}

/// Where a reader stopped.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Cursor {
    pub(super) epoch: Epoch,
    pub(super) seq: Seq,
    /// How often the log's tail had been read when this cursor was first held; none: it was not.
    #[serde(skip)]
    pub(super) held_at_read: Option<u64>,
}

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    Subscribe {
        names: Vec<String>,
        since: Option<Cursor>,
    },
    Unsubscribe {
        names: Vec<String>,
    },
    ListSubscriptions,
    Ping,
    Auth,
    SetCombined(bool),
    GetCombined,
}

/// A request that can be answered by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) id: RequestId,
    pub(super) ask: Ask,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("unknown property '{0}'; there is 'combined'")]
    UnknownProperty(String),
    #[error("property 'combined' is true or false")]
    WrongValue,
    #[error("{0}")]
    Invalid(String),
    #[error("the watch list is not loaded yet; try again in a few seconds")]
    NotLoaded,
    #[error("invalid JSON: {0}")]
    NotJson(String),
    #[error("too many subscriptions: at most {0} streams a connection")]
    TooMany(usize),
    #[error(transparent)]
    Denied(#[from] Denied),
}

impl Refusal {
    /// Binance's code.
    const fn code(&self) -> u8 {
        match self {
            Self::UnknownProperty(_) => 0,
            Self::WrongValue => 1,
            Self::Invalid(_) | Self::NotLoaded => 2,
            Self::NotJson(_) => 3,
            Self::TooMany(_) => 4,
            Self::Denied(_) => 5,
        }
    }

    /// The answer.
    pub(super) fn answer(&self, id: &RequestId) -> String {
        let error = serde_json::json!({"code": self.code(), "msg": self.to_string()});
        format!(r#"{{"error":{error},"id":{}}}"#, id.0)
    }
}

/// The answer with this result, given as JSON.
pub(super) fn answer(result: &str, id: &RequestId) -> String {
    format!(r#"{{"result":{result},"id":{}}}"#, id.0)
}

/// Reads a client's message.
///
/// # Errors
/// Why it is refused, and the id to say it to.
pub(super) fn parse(text: &str) -> Result<Request, (Refusal, RequestId)> {
    let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text).map_err(|error| {
        let refusal = match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => invalid("a request is an object"),
            Err(_) => Refusal::NotJson(error.to_string()),
        };
        (refusal, RequestId::null())
    })?;
    let id =
        id(fields.get("id").map(AsRef::as_ref)).map_err(|refusal| (refusal, RequestId::null()))?;
    match ask(&fields) {
        Ok(ask) => Ok(Request { id, ask }),
        Err(refusal) => Err((refusal, id)),
    }
}

fn id(raw: Option<&RawValue>) -> Result<RequestId, Refusal> {
    let text = raw.map_or("null", RawValue::get);
    let fits = if text.starts_with('"') {
        serde_json::from_str::<String>(text).is_ok_and(|id| id.chars().count() <= ID_CHARS)
    } else {
        text.parse::<u64>().is_ok()
    };
    if fits {
        Ok(RequestId(text.into()))
    } else {
        Err(invalid(
            "id is an unsigned integer below 2^64 or a string of up to 64 characters",
        ))
    }
}

fn ask(fields: &BTreeMap<String, Box<RawValue>>) -> Result<Ask, Refusal> {
    let method: String = read(fields, "method", "method is a string")?;
    match method.as_str() {
        "SUBSCRIBE" => {
            let names = names(fields)?;
            let since = match fields.get("since").map(|raw| raw.get()) {
                None | Some("null") => None,
                Some(raw) => Some(serde_json::from_str(raw).map_err(|_| {
                    invalid(r#"since is {"epoch":"<text>","seq":<unsigned integer>}"#)
                })?),
            };
            Ok(Ask::Subscribe { names, since })
        }
        "UNSUBSCRIBE" => Ok(Ask::Unsubscribe {
            names: names(fields)?,
        }),
        "LIST_SUBSCRIPTIONS" => Ok(Ask::ListSubscriptions),
        "PING" => Ok(Ask::Ping),
        "AUTH" => {
            let _: Vec<String> = read(fields, "params", r#"params of AUTH are ["<key>"]"#)?;
            Ok(Ask::Auth)
        }
        "SET_PROPERTY" => set_property(fields),
        "GET_PROPERTY" => {
            let (name,): (String,) = read(
                fields,
                "params",
                r#"params of GET_PROPERTY are ["combined"]"#,
            )?;
            combined(&name).map(|()| Ask::GetCombined)
        }
        unknown => Err(invalid(&format!(
            "unknown method '{}'; there are SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS, SET_PROPERTY, GET_PROPERTY, PING, AUTH",
            shorten(unknown)
        ))),
    }
}

fn set_property(fields: &BTreeMap<String, Box<RawValue>>) -> Result<Ask, Refusal> {
    let shape = r#"params of SET_PROPERTY are ["combined", true]"#;
    let params: Vec<serde_json::Value> = read(fields, "params", shape)?;
    let Some(serde_json::Value::String(name)) = params.first() else {
        return Err(invalid(shape));
    };
    combined(name)?;
    match &params[1..] {
        [serde_json::Value::Bool(value)] => Ok(Ask::SetCombined(*value)),
        _ => Err(Refusal::WrongValue),
    }
}

fn combined(name: &str) -> Result<(), Refusal> {
    if name == "combined" {
        Ok(())
    } else {
        Err(Refusal::UnknownProperty(shorten(name)))
    }
}

fn names(fields: &BTreeMap<String, Box<RawValue>>) -> Result<Vec<String>, Refusal> {
    let shape = "params is an array of stream names, at least one";
    let names: Vec<String> = read(fields, "params", shape)?;
    if names.is_empty() {
        return Err(invalid(shape));
    }
    Ok(names)
}

fn read<T: for<'a> Deserialize<'a>>(
    fields: &BTreeMap<String, Box<RawValue>>,
    name: &str,
    shape: &str,
) -> Result<T, Refusal> {
    fields
        .get(name)
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .ok_or_else(|| invalid(shape))
}

fn invalid(words: &str) -> Refusal {
    Refusal::Invalid(words.into())
}

/// What a client said, cut to what an error message needs of it.
pub(super) fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let (refusal, id) = parse(text).unwrap_err();
        refusal.answer(&id)
    }

    #[test]
    fn the_specs_requests_are_read() {
        let subscribe = parse(r#"{"method":"SUBSCRIBE","params":["!signal_15m@arr"],"since":{"epoch":"k3v9","seq":1041},"id":2}"#).unwrap();
        assert_eq!(
            subscribe.ask,
            Ask::Subscribe {
                names: vec!["!signal_15m@arr".into()],
                since: Some(Cursor {
                    epoch: Epoch::new("k3v9"),
                    seq: Seq::new(1041),
                    held_at_read: None,
                }),
            }
        );
        let method = |text: &str| parse(text).unwrap().ask;
        assert_eq!(
            method(r#"{"method":"LIST_SUBSCRIPTIONS","id":4}"#),
            Ask::ListSubscriptions
        );
        assert_eq!(method(r#"{"method":"PING","id":5}"#), Ask::Ping);
        assert_eq!(
            method(r#"{"method":"AUTH","params":["<key>"],"id":6}"#),
            Ask::Auth
        );
        assert_eq!(
            method(r#"{"method":"SET_PROPERTY","params":["combined",false],"id":7}"#),
            Ask::SetCombined(false)
        );
        let utf8 = method(r#"{"method":"SUBSCRIBE","params":["\u5e01usdt@hama_1h"],"id":7}"#);
        assert!(matches!(utf8, Ask::Subscribe { names, .. } if names == ["币usdt@hama_1h"]));
    }

    #[test]
    fn an_id_comes_back_as_its_very_text() {
        for id in [
            "0",
            "18446744073709551615",
            r#""a""#,
            r#""\u00e4\n""#,
            r#""""#,
        ] {
            let request = parse(&format!(r#"{{"method":"PING","id":{id}}}"#)).unwrap();
            assert_eq!(
                answer("null", &request.id),
                format!(r#"{{"result":null,"id":{id}}}"#)
            );
        }
        let long = format!(r#""{}""#, "a".repeat(65));
        for id in [
            "-1",
            "1.0",
            "1e3",
            "18446744073709551616",
            "null",
            "[]",
            "true",
            &long,
        ] {
            let text = error(&format!(r#"{{"method":"PING","id":{id}}}"#));
            assert!(text.starts_with(r#"{"error":{"code":2,"#), "{text}");
            assert!(text.ends_with(r#""id":null}"#), "{text}");
        }
    }

    #[test]
    fn every_refusal_has_binances_code() {
        let code = |text: &str| {
            error(text)[r#"{"error":{"code":"#.len()..]
                .chars()
                .next()
                .unwrap()
        };
        assert_eq!(
            code(r#"{"method":"SET_PROPERTY","params":["x",true],"id":1}"#),
            '0'
        );
        assert_eq!(
            code(r#"{"method":"GET_PROPERTY","params":["x"],"id":1}"#),
            '0'
        );
        assert_eq!(
            code(r#"{"method":"SET_PROPERTY","params":["combined",1],"id":1}"#),
            '1'
        );
        assert_eq!(
            code(r#"{"method":"SET_PROPERTY","params":["combined"],"id":1}"#),
            '1'
        );
        for invalid in [
            "[]",
            "1",
            r#"{"id":1}"#,
            r#"{"method":1,"id":1}"#,
            r#"{"method":"ping","id":1}"#,
            r#"{"method":"SUBSCRIBE","id":1}"#,
            r#"{"method":"SUBSCRIBE","params":[],"id":1}"#,
            r#"{"method":"SUBSCRIBE","params":"a","id":1}"#,
            r#"{"method":"SUBSCRIBE","params":[1],"id":1}"#,
            r#"{"method":"SUBSCRIBE","params":["a"],"since":1,"id":1}"#,
            r#"{"method":"SUBSCRIBE","params":["a"],"since":{"epoch":"a","seq":-1},"id":1}"#,
        ] {
            assert_eq!(code(invalid), '2', "{invalid}");
        }
        for broken in ["", "{", "{\"id\":1,}", "nonsense", &"[".repeat(500)] {
            assert_eq!(code(broken), '3', "{broken}");
        }
        assert!(error(r#"{"method":"NO","id":"q"}"#).ends_with(r#""id":"q"}"#));
    }
}
