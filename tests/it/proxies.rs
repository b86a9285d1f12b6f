//! Through a proxy and never past it; and an exchange that does not serve this address. The simulated exchange counts who
//! came through its proxies and who did not, and hangs up on those who did not; a name that nobody but the proxy can
//! resolve shows where names are resolved.

mod adapter;
mod front;
mod refused;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hamacast::market::{Interval, TimeMs};
use hamacast::simulator::proxy::{ProxyFault, ProxyKind, ProxyLogin, ProxySettings, SimProxy};
use hamacast::simulator::{Direct, Fault, Simulator, SimulatorSettings};
use hamacast::tasks::Tasks;
use serde_json::Value;

use crate::support::http_room::client;
use crate::support::process::Server;

const PATIENCE: Duration = Duration::from_secs(40);
const SYMBOLS: usize = 3;
/// 2026-01-01T00:07:30Z: no candle of 15 minutes closes while a test runs.
const START: TimeMs = TimeMs::new(1_767_225_600_000 + 450_000);
/// As the settings have it, and as the proxy must be told it.
const LOGIN: &str = "me:p%40ss%20w0rd";
const PASSWORD: &str = "p@ss w0rd";
/// No name server knows it (RFC 6761).
const NAME: &str = "exchange.invalid";

/// An exchange that serves nobody directly, and one proxy to it.
struct World {
    exchange: Simulator,
    proxy: SimProxy,
    proxy_tasks: Tasks,
    _tasks: Tasks,
}

impl World {
    async fn start(kind: ProxyKind) -> Self {
        let tasks = Tasks::new();
        let settings = SimulatorSettings {
            symbols: SYMBOLS,
            intervals: vec![Interval::M15],
            start: Some(START),
            direct: Direct::Refused,
            ..SimulatorSettings::default()
        };
        let any = "127.0.0.1:0".parse().unwrap();
        let exchange = Simulator::start(settings, any, &tasks).await.unwrap();
        let proxy_tasks = Tasks::new();
        let proxy = proxy(&exchange, kind, any, &proxy_tasks).await;
        Self {
            exchange,
            proxy,
            proxy_tasks,
            _tasks: tasks,
        }
    }

    /// The proxy's URL with this login.
    fn url(&self, login: &str) -> String {
        self.proxy.url().replace("://", &format!("://{login}@"))
    }

    /// The exchange as one would reach it who went past the proxy, and be counted.
    fn reachable(&self) -> String {
        format!("localhost:{}", self.exchange.local_addr().port())
    }

    /// `serve` on an exchange of these names, with variables that would lead others past the proxy.
    fn serve(&self, [rest, streams]: [&str; 2], proxy: (&str, &str), log: &Path) -> Server {
        let symbols = SYMBOLS.to_string();
        let (rest, streams) = (format!("http://{rest}"), format!("ws://{streams}"));
        let variables = [
            proxy,
            ("NO_PROXY", "*"),
            ("no_proxy", "localhost"),
            ("HAMA_TOP", symbols.as_str()),
            ("HAMA_BINANCE_REST_URL", &rest),
            ("HAMA_BINANCE_WS_URL", &streams),
        ];
        Server::start_logging(&["serve", "--listen", "127.0.0.1:0"], &variables, log)
    }

    fn tell(&self, fault: &str) {
        for fault in Fault::parse_all(fault).unwrap() {
            self.exchange.fault(fault).unwrap();
        }
    }

    fn assert_nothing_went_past_the_proxy(&self) {
        let stats = self.exchange.stats();
        assert_eq!(stats.direct_connections, 0, "{stats:?}");
        assert_eq!(stats.violation_count, 0, "{:?}", stats.violations);
    }
}

async fn proxy(
    exchange: &Simulator,
    kind: ProxyKind,
    listen: SocketAddr,
    tasks: &Tasks,
) -> SimProxy {
    let settings = ProxySettings {
        kind,
        login: Some(ProxyLogin {
            user: "me".to_owned(),
            password: PASSWORD.to_owned(),
        }),
        fault: ProxyFault::None,
    };
    let started = SimProxy::start(exchange, settings, listen, tasks).await;
    started.unwrap()
}

fn log(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("proxies-{name}.log"))
}

async fn get(server: &Server, path: &str) -> Value {
    let url = format!("http://{}{path}", server.address);
    client()
        .get(url)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap()
}

/// The first state of the program that is as wanted.
async fn state_where(server: &Server, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let mut state = Value::Null;
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    let reached = async {
        loop {
            tick.tick().await;
            state = get(server, "/api/v1/status").await;
            if holds(&state) {
                return;
            }
        }
    };
    let reached = tokio::time::timeout(PATIENCE, reached).await;
    assert!(reached.is_ok(), "not {what}: {state}");
    state
}

async fn live(server: &Server, symbols: usize) -> Value {
    let all = symbols as u64;
    state_where(server, "live", |state| {
        state["series"]["live"] == all && state["feed"] == "live"
    })
    .await
}

/// What was logged, once it has `words`.
async fn logged(path: &Path, words: &str) -> String {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let mut text = String::new();
    let told = async {
        while !text.contains(words) {
            tick.tick().await;
            text = std::fs::read_to_string(path).unwrap();
        }
    };
    let told = tokio::time::timeout(PATIENCE, told).await;
    assert!(told.is_ok(), "no '{words}' in:\n{text}");
    text
}

