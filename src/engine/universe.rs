//! Which contracts are watched: the first by 24 h turnover, or those the operator named, in the settings or by a start.
//! Reads the listing when the list is to be made, else keeps the exchange's clock and the 24 h figures fresh.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::complaints::Complaints;
use super::core::Event;
use super::handle::{Universe, WatchedContract};
use super::order::{OrderError, StartOrder, Started, names};
use crate::backoff::Backoff;
use crate::clock::{ExchangeClock, Mono};
use crate::exchange::{
    Advice, Contract, ContractKind, ContractStatus, Exchange, ExchangeError, Ticker,
};
use crate::market::{Interval, Symbol};
use crate::tasks::Tasks;

/// The 24 h figures are promised to be at most 60 s old.
const REFRESH_EVERY: Duration = Duration::from_secs(45);

/// After an error that only a person can mend.
const OPERATOR_PAUSE: Duration = Duration::from_secs(60);

/// What turnover is ranked in; sums in other assets are not comparable (hazard 26).
const RANKED_IN: &str = "USDT";

/// Which contracts to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchList {
    /// So many USDT perpetuals, by 24 h turnover.
    Top(usize),
    /// These, whatever their quote asset.
    Named(Vec<Symbol>),
}

/// The watch list cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum WatchListError {
    /// Names the exchange does not trade.
    #[error("HAMA_SYMBOLS: the exchange has no trading perpetual called {}; remove the name or mend it", names(.0))]
    Unknown(Vec<Symbol>),
    /// Nothing trades: maintenance, or a listing that is not whole.
    #[error("the exchange lists no trading perpetual to watch")]
    Empty,
}

impl WatchList {
    /// The contracts to watch, by symbol.
    ///
    /// # Errors
    /// `WatchListError` when a named contract does not trade, or nothing does.
    pub fn choose(
        &self,
        contracts: &[Contract],
        tickers: &[Ticker],
    ) -> Result<Vec<WatchedContract>, WatchListError> {
        let by_symbol: HashMap<_, _> = tickers
            .iter()
            .map(|ticker| (&ticker.symbol, ticker))
            .collect();
        let mut trading = contracts
            .iter()
            .filter(|contract| {
                contract.kind == ContractKind::Perpetual
                    && contract.status == ContractStatus::Trading
            })
            .peekable();
        if trading.peek().is_none() {
            return Err(WatchListError::Empty); // and no name is wrong because of it
        }
        let mut chosen: Vec<_> = match self {
            Self::Top(count) => ranked(trading, &by_symbol, *count),
            Self::Named(names) => named(trading, &by_symbol, names)?,
        };
        if chosen.is_empty() {
            return Err(WatchListError::Empty);
        }
        chosen.sort_by(|a, b| a.symbol.cmp(&b.symbol));
        Ok(chosen)
    }
}

fn ranked<'a>(
    trading: impl Iterator<Item = &'a Contract>,
    tickers: &HashMap<&Symbol, &Ticker>,
    count: usize,
) -> Vec<WatchedContract> {
    let mut candidates: Vec<_> = trading
        .filter(|contract| contract.quote_asset == RANKED_IN && contract.margin_asset == RANKED_IN)
        .map(|contract| watched(contract, tickers))
        .collect();
    candidates.sort_by(|a, b| {
        let turnover = |contract: &WatchedContract| contract.quote_volume_24h.unwrap_or(0.0);
        turnover(b)
            .total_cmp(&turnover(a))
            .then_with(|| a.symbol.cmp(&b.symbol))
    });
    candidates.truncate(count);
    for (at, contract) in candidates.iter_mut().enumerate() {
        contract.rank = Some(at + 1);
    }
    candidates
}

fn named<'a>(
    trading: impl Iterator<Item = &'a Contract>,
    tickers: &HashMap<&Symbol, &Ticker>,
    names: &[Symbol],
) -> Result<Vec<WatchedContract>, WatchListError> {
    let trading: HashMap<_, _> = trading
        .map(|contract| (&contract.symbol, contract))
        .collect();
    let unknown: Vec<_> = names
        .iter()
        .filter(|name| !trading.contains_key(name))
        .cloned()
        .collect();
    if !unknown.is_empty() {
        return Err(WatchListError::Unknown(unknown));
    }
    Ok(names
        .iter()
        .filter_map(|name| trading.get(name))
        .map(|contract| watched(contract, tickers))
        .collect())
}

