//! Settings: each knows its value and where it came from. All are read before any is refused, so that one start shows
//! every bad one. The table (`table`) is the only list of names and defaults; flags and documents are made from it.
//! No room imports this one: `app` hands each its own small struct.

mod parse;
mod read;
mod sources;
mod table;
#[cfg(test)]
mod tests;
mod unsupported;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use sources::{PROXY_NAMES, Source, Sources};
pub use table::{Entry, TABLE, markdown_table};
pub use unsupported::{Server, missing, unsupported};

use crate::market::{Interval, Symbol};

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting<T> {
    /// What holds.
    pub value: T,
    /// Who said so.
    pub source: Source,
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The text itself, for the one who must use it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A key that opens REST and WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Whose it is; may be logged.
    pub name: String,
    /// The key.
    pub key: Secret,
}

/// A network: all addresses that share the first `prefix_len` bits with `address`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Any address in it.
    pub address: IpAddr,
    /// How many leading bits count.
    pub prefix_len: u8,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// All settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// `HAMA_LISTEN`: address of HTTP, WebSocket and dashboard.
    pub listen: Setting<SocketAddr>,
    /// What is watched.
    pub watch: WatchConfig,
    /// Redis.
    pub redis: RedisConfig,
    /// The engine's scheduler.
    pub scheduler: SchedulerConfig,
    /// The exchange and the way to it.
    pub exchange: ExchangeConfig,
    /// Who may do what.
    pub access: AccessConfig,
    /// Limits of the feed.
    pub limits: LimitsConfig,
    /// `HAMA_NOTIFY_FILE`: webhook targets.
    pub notify_file: Setting<Option<PathBuf>>,
    /// `HAMA_RESULT_INTERVAL_MS`.
    pub result_interval_ms: Setting<u64>,
    /// `HAMA_DRAIN_DELAY`: how long the stop still accepts.
    pub drain_delay: Setting<Duration>,
    /// Logging.
    pub log: LogConfig,
    rows: Vec<Row>,
}

/// What is watched.
#[derive(Debug, Clone)]
pub struct WatchConfig {
    /// `HAMA_TOP`: how many contracts, by 24 h quote volume.
    pub top: Setting<usize>,
    /// `HAMA_SYMBOLS`: an explicit list instead; empty: none.
    pub symbols: Setting<Vec<Symbol>>,
    /// `HAMA_INTERVALS`: never empty, no doubles; the first is the primary one.
    pub intervals: Setting<Vec<Interval>>,
    /// `HAMA_MAX_WATCHED`: upper bound with what clients asked for; at least `top` and the list's length.
    pub max_watched: Setting<usize>,
}

/// Redis.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// `REDIS_ENABLED`; when not given: whether one of the others is.
    pub enabled: Setting<bool>,
    /// `REDIS_HOST`.
    pub host: Setting<Option<String>>,
    /// `REDIS_PORT`.
    pub port: Setting<u16>,
    /// `REDIS_DB`.
    pub db: Setting<u16>,
    /// `REDIS_PASSWORD`.
    pub password: Setting<Option<Secret>>,
    /// `REDIS_URL`: wins over the four above.
    pub url: Setting<Option<Secret>>,
    /// `REDIS_CLUSTER_NODES`: `host:port` each; empty: no cluster.
    pub cluster_nodes: Setting<Vec<String>>,
    /// `HAMA_REDIS_WAIT_REPLICAS`.
    pub wait_replicas: Setting<u8>,
    /// `HAMA_CACHE_TTL`: whole seconds.
    pub cache_ttl: Setting<Duration>,
}

/// The engine's scheduler.
#[derive(Debug, Clone)]
pub struct SchedulerConfig {
    /// `HAMA_SCHEDULER_ENABLED`: whether there is an engine at all.
    pub enabled: Setting<bool>,
    /// `HAMA_SCHEDULER_AUTO_START`: whether it starts by itself.
    pub auto_start: Setting<bool>,
    /// `HAMA_SCHEDULER_INTERVAL`: time between full sweeps, whole minutes.
    pub interval: Setting<Duration>,
}

