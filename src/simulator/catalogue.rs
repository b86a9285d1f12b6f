//! The contracts of the exchange: what `exchangeInfo` lists and what a name in a request or a stream means.
//! The generated market has, beside the perpetuals that trade, rows that a client must know to leave alone: a delisted
//! one, a TradFi one, a quarterly, one in another quote asset, and words no client has seen before.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use super::bar::{Bar, QUOTE_DECIMALS, Scale};
use super::candles::{Candles, Generated};
use super::fault::{BrokenRow, Margin};
use super::generator::{Personality, Voice, mix, unit};
use super::life::{Life, SETTLING, TRADING};
use super::names::coin;
use super::replay::Recording;
use super::settings::SimulatorSettings;
use super::tape::Tape;
use crate::market::{OpenTime, Symbol, TimeMs};

/// The delivery date of what never expires, as the exchange writes it: 2100-12-25.
pub(super) const NEVER_MS: i64 = 4_133_404_800_000;
/// Candles of the longest interval that lie behind a generated contract at the start, and a few more.
const HISTORY_CANDLES: i64 = 5_100;
pub(super) const DAY_MS: i64 = 86_400_000;

/// Position of a contract in the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ContractId(pub usize);

/// One contract, as it is at any time: a fault makes a new catalogue.
#[derive(Debug, Clone)]
pub(super) struct Contract {
    /// Its name.
    pub symbol: Symbol,
    /// The pair it belongs to (`BTCUSDT` of `BTCUSDT_261225`).
    pub pair: String,
    /// Base asset.
    pub base: String,
    /// Quote and margin asset.
    pub quote: String,
    /// `PERPETUAL`, `TRADIFI_PERPETUAL`, `CURRENT_QUARTER` or something new.
    pub contract_type: Cow<'static, str>,
    /// `COIN`, `COMMODITY`.
    pub underlying: Cow<'static, str>,
    /// When it was listed.
    pub onboard: TimeMs,
    /// What it is margined in: COIN-M contracts are in the all-market streams only.
    pub margin: Margin,
    /// Its statuses over time.
    pub life: Life,
    /// Decimals and tick.
    pub scale: Scale,
    /// Its candles.
    pub candles: Tape,
    /// What is told otherwise at times; the last one in force counts.
    pub told: Vec<Told>,
}

/// What is told of a contract from `from` to `to` (excluded) in place of what it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Told {
    /// From then on.
    pub from: TimeMs,
    /// Until then.
    pub to: TimeMs,
    /// What.
    pub what: Instead,
}

/// What can be told otherwise.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Instead {
    /// Another contract type.
    ContractType(String),
    /// A row of exchangeInfo that is none.
    Broken(BrokenRow),
    /// Another turnover of 24 hours, in the quote asset.
    Turnover(f64),
}

/// All contracts, in the order in which they are listed.
#[derive(Debug)]
pub(super) struct Catalogue {
    contracts: Vec<Contract>,
    by_name: HashMap<String, ContractId>,
    by_lower_name: HashMap<String, ContractId>,
}

impl Contract {
    /// Whether it is traded at `now`: listed in the ticker, moving in the streams.
    pub(super) fn is_trading(&self, now: TimeMs) -> bool {
        self.life.is_trading(now)
    }

    /// Whether REST and candle streams know it at `now`.
    pub(super) fn is_listed(&self, now: TimeMs) -> bool {
        self.margin == Margin::Usd && self.life.is_listed(now)
    }

    /// Everything traded in the 24 hours before `now`, with the turnover that is told.
    pub(super) fn last_day(&self, now: TimeMs) -> Option<Bar> {
        let mut day = self.candles.last_day(now)?;
        let turnover = self.told_at(now).find_map(|what| match what {
            Instead::Turnover(quote) => Some(*quote),
            Instead::ContractType(_) | Instead::Broken(_) => None,
        });
        if let Some(turnover) = turnover {
            let quote = turnover * 10_f64.powi(QUOTE_DECIMALS.into());
            day.volume = (day.volume as f64 * quote / (day.quote as f64).max(1.0)) as i128;
            day.quote = quote as i64;
        }
        Some(day)
    }

