//! `hamacast exchange`: the simulated Binance USD-M exchange alone, for engines and clients in other processes.
//! It prints one line when it accepts, logs to stderr, and ends on Ctrl-C or SIGTERM.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

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
    listen: SocketAddr,
    /// Seed of the generated market: same seed, same candles
    #[arg(long, env = "HAMA_SEED", default_value_t = 1)]
    seed: u64,
    /// Generated USDT perpetuals, 1 to 600
    #[arg(long, env = "HAMA_EXCHANGE_SYMBOLS", default_value_t = 125)]
    symbols: usize,
    /// Intervals that will be asked for; history reaches back 5,000 candles of the longest, but not beyond 1970
    #[arg(long, env = "HAMA_INTERVALS", default_value = "15m,1h,4h", value_delimiter = ',', value_parser = parse_interval)]
    intervals: Vec<Interval>,
    /// How many times as fast as real time the exchange's clock runs, 1 to 3600
    #[arg(long, env = "HAMA_SPEED", default_value_t = 1.0)]
    speed: f64,
    /// The exchange's time at the start, Unix ms [default: now; with --replay the open of candle 600 of the file that
    /// begins last]
    #[arg(long, env = "HAMA_START_MS", value_name = "MS")]
    start_ms: Option<i64>,
    /// Play the <SYMBOL>-<interval>.csv files of a directory instead of the generated market
    #[arg(long, env = "HAMA_REPLAY", value_name = "DIR")]
    replay: Option<PathBuf>,
    /// Real milliseconds between two pushes of open candles, 10 to 10000
    #[arg(long, env = "HAMA_UPDATE_MS", default_value_t = 250, value_name = "MS")]
    update_ms: u64,
    /// Real milliseconds by which every REST answer is late
    #[arg(long, env = "HAMA_LATENCY_MS", default_value_t = 0, value_name = "MS")]
    latency_ms: u64,
    /// Which table of request weights is charged for candles
    #[arg(long, env = "HAMA_WEIGHTS", default_value = "measured")]
    weights: Weights,
    /// Real milliseconds between two pings of a stream connection
    #[arg(
        long,
        env = "HAMA_PING_MS",
        default_value_t = 180_000,
        value_name = "MS"
    )]
    ping_ms: u64,
    /// Real milliseconds without a pong after which a stream connection is cut
    #[arg(
        long,
        env = "HAMA_PONG_TIMEOUT_MS",
        default_value_t = 600_000,
        value_name = "MS"
    )]
    pong_timeout_ms: u64,
    /// Real milliseconds after which a stream connection is closed, whatever it does
    #[arg(
        long,
        env = "HAMA_MAX_AGE_MS",
        default_value_t = 86_400_000,
        value_name = "MS"
    )]
    max_age_ms: u64,
    /// Serve candles on the unrouted /ws and /stream too, which the live exchange no longer does
    #[arg(long, env = "HAMA_LEGACY_SERVES_MARKET")]
    legacy_serves_market: bool,
    /// What goes wrong, for whom and when: a JSON array of faults, as docs/simulator.md describes them
    #[arg(long, env = "HAMA_FAULT", value_name = "FILE")]
    fault: Option<PathBuf>,
    /// Offer an HTTP CONNECT proxy to the exchange here; whatever its client names, it leads to this exchange
    #[arg(long, env = "HAMA_EXCHANGE_PROXY_LISTEN", value_name = "ADDR:PORT")]
    proxy_listen: Option<SocketAddr>,
    /// Offer a SOCKS5 proxy to the exchange here
    #[arg(long, env = "HAMA_EXCHANGE_SOCKS_LISTEN", value_name = "ADDR:PORT")]
    socks_listen: Option<SocketAddr>,
    /// What the proxies want of their clients
    #[arg(long, env = "HAMA_EXCHANGE_PROXY_LOGIN", value_name = "USER:PASSWORD", value_parser = parse_login)]
    proxy_login: Option<ProxyLogin>,
    /// What the proxies do wrong
    #[arg(long, env = "HAMA_EXCHANGE_PROXY_FAULT", default_value = "none")]
    proxy_fault: FaultOfProxy,
    /// Hang up on everybody who does not come through a proxy of ours (else they are counted in /sim/stats)
    #[arg(long, env = "HAMA_EXCHANGE_PROXY_ONLY")]
    proxy_only: bool,
}

