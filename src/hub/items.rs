//! JSON of everything the server sends of itself. Results and changes write their own fields; here they get their type.
//! Each function gives one item, whole, to be framed for whoever wants it.

use bytes::Bytes;
use serde::Serialize;

use super::settings::{HubSettings, Limits};
use crate::market::{SeriesKey, Symbol, TimeMs};
use crate::signal::{
    Change, Epoch, FeedState, FeedStatus, Seq, SeriesCounts, SignalResult, StoreState,
};

/// What a result item begins with; its body follows.
pub(super) const HAMA: &[u8] = br#"{"type":"hama","#;

/// Items that carry the cursor name both of its halves.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) epoch: &'a Epoch,
    pub(super) seq: Seq,
}

/// A result's fields without the opening brace: the end of a `hama` and of a `snapshot` item.
pub(super) fn body(result: &SignalResult) -> Bytes {
    Bytes::from(json(result)).slice(1..)
}

/// A change's item, as the feed, REST and the store carry it.
pub(super) fn change(change: &Change) -> Bytes {
    Bytes::from(json(change))
}

/// What a snapshot item begins with; the result's body follows.
pub(super) fn snapshot_head(at: At<'_>) -> String {
    format!(
        r#"{{"type":"snapshot","epoch":"{}","seq":{},"#,
        at.epoch, at.seq
    )
}

#[derive(Serialize)]
struct Marker<'a> {
    r#type: &'static str,
    epoch: &'a Epoch,
    seq: Seq,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

fn marker(kind: &'static str, at: At<'_>, reason: Option<&'static str>) -> Vec<u8> {
    json(&Marker {
        r#type: kind,
        epoch: at.epoch,
        seq: at.seq,
        reason,
    })
}

/// From here on changes come as they happen.
pub(super) fn live(at: At<'_>) -> Vec<u8> {
    marker("live", at, None)
}

/// The numbering is new.
pub(super) fn reset(at: At<'_>, reason: &'static str) -> Vec<u8> {
    marker("reset", at, Some(reason))
}

/// The heartbeat of raw connections; without a cursor while a subscription has not had its `live`.
pub(super) fn beat(at: Option<At<'_>>) -> Vec<u8> {
    match at {
        Some(at) => marker("beat", at, None),
        None => br#"{"type":"beat"}"#.to_vec(),
    }
}

#[derive(Serialize)]
struct StatusItem<'a> {
    r#type: &'static str,
    server_time: TimeMs,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<&'a Epoch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<Seq>,
    feed: FeedState,
    store: StoreState,
    series: SeriesCounts,
    lag_ms: Option<i64>,
    speed: f64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    simulated: bool,
}

/// State of feed and server; without a cursor while a subscription has not had its `live`.
pub(super) fn status(status: &FeedStatus, server_time: TimeMs, at: Option<At<'_>>) -> Vec<u8> {
    json(&StatusItem {
        r#type: "status",
        server_time,
        epoch: at.map(|at| at.epoch),
        seq: at.map(|at| at.seq),
        feed: status.feed,
        store: status.store,
        series: status.series,
        lag_ms: status.lag_ms,
        speed: status.speed,
        simulated: status.simulated,
    })
}

#[derive(Serialize)]
struct SymbolsItem<'a> {
    r#type: &'static str,
    added: &'a [Symbol],
    removed: &'a [Symbol],
}

/// The watch list changed.
pub(super) fn symbols(added: &[Symbol], removed: &[Symbol]) -> Bytes {
    Bytes::from(json(&SymbolsItem {
        r#type: "symbols",
        added,
        removed,
    }))
}

#[derive(Serialize)]
struct EndedItem<'a> {
    r#type: &'static str,
    symbol: &'a Symbol,
    interval: &'a str,
}

/// The contract was delisted.
pub(super) fn ended(key: &SeriesKey) -> Bytes {
    Bytes::from(json(&EndedItem {
        r#type: "ended",
        symbol: &key.symbol,
        interval: key.interval.name(),
    }))
}

/// The server leaves.
pub(super) fn reconnect(after_ms: u32) -> String {
    format!(r#"{{"type":"reconnect","after_ms":{after_ms}}}"#)
}

/// The result of PING; without a cursor while a subscription has not had its `live`.
pub(super) fn pong(server_time: TimeMs, at: Option<At<'_>>) -> String {
    match at {
        Some(At { epoch, seq }) => {
            format!(r#"{{"server_time":{server_time},"epoch":"{epoch}","seq":{seq}}}"#)
        }
        None => format!(r#"{{"server_time":{server_time}}}"#),
    }
}

#[derive(Serialize)]
struct LimitsItem {
    streams: usize,
    messages_per_s: u32,
    message_bytes: usize,
    replay_max: usize,
    slow_bytes: usize,
    slow_ms: u64,
}

#[derive(Serialize)]
struct Welcome<'a> {
    r#type: &'static str,
    server: &'static str,
    server_time: TimeMs,
    epoch: &'a Epoch,
    seq: Seq,
    kept_from: Seq,
    intervals: Vec<&'static str>,
    limits: LimitsItem,
}

/// What a wrapped connection is told first.
pub(super) fn welcome(
    settings: &HubSettings,
    server_time: TimeMs,
    at: At<'_>,
    kept_from: Seq,
) -> Vec<u8> {
    json(&Welcome {
        r#type: "welcome",
        server: concat!("hamacast/", env!("CARGO_PKG_VERSION")),
        server_time,
        epoch: at.epoch,
        seq: at.seq,
        kept_from,
        intervals: settings.intervals.iter().map(|i| i.name()).collect(),
        limits: limits(&settings.limits),
    })
}

fn limits(limits: &Limits) -> LimitsItem {
    LimitsItem {
        streams: limits.max_streams,
        messages_per_s: limits.client_messages_per_s,
        message_bytes: limits.message_bytes,
        replay_max: limits.replay_max,
        slow_bytes: limits.slow_bytes,
        slow_ms: u64::try_from(limits.slow_age.as_millis()).unwrap_or(u64::MAX),
    }
}

/// Our own plain structs always serialise; were one not to, readers get an empty object rather than half of one.
fn json(item: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(item).unwrap_or_else(|error| {
        tracing::error!(%error, "an item could not be written as JSON");
        b"{}".to_vec()
    })
}
