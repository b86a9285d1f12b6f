//! `hamacast analyze`: what it reads, what it writes, and that a bad file gives one line and exit code 2, never half
//! a table.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const HEADER: &str = "open_time_ms,open,high,low,close,volume\n";
const STEP_MS: i64 = 900_000;

/// What a run answered.
#[derive(Debug)]
struct Answer {
    out: String,
    err: String,
    code: Option<i32>,
}

fn analyze(args: &[&str], stdin: &[u8]) -> Answer {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hamacast"))
        .arg("analyze")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let text = stdin.to_owned();
    let writer = std::thread::spawn(move || drop(pipe.write_all(&text))); // one that reads no input closes the pipe
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Answer {
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code(),
    }
}

fn golden(set: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("tests/data/golden/{set}.csv"))
        .to_str()
        .unwrap()
        .to_owned()
}

fn golden_text(set: &str) -> String {
    std::fs::read_to_string(golden(set)).unwrap()
}

/// Rows of flat candles at these steps, without header.
fn candle_rows(steps: impl IntoIterator<Item = i64>) -> String {
    steps
        .into_iter()
        .map(|step| format!("{},1,2,0.5,1.5,10\n", step * STEP_MS))
        .collect()
}

/// Runs on `text`, expects exit code 2 with exactly one line, and answers with that line.
fn refusal(text: &str) -> String {
    let answer = analyze(&["-"], text.as_bytes());
    assert_eq!(
        (answer.out.as_str(), answer.code),
        ("", Some(2)),
        "{answer:?}"
    );
    assert_eq!(answer.err.lines().count(), 1, "{answer:?}");
    answer.err.trim_end().to_owned()
}

#[test]
fn a_bad_row_is_named_by_line_and_nothing_is_written() {
    let before = candle_rows(0..600); // long enough that rows would have been written already
    let cases = [
        ("abc,1,2,0.5,1,1", "open_time_ms is 'abc', not a number"),
        ("540000000,1,2,0.5,x,1", "close is 'x', not a number"),
        ("540000000,1,2,,1,1", "low is '', not a number"),
        ("540000000,NaN,2,0.5,1,1", "open is not a finite number"),
        ("540000000,1,inf,0.5,1,1", "high is not a finite number"),
        ("540000000,1,2,3,1,1", "low 3 is above high 2"),
        ("540000000,1,2,0,1,1", "low is 0, a price must be above 0"),
        (
            "540000000,1,2,0.5,-1,1",
            "close is -1, a price must be above 0",
        ),
        ("540000000,1,2,0.5", "4 columns, expected 6"),
        (
            "539100000,1,2,0.5,1,1",
            "open_time_ms 539100000 is there twice",
        ),
        (
            "900000,1,2,0.5,1,1",
            "open_time_ms 900000 comes after 539100000: out of order",
        ),
    ];
    for (row, reason) in cases {
        assert_eq!(
            refusal(&format!("{HEADER}{before}{row}\n{}", candle_rows(700..710))),
            format!("hamacast: standard input: line 602: {reason}")
        );
    }
}

