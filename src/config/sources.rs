//! Where settings come from: flags, then the environment, then `.env`, then the default. The only reader of the
//! environment; `.env` (of the working directory alone) is read beside it and never written into it.
//! An empty value counts as not set, so that `NAME=` in a compose file says "the default".

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use super::BadSetting;
use super::table::TABLE;

/// Which of the four places a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The command line.
    Flag,
    /// The process environment.
    Environment,
    /// The file `.env` in the working directory.
    DotEnv,
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::DotEnv => ".env",
            Self::Default => "default",
        })
    }
}

/// Everything that was said about settings, by place; unparsed. Keys are names of variables, flags' too.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// From the command line.
    pub flags: BTreeMap<String, String>,
    /// From the process environment.
    pub environment: BTreeMap<String, String>,
    /// From `.env`.
    pub dot_env: BTreeMap<String, String>,
}

/// `PROXY_URL` and the variables of other programs that mean the same, strongest first.
pub const PROXY_NAMES: [&str; 5] = [
    "PROXY_URL",
    "ALL_PROXY",
    "all_proxy",
    "HTTPS_PROXY",
    "https_proxy",
];

impl Sources {
    /// What this process was given: its environment and the `.env` of its working directory, without flags.
    ///
    /// # Errors
    /// A line for each unreadable line of `.env` and each setting that is not UTF-8.
    pub fn of_process() -> Result<Self, Vec<BadSetting>> {
        let mut bad = Vec::new();
        #[expect(clippy::disallowed_methods, reason = "this is the one place")]
        let environment = std::env::vars_os();
        let environment = readable(environment, &mut bad);
        let dot_env = read_dot_env(Path::new(".env"), &mut bad);
        if !bad.is_empty() {
            return Err(bad);
        }
        Ok(Self {
            flags: BTreeMap::new(),
            environment,
            dot_env,
        })
    }

    /// The same with what the command line said.
    #[must_use]
    pub fn with_flags(mut self, flags: BTreeMap<String, String>) -> Self {
        self.flags = flags;
        self
    }

    /// The same without anything said about `names`.
    #[must_use]
    pub fn without(mut self, names: &[&str]) -> Self {
        for said in [&mut self.flags, &mut self.environment, &mut self.dot_env] {
            said.retain(|name, _| !names.contains(&name.as_str()));
        }
        self
    }

    /// Whether the user asked for output without colour (no-color.org).
    pub fn no_color(&self) -> bool {
        self.environment
            .get("NO_COLOR")
            .is_some_and(|value| !value.is_empty())
    }

    /// The strongest text for `name`, with the name it was found under and its place.
    pub(super) fn find(&self, name: &'static str) -> Option<(&'static str, &str, Source)> {
        let names: &[&'static str] = if name == PROXY_NAMES[0] {
            &PROXY_NAMES
        } else {
            &[name]
        };
        names.iter().find_map(|name| {
            self.places().into_iter().find_map(|(said, source)| {
                let text = said.get(*name).filter(|text| !text.trim().is_empty())?;
                Some((*name, text.as_str(), source))
            })
        })
    }

    fn places(&self) -> [(&BTreeMap<String, String>, Source); 3] {
        [
            (&self.flags, Source::Flag),
            (&self.environment, Source::Environment),
            (&self.dot_env, Source::DotEnv),
        ]
    }

    /// A warning for each `HAMA_` or `REDIS_` variable nobody knows: not in the table, not in `options` (the variables
    /// of command options).
    pub fn unknown_variables(&self, options: &[String]) -> Vec<String> {
        let known = || {
            TABLE
                .iter()
                .map(|entry| entry.name)
                .chain(options.iter().map(String::as_str))
        };
        let mut warnings = Vec::new();
        for (said, source) in self.places() {
            for name in said.keys() {
                let ours = name.starts_with("HAMA_") || name.starts_with("REDIS_");
                if !ours || known().any(|known| known == name) {
                    continue;
                }
                let hint = match nearest(name, known()) {
                    Some(near) => format!("; did you mean {near}?"),
                    None => "; `hamacast config` lists all".to_owned(),
                };
                warnings.push(format!("{name} ({source}) is no setting{hint}"));
            }
        }
        warnings
    }
}

/// Whether a variable may be a setting. A proxy's that cannot be read must not pass for none: that would be a connection
/// past it (hazard 31).
fn is_read(name: &str) -> bool {
    name.starts_with("HAMA_") || name.starts_with("REDIS_") || PROXY_NAMES.contains(&name)
}

pub(super) fn readable(
    variables: impl Iterator<Item = (OsString, OsString)>,
    bad: &mut Vec<BadSetting>,
) -> BTreeMap<String, String> {
    let mut map = BTreeMap::new();
    for (name, value) in variables {
        let Ok(name) = name.into_string() else {
            continue; // no setting of ours
        };
        match value.into_string() {
            Ok(value) => {
                map.insert(name, value);
            }
            Err(_) if is_read(&name) => {
                bad.push(BadSetting::new(
                    &name,
                    "***",
                    Source::Environment,
                    "allowed: UTF-8 text",
                ));
            }
            Err(_) => {}
        }
    }
    map
}

fn read_dot_env(path: &Path, bad: &mut Vec<BadSetting>) -> BTreeMap<String, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse_dot_env(&text, bad),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
        Err(error) => {
            let allowed = format!("allowed: a readable text file, or none ({error})");
            bad.push(BadSetting::new("the file", "", Source::DotEnv, &allowed));
            BTreeMap::new()
        }
    }
}

/// The lines of a `.env`; of a name given twice the last holds, as for a shell. The text of a bad line is not
/// repeated: it may be a password.
pub(super) fn parse_dot_env(text: &str, bad: &mut Vec<BadSetting>) -> BTreeMap<String, String> {
    let text = text.trim_start_matches('\u{feff}');
    let mut map = BTreeMap::new();
    for item in dotenvy::from_read_iter(text.as_bytes()) {
        match item {
            Ok((name, value)) => {
                map.insert(name, value);
            }
            Err(error) => {
                let place = if let dotenvy::Error::LineParse(line, _) = &error {
                    line_number(text, line)
                } else {
                    "a line".to_owned()
                };
                let allowed =
                    "allowed: NAME=value, with quotes around a value that has spaces, # or quotes";
                bad.push(BadSetting::new(&place, "", Source::DotEnv, allowed));
            }
        }
    }
    map
}

fn line_number(text: &str, line: &str) -> String {
    let first = line.lines().next().unwrap_or(line);
    text.lines()
        .position(|candidate| candidate.trim() == first.trim())
        .map_or_else(|| "a line".to_owned(), |at| format!("line {}", at + 1))
}

/// The known name nearest to `name`, if it is near enough to be meant: a quarter of its letters may differ.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, near) = known
        .map(|known| (edit_distance(name, known), known))
        .min_by_key(|(distance, _)| *distance)?;
    (distance <= name.len() / 4).then_some(near)
}

/// Levenshtein's: how many letters must be put in, taken out or replaced.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
