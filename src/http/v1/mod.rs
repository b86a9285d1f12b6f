//! `/api/v1`: results, changes, candles, the watch list and the program's own state, all read from what is published.
//! The JSON of a result and of a change is `signal`'s, unchanged; only what wraps them is made here.

pub(super) mod candles;
pub(super) mod changes;
pub(super) mod items;
pub(super) mod signals;
pub(super) mod status;
pub(super) mod symbols;
