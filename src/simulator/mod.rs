//! The simulated Binance USD-M exchange: a loopback server that speaks its REST and its streams over a generated or a
//! recorded market, on a clock of its own that may run up to 3,600 times as fast.
//! It keeps the books on what clients do wrong and knows the closed candles they must end up with (`truth`).
//! It writes its own wire JSON, never the adapter's types: one misreading must not be made twice.

mod alterations;
mod bar;
mod candles;
mod catalogue;
mod clock;
mod delivery;
mod edits;
mod fault;
mod generator;
mod life;
mod line;
mod names;
pub mod proxy;
mod replay;
mod requests;
mod responses;
mod rest;
mod routes;
mod server;
mod session;
mod settings;
mod skew;
mod spoil;
mod stats;
mod streams;
mod subscribing;
mod tape;
mod weights;
mod wire;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;

pub use fault::{
    BrokenRow, CandleFault, ClockFault, Connections, ExtremeDigits, Fault, FaultError, FaultKind,
    FaultReport, FaultState, FaultsReport, Margin, Phase, Refusing, RestFault, RightClose, Scope,
    StreamFault, SubscriptionFault, TransportFault, TunnelFault, UniverseFault, Wrapping,
};
pub use settings::{
    Direct, LegacyPaths, OutOfRange, SimulatorError, SimulatorSettings, WeightTable,
};
pub use stats::{ConnectionReport, Counts, Rule, StatsReport, Violation};
pub use wire::TruthCandle;

use crate::market::{Interval, Symbol, TimeMs};
use crate::tasks::Tasks;
use alterations::Alterations;
use catalogue::Catalogue;
use clock::SimClock;
use skew::Skews;

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
    /// The contracts and their candles, with what faults have made of them.
    market: Alterations,
    /// What the exchange's clock tells wrong.
    skews: Skews,
    budgets: Mutex<weights::Budgets>,
    stats: stats::Stats,
    streams: streams::Streams,
    faults: fault::Faults,
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
        tracing::info!(%address, speed = world.clock.speed(), contracts = world.market.catalogue().all().len(), "simulated exchange listens");
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
        let now = self.now();
        let listed = self.world.market.catalogue();
        let trading = listed.all().iter().filter(|contract| {
            let is_perpetual = contract.contract_type_at(now) == "PERPETUAL";
            is_perpetual && contract.is_listed(now) && contract.is_trading(now)
        });
        trading.map(|contract| contract.symbol.clone()).collect()
    }

    /// The closed candles that open from `from` to `to` (both included; `None`: up to now), oldest first, at most
    /// 100,000, as faults have made them; none for a contract that is not listed.
    pub fn truth(
        &self,
        symbol: &Symbol,
        interval: Interval,
        from: TimeMs,
        to: Option<TimeMs>,
    ) -> Vec<TruthCandle> {
        let now = self.now();
        let listed = self.world.market.catalogue();
        listed
            .listed(symbol.as_str(), now)
            .map(|contract| {
                let to = to.unwrap_or(now);
                rest::truth_candles(contract, interval, from, to, now, rest::MAX_TRUTH)
            })
            .unwrap_or_default()
    }

    /// Lets something go wrong.
    ///
    /// # Errors
    /// A fault with a parameter out of its range, or with a scope that means nothing for its kind.
    pub fn fault(&self, fault: Fault) -> Result<(), FaultError> {
        self.world.tell(vec![fault])
    }

    /// All faults since the start or the last `clear_faults`, and how often each struck.
    pub fn faults(&self) -> FaultsReport {
        self.world.faults_report()
    }

    /// Ends all faults. What they did to the exchange's data before stays: a delisting, a hole, a revision.
    pub fn clear_faults(&self) {
        self.world.clear_faults();
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
        let world = Self {
            clock: SimClock::starting_at(start, settings.speed),
            market: Alterations::none(settings.seed, catalogue),
            skews: Skews::default(),
            budgets: Mutex::default(),
            stats: stats::Stats::default(),
            streams: streams::Streams::default(),
            faults: fault::Faults::new(settings.seed),
            proxies: proxy::Proxies::default(),
            tasks: tasks.clone(),
            settings,
        };
        let told = world.tell_at(world.settings.faults.clone(), start);
        told.map_err(|error| SimulatorError::Fault { error })?;
        Ok(world)
    }

    /// Lets all of `faults` go wrong from now on or, if one cannot be, none.
    fn tell(&self, faults: Vec<Fault>) -> Result<(), FaultError> {
        self.tell_at(faults, self.clock.now())
    }

    fn tell_at(&self, faults: Vec<Fault>, now: TimeMs) -> Result<(), FaultError> {
        faults.iter().try_for_each(Fault::check)?;
        self.market.add(&faults, now)?;
        self.skews.add(&faults, now);
        self.faults.add(faults, now)
    }

    /// All faults and how often each struck: those of the market are counted where they strike.
    fn faults_report(&self) -> FaultsReport {
        let now = self.clock.now();
        let mut report = self.faults.report(now);
        let mut of_market = self.market.strikes(now).into_iter();
        for one in &mut report.faults {
            if alterations::alters(&one.fault.kind) {
                one.strikes = of_market.next().unwrap_or(0);
            } else if matches!(one.fault.kind, FaultKind::Clock(_)) {
                one.strikes = u64::from(one.state != FaultState::Waiting);
            }
        }
        report
    }

    fn clear_faults(&self) {
        self.market.clear(self.clock.now());
        self.skews.clear();
        self.faults.clear();
    }

    /// The books, those of the proxies included.
    fn report(&self) -> StatsReport {
        let mut report = self.stats.report();
        self.proxies.tell(&mut report);
        report
    }
}
