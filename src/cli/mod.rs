//! The command line: one file per command. Each has its arguments and a `run` that answers with the exit code.
//! Exit codes: 0 ok, 1 failed at run time, 2 usage, settings or bad input file, 3 not ready.
//! Options of commands are variables too (`HAMA_URL`, ..); settings and their flags are `settings`'s matter.

mod analyze;
mod config;
mod demo;
mod engine;
mod exchange;
mod healthcheck;
mod hub;
mod logging;
mod options;
mod serve;
mod settings;
mod tail;

use std::process::ExitCode;

use clap::builder::Resettable;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{BadSetting, Sources};

const ABOUT: &str = "\
HAMA signals of crypto perpetuals, from the exchange's candles to every subscriber.

hamacast follows the live candles of Binance USD-M perpetuals, computes the HAMA
indicator of each contract, turns it into BUY, SELL or HOLD, and pushes every change
over WebSocket; REST has the same state, a browser shows it.

Start here, without network, Redis or keys:
  hamacast demo          then open http://127.0.0.1:5000
  hamacast tail          the same signals in a second terminal";

const AFTER_HELP: &str = "\
Settings:
  Every setting is an environment variable (HAMA_LISTEN) and a flag of serve (--listen).
  A flag beats the environment, that beats the file .env of the working directory, that
  beats the default. `hamacast config` shows each one in force and where it came from;
  `hamacast serve --help` explains each.

Exit codes:
  0  ok
  1  failed at run time
  2  wrong usage, settings or input file; all wrong settings are told at once
  3  not ready: healthcheck, and tail when nothing answers";

/// What was not allowed: exit code 2.
const EXIT_USAGE: u8 = 2;
/// Nothing answers, or says that it is not ready: exit code 3.
const EXIT_NOT_READY: u8 = 3;

#[derive(Debug, Parser)]
#[command(name = "hamacast", version, about = ABOUT, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything in one process on a simulated exchange: no network, no Redis, no keys
    Demo(demo::DemoArgs),
    /// Engine, hub, REST and dashboard in one process against Binance USD-M
    Serve(serve::ServeArgs),
    /// The engine alone; hubs meet it in Redis
    Engine(engine::EngineArgs),
    /// Feed, REST and dashboard for an engine elsewhere, through Redis
    Hub(hub::HubArgs),
    /// The simulated Binance USD-M exchange alone
    Exchange(Box<exchange::ExchangeArgs>),
    /// HAMA of a candle CSV: one row per candle
    Analyze(analyze::AnalyzeArgs),
    /// Live signal changes of a running server, a line each
    Tail(tail::TailArgs),
    /// Every setting in force and where it came from
    Config(config::ConfigArgs),
    /// Whether a running server is ready: exit code 0 or 3
    Healthcheck(healthcheck::HealthcheckArgs),
}

/// Runs the command the arguments name.
pub fn main() -> ExitCode {
    let sources = Sources::of_process();
    // A broken .env must not hide --help: it is told only when there is a command to run.
    let matches = command(sources.as_ref().ok()).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let sources = match sources {
        Ok(sources) => sources,
        Err(bad) => return refuse(&bad),
    };
    let arguments = matches.subcommand().map_or(&matches, |(_, its)| its);
    let done = match cli.command {
        Command::Demo(args) => demo::run(args, arguments, sources),
        Command::Serve(args) => serve::run(args, sources),
        Command::Engine(args) => engine::run(args, sources),
        Command::Hub(args) => hub::run(args, sources),
        Command::Exchange(args) => exchange::run(&args, arguments, &sources),
        Command::Analyze(args) => analyze::run(&args),
        Command::Tail(args) => tail::run(&args),
        Command::Config(args) => config::run(args, sources),
        Command::Healthcheck(args) => healthcheck::run(&args, &sources),
    };
    done.unwrap_or_else(|error| {
        eprintln!("hamacast: {error:#}");
        ExitCode::FAILURE
    })
}

/// The commands; an option that is a variable has the value of `.env` as its default, below the environment. An empty
/// variable counts as not set, as for settings.
fn command(sources: Option<&Sources>) -> clap::Command {
    let Some(sources) = sources else {
        return Cli::command();
    };
    Cli::command().mut_subcommands(|command| {
        command.mut_args(|mut arg| {
            let Some(name) = arg.get_env().and_then(|name| name.to_str()) else {
                return arg;
            };
            let said = |text: &&String| !text.trim().is_empty();
            let in_file = sources.dot_env.get(name).filter(said).cloned();
            if sources.environment.get(name).filter(said).is_none() {
                arg = arg.env(Resettable::Reset);
            }
            match in_file {
                Some(text) => arg.default_value(text),
                None => arg,
            }
        })
    })
}

/// The variables of command options.
fn option_variables() -> Vec<String> {
    let cli = Cli::command();
    let commands = cli.get_subcommands();
    let names = commands
        .flat_map(clap::Command::get_arguments)
        .filter_map(clap::Arg::get_env);
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// Tells every wrong setting.
fn refuse(bad: &[BadSetting]) -> ExitCode {
    for setting in bad {
        eprintln!("hamacast: {setting}");
    }
    ExitCode::from(EXIT_USAGE)
}

/// Tells what was wrong in what the user asked for.
fn usage(message: &str) -> ExitCode {
    eprintln!("hamacast: {message}");
    ExitCode::from(EXIT_USAGE)
}

/// Runs a command that talks to its end. The system's own look-up of a host name cannot be broken off, and a runtime that
/// is dropped waits for it, minutes perhaps where the name server is away: it is left behind instead.
fn run_to_end<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = runtime()?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(done)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    // The second caller finds it installed, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.enable_all().build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound_and_every_command_shows_an_example() {
        Cli::command().debug_assert();
        for command in Cli::command().get_subcommands() {
            let example = command.get_after_help().map(ToString::to_string);
            let name = command.get_name();
            let line = format!("hamacast {name}");
            assert!(example.is_some_and(|text| text.contains(&line)), "{name}");
        }
    }

    #[test]
    fn the_end_waits_for_no_thread_that_cannot_be_broken_off() {
        let (let_go, held) = std::sync::mpsc::channel::<()>();
        run_to_end(async {
            // As a look-up of a name does that nobody answers.
            let (begun, started) = tokio::sync::oneshot::channel();
            tokio::task::spawn_blocking(move || {
                let _ = begun.send(());
                let _ = held.recv();
            });
            started.await.unwrap();
        })
        .unwrap();
        let_go.send(()).unwrap(); // it is still held: the end came first
    }

    #[test]
    fn an_option_takes_its_value_from_the_file_below_the_flag() {
        let mut sources = Sources::default();
        let url = "http://10.0.0.1:1";
        sources
            .dot_env
            .insert("HAMA_URL".to_owned(), url.to_owned());
        let parsed = |line: &[&str]| {
            let matches = command(Some(&sources)).get_matches_from(line);
            let tail = matches.subcommand_matches("tail").unwrap();
            tail.get_one::<String>("url").cloned().unwrap()
        };
        assert_eq!(parsed(&["hamacast", "tail"]), url);
        assert_eq!(
            parsed(&["hamacast", "tail", "--url", "http://b"]),
            "http://b"
        );
    }
}
