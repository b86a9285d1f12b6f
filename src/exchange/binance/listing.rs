//! What the exchange says of itself: its time, its contracts, their last 24 hours. Rows are read one by one, so that a row
//! nobody can read loses itself and no other (hazard 33); words nobody knows read as `Other`.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::decimal::decimal;
use super::rest::{Call, Rest};
use crate::clock::Mono;
use crate::exchange::{
    Contract, ContractKind, ContractStatus, ExchangeError, Rows, ServerTime, Ticker,
};
use crate::market::{Symbol, TimeMs};

const TIME_PATH: &str = "/fapi/v1/time";
const CONTRACTS_PATH: &str = "/fapi/v1/exchangeInfo";
const TICKERS_PATH: &str = "/fapi/v1/ticker/24hr";
/// Rows of the merged COIN-M exchange: their volumes are in contracts, not in money (hazard 26).
const COIN_MARGINED: i64 = 2;
/// What a perpetual becomes that is on its way out.
const DELIVERING: &str = "PERPETUAL_DELIVERING";
/// How fast a simulated exchange may run. Waits are divided by it: of a speed near 0 no span comes out that a timer holds.
const SPEEDS: RangeInclusive<f64> = 1.0..=3_600.0;

#[derive(Debug, Deserialize)]
struct WireTime {
    #[serde(rename = "serverTime")]
    server_time: i64,
    #[serde(rename = "simSpeed")]
    sim_speed: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct WireInfo<'a> {
    #[serde(borrow)]
    symbols: Vec<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireContract {
    symbol: Symbol,
    base_asset: String,
    quote_asset: String,
    margin_asset: String,
    contract_type: String,
    status: String,
    onboard_date: i64,
    #[serde(default)]
    filters: Vec<serde_json::Value>,
    st: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireTicker {
    symbol: Symbol,
    last_price: String,
    price_change_percent: String,
    quote_volume: String,
    st: Option<i64>,
}

pub(super) async fn server_time(rest: &Rest) -> Result<ServerTime, ExchangeError> {
    let asked = Mono::now();
    let body = get(rest, TIME_PATH, 1).await?;
    read_time(
        &body,
        Duration::from_millis(Mono::now().ms_since(asked).max(1)),
    )
}

pub(super) async fn contracts(rest: &Rest) -> Result<Rows<Contract>, ExchangeError> {
    read_contracts(&get(rest, CONTRACTS_PATH, 1).await?)
}

pub(super) async fn tickers(rest: &Rest) -> Result<Rows<Ticker>, ExchangeError> {
    read_tickers(&get(rest, TICKERS_PATH, 40).await?)
}

fn read_time(body: &[u8], round_trip: Duration) -> Result<ServerTime, ExchangeError> {
    let wire: WireTime =
        serde_json::from_slice(body).map_err(|source| unreadable(TIME_PATH, source))?;
    let speed = wire.sim_speed.unwrap_or(1.0);
    if wire.server_time <= 0 || !SPEEDS.contains(&speed) {
        return Err(senseless(
            TIME_PATH,
            "no time, or no speed a clock can have",
        ));
    }
    Ok(ServerTime {
        time: TimeMs::new(wire.server_time),
        speed,
        simulated: wire.sim_speed.is_some(),
        round_trip,
    })
}

fn read_contracts(body: &[u8]) -> Result<Rows<Contract>, ExchangeError> {
    let info: WireInfo<'_> =
        serde_json::from_slice(body).map_err(|source| unreadable(CONTRACTS_PATH, source))?;
    rows(CONTRACTS_PATH, &info.symbols, |row| {
        let wire: WireContract = serde_json::from_str(row).ok()?;
        Some(Some(wire.into_contract()))
    })
}

fn read_tickers(body: &[u8]) -> Result<Rows<Ticker>, ExchangeError> {
    let listed: Vec<&RawValue> =
        serde_json::from_slice(body).map_err(|source| unreadable(TICKERS_PATH, source))?;
    rows(TICKERS_PATH, &listed, |row| {
        let wire: WireTicker = serde_json::from_str(row).ok()?;
        if wire.st == Some(COIN_MARGINED) {
            return Some(None);
        }
        wire.into_ticker().map(Some)
    })
}

async fn get(rest: &Rest, path: &'static str, weight: u32) -> Result<Vec<u8>, ExchangeError> {
    rest.get(&Call {
        path,
        query: &[],
        weight,
    })
    .await
}

/// Reads row by row: `None` is a row that cannot be read, `Some(None)` one that is none of ours. A listing without a single
/// good row is no listing: taken as one, it would end every series.
fn rows<T>(
    path: &'static str,
    listed: &[&RawValue],
    read: impl Fn(&str) -> Option<Option<T>>,
) -> Result<Rows<T>, ExchangeError> {
    let mut rows = Vec::with_capacity(listed.len());
    let mut skipped = 0;
    for row in listed {
        match read(row.get()) {
            Some(good) => rows.extend(good),
            None => skipped += 1,
        }
    }
    if rows.is_empty() {
        return Err(senseless(path, "not one row that can be read"));
    }
    Ok(Rows { rows, skipped })
}

impl WireContract {
    fn into_contract(self) -> Contract {
        let kind = match self.contract_type.as_str() {
            "PERPETUAL" | DELIVERING if self.st != Some(COIN_MARGINED) => ContractKind::Perpetual,
            _ => ContractKind::Other,
        };
        let status = match self.status.as_str() {
            _ if self.contract_type == DELIVERING => ContractStatus::Ended,
            "TRADING" => ContractStatus::Trading,
            "PENDING_TRADING" => ContractStatus::Pending,
            "PRE_DELIVERING" | "DELIVERING" | "DELIVERED" | "PRE_SETTLE" | "SETTLING" | "CLOSE" => {
                ContractStatus::Ended
            }
            _ => ContractStatus::Other,
        };
        Contract {
            tick_size: tick_size(&self.filters),
            symbol: self.symbol,
            base_asset: self.base_asset,
            quote_asset: self.quote_asset,
            kind,
            status,
            margin_asset: self.margin_asset,
            onboard_time: TimeMs::new(self.onboard_date),
        }
    }
}

impl WireTicker {
    fn into_ticker(self) -> Option<Ticker> {
        let last_price = decimal(&self.last_price)?;
        let quote_volume_24h = decimal(&self.quote_volume)?;
        let possible = last_price >= 0.0 && quote_volume_24h >= 0.0;
        possible.then_some(Ticker {
            symbol: self.symbol,
            last_price,
            change_pct_24h: decimal(&self.price_change_percent)?,
            quote_volume_24h,
        })
    }
}

fn tick_size(filters: &[serde_json::Value]) -> Option<f64> {
    let filter = filters.iter().find(|f| f["filterType"] == "PRICE_FILTER")?;
    decimal(filter["tickSize"].as_str()?).filter(|tick| *tick > 0.0)
}

fn unreadable(path: &'static str, source: serde_json::Error) -> ExchangeError {
    ExchangeError::Unreadable { path, source }
}

fn senseless(path: &'static str, why: &'static str) -> ExchangeError {
    unreadable(path, serde::de::Error::custom(why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::binance::mutate::mutations;

    #[test]
    fn h24_a_perpetual_that_is_being_delivered_has_ended() {
        let listed = |kind: &str, st: i64| {
            let body = format!(
                r#"{{"symbols":[{{"symbol":"OMGUSDT","contractType":"{kind}","onboardDate":1,"status":"TRADING",
                "baseAsset":"OMG","quoteAsset":"USDT","marginAsset":"USDT","st":{st}}}]}}"#
            );
            let row = read_contracts(body.as_bytes()).unwrap().rows.remove(0);
            (row.kind, row.status)
        };
        let ended = (ContractKind::Perpetual, ContractStatus::Ended);
        assert_eq!(listed("PERPETUAL_DELIVERING", 1), ended);
        assert_eq!(listed("PERPETUAL_DELIVERING", 2).0, ContractKind::Other);
        assert_eq!(listed("PERPETUAL", 1).1, ContractStatus::Trading);
    }

    #[test]
    fn h29_a_speed_that_no_exchange_runs_at_is_refused() {
        let at = |speed: &str| {
            let body = format!(r#"{{"serverTime":1791383675683,"simSpeed":{speed}}}"#);
            read_time(body.as_bytes(), Duration::ZERO)
        };
        for speed in ["1e-300", "0.99", "0", "-1", "3600.5", "1e300", r#""60""#] {
            assert!(at(speed).is_err(), "{speed}");
        }
        for speed in ["1", "60.5", "3600"] {
            assert!(at(speed).unwrap().simulated, "{speed}");
        }
        assert!(!at("null").unwrap().simulated);
    }

    #[test]
    fn no_mutation_of_a_listing_is_worse_than_refused() {
        let contracts = r#"{"symbols":[{"symbol":"BTCUSDT","contractType":"PERPETUAL","onboardDate":1569398400000,
            "status":"TRADING","baseAsset":"BTC","quoteAsset":"USDT","marginAsset":"USDT",
            "filters":[{"filterType":"PRICE_FILTER","tickSize":"0.10"}]}]}"#;
        let tickers = r#"[{"symbol":"BTCUSDT","lastPrice":"1.5","priceChangePercent":"-1","quoteVolume":"7"}]"#;
        let time = r#"{"serverTime":1791383675683,"simSpeed":60.5}"#;
        let mut read = 0;
        for body in mutations(contracts, 5_000) {
            read += usize::from(
                read_contracts(&body)
                    .is_ok_and(|rows| rows.rows.iter().all(|row| row.tick_size != Some(0.0))),
            );
        }
        for body in mutations(tickers, 5_000) {
            read += usize::from(read_tickers(&body).is_ok());
        }
        for body in mutations(time, 5_000) {
            if let Ok(time) = read_time(&body, Duration::ZERO) {
                assert!((1.0..=3_600.0).contains(&time.speed));
                read += 1;
            }
        }
        assert!((1_000..14_000).contains(&read), "{read} of 15,000 read");
    }
}