/// The exchange and the way to it.
#[derive(Debug, Clone)]
pub struct ExchangeConfig {
    /// `HAMA_BINANCE_REST_URL`, without a `/` at its end.
    pub rest_url: Setting<String>,
    /// `HAMA_BINANCE_WS_URL`, without a `/` at its end.
    pub ws_url: Setting<String>,
    /// `PROXY_URL`, else `ALL_PROXY`, else `HTTPS_PROXY`.
    pub proxy: Setting<Option<Secret>>,
}

/// Who may do what.
#[derive(Debug, Clone)]
pub struct AccessConfig {
    /// `HAMA_ADMIN_TOKEN`: bearer of calls that change something; none: loopback only.
    pub admin_token: Setting<Option<Secret>>,
    /// `HAMA_API_KEYS`: empty: none wanted.
    pub api_keys: Setting<Vec<ApiKey>>,
    /// `HAMA_API_KEYS_FILE`.
    pub api_keys_file: Setting<Option<PathBuf>>,
    /// `HAMA_ALLOWED_ORIGINS`: as a browser writes them, or `*`; empty: same origin.
    pub allowed_origins: Setting<Vec<String>>,
    /// `HAMA_TRUSTED_PROXIES`.
    pub trusted_proxies: Setting<Vec<Network>>,
    /// `HAMA_INTERNAL_LISTEN`.
    pub internal_listen: Setting<Option<SocketAddr>>,
    /// `HAMA_BASE_PATH`: begins with `/`, does not end with it.
    pub base_path: Setting<Option<String>>,
}

/// Limits of the feed.
#[derive(Debug, Clone)]
pub struct LimitsConfig {
    /// `HAMA_MAX_CONNECTIONS`.
    pub max_connections: Setting<usize>,
    /// `HAMA_MAX_CONNECTIONS_PER_IP`.
    pub max_connections_per_ip: Setting<usize>,
    /// `HAMA_ACCEPT_RATE`: per second.
    pub accept_rate: Setting<u32>,
    /// `HAMA_MAX_STREAMS`: per connection.
    pub max_streams: Setting<usize>,
    /// `HAMA_CLIENT_MESSAGES_PER_S`.
    pub client_messages_per_s: Setting<u32>,
    /// `HAMA_SLOW_BYTES`: unsent changes per reader.
    pub slow_bytes: Setting<usize>,
    /// `HAMA_QUEUE_TOTAL_MB`: MiB, all readers together.
    pub queue_total_mb: Setting<usize>,
    /// `HAMA_REPLAY_MAX`: changes one resume may replay.
    pub replay_max: Setting<usize>,
}

/// Logging.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// `HAMA_LOG`: a filter that parses.
    pub filter: Setting<String>,
    /// `HAMA_LOG_FORMAT`.
    pub format: Setting<LogFormat>,
}

/// A setting as `hamacast config` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The setting.
    pub name: &'static str,
    /// The variable it was found in: of `PROXY_URL` it may be another program's.
    pub variable: &'static str,
    /// Its text; `***` for a secret, empty for none; a proxy without its login.
    pub value: String,
    /// Who said so.
    pub source: Source,
}

/// A setting that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadSetting {
    /// The variable as it was found.
    pub variable: String,
    /// Its text, cut; `***` for a secret.
    pub value: String,
    /// Where it stands.
    pub source: Source,
    /// What is allowed, or what to do.
    pub allowed: String,
}

impl BadSetting {
    pub(crate) fn new(variable: &str, value: &str, source: Source, allowed: &str) -> Self {
        Self {
            variable: variable.to_owned(),
            value: parse::shortened(value),
            source,
            allowed: allowed.to_owned(),
        }
    }
}

impl fmt::Display for BadSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            variable,
            value,
            source,
            allowed,
        } = self;
        match value.as_str() {
            "" => write!(f, "{variable} ({source}): {allowed}"),
            _ => write!(f, "{variable}='{value}' ({source}): {allowed}"),
        }
    }
}

