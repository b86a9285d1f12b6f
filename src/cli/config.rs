//! `hamacast config`: every setting in force and where it came from; secrets hidden.

use std::io::{self, Write};
use std::process::ExitCode;

use super::settings::{self, SettingFlags};
use crate::config::{Row, Sources};

const EXAMPLES: &str = "\
Examples:
  hamacast config
  HAMA_TOP=50 hamacast config --json

Takes the flags of serve, to show what they would do. Exit code 2 when a setting is wrong: all wrong ones are told.";

/// Arguments of `config`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ConfigArgs {
    /// A JSON array of {name, variable, value, source} instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: SettingFlags,
}

pub(super) fn run(args: ConfigArgs, sources: Sources) -> anyhow::Result<ExitCode> {
    let sources = sources.with_flags(args.flags.0);
    let config = match settings::load(&sources, &[]) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let text = if args.json {
        json(config.rows())?
    } else {
        table(config.rows())
    };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn json(rows: &[Row]) -> anyhow::Result<String> {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            let source = row.source.to_string();
            serde_json::json!({ "name": row.name, "variable": row.variable, "value": row.value, "source": source })
        })
        .collect();
    Ok(serde_json::to_string_pretty(&rows)? + "\n")
}

/// Where it came from; the variable too where that has another name.
fn source(row: &Row) -> String {
    if row.variable == row.name {
        row.source.to_string()
    } else {
        format!("{} ({})", row.source, row.variable)
    }
}

fn table(rows: &[Row]) -> String {
    let shown = |row: &Row| match row.value.as_str() {
        "" => "-".to_owned(),
        value => value.to_owned(),
    };
    let names = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    let values = rows
        .iter()
        .map(|row| shown(row).chars().count())
        .max()
        .unwrap_or(0);
    let mut text = format!("{:names$}  {:values$}  source\n", "setting", "value");
    for row in rows {
        text += &format!(
            "{:names$}  {:values$}  {}\n",
            row.name,
            shown(row),
            source(row)
        );
    }
    text
}
