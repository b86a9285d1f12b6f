//! The JSON texts of the exchange, written by hand: candle rows, stream events, contract and ticker rows.
//! These are the simulator's own reading of the exchange's documents; the adapter has another, on purpose.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::bar::{Bar, QUOTE_DECIMALS, Scale, decimal, push_decimal};
use super::catalogue::Contract;
use super::fault::{BrokenRow, Margin};
use super::life::Step;
use crate::market::{Interval, OpenTime, TimeMs};

/// Trade numbers count time: 10,000 for every minute since 1970, more than any generated minute holds.
const TRADES_PER_MINUTE: i64 = 10_000;
const MINUTE_MS: i64 = 60_000;

/// Whether a candle in an event has closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// `"x":true`.
    Yes,
    /// `"x":false`.
    No,
}

/// The closed candles every client must end up with: an open time and decimal texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TruthCandle {
    /// When it opens.
    pub open_time: OpenTime,
    /// First price.
    pub open: String,
    /// Highest price.
    pub high: String,
    /// Lowest price.
    pub low: String,
    /// Last price.
    pub close: String,
    /// Traded amount, in the base asset.
    pub volume: String,
}

impl TruthCandle {
    pub(super) fn new(open_time: OpenTime, bar: &Bar, scale: Scale) -> Self {
        let price = |units: i64| decimal(units.into(), scale.price_decimals);
        Self {
            open_time,
            open: price(bar.open),
            high: price(bar.high),
            low: price(bar.low),
            close: price(bar.close),
            volume: decimal(bar.volume, scale.volume_decimals),
        }
    }

    /// `[open_time,"o","h","l","c","v"]`.
    pub(super) fn json(&self) -> Value {
        let open_time = self.open_time.ms();
        json!([
            open_time,
            self.open,
            self.high,
            self.low,
            self.close,
            self.volume
        ])
    }
}

/// Appends a `klines` row.
pub(super) fn push_row(
    out: &mut String,
    interval: Interval,
    open: OpenTime,
    bar: &Bar,
    scale: Scale,
) {
    let _ = write!(out, "[{},\"", open.ms());
    for price in [bar.open, bar.high, bar.low, bar.close] {
        push_decimal(out, price.into(), scale.price_decimals);
        out.push_str("\",\"");
    }
    push_decimal(out, bar.volume, scale.volume_decimals);
    let _ = write!(out, "\",{},\"", interval.close_time(open));
    push_decimal(out, bar.quote.into(), QUOTE_DECIMALS);
    let _ = write!(out, "\",{},\"", bar.trades);
    push_decimal(out, bar.taker_volume, scale.volume_decimals);
    out.push_str("\",\"");
    push_decimal(out, bar.taker_quote.into(), QUOTE_DECIMALS);
    out.push_str("\",\"0\"]");
}

/// A `kline` event without the wrapper of combined streams.
pub(super) fn kline_event(
    contract: &Contract,
    interval: Interval,
    open: OpenTime,
    bar: &Bar,
    closed: Closed,
    now: TimeMs,
) -> String {
    let symbol = contract.symbol.as_str();
    let mut out = String::with_capacity(400);
    let _ = write!(
        out,
        "{{\"e\":\"kline\",\"E\":{now},\"s\":\"{symbol}\",\"k\":{{"
    );
    push_times(&mut out, interval, open);
    let _ = write!(out, "\"s\":\"{symbol}\",");
    push_candle(&mut out, interval, open, bar, contract.scale, closed);
    out.push_str("}}");
    out
}

/// A `continuous_kline` event: the pair at the top, no symbol in the candle.
pub(super) fn continuous_event(
    contract: &Contract,
    interval: Interval,
    open: OpenTime,
    bar: &Bar,
    closed: Closed,
    now: TimeMs,
) -> String {
    let mut out = String::with_capacity(400);
    let _ = write!(
        out,
        "{{\"e\":\"continuous_kline\",\"E\":{now},\"ps\":\"{}\",\"ct\":\"{}\",\"k\":{{",
        contract.pair, contract.contract_type
    );
    push_times(&mut out, interval, open);
    push_candle(&mut out, interval, open, bar, contract.scale, closed);
    out.push_str("}}");
    out
}

