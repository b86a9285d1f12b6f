//! The universe alive: reads what the exchange lists and how it ranks, hears what readers want, and tells the engine which
//! contracts to watch, which have ended and which trade at all.
//! What must hold: an answer the exchange owes delays no want, and what is told goes to the engine in one order with the
//! starts of operators. Who is watched is `roll`'s to decide, when to ask `pace`'s; nothing here knows a candle.

mod listing;
mod pace;
mod reading;
mod roll;
mod start_asked;
mod watch_list;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{Notify, mpsc, watch};

pub(super) use self::start_asked::StartAsked;
pub(super) use self::watch_list::Names;
pub use self::watch_list::{WatchList, WatchListError};

use self::pace::{Hint, Pace};
use self::reading::{Reading, Scope};
use self::roll::Roll;
use super::complaints::Complaints;
use super::core::Event;
use super::handle::Universe;
use super::moment::Moment;
use super::order::{OrderError, names};
use super::settings::EngineSettings;
use crate::backoff::Backoff;
use crate::clock::{ExchangeClock, Mono};
use crate::exchange::{Advice, Exchange, ExchangeError};
use crate::market::{Interval, Symbol, TimeMs};
use crate::store::{Interest, Voice};
use crate::tasks::Tasks;

/// After an error that only a person can mend.
const OPERATOR_PAUSE: Duration = Duration::from_secs(60);

/// Shortest wait for the exchange's next minute: one of a fast exchange is over in milliseconds.
const SHORTEST_WAIT: Duration = Duration::from_millis(5);

/// How often it is looked at whose want has run out.
const HEED_EVERY_MS: u64 = 1_000;

/// What the reader works with.
pub(super) struct Ties {
    pub(super) exchange: Exchange,
    pub(super) clock: ExchangeClock,
    pub(super) interest: Interest,
    /// The exchange says that a contract changed.
    pub(super) listing_news: Arc<Notify>,
    pub(super) published: watch::Sender<Arc<Universe>>,
    pub(super) words: mpsc::Sender<Word>,
    /// Whether this engine speaks, and what the one before it watched; none where there is only one.
    pub(super) voice: Option<watch::Receiver<Voice>>,
}

/// What the engine is told, in order.
pub(super) enum Word {
    /// Who is watched now, and what trades.
    News(Vec<Event>),
    /// A start whose watch list has been told.
    Started(StartAsked),
}

/// What the engine was told last.
#[derive(Default)]
struct Told {
    watched: BTreeSet<Symbol>,
    ended: BTreeSet<Symbol>,
    tradable: BTreeSet<Symbol>,
    simulated: Option<bool>,
}

/// Keeps the watch list.
pub(super) struct UniverseReader {
    ties: Ties,
    intervals: Vec<Interval>,
    roll: Roll,
    pace: Pace,
    told: Told,
    /// The start whose list is being made.
    asked: Option<StartAsked>,
    backoff: Backoff,
    /// After a failure nothing is asked before.
    not_before: Mono,
    complaints: Complaints,
    unreadable_rows: usize,
    unreadable_figures: usize,
    figures_at: Option<TimeMs>,
}

/// An answer of the exchange that is on its way.
type OnItsWay = Option<BoxFuture<'static, Result<Reading, ExchangeError>>>;

impl UniverseReader {
    pub(super) fn new(ties: Ties, settings: &EngineSettings) -> Self {
        Self {
            ties,
            intervals: settings.intervals.clone(),
            roll: Roll::new(settings.watch_list.clone(), settings.max_watched),
            pace: Pace::default(),
            told: Told::default(),
            asked: None,
            backoff: Backoff::default(),
            not_before: Mono::default(),
            complaints: Complaints::default(),
            unreadable_rows: 0,
            unreadable_figures: 0,
            figures_at: None,
        }
    }

