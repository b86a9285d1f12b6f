//! The streams: who listens to what, and the one task that makes the events.
//! An event is written once and shared by all who listen. Open candles are pushed every `update_every` of real time if
//! they changed; every close is sent, in order, however many candles passed since the last push.
//! A listener whose queue is full is cut off: nobody waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_util::sync::CancellationToken;

use super::World;
use super::bar::Bar;
use super::catalogue::{Catalogue, Contract};
use super::delivery::{self, Ear, Event, HeldBack};
use super::routes::{CandleKind, Form, StreamKey};
use super::subscribing::Known;
use super::wire::{self, Closed};
use crate::clock::Mono;
use crate::market::{Interval, OpenTime, TimeMs};

/// Events of one push to one connection.
pub(super) type Batch = Vec<Utf8Bytes>;
/// Pushes that may wait for a connection: 16 s at 250 ms. Then it is cut off.
pub(super) const QUEUE_BATCHES: usize = 64;
const TICKERS_EVERY_MS: u64 = 1_000;
/// Events are written once for all who listen: the path that faults of the clock are asked by.
const MARKET_PATH: &str = "/market";
/// Addresses of which it is remembered what they have subscribed.
const KEPT_ADDRESSES: usize = 1_000;

/// Who listens to what.
#[derive(Debug, Default)]
pub(super) struct Streams(Mutex<Registry>);

#[derive(Debug, Default)]
struct Registry {
    listeners: BTreeMap<u64, Listener>,
    live: BTreeMap<StreamKey, Live>,
    /// Which connection of an address subscribed a stream first.
    first: BTreeMap<IpAddr, BTreeMap<StreamKey, u64>>,
}

/// One connection's end of the deliveries.
#[derive(Debug)]
pub(super) struct Listener {
    /// The path and query it connected to.
    pub path: String,
    /// How it wants events written.
    pub form: Form,
    /// Into its session.
    pub queue: mpsc::Sender<Batch>,
    /// Ends its session when it is too slow.
    pub cut: CancellationToken,
}

#[derive(Debug)]
struct Live {
    name: String,
    /// The candle that is open: the next to close.
    cursor: OpenTime,
    /// The open candle as last pushed.
    pushed: Option<Bar>,
    listeners: BTreeSet<u64>,
    held_back: HeldBack,
}

/// What a pass of the streams task sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    Closes,
    ClosesAndOpen,
}

impl Streams {
    /// A connection begins to listen, to nothing yet.
    pub(super) fn join(&self, id: u64, listener: Listener) {
        self.registry().listeners.insert(id, listener);
    }

    /// A connection is gone.
    pub(super) fn leave(&self, id: u64) {
        let mut registry = self.registry();
        registry.listeners.remove(&id);
        registry.live.retain(|_, live| {
            live.listeners.remove(&id);
            !live.listeners.is_empty()
        });
    }

    /// Connection `id` wants the stream `key`, called `name`, from the candle that is open at `now` on.
    pub(super) fn listen(&self, id: u64, key: StreamKey, name: &str, now: TimeMs) {
        let cursor = match key {
            StreamKey::Candles { interval, .. } => interval.open_at(now),
            StreamKey::Tickers | StreamKey::ContractInfo => OpenTime::at(now),
        };
        let mut registry = self.registry();
        let live = registry.live.entry(key).or_insert_with(|| Live {
            name: name.to_owned(),
            cursor,
            pushed: None,
            listeners: BTreeSet::new(),
            held_back: HeldBack::default(),
        });
        live.listeners.insert(id);
        // A new listener sees the candle as it stands, even when nothing trades.
        live.pushed = None;
    }

    /// Whether `address` has subscribed the stream `key` on an earlier connection than `id`, which now does.
    pub(super) fn subscribed(&self, address: IpAddr, id: u64, key: StreamKey) -> Known {
        let mut registry = self.registry();
        if registry.first.len() >= KEPT_ADDRESSES && !registry.first.contains_key(&address) {
            return Known::New;
        }
        let first = registry.first.entry(address).or_default();
        if *first.entry(key).or_insert(id) < id {
            Known::Before
        } else {
            Known::New
        }
    }

    /// Connection `id` no longer wants the stream `key`.
    pub(super) fn unlisten(&self, id: u64, key: StreamKey) {
        let mut registry = self.registry();
        if let Some(live) = registry.live.get_mut(&key) {
            live.listeners.remove(&id);
            if live.listeners.is_empty() {
                registry.live.remove(&key);
            }
        }
    }

