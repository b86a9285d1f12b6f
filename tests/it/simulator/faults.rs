//! Faults of the simulated exchange strike what they are told to, and nothing else: seen through plain sockets.
//! How they are told: over HTTP, by a timeline file, in the process.

mod rest;
mod stream;
mod subscription;
mod transport;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use futures::StreamExt as _;
use hamacast::simulator::{Fault, FaultState, SimulatorSettings};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{Client, Exchange, PATIENCE, settings};

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Reset,
    /// Without a close frame.
    Cut,
    Closed(u16, String),
}

fn parsed(json: &str) -> Vec<Fault> {
    Fault::parse_all(json).unwrap()
}

impl Exchange {
    fn tell(&self, json: &str) {
        for fault in parsed(json) {
            self.simulator.fault(fault).unwrap();
        }
    }

    /// How often each fault has struck.
    fn strikes(&self) -> Vec<u64> {
        let report = self.simulator.faults();
        report.faults.iter().map(|fault| fault.strikes).collect()
    }

    async fn until_struck(&self, strikes: &[u64]) {
        let give_up = Instant::now() + PATIENCE;
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        while self.strikes() != strikes {
            assert!(Instant::now() < give_up, "{:?}", self.simulator.faults());
            tick.tick().await;
        }
    }

    async fn send(&self, method: reqwest::Method, body: &str) -> (u16, Value) {
        let url = format!("http://{}/sim/fault", self.simulator.local_addr());
        let request = self.http.request(method, url).body(body.to_owned());
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (
            status,
            serde_json::from_str(&response.text().await.unwrap()).unwrap(),
        )
    }
}

impl Client {
    /// What is heard until the end, and the end.
    async fn ended(&mut self) -> (Vec<Value>, Ended) {
        let mut heard = Vec::new();
        loop {
            let until = self.1.min(Instant::now() + PATIENCE);
            let frame = tokio::time::timeout_at(until, self.0.next()).await;
            match frame.expect("an end within 20 s") {
                Some(Ok(Message::Text(text))) => heard.push(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(Some(close)))) => {
                    let reason = close.reason.to_string();
                    return (heard, Ended::Closed(close.code.into(), reason));
                }
                Some(Ok(Message::Pong(_))) => heard.push(json!("pong")),
                Some(Ok(_)) => {}
                None | Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => {
                    return (heard, Ended::Cut);
                }
                Some(Err(Error::Io(error)))
                    if error.kind() == std::io::ErrorKind::ConnectionReset =>
                {
                    return (heard, Ended::Reset);
                }
                Some(Err(error)) => panic!("{error}"),
            }
        }
    }

    /// Answered, so alive.
    async fn is_alive(&mut self) {
        let answer = self
            .answer(r#"{"method":"LIST_SUBSCRIPTIONS","id":77}"#)
            .await;
        assert_eq!(answer["id"], 77);
    }
}

#[tokio::test]
async fn faults_are_told_listed_and_ended_over_http() {
    let exchange = Exchange::start(settings()).await;
    let (status, none) = exchange.send(reqwest::Method::GET, "").await;
    assert_eq!((status, &none["faults"]), (200, &json!([])));
    let (status, told) = exchange
        .send(
            reqwest::Method::POST,
            r#"[{"kind":"rest.status","status":503,"path":"/fapi/v1/ping","count":1},
                {"kind":"transport.stall","symbol":"BTCUSDT","after_ms":3600000,"for_ms":1000}]"#,
        )
        .await;
    assert_eq!(status, 200, "{told}");
    let [first, second] = [&told["faults"][0], &told["faults"][1]];
    assert_eq!(
        (&first["number"], &first["state"]),
        (&json!(1), &json!("in_force"))
    );
    assert_eq!(
        (&second["kind"], &second["state"]),
        (&json!("transport.stall"), &json!("waiting"))
    );
    let begins = second["from_ms"].as_i64().unwrap();
    assert_eq!(second["to_ms"].as_i64().unwrap(), begins + 1_000);
    assert!(begins - told["now_ms"].as_i64().unwrap() <= 3_600_000);
    exchange.get("/fapi/v1/ping").await.refused(503, -1008);
    assert_eq!(exchange.get("/fapi/v1/ping").await.status, 200);
    let (_, listed) = exchange.send(reqwest::Method::GET, "").await;
    assert_eq!(listed["faults"][0]["strikes"], 1);
    assert_eq!(listed["faults"][0]["state"], "over");
    let (status, cleared) = exchange.send(reqwest::Method::DELETE, "").await;
    assert_eq!((status, &cleared["faults"]), (200, &json!([])));
}

