//! What runs beside the benchmark: the real binary and redis-server, each a child process that ends with its handle.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;

/// `CLK_TCK` of Linux, what /proc counts processor time in.
const TICKS_PER_S: f64 = 100.0;

/// A child process that listens.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    _folder: TempDir,
}

pub(crate) fn redis_is_installed() -> anyhow::Result<()> {
    let version = Command::new("redis-server")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    ensure!(
        version.is_ok(),
        "this benchmark needs redis-server 7: apt-get install redis-server"
    );
    Ok(())
}

impl Process {
    /// `hamacast ARGUMENTS` on a free port, with nothing in its environment but `variables`; it listens when this returns.
    pub(crate) fn hamacast(
        arguments: &[&str],
        variables: &[(&str, String)],
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_hamacast"))
            .args(arguments)
            .args(["--listen", "127.0.0.1:0"])
            .env_clear()
            .env("HAMA_LOG", "error")
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("no stdout")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on http://");
        let address = address.with_context(|| format!("{arguments:?} said {line:?}"))?;
        Ok(Self {
            address: address.to_owned(),
            child,
            _folder: folder,
        })
    }

    /// A redis-server on a free port that keeps nothing; it answers when this returns.
    pub(crate) async fn redis() -> anyhow::Result<Self> {
        let free = TcpListener::bind("127.0.0.1:0")?;
        let address = free.local_addr()?;
        drop(free);
        let folder = tempfile::tempdir()?;
        let port = address.port().to_string();
        let child = Command::new("redis-server")
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "no", "--logfile", "redis.log", "--dir"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()?;
        let process = Self {
            child,
            address: address.to_string(),
            _folder: folder,
        };
        let mut again = tokio::time::interval(Duration::from_millis(10));
        for _ in 0..500 {
            again.tick().await;
            if pong(&process.address).is_ok() {
                return Ok(process);
            }
        }
        bail!("redis-server on {address} does not answer")
    }

    /// As the product's `REDIS_URL`.
    pub(crate) fn redis_url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    /// User and system time so far, in seconds.
    pub(crate) fn cpu_s(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields = stat.rsplit(')').next().context("no fields")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks: f64 = fields.get(11).context("utime")?.parse::<f64>()?
            + fields.get(12).context("stime")?.parse::<f64>()?;
        Ok(ticks / TICKS_PER_S)
    }

    pub(crate) fn rss_mib(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        let kib: f64 = number.context("no VmRSS")?.parse()?;
        Ok(kib / 1_024.0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pong(address: &str) -> anyhow::Result<()> {
    let mut socket = TcpStream::connect(address)?;
    socket.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    socket.read_exact(&mut answer)?;
    ensure!(answer == *b"+PONG\r\n", "no pong");
    Ok(())
}
