//! Reads closed candles for the engine: in the order of `queue`, so many at once, and only while the exchange's budget
//! allows. A read that fails goes back to the engine, which knows what it still needs and asks again.
//! The queue is bounded by the engine: of each series one read, one audit, one sample and one refresh at a time. Reads of
//! series that nobody follows any more go back unread when they come up. What only one read is told holds up no other.

mod queue;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use self::queue::{Place, Waiting};
use super::complaints::Complaints;
use super::core::Event;
use super::effect::FetchJob;
use crate::clock::{ExchangeClock, Mono};
use crate::exchange::{Advice, Exchange, ExchangeError};
use crate::market::{Candle, SeriesKey, TimeMs};
use crate::tasks::Tasks;

/// Requests on their way at once (2.1: 125 series in 2 to 3 s at 150 ms each).
const IN_FLIGHT: usize = 8;

/// After an error that only a person can mend, nothing is asked for so long.
const OPERATOR_PAUSE: Duration = Duration::from_secs(60);

/// Longest wait before the budget is looked at again.
const LONGEST_HOLD: Duration = Duration::from_secs(60);

/// Shortest such wait: a minute of a fast exchange is over in milliseconds.
const SHORTEST_HOLD: Duration = Duration::from_millis(5);

/// How often a read that waits for its share of the budget is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// The reads that wait, and what is needed to do them.
pub(super) struct Fetcher {
    pub(super) exchange: Exchange,
    pub(super) clock: ExchangeClock,
    /// The series that are watched and trade.
    pub(super) followed: watch::Receiver<Arc<BTreeSet<SeriesKey>>>,
    pub(super) answers: mpsc::Sender<Event>,
}

/// What becomes of a read that failed, and of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// It goes back to the engine.
    GiveBack,
    /// It goes back to the engine, and nothing is asked for so long.
    GiveBackAndPause(Duration),
    /// It is asked again, and nothing before it, after so long.
    AskAgain(Duration),
}

struct Done {
    place: Place,
    job: FetchJob,
    outcome: Result<Vec<Candle>, ExchangeError>,
}

impl Fetcher {
    /// Works until the engine is gone or the program stops.
    pub(super) async fn run(self, mut jobs: mpsc::Receiver<FetchJob>, tasks: Tasks) {
        let mut waiting = Waiting::default();
        let mut in_flight = FuturesUnordered::new();
        let mut complaints = Complaints::default();
        let hold = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(hold);
        let mut look_again = tokio::time::interval(LOOK_AGAIN);
        look_again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if hold.is_elapsed() {
                while in_flight.len() < IN_FLIGHT
                    && let Some((place, job)) = waiting.next(self.exchange.weight_used())
                {
                    if self.followed.borrow().contains(&job.request.key) {
                        in_flight.push(self.read(place, job));
                    } else {
                        self.give_back(job, None).await;
                    }
                }
            }
            tokio::select! {
                () = tasks.stopping() => return,
                job = jobs.recv() => {
                    let Some(job) = job else { return };
                    waiting.push(job);
                }
                Some(done) = in_flight.next() => {
                    let pause = self.finish(done, &mut waiting, &mut complaints).await;
                    let until = tokio::time::sleep(pause.unwrap_or_default());
                    if until.deadline() > hold.deadline() {
                        hold.set(until); // of two pauses the longer stands
                    }
                }
                () = &mut hold, if !hold.is_elapsed() => {}
                _ = look_again.tick(), if !waiting.is_empty() => {}
            }
        }
    }

    async fn read(&self, place: Place, job: FetchJob) -> Done {
        let outcome = self.exchange.candles(&job.request).await;
        Done {
            place,
            job,
            outcome,
        }
    }

    /// Hands an answer to the engine, or puts the read back; how long to pause before the next one.
    async fn finish(
        &self,
        done: Done,
        waiting: &mut Waiting,
        complaints: &mut Complaints,
    ) -> Option<Duration> {
        let Done {
            place,
            job,
            outcome,
        } = done;
        let (rows, pause) = match outcome {
            Ok(rows) => (Some(rows), None),
            Err(error) => {
                let next = next(&error, self.clock.now(), self.clock.speed());
                complain(&job.request.key, &error, next, complaints);
                match next {
                    Next::GiveBack => (None, None),
                    Next::GiveBackAndPause(pause) => (None, Some(pause)),
                    Next::AskAgain(pause) => {
                        waiting.put_back(place, job);
                        return Some(pause);
                    }
                }
            }
        };
        self.give_back(job, rows).await;
        pause
    }

    /// The engine may be gone: the next turn of the loop ends this task then.
    async fn give_back(&self, job: FetchJob, rows: Option<Vec<Candle>>) {
        let request = job.request;
        let _ = self.answers.send(Event::Answer { request, rows }).await;
    }
}

fn next(error: &ExchangeError, now: TimeMs, speed: f64) -> Next {
    if let ExchangeError::NotClosedYet { .. } = error {
        // The clock was set back since the engine asked: its own affair, and perhaps for hours.
        return Next::GiveBack;
    }
    match error.advice() {
        Advice::WaitUntil(at) => {
            let wait_ms = at.ms_since(now).max(0) as f64 / speed;
            let wait = Duration::from_secs_f64(wait_ms / 1_000.0);
            Next::AskAgain(wait.clamp(SHORTEST_HOLD, LONGEST_HOLD))
        }
        Advice::AskTheOperator => {
            Next::GiveBackAndPause(error.again_in().unwrap_or(OPERATOR_PAUSE))
        }
        Advice::BackOff | Advice::GiveUp => Next::GiveBack,
    }
}

fn complain(key: &SeriesKey, error: &ExchangeError, next: Next, complaints: &mut Complaints) {
    if let Next::AskAgain(_) = next {
        return; // the budget doing its work
    }
    if error.again_in().is_some() {
        tracing::debug!(series = %key, %error, "reading candles is refused"); // the exchange's room tells it, once
        return;
    }
    let Some(unsaid) = complaints.due(Mono::now()) else {
        tracing::debug!(series = %key, %error, "reading candles failed");
        return;
    };
    if let Next::GiveBackAndPause(_) = next {
        tracing::error!(series = %key, %error, unsaid, "reading candles is refused");
    } else {
        tracing::warn!(series = %key, %error, unsaid, "reading candles failed");
    }
}

#[cfg(test)]
mod tests;
