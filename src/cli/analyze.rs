//! `hamacast analyze FILE` (under construction).

use std::process::ExitCode;

/// Arguments of `analyze`.
#[derive(Debug, clap::Args)]
pub(super) struct AnalyzeArgs {}

pub(super) fn run(_args: &AnalyzeArgs) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
