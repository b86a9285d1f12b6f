//! The program's own state in one answer: what the page's header and an operator's first look need.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::clock::Mono;
use crate::engine::{
    AuditFigures, CLOSE_DELAY_BUCKETS_MS, CloseDelays, EngineInfo, RefusedRows, StreamFigures,
    SweepFigures,
};
use crate::http::health::Readiness;
use crate::http::state::{HttpState, Limits};
use crate::market::{Interval, TimeMs};
use crate::signal::{Epoch, FeedState, Seq, SeriesCounts, StoreState};

/// State of the program.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::http) struct StatusAnswer {
    /// The program's version.
    version: String,
    /// Seconds since it started.
    uptime_s: u64,
    /// The exchange's time at the answer.
    #[schema(value_type = i64)]
    server_time: TimeMs,
    /// The numbering in force.
    #[schema(value_type = String)]
    epoch: Epoch,
    /// Number of the newest change.
    #[schema(value_type = u64)]
    seq: Seq,
    /// Oldest number still kept.
    #[schema(value_type = u64)]
    kept_from: Seq,
    /// Whether signals can be trusted now, as `/readyz` says.
    ready: bool,
    /// How far the feed can be trusted.
    feed: FeedState,
    /// Where results are kept.
    store: StoreState,
    /// Watched intervals; the first is the primary one.
    intervals: Vec<Interval>,
    /// Watched contracts.
    symbols: usize,
    /// Series by status.
    series: SeriesCounts,
    /// Exchange milliseconds from a candle update's event time to its result, last seen; null before the first.
    lag_ms: Option<i64>,
    /// The exchange's clock.
    clock: ClockAnswer,
    /// Whether the data is made up: a simulated exchange.
    simulated: bool,
    /// The engine's connections and request budget.
    exchange: ExchangeAnswer,
    /// Whether the operator lets it work, and how its sweeps go.
    scheduler: SchedulerAnswer,
    /// Candles taken, holes, corrections since the start.
    candles: CandlesAnswer,
    /// WebSocket readers connected now.
    connections: usize,
    /// What clients are held to.
    limits: Limits,
}

/// The exchange's clock as kept here.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::http) struct ClockAnswer {
    /// How many times as fast as ours it runs: 1 but on a simulated exchange.
    speed: f64,
    /// How far it may be off, exchange milliseconds.
    error_ms: i64,
}

/// Connections to the exchange and what they cost.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::http) struct ExchangeAnswer {
    /// Stream connections that are up.
    connections_up: usize,
    /// Stream connections there should be.
    connections_wanted: usize,
    /// Request weight spent in the exchange's present minute.
    weight_used: u32,
    /// What the exchange allows in a minute.
    weight_limit: u32,
    /// Why the exchange does not serve this address (403, 451: region or proxy); null while it does.
    refusal: Option<RefusalAnswer>,
    /// What the stream connections have met.
    streams: StreamFigures,
}

/// The exchange does not serve this address.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::http) struct RefusalAnswer {
    /// 403 or 451.
    status: u16,
    /// What is refused, and what to do.
    message: String,
}

/// Whether the operator lets it work, and how its sweeps go.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::http) struct SchedulerAnswer {
    /// False: the operator stopped it.
    running: bool,
    /// From the start of one sweep to that of the next, seconds.
    sweep_every_s: u64,
    /// The sweeps; their times are the wall clock's.
    sweep: SweepFigures,
}

/// What the engine did with candles since the start.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::http) struct CandlesAnswer {
    /// Closed candles taken from the streams.
    closes_from_stream: u64,
    /// Closed candles taken from REST after the start.
    closes_from_rest: u64,
    /// Holes found.
    holes_opened: u64,
    /// Holes filled or bridged.
    holes_closed: u64,
    /// Closed candles the exchange changed afterwards.
    corrections: u64,
    /// Candles refused as impossible, and messages of the streams that could not be read.
    bad_candles: u64,
    /// The refused candles, by what was wrong.
    refused: RefusedRows,
    /// Closed candles the streams sent more than once.
    duplicates: u64,
    /// Candles that had come from no source half a minute after their close.
    late_closes: u64,
    /// How long after their close candles became history.
    close_delays: CloseDelaysAnswer,
    /// Known candles held against the exchange again.
    audit: AuditFigures,
    /// Time all series together were dirty, real milliseconds.
    dirty_ms: u64,
}

