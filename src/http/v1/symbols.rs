//! The watch list: which contracts, how they rank, what other programs call them.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::engine::WatchedContract;
use crate::http::state::HttpState;
use crate::market::{Interval, SeriesKey, SeriesStatus, Symbol, TimeMs};
use crate::store::Published;

/// What is watched.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::http) struct SymbolsAnswer {
    /// The exchange's time at the answer.
    #[schema(value_type = i64)]
    server_time: TimeMs,
    /// When the 24 h figures were read; null before the first time.
    #[schema(value_type = Option<i64>)]
    updated_at: Option<TimeMs>,
    /// Watched intervals; the first is the primary one.
    intervals: Vec<Interval>,
    /// The contracts, by symbol.
    symbols: Vec<SymbolAnswer>,
}

/// A watched contract.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(in crate::http) struct SymbolAnswer {
    /// Contract.
    #[schema(value_type = String)]
    symbol: Symbol,
    /// What is traded.
    base_asset: String,
    /// What it is priced in.
    quote_asset: String,
    /// Intervals followed of it.
    intervals: Vec<Interval>,
    /// Status of each of its series, by interval; a series without any result yet is warming.
    #[schema(value_type = BTreeMap<String, SeriesStatus>)]
    status: BTreeMap<Interval, SeriesStatus>,
    /// Rank by 24 h quote volume, from 1; null for an explicit list.
    rank: Option<usize>,
    /// Smallest step of its price.
    tick_size: Option<f64>,
    /// 24 h turnover in the quote asset.
    quote_volume_24h: Option<f64>,
    /// 24 h change of the price, percent.
    change_pct_24h: Option<f64>,
    /// As ccxt spells it.
    #[schema(example = "BTC/USDT:USDT")]
    ccxt: String,
    /// As TradingView spells it.
    #[schema(example = "BINANCE:BTCUSDT.P")]
    tradingview: String,
}

/// The watch list
#[utoipa::path(
    get, path = "/api/v1/symbols", tag = "market",
    responses((status = 200, body = SymbolsAnswer, description = "the watched contracts"))
)]
pub(in crate::http) async fn list(State(state): State<HttpState>) -> Json<SymbolsAnswer> {
    let universe = state.engine.universe();
    let published = state.store.published();
    let intervals = &state.settings.intervals;
    let symbols = universe
        .contracts
        .iter()
        .map(|contract| describe(contract, intervals, &published))
        .collect();
    Json(SymbolsAnswer {
        server_time: state.engine.clock().now(),
        updated_at: universe.updated_at,
        intervals: intervals.clone(),
        symbols,
    })
}

fn describe(
    contract: &WatchedContract,
    intervals: &[Interval],
    published: &Published,
) -> SymbolAnswer {
    let status_of = |interval: Interval| {
        let key = SeriesKey::new(contract.symbol.clone(), interval);
        let result = published.results.get(&key);
        result.map_or(SeriesStatus::Warming, |result| result.status)
    };
    let (base, quote) = (&contract.base_asset, &contract.quote_asset);
    SymbolAnswer {
        symbol: contract.symbol.clone(),
        base_asset: base.clone(),
        quote_asset: quote.clone(),
        intervals: intervals.to_vec(),
        status: intervals.iter().map(|i| (*i, status_of(*i))).collect(),
        rank: contract.rank,
        tick_size: contract.tick_size,
        quote_volume_24h: contract.quote_volume_24h,
        change_pct_24h: contract.change_pct_24h,
        // A USDⓈ-M perpetual settles in what it is priced in.
        ccxt: format!("{base}/{quote}:{quote}"),
        tradingview: format!("BINANCE:{}.P", contract.symbol),
    }
}
