//! `hamacast serve`, and what `engine` and `hub` share with it: settings in, a running server out. What this version
//! cannot keep stops the start.

use std::process::ExitCode;

use super::settings::{self, SettingFlags};
use crate::app::{self, Rooms};
use crate::config::{Server, Sources, missing, unsupported};

const EXAMPLES: &str = "\
Examples:
  hamacast serve
  hamacast serve --symbols BTCUSDT,ETHUSDT --intervals 15m,1h --listen 127.0.0.1:8080
  HAMA_BINANCE_REST_URL=http://127.0.0.1:5100 HAMA_BINANCE_WS_URL=ws://127.0.0.1:5100 hamacast serve

Prints one line to stdout when it accepts: listening on http://127.0.0.1:5000
Secrets (REDIS_PASSWORD, REDIS_URL, PROXY_URL, HAMA_ADMIN_TOKEN, HAMA_API_KEYS) have no flag: every user of a machine
can read the flags of its processes.";

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    flags: SettingFlags,
}

pub(super) fn run(args: ServeArgs, sources: Sources) -> anyhow::Result<ExitCode> {
    start(args.flags, sources, Rooms::All)
}

/// Starts a server with these rooms and runs it to its end.
pub(super) fn start(
    flags: SettingFlags,
    sources: Sources,
    rooms: Rooms,
) -> anyhow::Result<ExitCode> {
    let sources = sources.with_flags(flags.0);
    let config = match settings::load(&sources, &[]) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let server = match rooms {
        Rooms::All => Server::Whole,
        Rooms::Engine | Rooms::Hub => Server::Half,
    };
    let mut bad = unsupported(&config);
    bad.extend(missing(&config, server));
    if !bad.is_empty() {
        return Ok(super::refuse(&bad));
    }
    if let Err(error) = app::redis_settings(&config) {
        return Ok(super::usage(&error.to_string()));
    }
    if let Err(error) = app::proxy(&config) {
        let variable = config.proxy_variable();
        return Ok(super::usage(&format!("{variable}: {error}")));
    }
    super::logging::init(&config.log, &sources)?;
    super::run_to_end(app::serve(config, rooms))??;
    Ok(ExitCode::SUCCESS)
}
