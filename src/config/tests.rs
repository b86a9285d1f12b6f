//! What settings promise.

use std::collections::BTreeMap;

use super::sources::{parse_dot_env, readable};
use super::*;

fn environment(said: &[(&str, &str)]) -> Sources {
    Sources {
        environment: map(said),
        ..Sources::default()
    }
}

fn map(said: &[(&str, &str)]) -> BTreeMap<String, String> {
    said.iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect()
}

fn load(said: &[(&str, &str)]) -> Result<Config, Vec<BadSetting>> {
    Config::load(&environment(said), &[])
}

fn refused(said: &[(&str, &str)]) -> Vec<String> {
    let bad = load(said).expect_err("refused");
    bad.iter().map(|bad| bad.variable.clone()).collect()
}

#[test]
fn every_default_of_the_table_parses_and_every_setting_is_read_once() {
    let config = load(&[]).unwrap();
    let names: Vec<_> = config.rows().iter().map(|row| row.name).collect();
    let table: Vec<_> = TABLE.iter().map(|entry| entry.name).collect();
    assert_eq!(names, table);
    for (row, entry) in config.rows().iter().zip(TABLE) {
        assert_eq!(row.source, Source::Default);
        if entry.name != "REDIS_ENABLED" {
            assert_eq!(row.value, entry.default);
        }
    }
    assert_eq!(config.listen.value.to_string(), "127.0.0.1:5000");
    assert_eq!(config.watch.intervals.value, [Interval::M15]);
    assert_eq!(config.redis.cache_ttl.value, Duration::from_secs(300));
    assert_eq!(config.scheduler.interval.value, Duration::from_secs(300));
    assert_eq!(config.limits.slow_bytes.value, 1 << 20);
    assert!(!config.redis.enabled.value);
    assert_eq!(unsupported(&config), []);
}

#[test]
fn each_bad_value_is_refused() {
    for (name, text) in [
        ("HAMA_LISTEN", "localhost"),
        ("HAMA_LISTEN", "127.0.0.1:70000"),
        ("HAMA_TOP", "0"),
        ("HAMA_TOP", "601"),
        ("HAMA_TOP", "+5"),
        ("HAMA_TOP", "12.5"),
        ("HAMA_SYMBOLS", "BTC-USDT"),
        ("HAMA_SYMBOLS", "BTCUSDT,,ETHUSDT"),
        ("HAMA_SYMBOLS", "BTCUSDT,btcusdt"),
        ("HAMA_INTERVALS", "15m,15m"),
        ("HAMA_INTERVALS", "15M"),
        ("HAMA_INTERVALS", "7m"),
        ("HAMA_MAX_WATCHED", "100"), // below HAMA_TOP
        ("REDIS_ENABLED", "maybe"),
        ("REDIS_ENABLED", "true"), // but nothing says where
        ("HAMA_CACHE_TTL", "0"),
        ("HAMA_CACHE_TTL", "5 days"),
        ("HAMA_CACHE_TTL", "99999999999999999999"),
        ("HAMA_SCHEDULER_ENABLED", "2"),
        ("HAMA_SCHEDULER_INTERVAL", "90s"),
        ("HAMA_SCHEDULER_INTERVAL", "0"),
        ("HAMA_SCHEDULER_INTERVAL", "1441"),
        ("HAMA_BINANCE_REST_URL", "fapi.binance.com"),
        ("HAMA_BINANCE_REST_URL", "wss://fapi.binance.com"),
        ("HAMA_BINANCE_REST_URL", "https://me:pass@fapi.binance.com"),
        ("HAMA_BINANCE_WS_URL", "https://fstream.binance.com"),
        ("PROXY_URL", "ftp://proxy"),
        ("PROXY_URL", "socks4://proxy"),
        ("PROXY_URL", "https://proxy:3129"),
        ("ALL_PROXY", "socks5h://"),
        ("HTTPS_PROXY", "proxy:3128"),
        ("HAMA_ADMIN_TOKEN", "two words"),
        ("HAMA_API_KEYS", "justakey"),
        ("HAMA_API_KEYS", "a:1,a:2"),
        ("HAMA_ALLOWED_ORIGINS", "example.com"),
        ("HAMA_ALLOWED_ORIGINS", "https://example.com/page"),
        ("HAMA_TRUSTED_PROXIES", "10.0.0.0/33"),
        ("HAMA_INTERNAL_LISTEN", "9090"),
        ("HAMA_BASE_PATH", "signals"),
        ("HAMA_BASE_PATH", "/signals/"),
        ("HAMA_BASE_PATH", "/a/../b"),
        ("HAMA_LOG", "hamacast=loud"),
        ("HAMA_LOG_FORMAT", "xml"),
        ("HAMA_RESULT_INTERVAL_MS", "1"),
        ("HAMA_MAX_CONNECTIONS", "0"),
        ("HAMA_REPLAY_MAX", "100001"),
        ("HAMA_DRAIN_DELAY", "-1"),
    ] {
        assert_eq!(refused(&[(name, text)]), [name], "{text}");
    }
}