    /// Connection `id` wants its events written as `form`.
    pub(super) fn set_form(&self, id: u64, form: Form) {
        if let Some(listener) = self.registry().listeners.get_mut(&id) {
            listener.form = form;
        }
    }

    /// The shortest interval anybody listens to.
    fn shortest(&self) -> Option<Interval> {
        self.registry().live.keys().find_map(|key| match key {
            StreamKey::Candles { interval, .. } => Some(*interval),
            StreamKey::Tickers | StreamKey::ContractInfo => None,
        })
    }

    fn registry(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The streams task: pushes until the stop.
pub(super) async fn run(world: Arc<World>) {
    let push_every = u64::try_from(world.settings.update_every.as_millis()).unwrap_or(250);
    let mut next_push = Mono::now();
    let mut next_tickers = Mono::now();
    loop {
        let until_push = Duration::from_millis(next_push.ms_since(Mono::now()));
        let until_close = until_close(&world).unwrap_or(until_push).min(until_push);
        tokio::select! {
            () = world.tasks.stopping() => return,
            () = tokio::time::sleep(until_close) => {}
        }
        let now = Mono::now();
        if now < next_push {
            world.streams.registry().pass(&world, Pass::Closes);
            continue;
        }
        let mut registry = world.streams.registry();
        registry.pass(&world, Pass::ClosesAndOpen);
        if now >= next_tickers {
            registry.push_tickers(&world);
            next_tickers = now.plus_ms(TICKERS_EVERY_MS);
        }
        // From the plan, not from now: pushes keep their rhythm; after a stall the missed ones are left out.
        next_push = next_push.plus_ms(push_every).max(now.plus_ms(1));
    }
}

/// Real time until the next candle closes, when that is worth a wake-up of its own.
fn until_close(world: &World) -> Option<Duration> {
    let interval = world.streams.shortest()?;
    let now = world.clock.now();
    let real_length = interval.nominal_ms() as f64 / world.clock.speed();
    if real_length < world.settings.update_every.as_millis() as f64 * 4.0 {
        return None;
    }
    let next = interval.after(interval.open_at(now)).time();
    Some(world.clock.real_until(next).max(Duration::from_millis(1)))
}

impl Registry {
    fn pass(&mut self, world: &World, pass: Pass) {
        let now = world.clock.now();
        let told = world.skews.told(now, MARKET_PATH);
        let listed = world.market.catalogue();
        let disturbed = delivery::is_disturbed(world, now);
        let mut outbox = Outbox::new(&self.listeners);
        for (key, live) in &mut self.live {
            let (interval, contract, kind) = match *key {
                StreamKey::Candles {
                    interval,
                    contract,
                    kind,
                } => (interval, listed.get(contract), kind),
                StreamKey::ContractInfo => {
                    for event in live.contract_events(&listed, now, told) {
                        outbox.post_unstalled(world, live, now, event);
                    }
                    continue;
                }
                StreamKey::Tickers => continue,
            };
            let pen = Pen {
                contract,
                interval,
                kind,
                now,
                told,
            };
            let events = live.events(contract, interval, now, pass);
            if disturbed || !live.held_back.is_empty() {
                outbox.post_each(world, live, &pen, &events);
            } else {
                for event in &events {
                    outbox.post(&live.name, &live.listeners, pen.text(event));
                }
            }
        }
        self.deliver(outbox.batches);
    }

    fn push_tickers(&mut self, world: &World) {
        let Some(live) = self.live.get(&StreamKey::Tickers) else {
            return;
        };
        let now = world.clock.now();
        let told = world.skews.told(now, MARKET_PATH);
        let listed = world.market.catalogue();
        let contracts = listed.all().iter().filter(|c| c.is_trading(now));
        let mut rows: Vec<Value> = contracts
            .filter_map(|c| Some(wire::ticker_event(c, &c.last_day(now)?, told)))
            .collect();
        rows.push(wire::coin_margined_event(told));
        let mut outbox = Outbox::new(&self.listeners);
        outbox.post_unstalled(world, live, now, Value::Array(rows).to_string());
        self.deliver(outbox.batches);
    }

    fn deliver(&self, batches: BTreeMap<u64, Batch>) {
        for (id, batch) in batches {
            let Some(listener) = self.listeners.get(&id) else {
                continue;
            };
            if listener.queue.try_send(batch).is_err() {
                listener.cut.cancel(); // full: too slow; closed: gone already
            }
        }
    }
}

impl Live {
    /// What has changed of the contracts since the last pass.
    fn contract_events(&mut self, listed: &Catalogue, now: TimeMs, told: TimeMs) -> Vec<String> {
        let since = self.cursor.time();
        self.cursor = OpenTime::at(now);
        let contracts = listed.all().iter();
        contracts
            .flat_map(|c| c.life.changes(since, now).map(move |step| (c, step)))
            .map(|(contract, step)| wire::contract_event(contract, step, told))
            .collect()
    }

    /// The events due at `now`: every close that has passed, then the open candle if it changed and is traded.
    fn events(
        &mut self,
        contract: &Contract,
        interval: Interval,
        now: TimeMs,
        pass: Pass,
    ) -> Vec<Event> {
        let event = |open, bar, closed| Event {
            open,
            bar,
            closed,
            ahead_ms: 0,
        };
        let mut events = Vec::new();
        let mut next = interval.after(self.cursor);
        while next.time() <= now {
            // As it was when it closed: what is revised later is told by REST alone.
            let whole = contract
                .candles
                .closed_at(interval, self.cursor, next.time());
            if let Some(bar) = whole {
                events.push(event(self.cursor, bar, Closed::Yes));
            }
            self.cursor = next;
            self.pushed = None;
            next = interval.after(next);
        }
        if pass == Pass::Closes || !contract.is_trading(now) {
            return events;
        }
        let open = contract.candles.forming(interval, now);
        if let Some(bar) = open.filter(|bar| self.pushed != Some(*bar)) {
            events.push(event(self.cursor, bar, Closed::No));
            self.pushed = Some(bar);
        }
        events
    }
}

/// Writes the events of one stream.
struct Pen<'a> {
    contract: &'a Contract,
    interval: Interval,
    kind: CandleKind,
    now: TimeMs,
    /// The same by the exchange's clock.
    told: TimeMs,
}

impl Pen<'_> {
    fn text(&self, event: &Event) -> String {
        let write = match self.kind {
            CandleKind::Kline => wire::kline_event,
            CandleKind::Continuous => wire::continuous_event,
        };
        let stamp = self.told.plus_ms(event.ahead_ms);
        write(
            self.contract,
            self.interval,
            event.open,
            &event.bar,
            event.closed,
            stamp,
        )
    }
}