impl Config {
    /// Reads every setting from `sources`. `defaults` replaces defaults of the table, by name.
    ///
    /// # Errors
    /// All settings that are not allowed, in the order of the table.
    pub fn load(
        sources: &Sources,
        defaults: &[(&'static str, &'static str)],
    ) -> Result<Self, Vec<BadSetting>> {
        let mut reader = Reader::of(sources, defaults);
        let config = read::config(&mut reader);
        match config {
            Some(config) if reader.bad.is_empty() => Ok(Self {
                rows: reader.rows,
                ..config
            }),
            _ => Err(reader.bad),
        }
    }

    /// Every setting in force, in the order of the table.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The variable in which the proxy was found; `PROXY_URL` when there is none.
    pub fn proxy_variable(&self) -> &'static str {
        let row = self.rows.iter().find(|row| row.name == PROXY_NAMES[0]);
        row.map_or(PROXY_NAMES[0], |row| row.variable)
    }
}

struct Reader<'a> {
    sources: &'a Sources,
    defaults: &'a [(&'static str, &'static str)],
    rows: Vec<Row>,
    bad: Vec<BadSetting>,
}

impl<'a> Reader<'a> {
    fn of(sources: &'a Sources, defaults: &'a [(&'static str, &'static str)]) -> Self {
        Self {
            sources,
            defaults,
            rows: Vec::new(),
            bad: Vec::new(),
        }
    }

    /// The value of a setting that always has one. None: it was refused, and `bad` says why.
    fn required<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> parse::Parsed<T>,
    ) -> Option<Setting<T>> {
        let (found, text, source) = self.said(name);
        self.parsed(name, found, &text, source, parse)
    }

    /// The value of a setting that may have none.
    fn optional<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> parse::Parsed<T>,
    ) -> Option<Setting<Option<T>>> {
        let (found, text, source) = self.said(name);
        if text.is_empty() {
            self.show(name, found, "", source);
            return Some(Setting {
                value: None,
                source,
            });
        }
        let Setting { value, source } = self.parsed(name, found, &text, source, parse)?;
        Some(Setting {
            value: Some(value),
            source,
        })
    }

    /// The values of a list that may be empty.
    fn list<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> parse::Parsed<Vec<T>>,
    ) -> Option<Setting<Vec<T>>> {
        let Setting { value, source } = self.optional(name, parse)?;
        Some(Setting {
            value: value.unwrap_or_default(),
            source,
        })
    }

    fn said(&self, name: &'static str) -> (&'static str, String, Source) {
        if let Some((found, text, source)) = self.sources.find(name) {
            return (found, text.trim().to_owned(), source);
        }
        let replaced = self.defaults.iter().find(|(known, _)| *known == name);
        let default = match replaced {
            Some((_, default)) => default,
            None => table::entry(name).map_or("", |entry| entry.default),
        };
        (name, default.to_owned(), Source::Default)
    }

    fn parsed<T>(
        &mut self,
        name: &'static str,
        found: &'static str,
        text: &str,
        source: Source,
        parse: impl Fn(&str) -> parse::Parsed<T>,
    ) -> Option<Setting<T>> {
        match parse(text) {
            Ok(value) => {
                self.show(name, found, text, source);
                Some(Setting { value, source })
            }
            Err(why) => {
                let allowed = table::entry(name).map_or("", |entry| entry.allowed);
                let words = match why.as_str() {
                    "" => format!("allowed: {allowed}"),
                    _ => format!("{why}; allowed: {allowed}"),
                };
                self.refuse(name, found, text, source, &words);
                None
            }
        }
    }

    fn refuse(&mut self, name: &str, found: &str, text: &str, source: Source, words: &str) {
        let hidden = table::entry(name).is_none_or(|entry| entry.secret);
        let shown = parse::masked(text);
        let text = if hidden { "***" } else { &shown };
        self.bad.push(BadSetting::new(found, text, source, words));
    }

    fn show(&mut self, name: &'static str, variable: &'static str, text: &str, source: Source) {
        let hidden = table::entry(name).is_none_or(|entry| entry.secret);
        let value = match text {
            "" => String::new(),
            text if name == PROXY_NAMES[0] => parse::without_login(text),
            _ if hidden => "***".to_owned(),
            text => text.to_owned(),
        };
        self.rows.push(Row {
            name,
            variable,
            value,
            source,
        });
    }
}
