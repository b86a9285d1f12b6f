//! `hamacast healthcheck`: asks a running server whether its signals can be trusted; for containers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use crate::config::{Config, Sources};

const EXAMPLES: &str = "\
Examples:
  hamacast healthcheck
  hamacast healthcheck --url http://10.0.0.5:5000

Exit code 0: ready; 3: not ready, or nothing answers.";

/// Below Docker's own limit of 30 s, above a slow answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Arguments of `healthcheck`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct HealthcheckArgs {
    /// The server; when not given, the one HAMA_LISTEN names
    #[arg(long)]
    url: Option<String>,
}

pub(super) fn run(args: &HealthcheckArgs, sources: &Sources) -> anyhow::Result<ExitCode> {
    let base = match &args.url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => match Config::load(sources, &[]) {
            Ok(config) => format!("http://{}", reachable(config.listen.value)),
            Err(bad) => return Ok(super::refuse(&bad)),
        },
    };
    let Ok(url) = format!("{base}/readyz").parse::<reqwest::Url>() else {
        return Ok(super::usage(&format!(
            "'{base}' is no URL such as http://127.0.0.1:5000"
        )));
    };
    match super::run_to_end(ready(url))? {
        Ok(()) => {
            println!("ready");
            Ok(ExitCode::SUCCESS)
        }
        Err(why) => {
            eprintln!("hamacast: {base} is not ready: {why:#}");
            Ok(ExitCode::from(super::EXIT_NOT_READY))
        }
    }
}

async fn ready(url: reqwest::Url) -> anyhow::Result<()> {
    // The server is ours: a proxy meant for the exchange has no part in this.
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(TIMEOUT)
        .build()?;
    let answer = client.get(url).send().await?;
    let status = answer.status();
    if status == reqwest::StatusCode::OK {
        return Ok(());
    }
    let body: String = answer.text().await?.chars().take(500).collect();
    anyhow::bail!("{status} {body}")
}

/// Where a server that listens on `address` is reached from this machine: "all addresses" is none to connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = address.ip();
    let ip = match (ip.is_unspecified(), ip.is_ipv4()) {
        (true, true) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        (true, false) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        (false, _) => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_all_addresses_is_asked_on_this_machine() {
        for (listen, asked) in [
            ("0.0.0.0:5000", "127.0.0.1:5000"),
            ("[::]:5000", "[::1]:5000"),
            ("10.0.0.5:80", "10.0.0.5:80"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), asked);
        }
    }
}
