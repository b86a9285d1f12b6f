//! One place in the plan and the sockets that fill it. After every loss, whatever its code, another socket follows
//! (hazard 12); before a socket is cut for its age, and when some of its series stay mute, another is brought up beside it
//! and takes over once it delivers (hazards 10, 11). Ends when nothing is left to carry or we stop.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::connection::{self, End};
use super::lost::Lost;
use super::name::Names;
use super::role::{News, Role, Terms, Why};
use super::{Setup, whole_ms};
use crate::backoff::Backoff;
use crate::clock::Mono;
use crate::exchange::{ConnectionId, FeedEvent};
use crate::market::SeriesKey;
use crate::tasks::Tasks;

/// Two sockets, each with two things to say and an end.
const REPORTS: usize = 8;
/// How often ages are looked at: an exchange's clock may run faster than ours, and says so at any time.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A place that breaks rules again and again waits up to 2^5 times as long, and speaks up to four times as slowly.
const STRIKES_MAX: u32 = 5;
const SLOWER_MAX: u32 = 2;
/// One whose first candle does not come waits for it up to 2^4 times as long: a calm market is told by its closes.
const DEAF_MAX: u32 = 4;
/// Healing that does not help is tried again after twice the time, up to 2^4 times.
const HEAL_PAUSE_MAX: u32 = 16;

/// A socket.
struct Life {
    id: ConnectionId,
    role: watch::Sender<Role>,
    age: Age,
}

/// A socket's age in the exchange's time, added up by its speed: the clock itself may be set back and forth.
struct Age {
    ms: f64,
    limit_ms: f64,
    seen: Mono,
}

impl Age {
    fn is_reached(&mut self, now: Mono, speed: f64) -> bool {
        self.ms += now.ms_since(self.seen) as f64 * speed;
        self.seen = now;
        self.ms >= self.limit_ms
    }
}

/// When the next socket is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// None is needed.
    No,
    /// At that time it asks for its turn. Taken before the wait, a turn would keep everybody else waiting too.
    After(Mono),
    /// At that time it is its turn.
    Turn(Mono),
}

/// A place in the plan.
pub(super) struct Place {
    setup: Arc<Setup>,
    tasks: Tasks,
    part: watch::Receiver<Names>,
    reports: mpsc::Sender<(ConnectionId, News)>,
    inbox: mpsc::Receiver<(ConnectionId, News)>,
    carrier: Option<Life>,
    successor: Option<Life>,
    opening: Opening,
    why: Why,
    backoff: Backoff,
    successor_backoff: Backoff,
    /// A failure is logged when it begins, not at every try.
    told: bool,
    strikes: u32,
    deaf: u32,
    heal_at: Mono,
    heal_pause: u32,
    /// One replacement at once after the other is no better than a reconnect.
    replace_from: Mono,
}

impl Place {
    pub(super) fn new(setup: Arc<Setup>, tasks: Tasks, part: watch::Receiver<Names>) -> Self {
        let (reports, inbox) = mpsc::channel(REPORTS);
        let (least, most) = setup.times.reconnect;
        Self {
            setup,
            tasks,
            part,
            reports,
            inbox,
            carrier: None,
            successor: None,
            opening: Opening::After(Mono::default()),
            why: Why::Age,
            backoff: Backoff::new(least, most),
            successor_backoff: Backoff::new(least, most),
            told: false,
            strikes: 0,
            deaf: 0,
            heal_at: Mono::default(),
            heal_pause: 0,
            replace_from: Mono::default(),
        }
    }

    /// Keeps the place filled until nothing is left to carry or we stop. Its sockets end with it.
    pub(super) async fn keep(mut self) {
        loop {
            let now = Mono::now();
            self.look_at_age(now);
            self.open_in_turn(now);
            let wake = self.wake_after(now);
            tokio::select! {
                biased;
                () = self.tasks.stopping() => return,
                changed = self.part.changed() => {
                    if changed.is_err() || self.part.borrow_and_update().is_empty() {
                        return;
                    }
                }
                Some((id, news)) = self.inbox.recv() => {
                    if self.hear(id, news, Mono::now()).is_break() {
                        return;
                    }
                }
                () = tokio::time::sleep(wake) => {}
            }
        }
    }

