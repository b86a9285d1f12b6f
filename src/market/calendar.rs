//! Days, months and how an instant reads in UTC. The calendar is the proleptic Gregorian one, without leap seconds, as
//! Unix time counts. Intervals take their month grid from here, people and old clients their texts.

use super::TimeMs;

const SECOND_MS: i64 = 1_000;
const DAY_S: i64 = 86_400;

impl TimeMs {
    /// `2026-01-10T06:55:13`: UTC, whole seconds, no suffix.
    pub fn iso_seconds(self) -> String {
        let seconds = self.ms().div_euclid(SECOND_MS);
        let (year, month, day) = date_of(seconds.div_euclid(DAY_S));
        format!("{year:04}-{month:02}-{day:02}T{}", self.time_of_day())
    }

    /// `06:55:13`: UTC, whole seconds, no suffix.
    pub fn time_of_day(self) -> String {
        let seconds = self.ms().div_euclid(SECOND_MS).rem_euclid(DAY_S);
        let (hour, minute) = (seconds / 3_600, seconds / 60 % 60);
        format!("{hour:02}:{minute:02}:{:02}", seconds % 60)
    }
}

/// Year, month (1 to 12) and day (1 to 31) of the day `days` after 1970-01-01.
/// Counts in eras of 400 years that begin on 1 March, so that leap days fall at an era's year ends.
pub(super) fn date_of(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468; // days from 0000-03-01
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days from 1970-01-01 to the first of `month` (1 to 12) of `year`.
pub(super) fn first_of_month(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let march_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * march_month + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_reads_as_the_documents_say() {
        let texts = [
            (0, "1970-01-01T00:00:00"),
            (-1, "1969-12-31T23:59:59"),
            (951_782_399_999, "2000-02-28T23:59:59"),
            (951_782_400_000, "2000-02-29T00:00:00"),
            (1_767_225_599_999, "2025-12-31T23:59:59"),
            (1_768_028_113_999, "2026-01-10T06:55:13"),
        ];
        for (ms, text) in texts {
            assert_eq!(TimeMs::new(ms).iso_seconds(), text);
        }
        assert_eq!(TimeMs::new(1_768_028_113_999).time_of_day(), "06:55:13");
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let (mut year, mut month, mut day) = date_of(-1);
        assert_eq!((year, month, day), (1969, 12, 31));
        for days in 0..146_097 {
            let next = date_of(days);
            let same_month = next == (year, month, day + 1);
            let new_month = next == (year, month + 1, 1) || next == (year + 1, 1, 1);
            assert!(same_month || (new_month && day >= 28), "{next:?}");
            if next.2 == 1 {
                assert_eq!(first_of_month(next.0, next.1), days);
            }
            (year, month, day) = next;
        }
        assert_eq!((year, month, day), (2369, 12, 31));
    }
}
