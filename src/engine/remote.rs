//! The engine of another process, through Redis: orders go there as JSON and come back answered; what the active engine
//! says of itself is published here, so that REST in a hub answers as beside an engine. And the other side: the process
//! of the active engine carries out what hubs order.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::chart::Chart;
use super::handle::{EngineHandle, EngineInfo, Universe};
use super::order::{Order, OrderError, SchedulerInfo, StartOrder, Started};
use crate::clock::ExchangeClock;
use crate::market::SeriesKey;
use crate::store::RedisStore;
use crate::store::redis::{GivenOrder, OrderLost, WatchedSeries};
use crate::tasks::Tasks;

/// How often hubs are told of the engine, when anything is new.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Orders of this process that may wait; full, the asker waits until its deadline.
const ORDER_QUEUE: usize = 64;

/// Longer than any order takes the engine.
const ANSWER_WITHIN: Duration = Duration::from_secs(12);

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Asked {
    Chart { key: SeriesKey, limit: usize },
    Start(StartOrder),
    Stop,
    Refresh(SeriesKey),
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answered {
    Chart(Result<Option<Chart>, OrderError>),
    Start(Result<Started, OrderError>),
    Stop(Result<(), OrderError>),
    Refresh(Result<(), OrderError>),
}

/// What an engine says of itself.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct About {
    universe: Universe,
    info: EngineInfo,
    scheduler: SchedulerInfo,
}

/// A handle on whichever engine is active: a hub's.
pub fn remote(store: &RedisStore, clock: &ExchangeClock, tasks: &Tasks) -> EngineHandle {
    let (orders, asked) = mpsc::channel(ORDER_QUEUE);
    let (universe, universe_seen) = watch::channel(Arc::default());
    let (info, info_seen) = watch::channel(EngineInfo::default());
    let (scheduler, scheduler_seen) = watch::channel(SchedulerInfo::default());
    let mut watched = store.watched();
    let mirror = async move {
        while watched.changed().await.is_ok() {
            let json = watched.borrow_and_update().about.clone();
            if json.is_empty() {
                continue; // an engine that has just begun has not said it yet
            }
            match serde_json::from_str::<About>(&json) {
                Ok(about) => {
                    universe.send_replace(Arc::new(about.universe));
                    info.send_replace(about.info);
                    scheduler.send_replace(about.scheduler);
                }
                Err(error) => {
                    tracing::warn!(%error, "what the engine says of itself is not readable");
                }
            }
        }
    };
    let stopping = tasks.clone();
    tasks.spawn("engine mirror", async move {
        tokio::select! {
            () = mirror => {}
            () = stopping.stopping() => {}
        }
    });
    let routes = Routes {
        store: store.clone(),
        local: None,
    };
    tasks.spawn("engine orders", routes.run(asked, tasks.clone()));
    let seen = (universe_seen, info_seen, scheduler_seen);
    EngineHandle::new(seen.0, seen.1, seen.2, orders, clock.clone())
}

/// A handle on `local` that sends what changes something, or rewrites the cache, to whichever engine is active.
pub fn routed(local: &EngineHandle, store: &RedisStore, tasks: &Tasks) -> EngineHandle {
    let (orders, asked) = mpsc::channel(ORDER_QUEUE);
    let routes = Routes {
        store: store.clone(),
        local: Some(local.clone()),
    };
    tasks.spawn("engine orders", routes.run(asked, tasks.clone()));
    local.with_orders(orders)
}

/// Where orders of this process go.
struct Routes {
    store: RedisStore,
    local: Option<EngineHandle>,
}

