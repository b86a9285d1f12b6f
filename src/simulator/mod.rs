//! The simulated Binance USD-M exchange: a loopback server that speaks its REST and its streams over a generated or a
//! recorded market, on a clock of its own that may run up to 3,600 times as fast.
//! It keeps the books on what clients do wrong and knows the closed candles they must end up with (`truth`).
//! It writes its own wire JSON, never the adapter's types: one misreading must not be made twice.

mod bar;
mod candles;
mod catalogue;
mod clock;
mod generator;
mod names;
pub mod proxy;
mod replay;
mod requests;
mod rest;
mod routes;
mod server;
mod session;
mod settings;
mod stats;
mod streams;
mod weights;
mod wire;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;

pub use settings::{Direct, LegacyPaths, SimulatorError, SimulatorSettings, WeightTable};
pub use stats::{ConnectionReport, Counts, Rule, StatsReport, Violation};
pub use wire::TruthCandle;

use crate::market::{Interval, Symbol, TimeMs};
use crate::tasks::Tasks;
use catalogue::Catalogue;
use clock::SimClock;

/// A running simulated exchange; clones are handles to the same one. It stops with its `Tasks`.
#[derive(Debug, Clone)]
pub struct Simulator {
    world: Arc<World>,
    address: SocketAddr,
}

/// What all connections share.
#[derive(Debug)]
struct World {
    settings: SimulatorSettings,
    clock: SimClock,
    catalogue: Catalogue,
    budgets: Mutex<weights::Budgets>,
    stats: stats::Stats,
    streams: streams::Streams,
    proxies: proxy::Proxies,
    tasks: Tasks,
}

impl Simulator {
    /// Starts an exchange that listens on `listen` (port 0: a free one); it accepts when this returns.
    ///
    /// # Errors
    /// A setting out of its range, a replay file that is none, or an address that cannot be listened on.
    pub async fn start(
        settings: SimulatorSettings,
        listen: SocketAddr,
        tasks: &Tasks,
    ) -> Result<Self, SimulatorError> {
        let world = Arc::new(World::new(settings, tasks)?);
        let failed = |source| SimulatorError::Listen {
            address: listen,
            source,
        };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        tasks.spawn(
            "simulator listener",
            server::accept(listener, Arc::clone(&world)),
        );
        tasks.spawn("simulator streams", streams::run(Arc::clone(&world)));
        tracing::info!(%address, speed = world.clock.speed(), contracts = world.catalogue.all().len(), "simulated exchange listens");
        Ok(Self { world, address })
    }

    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The exchange's time.
    pub fn now(&self) -> TimeMs {
        self.world.clock.now()
    }

    /// How many times as fast as real time its clock runs.
    pub fn speed(&self) -> f64 {
        self.world.clock.speed()
    }

    /// The perpetuals that trade, in the order in which they are listed.
    pub fn symbols(&self) -> Vec<Symbol> {
        let perpetual = |c: &&catalogue::Contract| c.is_trading() && c.contract_type == "PERPETUAL";
        let contracts = self.world.catalogue.all().iter();
        contracts
            .filter(perpetual)
            .map(|c| c.symbol.clone())
            .collect()
    }

    /// The closed candles that open from `from` to `to` (both included; `None`: up to now), oldest first, at most
    /// 1,500; none for a contract that is not listed.
    pub fn truth(
        &self,
        symbol: &Symbol,
        interval: Interval,
        from: TimeMs,
        to: Option<TimeMs>,
    ) -> Vec<TruthCandle> {
        let now = self.now();
        self.world
            .catalogue
            .find(symbol.as_str())
            .map(|contract| rest::truth_candles(contract, interval, from, to.unwrap_or(now), now))
            .unwrap_or_default()
    }

    /// What clients have done so far, and which rules they broke.
    pub fn stats(&self) -> StatsReport {
        self.world.report()
    }
}

impl World {
    fn new(settings: SimulatorSettings, tasks: &Tasks) -> Result<Self, SimulatorError> {
        settings.check()?;
        let recordings = settings
            .replay
            .as_deref()
            .map(replay::read_dir)
            .transpose()?;
        let start = settings
            .start
            .or_else(|| recordings.as_ref().and_then(Catalogue::replay_start))
            .unwrap_or_else(crate::clock::wall);
        let catalogue = match recordings {
            Some(recordings) => Catalogue::replayed(recordings),
            None => Catalogue::generated(&settings, start),
        };
        Ok(Self {
            clock: SimClock::starting_at(start, settings.speed),
            catalogue,
            budgets: Mutex::default(),
            stats: stats::Stats::default(),
            streams: streams::Streams::default(),
            proxies: proxy::Proxies::default(),
            tasks: tasks.clone(),
            settings,
        })
    }

    /// The books, those of the proxies included.
    fn report(&self) -> StatsReport {
        let mut report = self.stats.report();
        self.proxies.tell(&mut report);
        report
    }
}
