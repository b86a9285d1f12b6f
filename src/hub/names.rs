//! Stream names to topics: all of a request's names or none, and every bad one is named.

use std::collections::BTreeSet;

use super::protocol::{Refusal, shorten};
use super::shard::Shard;
use super::topic::Topic;

/// What is wrong with the names of one request.
#[derive(Default)]
struct Bad {
    unknown: Vec<String>,
    unwatched: Vec<String>,
    symbols: Vec<String>,
}

impl Bad {
    fn is_only_symbols(&self) -> bool {
        self.unknown.is_empty() && self.unwatched.is_empty() && !self.symbols.is_empty()
    }

    fn words(&self, watched: &[&str]) -> String {
        let mut words = Vec::new();
        if !self.symbols.is_empty() {
            let list = self.symbols.join(", ");
            words.push(format!("unknown symbol {list}; see /api/v1/symbols"));
        }
        if !self.unwatched.is_empty() {
            words.push(format!(
                "interval of {} is not watched; watched: {}",
                self.unwatched.join(", "),
                watched.join(", ")
            ));
        }
        if !self.unknown.is_empty() {
            words.push(unknown_stream(&self.unknown));
        }
        words.join("; ")
    }
}

impl Shard {
    /// The topics of these names, each once; all or none.
    pub(super) fn resolve(&self, names: &[String]) -> Result<Vec<Topic>, Refusal> {
        let mut topics = Vec::with_capacity(names.len());
        let (mut seen, mut bad) = (BTreeSet::new(), Bad::default());
        for name in names {
            let Some(topic) = Topic::parse(name) else {
                bad.unknown.push(quoted(name));
                continue;
            };
            let watched = &self.settings.intervals;
            if topic.interval().is_some_and(|i| !watched.contains(&i)) {
                bad.unwatched.push(quoted(name));
                continue;
            }
            if let Topic::Signal(key) | Topic::Hama(key) = &topic
                && self.world.newest(key).is_none()
                && !self.world.may_be_asked_for(&key.symbol)
            {
                bad.symbols.push(quoted(key.symbol.as_str()));
                continue;
            }
            if seen.insert(topic.clone()) {
                topics.push(topic);
            }
        }
        if bad.is_only_symbols() && !self.world.is_loaded() {
            return Err(Refusal::NotLoaded);
        }
        if !bad.symbols.is_empty() {
            self.store.interest().unknown_name();
        }
        let watched: Vec<_> = self.settings.intervals.iter().map(|i| i.name()).collect();
        let words = bad.words(&watched);
        if words.is_empty() {
            Ok(topics)
        } else {
            Err(Refusal::Invalid(words))
        }
    }
}

/// A client's word in an error message.
pub(super) fn quoted(name: &str) -> String {
    format!("'{}'", shorten(name))
}

/// Says which names are no streams, and what streams are called.
pub(super) fn unknown_stream(names: &[String]) -> String {
    format!(
        "unknown stream {}; names are lower case, as btcusdt@signal_15m, btcusdt@hama_15m, !signal_15m@arr, !hama_15m@arr, !status",
        names.join(", ")
    )
}
