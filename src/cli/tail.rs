//! `hamacast tail`: the signal changes of a running server, a line each. Every change once and in order: after a lost
//! connection it goes on behind the last one it printed; when the server cannot do that, it says so on stderr.
//! stdout holds changes and nothing else.

mod connection;
mod feed;
mod line;

use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;

use crate::backoff::Backoff;
use crate::market::{Interval, Symbol};

use connection::{Connection, End, Wait};
use feed::Feed;
use line::Form;

const EXAMPLES: &str = "\
Examples:
  hamacast tail                                 every contract and interval
  hamacast tail BTCUSDT ETHUSDT --interval 15m,1h
  hamacast tail --json | jq -r 'select(.type == \"signal\") | .id'

A line: the time at which the candle closed (UTC), contract, interval, change, price, number of the change:
  12:15:00Z BTCUSDT 15m HOLD -> BUY 67123.4 #1042
Ctrl-C ends it with exit code 0; 3 when nothing answers, 2 for an unknown contract or interval.";

/// Arguments of `tail`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct TailArgs {
    /// The server
    #[arg(long, env = "HAMA_URL", default_value = "http://127.0.0.1:5000")]
    url: String,
    /// Intervals, separated by commas; when not given, all the server has
    #[arg(long, env = "HAMA_INTERVAL", value_delimiter = ',')]
    interval: Vec<String>,
    /// The data of each change unchanged, one JSON object a line
    #[arg(long)]
    json: bool,
    /// Contracts; when not given, all the server watches
    symbols: Vec<String>,
}

/// What is followed.
struct Target {
    /// Without `/` at its end.
    base: String,
    symbols: Vec<Symbol>,
    intervals: Vec<Interval>,
    form: Form,
}

pub(super) fn run(args: &TailArgs) -> anyhow::Result<ExitCode> {
    let target = match target(args) {
        Ok(target) => target,
        Err(message) => return Ok(super::usage(&message)),
    };
    super::run_to_end(async {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => Ok(ExitCode::SUCCESS),
            done = follow(target) => done,
        }
    })?
}

fn target(args: &TailArgs) -> Result<Target, String> {
    let url = args.url.parse::<reqwest::Url>().ok().filter(|url| {
        let web = matches!(url.scheme(), "http" | "https") && url.has_host();
        web && url.query().is_none() && url.fragment().is_none()
    });
    let Some(url) = url else {
        let url = &args.url;
        return Err(format!(
            "--url '{url}': allowed: a URL such as http://127.0.0.1:5000"
        ));
    };
    let mut symbols = Vec::new();
    for text in &args.symbols {
        symbols.push(Symbol::parse_any_case(text).map_err(|bad| bad.to_string())?);
    }
    let mut intervals = Vec::new();
    for text in args.interval.iter().filter(|text| !text.is_empty()) {
        intervals.push(Interval::parse(text.trim()).map_err(|bad| bad.to_string())?);
    }
    let form = if args.json { Form::Json } else { Form::Line };
    Ok(Target {
        base: url.as_str().trim_end_matches('/').to_owned(),
        symbols,
        intervals,
        form,
    })
}

/// Follows the feed over as many connections as it takes.
async fn follow(mut target: Target) -> anyhow::Result<ExitCode> {
    if target.intervals.is_empty() {
        match served_intervals(&target.base).await {
            Ok(intervals) => target.intervals = intervals,
            Err(why) => return Ok(nothing_answers(&target.base, &format!("{why:#}"))),
        }
    }
    let streams = streams(&target);
    let mut feed = Feed::default();
    let mut delays = Delays::default();
    let mut answered_before = false;
    loop {
        let end = match Connection::open(&target.base).await {
            Ok(connection) => {
                answered_before = true;
                connection.follow(&streams, &mut feed, target.form).await
            }
            Err(end) => end,
        };
        let (why, wait) = match end {
            End::OutputClosed => return Ok(ExitCode::SUCCESS),
            End::OutputFailed(error) => return Err(error.into()),
            End::Wrong(message) => return Ok(super::usage(&message)),
            End::Barred(message) => anyhow::bail!("{}: {message}", target.base),
            End::Lost { why, .. } if !answered_before => {
                return Ok(nothing_answers(&target.base, &why));
            }
            End::Lost { why, wait } => (why, wait),
        };
        if feed.take_alive() {
            delays.reset();
        }
        let wait = delays.after(wait);
        eprintln!(
            "hamacast: connection lost ({why}); next try in {:.1} s",
            wait.as_secs_f64()
        );
        tokio::time::sleep(wait).await;
    }
}

