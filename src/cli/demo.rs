//! `hamacast demo`: everything in one process on a simulated exchange. What points outside - the real exchange, Redis,
//! a proxy, webhooks - is not even read: made-up signals must not reach anybody who would act on them.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::ArgMatches;

use super::options::{ADDRESS, Options, SEED};
use super::settings;
use crate::app::{self, DemoSettings};
use crate::config::{Config, PROXY_NAMES, Sources, unsupported};

const EXAMPLES: &str = "\
Examples:
  hamacast demo                      signals change while one watches: http://127.0.0.1:5000
  hamacast demo --speed 1 --symbols 20 --intervals 1m,5m
  hamacast demo --listen 127.0.0.1:0 --exchange-listen 127.0.0.1:5100

The other settings of serve are read from their variables, but for Redis, the exchange, the proxy and webhooks.";

/// Settings that point outside, or mean another market.
const OUTSIDE: [&str; 12] = [
    "HAMA_SYMBOLS",
    "REDIS_ENABLED",
    "REDIS_HOST",
    "REDIS_PORT",
    "REDIS_DB",
    "REDIS_PASSWORD",
    "REDIS_URL",
    "REDIS_CLUSTER_NODES",
    "HAMA_REDIS_WAIT_REPLICAS",
    "HAMA_BINANCE_REST_URL",
    "HAMA_BINANCE_WS_URL",
    "HAMA_NOTIFY_FILE",
];
const DEFAULTS: [(&str, &str); 1] = [("HAMA_INTERVALS", "15m,1h,4h")];

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DemoArgs {
    /// How many times as fast as ours the simulated time runs, 1 to 3600
    #[arg(long, env = "HAMA_SPEED", default_value = "60")]
    speed: String,
    /// The same seed makes the same market
    #[arg(long, env = "HAMA_SEED", default_value = "1")]
    seed: String,
    /// How many contracts the simulated exchange lists, 1 to 600
    #[arg(
        long,
        env = "HAMA_EXCHANGE_SYMBOLS",
        value_name = "COUNT",
        default_value = "125"
    )]
    symbols: String,
    /// Candle intervals; the first is the primary one [env: HAMA_INTERVALS] [default: 15m,1h,4h]
    #[arg(long)]
    intervals: Option<String>,
    /// Where the simulated exchange listens (port 0: a free one)
    #[arg(
        long,
        env = "HAMA_EXCHANGE_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:0"
    )]
    exchange_listen: String,
    /// Address of HTTP, WebSocket and dashboard [env: HAMA_LISTEN] [default: 127.0.0.1:5000]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
}

impl DemoArgs {
    /// Where something was refused `options` knows of it, and the value does not count.
    fn settings(&self, options: &mut Options<'_>) -> DemoSettings {
        let whole = |from: u32, to: u32| {
            move |text: &str| text.parse().ok().filter(|n| (from..=to).contains(n))
        };
        let speed = options.read("speed", &self.speed, "1 to 3600", whole(1, 3_600));
        let symbols = options.read("symbols", &self.symbols, "1 to 600", whole(1, 600));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listen = &self.exchange_listen;
        DemoSettings {
            speed: speed.unwrap_or(1),
            seed: options.parsed("seed", &self.seed, SEED, 1),
            symbols: symbols.unwrap_or(1) as usize,
            exchange_listen: options.parsed("exchange_listen", listen, ADDRESS, any),
        }
    }
}

pub(super) fn run(
    args: DemoArgs,
    arguments: &ArgMatches,
    sources: Sources,
) -> anyhow::Result<ExitCode> {
    let mut options = Options::of("demo", arguments, &sources);
    let demo = args.settings(&mut options);
    let mut bad = options.into_bad();
    let said = [
        ("HAMA_INTERVALS", args.intervals),
        ("HAMA_LISTEN", args.listen),
    ];
    let said = said
        .into_iter()
        .filter_map(|(name, text)| Some((name.to_owned(), text?)));
    let sources = inside(sources).with_flags(said.collect());
    settings::warn_of_unknown(&sources);
    let config = match Config::load(&sources, &DEFAULTS) {
        Ok(config) => config,
        Err(more) => {
            bad.extend(more);
            return Ok(super::refuse(&bad));
        }
    };
    bad.extend(unsupported(&config));
    if !bad.is_empty() {
        return Ok(super::refuse(&bad));
    }
    super::logging::init(&config.log, &sources)?;
    super::run_to_end(app::demo(demo, config))??;
    Ok(ExitCode::SUCCESS)
}

/// What was said, without all that points outside.
fn inside(sources: Sources) -> Sources {
    sources.without(&OUTSIDE).without(&PROXY_NAMES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    #[test]
    fn a_demo_reads_nothing_that_points_outside() {
        let mut sources = Sources::default();
        for name in OUTSIDE.iter().chain(&PROXY_NAMES) {
            let text = "http://real.example"; // a wrong value for most: reading one would be seen
            sources
                .environment
                .insert((*name).to_owned(), text.to_owned());
        }
        sources.dot_env = sources.environment.clone();
        sources
            .environment
            .insert("HAMA_TOP".to_owned(), "7".to_owned());
        let config = Config::load(&inside(sources), &DEFAULTS).unwrap();
        assert_eq!(unsupported(&config), []);
        let said = config
            .rows()
            .iter()
            .filter(|row| row.source != Source::Default);
        assert_eq!(said.map(|row| row.name).collect::<Vec<_>>(), ["HAMA_TOP"]);
    }

    #[test]
    fn keys_are_not_ignored_even_in_a_demo() {
        let mut sources = Sources::default();
        sources
            .environment
            .insert("HAMA_API_KEYS".to_owned(), "me:key".to_owned());
        let config = Config::load(&inside(sources), &DEFAULTS).unwrap();
        assert_eq!(unsupported(&config).len(), 1);
    }
}
