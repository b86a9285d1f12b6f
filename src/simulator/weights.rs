//! The request budget of each client address: 2,400 weight in a minute of exchange time, then 429, then a ban.
//! A refused request costs its weight as well. What was broken is reported to the statistics by the caller.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::settings::WeightTable;
use crate::market::TimeMs;

/// Weight an address may use in a minute.
pub(super) const LIMIT: u32 = 2_400;
/// Requests an address may send while it is over the limit before it is banned.
const PATIENCE: u32 = 20;
/// The first ban; each further one is twice as long, up to three days, as documented.
const FIRST_BAN_MS: i64 = 120_000;
const LONGEST_BAN_MS: i64 = 3 * 86_400_000;
const MINUTE_MS: i64 = 60_000;

/// What became of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Within the budget; `used` is the minute's weight so far.
    Served {
        /// Weight used in this minute, this request included.
        used: u32,
        /// Of it by this client rather than by others behind the address.
        own: u32,
    },
    /// Over the budget: 429.
    Limited {
        /// Weight used in this minute, this request included.
        used: u32,
        /// Of it by this client.
        own: u32,
        /// Seconds of exchange time until the minute ends.
        retry_after_secs: i64,
    },
    /// Went on while limited: 418.
    Banned {
        /// Weight used in this minute.
        used: u32,
        /// Of it by this client.
        own: u32,
        /// When the ban ends.
        until: TimeMs,
        /// Seconds of exchange time until then.
        retry_after_secs: i64,
    },
}

/// The budgets of all addresses.
#[derive(Debug, Default)]
pub(super) struct Budgets(BTreeMap<IpAddr, Budget>);

#[derive(Debug, Default)]
struct Budget {
    minute: i64,
    used: u32,
    of_others: u32,
    limited: u32,
    bans: u32,
    banned_until: TimeMs,
}

impl Budgets {
    /// Charges `weight` to `client` at `now`.
    pub(super) fn charge(&mut self, client: IpAddr, weight: u32, now: TimeMs) -> Verdict {
        let budget = self.of(client, now);
        if budget.banned_until > now {
            return budget.banned(now);
        }
        budget.used = budget.used.saturating_add(weight);
        if budget.used <= LIMIT {
            return Verdict::Served {
                used: budget.used,
                own: budget.own(),
            };
        }
        budget.limited += 1;
        if budget.limited > PATIENCE {
            let ban_ms = FIRST_BAN_MS.saturating_mul(1 << budget.bans.min(12));
            budget.bans += 1;
            budget.banned_until = now.plus_ms(ban_ms.min(LONGEST_BAN_MS));
            return budget.banned(now);
        }
        Verdict::Limited {
            used: budget.used,
            own: budget.own(),
            retry_after_secs: seconds_up((budget.minute + 1) * MINUTE_MS - now.ms()),
        }
    }

    /// Others behind the client's address use `weight`.
    pub(super) fn spend_for_others(&mut self, client: IpAddr, weight: u32, now: TimeMs) {
        let budget = self.of(client, now);
        budget.used = budget.used.saturating_add(weight);
        budget.of_others = budget.of_others.saturating_add(weight);
    }

    /// The client's address is banned until then, whatever it has used.
    pub(super) fn ban(&mut self, client: IpAddr, until: TimeMs) {
        let budget = self.0.entry(client).or_default();
        budget.banned_until = budget.banned_until.max(until);
    }

    fn of(&mut self, client: IpAddr, now: TimeMs) -> &mut Budget {
        let budget = self.0.entry(client).or_default();
        let minute = now.ms().div_euclid(MINUTE_MS);
        if budget.minute != minute {
            budget.minute = minute;
            budget.used = 0;
            budget.of_others = 0;
            budget.limited = 0;
        }
        budget
    }
}

impl Verdict {
    /// Weight used in the minute, as the header tells it.
    pub(super) const fn used(self) -> u32 {
        match self {
            Self::Served { used, .. } | Self::Limited { used, .. } | Self::Banned { used, .. } => {
                used
            }
        }
    }

