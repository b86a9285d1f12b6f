//! What the command line promises: help, settings and their source, exit codes. Runs the real binary, with no variable
//! but those given and in a folder of its own.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

use hamacast::config::TABLE;
use tempfile::TempDir;

struct Run {
    folder: TempDir,
    variables: Vec<(&'static str, &'static str)>,
}

impl Run {
    fn new(variables: &[(&'static str, &'static str)]) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            variables: variables.to_vec(),
        }
    }

    fn dot_env(self, text: &str) -> Self {
        std::fs::write(self.folder.path().join(".env"), text).unwrap();
        self
    }

    fn hamacast(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hamacast"));
        command.args(arguments).env_clear();
        command.envs(self.variables.iter().copied());
        let output = command.current_dir(self.folder.path()).output().unwrap();
        Ran(output)
    }
}

struct Ran(Output);

impl Ran {
    fn code(&self) -> Option<i32> {
        self.0.status.code()
    }

    fn out(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).unwrap()
    }

    fn err(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).unwrap()
    }

    fn settings(&self) -> Vec<(String, String, String)> {
        let rows: Vec<serde_json::Value> = serde_json::from_str(&self.out()).unwrap();
        let text = |row: &serde_json::Value, field: &str| row[field].as_str().unwrap().to_owned();
        rows.iter()
            .map(|row| (text(row, "name"), text(row, "value"), text(row, "source")))
            .collect()
    }

    fn setting(&self, name: &str) -> (String, String) {
        let row = self.settings().into_iter().find(|row| row.0 == name);
        row.map(|(_, value, source)| (value, source)).unwrap()
    }
}

fn pair(value: &str, source: &str) -> (String, String) {
    (value.to_owned(), source.to_owned())
}

#[test]
fn help_names_every_command_the_exit_codes_and_where_settings_are() {
    let ran = Run::new(&[]).hamacast(&["--help"]);
    assert_eq!(ran.code(), Some(0));
    let help = ran.out();
    for part in [
        "demo",
        "serve",
        "exchange",
        "analyze",
        "tail",
        "config",
        "healthcheck",
        "Exit codes",
        "hamacast config",
    ] {
        assert!(help.contains(part), "{part}: {help}");
    }
    assert_eq!(Run::new(&[]).hamacast(&["nonsense"]).code(), Some(2));
    assert_eq!(Run::new(&[]).hamacast(&[]).code(), Some(2));
}

#[test]
fn every_setting_but_the_secret_ones_is_a_flag_of_serve() {
    let help = Run::new(&[]).hamacast(&["serve", "--help"]).out();
    for entry in TABLE {
        let flag = format!(
            "--{} ",
            entry
                .name
                .trim_start_matches("HAMA_")
                .to_ascii_lowercase()
                .replace('_', "-")
        );
        assert_eq!(help.contains(&flag), !entry.secret, "{flag}");
    }
}

#[test]
fn config_tells_each_setting_and_where_it_came_from() {
    let run = Run::new(&[("HAMA_TOP", "50"), ("HAMA_LOG", "debug")]).dot_env(
        "HAMA_TOP=60\nHAMA_INTERVALS=\"15m,1h\" # two\nREDIS_PASSWORD=hush\nREDIS_HOST=h\n",
    );
    let ran = run.hamacast(&["config", "--json", "--log", "warn"]);
    assert_eq!(ran.code(), Some(0), "{}", ran.err());
    assert_eq!(ran.setting("HAMA_TOP"), pair("50", "environment"));
    assert_eq!(ran.setting("HAMA_LOG"), pair("warn", "flag"));
    assert_eq!(ran.setting("HAMA_INTERVALS"), pair("15m,1h", ".env"));
    assert_eq!(
        ran.setting("HAMA_LISTEN"),
        pair("127.0.0.1:5000", "default")
    );
    assert_eq!(ran.setting("REDIS_PASSWORD"), pair("***", ".env"));
    assert_eq!(ran.settings().len(), TABLE.len());
    let table = run.hamacast(&["config"]);
    assert!(table.out().lines().any(|line| {
        line.split_whitespace()
            .eq(["HAMA_TOP", "50", "environment"])
    }));
    assert!(!table.out().contains("hush") && !table.err().contains("hush"));
}

