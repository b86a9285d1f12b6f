//! The REST endpoints: what each request costs and what it answers. The transport (`server.rs`) asks `weight` first,
//! charges it, and asks `answer` only of requests that are within the budget. A refused request has cost its weight.

use serde_json::{Value, json};

use super::World;
use super::candles::{Keep, Span};
use super::catalogue::{Catalogue, Contract};
use super::weights;
use super::wire::{self, TruthCandle};
use crate::market::{Interval, OpenTime, TimeMs};

/// Most rows of one answer.
pub(super) const MAX_ROWS: usize = 1_500;
const DEFAULT_ROWS: i64 = 500;
/// Most candles of the truth at once: ten weeks of minutes, 7 MB of text.
pub(super) const MAX_TRUTH: usize = 100_000;
/// The last millisecond of the year 9999.
const TIME_MAX_MS: i64 = 253_402_300_799_999;

/// An endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Ping,
    Time,
    ExchangeInfo,
    Klines,
    ContinuousKlines,
    Ticker,
    PremiumIndex,
    Truth,
    Stats,
}

/// A refusal: `{"code":..,"msg":..}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The exchange's number for it.
    pub code: i32,
    /// In words.
    pub message: String,
}

/// The parameters of a request, decoded.
#[derive(Debug, Default)]
pub(super) struct Params(pub Vec<(String, String)>);

impl Endpoint {
    /// The endpoint at `path`.
    pub(super) fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/fapi/v1/ping" => Self::Ping,
            "/fapi/v1/time" => Self::Time,
            "/fapi/v1/exchangeInfo" => Self::ExchangeInfo,
            "/fapi/v1/klines" => Self::Klines,
            "/fapi/v1/continuousKlines" => Self::ContinuousKlines,
            "/fapi/v1/ticker/24hr" => Self::Ticker,
            "/fapi/v1/premiumIndex" => Self::PremiumIndex,
            "/sim/truth" => Self::Truth,
            "/sim/stats" => Self::Stats,
            _ => return None,
        })
    }

    /// What a request costs; `None` for those of the simulator itself.
    pub(super) fn weight(self, params: &Params, world: &World) -> Option<u32> {
        match self {
            Self::Ping | Self::Time | Self::ExchangeInfo => Some(1),
            Self::Klines | Self::ContinuousKlines => {
                let limit = params.get("limit").and_then(|text| text.parse().ok());
                Some(weights::of_candles(world.settings.weights, limit))
            }
            Self::Ticker => Some(if params.get("symbol").is_some() {
                1
            } else {
                40
            }),
            Self::PremiumIndex => Some(if params.get("symbol").is_some() {
                1
            } else {
                10
            }),
            Self::Truth | Self::Stats => None,
        }
    }

    /// Whether it is no part of the exchange.
    pub(super) fn is_of_the_simulator(self) -> bool {
        match self {
            Self::Truth | Self::Stats => true,
            Self::Ping
            | Self::Time
            | Self::ExchangeInfo
            | Self::Klines
            | Self::ContinuousKlines
            | Self::Ticker
            | Self::PremiumIndex => false,
        }
    }

    /// The answer's body, as of `now`.
    pub(super) fn answer(
        self,
        params: &Params,
        world: &World,
        now: TimeMs,
    ) -> Result<String, Refusal> {
        let told = |path| world.skews.told(now, path);
        let listed = &*world.market.catalogue();
        match self {
            Self::Ping => Ok("{}".into()),
            Self::Time => {
                let told = told("/fapi/v1/time");
                Ok(json!({"serverTime": told, "simSpeed": world.clock.speed()}).to_string())
            }
            Self::ExchangeInfo => Ok(exchange_info(listed, now, told("/fapi/v1/exchangeInfo"))),
            Self::Klines => {
                let contract = contract(listed, params.must("symbol")?, now)?;
                klines(world, contract, params, now)
            }
            Self::ContinuousKlines => klines(world, continuous(listed, params, now)?, params, now),
            Self::Ticker => rows_of(listed, params, now, |c| {
                c.is_trading(now).then_some(())?;
                Some(wire::ticker_row(c, &c.last_day(now)?, now))
            }),
            Self::PremiumIndex => rows_of(listed, params, now, |c| {
                c.is_trading(now).then_some(())?;
                Some(wire::premium_row(c, c.last_day(now)?.close, now))
            }),
            Self::Truth => truth(listed, params, now),
            Self::Stats => serde_json::to_string(&world.report()).map_err(|error| Refusal {
                status: 500,
                code: -1001,
                message: error.to_string(),
            }),
        }
    }
}