fn watched(contract: &Contract, tickers: &HashMap<&Symbol, &Ticker>) -> WatchedContract {
    let ticker = tickers.get(&contract.symbol);
    WatchedContract {
        symbol: contract.symbol.clone(),
        base_asset: contract.base_asset.clone(),
        quote_asset: contract.quote_asset.clone(),
        rank: None,
        tick_size: contract.tick_size,
        quote_volume_24h: ticker.map(|ticker| ticker.quote_volume_24h),
        change_pct_24h: ticker.map(|ticker| ticker.change_pct_24h),
    }
}

/// Reads the watch list and keeps what ages fresh.
pub(super) struct UniverseReader {
    pub(super) exchange: Exchange,
    pub(super) clock: ExchangeClock,
    /// What a start without names means.
    pub(super) configured: WatchList,
    pub(super) in_force: WatchList,
    pub(super) intervals: Vec<Interval>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) published: watch::Sender<Arc<Universe>>,
    pub(super) listed: mpsc::Sender<Listed>,
}

/// A start whose watch list is to be made.
pub(super) struct StartAsked {
    pub(super) order: StartOrder,
    pub(super) answer: oneshot::Sender<Result<Started, OrderError>>,
}

/// A start whose watch list is made.
pub(super) struct Listed {
    /// None: the list in force stays.
    pub(super) symbols: Option<BTreeSet<Symbol>>,
    /// What was asked for.
    pub(super) order: StartOrder,
    pub(super) answer: oneshot::Sender<Result<Started, OrderError>>,
}

enum ReadError {
    Exchange(ExchangeError),
    WatchList(WatchListError),
}

impl UniverseReader {
    /// Works until the program stops. A name the exchange does not trade ends it, and with it the program: only who
    /// gave the name can mend it. Everything else is tried again.
    pub(super) async fn run(mut self, mut starts: mpsc::Receiver<StartAsked>, tasks: Tasks) {
        let work = async {
            let mut backoff = Backoff::default();
            let mut complaints = Complaints::default();
            loop {
                let wait = match self.read().await {
                    Ok(()) => {
                        backoff.reset();
                        REFRESH_EVERY
                    }
                    Err(ReadError::WatchList(error @ WatchListError::Unknown(_))) => {
                        tasks.give_up(error.to_string());
                        return;
                    }
                    Err(ReadError::WatchList(error @ WatchListError::Empty)) => {
                        complain(&error, &mut complaints);
                        backoff.next_delay()
                    }
                    Err(ReadError::Exchange(error)) => {
                        if error.again_in().is_none() {
                            complain(&error, &mut complaints); // else the exchange's room has told it
                        }
                        self.pause(&error, &mut backoff)
                    }
                };
                let pause = tokio::time::sleep(wait);
                tokio::pin!(pause);
                loop {
                    tokio::select! {
                        () = &mut pause => break,
                        Some(asked) = starts.recv() => self.start(asked).await,
                    }
                }
            }
        };
        tokio::select! {
            () = tasks.stopping() => {}
            () = work => {}
        }
    }

    fn pause(&self, error: &ExchangeError, backoff: &mut Backoff) -> Duration {
        match error.advice() {
            Advice::WaitUntil(at) => {
                let wait_ms = at.ms_since(self.clock.now()).max(0) as f64 / self.clock.speed();
                Duration::from_secs_f64(wait_ms / 1_000.0)
                    .clamp(Duration::from_millis(5), OPERATOR_PAUSE)
            }
            Advice::AskTheOperator => error.again_in().unwrap_or(OPERATOR_PAUSE),
            Advice::BackOff | Advice::GiveUp => backoff.next_delay(),
        }
    }

