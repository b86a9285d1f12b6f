//! Logs go to stderr, so that stdout holds what a command answers. Colour only on a terminal, and not with NO_COLOR.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat, Sources};

/// Starts logging for the rest of the process.
pub(super) fn init(log: &LogConfig, sources: &Sources) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.filter.value)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match log.format.value {
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
        LogFormat::Text => {
            let colour = std::io::stderr().is_terminal() && !sources.no_color();
            lines.with_ansi(colour).try_init()
        }
    };
    started.map_err(anyhow::Error::from_boxed)
}
