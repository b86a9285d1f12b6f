//! Closed candles of which somebody says something else than history, until REST decides. What must hold: one that REST has
//! nothing to say of holds up no other, for it is asked for again later, and what is no longer kept is let go.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::clock::Mono;
use crate::market::OpenTime;

/// REST had nothing to say of a candle: it is asked again so much later, at first, and twice as long after each time.
const AGAIN_FIRST_MS: u64 = 1_000;
const AGAIN_LAST_MS: u64 = 60_000;

/// So many at most, as many as one answer can bring. What gives way is found all the same: the sweep's samples read all
/// that is kept.
const DISPUTED_MAX: usize = 500;

/// When a candle may be asked for.
#[derive(Debug, Clone, Copy)]
struct Turn {
    at: Mono,
    /// How often it was asked for in vain.
    vain: u32,
}

/// The candles, and the turn of each.
#[derive(Debug, Default)]
pub(super) struct Disputed(BTreeMap<OpenTime, Turn>);

impl Disputed {
    /// Adds a candle, to be asked for at once; false when it was known. Where there are too many, the one whose turn is
    /// furthest away goes, of several the oldest.
    pub(super) fn add(&mut self, open: OpenTime, now: Mono) -> bool {
        if self.0.contains_key(&open) {
            return false;
        }
        self.0.insert(open, Turn { at: now, vain: 0 });
        if self.0.len() > DISPUTED_MAX {
            let turn = |(open, turn): &(&OpenTime, &Turn)| (turn.at, Reverse(**open));
            let last = self.0.iter().max_by_key(turn).map(|(open, _)| *open);
            last.map(|open| self.0.remove(&open));
        }
        true
    }

    /// REST has decided.
    pub(super) fn settle(&mut self, open: OpenTime) {
        self.0.remove(&open);
    }

    /// REST was asked for these and has decided what it can: what is left of them waits.
    pub(super) fn put_off(&mut self, from: OpenTime, until: OpenTime, now: Mono) {
        for (_, turn) in self.0.range_mut(from..=until) {
            let wait_ms = AGAIN_FIRST_MS << turn.vain.min(6);
            turn.at = now.plus_ms(wait_ms.min(AGAIN_LAST_MS));
            turn.vain += 1;
        }
    }

    /// Those that may be asked for now, oldest first.
    pub(super) fn due(&self, now: Mono) -> impl Iterator<Item = OpenTime> {
        let due = self.0.iter().filter(move |(_, turn)| turn.at <= now);
        due.map(|(open, _)| *open)
    }

    /// Lets go of what is older than the oldest kept candle.
    pub(super) fn forget_before(&mut self, oldest: OpenTime) {
        self.0 = self.0.split_off(&oldest);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(number: i64) -> OpenTime {
        OpenTime::from_ms(number * 60_000)
    }

    #[test]
    fn h19_one_answer_in_vain_costs_a_second_and_many_a_minute_each() {
        let mut disputed = Disputed::default();
        let mut now = Mono::from_ms(1_000);
        disputed.add(minute(1), now);
        let mut waits = Vec::new();
        for _ in 0..9 {
            disputed.put_off(minute(0), minute(2), now);
            let asked = now;
            while disputed.due(now).next().is_none() {
                now = now.plus_ms(1_000);
            }
            waits.push(now.ms_since(asked) / 1_000);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn h19_of_too_many_disputed_candles_those_rest_had_nothing_to_say_of_go_first_and_then_the_oldest()
     {
        let mut disputed = Disputed::default();
        let now = Mono::from_ms(1_000);
        let max = i64::try_from(DISPUTED_MAX).unwrap();
        for number in 0..max {
            assert!(disputed.add(minute(number), now));
        }
        disputed.put_off(minute(7), minute(8), now);
        assert!(
            !disputed.add(minute(7), now),
            "its turn does not come sooner"
        );
        let due = |disputed: &Disputed| disputed.due(now).collect::<Vec<_>>();
        assert_eq!(due(&disputed).len(), DISPUTED_MAX - 2);
        for number in max..max + 3 {
            assert!(disputed.add(minute(number), now));
            assert!(disputed.0.len() <= DISPUTED_MAX);
        }
        let left = due(&disputed);
        assert_eq!((left.len(), left[0]), (DISPUTED_MAX, minute(1)));
        assert!(!left.contains(&minute(7)) && left.contains(&minute(max + 2)));
    }
}