    /// The contract type that is told at `now`.
    pub(super) fn contract_type_at(&self, now: TimeMs) -> &str {
        let told = self.told_at(now).find_map(|what| match what {
            Instead::ContractType(told) => Some(told.as_str()),
            Instead::Turnover(_) | Instead::Broken(_) => None,
        });
        told.unwrap_or(&self.contract_type)
    }

    /// How its row is broken at `now`.
    pub(super) fn broken_at(&self, now: TimeMs) -> Option<BrokenRow> {
        self.told_at(now).find_map(|what| match what {
            Instead::Broken(how) => Some(*how),
            Instead::Turnover(_) | Instead::ContractType(_) => None,
        })
    }

    fn told_at(&self, now: TimeMs) -> impl Iterator<Item = &Instead> {
        let in_force = move |told: &&Told| (told.from..told.to).contains(&now);
        self.told
            .iter()
            .rev()
            .filter(in_force)
            .map(|told| &told.what)
    }
}

impl Catalogue {
    /// The generated market at its start, `now`.
    pub(super) fn generated(settings: &SimulatorSettings, now: TimeMs) -> Self {
        let longest = settings
            .intervals
            .iter()
            .map(|i| i.nominal_ms())
            .max()
            .unwrap_or(DAY_MS);
        let history_ms = longest.max(DAY_MS / 6) * HISTORY_CANDLES;
        // Whole days, and nothing before 1970.
        let began = (now.ms() - history_ms).max(0) / DAY_MS * DAY_MS;
        let traded = (0..settings.symbols).map(|rank| perpetual(settings.seed, rank, began));
        Self::of(traded.chain(strangers(settings.seed, began, now)).collect())
    }

    /// The recorded contracts, all trading.
    pub(super) fn replayed(recordings: BTreeMap<Symbol, Recording>) -> Self {
        let contracts = recordings.into_iter().map(|(symbol, recording)| {
            let (base, quote) = split_name(symbol.as_str());
            let first = recording.opens_at_row(0).map(|(first, _)| first).min();
            Contract {
                pair: symbol.as_str().to_owned(),
                base: base.to_owned(),
                quote: quote.to_owned(),
                contract_type: "PERPETUAL".into(),
                underlying: "COIN".into(),
                onboard: first.map_or(TimeMs::new(0), OpenTime::time),
                margin: Margin::Usd,
                life: Life::always(TRADING, TimeMs::new(NEVER_MS)),
                scale: recording.scale(),
                candles: Tape::new(recording.scale(), Candles::Recorded(recording)),
                told: Vec::new(),
                symbol,
            }
        });
        Self::of(contracts.collect())
    }

    /// These contracts. A COIN-M contract has no name here.
    pub(super) fn of(contracts: Vec<Contract>) -> Self {
        let ids = || {
            let all = contracts.iter().enumerate();
            all.filter(|(_, contract)| contract.margin == Margin::Usd)
        };
        Self {
            by_name: ids()
                .map(|(at, c)| (c.symbol.as_str().to_owned(), ContractId(at)))
                .collect(),
            by_lower_name: ids()
                .map(|(at, c)| (c.symbol.lower(), ContractId(at)))
                .collect(),
            contracts,
        }
    }

    /// Every contract, in order.
    pub(super) fn all(&self) -> &[Contract] {
        &self.contracts
    }

    /// The contract at `id`, which stays its own whatever faults do.
    pub(super) fn get(&self, id: ContractId) -> &Contract {
        &self.contracts[id.0]
    }

    /// The contract named `text`, ASCII letters in either case: as REST reads names. Perhaps not listed yet.
    pub(super) fn find(&self, text: &str) -> Option<&Contract> {
        self.by_name
            .get(&text.to_ascii_uppercase())
            .map(|id| self.get(*id))
    }

