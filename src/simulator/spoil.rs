//! What faults do to REST answers: refusals of the exchange and of what stands before it, bodies that are cut, wrong,
//! too large, or never come.

use std::io::{self, Write as _};
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::StreamExt as _;
use futures::stream;
use hyper::Response;
use hyper::header::{self, HeaderValue};
use serde_json::Value;

use super::World;
use super::fault::{RestFault, Wrapping};
use super::rest::Refusal;
use crate::market::TimeMs;

/// Blanks are sent and packed in pieces of this size.
const PIECE_BYTES: usize = 1 << 16;

/// A refusal and how it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// The exchange's JSON.
    pub refusal: Refusal,
    /// Instead of it HTML of what stands before the exchange.
    pub html: Option<String>,
    /// A header, in seconds.
    pub retry_after_secs: Option<u32>,
}

/// What the exchange, or what stands before it, says with `status`.
pub(super) fn refusal(status: u16, retry_after_secs: Option<u32>, now: TimeMs) -> Told {
    let (code, message) = match status {
        408 => (-1007, "Timeout waiting for response from backend server. Send status unknown; execution status unknown.".to_owned()),
        418 => {
            let until = now.plus_ms(i64::from(retry_after_secs.unwrap_or(0)) * 1_000);
            (-1003, format!("Way too many requests; IP banned until {until}. Please use the websocket for live updates to avoid bans."))
        }
        429 => (-1003, "Too many requests; current limit is 2400 requests per minute. Please use the websocket for live updates to avoid polling the API.".to_owned()),
        451 => (0, "Service unavailable from a restricted location according to 'b. Eligibility' in https://www.binance.com/en/terms. Please contact customer service if you believe you received this message in error.".to_owned()),
        503 => (-1008, "Server is currently overloaded with other requests. Please try again in a few minutes.".to_owned()),
        _ => (-1001, "Internal error; unable to process your request. Please try again.".to_owned()),
    };
    let title = match status {
        403 => Some("ERROR: The request could not be satisfied"),
        502 => Some("502 Bad Gateway"),
        504 => Some("504 Gateway Time-out"),
        _ => None,
    };
    Told {
        refusal: Refusal {
            status,
            code,
            message,
        },
        html: title.map(|title| {
            format!("<html>\r\n<head><title>{title}</title></head>\r\n<body><center><h1>{title}</h1></center></body>\r\n</html>\r\n")
        }),
        retry_after_secs,
    }
}

/// The body of a good answer as a fault leaves it.
pub(super) fn spoiled(text: String, fault: &RestFault) -> String {
    match fault {
        RestFault::Malformed {} => {
            let cut = text
                .char_indices()
                .map(|(at, _)| at)
                .nth(text.chars().count() * 2 / 3);
            text[..cut.unwrap_or(0)].to_owned()
        }
        RestFault::WrongTypes {} => changed(&text, swap_types),
        RestFault::Empty {} => if text.starts_with('[') { "[]" } else { "{}" }.to_owned(),
        RestFault::WrongOrder {} => changed(&text, reversed),
        RestFault::Status { .. }
        | RestFault::Timeout { .. }
        | RestFault::Reset {}
        | RestFault::Truncate {}
        | RestFault::Oversized { .. }
        | RestFault::Weight { .. }
        | RestFault::Lag { .. }
        | RestFault::OpenRow {} => text,
    }
}

fn changed(text: &str, change: impl FnOnce(Value) -> Value) -> String {
    serde_json::from_str(text).map_or_else(|_| text.to_owned(), |value| change(value).to_string())
}

/// An array, or the arrays of an object, in the opposite order.
fn reversed(mut value: Value) -> Value {
    if let Value::Array(rows) = &mut value {
        rows.reverse();
    } else if let Value::Object(members) = &mut value {
        for rows in members.values_mut().filter_map(Value::as_array_mut) {
            rows.reverse();
        }
    }
    value
}

fn swap_types(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::String(number.to_string()),
        Value::String(text) => text.parse::<f64>().map_or(Value::Bool(true), Value::from),
        Value::Array(items) => Value::Array(items.into_iter().map(swap_types).collect()),
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .map(|(name, member)| (name, swap_types(member)))
                .collect(),
        ),
        other @ (Value::Null | Value::Bool(_)) => other,
    }
}

