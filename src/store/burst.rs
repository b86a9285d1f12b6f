//! A burst of writes, sorted into what must come first: changes in the order of the log, then results, then the rest.

use std::collections::{BTreeMap, HashMap};

use super::batch::{Item, Occasion, Write};
use crate::market::{SeriesKey, Symbol, TimeMs};
use crate::signal::{ChangeBody, SignalResult, Technical};

/// A burst of writes, sorted into what must come first.
#[derive(Default)]
pub(super) struct Burst {
    pub(super) changes: Vec<ChangeBody>,
    pub(super) results: BTreeMap<SeriesKey, (SignalResult, Occasion)>,
    /// Changes of the watch list: before the results, for a contract may have left and come back within the burst.
    pub(super) symbols: Vec<Item>,
    pub(super) rest: Vec<Item>,
    pub(super) technical: BTreeMap<Symbol, Technical>,
}

impl Burst {
    /// Changes by close time, interval, symbol; the newest result of each series, which keeps its most telling occasion.
    pub(super) fn sort(writes: Vec<Write>) -> Self {
        let mut burst = Self::default();
        for write in writes {
            match write {
                Write::Change(body) => burst.changes.push(body),
                Write::Result { result, occasion } => burst.add_result(*result, occasion),
                Write::Technical { symbol, technical } => {
                    burst.technical.insert(symbol, *technical);
                }
                // Who has several engines looks at these before the sorting.
                Write::Turn(_) | Write::Scheduler(_) => {}
                Write::Ended(key) => burst.rest.push(Item::Ended(key)),
                Write::Symbols { added, removed } => {
                    burst
                        .results
                        .retain(|key, _| !removed.contains(&key.symbol));
                    burst.symbols.push(Item::Symbols { added, removed });
                }
                Write::Tradable(symbols) => burst.rest.push(Item::Tradable(symbols)),
                Write::Status(status) => {
                    burst.rest.push(Item::Status(status));
                }
            }
        }
        burst.changes = in_order(burst.changes);
        burst
    }

    fn add_result(&mut self, result: SignalResult, occasion: Occasion) {
        let key = result.key();
        let occasion = match self.results.get(&key) {
            Some((_, earlier)) if rank(*earlier) > rank(occasion) => *earlier,
            Some(_) | None => occasion,
        };
        self.results.insert(key, (result, occasion));
    }
}

/// By close time, interval, symbol; but what one series says stays in the order in which it said it: a correction of an
/// older candle must not come before the newer change it takes back.
fn in_order(changes: Vec<ChangeBody>) -> Vec<ChangeBody> {
    let mut newest: HashMap<SeriesKey, TimeMs> = HashMap::new();
    let mut timed: Vec<(TimeMs, ChangeBody)> = changes
        .into_iter()
        .map(|body| {
            let own = body.candle_close_time();
            let time = newest.entry(body.key().clone()).or_insert(own);
            *time = own.max(*time);
            (*time, body)
        })
        .collect();
    timed.sort_by(|(a_time, a), (b_time, b)| (a_time, a.key()).cmp(&(b_time, b.key())));
    timed.into_iter().map(|(_, body)| body).collect()
}

/// Which occasion of two results of one burst the surviving one tells.
const fn rank(occasion: Occasion) -> u8 {
    match occasion {
        Occasion::Update => 0,
        Occasion::Close => 1,
        Occasion::Sweep => 2,
        Occasion::Status => 3,
        Occasion::FirstLive => 4,
    }
}
