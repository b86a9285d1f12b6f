//! Settings this version knows but does not serve yet. Ignoring one in silence would open a door (keys) or break a
//! promise (webhooks): the start is refused instead.

use super::{BadSetting, Config, Source};

/// What to do instead, where the setting is a key.
const WITHOUT_KEYS: &str =
    "unset it and keep the address private; without keys everybody who reaches it may read";

/// A line for each setting in force that this version cannot keep.
pub fn unsupported(config: &Config) -> Vec<BadSetting> {
    let mut refusals = Refusals(Vec::new());
    outward(config, &mut refusals);
    inward(config, &mut refusals);
    refusals.0
}

/// Which server a command starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// Engine and hub in one.
    Whole,
    /// One of the two.
    Half,
}

/// A line for each setting that the rooms of a command need and that is missing: an engine and a hub apart from each
/// other meet in Redis, and a server without an engine has nothing else to show.
pub fn missing(config: &Config, server: Server) -> Vec<BadSetting> {
    let redis = &config.redis.enabled;
    let enabled = &config.scheduler.enabled;
    if redis.value || (server == Server::Whole && enabled.value) {
        return Vec::new();
    }
    if server == Server::Whole {
        let words =
            "a server without an engine needs Redis: set REDIS_HOST or REDIS_URL, or unset it";
        let bad = BadSetting::new("HAMA_SCHEDULER_ENABLED", "false", enabled.source, words);
        return vec![bad];
    }
    let words = "engine and hub meet in Redis: set REDIS_HOST or REDIS_URL";
    vec![BadSetting::new(
        "REDIS_ENABLED",
        "false",
        redis.source,
        words,
    )]
}

struct Refusals(Vec<BadSetting>);

impl Refusals {
    fn add(&mut self, variable: &str, value: &str, source: Source, instead: &str) {
        let words = format!("not in this version yet: {instead}");
        self.0
            .push(BadSetting::new(variable, value, source, &words));
    }
}

/// Redis, webhooks.
fn outward(config: &Config, refusals: &mut Refusals) {
    let redis = &config.redis;
    let nodes = &redis.cluster_nodes;
    if redis.enabled.value && !nodes.value.is_empty() {
        let instead = "set REDIS_HOST or REDIS_URL to one Redis";
        refusals.add(
            "REDIS_CLUSTER_NODES",
            &nodes.value.join(","),
            nodes.source,
            instead,
        );
    }
    let notify = &config.notify_file;
    if let Some(path) = &notify.value {
        let instead = "unset it; no webhook would be sent";
        refusals.add(
            "HAMA_NOTIFY_FILE",
            &path.to_string_lossy(),
            notify.source,
            instead,
        );
    }
}

/// Who may come in, and where.
fn inward(config: &Config, refusals: &mut Refusals) {
    let access = &config.access;
    if !access.api_keys.value.is_empty() {
        refusals.add("HAMA_API_KEYS", "***", access.api_keys.source, WITHOUT_KEYS);
    }
    let file = &access.api_keys_file;
    if let Some(path) = &file.value {
        refusals.add(
            "HAMA_API_KEYS_FILE",
            &path.to_string_lossy(),
            file.source,
            WITHOUT_KEYS,
        );
    }
    let internal = &access.internal_listen;
    if let Some(address) = &internal.value {
        let instead = "unset it; metrics and admin calls are on HAMA_LISTEN";
        refusals.add(
            "HAMA_INTERNAL_LISTEN",
            &address.to_string(),
            internal.source,
            instead,
        );
    }
    let base = &access.base_path;
    if let Some(path) = &base.value {
        let instead = "unset it and give the program a host name of its own behind the proxy";
        refusals.add("HAMA_BASE_PATH", path, base.source, instead);
    }
}