/// A response whose body ends half-way, with the connection.
pub(super) fn truncated(mut response: Response<Body>, body: &Bytes) -> Response<Body> {
    let half = body.slice(..body.len() / 2);
    let cut = stream::once(async move { Ok(half) }).chain(stream::once(async {
        tokio::task::yield_now().await; // the half is written before the connection ends
        Err(io::Error::other("cut off by a fault"))
    }));
    promise_length(&mut response, body.len() as u64);
    *response.body_mut() = Body::from_stream(cut);
    response
}

/// A response whose head comes; the body does not. It ends with `wait`.
pub(super) fn headless_body(
    mut response: Response<Body>,
    wait: impl Future<Output = ()> + Send + 'static,
) -> Response<Body> {
    let never = stream::once(async {
        wait.await;
        Err::<Bytes, _>(io::Error::other("held back by a fault"))
    });
    promise_length(&mut response, 2); // of the `{}` that does not come
    *response.body_mut() = Body::from_stream(never);
    response
}

/// A response whose body is followed by blanks, `bytes` in all when unpacked.
pub(super) async fn oversized(
    mut response: Response<Body>,
    text: String,
    bytes: u64,
    wrapping: Wrapping,
) -> Response<Body> {
    let blanks = bytes.saturating_sub(text.len() as u64);
    response.headers_mut().remove(header::CONTENT_ENCODING);
    match wrapping {
        Wrapping::Plain => {
            promise_length(&mut response, text.len() as u64 + blanks);
            let pieces = (0..blanks.div_ceil(PIECE_BYTES as u64)).map(move |at| {
                let left = blanks - at * PIECE_BYTES as u64;
                let size = usize::try_from(left)
                    .unwrap_or(PIECE_BYTES)
                    .min(PIECE_BYTES);
                Bytes::from_static(&BLANKS[..size])
            });
            let all = std::iter::once(Bytes::from(text)).chain(pieces);
            *response.body_mut() = Body::from_stream(stream::iter(all.map(Ok::<_, io::Error>)));
        }
        Wrapping::Gzip => {
            let packed = tokio::task::spawn_blocking(move || bomb(&text, blanks)).await;
            let gzip = HeaderValue::from_static("gzip");
            response
                .headers_mut()
                .insert(header::CONTENT_ENCODING, gzip);
            *response.body_mut() = Body::from(packed.unwrap_or_default());
        }
    }
    response
}

static BLANKS: [u8; PIECE_BYTES] = [b' '; PIECE_BYTES];

fn bomb(text: &str, mut blanks: u64) -> Vec<u8> {
    let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut done = zip.write_all(text.as_bytes());
    while blanks > 0 && done.is_ok() {
        let size = usize::try_from(blanks)
            .unwrap_or(PIECE_BYTES)
            .min(PIECE_BYTES);
        done = zip.write_all(&BLANKS[..size]);
        blanks -= size as u64;
    }
    zip.finish().unwrap_or_default() // into memory: it does not fail
}

fn promise_length(response: &mut Response<Body>, length: u64) {
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
}

/// Waits until fault `number` is over, is cleared, or everything stops.
pub(super) async fn until_over(world: &World, number: u64) {
    let mut changes = world.faults.changes();
    let mut looked = world.clock.now();
    while world.faults.lasts(number, looked) {
        // With nothing ahead only a clear or the stop ends the wait; a day is as good as any other time.
        let ahead = world
            .faults
            .until_change(looked, &world.clock)
            .unwrap_or(Duration::from_secs(86_400));
        tokio::select! {
            () = world.tasks.stopping() => return,
            told = changes.changed() => if told.is_err() { return },
            () = tokio::time::sleep(ahead.max(Duration::from_millis(1))) => {}
        }
        looked = world.clock.now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_spoiled_as_the_fault_says() {
        let rows = || r#"[[1,"2.5"],[3,"4"]]"#.to_owned();
        assert_eq!(
            spoiled(rows(), &RestFault::WrongTypes {}),
            r#"[["1",2.5],["3",4.0]]"#
        );
        assert_eq!(
            spoiled(rows(), &RestFault::WrongOrder {}),
            r#"[[3,"4"],[1,"2.5"]]"#
        );
        assert_eq!(spoiled(rows(), &RestFault::Empty {}), "[]");
        assert_eq!(spoiled("{\"a\":1}".into(), &RestFault::Empty {}), "{}");
        for text in ["{}", "[]", r#"{"msg":"币安人生"}"#] {
            let cut = spoiled(text.to_owned(), &RestFault::Malformed {});
            assert!(serde_json::from_str::<Value>(&cut).is_err(), "{cut}");
        }
    }
}
