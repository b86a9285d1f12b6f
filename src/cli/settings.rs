//! Settings on the command line: a flag for each line of the settings table that is no secret, and the way from what
//! was said to a checked `Config`. The flags are made from the table, so none can be missing or mean another thing.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::config::{Config, Sources, TABLE};

/// What the flags said, by name of the variable.
#[derive(Debug, Clone, Default)]
pub(super) struct SettingFlags(pub(super) BTreeMap<String, String>);

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        TABLE.iter().fold(command, |command, entry| {
            let Some(flag) = entry.flag() else {
                return command;
            };
            let default = match entry.default {
                "" => String::new(),
                default => format!(" [default: {default}]"),
            };
            let help = format!(
                "{}; {} [env: {}]{default}",
                entry.meaning, entry.allowed, entry.name
            );
            // Any text passes here: all wrong settings are told together, by `Config::load`.
            let arg = Arg::new(entry.name).long(flag).help(help);
            command.arg(arg.value_name("VALUE").allow_hyphen_values(true))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for entry in TABLE.iter().filter(|entry| !entry.secret) {
            if let Some(text) = matches.get_one::<String>(entry.name) {
                self.0.insert(entry.name.to_owned(), text.clone());
            }
        }
        Ok(())
    }
}

/// The settings, or the exit code after all wrong ones were told. Warns of variables nobody knows.
pub(super) fn load(
    sources: &Sources,
    defaults: &[(&'static str, &'static str)],
) -> Result<Config, ExitCode> {
    warn_of_unknown(sources);
    Config::load(sources, defaults).map_err(|bad| super::refuse(&bad))
}

/// Warns of variables nobody knows.
pub(super) fn warn_of_unknown(sources: &Sources) {
    for warning in sources.unknown_variables(&super::option_variables()) {
        eprintln!("hamacast: warning: {warning}");
    }
}
