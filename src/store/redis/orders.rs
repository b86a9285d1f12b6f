//! Orders as the active engine's process reads them: from a stream, on a connection of its own, and only while it is
//! active. An order is read at least once; what one asks for may be done twice without harm.

use std::fmt;
use std::sync::Arc;

use redis::streams::StreamReadReply;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::connect::{BlockingLink, CommandLink};
use super::error::RedisError;
use super::keys;
use super::log::BLOCK_MS;
use super::shared::Shared;
use crate::backoff::Backoff;
use crate::signal::{Epoch, Seq};
use crate::tasks::Tasks;

/// Orders read at once.
const PAGE: usize = 100;

/// After a takeover orders of the last so many milliseconds are read again: the engine before may not have seen them.
const LOOK_BACK_MS: u64 = 5_000;

/// An order, and whom to answer.
#[derive(Debug)]
pub struct GivenOrder {
    /// What to do, as JSON.
    pub body: String,
    pub(super) from: String,
    pub(super) id: u64,
}

/// The one order that is the store's own: the log was seen further than it is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LostTail {
    epoch: Epoch,
    seq: Seq,
}

#[derive(Debug, Serialize, Deserialize)]
struct OwnOrder {
    lost_tail: LostTail,
}

impl LostTail {
    pub(super) fn json(epoch: &Epoch, seq: Seq) -> String {
        let epoch = epoch.clone();
        let lost_tail = Self { epoch, seq };
        serde_json::to_string(&OwnOrder { lost_tail }).unwrap_or_default()
    }

    fn read(body: &str) -> Option<Self> {
        let own: OwnOrder = serde_json::from_str(body).ok()?;
        Some(own.lost_tail)
    }
}

/// Place of an order in the stream: `<milliseconds>-<number>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct OrderId(u64, u64);

impl OrderId {
    fn parse(text: &str) -> Option<Self> {
        let (ms, number) = text.split_once('-')?;
        Some(Self(ms.parse().ok()?, number.parse().ok()?))
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

/// Reads orders while this process' engine is active, until the program stops.
pub(super) async fn read(shared: Arc<Shared>, orders: mpsc::Sender<GivenOrder>, tasks: Tasks) {
    let mut active = shared.active.subscribe();
    let mut backoff = Backoff::default();
    let work = async {
        while active.wait_for(|active| *active).await.is_ok() {
            match read_while_active(&shared, &orders).await {
                Ok(()) => backoff.reset(),
                Err(error) => {
                    tracing::debug!(%error, "orders cannot be read; trying on");
                    tokio::time::sleep(backoff.next_delay()).await;
                }
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = tasks.stopping() => {}
    }
}

async fn read_while_active(
    shared: &Shared,
    orders: &mpsc::Sender<GivenOrder>,
) -> Result<(), RedisError> {
    let mut link = CommandLink::open(&shared.settings).await?;
    let (seconds, micros): (u64, u64) = link.query("TIME", &redis::cmd("TIME")).await?;
    let since_ms = (seconds * 1_000 + micros / 1_000).saturating_sub(LOOK_BACK_MS);
    let mut last = OrderId(since_ms, 0);
    if let Some(seen) = link.seen_order().await?.as_deref().and_then(OrderId::parse) {
        last = last.max(seen); // the engine before has carried it out
    }
    let mut blocking = BlockingLink::open(&shared.settings).await?;
    while *shared.active.borrow() {
        let mut command = redis::cmd("XREAD");
        command.arg("BLOCK").arg(BLOCK_MS).arg("COUNT").arg(PAGE);
        command
            .arg("STREAMS")
            .arg(keys::COMMANDS)
            .arg(last.to_string());
        let (kept, reply): (_, Option<StreamReadReply>) =
            blocking.query("the read of the orders", &command).await?;
        blocking = kept;
        for entry in reply.into_iter().flat_map(|r| r.keys).flat_map(|k| k.ids) {
            last = OrderId::parse(&entry.id).unwrap_or(last);
            let body: Option<String> = entry.get("json");
            let (Some(body), Some(from), Some(id)) = (body, entry.get("from"), entry.get("id"))
            else {
                tracing::warn!(id = entry.id, "an order that cannot be read");
                continue;
            };
            if let Some(lost) = LostTail::read(&body) {
                shared.report_lost(&lost.epoch, lost.seq);
                continue;
            }
            if orders.send(GivenOrder { body, from, id }).await.is_err() {
                return Ok(());
            }
            link.note_order(&entry.id).await?;
        }
    }
    Ok(())
}
