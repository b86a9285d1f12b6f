//! The real binary as a child process: started, heard to say where it listens, stopped.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running `hamacast` server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
}

impl Server {
    /// Starts `hamacast ARGUMENTS` with nothing in its environment but `variables`, and waits for its line.
    pub(crate) fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::spawn(arguments, variables, Stdio::inherit())
    }

    /// As `start`; its log goes into a file at `path`.
    pub(crate) fn start_logging(
        arguments: &[&str],
        variables: &[(&str, &str)],
        path: &Path,
    ) -> Self {
        let log = std::fs::File::create(path).unwrap();
        Self::spawn(arguments, variables, Stdio::from(log))
    }

    fn spawn(arguments: &[&str], variables: &[(&str, &str)], log: Stdio) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hamacast"))
            .args(arguments)
            .env_clear()
            .envs(variables.iter().copied())
            .current_dir(env!("CARGO_TARGET_TMPDIR"))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .trim()
            .strip_prefix("listening on http://")
            .unwrap_or_else(|| panic!("instead of its address it said {line:?}"))
            .to_owned();
        Self { child, address }
    }

    /// Process id, for the resident memory.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM.
    pub(crate) fn ask_to_end(&self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM and waits: the exit code and how long it took.
    pub(crate) fn terminate(mut self) -> (Option<i32>, Duration) {
        let told = Instant::now();
        self.ask_to_end();
        let code = self.child.wait().unwrap().code();
        (code, told.elapsed())
    }
}

/// An address nobody listens on, for a server that is to come there later. It is not `127.0.0.1`: there another test may be
/// given the same port meanwhile.
pub(crate) fn address_kept_free() -> String {
    let free = TcpListener::bind("127.31.0.1:0").unwrap();
    free.local_addr().unwrap().to_string()
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
