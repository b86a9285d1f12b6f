//! Rows of `analyze`: the same cells as CSV and as JSON.
//! Numbers are plain decimals with the shortest digits that read back to the same double: Rust's `Display` of a
//! double, which never writes an exponent (a JSON library would). No text needs escaping: words are ours.

use std::fmt::{self, Write};

use crate::indicator::{BandState, BodyColor, MaTrend};
use crate::signal::Analysis;

/// One value of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Cell {
    Missing,
    Whole(i64),
    Number(f64),
    Word(&'static str),
}

/// Bytes of a typical row, for the first allocation only.
const ROW_BYTES: usize = 400;

impl Cell {
    /// Prices at the end of the doubles overflow to infinity, for which neither form has a word: missing.
    pub(super) fn number(value: Option<f64>) -> Self {
        value
            .filter(|value| value.is_finite())
            .map_or(Self::Missing, Self::Number)
    }

    pub(super) fn word(word: Option<&'static str>) -> Self {
        word.map_or(Self::Missing, Self::Word)
    }

    /// As a JSON value.
    pub(super) fn json(self) -> Json {
        Json(self)
    }
}

/// As CSV writes it: empty when missing.
impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => Ok(()),
            Self::Whole(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Word(word) => f.write_str(word),
        }
    }
}

/// A cell as JSON writes it: null when missing.
pub(super) struct Json(Cell);

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Cell::Missing => f.write_str("null"),
            Cell::Word(word) => write!(f, "\"{word}\""),
            cell @ (Cell::Whole(_) | Cell::Number(_)) => cell.fmt(f),
        }
    }
}

/// The columns of a row with their names, in their order.
pub(super) fn cells(row: &Analysis) -> [(&'static str, Cell); 18] {
    let values = &row.values;
    let last_cross_time = row.last_cross_time.map(|time| Cell::Whole(time.ms()));
    [
        ("open_time_ms", Cell::Whole(row.open_time.ms())),
        ("hama_open", Cell::number(values.hama_open)),
        ("hama_high", Cell::number(values.hama_high)),
        ("hama_low", Cell::number(values.hama_low)),
        ("hama_close", Cell::number(values.hama_close)),
        ("ma", Cell::number(values.ma)),
        ("bb_basis", Cell::number(values.bb_basis)),
        ("bb_upper", Cell::number(values.bb_upper)),
        ("bb_lower", Cell::number(values.bb_lower)),
        ("bb_width", Cell::number(values.bb_width)),
        ("bb_state", Cell::word(values.bb_state.map(BandState::word))),
        ("cross", Cell::Whole(row.cross.number().into())),
        (
            "last_cross_direction",
            Cell::Whole(row.last_cross_direction.into()),
        ),
        ("last_cross_time", last_cross_time.unwrap_or(Cell::Missing)),
        ("deviation_pct", Cell::number(values.deviation_pct)),
        ("recommendation", Cell::Word(row.recommendation.word())),
        (
            "body_color",
            Cell::word(values.body_color.map(BodyColor::word)),
        ),
        ("ma_trend", Cell::word(values.ma_trend.map(MaTrend::word))),
    ]
}

/// A header line and a line per row.
pub(super) fn csv(rows: &[Analysis]) -> String {
    let mut text = String::with_capacity((rows.len() + 1) * ROW_BYTES);
    if let Some(first) = rows.first() {
        line(&mut text, &cells(first).map(|(name, _)| name));
    }
    for row in rows {
        line(&mut text, &cells(row).map(|(_, cell)| cell));
    }
    text
}

/// An object per row, one to a line.
pub(super) fn json_lines(rows: &[Analysis]) -> String {
    let mut text = String::with_capacity(rows.len() * 2 * ROW_BYTES);
    for row in rows {
        let _ = writeln!(text, "{{{}}}", json_members(&cells(row))); // a String takes everything
    }
    text
}

/// `"name":value,...`: what stands between the braces of an object.
pub(super) fn json_members(cells: &[(&'static str, Cell)]) -> String {
    let mut text = String::new();
    for (i, (name, cell)) in cells.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let _ = write!(text, "{comma}\"{name}\":{}", cell.json()); // a String takes everything
    }
    text
}

fn line<T: fmt::Display>(text: &mut String, fields: &[T; 18]) {
    for (i, field) in fields.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let _ = write!(text, "{comma}{field}"); // a String takes everything
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_plain_decimals_that_read_back_and_what_is_no_number_is_missing() {
        let written = |value| Cell::number(Some(value)).to_string();
        assert_eq!(written(100.0), "100");
        assert_eq!(written(7.3e-6), "0.0000073");
        assert_eq!(written(1e21), "1000000000000000000000");
        assert_eq!(written(0.1 + 0.2), "0.30000000000000004");
        assert_eq!(written(f64::INFINITY), "");
        assert_eq!(Cell::number(Some(f64::NAN)).json().to_string(), "null");
    }
}