impl Routes {
    async fn run(self, mut asked: mpsc::Receiver<Order>, tasks: Tasks) {
        let stopping = tasks.clone();
        let work = async move {
            while let Some(order) = asked.recv().await {
                let is_chart = matches!(order, Order::Chart { .. });
                let here = self.local.as_ref();
                let here = here.filter(|_| is_chart || self.store.speaks_here());
                match here {
                    Some(local) => local.pass(order).await,
                    None => {
                        let asking = ask(self.store.clone(), order);
                        tasks.spawn_short("order to the active engine", asking);
                    }
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = stopping.stopping() => {}
        }
    }
}

/// Carries an order to the active engine and its answer back.
async fn ask(store: RedisStore, order: Order) {
    match order {
        Order::Chart { key, limit, answer } => {
            // Whatever went wrong, there are no candles; the asker's own deadline says the rest.
            if let Ok(Answered::Chart(Ok(chart))) = tell(&store, &Asked::Chart { key, limit }).await
            {
                let _ = answer.send(chart);
            }
        }
        Order::Start { order, answer } => {
            let outcome = match tell(&store, &Asked::Start(order)).await {
                Ok(Answered::Start(outcome)) => outcome,
                other => Err(unanswered(other)),
            };
            let _ = answer.send(outcome);
        }
        Order::Stop { answer } => {
            let outcome = match tell(&store, &Asked::Stop).await {
                Ok(Answered::Stop(outcome)) => outcome,
                other => Err(unanswered(other)),
            };
            let _ = answer.send(outcome);
        }
        Order::Refresh { key, answer } => {
            let outcome = match tell(&store, &Asked::Refresh(key)).await {
                Ok(Answered::Refresh(outcome)) => outcome,
                other => Err(unanswered(other)),
            };
            let _ = answer.send(outcome);
        }
    }
}

async fn tell(store: &RedisStore, asked: &Asked) -> Result<Answered, OrderLost> {
    let json = serde_json::to_string(asked).unwrap_or_default();
    let answer = store.order(&json, ANSWER_WITHIN).await?;
    serde_json::from_str(&answer).map_err(|_| OrderLost::NoAnswer(ANSWER_WITHIN))
}

fn unanswered(outcome: Result<Answered, OrderLost>) -> OrderError {
    match outcome {
        Ok(_) => OrderError::Gone, // the answer to another question: not ours
        Err(lost) => OrderError::Unreadable(lost.to_string()),
    }
}

/// Carries out what hubs order, and tells them of the engine, until the program stops.
pub async fn serve_hubs(
    local: EngineHandle,
    store: RedisStore,
    mut orders: mpsc::Receiver<GivenOrder>,
    watched: watch::Sender<Arc<WatchedSeries>>,
    tasks: Tasks,
) {
    let stopping = tasks.clone();
    let mut told = About::default();
    let mut due = tokio::time::interval(TELL_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut universe = local.follow_universe();
    let mut scheduler = local.follow_scheduler();
    let work = async {
        loop {
            tokio::select! {
                Some(order) = orders.recv() => {
                    let Ok(asked) = serde_json::from_str::<Asked>(&order.body) else {
                        tracing::warn!("an order of another version was not understood");
                        continue;
                    };
                    let steers = matches!(asked, Asked::Start(_) | Asked::Stop);
                    let carried_out = carry_out(local.clone(), store.clone(), order, asked);
                    if steers {
                        carried_out.await; // a stop after a start must stay one
                    } else {
                        tasks.spawn_short("order of a hub", carried_out);
                    }
                }
                Ok(()) = universe.changed() => tell_about(&local, &watched, &mut told),
                Ok(()) = scheduler.changed() => {
                    // A sweep moves it all the time; what the operator wants is told at once.
                    let now = *scheduler.borrow_and_update();
                    let before = told.scheduler;
                    if (now.running, now.sweep_every) != (before.running, before.sweep_every) {
                        tell_about(&local, &watched, &mut told);
                    }
                }
                _ = due.tick() => tell_about(&local, &watched, &mut told),
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = stopping.stopping() => {}
    }
}

fn tell_about(local: &EngineHandle, watched: &watch::Sender<Arc<WatchedSeries>>, told: &mut About) {
    let about = About {
        universe: (*local.universe()).clone(),
        info: local.info(),
        scheduler: local.scheduler(),
    };
    if about == *told {
        return;
    }
    let contracts = about.universe.contracts.iter();
    let series: BTreeSet<SeriesKey> = contracts
        .flat_map(|contract| {
            let intervals = about.universe.intervals.iter();
            intervals.map(|interval| SeriesKey::new(contract.symbol.clone(), *interval))
        })
        .collect();
    let json = serde_json::to_string(&about).unwrap_or_default();
    watched.send_replace(Arc::new(WatchedSeries {
        series,
        about: json,
        ..WatchedSeries::default()
    }));
    *told = about;
}

async fn carry_out(local: EngineHandle, store: RedisStore, order: GivenOrder, asked: Asked) {
    let answered = match asked {
        Asked::Chart { key, limit } => Answered::Chart(local.chart(key, limit).await),
        Asked::Start(start) => Answered::Start(local.start(start).await),
        Asked::Stop => Answered::Stop(local.stop().await),
        Asked::Refresh(key) => Answered::Refresh(local.refresh(key).await),
    };
    let json = serde_json::to_string(&answered).unwrap_or_default();
    if let Err(error) = store.answer(&order, json).await {
        tracing::warn!(%error, "an order was carried out, and its answer is lost");
    }
}
