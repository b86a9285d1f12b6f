//! Which connection carries which names. A name stays where it is for as long as it is wanted; new ones fill the
//! connections that have room before a new one is opened. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::name::Name;

/// Names on one connection: allowed by every version of the documents, and a lost connection puts no more series in doubt.
/// The 1,025th name has cost others all 1,024 (hazard 14).
pub(super) const NAMES_MAX: usize = 200;

/// A connection's place in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot(u32);

/// The division of the wanted names.
#[derive(Debug, Default)]
pub(super) struct Plan {
    slots: BTreeMap<Slot, BTreeSet<Name>>,
    next: u32,
    nothing: BTreeSet<Name>,
}

impl Plan {
    /// Makes the plan carry exactly `wanted`. Returns the slots whose part changed, new ones included.
    pub(super) fn change_to(&mut self, wanted: &BTreeSet<Name>) -> BTreeSet<Slot> {
        let mut changed = BTreeSet::new();
        let mut missing = wanted.clone();
        for (slot, names) in &mut self.slots {
            let before = names.len();
            names.retain(|name| missing.remove(name));
            if names.len() != before {
                changed.insert(*slot);
            }
        }
        // Connections are opened one a second, and a warm-up begins when its series is up: the fastest interval first (2.1).
        let mut missing: Vec<_> = missing.into_iter().collect();
        missing.sort_by_key(|name| name.series().map(|key| key.interval));
        let mut missing = missing.into_iter().peekable();
        while missing.peek().is_some() {
            let slot = self.slot_with_room();
            let names = self.slots.entry(slot).or_default();
            let room = NAMES_MAX - names.len();
            names.extend(missing.by_ref().take(room));
            changed.insert(slot);
        }
        changed
    }

    /// What `slot` carries.
    pub(super) fn names(&self, slot: Slot) -> &BTreeSet<Name> {
        self.slots.get(&slot).unwrap_or(&self.nothing)
    }

    /// Forgets a slot; what is wanted later gets a new one.
    pub(super) fn close(&mut self, slot: Slot) {
        self.slots.remove(&slot);
    }

    fn slot_with_room(&mut self) -> Slot {
        let with_room = self
            .slots
            .iter()
            .find(|(_, names)| names.len() < NAMES_MAX)
            .map(|(slot, _)| *slot);
        with_room.unwrap_or_else(|| {
            self.next += 1;
            Slot(self.next)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{Interval, SeriesKey, Symbol};

    fn names(numbers: std::ops::Range<u32>) -> BTreeSet<Name> {
        names_at(Interval::M1, numbers)
    }

    fn names_at(interval: Interval, numbers: std::ops::Range<u32>) -> BTreeSet<Name> {
        numbers
            .map(|n| {
                let symbol = Symbol::parse(&format!("S{n:04}USDT")).unwrap();
                Name::Series(SeriesKey::new(symbol, interval))
            })
            .collect()
    }

    fn sizes(plan: &Plan) -> Vec<usize> {
        plan.slots.values().map(BTreeSet::len).collect()
    }

    #[test]
    fn h14_no_connection_carries_more_than_two_hundred_names() {
        let mut plan = Plan::default();
        assert_eq!(plan.change_to(&names(0..450)).len(), 3);
        assert_eq!(sizes(&plan), [200, 200, 50]);
        assert!(plan.change_to(&names(0..450)).is_empty(), "nothing changed");
    }

    #[test]
    fn the_fastest_interval_is_connected_first() {
        let mut plan = Plan::default();
        let slow = names_at(Interval::H1, 0..200);
        plan.change_to(&names(0..200).into_iter().chain(slow).collect());
        let fast = |slot| {
            plan.names(slot)
                .is_disjoint(&names_at(Interval::H1, 0..200))
        };
        assert_eq!((fast(Slot(1)), fast(Slot(2))), (true, false));
    }

    #[test]
    fn series_that_stay_keep_their_connection_and_new_ones_fill_the_gaps() {
        let mut plan = Plan::default();
        plan.change_to(&names(0..400));
        let first = plan.names(Slot(1)).clone();
        let mut wanted = names(10..400);
        wanted.extend(names(500..520));
        assert_eq!(plan.change_to(&wanted), BTreeSet::from([Slot(1), Slot(3)]));
        assert_eq!(sizes(&plan), [200, 200, 10]);
        assert_eq!(plan.names(Slot(1)).intersection(&first).count(), 190);
    }

    #[test]
    fn an_emptied_slot_is_named_once_and_forgotten() {
        let mut plan = Plan::default();
        plan.change_to(&names(0..10));
        assert_eq!(plan.change_to(&BTreeSet::new()), BTreeSet::from([Slot(1)]));
        assert!(plan.names(Slot(1)).is_empty());
        plan.close(Slot(1));
        assert_eq!(plan.change_to(&names(0..1)), BTreeSet::from([Slot(2)]));
    }
}
