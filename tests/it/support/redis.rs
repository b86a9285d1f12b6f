//! A real redis-server as a child process: started on a free port in a folder of its own, stopped, killed, paused,
//! started again. Killed when dropped. And a way to it that can be cut.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hamacast::store::redis::RedisSettings;
use hamacast::tasks::Tasks;
use redis::aio::MultiplexedConnection;
use tempfile::TempDir;

/// Whether what is written survives a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Keeps {
    /// Nothing: a restart empties it.
    #[default]
    Nothing,
    /// Every write is on disk before it is answered.
    Everything,
}

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub(crate) struct RedisOptions {
    /// `requirepass`.
    pub(crate) password: Option<&'static str>,
    /// Persistence.
    pub(crate) keeps: Keeps,
}

/// A running redis-server.
pub(crate) struct RedisServer {
    child: Child,
    port: u16,
    folder: TempDir,
    options: RedisOptions,
}

impl RedisServer {
    /// Starts an open server that keeps nothing, and waits until it answers.
    pub(crate) async fn start() -> Self {
        Self::with(RedisOptions::default()).await
    }

    /// Starts a server and waits until it answers.
    pub(crate) async fn with(options: RedisOptions) -> Self {
        // Another process may take a port between our closing it and the server's opening it: then another one.
        for _ in 0..5 {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = free.local_addr().unwrap().port();
            drop(free);
            let folder = tempfile::tempdir().unwrap();
            let mut server = Self {
                child: spawn(port, &folder, &options),
                port,
                folder,
                options: options.clone(),
            };
            if server.answers().await {
                return server;
            }
        }
        panic!("redis-server found no free port");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// `redis://` URL, with the password if there is one.
    pub(crate) fn url(&self) -> String {
        let password = self
            .options
            .password
            .map(|password| format!(":{password}@"));
        let password = password.unwrap_or_default();
        format!("redis://{password}127.0.0.1:{}/0", self.port)
    }

    /// Settings of the store for this server.
    pub(crate) fn settings(&self) -> RedisSettings {
        RedisSettings::of_url(&self.url()).unwrap()
    }

    /// A plain connection of the redis crate, to look behind the store's back.
    pub(crate) async fn client(&self) -> MultiplexedConnection {
        self.connect().await.expect("redis-server answers")
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn stop(&mut self) {
        self.signal("TERM");
        self.child.wait().unwrap();
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, after `stop` or `kill`, on the same port and folder.
    pub(crate) async fn restart(&mut self) {
        self.child = spawn(self.port, &self.folder, &self.options);
        assert!(self.answers().await, "redis-server ended at once");
    }

    /// SIGSTOP: its sockets stay open, and nothing is answered.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    async fn connect(&self) -> redis::RedisResult<MultiplexedConnection> {
        redis::Client::open(self.url())?
            .get_multiplexed_async_connection()
            .await
    }

    /// Waits until it answers PING; false when it ended instead.
    async fn answers(&mut self) -> bool {
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        for _ in 0..1_000 {
            tick.tick().await;
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            let Ok(mut client) = self.connect().await else {
                continue;
            };
            let ping: redis::RedisResult<String> =
                redis::cmd("PING").query_async(&mut client).await;
            if ping.is_ok() {
                return true;
            }
        }
        panic!("redis-server on port {} does not answer", self.port);
    }

    fn signal(&self, name: &str) {
        let (signal, pid) = (format!("-{name}"), self.child.id().to_string());
        let sent = Command::new("kill").args([signal, pid]).status().unwrap();
        assert!(sent.success(), "kill -{name}");
    }
}

/// A way to the server that one process goes alone: cut, it reaches nobody, and the others do not notice.
pub(crate) struct Line {
    address: SocketAddr,
    server: u16,
    tasks: Tasks,
}

impl Line {
    pub(crate) async fn to(server: &RedisServer) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let line = Self {
            address: listener.local_addr().unwrap(),
            server: server.port(),
            tasks: Tasks::new(),
        };
        line.carry(listener);
        line
    }

    /// Settings of a store that goes this way.
    pub(crate) fn settings(&self) -> RedisSettings {
        RedisSettings::of_url(&format!("redis://{}/0", self.address)).unwrap()
    }

    /// Every connection ends, and new ones are refused.
    pub(crate) async fn cut(&self) {
        self.tasks.stop();
        let left = self.tasks.drain(Duration::from_secs(10)).await;
        assert_eq!(left, Vec::<&str>::new());
    }

    pub(crate) async fn mend(&mut self) {
        let listener = tokio::net::TcpListener::bind(self.address).await.unwrap();
        self.tasks = Tasks::new();
        self.carry(listener);
    }

    fn carry(&self, listener: tokio::net::TcpListener) {
        let (server, tasks) = (self.server, self.tasks.clone());
        self.tasks.spawn("line", async move {
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let (client, _) = accepted.unwrap();
                        tasks.spawn_short("call", call(client, server, tasks.clone()));
                    }
                    () = tasks.stopping() => return,
                }
            }
        });
    }
}

async fn call(mut client: tokio::net::TcpStream, server: u16, tasks: Tasks) {
    let carried = async {
        let mut server = tokio::net::TcpStream::connect(("127.0.0.1", server)).await?;
        tokio::io::copy_bidirectional(&mut client, &mut server).await
    };
    tokio::select! {
        _ = carried => {}
        () = tasks.stopping() => {}
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16, folder: &TempDir, options: &RedisOptions) -> Child {
    let port = port.to_string();
    let mut command = Command::new("redis-server");
    command
        .args(["--port", &port, "--bind", "127.0.0.1", "--save", ""])
        .args(["--logfile", "redis.log", "--databases", "4", "--dir"])
        .arg(folder.path());
    match options.keeps {
        Keeps::Nothing => command.args(["--appendonly", "no"]),
        Keeps::Everything => command.args(["--appendonly", "yes", "--appendfsync", "always"]),
    };
    if let Some(password) = options.password {
        command.args(["--requirepass", password]);
    }
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("these tests need redis-server ({error}): apt-get install redis-server")
        })
}
