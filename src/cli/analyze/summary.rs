//! `analyze --summary`: counts over all candles, and the row of the last one.
//! Text is one `name: value` per line (empty where missing); JSON one object, the row under `last`.

use std::fmt::Write;

use super::steps::Steps;
use super::table::{Cell, cells, json_members};
use crate::signal::{Analysis, Cross, Recommendation};

/// What is said of a whole file.
pub(super) struct Summary<'a> {
    counts: [(&'static str, Cell); 7],
    last: Option<&'a Analysis>,
}

impl<'a> Summary<'a> {
    /// Counts `rows`.
    pub(super) fn of(rows: &'a [Analysis], steps: &Steps) -> Self {
        let crosses = |cross| count(rows, |row| row.cross == cross);
        let recommended = |what| count(rows, |row| row.recommendation == what);
        Self {
            counts: [
                ("candles", count(rows, |_| true)),
                ("missing_candles", Cell::Whole(steps.missing())),
                ("crosses_up", crosses(Cross::Up)),
                ("crosses_down", crosses(Cross::Down)),
                ("buy", recommended(Recommendation::Buy)),
                ("sell", recommended(Recommendation::Sell)),
                ("hold", recommended(Recommendation::Hold)),
            ],
            last: rows.last(),
        }
    }

    /// A line per count, then a line per column of the last row.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let last = self.last.map(cells);
        for (name, cell) in self.counts.iter().chain(last.iter().flatten()) {
            let _ = writeln!(text, "{name}: {cell}"); // a String takes everything
        }
        text
    }

    /// `{"candles":...,"last":{...}}` on one line.
    pub(super) fn json(&self) -> String {
        let counts = json_members(&self.counts);
        let last = self.last.map(|row| json_members(&cells(row)));
        format!("{{{counts},\"last\":{{{}}}}}\n", last.unwrap_or_default())
    }
}

fn count(rows: &[Analysis], is_counted: impl Fn(&Analysis) -> bool) -> Cell {
    let counted = rows.iter().filter(|row| is_counted(row)).count();
    Cell::Whole(i64::try_from(counted).unwrap_or(i64::MAX))
}