impl Params {
    /// The first parameter named `name` that is not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(key, _)| key == name);
        values
            .next()
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    fn must(&self, name: &str) -> Result<&str, Refusal> {
        self.get(name).ok_or_else(|| {
            Refusal::bad(
                -1102,
                format!("Mandatory parameter '{name}' was not sent, was empty/null, or malformed."),
            )
        })
    }

    fn number(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let read = |text: &str| {
            text.parse().map_err(|_| {
                Refusal::bad(
                    -1130,
                    format!("Data sent for parameter '{name}' is not valid."),
                )
            })
        };
        self.get(name).map(read).transpose()
    }

    /// A time as far as there are candles: beyond that nothing is asked for, so it may as well be the end.
    fn time(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let time = self.number(name)?;
        Ok(time.map(|time| time.clamp(0, TIME_MAX_MS)))
    }

    fn interval(&self) -> Result<Interval, Refusal> {
        Interval::parse(self.must("interval")?)
            .map_err(|_| Refusal::bad(-1120, "Invalid interval.".into()))
    }
}

impl Refusal {
    fn bad(code: i32, message: String) -> Self {
        Self {
            status: 400,
            code,
            message,
        }
    }

    /// The answer to a path that is not there.
    pub(super) fn no_path() -> Self {
        Self {
            status: 404,
            code: -1000,
            message: "No such path on the simulated exchange.".into(),
        }
    }

    /// The body.
    pub(super) fn body(&self) -> String {
        json!({"code": self.code, "msg": self.message}).to_string()
    }
}

fn contract<'a>(listed: &'a Catalogue, name: &str, now: TimeMs) -> Result<&'a Contract, Refusal> {
    listed
        .listed(name, now)
        .ok_or_else(|| Refusal::bad(-1121, "Invalid symbol.".into()))
}

/// The contract of a pair and a contract type: for perpetuals the one named as the pair.
fn continuous<'a>(
    listed: &'a Catalogue,
    params: &Params,
    now: TimeMs,
) -> Result<&'a Contract, Refusal> {
    let pair = params.must("pair")?.to_ascii_uppercase();
    let contract_type = params.must("contractType")?.to_ascii_uppercase();
    listed
        .all()
        .iter()
        .find(|c| c.is_listed(now) && c.pair == pair && c.contract_type == contract_type)
        .ok_or_else(|| Refusal::bad(-1121, "Invalid symbol.".into()))
}

fn klines(
    world: &World,
    contract: &Contract,
    params: &Params,
    now: TimeMs,
) -> Result<String, Refusal> {
    let interval = params.interval()?;
    let limit = params.number("limit")?.unwrap_or(DEFAULT_ROWS);
    let limit = usize::try_from(limit)
        .ok()
        .filter(|limit| (1..=MAX_ROWS).contains(limit))
        .ok_or_else(|| {
            Refusal::bad(
                -1130,
                "Data sent for parameter 'limit' is not valid.".into(),
            )
        })?;
    let start = params.time("startTime")?;
    let end = params.number("endTime")?.unwrap_or(i64::MAX).min(now.ms());
    let open = interval.open_at(now);
    let wants_open = end >= open.ms();
    let forming = wants_open
        .then(|| contract.candles.forming(interval, now))
        .flatten();
    let keep = if start.is_some() {
        Keep::Oldest
    } else {
        Keep::Newest
    };
    // Without a start the newest rows count, and the open candle is the newest of them.
    let room = limit - usize::from(forming.is_some() && keep == Keep::Newest);
    let span = Span {
        from: OpenTime::from_ms(start.unwrap_or(0).max(0)),
        to: OpenTime::from_ms(end.max(0)),
        limit: room,
        keep,
    };
    let mut rows = match room {
        0 => Vec::new(),
        _ => contract.candles.closed(interval, span, now),
    };
    world.market.leave_out(contract, interval, &mut rows);
    let in_range = start.is_none_or(|start| open.ms() >= start);
    if let Some(bar) = forming.filter(|_| in_range && rows.len() < limit) {
        rows.push((open, bar));
    }
    let mut out = String::with_capacity(rows.len() * 150 + 2);
    out.push('[');
    for (index, (open, bar)) in rows.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        wire::push_row(&mut out, interval, *open, bar, contract.scale);
    }
    out.push(']');
    Ok(out)
}

