//! The exchange's own proxies: HTTP CONNECT and SOCKS5, with logins and faults, which count whom their clients ask for, and
//! whether by name. Whatever the target, the tunnel leads to this exchange: they are no door to anything else, and a
//! client that looks the name up itself is seen at once. The exchange counts who came through them and who did not.

mod connect;
mod socks;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

use super::fault::{FaultKind, Opened, Place, TunnelFault};
use super::settings::{Direct, SimulatorError};
use super::stats::StatsReport;
use super::{Simulator, World, spoil};
use crate::tasks::Tasks;

/// A client may take that long to say what it wants.
const ASKING: Duration = Duration::from_secs(10);
/// With no fault ahead one that is told wakes us; a day is as good as any other time.
const LOOK_AGAIN: Duration = Duration::from_secs(86_400);
/// The clocks may disagree about when a fault begins: not in a hot loop.
const LEAST_WAIT: Duration = Duration::from_millis(1);
/// Targets counted by name; more share one line.
const KEPT_TARGETS: usize = 20;

/// Which protocol a proxy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyKind {
    /// HTTP CONNECT.
    Http,
    /// SOCKS5.
    Socks5,
}

/// What a proxy wants of its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyLogin {
    /// Who.
    pub user: String,
    /// The password.
    pub password: String,
}

/// What a proxy does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyFault {
    /// Nothing.
    None,
    /// It takes no login for a good one.
    Auth,
    /// It answers every request with this HTTP status; SOCKS5: 403 as "not allowed", others as "host unreachable".
    Refuse {
        /// The status.
        status: u16,
    },
    /// It takes the connection and says nothing.
    Hang,
    /// It cuts each new tunnel after so many bytes of the exchange's.
    DropAfter {
        /// How many.
        bytes: u64,
    },
}

/// Settings of one proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxySettings {
    /// Its protocol.
    pub kind: ProxyKind,
    /// What it wants of its clients; `None`: nothing.
    pub login: Option<ProxyLogin>,
    /// What it does wrong from the start.
    pub fault: ProxyFault,
}

/// What a proxy's clients did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ProxyReport {
    /// Its URL, without a login.
    pub url: String,
    /// Connections taken.
    pub connections: u64,
    /// Clients turned away for their login.
    pub wrong_logins: u64,
    /// Tunnels opened, by the target as the client wrote it, `host:port`.
    pub targets: BTreeMap<String, Targeted>,
}

/// How a target was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Targeted {
    /// By name, to be resolved here.
    pub by_name: u64,
    /// By address.
    pub by_address: u64,
}

/// A running proxy; clones are handles to the same one. It stops, and cuts its tunnels, with the `Tasks` it was given.
#[derive(Debug, Clone)]
pub struct SimProxy(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: ProxySettings,
    address: SocketAddr,
    world: Arc<World>,
    exchange: SocketAddr,
    fault: Mutex<ProxyFault>,
    cuts: watch::Sender<u64>,
    report: Arc<Mutex<ProxyReport>>,
}

/// Whom a client wants to reach.
struct Target {
    host: String,
    port: u16,
}

/// What the exchange knows of its proxies.
#[derive(Debug, Default)]
pub(super) struct Proxies(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    started: Vec<Arc<Mutex<ProxyReport>>>,
    /// Local ports of connections on their way from a proxy to the exchange.
    on_their_way: BTreeSet<u16>,
    proxied: u64,
    direct: u64,
}

