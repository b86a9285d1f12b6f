//! The command line: one file per command. Each has its arguments and a `run` that answers with the exit code.
//! Exit codes: 0 ok, 1 failed at run time, 2 usage, settings or bad input file, 3 not ready.

mod analyze;
mod exchange;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// HAMA signals of crypto perpetuals, from the exchange's candles to every subscriber.
#[derive(Debug, Parser)]
#[command(name = "hamacast", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// HAMA of a candle CSV: one row per candle
    Analyze(analyze::AnalyzeArgs),
    /// The simulated Binance USD-M exchange alone
    Exchange(exchange::ExchangeArgs),
}

/// Runs the command the arguments name.
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Analyze(args) => analyze::run(&args),
        Command::Exchange(args) => exchange::run(args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("hamacast: {error:#}");
        ExitCode::from(1)
    })
}
