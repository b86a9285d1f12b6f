//! The lease: of several engines, the one that holds it may write. It is held by asking again in time and lost by
//! silence; how long it lasts is counted here from before the question was sent, so that we stop before Redis gives it
//! to somebody else. Who writes asks `LeaseState::may_write` each time; the scripts refuse what is late all the same.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::connect::{COMMAND_DEADLINE, CommandLink};
use super::error::{Advice, RedisError};
use super::grant::{EngineId, Grant, HighestTerm, Term};
use super::scripts::{self, Kept, Take};
use super::settings::RedisSettings;
use crate::backoff::Backoff;
use crate::clock::Mono;

/// How long a lease lasts without renewal.
pub const LEASE: Duration = Duration::from_millis(5_000);
/// How often its holder renews it.
pub const RENEW_EVERY: Duration = Duration::from_millis(1_500);
/// How often a standby looks whether it is free.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long before its end the holder stops writing.
pub const STOP_BEFORE: Duration = Duration::from_millis(1_000);
const TAKEOVER: Duration = Duration::from_secs(6);

const _: () = {
    let good = LEASE.as_millis() - STOP_BEFORE.as_millis();
    assert!(
        good > RENEW_EVERY.as_millis() + COMMAND_DEADLINE.as_millis(),
        "one renewal without an answer must not cost the role"
    );
    assert!(
        LEASE.as_millis() + LOOK_EVERY.as_millis() < TAKEOVER.as_millis(),
        "a takeover takes at most 6 s"
    );
    assert!(LOOK_EVERY.as_millis() < STOP_BEFORE.as_millis());
};

/// Whether this engine may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    /// No: Redis does not answer, since this instant.
    Away {
        /// Since when.
        since: Mono,
    },
    /// No: another engine has it, or may have it.
    Others,
    /// Yes, until `good_until` if it is not renewed: the end of the lease less a margin for what is on its way.
    Held {
        /// Since this take.
        term: Term,
        /// Not from this instant on.
        good_until: Mono,
    },
}

impl LeaseState {
    /// The term under which may be written now.
    pub fn may_write(&self, now: Mono) -> Option<Term> {
        match self {
            Self::Held { term, good_until } if now < *good_until => Some(*term),
            Self::Away { .. } | Self::Others | Self::Held { .. } => None,
        }
    }
}

/// Takes the lease when it can and keeps it, over a link of its own.
#[derive(Debug)]
pub struct LeaseKeeper {
    settings: RedisSettings,
    engine: EngineId,
    highest: HighestTerm,
    look_now: Arc<Notify>,
    state: watch::Sender<LeaseState>,
    link: Option<CommandLink>,
    waits: Backoff,
    in_trouble: bool,
}

impl LeaseKeeper {
    /// A keeper that holds nothing yet. `look_now` makes it ask at once, whether it holds the lease or not: another
    /// engine said that it leaves, or a write was refused as fenced.
    pub fn new(
        settings: RedisSettings,
        engine: EngineId,
        highest: HighestTerm,
        look_now: Arc<Notify>,
    ) -> Self {
        Self {
            settings,
            engine,
            highest,
            look_now,
            state: watch::Sender::new(LeaseState::Away { since: Mono::now() }),
            link: None,
            waits: Backoff::new(LOOK_EVERY, 4 * LOOK_EVERY),
            in_trouble: false,
        }
    }

    /// Follows whether we may write. The state is `Held` no longer at the latest at `good_until`.
    pub fn follow(&self) -> watch::Receiver<LeaseState> {
        self.state.subscribe()
    }

