//! Every form a candle file may have, and every way in which a line can be wrong.

use super::*;

const ROWS: &str = "1000,1,3,0.5,2,10\n2000,2,4,1,3,0\n";

fn error(text: &str) -> String {
    candles_from_csv(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn header_bom_crlf_blank_lines_and_a_missing_last_newline_change_nothing() {
    let expected = candles_from_csv(ROWS.as_bytes()).unwrap();
    assert_eq!(expected.len(), 2);
    let second = Candle {
        open_time: OpenTime::from_ms(2000),
        open: 2.0,
        high: 4.0,
        low: 1.0,
        close: 3.0,
        volume: 0.0,
    };
    assert_eq!(expected[1], second);
    let header = "open_time_ms,open,high,low,close,volume\n";
    let same = [
        format!("{header}{ROWS}"),
        format!("\u{feff}{header}{ROWS}"),
        format!("\u{feff}{ROWS}"),
        format!("{header}{ROWS}").replace('\n', "\r\n"),
        format!("Open_Time,Open,High,Low,Close,Volume\n\n{ROWS}\r\n\n"),
        ROWS.trim_end().to_owned(),
        ROWS.replace(',', " , "),
    ];
    for text in same {
        assert_eq!(
            candles_from_csv(text.as_bytes()).as_ref(),
            Ok(&expected),
            "{text:?}"
        );
    }
}

#[test]
fn the_archives_twelve_columns_are_read_with_and_without_header() {
    let expected = candles_from_csv(ROWS.as_bytes()).unwrap();
    let rows = ROWS.replace('\n', ",1999,10.5,3,4,5,0\n");
    let header = "open_time,open,high,low,close,volume,close_time,quote_volume,count,\
                  taker_buy_volume,taker_buy_quote_volume,ignore\n";
    for text in [rows.clone(), format!("{header}{rows}")] {
        assert_eq!(candles_from_csv(text.as_bytes()).as_ref(), Ok(&expected));
    }
}

#[test]
fn a_file_without_a_candle_is_empty() {
    for text in [
        "",
        "\n\r\n",
        "\u{feff}",
        "open_time,open,high,low,close,volume\n",
    ] {
        assert_eq!(
            candles_from_csv(text.as_bytes()),
            Err(BadCsv::Empty),
            "{text:?}"
        );
    }
}

#[test]
fn a_bad_row_is_named_with_its_line_and_its_fault() {
    let cases = [
        ("3000,x,3,1,2,1", "open is 'x', not a number"),
        ("3000,1,3,,2,1", "low is '', not a number"),
        ("3000,1,3,\"1\",2,1", "low is '\\\"1\\\"', not a number"),
        ("x,1,3,1,2,1", "open_time_ms is 'x', not a number"),
        ("3000.5,1,3,1,2,1", "open_time_ms is '3000.5', not a number"),
        (
            "1735689600000000,1,3,1,2,1",
            "open_time_ms is 1735689600000000: not Unix milliseconds",
        ),
        ("-1,1,3,1,2,1", "open_time_ms is -1: not Unix milliseconds"),
        ("3000,NaN,3,1,2,1", "open is not a finite number"),
        ("3000,1,inf,1,2,1", "high is not a finite number"),
        ("3000,1,3,1,2,nan", "volume is not a finite number"),
        ("3000,1,3,4,2,1", "low 4 is above high 3"),
        ("3000,1,3,0,2,1", "low is 0, a price must be above 0"),
        ("3000,-1,3,1,2,1", "open is -1, a price must be above 0"),
        ("3000,1,3,1,4,1", "high 3 is below open or close"),
        ("3000,2,3,1.5,1,1", "low 1.5 is above open or close"),
        ("3000,1,3,1,2,-1", "volume -1 is below 0"),
        ("3000,1,3,1,2", "5 columns, expected 6"),
        ("3000,1,3,1,2,1,", "7 columns, expected 6"),
        ("3000", "1 columns, expected 6"),
        ("2000,1,3,1,2,1", "open_time_ms 2000 is there twice"),
        (
            "1500,1,3,1,2,1",
            "open_time_ms 1500 comes after 2000: out of order",
        ),
        (
            "open_time,open,high,low,close,volume",
            "open_time_ms is 'open_time', not a number",
        ),
    ];
    for (row, reason) in cases {
        assert_eq!(
            error(&format!("{ROWS}{row}\n")),
            format!("line 3: {reason}")
        );
    }
}

#[test]
fn line_numbers_count_the_header_and_blank_lines() {
    let text = format!("open_time_ms,open,high,low,close,volume\r\n\r\n{ROWS}oops");
    assert_eq!(error(&text), "line 5: 1 columns, expected 6");
}

#[test]
fn a_bad_first_row_is_no_header_and_a_header_of_other_columns_is_refused() {
    assert_eq!(
        error("x,1,3,1,2,1\n"),
        "line 1: open_time_ms is 'x', not a number"
    );
    assert_eq!(
        error("open_time,NaN,3,1,2,1\n"),
        "line 1: open_time_ms is 'open_time', not a number"
    );
    assert_eq!(
        error("open_time,open,close,low,high,volume\n1,1,1,1,1,1\n"),
        "line 1: column 3 of the header is 'close', expected 'high'"
    );
    assert_eq!(
        error("time,price\n1,1\n"),
        "line 1: 2 columns, expected 6 or 12"
    );
}

#[test]
fn bytes_that_are_no_text_are_named_with_their_line() {
    let bytes = [ROWS.as_bytes(), b"3000,\xff,3,1,2,1\n"].concat();
    let bad = BadCsv::Line {
        line: 3,
        reason: BadLine::NotText,
    };
    assert_eq!(candles_from_csv(&bytes), Err(bad));
}
