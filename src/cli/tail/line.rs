//! A change as a line for a person, or unchanged for a pipe.

use serde::Deserialize;

use crate::market::TimeMs;

/// How changes are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `12:15:00Z BTCUSDT 15m HOLD -> BUY 67123.4 #1042`
    Line,
    /// The item as it came.
    Json,
}

#[derive(Deserialize)]
struct Change {
    #[serde(rename = "type")]
    kind: String,
    seq: u64,
    symbol: String,
    interval: String,
    recommendation: String,
    previous: String,
    candle_close_time: i64,
    price: Option<f64>,
    #[serde(default)]
    corrects: Vec<u64>,
}

/// The line of an item of the feed.
///
/// # Errors
/// When it lacks what the line shows.
pub(super) fn line(item: &str) -> Result<String, serde_json::Error> {
    let change: Change = serde_json::from_str(item)?;
    // A close time is the candle's last millisecond; people know the boundary after it.
    let time = TimeMs::new(change.candle_close_time)
        .plus_ms(1)
        .time_of_day();
    let Change {
        seq,
        symbol,
        interval,
        recommendation,
        previous,
        ..
    } = &change;
    let what = match (change.kind.as_str(), change.price) {
        ("correction", _) => corrected(&change.corrects),
        (_, Some(price)) => price.to_string(),
        (_, None) => "-".to_owned(),
    };
    Ok(format!(
        "{time}Z {symbol} {interval} {previous} -> {recommendation} {what} #{seq}"
    ))
}

fn corrected(seqs: &[u64]) -> String {
    let seqs: Vec<_> = seqs.iter().map(|seq| format!("#{seq}")).collect();
    match seqs.len() {
        0 => "correction".to_owned(),
        _ => format!("correction of {}", seqs.join(",")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_reads_as_the_documents_say() {
        let item = r#"{"type":"signal","seq":1042,"symbol":"BTCUSDT","interval":"15m","recommendation":"BUY","previous":"HOLD","price":67123.4,"candle_close_time":1767010499999,"new":[1]}"#;
        assert_eq!(
            line(item).unwrap(),
            "12:15:00Z BTCUSDT 15m HOLD -> BUY 67123.4 #1042"
        );
        let small = item.replace("67123.4", "0.00000123").replace("67123", "1");
        assert!(line(&small).unwrap().ends_with(" 0.00000123 #1042"));
    }

    #[test]
    fn a_correction_is_shown_as_one() {
        let item = r#"{"type":"correction","seq":1050,"symbol":"BTCUSDT","interval":"15m","recommendation":"HOLD","previous":"BUY","corrects":[1042,1044],"candle_close_time":1767052799999}"#;
        assert_eq!(
            line(item).unwrap(),
            "00:00:00Z BTCUSDT 15m BUY -> HOLD correction of #1042,#1044 #1050"
        );
    }

    #[test]
    fn an_item_without_what_the_line_shows_is_an_error() {
        assert!(line(r#"{"type":"signal","seq":1}"#).is_err());
    }
}