    /// Keeps the lease until `stop`, then gives it back. Its owner stops it after the writer, not with the sources: the
    /// drain still writes.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            // A question on its way is waited for (2 s at most): dropping it would leave open what it did.
            let wait = self.ask().await;
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.look_now.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        self.give_back().await;
    }

    /// Takes or renews, and says how long to wait before the next time.
    async fn ask(&mut self) -> Duration {
        let sent = Mono::now();
        let state = *self.state.borrow();
        let asked = match state {
            LeaseState::Away { .. } | LeaseState::Others => self.try_take().await,
            LeaseState::Held { term, good_until } => {
                let left = Duration::from_millis(good_until.ms_since(sent));
                let renewed = if left.is_zero() {
                    None // it ran out between two attempts
                } else {
                    tokio::time::timeout(left, self.renew(term)).await.ok()
                };
                let Some(asked) = renewed else {
                    let away = LeaseState::Away { since: sent };
                    self.lose(away, "no renewal in time");
                    return Duration::ZERO;
                };
                asked
            }
        };
        match asked {
            Ok(wait) => {
                if std::mem::take(&mut self.in_trouble) {
                    tracing::info!(redis = %self.settings.at(), "the lease can be asked for again");
                }
                self.waits.reset();
                wait.saturating_sub(Duration::from_millis(Mono::now().ms_since(sent)))
            }
            Err(error) => self.after(&error),
        }
    }

    /// Asks for the lease once.
    async fn try_take(&mut self) -> Result<Duration, RedisError> {
        let (engine, highest) = (self.engine.clone(), self.highest.get());
        let mut link = self.linked().await?;
        let sent = Mono::now();
        let answer = scripts::take(&mut link, &engine, highest, LEASE).await?;
        self.link = Some(link);
        match answer {
            Take::Taken { term, .. } => {
                self.highest.saw(term);
                self.hold(term, sent);
                tracing::info!(engine = %self.engine, %term, "lease taken");
                Ok(RENEW_EVERY)
            }
            Take::Held { by, .. } => {
                if let Some(by) = by {
                    self.highest.saw(by.term);
                }
                self.state.send_if_modified(|state| {
                    std::mem::replace(state, LeaseState::Others) != LeaseState::Others
                });
                Ok(LOOK_EVERY)
            }
        }
    }

    async fn renew(&mut self, term: Term) -> Result<Duration, RedisError> {
        let grant = self.grant(term);
        let mut link = self.linked().await?;
        let sent = Mono::now();
        let answer = scripts::renew(&mut link, &grant, LEASE).await?;
        self.link = Some(link);
        match answer {
            Kept::Done => {
                self.hold(term, sent);
                Ok(RENEW_EVERY)
            }
            Kept::Fenced { by } => {
                // Nobody's: Redis was emptied, or we were too late. It may be ours again in an instant.
                let state = match by {
                    Some(by) => {
                        self.highest.saw(by.term);
                        LeaseState::Others
                    }
                    None => LeaseState::Away { since: Mono::now() },
                };
                self.lose(state, "it is not ours any more");
                Ok(Duration::ZERO)
            }
        }
    }

    fn hold(&self, term: Term, sent: Mono) {
        let good_until = sent.plus_ms(millis(LEASE)).minus(STOP_BEFORE);
        self.state
            .send_replace(LeaseState::Held { term, good_until });
    }

    fn lose(&self, to: LeaseState, why: &'static str) {
        self.state.send_replace(to);
        tracing::warn!(engine = %self.engine, why, "lease lost");
    }

    /// The link failed, and was dropped. One that held the lease tries again soon: it has little time left.
    fn after(&mut self, error: &RedisError) -> Duration {
        if !std::mem::replace(&mut self.in_trouble, true) {
            tracing::warn!(%error, "the lease cannot be asked for; trying again");
        }
        let state = *self.state.borrow();
        if state == LeaseState::Others {
            let since = Mono::now();
            self.state.send_replace(LeaseState::Away { since });
        }
        match (state, error.advice()) {
            (LeaseState::Held { good_until, .. }, _) => {
                let left = Duration::from_millis(good_until.ms_since(Mono::now()));
                left.min(LOOK_EVERY / 5)
            }
            (LeaseState::Away { .. } | LeaseState::Others, Advice::Retry) => {
                self.waits.next_delay()
            }
            (LeaseState::Away { .. } | LeaseState::Others, Advice::AskTheOperator) => LEASE,
        }
    }

    /// The link, taken out: whoever got an answer on it puts it back.
    async fn linked(&mut self) -> Result<CommandLink, RedisError> {
        match self.link.take() {
            Some(link) => Ok(link),
            None => CommandLink::open(&self.settings).await,
        }
    }

    /// The writer has ended: another engine may begin at once. Without a working link the lease runs out by itself.
    async fn give_back(mut self) {
        let LeaseState::Held { term, .. } = self.state.send_replace(LeaseState::Others) else {
            return;
        };
        let grant = self.grant(term);
        let Some(mut link) = self.link.take() else {
            return;
        };
        match scripts::release(&mut link, &grant).await {
            Ok(Kept::Done) => tracing::info!(engine = %self.engine, "lease given back"),
            Ok(Kept::Fenced { .. }) => tracing::info!("the lease was not ours any more"),
            Err(error) => tracing::warn!(%error, "the lease could not be given back; it runs out"),
        }
    }

    fn grant(&self, term: Term) -> Grant {
        let engine = self.engine.clone();
        Grant { engine, term }
    }
}

const fn millis(span: Duration) -> u64 {
    span.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_writes_from_the_end_of_the_good_time_on() {
        let term = Term::new(3);
        let good_until = Mono::from_ms(4_000);
        let held = LeaseState::Held { term, good_until };
        assert_eq!(held.may_write(Mono::from_ms(3_999)), Some(term));
        assert_eq!(held.may_write(Mono::from_ms(4_000)), None);
        assert_eq!(LeaseState::Others.may_write(Mono::from_ms(0)), None);
    }
}
