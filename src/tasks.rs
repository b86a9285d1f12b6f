//! Named tasks and their end. Every task of the program is spawned here, so each has an owner that waits for it.
//! Only sources watch `stopping()`: exchange connections, listeners, timers. Everything else ends when its inbox is
//! closed and empty, so that the stop drains in the order of the data. A task that ends unasked stops the program.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Spawner and owner of tasks; clones share one set.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    running: Arc<Mutex<BTreeMap<&'static str, usize>>>,
    gave_up: Arc<OnceLock<String>>,
}

/// Whether a task may end on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    WithTheProgram,
    ByItself,
}

struct Ended {
    name: &'static str,
    ends: Ends,
    tasks: Tasks,
}

impl Tasks {
    /// No task yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns a task that lives as long as the program: should it end before the stop, everything stops.
    pub fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.start(name, Ends::WithTheProgram, work);
    }

    /// Spawns a task that may end when its work is done: one connection, one request.
    pub fn spawn_short(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.start(name, Ends::ByItself, work);
    }

    /// Resolves when the program is told to stop.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Whether the program was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Tells the sources to stop.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Tells the sources to stop because a task cannot go on, and says why, for the person who started the program.
    pub fn give_up(&self, why: String) {
        let _ = self.gave_up.set(why); // of two reasons the first stands
        self.stop();
    }

    /// Why a task gave up, if one did.
    pub fn gave_up(&self) -> Option<&str> {
        self.gave_up.get().map(String::as_str)
    }

    /// Tells the sources to stop and waits for every task, at most `grace`. Returns the names of those still running.
    pub async fn drain(&self, grace: Duration) -> Vec<&'static str> {
        self.stop();
        self.tracker.close();
        if tokio::time::timeout(grace, self.tracker.wait())
            .await
            .is_ok()
        {
            return Vec::new();
        }
        let left: Vec<_> = self.running().keys().copied().collect();
        tracing::warn!(tasks = ?left, "still running after the grace period");
        left
    }

    fn start(
        &self,
        name: &'static str,
        ends: Ends,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        *self.running().entry(name).or_insert(0) += 1;
        let ended = Ended {
            name,
            ends,
            tasks: self.clone(),
        };
        #[expect(
            clippy::let_underscore_future,
            reason = "the tracker waits for it; `drain` joins"
        )]
        let _ = self.tracker.spawn(async move {
            let _ended = ended;
            work.await;
        });
    }

    fn running(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, usize>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let mut running = self.tasks.running();
        if let Some(count) = running.get_mut(self.name) {
            *count -= 1;
            if *count == 0 {
                running.remove(self.name);
            }
        }
        drop(running);
        let panicked = std::thread::panicking();
        if panicked || (self.ends == Ends::WithTheProgram && !self.tasks.is_stopping()) {
            tracing::error!(
                task = self.name,
                panicked,
                "ended before it was told to: stopping everything"
            );
            self.tasks.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_unasked_stops_the_rest() {
        let tasks = Tasks::new();
        tasks.spawn("brief", async {});
        tasks.stopping().await;
        assert_eq!(
            tasks.drain(Duration::from_secs(5)).await,
            Vec::<&str>::new()
        );
    }

    #[tokio::test]
    async fn a_panic_in_any_task_stops_the_rest_and_leaves_no_task_behind() {
        for short in [true, false] {
            let tasks = Tasks::new();
            let source = tasks.clone();
            tasks.spawn("source", async move { source.stopping().await });
            let work = async { panic!("as a test of it") };
            if short {
                tasks.spawn_short("panicking", work);
            } else {
                tasks.spawn("panicking", work);
            }
            tasks.stopping().await;
            let left = tasks.drain(Duration::from_secs(5)).await;
            assert_eq!(left, Vec::<&str>::new());
        }
    }

    #[tokio::test]
    async fn the_first_task_that_gives_up_says_why() {
        let tasks = Tasks::new();
        assert_eq!(tasks.gave_up(), None);
        tasks.give_up("no such contract".to_owned());
        tasks.give_up("another".to_owned());
        tasks.stopping().await;
        assert_eq!(tasks.gave_up(), Some("no such contract"));
    }

    #[tokio::test(start_paused = true)]
    async fn drain_names_who_is_left() {
        let tasks = Tasks::new();
        tasks.spawn("stuck", std::future::pending());
        tasks.spawn_short("done", async {});
        assert_eq!(tasks.drain(Duration::from_secs(5)).await, vec!["stuck"]);
    }
}