/// Names of what a proxy does wrong.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum FaultOfProxy {
    /// Nothing
    None,
    /// Answer 403, or "not allowed by its rules"
    Refuse,
    /// Take the connection and say nothing
    Hang,
    /// Cut each tunnel after 64 KiB
    Drop,
}

/// Names of the weight tables.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Weights {
    /// As measured on the live exchange
    Measured,
    /// As documented
    Doc,
}

fn parse_interval(text: &str) -> Result<Interval, crate::market::BadInterval> {
    Interval::parse(text.trim())
}

fn parse_login(text: &str) -> Result<ProxyLogin, String> {
    let (user, password) = text.split_once(':').ok_or("not USER:PASSWORD")?;
    Ok(ProxyLogin {
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

impl ExchangeArgs {
    fn proxies(&self) -> Vec<(ProxySettings, SocketAddr)> {
        let fault = match self.proxy_fault {
            FaultOfProxy::None => ProxyFault::None,
            FaultOfProxy::Refuse => ProxyFault::Refuse { status: 403 },
            FaultOfProxy::Hang => ProxyFault::Hang,
            FaultOfProxy::Drop => ProxyFault::DropAfter { bytes: 64 * 1024 },
        };
        let of = |kind, listen: Option<SocketAddr>| {
            let login = self.proxy_login.clone();
            let settings = ProxySettings { kind, login, fault };
            listen.map(|listen| (settings, listen))
        };
        let http = of(ProxyKind::Http, self.proxy_listen);
        http.into_iter()
            .chain(of(ProxyKind::Socks5, self.socks_listen))
            .collect()
    }

    fn settings(self) -> Result<SimulatorSettings, SimulatorError> {
        let faults = self
            .fault
            .as_deref()
            .map(Fault::read_timeline)
            .transpose()?;
        Ok(SimulatorSettings {
            faults: faults.unwrap_or_default(),
            seed: self.seed,
            symbols: self.symbols,
            intervals: self.intervals,
            speed: self.speed,
            start: self.start_ms.map(TimeMs::new),
            replay: self.replay,
            update_every: Duration::from_millis(self.update_ms),
            latency: Duration::from_millis(self.latency_ms),
            ping_every: Duration::from_millis(self.ping_ms),
            pong_timeout: Duration::from_millis(self.pong_timeout_ms),
            max_age: Duration::from_millis(self.max_age_ms),
            weights: match self.weights {
                Weights::Measured => WeightTable::Measured,
                Weights::Doc => WeightTable::Documented,
            },
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
        })
    }
}

pub(super) fn run(args: ExchangeArgs, sources: &Sources) -> anyhow::Result<ExitCode> {
    // Of the server's settings only these are meant: a `.env` that both run from may hold any others.
    let log = match LogConfig::load(sources) {
        Ok(log) => log,
        Err(bad) => return Ok(super::refuse(&bad)),
    };
    super::logging::init(&log, sources)?;
    let (listen, proxies) = (args.listen, args.proxies());
    let settings = match args.settings() {
        Ok(settings) => settings,
        Err(error) => return Ok(super::usage(&error.to_string())),
    };
    let served = super::run_to_end(app::exchange(settings, listen, proxies))?;
    match served {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => match error.downcast_ref::<SimulatorError>() {
            Some(refused) if refused.is_usage() => Ok(super::usage(&refused.to_string())),
            Some(_) | None => Err(error),
        },
    }
}