#[test]
fn all_bad_settings_are_told_at_once_with_what_is_allowed() {
    let bad = load(&[
        ("HAMA_TOP", "many"),
        ("HAMA_LISTEN", "here"),
        ("HAMA_INTERVALS", "15m,7m"),
    ])
    .expect_err("three are bad");
    let lines: Vec<_> = bad.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].starts_with("HAMA_LISTEN='here' (environment): allowed: an IP address"));
    assert_eq!(
        lines[1],
        "HAMA_TOP='many' (environment): allowed: 1 to 600 contracts"
    );
    assert!(
        lines[2].contains("not '7m'; allowed: intervals"),
        "{lines:?}"
    );
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let mut sources = Sources {
        flags: map(&[("HAMA_TOP", "1")]),
        environment: map(&[("HAMA_TOP", "2")]),
        dot_env: map(&[("HAMA_TOP", "3")]),
    };
    for (value, source) in [
        (1, Source::Flag),
        (2, Source::Environment),
        (3, Source::DotEnv),
        (125, Source::Default),
    ] {
        let top = Config::load(&sources, &[]).unwrap().watch.top;
        assert_eq!(top, Setting { value, source });
        match source {
            Source::Flag => sources.flags.clear(),
            Source::Environment => sources.environment.clear(),
            Source::DotEnv | Source::Default => sources.dot_env.clear(),
        }
    }
}

#[test]
fn an_empty_value_is_the_same_as_none() {
    let config = load(&[("HAMA_TOP", ""), ("HAMA_SYMBOLS", " "), ("REDIS_HOST", "")]).unwrap();
    assert_eq!(config.watch.top.source, Source::Default);
    assert!(!config.redis.enabled.value);
}

#[test]
fn values_are_read_as_people_write_them() {
    let config = load(&[
        ("HAMA_SYMBOLS", "btcusdt, 币安人生USDT"),
        ("HAMA_INTERVALS", "1h,15m,1M"),
        ("HAMA_CACHE_TTL", "5m"),
        ("HAMA_SCHEDULER_INTERVAL", "300s"),
        ("HAMA_SCHEDULER_ENABLED", "Off"),
        ("HAMA_BINANCE_REST_URL", "http://127.0.0.1:5100/"),
        ("HAMA_TRUSTED_PROXIES", "127.0.0.1,10.0.0.0/8,::1"),
        (
            "HAMA_ALLOWED_ORIGINS",
            "https://example.com/,http://localhost:3000",
        ),
    ])
    .unwrap();
    let symbols: Vec<_> = config
        .watch
        .symbols
        .value
        .iter()
        .map(Symbol::as_str)
        .collect();
    assert_eq!(symbols, ["BTCUSDT", "币安人生USDT"]);
    let intervals = [Interval::H1, Interval::M15, Interval::Month1];
    assert_eq!(config.watch.intervals.value, intervals);
    assert_eq!(config.redis.cache_ttl.value, Duration::from_secs(300));
    assert_eq!(config.scheduler.interval.value, Duration::from_secs(300));
    assert!(!config.scheduler.enabled.value);
    assert_eq!(config.exchange.rest_url.value, "http://127.0.0.1:5100");
    let networks: Vec<_> = config
        .access
        .trusted_proxies
        .value
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(networks, ["127.0.0.1/32", "10.0.0.0/8", "::1/128"]);
    assert_eq!(
        config.access.allowed_origins.value,
        ["https://example.com", "http://localhost:3000"]
    );
}