    /// The contract named `text` if it is listed at `now`.
    pub(super) fn listed(&self, text: &str, now: TimeMs) -> Option<&Contract> {
        self.find(text).filter(|contract| contract.is_listed(now))
    }

    /// The contract whose stream name begins with `text`: exactly the lower-case name.
    pub(super) fn find_lower(&self, text: &str) -> Option<ContractId> {
        self.by_lower_name.get(text).copied()
    }
}

/// The generated USDT perpetual of rank `rank`.
fn perpetual(seed: u64, rank: usize, began: i64) -> Contract {
    let (base, price) = coin(rank);
    let draw = |what: u64| unit(mix(seed ^ mix(rank as u64) ^ mix(what)));
    let like = Personality {
        price,
        quote_volume: 9e9 / (rank as f64 + 1.0).powf(0.95),
        // Tuned by what HAMA says over 1,200 closes of 125 contracts (seed 1): at 15m 40 % BUY, 39 % SELL, 21 % HOLD
        // and 3.6 signal changes a close, three or more on 71 % of them; at 1h 44, 45, 11 %; at 4h 46, 48, 6 %.
        minute_move: if rank < 2 {
            0.000_22
        } else {
            0.000_22 + 0.000_6 * draw(1)
        },
        trend: 0.45 + 0.6 * draw(2),
        naps: if rank < 60 { 0.0 } else { 0.06 * draw(3) },
    };
    let scale = match base.as_str() {
        // The live exchange's: precision 2, tick 0.10.
        "BTC" => Scale {
            price_decimals: 2,
            volume_decimals: 3,
            tick: 10,
        },
        _ => scale_for(price, rank),
    };
    contract(
        seed,
        &format!("{base}USDT"),
        &base,
        "USDT",
        scale,
        like,
        began,
    )
}

/// Decimals for 10,000 to 100,000 ticks a price; every seventh contract's precision is finer than its tick.
fn scale_for(price: f64, rank: usize) -> Scale {
    let magnitude = price.log10().floor() as i32;
    let decimals = (4 - magnitude).clamp(1, 9) as u8;
    let finer = u8::from(rank % 7 == 3);
    Scale {
        price_decimals: decimals + finer,
        volume_decimals: (magnitude.clamp(0, 3)) as u8,
        tick: 10_i64.pow(finer.into()),
    }
}

/// A contract that a fault lists: of the seed's market as all others, so it moves no other.
pub(super) fn listed_by_fault(
    seed: u64,
    name: &Symbol,
    price: f64,
    quote_volume: f64,
    began: TimeMs,
) -> Contract {
    let like = Personality {
        price,
        quote_volume,
        minute_move: 0.000_5,
        trend: 0.8,
        naps: 0.0,
    };
    let (base, quote) = split_name(name.as_str());
    let day = began.ms() / DAY_MS * DAY_MS;
    contract(
        seed,
        name.as_str(),
        base,
        quote,
        scale_for(price, 0),
        like,
        day,
    )
}

fn contract(
    seed: u64,
    name: &str,
    base: &str,
    quote: &str,
    scale: Scale,
    like: Personality,
    began: i64,
) -> Contract {
    let voice = Voice::new(seed, name, scale, like);
    let candles = Candles::Generated(Box::new(Generated::new(voice, began)));
    Contract {
        symbol: known_name(name),
        pair: name.to_owned(),
        base: base.to_owned(),
        quote: quote.to_owned(),
        contract_type: "PERPETUAL".into(),
        underlying: "COIN".into(),
        onboard: TimeMs::new(began),
        margin: Margin::Usd,
        life: Life::always(TRADING, TimeMs::new(NEVER_MS)),
        scale,
        candles: Tape::new(scale, candles),
        told: Vec::new(),
    }
}

/// Names made here are all valid; should one not be, it is listed under a name that is.
fn known_name(name: &str) -> Symbol {
    #[expect(
        clippy::expect_used,
        reason = "a literal of letters; a test makes all 600"
    )]
    Symbol::parse(name).expect("generated names are letters and digits")
}

