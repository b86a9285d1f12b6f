//! `hamacast engine`: the engine alone; hubs meet it in Redis.

use std::process::ExitCode;

use super::serve;
use super::settings::SettingFlags;
use crate::app::Rooms;
use crate::config::Sources;

const EXAMPLES: &str = "\
Examples:
  REDIS_HOST=127.0.0.1 hamacast engine --listen 127.0.0.1:5001
  REDIS_HOST=127.0.0.1 hamacast hub

Any number of engines may run: one is active, the others follow the exchange and take over within 6 s.
Serves /healthz, /readyz and /api/v1/status, nothing else.";

/// Arguments of `engine`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct EngineArgs {
    #[command(flatten)]
    flags: SettingFlags,
}

pub(super) fn run(args: EngineArgs, sources: Sources) -> anyhow::Result<ExitCode> {
    serve::start(args.flags, sources, Rooms::Engine)
}