/// One row with `symbol`, else an array of all that `row` has something for.
fn rows_of(
    listed: &Catalogue,
    params: &Params,
    now: TimeMs,
    row: impl Fn(&Contract) -> Option<Value>,
) -> Result<String, Refusal> {
    if let Some(name) = params.get("symbol") {
        let only = row(contract(listed, name, now)?);
        return only
            .map(|value| value.to_string())
            .ok_or_else(|| Refusal::bad(-1122, "Invalid symbol status.".into()));
    }
    let all = listed.all().iter().filter(|c| c.is_listed(now));
    let rows: Vec<Value> = all.filter_map(row).collect();
    Ok(Value::Array(rows).to_string())
}

fn exchange_info(listed: &Catalogue, now: TimeMs, told: TimeMs) -> String {
    let contracts = listed.all().iter().filter(|c| c.is_listed(now));
    let rows = contracts.map(|c| wire::contract_row(c, now));
    json!({
        "timezone": "UTC", "serverTime": told, "futuresType": "U_MARGINED",
        "rateLimits": [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": weights::LIMIT},
            {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1200},
            {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300},
        ],
        "exchangeFilters": [],
        "assets": [
            {"asset": "USDT", "marginAvailable": true, "autoAssetExchange": "-10000"},
            {"asset": "USDC", "marginAvailable": true, "autoAssetExchange": "-10000"},
        ],
        "symbols": rows.collect::<Vec<_>>(),
    })
    .to_string()
}

fn truth(listed: &Catalogue, params: &Params, now: TimeMs) -> Result<String, Refusal> {
    let contract = contract(listed, params.must("symbol")?, now)?;
    let interval = params.interval()?;
    let from = TimeMs::new(params.time("from")?.unwrap_or(0));
    let to = TimeMs::new(params.number("to")?.unwrap_or(i64::MAX));
    let told = truth_candles(contract, interval, from, to, now, MAX_TRUTH + 1);
    if told.len() > MAX_TRUTH {
        let message = format!(
            "more candles than are told at once: allowed are {MAX_TRUTH}, bring `from` and `to` closer together"
        );
        return Err(Refusal::bad(-1130, message));
    }
    let candles: Vec<Value> = told.iter().map(TruthCandle::json).collect();
    Ok(json!({"candles": candles}).to_string())
}

/// The closed candles that open from `from` to `to` (both included), oldest first, at most `limit`.
pub(super) fn truth_candles(
    contract: &Contract,
    interval: Interval,
    from: TimeMs,
    to: TimeMs,
    now: TimeMs,
    limit: usize,
) -> Vec<TruthCandle> {
    let (first, last) = (TimeMs::new(0), TimeMs::new(TIME_MAX_MS));
    let span = Span {
        from: OpenTime::at(from.clamp(first, last)),
        to: OpenTime::at(to.min(now)),
        limit,
        keep: Keep::Oldest,
    };
    contract
        .candles
        .closed(interval, span, now)
        .iter()
        .map(|(open, bar)| TruthCandle::new(*open, bar, contract.scale))
        .collect()
}