/// How long after their close candles became history, exchange time.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::http) struct CloseDelaysAnswer {
    /// Candles by delay, the shortest first; each counts in one.
    buckets: Vec<DelayBucket>,
    /// All delays together, milliseconds.
    sum_ms: u64,
}

/// Candles of about the same delay.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::http) struct DelayBucket {
    /// The longest delay that counts here, milliseconds; null: any longer one.
    up_to_ms: Option<i64>,
    /// How many candles.
    count: u64,
}

/// State of the program
#[utoipa::path(
    get, path = "/api/v1/status", tag = "operations",
    responses((status = 200, body = StatusAnswer, description = "the state"))
)]
pub(in crate::http) async fn show(State(state): State<HttpState>) -> Json<StatusAnswer> {
    let published = state.store.published();
    let clock = state.engine.clock();
    let info = state.engine.info();
    let status = published.status;
    Json(StatusAnswer {
        version: state.settings.version.clone(),
        uptime_s: Mono::now().ms_since(state.started) / 1_000,
        server_time: clock.now(),
        epoch: published.epoch.clone(),
        seq: published.seq,
        kept_from: published.kept_from,
        ready: Readiness::of(&state).is_ready(),
        feed: status.feed,
        store: status.store,
        intervals: state.settings.intervals.clone(),
        symbols: state.engine.universe().contracts.len(),
        series: status.series,
        lag_ms: status.lag_ms,
        clock: ClockAnswer {
            speed: clock.speed(),
            error_ms: clock.error_ms(),
        },
        simulated: status.simulated,
        candles: candles(&info),
        exchange: exchange(info),
        scheduler: scheduler(&state),
        connections: state.connections(),
        limits: state.settings.limits,
    })
}

fn exchange(info: EngineInfo) -> ExchangeAnswer {
    ExchangeAnswer {
        connections_up: info.connections_up,
        connections_wanted: info.connections_wanted,
        weight_used: info.weight_used,
        weight_limit: info.weight_limit,
        refusal: info.refusal.map(|refusal| RefusalAnswer {
            status: refusal.status,
            message: refusal.to_string(),
        }),
        streams: info.streams,
    }
}

fn scheduler(state: &HttpState) -> SchedulerAnswer {
    let info = state.engine.scheduler();
    SchedulerAnswer {
        running: info.running,
        sweep_every_s: info.sweep_every.as_secs(),
        sweep: info.sweep,
    }
}

fn candles(info: &EngineInfo) -> CandlesAnswer {
    CandlesAnswer {
        closes_from_stream: info.closes_from_stream,
        closes_from_rest: info.closes_from_rest,
        holes_opened: info.holes_opened,
        holes_closed: info.holes_closed,
        corrections: info.corrections,
        bad_candles: info.bad_candles,
        refused: info.refused,
        duplicates: info.duplicates,
        late_closes: info.late_closes,
        close_delays: close_delays(&info.close_delays),
        audit: info.audit,
        dirty_ms: info.dirty_ms,
    }
}

fn close_delays(delays: &CloseDelays) -> CloseDelaysAnswer {
    let ends = CLOSE_DELAY_BUCKETS_MS.into_iter().map(Some).chain([None]);
    let buckets = ends.zip(delays.counts);
    CloseDelaysAnswer {
        buckets: buckets
            .map(|(up_to_ms, count)| DelayBucket { up_to_ms, count })
            .collect(),
        sum_ms: delays.sum_ms,
    }
}