impl SimProxy {
    /// Starts a proxy to `exchange` that listens on `listen` (port 0: a free one); it accepts when this returns.
    ///
    /// # Errors
    /// An address that cannot be listened on.
    pub async fn start(
        exchange: &Simulator,
        settings: ProxySettings,
        listen: SocketAddr,
        tasks: &Tasks,
    ) -> Result<Self, SimulatorError> {
        let failed = |source| SimulatorError::Listen {
            address: listen,
            source,
        };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let report = ProxyReport {
            url: url(settings.kind, address),
            ..ProxyReport::default()
        };
        let report = Arc::new(Mutex::new(report));
        let proxies = &exchange.world.proxies;
        proxies.known().started.push(Arc::clone(&report));
        let shared = Arc::new(Shared {
            fault: Mutex::new(settings.fault),
            settings,
            address,
            world: Arc::clone(&exchange.world),
            exchange: reachable(exchange.local_addr()),
            cuts: watch::channel(0).0,
            report,
        });
        let proxy = Self(shared);
        let accepting = accept(listener, Arc::clone(&proxy.0), tasks.clone());
        tasks.spawn("simulator proxy", accepting);
        Ok(proxy)
    }

    /// Its URL, without a login.
    pub fn url(&self) -> String {
        url(self.0.settings.kind, self.0.address)
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.0.address
    }

    /// What it does wrong from now on, where no fault of the exchange says otherwise; open tunnels are left alone.
    pub fn set_fault(&self, fault: ProxyFault) {
        *lock(&self.0.fault) = fault;
    }

    /// Cuts every open tunnel.
    pub fn cut(&self) {
        self.0.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// What its clients did so far.
    pub fn report(&self) -> ProxyReport {
        lock(&self.0.report).clone()
    }
}

impl Proxies {
    /// Whether a connection the exchange has just accepted is served; counts how it came.
    pub(super) fn lets_in(&self, client: SocketAddr, direct: Direct) -> bool {
        let mut known = self.known();
        if known.on_their_way.remove(&client.port()) {
            known.proxied += 1;
            return true;
        }
        known.direct += 1;
        direct == Direct::Counted
    }

    /// Adds what is known to the exchange's report.
    pub(super) fn tell(&self, report: &mut StatsReport) {
        let known = self.known();
        report.proxied_connections = known.proxied;
        report.direct_connections = known.direct;
        let proxies = known.started.iter();
        report.proxies = proxies.map(|proxy| lock(proxy).clone()).collect();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.0)
    }
}

impl Shared {
    fn count(&self, target: &Target) {
        let mut report = lock(&self.report);
        let mut line = format!("{}:{}", target.host, target.port);
        if report.targets.len() >= KEPT_TARGETS && !report.targets.contains_key(&line) {
            line = "other".to_owned();
        }
        let is_address = target.host.trim_matches(['[', ']']).parse::<IpAddr>();
        let targeted = report.targets.entry(line).or_default();
        match is_address {
            Ok(_) => targeted.by_address += 1,
            Err(_) => targeted.by_name += 1,
        }
    }

    /// What goes wrong with the next connection, and the number of the fault that says so.
    fn fault_of_the_next(&self) -> (ProxyFault, Option<u64>) {
        let pick = |kind: &FaultKind| kind.tunnel().and_then(TunnelFault::of_the_next);
        let (faults, now) = (&self.world.faults, self.world.clock.now());
        let struck = faults.strike(now, &Place::default(), "tunnel", pick);
        match struck.into_iter().next() {
            Some(strike) => (strike.what, Some(strike.number)),
            None => (*lock(&self.fault), None),
        }
    }

    /// Until a fault cuts the tunnel opened then.
    async fn cut_by_a_fault(&self, opened: Opened, number: u64) {
        let faults = &self.world.faults;
        let place = Place {
            opened: Some(opened),
            ..Place::default()
        };
        let is_cut = |kind: &FaultKind| (kind.tunnel() == Some(&TunnelFault::Cut {})).then_some(());
        let key = format!("tunnel {number}");
        let mut changes = faults.changes();
        loop {
            let looked = self.world.clock.now();
            if !faults.hold(looked, &place, &key, is_cut).is_empty() {
                return;
            }
            let ahead = faults.until_change(looked, &self.world.clock);
            tokio::select! {
                told = changes.changed() => if told.is_err() { return },
                () = tokio::time::sleep(ahead.map_or(LOOK_AGAIN, |ahead| ahead.max(LEAST_WAIT))) => {}
            }
        }
    }

