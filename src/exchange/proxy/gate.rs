//! Who may dial through a proxy while it refuses us. A wrong password tried again and again may lock the account, so while a
//! refusal stands that only a person can mend, one dials once a minute for all, requests and streams alike; the others
//! are answered with what that one heard. A proxy that does not let us through to one target may to another.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::ProxyFault;
use crate::clock::Mono;
use crate::exchange::refusal::{LOOK_AGAIN, later};

/// The gate of one proxy, shared by all who dial through it.
#[derive(Debug)]
pub(in crate::exchange) struct Gate {
    again_after: Duration,
    standing: Mutex<BTreeMap<Reach, Standing>>,
}

/// Whom a refusal concerns.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Everybody,
    Target(String),
}

#[derive(Debug)]
struct Standing {
    fault: ProxyFault,
    ask_at: Mono,
    asking: bool,
}

/// What is answered instead of dialling.
#[derive(Debug)]
pub(in crate::exchange) struct Held {
    pub(in crate::exchange) fault: ProxyFault,
    /// When to dial again.
    pub(in crate::exchange) again_in: Duration,
}

impl Gate {
    /// Nothing stands; a refusal will, and be tried every `again_after`.
    pub(in crate::exchange) fn new(again_after: Duration) -> Self {
        Self {
            again_after,
            standing: Mutex::default(),
        }
    }

    /// Whether to dial to `target`. While a refusal stands, this lets one through each time its wait is over.
    pub(in crate::exchange) fn admit(&self, target: &str, now: Mono) -> Result<(), Held> {
        let mut standing = self.standing();
        let reaches = reaches(target);
        let waits = |one: &&Standing| now < one.ask_at;
        if let Some(one) = reaches.iter().filter_map(|at| standing.get(at)).find(waits) {
            let wait = Duration::from_millis(one.ask_at.ms_since(now));
            return Err(Held {
                fault: one.fault.clone(),
                again_in: if one.asking {
                    wait.min(LOOK_AGAIN)
                } else {
                    wait
                },
            });
        }
        for reach in reaches {
            if let Some(one) = standing.get_mut(&reach) {
                one.ask_at = later(now, self.again_after);
                one.asking = true;
            }
        }
        Ok(())
    }

    /// What became of dialling to `target`; no fault: there is a tunnel.
    pub(in crate::exchange) fn learn(&self, target: &str, fault: Option<&ProxyFault>, now: Mono) {
        let mut standing = self.standing();
        let [everybody, only] = reaches(target);
        let (lifted, reach) = match fault {
            None => {
                standing.remove(&everybody);
                standing.remove(&only);
                return;
            }
            Some(ProxyFault::Forbidden { .. }) => (Some(everybody), only),
            Some(fault) if fault.needs_a_person() => (None, everybody),
            Some(_) => {
                // Nothing was heard of the refusal: it stands, and nobody asks at present.
                for reach in [everybody, only] {
                    if let Some(one) = standing.get_mut(&reach) {
                        one.asking = false;
                    }
                }
                return;
            }
        };
        if let Some(lifted) = lifted {
            standing.remove(&lifted); // whose rules forbid a target has let us in
        }
        if let Some(fault) = fault {
            let refused = Standing {
                fault: fault.clone(),
                ask_at: later(now, self.again_after),
                asking: false,
            };
            standing.insert(reach, refused);
        }
    }

    fn standing(&self) -> MutexGuard<'_, BTreeMap<Reach, Standing>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn reaches(target: &str) -> [Reach; 2] {
    [Reach::Everybody, Reach::Target(target.to_owned())]
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(ms: u64) -> Mono {
        Mono::from_ms(ms)
    }

    fn forbidden(target: &str) -> ProxyFault {
        ProxyFault::Forbidden {
            target: target.to_owned(),
            answer: "403".to_owned(),
        }
    }

    #[test]
    fn h31_a_wrong_password_is_tried_once_a_minute_whoever_dials() {
        let gate = Gate::new(MINUTE);
        let mut tried = Vec::new();
        for ms in (0..200_000).step_by(100) {
            for target in ["rest:443", "streams:443"] {
                match gate.admit(target, at(ms)) {
                    Ok(()) => {
                        tried.push(ms);
                        gate.learn(target, Some(&ProxyFault::LoginRefused), at(ms));
                    }
                    Err(held) => assert!(matches!(held.fault, ProxyFault::LoginRefused)),
                }
            }
        }
        assert_eq!(tried, [0, 60_000, 120_000, 180_000]);
    }

    #[test]
    fn h31_a_mended_password_lets_all_through_soon() {
        let gate = Gate::new(MINUTE);
        gate.learn("rest:443", Some(&ProxyFault::LoginWanted), at(0));
        assert!(gate.admit("streams:443", at(60_000)).is_ok());
        let held = gate.admit("rest:443", at(60_001)).unwrap_err();
        assert_eq!(held.again_in, LOOK_AGAIN, "one tries just now");
        gate.learn("streams:443", None, at(60_100));
        assert!(gate.admit("rest:443", at(60_101)).is_ok());
        assert!(gate.admit("rest:443", at(60_102)).is_ok());
    }

    #[test]
    fn h31_a_forbidden_target_holds_nobody_from_another() {
        let gate = Gate::new(MINUTE);
        gate.learn("streams:443", Some(&forbidden("streams:443")), at(0));
        assert!(gate.admit("streams:443", at(1)).is_err());
        assert!(gate.admit("rest:443", at(1)).is_ok());
        gate.learn("rest:443", None, at(2));
        assert!(gate.admit("streams:443", at(3)).is_err(), "it stands");
    }

    #[test]
    fn h31_a_proxy_that_is_away_lifts_no_refusal_and_begins_none() {
        let gate = Gate::new(MINUTE);
        let away = ProxyFault::TimedOut {
            target: "rest:443".to_owned(),
            limit: MINUTE,
        };
        gate.learn("rest:443", Some(&away), at(0));
        assert!(gate.admit("rest:443", at(1)).is_ok());
        gate.learn("rest:443", Some(&ProxyFault::LoginRefused), at(2));
        assert!(gate.admit("rest:443", at(60_002)).is_ok());
        gate.learn("rest:443", Some(&away), at(60_003));
        let held = gate.admit("rest:443", at(60_004)).unwrap_err();
        assert!(held.again_in > LOOK_AGAIN);
    }
}
