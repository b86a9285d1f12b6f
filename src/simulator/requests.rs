//! What clients say on a stream connection, and the texts of the answers.
//! Ids are unsigned integers of 64 bits (one client uses the time in ms); codes 2 and 3 are the exchange's.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::routes::Form;

/// A request that can be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    /// `SUBSCRIBE`.
    Subscribe(Vec<String>),
    /// `UNSUBSCRIBE`.
    Unsubscribe(Vec<String>),
    /// `LIST_SUBSCRIPTIONS`.
    List,
    /// `SET_PROPERTY ["combined", true]`.
    SetForm(Form),
    /// `GET_PROPERTY ["combined"]`.
    GetForm,
}

const INVALID_REQUEST: u8 = 2;
const INVALID_JSON: u8 = 3;
const TOO_MANY: u8 = 4;

/// Reads a request, or says what to answer to what is none.
pub(super) fn parse(text: &str) -> Result<(u64, Request), String> {
    let value: Value = serde_json::from_str(text).map_err(|error| not_json(&error.to_string()))?;
    let id = value.get("id").and_then(Value::as_u64);
    let wrong = |what: &str| error(INVALID_REQUEST, &format!("Invalid request: {what}"), id);
    if !value.is_object() {
        return Err(wrong("an object is expected"));
    }
    let Some(number) = id else {
        return Err(wrong("request ID must be an unsigned integer"));
    };
    let Some(method) = value.get("method").and_then(Value::as_str) else {
        return Err(wrong("missing field `method`"));
    };
    let params = value.get("params").and_then(Value::as_array);
    let names = || -> Result<Vec<String>, String> {
        let params = params.ok_or_else(|| wrong("params must be an array of stream names"))?;
        let names = params.iter().map(|name| name.as_str().map(str::to_owned));
        names
            .collect::<Option<_>>()
            .ok_or_else(|| wrong("params must be an array of stream names"))
    };
    let request = match method {
        "SUBSCRIBE" => Request::Subscribe(names()?),
        "UNSUBSCRIBE" => Request::Unsubscribe(names()?),
        "LIST_SUBSCRIPTIONS" => Request::List,
        "SET_PROPERTY" | "GET_PROPERTY" => {
            property(method, params).ok_or_else(|| wrong("unknown property or value"))?
        }
        other => {
            let shown: String = other.chars().take(32).collect();
            return Err(wrong(&format!("unknown variant `{shown}`")));
        }
    };
    Ok((number, request))
}

fn property(method: &str, params: Option<&Vec<Value>>) -> Option<Request> {
    let params = params?;
    if params.first()?.as_str()? != "combined" {
        return None;
    }
    if method == "GET_PROPERTY" {
        return Some(Request::GetForm);
    }
    let form = if params.get(1)?.as_bool()? {
        Form::Combined
    } else {
        Form::Raw
    };
    Some(Request::SetForm(form))
}

/// The answer to what was done.
pub(super) fn done(id: u64) -> String {
    json!({"result": null, "id": id}).to_string()
}

/// The answer to `LIST_SUBSCRIPTIONS`: every name asked for, whether it delivers or not.
pub(super) fn names(id: u64, names: &BTreeSet<String>) -> String {
    json!({"result": names, "id": id}).to_string()
}

/// The answer to `GET_PROPERTY`.
pub(super) fn form(id: u64, form: Form) -> String {
    json!({"result": form == Form::Combined, "id": id}).to_string()
}

/// What is said before the connection is closed for its 1,025th stream.
pub(super) fn too_many_subscriptions() -> String {
    json!({"error": {"code": TOO_MANY, "msg": "Too many subscriptions"}}).to_string()
}

/// The answer to a request that a fault refuses.
pub(super) fn refused(id: u64, code: i64, message: &str) -> String {
    json!({"error": {"code": code, "msg": message}, "id": id}).to_string()
}

/// The answer to what is no JSON.
pub(super) fn not_json(reason: &str) -> String {
    error(INVALID_JSON, &format!("Invalid JSON: {reason}"), None)
}

fn error(code: u8, message: &str, id: Option<u64>) -> String {
    json!({"error": {"code": code, "msg": message}, "id": id}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_their_64_bits_and_escapes_are_read() {
        let text =
            r#"{"method":"SUBSCRIBE","params":["\u5e01usdt@kline_1m"],"id":18446744073709551615}"#;
        let (id, request) = parse(text).unwrap();
        assert_eq!(id, u64::MAX);
        assert_eq!(request, Request::Subscribe(vec!["币usdt@kline_1m".into()]));
        assert_eq!(done(id), r#"{"id":18446744073709551615,"result":null}"#);
    }

    #[test]
    fn nonsense_is_answered_with_its_code() {
        let code = |text: &str| {
            let reply: Value = serde_json::from_str(&parse(text).unwrap_err()).unwrap();
            (
                reply["error"]["code"].as_u64().unwrap(),
                reply["id"].clone(),
            )
        };
        assert_eq!(code("{"), (3, Value::Null));
        assert_eq!(code("[]"), (2, Value::Null));
        assert_eq!(
            code(r#"{"method":"SUBSCRIBE","params":["a"]}"#),
            (2, Value::Null)
        );
        assert_eq!(
            code(r#"{"method":"SUBSCRIBE","params":[1],"id":7}"#),
            (2, json!(7))
        );
        assert_eq!(code(r#"{"method":"DANCE","id":8}"#), (2, json!(8)));
        assert_eq!(
            code(r#"{"method":"SET_PROPERTY","params":["x",true],"id":9}"#),
            (2, json!(9))
        );
    }
}
