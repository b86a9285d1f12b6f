//! What a shard does for series that are watched because somebody subscribes to them: their want is noted at the
//! SUBSCRIBE and renewed while it lasts. Until the engine brings them they are warming. One that does not trade any more
//! before it came has ended, so that nobody waits in silence.

use std::collections::BTreeSet;

use super::items;
use super::protocol::Refusal;
use super::session::SessionId;
use super::shard::{Shard, later};
use super::topic::Topic;
use super::topics::TopicId;
use super::world::{Event, News};
use crate::clock::Mono;
use crate::market::{SeriesKey, Symbol};
use crate::signal::Seq;
use crate::store::{Batch, Item};

/// Wants are renewed so many times before they end.
const RENEWALS: u32 = 10;

impl Shard {
    /// The topics of these names, when the session may have them all; what is not watched is wanted from now on.
    pub(super) fn admit(&self, id: SessionId, names: &[String]) -> Result<Vec<Topic>, Refusal> {
        let topics = self.resolve(names)?;
        self.within_limit(id, &topics)?;
        let Some(session) = self.sessions.get(id) else {
            return Ok(topics);
        };
        let series: BTreeSet<SeriesKey> =
            topics.iter().filter_map(Topic::series).cloned().collect();
        if !series.is_empty() {
            // What is on the list has a result here, if only that it warms up.
            let none_listed = |_: &Symbol| false;
            self.demand
                .ask(session.asker, &series, none_listed, Mono::now())?;
        }
        Ok(topics)
    }

    /// What is subscribed to stays wanted.
    pub(super) fn renew_wants(&mut self, now: Mono) {
        if now < self.renew_at {
            return;
        }
        self.renew_at = later(now, self.store.interest().kept_for() / RENEWALS);
        let series = self.topics.all().filter_map(Topic::series).cloned();
        self.demand.renew(series, now);
    }

    /// One subscriber less of each. Where it was the last, his want holds on from here.
    pub(super) fn unsubscribe_from(&mut self, topics: impl IntoIterator<Item = TopicId>) {
        let topics = topics.into_iter();
        let ended: Vec<Topic> = topics
            .filter_map(|topic| self.topics.unsubscribe(topic))
            .collect();
        let series = ended.iter().filter_map(Topic::series).cloned();
        self.demand.renew(series, Mono::now());
    }

    /// Of `topics` the series whose state no replay after `since` tells: those that became live for the first time since
    /// then, perhaps once more, and those that are not watched yet.
    pub(super) fn untold_by_replay(&self, topics: &[Topic], since: Seq) -> BTreeSet<SeriesKey> {
        let begun = self.world.begun_since(since);
        let begun = begun.filter(|key| topics.iter().any(|topic| topic.matches(key)));
        let own = topics.iter().filter_map(Topic::series);
        let unwatched = own.filter(|key| self.world.newest(key).is_none());
        begun.chain(unwatched).cloned().collect()
    }

    /// Contracts that are watched no longer, although they trade: their own streams show that nothing is known of them until
    /// there is room again.
    pub(super) fn note_left(&self, batch: &Batch, news: &mut News) {
        let removed = batch.items.iter().filter_map(|item| match item {
            Item::Symbols { removed, .. } => Some(removed),
            Item::Change(_)
            | Item::Result { .. }
            | Item::Ended(_)
            | Item::Tradable(_)
            | Item::Status(_) => None,
        });
        let removed: BTreeSet<&Symbol> = removed.flatten().collect();
        if removed.is_empty() {
            return;
        }
        let own = self.topics.all().filter_map(Topic::series);
        let left = own.filter(|key| {
            removed.contains(&key.symbol)
                && self.world.tradable().contains(&key.symbol)
                && self.world.newest(key).is_none()
        });
        let left: BTreeSet<&SeriesKey> = left.collect();
        let head = items::snapshot_head(self.world.at());
        news.events.extend(left.into_iter().map(|key| {
            let body = self.world.body_of(key, self.clock.now());
            let item = [head.as_bytes(), &body].concat();
            Event::Left(key.clone(), item.into())
        }));
    }

    /// Contracts that traded and do no more: who subscribed to one before it was watched is told that it ended.
    pub(super) fn note_no_longer_traded(&self, before: &BTreeSet<Symbol>, news: &mut News) {
        let own = self.topics.all().filter_map(Topic::series);
        let over = own.filter(|key| {
            before.contains(&key.symbol)
                && !self.world.tradable().contains(&key.symbol)
                && self.world.newest(key).is_none()
        });
        let over: BTreeSet<&SeriesKey> = over.collect();
        let ended = |key: &SeriesKey| Event::Ended(key.clone(), items::ended(key));
        news.events.extend(over.into_iter().map(ended));
    }
}
