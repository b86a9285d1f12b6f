//! A line a minute of how it goes, for whoever reads the log afterwards.

use std::time::Duration;

use crate::engine::EngineHandle;
use crate::hub::Hub;
use crate::store::Store;
use crate::tasks::Tasks;

const EVERY: Duration = Duration::from_secs(60);

/// Writes the lines until the program stops.
pub(super) async fn write(store: Store, engine: EngineHandle, hub: Option<Hub>, tasks: Tasks) {
    let mut seq = store.published().seq.get();
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = tasks.stopping() => return,
        }
        let readers = match &hub {
            Some(hub) => hub.tables().await.sessions,
            None => 0,
        };
        let (now, info) = (store.published(), engine.info());
        let head = now.seq.get();
        let (feed, kept) = (now.status.feed, now.status.store);
        let (live, series) = (now.status.series.live, now.results.len());
        tracing::info!(
            ?feed,
            store = ?kept,
            live,
            series,
            changes = head.saturating_sub(seq), // another numbering begins at 0
            seq = head,
            readers,
            connections = info.connections_up,
            weight = info.weight_used,
            "summary"
        );
        seq = head;
    }
}