fn push_times(out: &mut String, interval: Interval, open: OpenTime) {
    let _ = write!(out, "\"t\":{open},\"T\":{},", interval.close_time(open));
}

fn push_candle(
    out: &mut String,
    interval: Interval,
    open: OpenTime,
    bar: &Bar,
    scale: Scale,
    closed: Closed,
) {
    let (first, last) = if bar.trades == 0 {
        (-1, -1)
    } else {
        let first = open.ms() / MINUTE_MS * TRADES_PER_MINUTE;
        (first, first + bar.trades - 1)
    };
    let _ = write!(out, "\"i\":\"{interval}\",\"f\":{first},\"L\":{last}");
    let prices = [
        ("o", bar.open),
        ("c", bar.close),
        ("h", bar.high),
        ("l", bar.low),
    ];
    for (name, price) in prices {
        let _ = write!(out, ",\"{name}\":\"");
        push_decimal(out, price.into(), scale.price_decimals);
        out.push('"');
    }
    out.push_str(",\"v\":\"");
    push_decimal(out, bar.volume, scale.volume_decimals);
    let closed = match closed {
        Closed::Yes => "true",
        Closed::No => "false",
    };
    let _ = write!(out, "\",\"n\":{},\"x\":{closed},\"q\":\"", bar.trades);
    push_decimal(out, bar.quote.into(), QUOTE_DECIMALS);
    out.push_str("\",\"V\":\"");
    push_decimal(out, bar.taker_volume, scale.volume_decimals);
    out.push_str("\",\"Q\":\"");
    push_decimal(out, bar.taker_quote.into(), QUOTE_DECIMALS);
    out.push_str("\",\"B\":\"0\"");
}

/// A contract as `exchangeInfo` lists it at `now`, broken if a fault says so (hazard 33).
pub(super) fn contract_row(contract: &Contract, now: TimeMs) -> Value {
    let mut row = whole_contract_row(contract, now);
    match contract.broken_at(now) {
        None => {}
        Some(BrokenRow::NoSymbol) => {
            row.as_object_mut().map(|fields| fields.remove("symbol"));
        }
        Some(BrokenRow::WrongTypes) => {
            row["status"] = json!(7);
            row["deliveryDate"] = json!("tomorrow");
        }
        Some(BrokenRow::NotAnObject) => row = json!(contract.symbol),
    }
    row
}

fn whole_contract_row(contract: &Contract, now: TimeMs) -> Value {
    let scale = contract.scale;
    let step = contract.life.at(now);
    let price = |units: i64| decimal(units.into(), scale.price_decimals);
    let amount = |units: i128| decimal(units, scale.volume_decimals);
    json!({
        "symbol": contract.symbol, "pair": contract.pair, "contractType": contract.contract_type_at(now),
        "deliveryDate": step.delivery, "onboardDate": contract.onboard, "status": step.status,
        "maintMarginPercent": "2.5000", "requiredMarginPercent": "5.0000",
        "baseAsset": contract.base, "quoteAsset": contract.quote, "marginAsset": contract.quote,
        "pricePrecision": scale.price_decimals, "quantityPrecision": scale.volume_decimals,
        "baseAssetPrecision": 8, "quotePrecision": 8,
        "underlyingType": contract.underlying, "underlyingSubType": [],
        "triggerProtect": "0.0500", "liquidationFee": "0.012500", "marketTakeBound": "0.05",
        "maxMoveOrderLimit": 10000,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": price(scale.tick), "maxPrice": price(scale.tick.saturating_mul(1_000_000_000)), "tickSize": price(scale.tick)},
            {"filterType": "LOT_SIZE", "minQty": amount(1), "maxQty": amount(1_000_000_000), "stepSize": amount(1)},
            {"filterType": "MARKET_LOT_SIZE", "minQty": amount(1), "maxQty": amount(100_000_000), "stepSize": amount(1)},
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
            {"filterType": "PERCENT_PRICE", "multiplierUp": "1.0500", "multiplierDown": "0.9500", "multiplierDecimal": "4"},
        ],
        "orderTypes": ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
    })
}

