//! `hamacast exchange`: the simulated Binance USD-M exchange alone, for engines and clients in other processes.
//! It prints one line when it accepts, logs to stderr, and ends on Ctrl-C or SIGTERM.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::ArgMatches;

use super::options::{ADDRESS, Options, SEED};
use crate::app::{
    self, Direct, Fault, LegacyPaths, ProxyFault, ProxyKind, ProxyLogin, ProxySettings,
    SimulatorError, SimulatorSettings, WeightTable,
};
use crate::config::{LogConfig, Sources};
use crate::market::{Interval, TimeMs};

const EXAMPLES: &str = r#"Examples:
  hamacast exchange                                  then, in a second terminal:
  HAMA_BINANCE_REST_URL=http://127.0.0.1:5100 HAMA_BINANCE_WS_URL=ws://127.0.0.1:5100 hamacast serve
  hamacast exchange --speed 60 --seed 7 --symbols 20
  hamacast exchange --replay candles --listen 127.0.0.1:0
  hamacast exchange --fault faults.json
  curl -d '{"kind":"transport.reset"}' http://127.0.0.1:5100/sim/fault
  hamacast exchange --proxy-listen 127.0.0.1:5180 --proxy-login me:secret --proxy-only     and then
  PROXY_URL=http://me:secret@127.0.0.1:5180 HAMA_BINANCE_REST_URL=http://exchange.invalid HAMA_BINANCE_WS_URL=ws://exchange.invalid hamacast serve

Beside the exchange's own paths it serves /sim/truth (the closed candles every client must
end up with), /sim/stats (what clients did, and which rules they broke) and /sim/fault (what
goes wrong: docs/simulator.md names every fault).
HAMA_LOG and HAMA_LOG_FORMAT are read as serve reads them."#;

/// Arguments of `exchange`. Its address and its number of contracts have variables of their own: `HAMA_LISTEN` and
/// `HAMA_SYMBOLS` are the server's, and both may run from one `.env`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExchangeArgs {
    /// Address to listen on; port 0 takes a free one
    #[arg(
        long,
        env = "HAMA_EXCHANGE_LISTEN",
        default_value = "127.0.0.1:5100",
        value_name = "ADDR:PORT"
    )]
    listen: String,
    /// Seed of the generated market: same seed, same candles
    #[arg(long, env = "HAMA_SEED", default_value = "1")]
    seed: String,
    /// Generated USDT perpetuals, 1 to 600
    #[arg(long, env = "HAMA_EXCHANGE_SYMBOLS", default_value = "125")]
    symbols: String,
    /// Intervals that will be asked for; history reaches back 5,000 candles of the longest, but not beyond 1970
    #[arg(long, env = "HAMA_INTERVALS", default_value = "15m,1h,4h")]
    intervals: String,
    /// How many times as fast as real time the exchange's clock runs, 1 to 3600
    #[arg(long, env = "HAMA_SPEED", default_value = "1")]
    speed: String,
    /// The exchange's time at the start, Unix ms [default: now; with --replay the open of candle 600 of the file that
    /// begins last]
    #[arg(long, env = "HAMA_START_MS", value_name = "MS")]
    start_ms: Option<String>,
    /// Play the <SYMBOL>-<interval>.csv files of a directory instead of the generated market
    #[arg(long, env = "HAMA_REPLAY", value_name = "DIR")]
    replay: Option<PathBuf>,
    /// Real milliseconds between two pushes of open candles, 10 to 10000
    #[arg(long, env = "HAMA_UPDATE_MS", default_value = "250", value_name = "MS")]
    update_ms: String,
    /// Real milliseconds by which every REST answer is late, up to 60000
    #[arg(long, env = "HAMA_LATENCY_MS", default_value = "0", value_name = "MS")]
    latency_ms: String,
    /// Which table of request weights is charged for candles: measured (on the live exchange) or doc (as documented)
    #[arg(
        long,
        env = "HAMA_WEIGHTS",
        default_value = "measured",
        value_name = "TABLE"
    )]
    weights: String,
    /// Real milliseconds between two pings of a stream connection
    #[arg(
        long,
        env = "HAMA_PING_MS",
        default_value = "180000",
        value_name = "MS"
    )]
    ping_ms: String,
    /// Real milliseconds without a pong after which a stream connection is cut
    #[arg(
        long,
        env = "HAMA_PONG_TIMEOUT_MS",
        default_value = "600000",
        value_name = "MS"
    )]
    pong_timeout_ms: String,
    /// Real milliseconds after which a stream connection is closed, whatever it does
    #[arg(
        long,
        env = "HAMA_MAX_AGE_MS",
        default_value = "86400000",
        value_name = "MS"
    )]
    max_age_ms: String,
    /// Serve candles on the unrouted /ws and /stream too, which the live exchange no longer does
    #[arg(long, env = "HAMA_LEGACY_SERVES_MARKET")]
    legacy_serves_market: bool,
    /// What goes wrong, for whom and when: a JSON array of faults, as docs/simulator.md describes them
    #[arg(long, env = "HAMA_FAULT", value_name = "FILE")]
    fault: Option<PathBuf>,
    /// Offer an HTTP CONNECT proxy to the exchange here; whatever its client names, it leads to this exchange
    #[arg(long, env = "HAMA_EXCHANGE_PROXY_LISTEN", value_name = "ADDR:PORT")]
    proxy_listen: Option<String>,
    /// Offer a SOCKS5 proxy to the exchange here
    #[arg(long, env = "HAMA_EXCHANGE_SOCKS_LISTEN", value_name = "ADDR:PORT")]
    socks_listen: Option<String>,
    /// What the proxies want of their clients
    #[arg(
        long,
        env = "HAMA_EXCHANGE_PROXY_LOGIN",
        hide_env_values = true,
        value_name = "USER:PASSWORD"
    )]
    proxy_login: Option<String>,
    /// What the proxies do wrong: none; refuse (answer 403, or "not allowed by its rules"); hang (take the connection and
    /// say nothing); drop (cut each tunnel after 64 KiB)
    #[arg(
        long,
        env = "HAMA_EXCHANGE_PROXY_FAULT",
        default_value = "none",
        value_name = "FAULT"
    )]
    proxy_fault: String,
    /// Hang up on everybody who does not come through a proxy of ours (else they are counted in /sim/stats)
    #[arg(long, env = "HAMA_EXCHANGE_PROXY_ONLY")]
    proxy_only: bool,
}

