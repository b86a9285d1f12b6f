//! The exchange's own clock: `now = start + (real time since then) * speed`. Everything the exchange stamps or counts
//! by the minute follows it; pings, pushes and timeouts follow real time and are none of its business.

use std::time::Duration;

use crate::clock::Mono;
use crate::market::TimeMs;

/// The simulated exchange's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct SimClock {
    start: TimeMs,
    began: Mono,
    speed: f64,
}

impl SimClock {
    /// A clock that shows `start` now and runs `speed` times as fast as real time.
    pub(super) fn starting_at(start: TimeMs, speed: f64) -> Self {
        Self {
            start,
            began: Mono::now(),
            speed,
        }
    }

    /// The exchange's time.
    pub(super) fn now(&self) -> TimeMs {
        let real_ms = Mono::now().ms_since(self.began);
        self.start.plus_ms((real_ms as f64 * self.speed) as i64)
    }

    /// How many times as fast as real time it runs.
    pub(super) const fn speed(&self) -> f64 {
        self.speed
    }

    /// Real time until the clock shows `then`; zero when it has.
    pub(super) fn real_until(&self, then: TimeMs) -> Duration {
        let sim_ms = then.ms_since(self.now()).max(0);
        // Rounded up to whole milliseconds, so that the clock has got there when the wait is over.
        Duration::from_millis((sim_ms as f64 / self.speed).ceil() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_runs_at_its_speed_and_waits_end_on_time() {
        let clock = SimClock::starting_at(TimeMs::new(1_000_000), 60.0);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(clock.now().ms(), 1_060_000);
        let boundary = TimeMs::new(1_080_001);
        tokio::time::advance(clock.real_until(boundary)).await;
        assert!(clock.now() >= boundary && clock.now().ms_since(boundary) < 120);
        assert_eq!(clock.real_until(boundary), Duration::ZERO);
    }
}
