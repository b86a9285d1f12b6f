//! The request budget against an exchange that counts: whatever ends and begins in the middle of a minute, and whoever
//! else spends behind our address, the limit is kept and no ban is earned (hazard 30).

use std::net::{Ipv4Addr, SocketAddr};

use hamacast::market::{Interval, TimeMs};
use hamacast::simulator::{Simulator, SimulatorSettings};
use hamacast::tasks::Tasks;
use tokio::net::TcpStream;

use crate::support::http_room::client;
use crate::support::hub::Client;
use crate::support::process::Server;

/// A minute of the exchange in 15 s of ours, and one that has just begun.
const SPEED: f64 = 4.0;
const NEW_MINUTE: TimeMs = TimeMs::new(1_800_000_000_000);

async fn exchange(symbols: usize, tasks: &Tasks) -> Simulator {
    let settings = SimulatorSettings {
        symbols,
        intervals: vec![Interval::M1, Interval::M5, Interval::M15],
        speed: SPEED,
        start: Some(NEW_MINUTE),
        ..SimulatorSettings::default()
    };
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Simulator::start(settings, free, tasks).await.unwrap()
}

fn serve(exchange: &Simulator, symbols: usize) -> Server {
    let address = exchange.local_addr();
    Server::start(
        &["serve", "--listen", "127.0.0.1:0"],
        &[
            ("HAMA_TOP", &symbols.to_string()),
            ("HAMA_INTERVALS", "1m,5m,15m"),
            ("HAMA_BINANCE_REST_URL", &format!("http://{address}")),
            ("HAMA_BINANCE_WS_URL", &format!("ws://{address}")),
        ],
    )
}

/// Waits for the beat that says that so many series are live.
async fn live(server: &Server, series: u64) {
    let socket = TcpStream::connect(&server.address).await.unwrap();
    let mut client = Client::over(socket, "/stream").await;
    while client.next().await["data"]["series"]["live"].as_u64() < Some(series) {}
    client.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h30_restarts_in_mid_minute_never_pass_the_exchanges_limit() {
    let tasks = Tasks::new();
    let exchange = exchange(180, &tasks).await;
    for _ in 0..3 {
        let server = serve(&exchange, 180);
        live(&server, 300).await;
        server.kill();
    }
    let server = serve(&exchange, 180);
    live(&server, 540).await;
    let stats = exchange.stats();
    println!("weight peak {} of 2400 a minute", stats.totals.weight_peak);
    assert_eq!(stats.violation_count, 0, "{:?}", stats.violations);
    assert!(stats.totals.weight_peak <= 2_400);
    let (code, _) = server.terminate();
    assert_eq!(code, Some(0));
    tasks.drain(std::time::Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h30_when_another_spends_the_whole_minute_in_the_middle_of_a_backfill_no_ban_is_earned() {
    let tasks = Tasks::new();
    let exchange = exchange(120, &tasks).await;
    let server = serve(&exchange, 120);
    live(&server, 60).await;
    let address = exchange.local_addr();
    let url = format!("http://{address}/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=1500");
    loop {
        let answer = client().get(&url).send().await.unwrap();
        let used = answer.headers()["x-mbx-used-weight-1m"].to_str().unwrap();
        if used.parse::<u32>().unwrap() >= 2_400 || answer.status() != 200 {
            break;
        }
    }
    live(&server, 360).await;
    let stats = exchange.stats();
    assert_eq!(
        stats.totals.requests_while_banned, 0,
        "{:?}",
        stats.violations
    );
    let (code, _) = server.terminate();
    assert_eq!(code, Some(0));
    tasks.drain(std::time::Duration::from_secs(5)).await;
}