#[test]
fn secrets_show_nowhere() {
    const SECRET: &str = "sw0rdf1sh";
    let good = [
        ("REDIS_PASSWORD", SECRET.to_owned()),
        ("REDIS_URL", format!("redis://me:{SECRET}@host:1")),
        ("PROXY_URL", format!("http://me:{SECRET}@host:1")),
        ("HAMA_ADMIN_TOKEN", SECRET.to_owned()),
        ("HAMA_API_KEYS", format!("me:{SECRET}")),
    ];
    let said: Vec<_> = good
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    let config = load(&said).unwrap();
    assert!(!format!("{config:?}{:?}", unsupported(&config)).contains(SECRET));
    assert_eq!(
        config
            .rows()
            .iter()
            .filter(|row| row.value == "***")
            .count(),
        4
    );
    let proxy = config.rows().iter().find(|row| row.name == "PROXY_URL");
    assert_eq!(proxy.unwrap().value, "http://***@host:1");
    for name in [
        "REDIS_URL",
        "PROXY_URL",
        "HAMA_API_KEYS",
        "HAMA_ADMIN_TOKEN",
    ] {
        let text = format!("{SECRET} \u{e9}");
        let bad = load(&[(name, &text)]).expect_err("refused");
        assert!(!format!("{bad:?}{}", bad[0]).contains(SECRET), "{bad:?}");
        assert!(table::entry(name).unwrap().flag().is_none());
    }
}

#[test]
fn a_login_in_a_url_that_may_have_none_is_refused_and_not_repeated() {
    for (name, scheme) in [
        ("HAMA_BINANCE_REST_URL", "https"),
        ("HAMA_BINANCE_WS_URL", "wss"),
        ("HAMA_ALLOWED_ORIGINS", "https"),
    ] {
        for login in [
            "me:s3cret",
            ":s3cret",
            "s3cret",
            "me:12/s3cret",
            "m@e:s3cret",
        ] {
            let bad = load(&[(name, &format!("{scheme}://{login}@exchange:1"))]).expect_err(login);
            let line = bad[0].to_string();
            assert!(!line.contains("s3cret"), "{line}");
            let shown = format!("{name}='{scheme}://***@exchange:1' (environment)");
            assert!(line.starts_with(&shown), "{line}");
        }
    }
    let bad = load(&[("HAMA_BINANCE_REST_URL", "me:s3cret@exchange")]).expect_err("no scheme");
    assert!(!bad[0].to_string().contains("s3cret"), "{}", bad[0]);
}

#[test]
fn an_unknown_variable_is_told_with_the_name_that_was_meant() {
    let sources = environment(&[
        ("HAMA_TPO", "5"),
        ("REDIS_HSOT", "x"),
        ("HAMA_SEED", "1"),
        ("HAMA_NOTHING_LIKE_IT", "1"),
        ("PATH", "/bin"),
        ("HAMA_TOP", "5"),
    ]);
    let warnings = sources.unknown_variables(&["HAMA_SEED".to_owned()]);
    assert_eq!(
        warnings,
        [
            "HAMA_NOTHING_LIKE_IT (environment) is no setting; `hamacast config` lists all",
            "HAMA_TPO (environment) is no setting; did you mean HAMA_TOP?",
            "REDIS_HSOT (environment) is no setting; did you mean REDIS_HOST?",
        ]
    );
}

#[test]
fn a_broken_line_of_the_file_is_told_by_number_and_not_repeated() {
    let mut bad = Vec::new();
    let text = "\u{feff}HAMA_TOP=5 # comment\nexport HAMA_LISTEN='[::]:1'\n\nREDIS_PASSWORD=\"s3cret\nHAMA_TOP=6\n";
    let said = parse_dot_env(text, &mut bad);
    assert_eq!(bad.len(), 1);
    assert_eq!(bad[0].variable, "line 4");
    assert!(!format!("{bad:?}").contains("s3cret"));
    assert_eq!(said["HAMA_LISTEN"], "[::]:1");
    bad.clear();
    let said = parse_dot_env("HAMA_TOP=5\nHAMA_TOP=6\n", &mut bad);
    assert_eq!((said["HAMA_TOP"].as_str(), bad.len()), ("6", 0));
}

#[test]
fn redis_is_on_when_one_is_described_and_off_when_told_so() {
    let config = load(&[("REDIS_HOST", "localhost")]).unwrap();
    assert!(config.redis.enabled.value);
    let config = load(&[("REDIS_HOST", "localhost"), ("REDIS_ENABLED", "false")]).unwrap();
    assert!(!config.redis.enabled.value);
    assert_eq!(unsupported(&config), []);
    assert_eq!(refused(&[("REDIS_PORT", "6380")]), ["REDIS_ENABLED"]);
}