fn intervals(text: &str) -> Option<Vec<Interval>> {
    let each = text.split(',').map(|part| Interval::parse(part.trim()));
    each.collect::<Result<_, _>>().ok()
}

fn login(text: &str) -> Option<ProxyLogin> {
    let (user, password) = text.split_once(':')?;
    Some(ProxyLogin {
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

fn weights(text: &str) -> Option<WeightTable> {
    match text {
        "measured" => Some(WeightTable::Measured),
        "doc" => Some(WeightTable::Documented),
        _ => None,
    }
}

fn proxy_fault(text: &str) -> Option<ProxyFault> {
    match text {
        "none" => Some(ProxyFault::None),
        "refuse" => Some(ProxyFault::Refuse { status: 403 }),
        "hang" => Some(ProxyFault::Hang),
        "drop" => Some(ProxyFault::DropAfter { bytes: 64 * 1024 }),
        _ => None,
    }
}

/// Where something was refused the options know of it, and the value does not count.
impl ExchangeArgs {
    fn listen(&self, options: &mut Options<'_>) -> SocketAddr {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        options.parsed("listen", &self.listen, ADDRESS, any)
    }

    fn proxies(&self, options: &mut Options<'_>) -> Vec<(ProxySettings, SocketAddr)> {
        let address = |text: &str| text.parse().ok();
        let login_text = self.proxy_login.as_deref();
        let login = login_text.and_then(login);
        if login_text.is_some() && login.is_none() {
            options.refuse("proxy_login", "***", "allowed: USER:PASSWORD");
        }
        let allowed = "none, refuse, hang or drop";
        let fault = options.read("proxy_fault", &self.proxy_fault, allowed, proxy_fault);
        let http = self.proxy_listen.as_deref();
        let socks = self.socks_listen.as_deref();
        let listens = [
            (
                ProxyKind::Http,
                options.read_some("proxy_listen", http, ADDRESS, address),
            ),
            (
                ProxyKind::Socks5,
                options.read_some("socks_listen", socks, ADDRESS, address),
            ),
        ];
        let proxies = listens.into_iter().filter_map(|(kind, listen)| {
            let settings = ProxySettings {
                kind,
                login: login.clone(),
                fault: fault.unwrap_or(ProxyFault::None),
            };
            Some((settings, listen?))
        });
        proxies.collect()
    }

    fn settings(&self, options: &mut Options<'_>) -> SimulatorSettings {
        let usual = SimulatorSettings::default();
        let intervals_allowed = SimulatorSettings::allowed("intervals");
        let weights_allowed = "measured or doc";
        let weights = options.read("weights", &self.weights, weights_allowed, weights);
        let ranged = |options: &mut Options<'_>, option: &str, text: &str, usual: Duration| {
            let id = option.replace('-', "_");
            let read = |text: &str| text.parse().ok().map(Duration::from_millis);
            let read = options.read(&id, text, SimulatorSettings::allowed(option), read);
            read.unwrap_or(usual)
        };
        let of = |option| SimulatorSettings::allowed(option);
        let start = self.start_ms.as_deref();
        let start = options.read_some("start_ms", start, of("start-ms"), |text| text.parse().ok());
        let settings = SimulatorSettings {
            faults: self.faults(options),
            seed: options.parsed("seed", &self.seed, SEED, usual.seed),
            symbols: options.parsed("symbols", &self.symbols, of("symbols"), usual.symbols),
            intervals: options
                .read("intervals", &self.intervals, intervals_allowed, intervals)
                .unwrap_or(usual.intervals),
            speed: options.parsed("speed", &self.speed, of("speed"), usual.speed),
            start: start.map(TimeMs::new),
            replay: self.replay.clone(),
            update_every: ranged(options, "update-ms", &self.update_ms, usual.update_every),
            latency: ranged(options, "latency-ms", &self.latency_ms, usual.latency),
            ping_every: ranged(options, "ping-ms", &self.ping_ms, usual.ping_every),
            pong_timeout: ranged(
                options,
                "pong-timeout-ms",
                &self.pong_timeout_ms,
                usual.pong_timeout,
            ),
            max_age: ranged(options, "max-age-ms", &self.max_age_ms, usual.max_age),
            weights: weights.unwrap_or_default(),
            legacy_paths: if self.legacy_serves_market {
                LegacyPaths::Market
            } else {
                LegacyPaths::PublicOnly
            },
            direct: if self.proxy_only {
                Direct::Refused
            } else {
                Direct::Counted
            },
        };
        for one in settings.out_of_range() {
            let words = format!("allowed: {}", one.allowed);
            options.refuse(&one.option.replace('-', "_"), &one.value, &words);
        }
        settings
    }

    fn faults(&self, options: &mut Options<'_>) -> Vec<Fault> {
        let Some(path) = &self.fault else {
            return Vec::new();
        };
        Fault::read_timeline(path).unwrap_or_else(|error| {
            options.refuse("fault", &path.to_string_lossy(), &error.to_string());
            Vec::new()
        })
    }
}

pub(super) fn run(
    args: &ExchangeArgs,
    arguments: &ArgMatches,
    sources: &Sources,
) -> anyhow::Result<ExitCode> {
    let mut options = Options::of("exchange", arguments, sources);
    let listen = args.listen(&mut options);
    let settings = args.settings(&mut options);
    let proxies = args.proxies(&mut options);
    let mut bad = options.into_bad();
    super::settings::warn_of_unknown(sources);
    // Of the server's settings only these are meant: a `.env` that both run from may hold any others.
    let log = match LogConfig::load(sources) {
        Ok(log) if bad.is_empty() => log,
        Ok(_) => return Ok(super::refuse(&bad)),
        Err(more) => {
            bad.extend(more);
            return Ok(super::refuse(&bad));
        }
    };
    super::logging::init(&log, sources)?;
    let served = super::run_to_end(app::exchange(settings, listen, proxies))?;
    match served {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => match error.downcast_ref::<SimulatorError>() {
            Some(refused) if refused.is_usage() => Ok(super::usage(&refused.to_string())),
            Some(_) | None => Err(error),
        },
    }
}