    /// Works until the program stops. A name the exchange does not list ends it, and with it the program: only who
    /// gave the name can mend it. Everything else is tried again.
    pub(super) async fn run(mut self, mut starts: mpsc::Receiver<StartAsked>, tasks: Tasks) {
        let work = async {
            let mut on_its_way: OnItsWay = None;
            loop {
                if on_its_way.is_none() {
                    on_its_way = self.next_reading();
                }
                let pause = self.pause(&on_its_way);
                let (mut is_read, mut goes_on) = (false, false);
                tokio::select! {
                    outcome = arrival(&mut on_its_way) => {
                        (on_its_way, is_read) = (None, true);
                        if let Err(error) = self.finish(outcome).await {
                            return error;
                        }
                    }
                    Some(asked) = starts.recv(), if self.asked.is_none() => self.take_start(asked).await,
                    voice = Voice::next(&mut self.ties.voice) => {
                        goes_on = self.roll.go_on_with(watched_before(&voice));
                    }
                    () = self.ties.listing_news.notified() => self.pace.hint(Hint::Changed),
                    () = self.ties.interest.changed() => {}
                    () = self.ties.interest.unknown_named() => self.pace.hint(Hint::UnknownName),
                    () = tokio::time::sleep(pause) => {}
                }
                let is_wanted = self.roll.heed(&self.ties.interest.wanted(Mono::now()));
                if is_read || is_wanted || goes_on {
                    self.tell().await;
                }
            }
        };
        tokio::select! {
            () = tasks.stopping() => {}
            error = work => tasks.give_up(error.to_string()),
        }
    }

    /// What the exchange is to be asked now.
    fn next_reading(&mut self) -> OnItsWay {
        let now = Mono::now();
        let scope = match &self.asked {
            Some(asked) if asked.is_an_operators() => Scope::Both, // somebody waits
            _ if now < self.not_before => return None,
            Some(_) => Scope::Both,
            None => self.pace.due(now, self.ties.clock.speed())?,
        };
        self.pace.asked(scope);
        let (exchange, clock) = (self.ties.exchange.clone(), self.ties.clock.clone());
        Some(reading::read(exchange, clock, scope).boxed())
    }

    /// Until something is due by the clock alone; while an answer is on its way nothing more is asked for.
    fn pause(&self, on_its_way: &OnItsWay) -> Duration {
        if on_its_way.is_some() {
            return Duration::from_millis(HEED_EVERY_MS);
        }
        let next_at = self.pace.next_at(self.ties.clock.speed());
        let wait_ms = next_at.max(self.not_before).ms_since(Mono::now());
        Duration::from_millis(wait_ms.clamp(1, HEED_EVERY_MS))
    }