#[test]
fn what_this_version_cannot_keep_is_refused_not_ignored() {
    let all = load(&[
        ("REDIS_CLUSTER_NODES", "a:1,b:2"),
        ("HAMA_API_KEYS", "me:key"),
        ("HAMA_API_KEYS_FILE", "/keys"),
        ("HAMA_INTERNAL_LISTEN", "127.0.0.1:0"),
        ("HAMA_BASE_PATH", "/x"),
        ("HAMA_NOTIFY_FILE", "n.toml"),
    ])
    .unwrap();
    let bad = unsupported(&all);
    assert_eq!(bad.len(), 6, "{bad:?}");
    assert!(
        bad.iter()
            .all(|bad| bad.allowed.starts_with("not in this version yet: "))
    );
}

#[test]
fn h31_the_proxy_is_ours_before_that_of_all_programs_before_that_of_https() {
    let mut said = vec![
        ("https_proxy", "http://five:5"),
        ("HTTPS_PROXY", "http://four:4"),
        ("all_proxy", "socks5://three:3"),
        ("ALL_PROXY", "socks5h://two:2"),
        ("PROXY_URL", "http://one:1"),
        ("NO_PROXY", "*"),
        ("HTTP_PROXY", "http://zero:1"),
    ];
    for variable in [
        "PROXY_URL",
        "ALL_PROXY",
        "all_proxy",
        "HTTPS_PROXY",
        "https_proxy",
    ] {
        let config = load(&said).unwrap();
        let row = config.rows().iter().find(|row| row.name == "PROXY_URL");
        let text = said.iter().find(|(name, _)| *name == variable).unwrap().1;
        assert_eq!(row.unwrap().value, text);
        assert_eq!(row.unwrap().variable, variable);
        assert_eq!(config.exchange.proxy.value.unwrap().expose(), text);
        said.retain(|(name, _)| *name != variable);
    }
    let config = load(&said).unwrap();
    assert_eq!(config.exchange.proxy.value, None, "HTTP_PROXY is not ours");
}

#[test]
fn a_proxy_with_tls_of_its_own_is_refused_with_the_reason_and_without_its_password() {
    let bad = load(&[("ALL_PROXY", "https://me:s3cret@proxy")]).expect_err("refused");
    let line = bad[0].to_string();
    let why = "ALL_PROXY='***' (environment): https:// proxies (TLS to the proxy itself) are not supported; allowed: ";
    assert!(line.starts_with(why), "{line}");
    assert!(!line.contains("s3cret"));
}

#[test]
fn h31_a_proxy_that_cannot_be_read_is_refused_and_not_taken_for_none() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;
    let broken = || OsString::from_vec(b"http://\xff:1".to_vec());
    let read = |name: &str| {
        let mut bad = Vec::new();
        let said = readable([(OsString::from(name), broken())].into_iter(), &mut bad);
        assert!(said.is_empty());
        bad.into_iter().map(|bad| bad.variable).collect::<Vec<_>>()
    };
    for name in PROXY_NAMES.into_iter().chain(["HAMA_TOP", "REDIS_URL"]) {
        assert_eq!(read(name), [name]);
    }
    assert!(read("HTTP_PROXY").is_empty(), "not ours");
}

#[test]
fn h31_a_password_that_ends_the_host_of_its_proxy_early_is_refused_with_what_to_write() {
    for text in [
        "http://me:12/s3cret@proxy:3128",
        "http://me:12?s3cret@proxy",
        "socks5h://me:12#s3cret@proxy",
        "http://me:s3cret/x@proxy",
        "http://proxy/path",
    ] {
        let bad = load(&[("https_proxy", text)]).expect_err(text);
        let line = bad[0].to_string();
        assert!(
            line.starts_with("https_proxy='***' (environment): it "),
            "{line}"
        );
        assert!(
            line.contains("%2F, %3F, %23") && !line.contains("s3cret"),
            "{line}"
        );
    }
    for text in ["http://proxy", "http://me:12%2Fs3cret@proxy:3128/"] {
        let config = load(&[("ALL_PROXY", text)]).unwrap();
        assert_eq!(config.proxy_variable(), "ALL_PROXY");
    }
    assert_eq!(load(&[]).unwrap().proxy_variable(), "PROXY_URL");
}

#[test]
fn a_command_may_bring_its_own_default() {
    let config = Config::load(&Sources::default(), &[("HAMA_INTERVALS", "15m,1h,4h")]).unwrap();
    assert_eq!(config.watch.intervals.value.len(), 3);
    assert_eq!(config.watch.intervals.source, Source::Default);
}
