//! Reads every setting, in the order of the table, and checks those that must fit each other.

use std::path::PathBuf;

use super::parse;
use super::{
    AccessConfig, BadSetting, Config, ExchangeConfig, LimitsConfig, LogConfig, Reader, RedisConfig,
    SchedulerConfig, Setting, Source, Sources, WatchConfig,
};

/// None when one was refused: the reader knows which.
pub(super) fn config(reader: &mut Reader<'_>) -> Option<Config> {
    let listen = reader.required("HAMA_LISTEN", parse::from_str);
    let watch = watch(reader);
    let redis = redis(reader);
    let scheduler = scheduler(reader);
    let exchange = exchange(reader);
    let access = access(reader);
    let notify_file = reader.optional("HAMA_NOTIFY_FILE", parse::from_str::<PathBuf>);
    let log = log(reader);
    let result_interval_ms = reader.required("HAMA_RESULT_INTERVAL_MS", parse::number(10..=60_000));
    let limits = limits(reader);
    let drain_delay = reader.required("HAMA_DRAIN_DELAY", parse::duration(1, 0..=600));
    Some(Config {
        listen: listen?,
        watch: watch?,
        redis: redis?,
        scheduler: scheduler?,
        exchange: exchange?,
        access: access?,
        limits: limits?,
        notify_file: notify_file?,
        result_interval_ms: result_interval_ms?,
        drain_delay: drain_delay?,
        log: log?,
        rows: Vec::new(),
    })
}

fn watch(reader: &mut Reader<'_>) -> Option<WatchConfig> {
    let top = reader.required("HAMA_TOP", parse::number(1..=600));
    let symbols = reader.list("HAMA_SYMBOLS", parse::symbols);
    let intervals = reader.required("HAMA_INTERVALS", parse::intervals);
    let max_watched = reader.required("HAMA_MAX_WATCHED", parse::number(1..=2_000));
    let watch = WatchConfig {
        top: top?,
        symbols: symbols?,
        intervals: intervals?,
        max_watched: max_watched?,
    };
    let (least, why) = match watch.symbols.value.len() {
        0 => (watch.top.value, "HAMA_TOP"),
        listed => (listed, "the list in HAMA_SYMBOLS"),
    };
    let max = &watch.max_watched;
    if max.value < least {
        let words = format!("allowed: {least} to 2000 contracts, not fewer than {why}");
        let name = "HAMA_MAX_WATCHED";
        reader.refuse(name, name, &max.value.to_string(), max.source, &words);
        return None;
    }
    Some(watch)
}

fn redis(reader: &mut Reader<'_>) -> Option<RedisConfig> {
    let enabled = redis_enabled(reader);
    let host = reader.optional("REDIS_HOST", parse::host);
    let port = reader.required("REDIS_PORT", parse::number(1..=65_535));
    let db = reader.required("REDIS_DB", parse::number(0..=65_535));
    let password = reader.optional("REDIS_PASSWORD", parse::any_secret);
    let url = reader.optional("REDIS_URL", parse::secret_url(&["redis", "rediss"]));
    let cluster_nodes = reader.list("REDIS_CLUSTER_NODES", parse::cluster_nodes);
    let wait_replicas = reader.required("HAMA_REDIS_WAIT_REPLICAS", parse::number(0..=10));
    let cache_ttl = reader.required("HAMA_CACHE_TTL", parse::duration(1, 1..=604_800));
    let redis = RedisConfig {
        enabled: enabled?,
        host: host?,
        port: port?,
        db: db?,
        password: password?,
        url: url?,
        cluster_nodes: cluster_nodes?,
        wait_replicas: wait_replicas?,
        cache_ttl: cache_ttl?,
    };
    let somewhere = redis.host.value.is_some()
        || redis.url.value.is_some()
        || !redis.cluster_nodes.value.is_empty();
    if redis.enabled.value && !somewhere {
        let (name, source) = ("REDIS_ENABLED", redis.enabled.source);
        let words = "Redis is on, but nothing says where it is: set REDIS_HOST, REDIS_URL or \
                     REDIS_CLUSTER_NODES, or REDIS_ENABLED=false";
        reader.refuse(name, name, "true", source, words);
        return None;
    }
    Some(redis)
}

/// `REDIS_ENABLED`, or whether one of the settings that describe a Redis is given.
fn redis_enabled(reader: &mut Reader<'_>) -> Option<Setting<bool>> {
    const NAME: &str = "REDIS_ENABLED";
    const OTHERS: [&str; 6] = [
        "REDIS_HOST",
        "REDIS_PORT",
        "REDIS_DB",
        "REDIS_PASSWORD",
        "REDIS_URL",
        "REDIS_CLUSTER_NODES",
    ];
    if reader.sources.find(NAME).is_some() {
        return reader.required(NAME, parse::boolean);
    }
    let value = OTHERS
        .iter()
        .any(|name| reader.sources.find(name).is_some());
    reader.show(
        NAME,
        NAME,
        if value { "true" } else { "false" },
        Source::Default,
    );
    Some(Setting {
        value,
        source: Source::Default,
    })
}