    fn look_at_age(&mut self, now: Mono) {
        let speed = self.setup.clock.speed();
        let is_old = |life: &mut Life| life.age.is_reached(now, speed);
        if self.carrier.as_mut().is_some_and(is_old) {
            self.replace(Why::Age, now);
        }
    }

    fn open_in_turn(&mut self, now: Mono) {
        if let Opening::After(at) = self.opening
            && at <= now
        {
            let wait = self.setup.connect_turn(now);
            self.opening = Opening::Turn(now.plus_ms(whole_ms(wait)));
        }
        if let Opening::Turn(at) = self.opening
            && at <= now
        {
            self.opening = Opening::No;
            self.open(now);
        }
    }

    fn wake_after(&self, now: Mono) -> Duration {
        match self.opening {
            Opening::No => LOOK_EVERY,
            Opening::After(at) | Opening::Turn(at) => {
                LOOK_EVERY.min(Duration::from_millis(at.ms_since(now)))
            }
        }
    }

    fn open(&mut self, now: Mono) {
        let times = &self.setup.times;
        let (role, its_role) = watch::channel(match self.carrier {
            None => Role::Carrying,
            Some(_) => Role::Proving,
        });
        let id = self.setup.new_id();
        let terms = Terms {
            id,
            beside: self.carrier.as_ref().map(|life| life.id),
            role: its_role,
            reports: self.reports.clone(),
            heal_at: self.heal_at,
            patience: times.silence * (1 << self.deaf),
            message_gap: times.message_gap * (1 << self.strikes.min(SLOWER_MAX)),
        };
        let spread = times.rotate_spread.mul_f64(fastrand::f64());
        let limit = times.rotate_after.saturating_sub(spread);
        let life = Life {
            id,
            role,
            age: Age {
                ms: 0.0,
                limit_ms: limit.as_secs_f64() * 1_000.0,
                seen: now,
            },
        };
        let setup = Arc::clone(&self.setup);
        let work = connection::live(setup, self.tasks.clone(), self.part.clone(), terms);
        self.tasks.spawn_short("exchange stream", work);
        match self.carrier {
            None => self.carrier = Some(life),
            Some(_) => self.successor = Some(life),
        }
    }

    /// Has the carrier replaced, unless that is under way.
    fn replace(&mut self, why: Why, now: Mono) {
        if self.successor.is_none() && self.opening == Opening::No {
            self.why = why;
            self.opening = Opening::After(now.max(self.replace_from));
        }
    }

    fn hear(&mut self, id: ConnectionId, news: News, now: Mono) -> ControlFlow<()> {
        let is = |life: &Option<Life>| life.as_ref().is_some_and(|life| life.id == id);
        let (carries, succeeds) = (is(&self.carrier), is(&self.successor));
        match news {
            News::Ready if succeeds => self.take_over(now),
            News::Replace(why) if carries => {
                if why == Why::Mute {
                    self.put_healing_off(now);
                }
                self.replace(why, now);
            }
            News::Ended(End::Finished) if carries || succeeds => return ControlFlow::Break(()),
            News::Ended(End::Lost {
                why,
                delivered,
                untold,
            }) if carries => {
                self.tell_untold(id, &why, untold);
                self.lost_carrier(&why, delivered, now);
            }
            News::Ended(End::Lost { why, delivered, .. }) if succeeds => {
                self.lost_successor(&why, delivered, now);
            }
            News::Ready | News::Replace(_) | News::Ended(_) => {} // of one that was replaced
        }
        ControlFlow::Continue(())
    }

