//! Two engines in a storm each, one log, an operator who stops and starts: whoever speaks, dies, falls silent or is given
//! the word again, the log is that of one undisturbed run.

use std::sync::Arc;

use super::storm::{Log, Storm, keys};
use crate::engine::{Beginning, Event};
use crate::market::SeriesStatus;
use crate::signal::Stand;
use crate::store::{Told, ToldOfAll, Voice, Write};

struct Pair {
    dice: fastrand::Rng,
    engines: [Storm; 2],
    log: Log,
    /// Said, and not in the log yet: lost when the speaker dies.
    in_flight: Vec<Write>,
    speaker: Option<usize>,
    turn: u64,
    stopped: bool,
}

impl Pair {
    fn new(seed: u64) -> Self {
        Self {
            dice: fastrand::Rng::with_seed(seed),
            engines: [seed, seed + 1_000].map(|seed| Storm::new(seed, Beginning::Silent)),
            log: Log::default(),
            in_flight: Vec::new(),
            speaker: None,
            turn: 0,
            stopped: false,
        }
    }

    fn step(&mut self) {
        for engine in &mut self.engines {
            engine.step();
        }
        self.collect();
    }

    /// Takes what was said; only the speaker may have said anything, and what it says while stopped is that it is.
    fn collect(&mut self) {
        for (at, engine) in self.engines.iter_mut().enumerate() {
            let said = std::mem::take(&mut engine.writes);
            if self.speaker != Some(at) {
                assert_eq!(said, [], "engine {at} is silent");
                continue;
            }
            for write in &said {
                let allowed = match write {
                    Write::Change(_) | Write::Technical { .. } | Write::Ended(_) => false,
                    Write::Result { result, .. } => result.status == SeriesStatus::Stopped,
                    Write::Turn(_)
                    | Write::Scheduler(_)
                    | Write::Symbols { .. }
                    | Write::Tradable(_)
                    | Write::Status(_) => true,
                };
                assert!(allowed || !self.stopped, "{write:?}");
            }
            self.in_flight.extend(said);
        }
    }

    fn arrive(&mut self, count: usize) {
        self.log.append(self.in_flight.drain(..count));
    }

    /// The speaker loses the word; some of what it said last never reached the log.
    fn silence(&mut self) {
        let Some(at) = self.speaker else { return };
        let arrived = self.dice.usize(0..=self.in_flight.len());
        self.arrive(arrived);
        self.in_flight.clear();
        self.engines[at].apply(Event::Voice(Voice::Silent));
        self.speaker = None;
        self.collect();
    }

    fn speak(&mut self) {
        if self.speaker.is_some() {
            return;
        }
        let at = self.dice.usize(..2);
        self.turn += 1;
        let (turn, told) = (self.turn, Arc::new(self.told()));
        self.speaker = Some(at);
        self.engines[at].apply(Event::Voice(Voice::Speaking {
            turn,
            told,
            scheduler: None,
        }));
        let first = self.engines[at].writes.first();
        assert_eq!(first, Some(&Write::Turn(turn)));
        self.collect();
    }

    /// As a store reads it from its log, of which it may remember only the end.
    fn told(&mut self) -> ToldOfAll {
        let mut told = ToldOfAll::new();
        for (key, base) in &self.log.base {
            let changes = self.log.changes.get(key).map_or(&[][..], Vec::as_slice);
            let forgotten = self.dice.usize(0..=changes.len());
            let stands = changes[forgotten..]
                .iter()
                .map(|(close, previous, now)| Stand {
                    candle_close_time: *close,
                    recommendation: *now,
                    previous: *previous,
                });
            let told_of_it = Told {
                base: *base,
                stands: stands.collect(),
                revisions: [].into(),
            };
            told.insert(key.clone(), told_of_it);
        }
        told
    }

    fn operate(&mut self, stopped: bool) {
        self.stopped = stopped;
        for engine in &mut self.engines {
            engine.apply(if stopped {
                Event::Stop
            } else {
                Event::Start(None)
            });
        }
        self.collect();
    }

    fn something_happens(&mut self) {
        match self.dice.u32(..1_200) {
            0 => self.silence(),
            1..4 => self.speak(),
            4 => self.operate(true),
            5..7 => self.operate(false),
            7..600 => self.arrive(self.in_flight.len()),
            _ => {}
        }
    }
}

#[test]
fn whoever_speaks_and_whenever_it_is_stopped_the_log_is_that_of_one_undisturbed_run() {
    let mut changes = 0;
    for seed in 0..6 {
        let mut pair = Pair::new(seed);
        for _ in 0..4 * 7_200 {
            pair.step();
            pair.something_happens();
        }
        for engine in &mut pair.engines {
            engine.calm_down();
        }
        pair.collect();
        pair.operate(false);
        pair.speak();
        for _ in 0..2 * 360 {
            pair.step();
        }
        pair.arrive(pair.in_flight.len());
        assert!(pair.turn > 10, "seed {seed}: {} turns", pair.turn);
        for key in keys() {
            let told = pair.log.changes.get(&key).cloned().unwrap_or_default();
            let speaker = &pair.engines[pair.speaker.unwrap()];
            let expected = speaker.expected(&key, pair.log.first[&key]);
            assert_eq!(told, expected, "seed {seed}, {key}");
            assert_eq!(pair.log.results[&key].status, SeriesStatus::Live);
            changes += told.len();
        }
        assert_eq!(pair.log.corrections, 0, "seed {seed}");
    }
    assert!(changes > 100, "only {changes} changes");
}
