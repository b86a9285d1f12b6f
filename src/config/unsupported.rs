//! Settings this version knows but does not serve yet. Ignoring one in silence would open a door (keys), break a
//! promise (webhooks) or let traffic past a proxy: the start is refused instead.

use std::net::IpAddr;

use super::{BadSetting, Config, Source};

/// A line for each setting in force that this version cannot keep.
pub fn unsupported(config: &Config) -> Vec<BadSetting> {
    let mut bad = Vec::new();
    let mut refuse = |variable: &str, value: &str, source: Source, what_to_do: &str| {
        let words = format!("not in this version yet: {what_to_do}");
        bad.push(BadSetting::new(variable, value, source, &words));
    };
    let redis = &config.redis.enabled;
    if redis.value {
        let instead =
            "set REDIS_ENABLED=false to run from memory (results and changes end with the process)";
        refuse("REDIS_ENABLED", "true", redis.source, instead);
    }
    let scheduler = &config.scheduler;
    let switches = [
        ("HAMA_SCHEDULER_ENABLED", &scheduler.enabled),
        ("HAMA_SCHEDULER_AUTO_START", &scheduler.auto_start),
    ];
    for (variable, switch) in switches {
        if !switch.value {
            let instead = "unset it; serve has an engine, and it starts by itself";
            refuse(variable, "false", switch.source, instead);
        }
    }
    let exchange = &config.exchange;
    let remote = !is_loopback(&exchange.rest_url.value) || !is_loopback(&exchange.ws_url.value);
    if exchange.proxy.value.is_some() && remote {
        let instead = "unset PROXY_URL, ALL_PROXY and HTTPS_PROXY where the exchange can be reached without a proxy";
        refuse("PROXY_URL", "***", exchange.proxy.source, instead);
    }
    let access = &config.access;
    if !access.api_keys.value.is_empty() {
        let instead =
            "unset it and keep the address private; without keys everybody who reaches it may read";
        refuse("HAMA_API_KEYS", "***", access.api_keys.source, instead);
    }
    if let Some(path) = &access.api_keys_file.value {
        let instead =
            "unset it and keep the address private; without keys everybody who reaches it may read";
        let path = path.to_string_lossy();
        refuse(
            "HAMA_API_KEYS_FILE",
            &path,
            access.api_keys_file.source,
            instead,
        );
    }
    if let Some(address) = &access.internal_listen.value {
        let instead = "unset it; metrics and admin calls are on HAMA_LISTEN";
        let source = access.internal_listen.source;
        refuse(
            "HAMA_INTERNAL_LISTEN",
            &address.to_string(),
            source,
            instead,
        );
    }
    if let Some(path) = &access.base_path.value {
        let instead = "unset it and give the program a host name of its own behind the proxy";
        refuse("HAMA_BASE_PATH", path, access.base_path.source, instead);
    }
    if let Some(path) = &config.notify_file.value {
        let instead = "unset it; no webhook would be sent";
        let path = path.to_string_lossy();
        refuse(
            "HAMA_NOTIFY_FILE",
            &path,
            config.notify_file.source,
            instead,
        );
    }
    bad
}

fn is_loopback(url: &str) -> bool {
    let Ok(url) = url.parse::<reqwest::Url>() else {
        return false;
    };
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
