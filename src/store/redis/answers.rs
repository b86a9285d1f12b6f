//! Orders to the active engine and their answers: an order goes into a stream, its answer comes over pub/sub to the
//! process that gave it. An order nobody answers in time is told as such; what it asks for may be asked again.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::connect::CommandLink;
use super::error::RedisError;
use super::keys;
use super::shared::lock;

/// Orders kept in the stream: who gave older ones has long given up.
const KEPT_ORDERS: usize = 1_000;

/// An order could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderLost {
    /// Redis is away.
    #[error("Redis is away; try again in a few seconds")]
    Away,
    /// Redis did not take it.
    #[error("the order could not be given: {0}")]
    Refused(#[source] RedisError),
    /// No engine is active, or it is far behind.
    #[error("no engine answered within {} s; is one running?", .0.as_secs())]
    NoAnswer(Duration),
}

/// An answer on its way.
#[derive(Debug, Serialize, Deserialize)]
struct Envelope {
    id: u64,
    body: String,
}

/// Orders this process has given and that are not answered yet.
#[derive(Debug)]
pub(super) struct Answers {
    name: String,
    channel: String,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<String>>>,
}

impl Answers {
    /// For the process called `name`.
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            channel: keys::answers(name),
            next: AtomicU64::new(1),
            waiting: Mutex::default(),
        }
    }

    /// Where answers come in.
    pub(super) fn channel(&self) -> &str {
        &self.channel
    }

    /// An answer has come. One nobody waits for any more is dropped.
    pub(super) fn take(&self, json: &[u8]) {
        let Ok(Envelope { id, body }) = serde_json::from_slice(json) else {
            return;
        };
        if let Some(waiting) = lock(&self.waiting).remove(&id) {
            let _ = waiting.send(body); // gone in this instant
        }
    }

    /// Gives an order and waits for its answer.
    pub(super) async fn order(
        &self,
        link: Option<CommandLink>,
        body: &str,
        within: Duration,
    ) -> Result<String, OrderLost> {
        let mut link = link.ok_or(OrderLost::Away)?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        lock(&self.waiting).insert(id, answer);
        let given = link.give_order(&self.name, id, body).await;
        let outcome = match given {
            Err(error) => Err(OrderLost::Refused(error)),
            Ok(()) => match tokio::time::timeout(within, answered).await {
                Ok(Ok(body)) => Ok(body),
                Ok(Err(_)) | Err(_) => Err(OrderLost::NoAnswer(within)),
            },
        };
        lock(&self.waiting).remove(&id);
        outcome
    }
}

impl CommandLink {
    /// Gives an order; `from` nobody: no answer is wanted.
    pub(super) async fn give_order(
        &mut self,
        from: &str,
        id: u64,
        body: &str,
    ) -> Result<(), RedisError> {
        let mut command = redis::cmd("XADD");
        command.arg(keys::COMMANDS).arg("MAXLEN").arg("~");
        command.arg(KEPT_ORDERS).arg("*");
        command.arg("from").arg(from).arg("id").arg(id);
        command.arg("json").arg(body);
        self.query::<()>("an order", &command).await
    }

    /// Answers an order.
    pub(super) async fn answer_order(
        &mut self,
        from: &str,
        id: u64,
        body: String,
    ) -> Result<(), RedisError> {
        let json = serde_json::to_string(&Envelope { id, body }).unwrap_or_default();
        self.publish(&keys::answers(from), &json).await
    }
}