#[test]
fn all_wrong_settings_are_told_at_once_and_stop_the_start_with_2() {
    for command in ["config", "serve", "demo"] {
        let run = Run::new(&[("HAMA_TOP", "0"), ("HAMA_LOG_FORMAT", "xml")]);
        let ran = run.dot_env("HAMA_MAX_STREAMS=none\n").hamacast(&[command]);
        assert_eq!(ran.code(), Some(2), "{command}");
        assert_eq!(ran.out(), "");
        let told = ran.err();
        for part in [
            "HAMA_TOP='0' (environment): allowed: 1 to 600",
            "HAMA_LOG_FORMAT='xml' (environment): allowed: text or json",
            "HAMA_MAX_STREAMS='none' (.env): allowed: 1 to",
        ] {
            assert!(told.contains(part), "{command}: {part}: {told}");
        }
    }
}

#[test]
fn an_unknown_variable_is_a_warning_with_the_nearest_name() {
    let run = Run::new(&[
        ("HAMA_INTERVAL_S", "1h"),
        ("HAMA_SPEED", "2"),
        ("HAMA_URL", "x"),
    ]);
    let ran = run.dot_env("REDIS_PROT=1\n").hamacast(&["config"]);
    assert_eq!(ran.code(), Some(0));
    assert_eq!(ran.err().lines().count(), 2, "{}", ran.err());
    assert!(
        ran.err()
            .contains("HAMA_INTERVAL_S (environment) is no setting; did you mean HAMA_INTERVALS?")
    );
    assert!(
        ran.err()
            .contains("REDIS_PROT (.env) is no setting; did you mean REDIS_PORT?")
    );
}

#[test]
fn a_broken_line_of_the_file_stops_the_start_but_not_the_help() {
    let run = Run::new(&[]).dot_env("HAMA_TOP=5\nthis is secret and no setting\n");
    let ran = run.hamacast(&["config"]);
    assert_eq!(ran.code(), Some(2));
    assert!(
        ran.err().contains("line 2 (.env): allowed: NAME=value"),
        "{}",
        ran.err()
    );
    assert!(!ran.err().contains("secret"));
    assert_eq!(run.hamacast(&["--help"]).code(), Some(0));
}

#[test]
fn serve_refuses_what_it_cannot_keep_and_config_shows_it() {
    let run = Run::new(&[
        ("REDIS_CLUSTER_NODES", "r:1"),
        ("HAMA_API_KEYS", "me:hush"),
        ("HAMA_NOTIFY_FILE", "n.toml"),
    ]);
    let ran = run.hamacast(&["serve"]);
    assert_eq!(ran.code(), Some(2));
    assert_eq!(
        ran.err().matches("not in this version yet").count(),
        3,
        "{}",
        ran.err()
    );
    assert!(!ran.err().contains("hush"));
    assert_eq!(run.hamacast(&["config"]).code(), Some(0));
}