#[test]
fn an_empty_file_is_an_error() {
    for text in ["", "\n", HEADER, "\u{feff}"] {
        assert_eq!(refusal(text), "hamacast: standard input: no candles in it");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.csv");
    for path in [missing.as_path(), folder.path()] {
        let path = path.to_str().unwrap();
        let answer = analyze(&[path], b"");
        assert_eq!(
            (answer.out.as_str(), answer.code),
            ("", Some(2)),
            "{answer:?}"
        );
        assert!(
            answer
                .err
                .starts_with(&format!("hamacast: cannot read {path}: ")),
            "{answer:?}"
        );
        assert_eq!(answer.err.lines().count(), 1, "{answer:?}");
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let file = golden("short99");
    let wrong: [&[&str]; 3] = [
        &[],
        &[&file, "--interval", "1s"],
        &[&file, "--format", "xml"],
    ];
    for args in wrong {
        let answer = analyze(args, b"");
        assert_eq!(
            (answer.out.as_str(), answer.code),
            ("", Some(2)),
            "{answer:?}"
        );
    }
}

#[test]
fn every_form_of_the_same_candles_gives_the_same_table() {
    let text = golden_text("trend");
    let expected = analyze(&[&golden("trend")], b"").out;
    assert_eq!(expected.lines().count(), text.lines().count());
    let without_header = text.split_once('\n').unwrap().1;
    let archive: String = without_header
        .lines()
        .map(|line| format!("{line},0,1,2,3,4,0\n"))
        .collect();
    let archive_header = "open_time,open,high,low,close,volume,close_time,quote_volume,count,\
                          taker_buy_volume,taker_buy_quote_volume,ignore\n";
    let forms = [
        text.clone(),
        without_header.to_owned(),
        format!("\u{feff}{}", text.replace('\n', "\r\n")),
        archive.clone(),
        format!("{archive_header}{archive}"),
    ];
    for (i, form) in forms.iter().enumerate() {
        let answer = analyze(&["-"], form.as_bytes());
        assert_eq!(
            (answer.err.as_str(), answer.code),
            ("", Some(0)),
            "form {i}"
        );
        assert!(answer.out == expected, "form {i}: another table");
    }
}

#[test]
fn json_says_what_the_table_says_with_null_where_missing() {
    for set in ["trend", "tiny", "short99"] {
        let table = analyze(&[&golden(set)], b"").out;
        let json = analyze(&[&golden(set), "--format", "json"], b"").out;
        let mut lines = table.lines();
        let names: Vec<&str> = lines.next().unwrap().split(',').collect();
        assert_eq!(lines.clone().count(), json.lines().count());
        for (row, object) in lines.zip(json.lines()) {
            let members: Vec<String> = names
                .iter()
                .zip(row.split(','))
                .map(|(name, cell)| match cell {
                    "" => format!("\"{name}\":null"),
                    cell if cell.parse::<f64>().is_ok() => format!("\"{name}\":{cell}"),
                    word => format!("\"{name}\":\"{word}\""),
                })
                .collect();
            assert_eq!(object, format!("{{{}}}", members.join(",")));
            serde_json::from_str::<serde_json::Value>(object).unwrap();
        }
    }
}

#[test]
fn no_number_has_an_exponent() {
    let table = analyze(&[&golden("tiny")], b"").out;
    let numbers = table
        .lines()
        .skip(1)
        .flat_map(|line| line.split(','))
        .filter(|cell| cell.parse::<f64>().is_ok());
    let mut count = 0;
    for number in numbers {
        assert!(
            number
                .bytes()
                .all(|byte| byte.is_ascii_digit() || b".-".contains(&byte)),
            "{number}"
        );
        count += 1;
    }
    assert!(count > 10_000, "only {count} numbers");
}

#[test]
fn the_summary_counts_what_the_table_shows() {
    let table = analyze(&[&golden("long")], b"").out;
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split(',').collect())
        .collect();
    let counted = |column: usize, word: &str| rows.iter().filter(|row| row[column] == word).count();
    let counts = [
        ("candles", rows.len() - 1),
        ("missing_candles", 0),
        ("crosses_up", counted(11, "1")),
        ("crosses_down", counted(11, "-1")),
        ("buy", counted(15, "BUY")),
        ("sell", counted(15, "SELL")),
        ("hold", counted(15, "HOLD")),
    ];
    let last = rows[0].iter().zip(&rows[rows.len() - 1]);
    let expected: String = counts
        .iter()
        .map(|(name, count)| format!("{name}: {count}\n"))
        .chain(last.clone().map(|(name, cell)| format!("{name}: {cell}\n")))
        .collect();
    assert_eq!(analyze(&[&golden("long"), "--summary"], b"").out, expected);

    let json = analyze(&[&golden("long"), "--summary", "--format", "json"], b"").out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    for (name, count) in counts {
        assert_eq!(json[name], count, "{name}");
    }
    assert_eq!(json["last"]["recommendation"], rows[rows.len() - 1][15]);
}

#[test]
fn missing_candles_are_a_warning_with_their_number_and_the_table_goes_on() {
    let whole = candle_rows(0..120);
    assert_eq!(analyze(&["-"], whole.as_bytes()).err, "");
    let holed = candle_rows((0..50).chain(53..100).chain(101..120));
    let answer = analyze(&["-"], holed.as_bytes());
    assert_eq!(
        answer.err,
        "hamacast: warning: standard input: missing candles: 4 in 2 place(s), \
         the first after open_time_ms 44100000 (step 15m); computed bar by bar\n"
    );
    assert_eq!(
        (answer.out.lines().count(), answer.code),
        (1 + 116, Some(0))
    );
    let finer = analyze(&["-", "--interval", "5m"], whole.as_bytes());
    assert!(
        finer.err.contains("missing candles: 238 in 119 place(s)"),
        "{finer:?}"
    );
    assert_eq!(finer.code, Some(0));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hamacast"))
        .args(["analyze", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take()); // closed before the first byte can be written: it is still waiting for its input
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(golden_text("long").as_bytes()).unwrap();
    drop(pipe);
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}
