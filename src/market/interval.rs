//! Candle intervals and their grid. Every length is a fixed number of milliseconds but the month.
//! The grid of an interval counts from the Unix epoch, weeks from Monday 00:00 UTC, months from the first of each.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::calendar::{date_of, first_of_month};
use super::{OpenTime, TimeMs};

/// Length of a candle, as the exchange offers it.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Interval {
    #[serde(rename = "1m")]
    M1,
    #[serde(rename = "3m")]
    M3,
    #[serde(rename = "5m")]
    M5,
    #[serde(rename = "15m")]
    M15,
    #[serde(rename = "30m")]
    M30,
    #[serde(rename = "1h")]
    H1,
    #[serde(rename = "2h")]
    H2,
    #[serde(rename = "4h")]
    H4,
    #[serde(rename = "6h")]
    H6,
    #[serde(rename = "8h")]
    H8,
    #[serde(rename = "12h")]
    H12,
    #[serde(rename = "1d")]
    D1,
    #[serde(rename = "3d")]
    D3,
    #[serde(rename = "1w")]
    W1,
    #[serde(rename = "1M")]
    Month1,
}

/// Text that names no interval.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no interval; allowed: 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M")]
pub struct BadInterval(String);

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// The Unix epoch was a Thursday; the first Monday after it is day 4.
const FIRST_MONDAY_MS: i64 = 4 * DAY_MS;
/// More months than 64 bits of milliseconds hold, and few enough to count their days.
const MONTHS_MAX: i64 = 4_000_000_000;

impl Interval {
    /// Every interval, shortest first.
    pub const ALL: [Self; 15] = [
        Self::M1,
        Self::M3,
        Self::M5,
        Self::M15,
        Self::M30,
        Self::H1,
        Self::H2,
        Self::H4,
        Self::H6,
        Self::H8,
        Self::H12,
        Self::D1,
        Self::D3,
        Self::W1,
        Self::Month1,
    ];

    /// The interval named `text`, exactly as `name` writes it (`1m` is a minute, `1M` a month).
    ///
    /// # Errors
    /// `BadInterval` with the allowed names.
    pub fn parse(text: &str) -> Result<Self, BadInterval> {
        Self::ALL
            .into_iter()
            .find(|interval| interval.name() == text)
            .ok_or_else(|| BadInterval(text.chars().take(32).collect()))
    }