#[test]
fn exchange_says_where_it_listens_and_logs_as_the_settings_of_logging_say() {
    let cases: [(&[(&str, &str)], &str); 3] = [
        (&[], " INFO hamacast::simulator: simulated exchange listens"),
        (&[("HAMA_LOG_FORMAT", "json")], "{\"timestamp\":"),
        // What only the server means is not read.
        (&[("HAMA_LOG", "warn"), ("HAMA_TOP", "0")], ""),
    ];
    for (variables, log) in cases {
        let mut exchange = Command::new(env!("CARGO_BIN_EXE_hamacast"))
            .args(["exchange", "--listen", "127.0.0.1:0", "--symbols", "2"])
            .env_clear()
            .envs(variables.iter().copied())
            .current_dir(env!("CARGO_TARGET_TMPDIR"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(exchange.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        assert!(line.starts_with("listening on http://127.0.0.1:"), "{line}");
        let pid = exchange.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(told.unwrap().success());
        let ran = Ran(exchange.wait_with_output().unwrap());
        assert_eq!(ran.code(), Some(0));
        let said = ran.err();
        assert_eq!(said.is_empty(), log.is_empty(), "{said}");
        assert!(said.contains(log), "{said}");
    }
    let refused = Run::new(&[("HAMA_LOG", "hamacast=loud")]).hamacast(&["exchange"]);
    assert_eq!(refused.code(), Some(2));
    assert!(refused.err().contains("HAMA_LOG='hamacast=loud'"));
    let refused = Run::new(&[]).hamacast(&["exchange", "--speed", "0.5"]);
    assert_eq!(refused.code(), Some(2));
    let told = "HAMA_SPEED='0.5' (flag): allowed: 1 to 3600";
    assert!(refused.err().contains(told), "{}", refused.err());
}

#[test]
fn all_wrong_options_of_exchange_and_demo_are_told_at_once_with_their_variables() {
    let run = Run::new(&[
        ("HAMA_EXCHANGE_SYMBOLS", "9999"),
        ("HAMA_SPEEED", "3"),
        ("HAMA_WEIGHTS", "heavy"),
    ]);
    let run = run.dot_env("HAMA_PING_MS=soon\nHAMA_SEED=\n");
    let exchange = [
        "exchange",
        "--speed",
        "0",
        "--update-ms",
        "1",
        "--intervals",
        "15m,7m",
        "--proxy-login",
        "hush",
    ];
    let demo = [
        "demo",
        "--speed",
        "x",
        "--intervals",
        "7m",
        "--exchange-listen",
        "here",
    ];
    let cases: [(&[&str], &[&str]); 2] = [
        (
            &exchange,
            &[
                "HAMA_EXCHANGE_SYMBOLS='9999' (environment): allowed: 1 to 600",
                "HAMA_SPEED='0' (flag): allowed: 1 to 3600",
                "HAMA_UPDATE_MS='1' (flag): allowed: 10 to 10000",
                "HAMA_INTERVALS='15m,7m' (flag): allowed: ",
                "HAMA_WEIGHTS='heavy' (environment): allowed: measured or doc",
                "HAMA_PING_MS='soon' (.env): allowed: 10 to 604800000",
                "HAMA_EXCHANGE_PROXY_LOGIN='***' (flag): allowed: USER:PASSWORD",
            ],
        ),
        (
            &demo,
            &[
                "HAMA_SPEED='x' (flag): allowed: 1 to 3600",
                "HAMA_EXCHANGE_SYMBOLS='9999' (environment): allowed: 1 to 600",
                "HAMA_EXCHANGE_LISTEN='here' (flag): allowed: ",
                "HAMA_INTERVALS='7m' (flag): ",
            ],
        ),
    ];
    for (command, wanted) in cases {
        let ran = run.hamacast(command);
        assert_eq!((ran.code(), ran.out().as_str()), (Some(2), ""));
        let told = ran.err();
        for line in wanted {
            assert!(told.contains(line), "{line}\n{told}");
        }
        assert!(told.contains("HAMA_SPEEED (environment) is no setting; did you mean HAMA_SPEED?"));
        assert_eq!(told.lines().count(), wanted.len() + 1, "{told}");
        assert!(!told.contains("hush"), "{told}");
    }
}

#[test]
fn the_demo_takes_its_number_of_contracts_from_the_variable_too() {
    let run = Run::new(&[("HAMA_EXCHANGE_SYMBOLS", "0")]);
    let told = run.hamacast(&["demo"]).err();
    assert!(
        told.contains("HAMA_EXCHANGE_SYMBOLS='0' (environment)"),
        "{told}"
    );
    let help = run.hamacast(&["demo", "--help"]).out();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("[env: HAMA_EXCHANGE_SYMBOLS"), "{help}");
}

#[test]
fn healthcheck_of_nobody_is_3() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener); // nobody listens there now
    let ran = Run::new(&[]).hamacast(&["healthcheck", "--url", &format!("http://{address}")]);
    assert_eq!(ran.code(), Some(3), "{}", ran.err());
    assert!(ran.err().contains("is not ready"));
}
