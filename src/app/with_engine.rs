//! The engine's part of a process: its own, alone or sharing the log in Redis with others; or another process'.

use std::sync::Arc;

use anyhow::Context;
use tokio::sync::mpsc;

use super::{Rooms, proxy, quiet};
use crate::clock::ExchangeClock;
use crate::config::Config;
use crate::engine::{
    self, Beginning, EngineHandle, EngineSettings, Operation, TechnicalFigures, WatchList,
};
use crate::exchange::Exchange;
use crate::exchange::binance::{Binance, BinanceSettings};
use crate::market::Interval;
use crate::store::redis::{Fallback, Part, RedisStore};
use crate::store::{Batch, Store, WRITE_QUEUE};
use crate::tasks::Tasks;

/// Starts it; what it says goes to `readers`.
pub(super) async fn start(
    config: &Config,
    rooms: Rooms,
    store: &Store,
    readers: Vec<mpsc::Sender<Arc<Batch>>>,
    clock: &ExchangeClock,
    tasks: &Tasks,
) -> anyhow::Result<EngineHandle> {
    let has_engine = rooms != Rooms::Hub && config.scheduler.enabled.value;
    Ok(match store {
        Store::Redis(redis) if !has_engine => {
            redis.follow(readers, clock, tasks);
            engine::remote(redis, clock, tasks)
        }
        Store::Redis(redis) => {
            let exchange = exchange(config, clock)?;
            let url = &config.exchange.rest_url.value;
            quiet::keep(redis, url, &exchange, tasks).await;
            join(config, rooms, (redis, exchange), readers, clock, tasks)
        }
        Store::Memory(view) => {
            let exchange = exchange(config, clock)?;
            let (writes, inbox) = mpsc::channel(WRITE_QUEUE);
            tasks.spawn("store writer", view.clone().write_all(inbox, readers));
            let (settings, clock) = (engine_settings(config), clock.clone());
            let interest = store.interest().clone();
            engine::start(&settings, exchange, clock, writes, None, interest, tasks)
        }
    })
}

/// An engine that shares the log in Redis with others: it speaks while it holds the lease.
fn join(
    config: &Config,
    rooms: Rooms,
    (redis, exchange): (&RedisStore, Exchange),
    readers: Vec<mpsc::Sender<Arc<Batch>>>,
    clock: &ExchangeClock,
    tasks: &Tasks,
) -> EngineHandle {
    let settings = EngineSettings {
        beginning: Beginning::Silent,
        technical: TechnicalFigures::Written,
        ..engine_settings(config)
    };
    let part = Part {
        primary: settings.intervals.first().copied().unwrap_or(Interval::M15),
        fallback: match rooms {
            Rooms::All => Fallback::Memory,
            Rooms::Engine | Rooms::Hub => Fallback::Wait,
        },
    };
    let (writes, inbox) = mpsc::channel(WRITE_QUEUE);
    let ties = redis.join(part, inbox, readers, clock, tasks);
    let voice = Some(ties.voice);
    let interest = redis.view().interest().clone();
    let local = engine::start(
        &settings,
        exchange,
        clock.clone(),
        writes,
        voice,
        interest,
        tasks,
    );
    let hubs = engine::serve_hubs(
        local.clone(),
        redis.clone(),
        ties.orders,
        ties.watched,
        tasks.clone(),
    );
    tasks.spawn("orders of hubs", hubs);
    engine::routed(&local, redis, tasks)
}

fn exchange(config: &Config, clock: &ExchangeClock) -> anyhow::Result<Exchange> {
    let binance = Binance::new(&binance(config)?, clock.clone())?;
    Ok(Exchange::Binance(binance))
}

fn binance(config: &Config) -> anyhow::Result<BinanceSettings> {
    Ok(BinanceSettings {
        rest_url: config.exchange.rest_url.value.clone(),
        ws_url: config.exchange.ws_url.value.clone(),
        proxy: proxy(config).context(config.proxy_variable())?,
        ..BinanceSettings::default()
    })
}

fn engine_settings(config: &Config) -> EngineSettings {
    let named = &config.watch.symbols.value;
    let watch_list = if named.is_empty() {
        WatchList::Top(config.watch.top.value)
    } else {
        WatchList::Named(named.clone())
    };
    let operation = if config.scheduler.auto_start.value {
        Operation::Running
    } else {
        Operation::Stopped
    };
    EngineSettings {
        operation,
        max_watched: config.watch.max_watched.value,
        sweep_every: config.scheduler.interval.value,
        ..EngineSettings::new(watch_list, config.watch.intervals.value.clone())
    }
}
