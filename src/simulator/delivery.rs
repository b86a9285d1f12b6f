//! Candle events on their way to one connection, and what faults do to them there: lost, late, doubled, changed.
//! What is true is not touched: REST and the truth read the candles themselves.

use super::World;
use super::bar::{Bar, Scale};
use super::fault::{FaultKind, Place, RightClose, StreamFault, TransportFault};
use super::wire::Closed;
use crate::market::{Interval, OpenTime, Symbol, TimeMs};

/// A candle as an event tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// When it opens; off the grid if a fault moved it.
    pub open: OpenTime,
    /// What it holds.
    pub bar: Bar,
    /// Whether it has closed.
    pub closed: Closed,
    /// How far the event's stamp lies ahead of the time.
    pub ahead_ms: i64,
}

/// Closes that faults hold back, of one stream.
#[derive(Debug, Default)]
pub(super) struct HeldBack(Vec<Held>);

#[derive(Debug)]
struct Held {
    connection: u64,
    event: Event,
    due: Due,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    At(TimeMs),
    /// After the close of a later candle than this.
    AfterCloseOf(OpenTime),
}

/// One stream as one connection hears it.
#[derive(Debug)]
pub(super) struct Ear<'a> {
    pub world: &'a World,
    pub now: TimeMs,
    pub connection: u64,
    pub path: &'a str,
    /// The stream's name.
    pub name: &'a str,
    /// The contract and the interval of a candle stream.
    pub candles: Option<(&'a Symbol, Interval, Scale)>,
}

/// Whether any fault may change what streams deliver at `now`.
pub(super) fn is_disturbed(world: &World, now: TimeMs) -> bool {
    world
        .faults
        .any_begun(now, |kind| kind.stream().is_some() || is_stall(kind))
}

fn is_stall(kind: &FaultKind) -> bool {
    kind.transport() == Some(&TransportFault::Stall {})
}

impl HeldBack {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, connection: u64, is_due: impl Fn(Due) -> bool) -> Vec<Event> {
        let due = self
            .0
            .extract_if(.., |held| held.connection == connection && is_due(held.due));
        due.map(|held| held.event).collect()
    }

    /// Whether a close of `connection` waits for that of a candle that opens at `open`.
    fn waits_for(&self, connection: u64, open: OpenTime) -> bool {
        let waits = |due| matches!(due, Due::AfterCloseOf(older) if older < open);
        let mut held = self.0.iter();
        held.any(|held| held.connection == connection && waits(held.due))
    }

    /// Forgets what nobody waits for.
    pub(super) fn retain(&mut self, listens: impl Fn(u64) -> bool) {
        self.0.retain(|held| listens(held.connection));
    }
}

impl Ear<'_> {
    /// Whether the stream is stalled for this connection.
    pub(super) fn is_stalled(&self) -> bool {
        let key = format!("{} {}", self.connection, self.name);
        let struck = self
            .world
            .faults
            .hold(self.now, &self.place(), &key, |kind| {
                is_stall(kind).then_some(())
            });
        !struck.is_empty()
    }

    /// What the connection hears of `events`, and of those held back until now.
    pub(super) fn hears(&self, events: &[Event], held: &mut HeldBack) -> Vec<Event> {
        if self.is_stalled() {
            return Vec::new();
        }
        let mut out = held.take(
            self.connection,
            |due| matches!(due, Due::At(time) if time <= self.now),
        );
        for event in events {
            let told = self.harmed(event, held);
            let closes = told
                .iter()
                .filter(|told| told.closed == Closed::Yes)
                .map(|told| told.open)
                .max();
            out.extend(told);
            if let Some(closed) = closes {
                out.extend(held.take(
                    self.connection,
                    |due| matches!(due, Due::AfterCloseOf(open) if open < closed),
                ));
            }
        }
        out
    }

    /// What faults leave of one event.
    fn harmed(&self, event: &Event, held: &mut HeldBack) -> Vec<Event> {
        let mut told = vec![event.clone()];
        let Some((symbol, interval, scale)) = self.candles else {
            return told;
        };
        for fault in self.strikes(event, symbol, interval) {
            match fault {
                StreamFault::DropUpdates {} | StreamFault::DropClose {} | StreamFault::Jump {} => {
                    told.clear();
                }
                StreamFault::Duplicate {} => told.extend(told.clone()),
                StreamFault::ConflictingClose { right } => conflict(&mut told, right, scale),
                StreamFault::OffGrid { by_ms } => {
                    told.iter_mut().for_each(|event| {
                        event.open = OpenTime::at(event.open.time().plus_ms(by_ms));
                    });
                }
                StreamFault::FutureStamp { ahead_ms } => {
                    told.iter_mut().for_each(|event| event.ahead_ms += ahead_ms);
                }
                StreamFault::DelayClose { by_ms } => {
                    let due = interval.close_time(event.open).plus_ms(1 + by_ms);
                    if due > self.now {
                        self.hold_back(&mut told, Due::At(due), held);
                    }
                }
                // What an older close waits for does not wait itself: else all would, when all are struck.
                StreamFault::OutOfOrder {} if held.waits_for(self.connection, event.open) => {}
                StreamFault::OutOfOrder {} => {
                    self.hold_back(&mut told, Due::AfterCloseOf(event.open), held);
                }
            }
        }
        told
    }

    /// What strikes one event: a close by the time at which it is due, a whole candle by its open.
    fn strikes(&self, event: &Event, symbol: &Symbol, interval: Interval) -> Vec<StreamFault> {
        let key = format!("{symbol} {interval} {}", event.open);
        let place = self.place();
        let due = match event.closed {
            Closed::Yes => interval.after(event.open).time(),
            Closed::No => self.now,
        };
        let of_candles = |kind: &FaultKind| {
            let fault = kind.stream()?;
            fault.strikes_whole_candles().then(|| fault.clone())
        };
        let of_events = |kind: &FaultKind| {
            let fault = kind.stream()?;
            let strikes = fault.concerns(event.closed) && !fault.strikes_whole_candles();
            strikes.then(|| fault.clone())
        };
        let faults = &self.world.faults;
        let whole = faults.hold(event.open.time(), &place, &key, of_candles);
        let single = faults.hold(due, &place, &key, of_events);
        whole
            .into_iter()
            .chain(single)
            .map(|strike| strike.what)
            .collect()
    }

    fn hold_back(&self, told: &mut Vec<Event>, due: Due, held: &mut HeldBack) {
        held.0.extend(told.drain(..).map(|event| Held {
            connection: self.connection,
            event,
            due,
        }));
    }

    fn place(&self) -> Place<'_> {
        Place {
            path: Some(self.path),
            connection: Some(self.connection),
            symbol: self.candles.map(|(symbol, _, _)| symbol.clone()),
            interval: self.candles.map(|(_, interval, _)| interval),
            opened: None,
        }
    }
}

/// Puts a wrong close beside each: one tick higher, with a trade more.
fn conflict(told: &mut Vec<Event>, right: RightClose, scale: Scale) {
    let wrong = |event: &Event| {
        let mut wrong = event.clone();
        wrong.bar.close += scale.tick;
        wrong.bar.high = wrong.bar.high.max(wrong.bar.close);
        wrong.bar.volume += 1;
        wrong.bar.trades += 1;
        wrong
    };
    *told = told
        .drain(..)
        .flat_map(|event| match right {
            RightClose::First => [event.clone(), wrong(&event)],
            RightClose::Last => [wrong(&event), event],
        })
        .collect();
}
