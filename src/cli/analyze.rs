//! `hamacast analyze FILE`: HAMA of a candle CSV, one row per candle, as the live engine would have seen it.
//! Everything is read and computed before the first byte is written: a bad file gives one line on stderr and exit
//! code 2, never half a table. Missing candles are a warning; the computation goes on bar by bar, as charts do.

mod steps;
mod summary;
mod table;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use crate::market::{BadCsv, Candle, Interval, candles_from_csv};
use crate::signal::{Analysis, Analyzer};

use steps::Steps;
use summary::Summary;

const EXAMPLES: &str = "\
Examples:
  hamacast analyze BTCUSDT-15m.csv
  hamacast analyze --summary BTCUSDT-15m.csv
  unzip -p BTCUSDT-15m-2026-10.zip | hamacast analyze --format json - | tail -1

Exit code 2 for a file that holds no candles or is damaged; missing candles are a warning.";

/// Exit code for an input that cannot be computed.
const BAD_INPUT: u8 = 2;

/// Arguments of `analyze`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct AnalyzeArgs {
    /// Candles: open_time_ms,open,high,low,close,volume or the exchange's public archive columns; - reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How rows are written: csv, or one JSON object per line
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,
    /// Instead of the rows, counts and the state after the last candle
    #[arg(long)]
    summary: bool,
    /// Interval of the candles, for the count of missing ones [default: their commonest step]
    #[arg(long, value_parser = Interval::parse)]
    interval: Option<Interval>,
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Columns with a header line, empty where missing.
    Csv,
    /// One object per line, null where missing.
    Json,
}

/// Why there is nothing to compute.
#[derive(Debug, thiserror::Error)]
enum BadInput {
    #[error("cannot read {name}: {source}")]
    Unreadable { name: String, source: io::Error },
    #[error("{name}: {source}")]
    Csv { name: String, source: BadCsv },
}

/// Reads, computes, writes.
pub(super) fn run(args: &AnalyzeArgs) -> anyhow::Result<ExitCode> {
    let name = input_name(&args.file);
    let candles = match read(&args.file, &name) {
        Ok(candles) => candles,
        Err(bad) => {
            complain(&bad.to_string());
            return Ok(ExitCode::from(BAD_INPUT));
        }
    };
    let steps = Steps::of(&candles, args.interval);
    for warning in steps.warnings() {
        complain(&format!("warning: {name}: {warning}"));
    }
    let mut analyzer = Analyzer::default();
    let rows: Vec<Analysis> = candles.iter().map(|candle| analyzer.push(candle)).collect();
    let text = match (args.summary, args.format) {
        (false, Format::Csv) => table::csv(&rows),
        (false, Format::Json) => table::json_lines(&rows),
        (true, Format::Csv) => Summary::of(&rows, &steps).text(),
        (true, Format::Json) => Summary::of(&rows, &steps).json(),
    };
    write_out(&text).context("cannot write the result to standard output")?;
    Ok(ExitCode::SUCCESS)
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn input_name(file: &Path) -> String {
    if is_stdin(file) {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    }
}

fn read(file: &Path, name: &str) -> Result<Vec<Candle>, BadInput> {
    let mut text = Vec::new();
    let done = if is_stdin(file) {
        io::stdin().lock().read_to_end(&mut text)
    } else {
        File::open(file).and_then(|mut file| file.read_to_end(&mut text))
    };
    done.map_err(|source| BadInput::Unreadable {
        name: name.to_owned(),
        source,
    })?;
    candles_from_csv(&text).map_err(|source| BadInput::Csv {
        name: name.to_owned(),
        source,
    })
}

/// One line on stderr. Whoever closed it does not want to know, and `eprintln!` would panic.
fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "hamacast: {line}");
}

/// A reader that has seen enough (`| head`) is no failure.
fn write_out(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}