    fn turned_away(&self) {
        lock(&self.report).wrong_logins += 1;
    }
}

async fn accept(listener: TcpListener, proxy: Arc<Shared>, tasks: Tasks) {
    loop {
        let accepted = tokio::select! {
            () = tasks.stopping() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((client, _)) => {
                let number = {
                    let mut report = lock(&proxy.report);
                    report.connections += 1;
                    report.connections
                };
                let serving = serve(client, number, Arc::clone(&proxy), tasks.clone());
                tasks.spawn_short("simulator tunnel", serving);
            }
            Err(error) => {
                tracing::warn!(%error, "simulated proxy: a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await; // out of descriptors: not in a hot loop
            }
        }
    }
}

async fn serve(client: TcpStream, number: u64, proxy: Arc<Shared>, tasks: Tasks) {
    let opened = proxy.world.faults.opened(proxy.world.clock.now());
    let mut cuts = proxy.cuts.subscribe();
    cuts.mark_unchanged();
    tokio::select! {
        () = tasks.stopping() => {}
        _ = cuts.changed() => {}
        () = proxy.cut_by_a_fault(opened, number) => {}
        done = tunnel(client, &proxy) => if let Err(error) = done {
            tracing::debug!(%error, "a tunnel ended");
        }
    }
}

async fn tunnel(mut client: TcpStream, proxy: &Shared) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (fault, number) = proxy.fault_of_the_next();
    if fault == ProxyFault::Hang {
        match number {
            Some(number) => spoil::until_over(&proxy.world, number).await,
            None => std::future::pending().await,
        }
        return Ok(());
    }
    let asking = async {
        match proxy.settings.kind {
            ProxyKind::Http => connect::ask(&mut client, proxy, fault).await,
            ProxyKind::Socks5 => socks::ask(&mut client, proxy, fault).await,
        }
    };
    let Some(target) = tokio::time::timeout(ASKING, asking).await?? else {
        return client.shutdown().await; // it was told why
    };
    proxy.count(&target);
    let exit = exit(proxy).await?;
    match proxy.settings.kind {
        ProxyKind::Http => connect::opened(&mut client).await?,
        ProxyKind::Socks5 => socks::opened(&mut client).await?,
    }
    let (mut from_client, mut to_client) = client.into_split();
    let (from_exchange, mut to_exchange) = exit.into_split();
    let most = match fault {
        ProxyFault::DropAfter { bytes } => bytes,
        ProxyFault::None | ProxyFault::Auth | ProxyFault::Refuse { .. } | ProxyFault::Hang => {
            u64::MAX
        }
    };
    let mut from_exchange = from_exchange.take(most);
    tokio::select! {
        _ = tokio::io::copy(&mut from_client, &mut to_exchange) => {}
        _ = tokio::io::copy(&mut from_exchange, &mut to_client) => {}
    }
    Ok(())
}

/// A connection to the exchange, which knows of its port before it can see it.
async fn exit(proxy: &Shared) -> io::Result<TcpStream> {
    let (socket, any) = match proxy.exchange {
        SocketAddr::V4(_) => (TcpSocket::new_v4()?, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        SocketAddr::V6(_) => (TcpSocket::new_v6()?, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
    };
    socket.bind(SocketAddr::new(any, 0))?;
    let port = socket.local_addr()?.port();
    let proxies = &proxy.world.proxies;
    proxies.known().on_their_way.insert(port);
    let connected = socket.connect(proxy.exchange).await;
    if connected.is_err() {
        proxies.known().on_their_way.remove(&port);
    }
    let exit = connected?;
    exit.set_nodelay(true)?;
    Ok(exit)
}

fn url(kind: ProxyKind, address: SocketAddr) -> String {
    let scheme = match kind {
        ProxyKind::Http => "http",
        ProxyKind::Socks5 => "socks5h",
    };
    format!("{scheme}://{address}")
}

/// Where an exchange that listens on every address can be reached.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(ip, address.port())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
