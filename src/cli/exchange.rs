//! `hamacast exchange` (under construction).

use std::process::ExitCode;

/// Arguments of `exchange`.
#[derive(Debug, clap::Args)]
pub(super) struct ExchangeArgs {}

pub(super) fn run(_args: ExchangeArgs) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
