//! `hamacast serve`: settings in, a running server out. What this version cannot keep stops the start.

use std::process::ExitCode;

use super::settings::{self, SettingFlags};
use crate::app;
use crate::config::{Sources, unsupported};

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
    let sources = sources.with_flags(args.flags.0);
    let config = match settings::load(&sources, &[]) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let bad = unsupported(&config);
    if !bad.is_empty() {
        return Ok(super::refuse(&bad));
    }
    super::logging::init(&config.log, &sources)?;
    super::run_to_end(app::serve(config))??;
    Ok(ExitCode::SUCCESS)
}
