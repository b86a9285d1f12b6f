//! Keeps the exchange's clock right: asks for its time every 15 s, so that a step or a drift of it is followed, and says
//! when this machine's wall clock is wrong. Nothing is judged by the wall clock; but its times stand in the log and in the
//! sweep's figures, and people compare them (hazard 29).

use std::time::Duration;

use crate::clock::{ExchangeClock, Mono};
use crate::exchange::{Advice, Exchange};
use crate::tasks::Tasks;

/// Between two questions: weight 4 a minute.
const ASK_EVERY: Duration = Duration::from_secs(15);

/// Longest wait after a refusal.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// A wall clock further off than this is wrong.
const WALL_OFF_MS: i64 = 1_000;

/// Between two lines about a wall clock that stays wrong.
const SAY_EVERY_MS: u64 = 3_600_000;

/// Asks for the time; the watch list's reader asks first, before anything else is read.
pub(super) struct TimeKeeper {
    pub(super) exchange: Exchange,
    pub(super) clock: ExchangeClock,
}

impl TimeKeeper {
    /// Works until the program stops.
    pub(super) async fn run(self, tasks: Tasks) {
        let mut wall = WallWatch::default();
        let mut pause = ASK_EVERY;
        loop {
            tokio::select! {
                () = tasks.stopping() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = tokio::select! {
                () = tasks.stopping() => return,
                pause = self.ask() => pause,
            };
            let off_ms = self.clock.ahead_of_wall_ms();
            match off_ms.and_then(|off_ms| wall.say(off_ms, self.clock.error_ms(), Mono::now())) {
                Some(Said::Wrong) => {
                    tracing::error!(
                        behind_ms = off_ms,
                        "this machine's clock is not the exchange's: set it (NTP); signals do not depend on it, times in the log do"
                    );
                }
                Some(Said::RightAgain) => tracing::info!("this machine's clock is right again"),
                None => {}
            }
        }
    }

    /// How long to wait before the next question. Who cannot read the listing says so; here nothing is said twice.
    async fn ask(&self) -> Duration {
        match self.exchange.server_time().await {
            Ok(time) => {
                self.clock.set(time.time, time.speed, time.round_trip);
                ASK_EVERY
            }
            Err(error) => match error.advice() {
                Advice::AskTheOperator => REFUSED_PAUSE,
                Advice::WaitUntil(_) | Advice::BackOff | Advice::GiveUp => ASK_EVERY,
            },
        }
    }
}

/// What is to be said of the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Wrong,
    RightAgain,
}

/// Says that the wall clock is wrong when it turns out so, once an hour while it stays so, and when it is right again.
#[derive(Debug, Default)]
struct WallWatch {
    said_at: Option<Mono>,
}

impl WallWatch {
    fn say(&mut self, off_ms: i64, error_ms: i64, now: Mono) -> Option<Said> {
        let wrong = off_ms.saturating_abs() > WALL_OFF_MS.saturating_add(error_ms);
        match (wrong, self.said_at) {
            (true, Some(at)) if now.ms_since(at) < SAY_EVERY_MS => None,
            (true, _) => {
                self.said_at = Some(now);
                Some(Said::Wrong)
            }
            (false, Some(_)) => {
                self.said_at = None;
                Some(Said::RightAgain)
            }
            (false, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h29_a_wall_clock_over_a_second_off_is_told_once_and_then_once_an_hour() {
        let mut wall = WallWatch::default();
        let mut say = |off_ms, at_s: u64| wall.say(off_ms, 20, Mono::from_ms(at_s * 1_000));
        assert_eq!(say(1_020, 0), None);
        assert_eq!(say(-1_021, 15), Some(Said::Wrong));
        for at_s in (30..3_600).step_by(15) {
            assert_eq!(say(-18_000_000, at_s), None);
        }
        assert_eq!(say(-18_000_000, 3_615), Some(Said::Wrong));
        assert_eq!(say(5, 3_630), Some(Said::RightAgain));
        assert_eq!(say(5, 3_645), None);
        assert_eq!(say(i64::MIN, 3_660), Some(Said::Wrong));
    }
}