/// What a client must leave alone.
fn strangers(seed: u64, began: i64, now: TimeMs) -> Vec<Contract> {
    let plain = |name: &str, base: &str, quote: &str, price: f64| {
        let like = Personality {
            price,
            quote_volume: 9e8,
            minute_move: 0.000_25,
            trend: 0.8,
            naps: 0.0,
        };
        contract(seed, name, base, quote, scale_for(price, 0), like, began)
    };
    let settled = TimeMs::new((now.ms() - 30 * DAY_MS).max(began + DAY_MS) / DAY_MS * DAY_MS);
    let mut omg = plain("OMGUSDT", "OMG", "USDT", 0.21);
    omg.life = Life::always(SETTLING, settled);
    omg.candles.end_at(settled);
    let mut gold = plain("XAUUSDT", "XAU", "USDT", 4_120.0);
    gold.contract_type = "TRADIFI_PERPETUAL".into();
    gold.underlying = "COMMODITY".into();
    let mut quarterly = plain("BTCUSDT_261225", "BTC", "USDT", 83_900.0);
    quarterly.pair = "BTCUSDT".to_owned();
    quarterly.contract_type = "CURRENT_QUARTER".into();
    quarterly.life = Life::always(TRADING, TimeMs::new(1_798_185_600_000)); // 2026-12-25T08:00:00Z
    let usdc = plain("BTCUSDC", "BTC", "USDC", 83_010.0);
    let mut unknown_status = plain("MOONUSDT", "MOON", "USDT", 1.25);
    unknown_status.life = Life::always("AUCTION_2027", TimeMs::new(NEVER_MS));
    let mut unknown_type = plain("SWIRLUSDT", "SWIRL", "USDT", 0.75);
    unknown_type.contract_type = "EVERLASTING_OPTION".into();
    vec![omg, gold, quarterly, usdc, unknown_status, unknown_type]
}

/// Base and quote asset of a name; a name that tells nothing is quoted in USDT.
pub(super) fn split_name(name: &str) -> (&str, &str) {
    ["USDT", "USDC", "BTC", "ETH"]
        .into_iter()
        .find_map(|quote| {
            let base = name.strip_suffix(quote).filter(|base| !base.is_empty())?;
            Some((base, quote))
        })
        .unwrap_or((name, "USDT"))
}

impl Catalogue {
    /// The open of row 600 of the recording that begins last: where a replay starts, with 600 candles behind it.
    pub(super) fn replay_start(recordings: &BTreeMap<Symbol, Recording>) -> Option<TimeMs> {
        recordings
            .values()
            .flat_map(|recording| recording.opens_at_row(600))
            .max_by_key(|(first, _)| *first)
            .map(|(_, row)| row.time())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quote_assets_are_read_off_the_name() {
        assert_eq!(split_name("ETHBTC"), ("ETH", "BTC"));
        assert_eq!(split_name("币安人生USDT"), ("币安人生", "USDT"));
        assert_eq!(split_name("BTCUSDC"), ("BTC", "USDC"));
        assert_eq!(split_name("USDT"), ("USDT", "USDT"));
    }

    #[test]
    fn six_hundred_contracts_and_the_strangers_have_their_own_names() {
        let settings = SimulatorSettings {
            symbols: 600,
            ..SimulatorSettings::default()
        };
        let catalogue = Catalogue::generated(&settings, TimeMs::new(1_767_225_600_000));
        assert_eq!(catalogue.all().len(), 606);
        assert_eq!(catalogue.by_name.len(), 606);
        assert_eq!(catalogue.by_lower_name.len(), 606);
        let bitcoin = catalogue.find("btcusdt").unwrap();
        assert_eq!((bitcoin.scale.price_decimals, bitcoin.scale.tick), (2, 10));
        assert!(catalogue.find_lower("BTCUSDT").is_none());
        assert!(catalogue.find_lower("币安人生usdt").is_some());
    }
}