fn nothing_answers(base: &str, why: &str) -> ExitCode {
    eprintln!("hamacast: nothing answers at {base} ({why}); start `hamacast demo`, or set --url");
    ExitCode::from(super::EXIT_NOT_READY)
}

fn streams(target: &Target) -> Vec<String> {
    let mut streams = std::collections::BTreeSet::new();
    for interval in &target.intervals {
        if target.symbols.is_empty() {
            streams.insert(format!("!signal_{interval}@arr"));
        }
        for symbol in &target.symbols {
            streams.insert(format!("{}@signal_{interval}", symbol.lower()));
        }
    }
    streams.into_iter().collect()
}

#[derive(Deserialize)]
struct Status {
    intervals: Vec<Interval>,
}

async fn served_intervals(base: &str) -> anyhow::Result<Vec<Interval>> {
    let timeout = Duration::from_secs(10);
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(timeout)
        .build()?;
    let answer = client.get(format!("{base}/api/v1/status")).send().await?;
    let status: Status = answer.error_for_status()?.json().await?;
    anyhow::ensure!(!status.intervals.is_empty(), "the server has no intervals");
    Ok(status.intervals)
}

/// Waits between connections.
struct Delays {
    usual: Backoff,
    /// After 1013: the server is full, and said how long to stay away at least.
    crowded: Backoff,
}

const CROWDED: Duration = Duration::from_secs(5);

impl Default for Delays {
    fn default() -> Self {
        Self {
            usual: Backoff::default(),
            crowded: Backoff::new(CROWDED, Duration::from_secs(60)),
        }
    }
}

impl Delays {
    fn reset(&mut self) {
        *self = Self::default();
    }

    fn after(&mut self, wait: Wait) -> Duration {
        match wait {
            Wait::Exactly(wait) => wait,
            Wait::Crowded => self.crowded.next_delay().max(CROWDED),
            Wait::Usual => self.usual.next_delay(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(url: &str, symbols: &[&str], interval: &[&str]) -> TailArgs {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        TailArgs {
            url: url.to_owned(),
            interval: owned(interval),
            json: false,
            symbols: owned(symbols),
        }
    }

    #[test]
    fn contracts_and_intervals_become_stream_names_each_once() {
        let args = args(
            "http://a/",
            &["btcusdt", "BTCUSDT", "币安人生USDT"],
            &["15m", "1h"],
        );
        assert_eq!(
            streams(&target(&args).unwrap()),
            [
                "btcusdt@signal_15m",
                "btcusdt@signal_1h",
                "币安人生usdt@signal_15m",
                "币安人生usdt@signal_1h"
            ]
        );
        let all = target(&self::args("http://a", &[], &["15m"])).unwrap();
        assert_eq!(streams(&all), ["!signal_15m@arr"]);
    }

    #[test]
    fn what_cannot_be_asked_for_is_refused_before_anything_is_sent() {
        for bad in [
            args("ws://a", &[], &[]),
            args("a:b:c", &[], &[]),
            args("http://a", &["BTC-USDT"], &[]),
            args("http://a", &[], &["7m"]),
        ] {
            assert!(target(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn waits_grow_begin_anew_after_a_success_and_obey_the_server() {
        let mut delays = Delays::default();
        let waits: Vec<_> = (0..20).map(|_| delays.after(Wait::Usual)).collect();
        assert!(waits[0] <= Duration::from_secs(1) && waits[19] > Duration::from_secs(10));
        assert_eq!(delays.after(Wait::Exactly(Duration::ZERO)), Duration::ZERO);
        delays.reset();
        assert!(delays.after(Wait::Usual) <= Duration::from_secs(1));
        let crowded: Vec<_> = (0..5).map(|_| delays.after(Wait::Crowded)).collect();
        assert!(
            crowded[0] >= CROWDED && crowded[4] > 2 * CROWDED,
            "{crowded:?}"
        );
    }
}