    /// Takes in what the exchange answered, or did not.
    ///
    /// # Errors
    /// The list the program began with names what the exchange does not list.
    async fn finish(
        &mut self,
        outcome: Result<Reading, ExchangeError>,
    ) -> Result<(), WatchListError> {
        let failed = match outcome {
            Ok(reading) => self.take(reading).await?,
            Err(error) => Some(Failure::Exchange(error)),
        };
        let Some(failure) = failed else {
            self.backoff.reset();
            return Ok(());
        };
        let wait = self.wait_after(&failure);
        self.not_before = Mono::now().plus_ms(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        if !failure.is_told()
            && let Some(unsaid) = self.complaints.due(Mono::now())
        {
            tracing::warn!(error = %failure, unsaid, "the exchange's listing cannot be had; trying on");
        }
        self.pace.hint(Hint::Changed); // if one was to be heeded, it still is
        if let Some(asked) = self.asked.take_if(|asked| asked.is_an_operators()) {
            let _ = asked.answer.send(Err(failure.into()));
        }
        Ok(())
    }

    fn wait_after(&mut self, failure: &Failure) -> Duration {
        let Failure::Exchange(error) = failure else {
            return self.backoff.next_delay();
        };
        match error.advice() {
            Advice::WaitUntil(at) => {
                let wait_ms = at.ms_since(self.ties.clock.now()).max(0) as f64;
                let real_ms = wait_ms / self.ties.clock.speed();
                Duration::from_secs_f64(real_ms / 1_000.0).clamp(SHORTEST_WAIT, OPERATOR_PAUSE)
            }
            Advice::AskTheOperator => error.again_in().unwrap_or(OPERATOR_PAUSE),
            Advice::BackOff | Advice::GiveUp => self.backoff.next_delay(),
        }
    }

    /// Takes an answer in. Some: it is none to go by.
    async fn take(&mut self, reading: Reading) -> Result<Option<Failure>, WatchListError> {
        let now = Moment::read(&self.ties.clock);
        self.tell_simulated(reading.simulated).await;
        if let Some(tickers) = reading.tickers {
            self.count_unreadable_figures(tickers.skipped);
            self.roll.take_figures(tickers.rows);
            self.figures_at = Some(now.exchange);
        }
        if let Some(listed) = reading.contracts {
            self.count_unreadable(listed.skipped);
            if let Err(error) = self.roll.take_listing(listed.rows, &now) {
                return Ok(Some(Failure::Listing(error)));
            }
        } else if self.roll.misses_figures() {
            self.pace.hint(Hint::Changed);
        }
        self.pace.read(reading.scope, now.mono);
        if self.roll.is_in_doubt() {
            self.pace.hint(Hint::Doubt);
        }
        if reading.scope == Scope::Both {
            return self.make_list(&now).await;
        }
        Ok(None)
    }

    /// Listing and figures are of this moment: the list is made, replaced or ranked anew by them.
    async fn make_list(&mut self, now: &Moment) -> Result<Option<Failure>, WatchListError> {
        if !self.roll.has_list() {
            match self.roll.begin(self.unreadable_rows) {
                Ok(()) => self.tell_begun(now),
                Err(error @ WatchListError::Unknown(_)) => return Err(error),
                Err(
                    error @ (WatchListError::Unreadable { .. }
                    | WatchListError::Empty
                    | WatchListError::Unranked { .. }
                    | WatchListError::Torn { .. }),
                ) => return Ok(Some(Failure::Listing(error))),
            }
            self.pace.ranked(now.mono);
        }
        if let Some(asked) = self.asked.take()
            && let Some(failure) = self.replace(asked, now).await
        {
            return Ok(Some(failure));
        }
        if self.pace.is_ranking_due(now.mono, now.speed) {
            if let Err(error) = self.roll.rerank() {
                return Ok(Some(Failure::Listing(error)));
            }
            self.pace.ranked(now.mono);
        }
        Ok(None)
    }

    fn tell_begun(&self, now: &Moment) {
        let (contracts, speed) = (self.roll.watched().len(), now.speed);
        tracing::info!(contracts, speed, "watch list read");
        let ended: Vec<_> = self.roll.ended().into_iter().collect();
        if !ended.is_empty() {
            tracing::warn!(contracts = %names(&ended), "HAMA_SYMBOLS: these do not trade; they are shown as ended while they do not");
        }
    }

    /// A start with the list in force, or its configured one, needs no answer of the exchange. It may have waited long.
    async fn take_start(&mut self, asked: StartAsked) {
        if asked.is_void() {
            return;
        }
        let wanted = self.roll.meant_by(asked.order.symbols.as_deref());
        if self.roll.is_in_force(&wanted) {
            self.say(Word::Started(asked)).await;
        } else {
            self.asked = Some(asked);
        }
    }

    /// Makes the list a start asks for, then passes the start on. The list is left alone when that fails, and when the
    /// start is void by now. Some: there is nothing to rank it by, the start waits
    /// on; what becomes of it then is decided as after any failure.
    async fn replace(&mut self, asked: StartAsked, now: &Moment) -> Option<Failure> {
        if asked.is_void() {
            return None;
        }
        let wanted = self.roll.meant_by(asked.order.symbols.as_deref());
        let names = match asked.order.symbols {
            Some(_) => asked.names,
            None => Names::MayHaveEnded, // it was right when the program began
        };
        if let Err(error) = self.roll.put_in_force(wanted, names) {
            if let WatchListError::Unranked { .. } = error {
                self.asked = Some(asked);
                return Some(Failure::Listing(error));
            }
            if names == Names::MayHaveEnded {
                tracing::warn!(%error, "the watch list of the last start cannot be had any more; the configured one stays");
            }
            let _ = asked.answer.send(Err(Failure::Listing(error).into()));
            return None;
        }
        self.pace.ranked(now.mono);
        let contracts = self.roll.watched().len();
        tracing::info!(contracts, "watch list replaced by a start");
        self.tell().await;
        self.say(Word::Started(asked)).await;
        None
    }

    /// Tells the engine what is another than it was told last.
    async fn tell(&mut self) {
        self.publish();
        let (watched, ended) = (self.roll.watched(), self.roll.ended());
        let mut news = Vec::new();
        let tradable = self.roll.tradable();
        if tradable != self.told.tradable {
            self.told.tradable.clone_from(&tradable);
            news.push(Event::Tradable(Arc::new(tradable)));
        }
        // What trades again begins anew, as a contract that left and came back.
        let again: BTreeSet<_> = self.told.ended.difference(&ended).cloned().collect();
        let stayed: BTreeSet<_> = self.told.watched.difference(&again).cloned().collect();
        if stayed != self.told.watched && !again.is_disjoint(&watched) {
            news.push(Event::Universe(stayed));
        }
        if ended != self.told.ended {
            news.push(Event::Ended(ended.clone()));
        }
        if watched != self.told.watched || !again.is_empty() {
            news.push(Event::Universe(watched.clone()));
        }
        self.told.watched = watched;
        self.told.ended = ended;
        if !news.is_empty() {
            self.say(Word::News(news)).await;
        }
    }

    async fn tell_simulated(&mut self, simulated: bool) {
        if self.told.simulated != Some(simulated) {
            self.told.simulated = Some(simulated);
            let news = vec![Event::Simulated(simulated)];
            self.say(Word::News(news)).await;
        }
    }

    /// The engine may be gone: the program is stopping, this task is told so next, and who waits for an answer sees that
    /// nobody gives one.
    async fn say(&self, word: Word) {
        let _ = self.ties.words.send(word).await;
    }

    fn publish(&self) {
        let universe = Universe {
            contracts: self.roll.contracts(),
            intervals: self.intervals.clone(),
            updated_at: self.figures_at,
        };
        self.ties.published.send_if_modified(|published| {
            let changed = **published != universe;
            if changed {
                *published = Arc::new(universe);
            }
            changed
        });
    }

    fn count_unreadable(&mut self, rows: usize) {
        if rows != self.unreadable_rows {
            tracing::warn!(rows, "rows of the exchange's listing cannot be read");
            self.unreadable_rows = rows;
        }
    }

    fn count_unreadable_figures(&mut self, rows: usize) {
        if rows != self.unreadable_figures {
            tracing::warn!(rows, "rows of the exchange's 24 h figures cannot be read");
            self.unreadable_figures = rows;
        }
    }
}

/// What the engine that spoke before watched.
fn watched_before(voice: &Voice) -> BTreeSet<Symbol> {
    match voice {
        Voice::Speaking { told, .. } => told.keys().map(|key| key.symbol.clone()).collect(),
        Voice::Silent => BTreeSet::new(),
    }
}

/// What is on its way; never, when nothing is.
async fn arrival(on_its_way: &mut OnItsWay) -> Result<Reading, ExchangeError> {
    match on_its_way {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Exchange(ExchangeError),
    #[error(transparent)]
    Listing(WatchListError),
}

impl Failure {
    /// Whether the exchange's room has told it already, for all who ask.
    fn is_told(&self) -> bool {
        match self {
            Self::Exchange(error) => error.again_in().is_some(),
            Self::Listing(_) => false,
        }
    }
}

impl From<Failure> for OrderError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Exchange(error) => {
                Self::Unreadable(format!("the exchange's listing cannot be read ({error})"))
            }
            Failure::Listing(WatchListError::Unknown(names)) => Self::Unknown(names),
            Failure::Listing(
                error @ (WatchListError::Unreadable { .. }
                | WatchListError::Empty
                | WatchListError::Unranked { .. }
                | WatchListError::Torn { .. }),
            ) => Self::Unreadable(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