    /// Of it by the client itself.
    pub(super) const fn own(self) -> u32 {
        match self {
            Self::Served { own, .. } | Self::Limited { own, .. } | Self::Banned { own, .. } => own,
        }
    }

    /// How long the client is to wait.
    pub(super) const fn retry_after_secs(self) -> Option<i64> {
        match self {
            Self::Served { .. } => None,
            Self::Limited {
                retry_after_secs, ..
            }
            | Self::Banned {
                retry_after_secs, ..
            } => Some(retry_after_secs),
        }
    }
}

impl Budget {
    fn own(&self) -> u32 {
        self.used - self.of_others
    }

    fn banned(&self, now: TimeMs) -> Verdict {
        Verdict::Banned {
            used: self.used,
            own: self.own(),
            until: self.banned_until,
            retry_after_secs: seconds_up(self.banned_until.ms_since(now)),
        }
    }
}

fn seconds_up(ms: i64) -> i64 {
    (ms + 999) / 1_000
}

/// Weight of a candle request with this `limit` (`None`: left out).
pub(super) fn of_candles(table: WeightTable, limit: Option<i64>) -> u32 {
    match (table, limit) {
        (WeightTable::Measured, None) => 5,
        (WeightTable::Measured, Some(limit)) => banded(limit, [100, 500, 1_000]),
        // The documented bands end one earlier; without a limit 500 rows are meant.
        (WeightTable::Documented, limit) => banded(limit.unwrap_or(500), [99, 499, 1_000]),
    }
}

fn banded(limit: i64, ends: [i64; 3]) -> u32 {
    let [one, two, five] = ends;
    if limit <= one {
        1
    } else if limit <= two {
        2
    } else if limit <= five {
        5
    } else {
        10
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn candles_cost_what_the_tables_say() {
        let rows = [
            (Some(1), 1, 1),
            (Some(99), 1, 1),
            (Some(100), 1, 2),
            (Some(499), 2, 2),
            (Some(500), 2, 5),
            (Some(1_000), 5, 5),
            (Some(1_001), 10, 10),
            (Some(1_501), 10, 10),
            (None, 5, 5),
        ];
        for (limit, measured, documented) in rows {
            assert_eq!(
                of_candles(WeightTable::Measured, limit),
                measured,
                "{limit:?}"
            );
            assert_eq!(
                of_candles(WeightTable::Documented, limit),
                documented,
                "{limit:?}"
            );
        }
    }

    #[test]
    fn the_budget_is_a_clock_minute_and_going_on_is_a_ban() {
        let mut budgets = Budgets::default();
        let now = TimeMs::new(1_767_225_630_000); // half past a minute
        assert_eq!(
            budgets.charge(CLIENT, 2_400, now),
            Verdict::Served {
                used: 2_400,
                own: 2_400
            }
        );
        for _ in 0..20 {
            let limited = budgets.charge(CLIENT, 1, now);
            assert!(matches!(
                limited,
                Verdict::Limited {
                    retry_after_secs: 30,
                    ..
                }
            ));
        }
        let until = now.plus_ms(120_000);
        let banned = budgets.charge(CLIENT, 1, now);
        assert!(
            matches!(banned, Verdict::Banned { until: end, retry_after_secs: 120, .. } if end == until)
        );
        let next_minute = now.plus_ms(60_000);
        assert!(matches!(
            budgets.charge(CLIENT, 1, next_minute),
            Verdict::Banned { .. }
        ));
        assert_eq!(
            budgets.charge(CLIENT, 1, until),
            Verdict::Served { used: 1, own: 1 }
        );
        // The next ban is twice as long.
        budgets.charge(CLIENT, 2_400, until);
        let last = (0..20).map(|_| budgets.charge(CLIENT, 1, until)).last();
        assert!(matches!(
            last,
            Some(Verdict::Banned {
                retry_after_secs: 240,
                ..
            })
        ));
    }
}
