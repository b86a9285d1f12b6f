//! Taking the role: what the log says is read, and from there on this engine writes. A log that is missing, or that
//! ends before what we have seen of it, is begun anew: its numbers may have been given to other changes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::active::Setback;
use super::connect::CommandLink;
use super::dial::read_all;
use super::grant::Grant;
use super::log::{self, EntryId, SeriesEntry};
use super::scripts::{self, Refusal};
use super::shared::Shared;
use crate::market::SeriesKey;
use crate::signal::{Epoch, Seq};
use crate::store::SavedScheduler;
use crate::store::ledger::Ledger;
use crate::store::memory::random_name;

/// How long the mirror may take to reach the log's tail before the log is read a second time instead.
const MIRROR_WITHIN: Duration = Duration::from_millis(300);

/// What is known at the start of a role.
pub(super) struct Known {
    pub(super) ledger: Ledger,
    pub(super) series: BTreeMap<SeriesKey, SeriesEntry>,
    pub(super) scheduler: Option<SavedScheduler>,
    /// Whether the numbering begins with this role: nothing is told in it yet.
    pub(super) is_new: bool,
}

/// Reads the log and the series over a new link; begins a new epoch where it must.
pub(super) async fn read(shared: &Shared, grant: &Grant) -> Result<(CommandLink, Known), Setback> {
    let mut link = CommandLink::open(&shared.settings).await?;
    let scheduler = link.saved_scheduler().await?;
    let tail = log::tail(&mut link).await?;
    let seen = shared.seen();
    let begins = tail.as_ref().is_none_or(|tail| {
        let seen = seen.as_ref();
        seen.is_some_and(|(epoch, seq)| *epoch == tail.epoch && *seq > tail.seq)
    });
    if begins {
        let old = tail.map(|tail| tail.epoch);
        let ledger = begin_epoch(&mut link, grant, old).await?;
        let epoch = ledger.epoch();
        match seen {
            Some((old, seq)) => {
                tracing::warn!(%epoch, %old, %seq, "the log is lost, or its end: a new numbering begins");
            }
            None => tracing::info!(%epoch, "there is no log: a numbering begins"),
        }
        let known = Known {
            ledger,
            series: BTreeMap::new(),
            scheduler,
            is_new: true,
        };
        return Ok((link, known));
    }
    let Some(tail) = tail else {
        return Err(Setback::LogDiffers("there is no log".to_owned()));
    };
    let mut ledger = ledger_of(shared, &mut link, &tail.epoch, tail.seq).await?;
    let series = log::read_series(&mut link).await?;
    for (key, entry) in &series {
        ledger.restore(key, entry.change_seq, entry.base);
    }
    ledger.keep_bases_of(|key| series.contains_key(key));
    let known = Known {
        ledger,
        series,
        scheduler,
        is_new: false,
    };
    Ok((link, known))
}

/// The numbering up to the log's tail: the mirror's when it is there already, else from the log itself.
async fn ledger_of(
    shared: &Shared,
    link: &mut CommandLink,
    epoch: &Epoch,
    seq: Seq,
) -> Result<Ledger, Setback> {
    let mut published = shared.view.follow();
    let within = if shared.is_alone() {
        Duration::ZERO // on a numbering of its own it will not get there
    } else {
        MIRROR_WITHIN
    };
    let there = published.wait_for(|now| now.epoch == *epoch && now.seq >= seq);
    if tokio::time::timeout(within, there).await.is_ok() {
        return Ok(shared.view.ledger());
    }
    let mut ledger = Ledger::new(epoch.clone());
    for change in read_all(link, EntryId::Start).await? {
        ledger.note(&change);
    }
    Ok(ledger)
}

async fn begin_epoch(
    link: &mut CommandLink,
    grant: &Grant,
    old: Option<Epoch>,
) -> Result<Ledger, Setback> {
    let epoch = Epoch::new(&random_name());
    match scripts::begin_epoch(link, grant, old.as_ref(), &epoch).await? {
        Ok(()) => Ok(Ledger::new(epoch)),
        Err(Refusal::Fenced { .. }) => Err(Setback::Fenced),
        Err(
            other @ (Refusal::OtherEpoch { .. } | Refusal::NotNext { .. } | Refusal::LogMissing),
        ) => Err(Setback::LogDiffers(format!("{other:?}"))),
    }
}