/// What one pass has for each connection.
struct Outbox<'a> {
    listeners: &'a BTreeMap<u64, Listener>,
    batches: BTreeMap<u64, Batch>,
}

impl<'a> Outbox<'a> {
    fn new(listeners: &'a BTreeMap<u64, Listener>) -> Self {
        Self {
            listeners,
            batches: BTreeMap::new(),
        }
    }

    /// Puts an event of the stream `name` into the batch of each of `ids`, in the form it wants.
    fn post(&mut self, name: &str, ids: &BTreeSet<u64>, raw: String) {
        let raw = Utf8Bytes::from(raw);
        let mut combined: Option<Utf8Bytes> = None;
        for id in ids {
            let Some(listener) = self.listeners.get(id) else {
                continue;
            };
            let text = match listener.form {
                Form::Raw => raw.clone(),
                Form::Combined => combined
                    .get_or_insert_with(|| {
                        format!("{{\"stream\":\"{name}\",\"data\":{raw}}}").into()
                    })
                    .clone(),
            };
            self.batches.entry(*id).or_default().push(text);
        }
    }

    /// As `post` of a stream without candles, to those for whom it is not stalled.
    fn post_unstalled(&mut self, world: &World, live: &Live, now: TimeMs, raw: String) {
        let hears = |id: &&u64| {
            let path = self.listeners.get(id).map_or("", |listener| &listener.path);
            let ear = Ear {
                world,
                now,
                connection: **id,
                path,
                name: &live.name,
                candles: None,
            };
            !ear.is_stalled()
        };
        let hearing = live.listeners.iter().filter(hears).copied().collect();
        self.post(&live.name, &hearing, raw);
    }

    /// As `post` for each connection by itself: faults may treat them differently.
    fn post_each(&mut self, world: &World, live: &mut Live, pen: &Pen<'_>, events: &[Event]) {
        live.held_back.retain(|id| live.listeners.contains(&id));
        for id in &live.listeners {
            let Some(listener) = self.listeners.get(id) else {
                continue;
            };
            let ear = Ear {
                world,
                now: pen.now,
                connection: *id,
                path: &listener.path,
                name: &live.name,
                candles: Some((&pen.contract.symbol, pen.interval, pen.contract.scale)),
            };
            for event in ear.hears(events, &mut live.held_back) {
                self.post(&live.name, &BTreeSet::from([*id]), pen.text(&event));
            }
        }
    }
}
