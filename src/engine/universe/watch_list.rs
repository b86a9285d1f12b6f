//! What the operator wants watched, and why that cannot be had. Which contracts it comes to is `roll`'s.

use crate::engine::order::names;
use crate::market::Symbol;

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
    /// Names without a row in a listing of which not all can be read.
    #[error(
        "the exchange's listing has no row of {}, and {rows} rows that cannot be read; asking again",
        names(.symbols)
    )]
    Unreadable {
        /// The names.
        symbols: Vec<Symbol>,
        /// Rows that cannot be read.
        rows: usize,
    },
    /// Nothing trades: maintenance, or a listing that is not whole.
    #[error("the exchange lists no trading perpetual to watch")]
    Empty,
    /// Too few 24 h figures to rank by.
    #[error(
        "the exchange's 24 h figures have readable rows of {known} contracts where {trading} USDT perpetuals trade; nothing is ranked by them"
    )]
    Unranked {
        /// USDT perpetuals that trade and have figures.
        known: usize,
        /// USDT perpetuals that trade.
        trading: usize,
    },
    /// Too few rows to be believed.
    #[error(
        "the exchange's listing has only {rows} rows where it had {before}; it is not believed"
    )]
    Torn {
        /// Rows it has.
        rows: usize,
        /// Rows it had the last time.
        before: usize,
    },
}

/// What becomes of a list that names contracts which no longer trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Names {
    /// It is refused: somebody has just given it, and can mend it.
    MustTrade,
    /// They are watched as ended, and it is refused for what the exchange does not list or nobody could ever watch: a
    /// restart must not fail because of a contract that ended while the program ran.
    MustExist,
    /// They are watched as ended: the list was right when it was given.
    MayHaveEnded,
}