#[tokio::test]
async fn h31_serve_is_live_through_each_kind_of_proxy_and_no_connection_goes_past_it() {
    for (kind, variable) in [
        (ProxyKind::Http, "PROXY_URL"),
        (ProxyKind::Socks5, "ALL_PROXY"),
    ] {
        let world = World::start(kind).await;
        let log = log(variable);
        let serve = world.serve(
            [NAME, &format!("{NAME}:9000")],
            (variable, &world.url(LOGIN)),
            &log,
        );
        let state = live(&serve, SYMBOLS).await;
        assert_eq!(state["exchange"]["refusal"], Value::Null);
        assert_eq!(serve.terminate().0, Some(0));
        world.assert_nothing_went_past_the_proxy();
        let stats = world.exchange.stats();
        assert_eq!(stats.totals.ws_connections, 1);
        let targets = &stats.proxies[0].targets;
        let asked: Vec<_> = targets.keys().map(String::as_str).collect();
        assert_eq!(asked, [format!("{NAME}:80"), format!("{NAME}:9000")]);
        assert!(targets.values().all(|target| target.by_address == 0));
        let tunnels: u64 = targets.values().map(|target| target.by_name).sum();
        assert_eq!(tunnels, stats.proxied_connections, "{stats:?}");
        assert_eq!(stats.proxies[0].wrong_logins, 0);
        let said = std::fs::read_to_string(log).unwrap();
        assert!(!said.contains("p@ss") && !said.contains("p%40ss"), "{said}");
    }
}

#[tokio::test]
async fn h31_a_proxy_that_dies_takes_the_feed_down_and_nobody_goes_past_it() {
    let world = World::start(ProxyKind::Socks5).await;
    let log = log("dies");
    let host = world.reachable();
    let serve = world.serve([&host; 2], ("PROXY_URL", &world.url(LOGIN)), &log);
    live(&serve, SYMBOLS).await;
    let address = world.proxy.local_addr();
    assert!(world.proxy_tasks.drain(PATIENCE).await.is_empty());
    let state = state_where(&serve, "down", |state| state["feed"] == "down").await;
    assert_eq!(state["series"]["stale"], SYMBOLS as u64, "{state}");
    let why = format!("proxy socks5h://***@{address}: no connection to it (Connection refused");
    let said = logged(&log, &why).await;
    assert!(!said.contains("p@ss") && !said.contains("p%40ss"), "{said}");
    let again = Tasks::new();
    let proxy = proxy(&world.exchange, ProxyKind::Socks5, address, &again).await;
    live(&serve, SYMBOLS).await;
    assert!(proxy.report().connections > 0);
    world.assert_nothing_went_past_the_proxy();
    assert_eq!(serve.terminate().0, Some(0));
}

#[tokio::test]
async fn h31_a_wrong_password_is_told_in_one_clear_line_and_never_shown() {
    for kind in [ProxyKind::Http, ProxyKind::Socks5] {
        let world = World::start(kind).await;
        let log = log("password");
        let host = world.reachable();
        let serve = world.serve([&host; 2], ("PROXY_URL", &world.url("me:sw0rdf1sh")), &log);
        let shown = world.proxy.url().replace("://", "://***@");
        let why = format!("proxy {shown}: it refuses the user or the password; mend PROXY_URL");
        let said = logged(&log, &why).await;
        let state = get(&serve, "/api/v1/status").await.to_string();
        let ready = get(&serve, "/readyz?verbose").await.to_string();
        assert_eq!(serve.terminate().0, Some(0));
        let said = said + &std::fs::read_to_string(&log).unwrap() + &state + &ready;
        assert!(!said.contains("sw0rdf1sh"), "{said}");
        assert_eq!(world.proxy.report().wrong_logins, 1, "asked again rarely");
        assert_eq!(world.exchange.stats().proxied_connections, 0);
        world.assert_nothing_went_past_the_proxy();
    }
}

#[test]
fn the_proxy_is_shown_with_its_variable_and_without_its_login_and_a_bad_one_stops_the_start() {
    let run = |command: &[&str], value: &str| {
        Command::new(env!("CARGO_BIN_EXE_hamacast"))
            .args(command)
            .env_clear()
            .env("HTTPS_PROXY", value)
            .current_dir(env!("CARGO_TARGET_TMPDIR"))
            .output()
            .unwrap()
    };
    let shown = run(&["config"], "socks5://me:sw0rdf1sh@proxy:1081");
    assert_eq!(shown.status.code(), Some(0));
    let text = String::from_utf8(shown.stdout).unwrap();
    let row = text.lines().find(|line| line.starts_with("PROXY_URL"));
    let words: Vec<_> = row.unwrap().split_whitespace().collect();
    let expected = [
        "PROXY_URL",
        "socks5://***@proxy:1081",
        "environment",
        "(HTTPS_PROXY)",
    ];
    assert_eq!(words, expected);
    assert!(!text.contains("sw0rdf1sh"));
    for (value, why) in [
        ("https://me:sw0rdf1sh@proxy", "https:// proxies"),
        ("socks4://me:sw0rdf1sh@proxy", "HTTPS_PROXY='***'"),
        ("http://me:sw0rdf1sh@proxy/path", "it has a path"),
        ("http://m%3Ae:sw0rdf1sh@proxy", "HTTPS_PROXY: its user"),
    ] {
        let refused = run(&["serve", "--listen", "127.0.0.1:0"], value);
        assert_eq!(refused.status.code(), Some(2), "{value}");
        let told = String::from_utf8(refused.stderr).unwrap();
        assert!(told.contains(why) && told.lines().count() == 1, "{told}");
        assert!(!told.contains("sw0rdf1sh"), "{told}");
    }
}
