//! The table of settings: name, default, what is allowed, what it means. Flags, `hamacast config`, the README and the
//! error lines are all made from it, so that none of them can drift. How a text becomes a value is `parse`'s matter.

/// One setting as a user meets it.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The environment variable.
    pub name: &'static str,
    /// What holds when nobody says otherwise; empty: none.
    pub default: &'static str,
    /// What may be written, in words.
    pub allowed: &'static str,
    /// What it does.
    pub meaning: &'static str,
    /// Whether its value is never shown and has no flag (flags are visible to every user of the machine).
    pub secret: bool,
}

const fn plain(
    name: &'static str,
    default: &'static str,
    allowed: &'static str,
    meaning: &'static str,
) -> Entry {
    Entry {
        name,
        default,
        allowed,
        meaning,
        secret: false,
    }
}

const fn secret(name: &'static str, allowed: &'static str, meaning: &'static str) -> Entry {
    Entry {
        name,
        default: "",
        allowed,
        meaning,
        secret: true,
    }
}

const ON_OFF: &str = "true or false (also 1, 0, yes, no, on, off)";

/// Every setting, in the order of the README.
pub const TABLE: &[Entry] = &[
    plain(
        "HAMA_LISTEN",
        "127.0.0.1:5000",
        "an IP address and a port such as 127.0.0.1:5000 or [::]:5000 (port 0: a free one)",
        "address of HTTP, WebSocket and dashboard (the Docker image: 0.0.0.0:5000)",
    ),
    plain(
        "HAMA_TOP",
        "125",
        "1 to 600 contracts",
        "how many USDT perpetuals to watch, by 24 h quote volume, re-ranked hourly",
    ),
    plain(
        "HAMA_SYMBOLS",
        "",
        "contracts separated by commas, none twice, such as BTCUSDT,ETHUSDT",
        "an explicit list to watch instead: any trading perpetual, whatever its quote asset",
    ),
    plain(
        "HAMA_INTERVALS",
        "15m",
        "intervals separated by commas, none twice: 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M",
        "candle intervals; the first is the primary one (demo: 15m,1h,4h)",
    ),
    plain(
        "HAMA_MAX_WATCHED",
        "600",
        "1 to 2000 contracts, not fewer than HAMA_TOP or the list in HAMA_SYMBOLS",
        "upper bound of watched contracts, with those clients asked for on demand",
    ),
    plain(
        "REDIS_ENABLED",
        "",
        ON_OFF,
        "whether Redis is used: on by itself when one of the REDIS_ settings below is set; false: memory only",
    ),
    plain(
        "REDIS_HOST",
        "",
        "a host name or IP address, without a port",
        "one Redis",
    ),
    plain("REDIS_PORT", "6379", "1 to 65535", "its port"),
    plain("REDIS_DB", "0", "0 to 65535", "its database"),
    secret("REDIS_PASSWORD", "any text", "its password"),
    secret(
        "REDIS_URL",
        "a URL such as redis://host:6379/0 or rediss://user:password@host:6379/0",
        "one Redis, TLS and user included; wins over the four above",
    ),
    plain(
        "REDIS_CLUSTER_NODES",
        "",
        "host:port pairs separated by commas",
        "a Redis Cluster",
    ),
    plain(
        "HAMA_REDIS_WAIT_REPLICAS",
        "0",
        "0 to 10 replicas",
        "how many replicas must have a signal change before it is sent",
    ),
    plain(
        "HAMA_CACHE_TTL",
        "300",
        "1 second to 7 days: 300, 300s, 5m",
        "how long a cached result lives in Redis; a bare number is seconds",
    ),
    plain(
        "HAMA_SCHEDULER_ENABLED",
        "true",
        ON_OFF,
        "whether serve has an engine at all",
    ),
    plain(
        "HAMA_SCHEDULER_AUTO_START",
        "true",
        ON_OFF,
        "whether the engine starts by itself (else it waits for scheduler/start)",
    ),
    plain(
        "HAMA_SCHEDULER_INTERVAL",
        "5",
        "1 minute to 1 day, whole minutes: 5, 5m, 300s",
        "time between full sweeps; a bare number is minutes",
    ),
    plain(
        "HAMA_BINANCE_REST_URL",
        "https://fapi.binance.com",
        "an http:// or https:// URL without user, query or fragment",
        "the exchange's REST, or the simulator's",
    ),
    plain(
        "HAMA_BINANCE_WS_URL",
        "wss://fstream.binance.com",
        "a ws:// or wss:// URL without user, query or fragment",
        "the exchange's streams, or the simulator's; /market/stream is appended",
    ),
    secret(
        "PROXY_URL",
        "a URL such as http://host:3128 or socks5h://user:password@host:1080 (also socks5://, which means the same)",
        "proxy to the exchange for REST and WebSocket alike, names resolved there, never bypassed (NO_PROXY is not read); when empty, ALL_PROXY, then HTTPS_PROXY",
    ),
    secret(
        "HAMA_ADMIN_TOKEN",
        "printable ASCII without spaces",
        "bearer token of calls that change something; empty: loopback only",
    ),
    secret(
        "HAMA_API_KEYS",
        "name:secret pairs separated by commas, no name twice, printable ASCII without spaces",
        "when set, REST and WebSocket want one of these keys",
    ),
    plain(
        "HAMA_API_KEYS_FILE",
        "",
        "path of a file",
        "name:secret pairs, one a line; read again on SIGHUP",
    ),
    plain(
        "HAMA_ALLOWED_ORIGINS",
        "",
        "origins separated by commas such as https://example.com, or * for all",
        "browser origins that may connect; empty: the same origin only",
    ),
    plain(
        "HAMA_TRUSTED_PROXIES",
        "",
        "IP addresses or networks separated by commas such as 127.0.0.1,10.0.0.0/8",
        "proxies whose X-Forwarded-For counts",
    ),
    plain(
        "HAMA_INTERNAL_LISTEN",
        "",
        "an IP address and a port such as 127.0.0.1:5001",
        "a second address, for metrics and admin calls only",
    ),
    plain(
        "HAMA_BASE_PATH",
        "",
        "a path that begins with / and does not end with it, such as /signals",
        "sub-path behind a reverse proxy",
    ),
    plain(
        "HAMA_NOTIFY_FILE",
        "",
        "path of a TOML file",
        "webhook targets",
    ),
    plain(
        "HAMA_LOG",
        "info",
        "a tracing filter such as info or hamacast=debug,warn",
        "which log lines are written to stderr",
    ),
    plain(
        "HAMA_LOG_FORMAT",
        "text",
        "text or json",
        "form of log lines",
    ),
    plain(
        "HAMA_RESULT_INTERVAL_MS",
        "250",
        "10 to 60000 milliseconds",
        "shortest time between two results of one open candle that are written to Redis",
    ),
    plain(
        "HAMA_MAX_CONNECTIONS",
        "10000",
        "1 to 1000000",
        "WebSocket and SSE connections in all",
    ),
    plain(
        "HAMA_MAX_CONNECTIONS_PER_IP",
        "64",
        "1 to 1000000",
        "connections per address (IPv6: per /64), loopback exempt",
    ),
    plain(
        "HAMA_ACCEPT_RATE",
        "500",
        "1 to 1000000 per second",
        "new connections per second, with a burst of twice that",
    ),
    plain(
        "HAMA_MAX_STREAMS",
        "1024",
        "1 to 100000",
        "streams per connection",
    ),
    plain(
        "HAMA_CLIENT_MESSAGES_PER_S",
        "10",
        "1 to 10000 per second",
        "messages a client may send, with a burst of twice that",
    ),
    plain(
        "HAMA_SLOW_BYTES",
        "1048576",
        "1024 to 1073741824 bytes",
        "unsent signal changes per reader before it is closed with 4008",
    ),
    plain(
        "HAMA_QUEUE_TOTAL_MB",
        "256",
        "1 to 65536 MiB",
        "unsent data of all readers together; above it the largest is closed first",
    ),
    plain(
        "HAMA_REPLAY_MAX",
        "10000",
        "1 to 100000 changes",
        "most changes one resume replays; above it the reader takes a snapshot",
    ),
    plain(
        "HAMA_DRAIN_DELAY",
        "0",
        "0 to 10 minutes: 10, 10s, 1m",
        "how long the stop still accepts while /readyz says no; a bare number is seconds",
    ),
];

impl Entry {
    /// Name of the flag: the variable without `HAMA_`, in lower case with dashes. None for a secret.
    pub fn flag(&self) -> Option<String> {
        let name = self.name.strip_prefix("HAMA_").unwrap_or(self.name);
        (!self.secret).then(|| name.to_ascii_lowercase().replace('_', "-"))
    }
}

/// The entry called `name`.
pub(super) fn entry(name: &str) -> Option<&'static Entry> {
    TABLE.iter().find(|entry| entry.name == name)
}

/// The table as the README shows it.
pub fn markdown_table() -> String {
    let mut text = String::from("| variable | default | allowed | meaning |\n|---|---|---|---|\n");
    for entry in TABLE {
        let default = match entry.default {
            "" => "-".to_owned(),
            default => format!("`{default}`"),
        };
        text += &format!(
            "| `{}` | {default} | {} | {} |\n",
            entry.name, entry.allowed, entry.meaning
        );
    }
    text
}
