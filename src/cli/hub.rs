//! `hamacast hub`: feed, REST and page for an engine elsewhere.

use std::process::ExitCode;

use super::serve;
use super::settings::SettingFlags;
use crate::app::Rooms;
use crate::config::Sources;

const EXAMPLES: &str = "\
Examples:
  REDIS_HOST=127.0.0.1 hamacast hub
  REDIS_URL=redis://:password@db:6379/0 hamacast hub --listen 127.0.0.1:5002

Any number of hubs may run; a reader may go on at any of them with its cursor. HAMA_INTERVALS must be the engine's.";

/// Arguments of `hub`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct HubArgs {
    #[command(flatten)]
    flags: SettingFlags,
}

pub(super) fn run(args: HubArgs, sources: Sources) -> anyhow::Result<ExitCode> {
    serve::start(args.flags, sources, Rooms::Hub)
}