fn scheduler(reader: &mut Reader<'_>) -> Option<SchedulerConfig> {
    let enabled = reader.required("HAMA_SCHEDULER_ENABLED", parse::boolean);
    let auto_start = reader.required("HAMA_SCHEDULER_AUTO_START", parse::boolean);
    let interval = reader.required("HAMA_SCHEDULER_INTERVAL", parse::whole_minutes);
    Some(SchedulerConfig {
        enabled: enabled?,
        auto_start: auto_start?,
        interval: interval?,
    })
}

fn exchange(reader: &mut Reader<'_>) -> Option<ExchangeConfig> {
    let rest_url = reader.required(
        "HAMA_BINANCE_REST_URL",
        parse::plain_url(&["http", "https"]),
    );
    let ws_url = reader.required("HAMA_BINANCE_WS_URL", parse::plain_url(&["ws", "wss"]));
    let proxy = reader.optional("PROXY_URL", parse::proxy_url);
    Some(ExchangeConfig {
        rest_url: rest_url?,
        ws_url: ws_url?,
        proxy: proxy?,
    })
}

fn access(reader: &mut Reader<'_>) -> Option<AccessConfig> {
    let admin_token = reader.optional("HAMA_ADMIN_TOKEN", parse::token);
    let api_keys = reader.list("HAMA_API_KEYS", parse::api_keys);
    let api_keys_file = reader.optional("HAMA_API_KEYS_FILE", parse::from_str::<PathBuf>);
    let allowed_origins = reader.list("HAMA_ALLOWED_ORIGINS", parse::origins);
    let trusted_proxies = reader.list("HAMA_TRUSTED_PROXIES", parse::networks);
    let internal_listen = reader.optional("HAMA_INTERNAL_LISTEN", parse::from_str);
    let base_path = reader.optional("HAMA_BASE_PATH", parse::base_path);
    Some(AccessConfig {
        admin_token: admin_token?,
        api_keys: api_keys?,
        api_keys_file: api_keys_file?,
        allowed_origins: allowed_origins?,
        trusted_proxies: trusted_proxies?,
        internal_listen: internal_listen?,
        base_path: base_path?,
    })
}

fn limits(reader: &mut Reader<'_>) -> Option<LimitsConfig> {
    let many = 1..=1_000_000;
    let max_connections = reader.required("HAMA_MAX_CONNECTIONS", parse::number(many.clone()));
    let max_connections_per_ip =
        reader.required("HAMA_MAX_CONNECTIONS_PER_IP", parse::number(many));
    let accept_rate = reader.required("HAMA_ACCEPT_RATE", parse::number(1..=1_000_000));
    let max_streams = reader.required("HAMA_MAX_STREAMS", parse::number(1..=100_000));
    let client_messages_per_s =
        reader.required("HAMA_CLIENT_MESSAGES_PER_S", parse::number(1..=10_000));
    let slow_bytes = reader.required("HAMA_SLOW_BYTES", parse::number(1_024..=1_073_741_824));
    let queue_total_mb = reader.required("HAMA_QUEUE_TOTAL_MB", parse::number(1..=65_536));
    let replay_max = reader.required("HAMA_REPLAY_MAX", parse::number(1..=100_000));
    Some(LimitsConfig {
        max_connections: max_connections?,
        max_connections_per_ip: max_connections_per_ip?,
        accept_rate: accept_rate?,
        max_streams: max_streams?,
        client_messages_per_s: client_messages_per_s?,
        slow_bytes: slow_bytes?,
        queue_total_mb: queue_total_mb?,
        replay_max: replay_max?,
    })
}

impl LogConfig {
    /// Reads the settings of logging alone: for a command that has no others.
    ///
    /// # Errors
    /// Those that are not allowed.
    pub fn load(sources: &Sources) -> Result<Self, Vec<BadSetting>> {
        let mut reader = Reader::of(sources, &[]);
        log(&mut reader).ok_or(reader.bad)
    }
}

fn log(reader: &mut Reader<'_>) -> Option<LogConfig> {
    let filter = reader.required("HAMA_LOG", parse::log_filter);
    let format = reader.required("HAMA_LOG_FORMAT", parse::log_format);
    Some(LogConfig {
        filter: filter?,
        format: format?,
    })
}