    /// The successor delivers: it says `Up` for all it carries, which moves the series, and the old one closes.
    fn take_over(&mut self, now: Mono) {
        let Some(successor) = self.successor.take() else {
            return;
        };
        let (why, id) = (self.why, successor.id);
        successor.role.send_replace(Role::Carrying);
        if let Some(old) = self.carrier.replace(successor) {
            old.role.send_replace(Role::Retired);
            tracing::info!(from = %old.id, to = %id, ?why, "stream connection replaced");
        }
        self.setup.counts.rotations.fetch_add(1, Ordering::Relaxed);
        self.successor_backoff.reset();
        self.replace_from = now.plus_ms(whole_ms(self.setup.times.reconnect.1));
        (self.strikes, self.deaf) = (0, 0);
    }

    /// One that died before it heard that it carries said nothing of itself, and the one it replaced closes without a word:
    /// the engine would take that one for up. So its loss is told here, where it is known who carries.
    fn tell_untold(&self, connection: ConnectionId, why: &Lost, keys: Arc<[SeriesKey]>) {
        if keys.is_empty() {
            return;
        }
        let feed = &self.setup.feed;
        feed.offer(FeedEvent::Up {
            connection,
            keys: Arc::clone(&keys),
        });
        feed.offer(FeedEvent::Down {
            connection,
            keys,
            reason: why.to_string(),
            code: why.code(),
            silent_for: why.silent_for(),
        });
    }

    /// What the successor has so far is better than nothing, so it carries from now on, ready or not.
    fn lost_carrier(&mut self, why: &Lost, delivered: bool, now: Mono) {
        if delivered {
            self.backoff.reset();
            self.told = false;
        }
        let wait = self
            .backoff
            .next_delay()
            .max(self.note_loss(why, delivered));
        log_loss(why, wait, self.told);
        self.told = true;
        self.carrier = self.successor.take();
        match &self.carrier {
            Some(next) => {
                next.role.send_replace(Role::Carrying);
            }
            None => self.opening = Opening::After(now.plus_ms(whole_ms(wait))),
        }
    }

    fn lost_successor(&mut self, why: &Lost, delivered: bool, now: Mono) {
        self.successor = None;
        let least = self.note_loss(why, delivered);
        let wait = self.successor_backoff.next_delay().max(least);
        tracing::warn!(%why, wait_ms = wait.as_millis(), "stream to take over lost: the old one stays");
        self.opening = Opening::After(now.plus_ms(whole_ms(wait)));
    }

    /// Counts a loss. Returns the least wait before the next try.
    fn note_loss(&mut self, why: &Lost, delivered: bool) -> Duration {
        if !why.is_held() {
            self.setup.counts.lose(why.code());
        }
        if delivered {
            self.deaf = 0;
        } else if why.is_deafness() {
            self.deaf = (self.deaf + 1).min(DEAF_MAX);
        }
        let least = why.least_wait(&self.setup.times);
        if !why.is_our_fault() {
            if delivered {
                self.strikes = 0;
            }
            return least;
        }
        let slowed = least * (1 << self.strikes);
        self.strikes = (self.strikes + 1).min(STRIKES_MAX);
        slowed
    }

    /// Healing soon after healing did not help: the next waits twice as long.
    fn put_healing_off(&mut self, now: Mono) {
        let every_ms = whole_ms(self.setup.times.heal_every);
        let helped = now.ms_since(self.heal_at) > every_ms * u64::from(self.heal_pause);
        self.heal_pause = if helped {
            1
        } else {
            (self.heal_pause * 2).min(HEAL_PAUSE_MAX)
        };
        self.heal_at = now.plus_ms(every_ms * u64::from(self.heal_pause));
    }
}

fn log_loss(why: &Lost, wait: Duration, told: bool) {
    let wait_ms = wait.as_millis();
    if matches!(why, Lost::NotServed { .. }) || why.is_held() {
        tracing::debug!(%why, wait_ms, "stream not served"); // told once for all of them, by `Served`
    } else if why.is_our_fault() {
        tracing::error!(%why, wait_ms, "stream lost: we broke a rule of the exchange");
    } else if told {
        tracing::debug!(%why, wait_ms, "stream still not delivering");
    } else {
        tracing::warn!(%why, wait_ms, "stream lost");
    }
}

#[cfg(test)]
mod tests;
