//! One reading of the exchange: its time, then the listing, the last 24 hours, or both at once.

use crate::exchange::{Contract, Exchange, ExchangeError, Rows, ServerTime, Ticker};

/// What is read beside the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The last 24 hours: weight 40.
    Figures,
    /// The listing: weight 1.
    Listing,
    /// Both.
    Both,
}

impl Scope {
    pub(super) const fn has_figures(self) -> bool {
        matches!(self, Self::Figures | Self::Both)
    }

    pub(super) const fn has_listing(self) -> bool {
        matches!(self, Self::Listing | Self::Both)
    }
}

/// What the exchange answered.
pub(super) struct Reading {
    pub(super) scope: Scope,
    pub(super) time: ServerTime,
    pub(super) contracts: Option<Rows<Contract>>,
    pub(super) tickers: Option<Vec<Ticker>>,
}

/// Asks for the time, which is the truer the less else is on its way, then for the rest at once.
///
/// # Errors
/// Of whichever question failed first.
pub(super) async fn read(exchange: Exchange, scope: Scope) -> Result<Reading, ExchangeError> {
    let time = exchange.server_time().await?;
    let contracts = async {
        if !scope.has_listing() {
            return Ok(None);
        }
        Ok(Some(exchange.contracts().await?))
    };
    let tickers = async {
        if !scope.has_figures() {
            return Ok(None);
        }
        Ok(Some(exchange.tickers().await?.rows))
    };
    let (contracts, tickers) = tokio::try_join!(contracts, tickers)?;
    Ok(Reading {
        scope,
        time,
        contracts,
        tickers,
    })
}