    /// The exchange's name: `15m`, `1h`, `1M`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::M1 => "1m",
            Self::M3 => "3m",
            Self::M5 => "5m",
            Self::M15 => "15m",
            Self::M30 => "30m",
            Self::H1 => "1h",
            Self::H2 => "2h",
            Self::H4 => "4h",
            Self::H6 => "6h",
            Self::H8 => "8h",
            Self::H12 => "12h",
            Self::D1 => "1d",
            Self::D3 => "3d",
            Self::W1 => "1w",
            Self::Month1 => "1M",
        }
    }

    /// Milliseconds of one candle; for the month, of 30 days (an estimate: its grid is the calendar's).
    pub const fn nominal_ms(self) -> i64 {
        match self {
            Self::M1 => MINUTE_MS,
            Self::M3 => 3 * MINUTE_MS,
            Self::M5 => 5 * MINUTE_MS,
            Self::M15 => 15 * MINUTE_MS,
            Self::M30 => 30 * MINUTE_MS,
            Self::H1 => HOUR_MS,
            Self::H2 => 2 * HOUR_MS,
            Self::H4 => 4 * HOUR_MS,
            Self::H6 => 6 * HOUR_MS,
            Self::H8 => 8 * HOUR_MS,
            Self::H12 => 12 * HOUR_MS,
            Self::D1 => DAY_MS,
            Self::D3 => 3 * DAY_MS,
            Self::W1 => 7 * DAY_MS,
            Self::Month1 => 30 * DAY_MS,
        }
    }

    /// The candle that holds `time`; where numbers end (292 million years from now) so does the grid.
    pub fn open_at(self, time: TimeMs) -> OpenTime {
        let ms = time.ms();
        match self {
            Self::Month1 => {
                let (year, month, _) = date_of(ms.div_euclid(DAY_MS));
                OpenTime::from_ms(first_of_month(year, month).saturating_mul(DAY_MS))
            }
            Self::W1 => {
                let since_monday = ms.rem_euclid(7 * DAY_MS) + 7 * DAY_MS - FIRST_MONDAY_MS;
                OpenTime::from_ms(ms.saturating_sub(since_monday % (7 * DAY_MS)))
            }
            Self::M1
            | Self::M3
            | Self::M5
            | Self::M15
            | Self::M30
            | Self::H1
            | Self::H2
            | Self::H4
            | Self::H6
            | Self::H8
            | Self::H12
            | Self::D1
            | Self::D3 => OpenTime::from_ms(ms.saturating_sub(ms.rem_euclid(self.nominal_ms()))),
        }
    }

    /// Whether a candle of this interval opens exactly at `open` (hazard 23).
    pub fn is_on_grid(self, open: OpenTime) -> bool {
        self.open_at(open.time()) == open
    }

    /// The candle after the one that opens at `open`.
    pub fn after(self, open: OpenTime) -> OpenTime {
        self.steps(open, 1)
    }

    /// The candle `count` candles after (before, when negative) the one that opens at `open`.
    pub fn steps(self, open: OpenTime, count: i64) -> OpenTime {
        if self == Self::Month1 {
            let (year, month, _) = date_of(open.ms().div_euclid(DAY_MS));
            let months = (year * 12 + month - 1).saturating_add(count);
            let months = months.clamp(-MONTHS_MAX, MONTHS_MAX);
            let day = first_of_month(months.div_euclid(12), months.rem_euclid(12) + 1);
            return OpenTime::from_ms(day.saturating_mul(DAY_MS));
        }
        OpenTime::from_ms(
            open.ms()
                .saturating_add(self.nominal_ms().saturating_mul(count)),
        )
    }

    /// How many candles `later` comes after `earlier` (negative when before); both on the grid.
    pub fn count_between(self, earlier: OpenTime, later: OpenTime) -> i64 {
        if self == Self::Month1 {
            let months = |open: OpenTime| {
                let (year, month, _) = date_of(open.ms().div_euclid(DAY_MS));
                year * 12 + month
            };
            return months(later) - months(earlier);
        }
        later.time().ms_since(earlier.time()) / self.nominal_ms()
    }

    /// The last millisecond of the candle that opens at `open`: what the exchange calls its close time.
    pub fn close_time(self, open: OpenTime) -> TimeMs {
        self.after(open).time().plus_ms(-1)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE_MS: i64 = 1_767_000_600_123; // 2025-12-29T09:30:00.123Z, a Monday

    #[test]
    fn the_grid_of_every_interval_holds_each_instant_once() {
        for interval in Interval::ALL {
            let mut open = interval.open_at(TimeMs::new(SAMPLE_MS));
            assert!(
                open.ms() <= SAMPLE_MS && interval.close_time(open).ms() >= SAMPLE_MS,
                "{interval}"
            );
            for _ in 0..40 {
                let next = interval.after(open);
                assert!(interval.is_on_grid(open), "{interval} {open}");
                assert_eq!(
                    interval.open_at(interval.close_time(open)),
                    open,
                    "{interval}"
                );
                assert_eq!(
                    interval.close_time(open).plus_ms(1),
                    next.time(),
                    "{interval}"
                );
                assert_eq!(interval.steps(next, -1), open, "{interval}");
                assert_eq!(
                    interval.count_between(open, interval.steps(open, 7)),
                    7,
                    "{interval}"
                );
                open = next;
            }
        }
    }

    #[test]
    fn weeks_begin_on_monday_and_months_on_the_first() {
        let monday = 1_766_966_400_000; // 2025-12-29T00:00:00Z
        assert_eq!(Interval::W1.open_at(TimeMs::new(SAMPLE_MS)).ms(), monday);
        let december = Interval::Month1.open_at(TimeMs::new(SAMPLE_MS));
        assert_eq!(december.ms(), 1_764_547_200_000); // 2025-12-01
        assert_eq!(Interval::Month1.after(december).ms(), 1_767_225_600_000); // 2026-01-01
        assert_eq!(Interval::Month1.steps(december, 3).ms(), 1_772_323_200_000); // 2026-03-01
    }

    #[test]
    fn names_read_back_and_a_minute_is_no_month() {
        for interval in Interval::ALL {
            assert_eq!(Interval::parse(interval.name()), Ok(interval));
        }
        assert_ne!(Interval::parse("1m"), Interval::parse("1M"));
        assert!(Interval::parse("1s").is_err());
    }

    /// Times and counts come from requests and files: whatever they are, the grid answers.
    #[test]
    fn no_instant_and_no_count_is_too_far_for_the_grid() {
        let far = [
            0,
            1,
            DAY_MS,
            SAMPLE_MS,
            253_402_300_799_999,
            i64::MAX / 2,
            i64::MAX,
        ];
        let near = |ms: &i64| [*ms, ms.wrapping_neg(), ms.wrapping_add(1), !ms];
        let instants: Vec<i64> = far.iter().flat_map(near).collect();
        for interval in Interval::ALL {
            for ms in &instants {
                let open = interval.open_at(TimeMs::new(*ms));
                assert!(open.ms() <= *ms || open.ms() == i64::MIN, "{interval} {ms}");
                assert!(interval.after(open) >= open, "{interval} {ms}");
                assert!(
                    interval.close_time(open).ms() >= open.ms() - 1,
                    "{interval} {ms}"
                );
                let _ = interval.is_on_grid(OpenTime::from_ms(*ms));
                for other in &instants {
                    let stepped = interval.steps(OpenTime::from_ms(*ms), *other);
                    let _ = interval.count_between(stepped, OpenTime::from_ms(*other));
                }
            }
        }
    }

    #[test]
    fn h23_an_open_off_the_grid_is_seen() {
        assert!(!Interval::H1.is_on_grid(OpenTime::from_ms(1_767_000_495_000)));
    }
}
