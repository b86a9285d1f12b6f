//! `serve` and an exchange that is not there, or does not know a name: it listens at once, says that it is not ready, and
//! comes up by itself; what only a person can mend ends it with one clear line.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpStream;

use crate::support::http_room::client;
use crate::support::hub::Client;
use crate::support::process::{Server, address_kept_free};

fn exchange(listen: &str) -> Server {
    let options = ["exchange", "--listen", listen, "--symbols", "3"];
    Server::start(&options, &[])
}

async fn get(address: &str, path: &str) -> (u16, Value) {
    let url = format!("http://{address}{path}");
    let answer = client().get(&url).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[test]
fn a_name_the_exchange_does_not_trade_ends_the_program_with_one_clear_line() {
    let exchange = exchange("127.0.0.1:0");
    let output = Command::new(env!("CARGO_BIN_EXE_hamacast"))
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env_clear()
        .env("HAMA_SYMBOLS", "BTCUSDT,NOPEUSDT")
        .env(
            "HAMA_BINANCE_REST_URL",
            format!("http://{}", exchange.address),
        )
        .env("HAMA_BINANCE_WS_URL", format!("ws://{}", exchange.address))
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    let why = "hamacast: HAMA_SYMBOLS: the exchange has no trading perpetual called NOPEUSDT; remove the name or mend it";
    assert_eq!(told.lines().last(), Some(why), "{told}");
    assert_eq!(told.matches("NOPEUSDT").count(), 1, "{told}");
    assert!(!told.contains("ERROR"), "{told}");
}

#[tokio::test]
async fn h31_serve_listens_without_an_exchange_and_comes_up_once_it_is_there() {
    let address = address_kept_free();
    let serve = Server::start(
        &["serve", "--listen", "127.0.0.1:0"],
        &[
            ("HAMA_TOP", "3"),
            ("HAMA_INTERVALS", "1m,5m"),
            ("HAMA_BINANCE_REST_URL", &format!("http://{address}")),
            ("HAMA_BINANCE_WS_URL", &format!("ws://{address}")),
        ],
    );
    let (status, ready) = get(&serve.address, "/readyz").await;
    assert_eq!((status, &ready["ready"]), (503, &Value::Bool(false)));
    let (_, state) = get(&serve.address, "/api/v1/status").await;
    assert_eq!(state["exchange"]["connections_wanted"], 0, "{state}");
    let exchange = exchange(&address);
    let socket = TcpStream::connect(&serve.address).await.unwrap();
    let mut feed = Client::over(socket, "/stream").await;
    while feed.next().await["data"]["series"]["live"] != 6 {}
    let (status, ready) = get(&serve.address, "/readyz").await;
    assert_eq!((status, &ready["ready"]), (200, &Value::Bool(true)));
    let mut state = Value::Null;
    while state["exchange"]["connections_wanted"] != 1 {
        feed.next().await; // the engine's figures are published twice a second
        state = get(&serve.address, "/api/v1/status").await.1;
    }
    feed.leave().await;
    assert_eq!(state["exchange"]["connections_up"], 1, "{state}");
    let (code, took) = serve.terminate();
    assert_eq!(code, Some(0), "after {took:?}");
    drop(exchange);
}

/// An hour's silence of the acknowledged names of a dead path must not pass for a calm market for long: it is told before
/// the connection is given up.
#[tokio::test]
async fn h08_a_path_that_never_delivers_is_told_within_seconds_of_the_start() {
    let exchange = exchange("127.0.0.1:0");
    let silent = r#"{"kind":"subscription.silent"}"#;
    let told = client()
        .post(format!("http://{}/sim/fault", exchange.address))
        .body(silent)
        .send();
    assert_eq!(told.await.unwrap().status().as_u16(), 200);
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join("exchange-away-dead-path.log");
    let serve = Server::start_logging(
        &["serve", "--listen", "127.0.0.1:0"],
        &[
            ("HAMA_TOP", "3"),
            ("HAMA_INTERVALS", "1m,5m"),
            (
                "HAMA_BINANCE_REST_URL",
                &format!("http://{}", exchange.address),
            ),
            ("HAMA_BINANCE_WS_URL", &format!("ws://{}", exchange.address)),
        ],
        &log,
    );
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    let mut said = String::new();
    let alarmed = async {
        while !said.contains("is this a dead path?") {
            tick.tick().await;
            said = std::fs::read_to_string(&log).unwrap();
        }
    };
    let alarmed = tokio::time::timeout(Duration::from_secs(60), alarmed).await;
    assert!(alarmed.is_ok() && !said.contains("stream lost"), "{said}");
    assert_eq!(serve.terminate().0, Some(0));
}