/// A `contractInfo` event: a contract was listed, or its status is another since `step`.
pub(super) fn contract_event(contract: &Contract, step: &Step, told: TimeMs) -> String {
    json!({
        "e": "contractInfo", "E": told, "s": contract.symbol, "ps": contract.pair,
        "ct": contract.contract_type_at(step.at), "dt": step.delivery, "ot": contract.onboard,
        "cs": step.status, "st": st(contract.margin),
    })
    .to_string()
}

/// How all-market streams mark what a contract is margined in.
const fn st(margin: Margin) -> u8 {
    match margin {
        Margin::Usd => 1,
        Margin::Coin => 2,
    }
}

/// The texts a ticker row is made of.
struct DayTexts {
    change: String,
    change_percent: String,
    average: String,
    last: String,
    open: String,
    high: String,
    low: String,
    volume: String,
    quote: String,
}

impl DayTexts {
    fn of(day: &Bar, scale: Scale) -> Self {
        let price = |units: i64| decimal(units.into(), scale.price_decimals);
        let change = day.close - day.open;
        let hundredths = (change as f64 * 10_000.0 / day.open as f64).round() as i128 * 10;
        Self {
            change: price(change),
            change_percent: decimal(hundredths, 3),
            average: price((day.high + day.low) / 2),
            last: price(day.close),
            open: price(day.open),
            high: price(day.high),
            low: price(day.low),
            volume: decimal(day.volume, scale.volume_decimals),
            quote: decimal(day.quote.into(), QUOTE_DECIMALS),
        }
    }
}

/// A row of `ticker/24hr`.
pub(super) fn ticker_row(contract: &Contract, day: &Bar, now: TimeMs) -> Value {
    let day_open = now.plus_ms(-86_400_000);
    let texts = DayTexts::of(day, contract.scale);
    json!({
        "symbol": contract.symbol, "priceChange": texts.change, "priceChangePercent": texts.change_percent,
        "weightedAvgPrice": texts.average, "lastPrice": texts.last, "lastQty": "1",
        "openPrice": texts.open, "highPrice": texts.high, "lowPrice": texts.low,
        "volume": texts.volume, "quoteVolume": texts.quote,
        "openTime": day_open, "closeTime": now, "firstId": 1, "lastId": day.trades, "count": day.trades,
    })
}

/// A row of the `!ticker@arr` stream; USD-M contracts carry `st` 1, COIN-M ones 2.
pub(super) fn ticker_event(contract: &Contract, day: &Bar, now: TimeMs) -> Value {
    let texts = DayTexts::of(day, contract.scale);
    json!({
        "e": "24hrTicker", "E": now, "s": contract.symbol, "p": texts.change, "P": texts.change_percent,
        "w": texts.average, "c": texts.last, "Q": "1", "o": texts.open, "h": texts.high, "l": texts.low,
        "v": texts.volume, "q": texts.quote, "O": now.plus_ms(-86_400_000), "C": now,
        "F": 1, "L": day.trades, "n": day.trades, "st": st(contract.margin),
    })
}

/// The COIN-M row that all-market streams carry since June 2026: volumes in contracts, `st` 2 (hazard 26).
pub(super) fn coin_margined_event(now: TimeMs) -> Value {
    json!({
        "e": "24hrTicker", "E": now, "s": "BTCUSD_PERP", "ps": "BTCUSD", "p": "120.0", "P": "0.145",
        "w": "83000.0", "c": "83120.0", "Q": "3", "o": "83000.0", "h": "84000.0", "l": "82000.0",
        "v": "98765432109", "q": "118654.12", "O": now.plus_ms(-86_400_000), "C": now,
        "F": 1, "L": 1_000_000, "n": 1_000_000, "st": 2,
    })
}

/// A row of `premiumIndex`.
pub(super) fn premium_row(contract: &Contract, last: i64, now: TimeMs) -> Value {
    let price = decimal(last.into(), contract.scale.price_decimals);
    let funding = Interval::H8.after(Interval::H8.open_at(now));
    json!({
        "symbol": contract.symbol, "markPrice": price, "indexPrice": price, "estimatedSettlePrice": price,
        "lastFundingRate": "0.00010000", "interestRate": "0.00010000", "nextFundingTime": funding, "time": now,
    })
}