#[tokio::test]
async fn what_is_not_understood_changes_nothing_and_says_what_is_allowed() {
    let exchange = Exchange::start(settings()).await;
    let bad = [
        (r#"[{"kind":"rest.empty"},{"kind":"rest.void"}]"#, "`empty`"),
        (r#"{"kind":"rest.status","status":302}"#, "allowed 403"),
        (
            r#"{"kind":"rest.empty","symbols":"BTCUSDT"}"#,
            "unknown field `symbols`",
        ),
        ("[", "JSON"),
    ];
    for (body, says) in bad {
        let (status, answer) = exchange.send(reqwest::Method::POST, body).await;
        assert_eq!(status, 400, "{answer}");
        assert!(answer["msg"].as_str().unwrap().contains(says), "{answer}");
    }
    let (status, answer) = exchange.send(reqwest::Method::PUT, "{}").await;
    assert_eq!(status, 405, "{answer}");
    assert_eq!(exchange.simulator.faults().faults, []);
    assert_eq!(exchange.get("/fapi/v1/ping").await.status, 200);
}

#[tokio::test]
async fn a_timeline_counts_from_the_start() {
    let exchange = Exchange::start(SimulatorSettings {
        faults: parsed(
            r#"[{"kind":"rest.status","status":500,"for_ms":3600000,"path":"/fapi/v1/time"},
                {"kind":"rest.status","status":502,"after_ms":3600000}]"#,
        ),
        ..settings()
    })
    .await;
    exchange.get("/fapi/v1/time").await.refused(500, -1001);
    assert_eq!(exchange.get("/fapi/v1/ping").await.status, 200);
    let states = exchange.simulator.faults().faults;
    assert_eq!(states[0].fault.scope.from_ms, Some(super::START_MS));
    assert_eq!(
        (states[0].state, states[1].state),
        (FaultState::InForce, FaultState::Waiting)
    );
    assert_eq!((states[0].strikes, states[1].strikes), (1, 0));
}

#[test]
fn the_command_reads_a_timeline_file_and_refuses_a_bad_one_with_exit_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("faults.json");
    let exchange = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hamacast"));
        command.args([
            "exchange",
            "--listen",
            "127.0.0.1:0",
            "--symbols",
            "2",
            "--fault",
        ]);
        command.arg(&file).env_clear().current_dir(folder.path());
        command
    };
    for (text, says) in [
        (r#"[{"kind":"rest.void"}]"#, "expected one of `status`"),
        ("{", "JSON"),
        (
            r#"{"kind":"transport.close","code":5}"#,
            "allowed 1000 to 1003",
        ),
    ] {
        let refused = exchange(text).output().unwrap();
        assert_eq!(refused.status.code(), Some(2));
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(
            said.contains("faults.json") && said.contains(says),
            "{said}"
        );
    }
    let mut running = exchange(r#"[{"kind":"rest.status","status":504}]"#)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(running.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on http://").unwrap();
    let answer = first_line(address, "/fapi/v1/ping");
    running.kill().unwrap();
    running.wait().unwrap();
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
}

fn first_line(address: &str, path: &str) -> String {
    use std::io::Write as _;
    let mut socket = std::net::TcpStream::connect(address).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut line = String::new();
    BufReader::new(socket).read_line(&mut line).unwrap();
    line
}

/// The JSON blocks of the document.
fn documented() -> Vec<Fault> {
    let document = include_str!("../../../docs/simulator.md");
    let blocks = document.split("```json\n").skip(1);
    blocks
        .flat_map(|block| {
            let json = block.split_once("```").unwrap().0;
            Fault::parse_all(json).unwrap_or_else(|error| panic!("{json}: {error}"))
        })
        .collect()
}

#[test]
fn every_documented_fault_can_be_told_and_every_kind_is_documented() {
    let documented: Vec<_> = documented().iter().map(Fault::name).collect();
    for group in [
        "transport",
        "subscription",
        "stream",
        "rest",
        "candle",
        "universe",
        "clock",
        "proxy",
    ] {
        let refused = Fault::parse_all(&format!(r#"{{"kind":"{group}.nothing"}}"#));
        let allowed = refused.unwrap_err().to_string();
        let (_, kinds) = allowed.split_once("expected one of ").unwrap();
        let (kinds, _) = kinds.split_once(" (").unwrap();
        for kind in kinds.split(", ") {
            let name = format!("{group}.{}", kind.trim_matches('`'));
            assert!(documented.contains(&name), "docs/simulator.md lacks {name}");
        }
    }
}
