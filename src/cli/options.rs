//! Options of a command that are no settings of the server. They are taken as text and read here, so that all wrong ones are
//! told together, each with its variable, where it stands and what is allowed, as settings are.

use std::collections::BTreeMap;
use std::str::FromStr;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory};

use crate::config::{BadSetting, Source, Sources};

/// What is allowed of an address.
pub(super) const ADDRESS: &str =
    "an IP address and a port such as 127.0.0.1:5100 (port 0: a free one)";
/// What is allowed of a seed.
pub(super) const SEED: &str = "0 to 18446744073709551615";

/// What was said of the options of one command.
pub(super) struct Options<'a> {
    arguments: &'a ArgMatches,
    sources: &'a Sources,
    variables: BTreeMap<String, String>,
    bad: Vec<BadSetting>,
}

impl<'a> Options<'a> {
    pub(super) fn of(command: &str, arguments: &'a ArgMatches, sources: &'a Sources) -> Self {
        let cli = super::Cli::command();
        let arguments_of = cli.find_subcommand(command).into_iter();
        let variables = arguments_of
            .flat_map(clap::Command::get_arguments)
            .filter_map(|arg| {
                let variable = arg.get_env()?.to_string_lossy().into_owned();
                Some((arg.get_id().as_str().to_owned(), variable))
            });
        Self {
            arguments,
            sources,
            variables: variables.collect(),
            bad: Vec::new(),
        }
    }

    /// The value of the option `id`; `None`: it was refused.
    pub(super) fn read<T>(
        &mut self,
        id: &str,
        text: &str,
        allowed: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let value = read(text.trim());
        if value.is_none() {
            self.refuse(id, text, &format!("allowed: {allowed}"));
        }
        value
    }

    /// The same of one that may not be given.
    pub(super) fn read_some<T>(
        &mut self,
        id: &str,
        text: Option<&str>,
        allowed: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        self.read(id, text?, allowed, read)
    }

    /// The value of an option that reads itself; `other` when it was refused.
    pub(super) fn parsed<T: FromStr>(
        &mut self,
        id: &str,
        text: &str,
        allowed: &str,
        other: T,
    ) -> T {
        let read = self.read(id, text, allowed, |text| text.parse().ok());
        read.unwrap_or(other)
    }

    /// Refuses what was said of `id`, with these words.
    pub(super) fn refuse(&mut self, id: &str, shown: &str, words: &str) {
        let variable = self.variables.get(id).map_or(id, String::as_str);
        let is_in_file = || self.sources.dot_env.contains_key(variable);
        let source = match self.arguments.value_source(id) {
            Some(ValueSource::CommandLine) => Source::Flag,
            Some(ValueSource::EnvVariable) => Source::Environment,
            Some(_) | None if is_in_file() => Source::DotEnv,
            Some(_) | None => Source::Default,
        };
        let bad = BadSetting::new(variable, shown, source, words);
        self.bad.push(bad);
    }

    /// Those that were refused.
    pub(super) fn into_bad(self) -> Vec<BadSetting> {
        self.bad
    }
}