    async fn read(&self) -> Result<(), ReadError> {
        let time = self
            .exchange
            .server_time()
            .await
            .map_err(ReadError::Exchange)?;
        self.clock.set(time.time, time.speed, time.round_trip);
        let tickers = self
            .exchange
            .tickers()
            .await
            .map_err(ReadError::Exchange)?
            .rows;
        // The engine is gone: the program is stopping, and this task is told so next.
        let _ = self.events.send(Event::Simulated(time.simulated)).await;
        if self.published.borrow().contracts.is_empty() {
            let chosen = self.choose(&self.in_force, &tickers).await?;
            tracing::info!(
                contracts = chosen.len(),
                simulated = time.simulated,
                speed = time.speed,
                "watch list read"
            );
            let symbols = symbols_of(&chosen);
            self.publish(chosen);
            let _ = self.events.send(Event::Universe(symbols)).await;
            return Ok(());
        }
        self.publish(self.refreshed(&tickers));
        Ok(())
    }

    /// Makes the list a start asks for, then passes the start on. The list is left alone when that fails, and when the
    /// asker has gone meanwhile: he was told that nothing came of it.
    async fn start(&mut self, asked: StartAsked) {
        let StartAsked { order, answer } = asked;
        let named = order.symbols.clone();
        let wanted = named.map_or_else(|| self.configured.clone(), WatchList::Named);
        let symbols = if wanted == self.in_force {
            None
        } else {
            match self.list(&wanted).await {
                Ok(chosen) => Some(chosen),
                Err(error) => {
                    let _ = answer.send(Err(error.into()));
                    return;
                }
            }
        };
        if answer.is_closed() {
            return;
        }
        let symbols = symbols.map(|chosen| {
            tracing::info!(contracts = chosen.len(), "watch list replaced by a start");
            let symbols = symbols_of(&chosen);
            self.publish(chosen);
            self.in_force = wanted;
            symbols
        });
        let listed = Listed {
            symbols,
            order,
            answer,
        };
        // The engine is gone: the program is stopping, and the asker sees that nobody answers.
        let _ = self.listed.send(listed).await;
    }

    async fn list(&self, wanted: &WatchList) -> Result<Vec<WatchedContract>, ReadError> {
        let tickers = self.exchange.tickers().await;
        let tickers = tickers.map_err(ReadError::Exchange)?.rows;
        self.choose(wanted, &tickers).await
    }

    async fn choose(
        &self,
        wanted: &WatchList,
        tickers: &[Ticker],
    ) -> Result<Vec<WatchedContract>, ReadError> {
        let contracts = self.exchange.contracts().await;
        let contracts = contracts.map_err(ReadError::Exchange)?.rows;
        wanted
            .choose(&contracts, tickers)
            .map_err(ReadError::WatchList)
    }

    fn refreshed(&self, tickers: &[Ticker]) -> Vec<WatchedContract> {
        let by_symbol: HashMap<_, _> = tickers
            .iter()
            .map(|ticker| (&ticker.symbol, ticker))
            .collect();
        let mut contracts = self.published.borrow().contracts.clone();
        for contract in &mut contracts {
            if let Some(ticker) = by_symbol.get(&contract.symbol) {
                contract.quote_volume_24h = Some(ticker.quote_volume_24h);
                contract.change_pct_24h = Some(ticker.change_pct_24h);
            }
        }
        contracts
    }

    fn publish(&self, contracts: Vec<WatchedContract>) {
        let universe = Universe {
            contracts,
            intervals: self.intervals.clone(),
            updated_at: Some(self.clock.now()),
        };
        self.published.send_replace(Arc::new(universe));
    }
}

fn symbols_of(contracts: &[WatchedContract]) -> BTreeSet<Symbol> {
    let symbols = contracts.iter().map(|contract| contract.symbol.clone());
    symbols.collect()
}

impl From<ReadError> for OrderError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Exchange(error) => {
                Self::Unreadable(format!("the exchange's listing cannot be read ({error})"))
            }
            ReadError::WatchList(WatchListError::Unknown(names)) => Self::Unknown(names),
            ReadError::WatchList(error @ WatchListError::Empty) => {
                Self::Unreadable(error.to_string())
            }
        }
    }
}

fn complain(error: &dyn std::error::Error, complaints: &mut Complaints) {
    if let Some(unsaid) = complaints.due(Mono::now()) {
        tracing::warn!(%error, unsaid, "the exchange's listing cannot be had; trying on");
    }
}

#[cfg(test)]
mod tests;
