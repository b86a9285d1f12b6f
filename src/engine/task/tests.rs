//! What an operator wants and what the store says of it, in whatever order they come.

use super::*;
use crate::engine::WatchList;
use crate::exchange::binance::{Binance, BinanceSettings};
use crate::market::{Interval, Symbol};
use crate::store::ToldOfAll;

/// An engine task whose exchange is never reached, the starts it asks for, and what it writes.
struct Bench {
    task: EngineTask,
    starts: mpsc::Receiver<StartAsked>,
    written: mpsc::Receiver<Vec<Write>>,
}

impl Bench {
    fn new() -> Self {
        let settings = EngineSettings::new(WatchList::Top(1), vec![Interval::M1]);
        let clock = ExchangeClock::from_wall();
        let reached = BinanceSettings::default();
        let exchange = Exchange::Binance(Binance::new(&reached, clock.clone()).unwrap());
        let (feed, _) = feed_queue();
        let streams = exchange.streams(&Tasks::new(), feed);
        let engine = Engine::new(&settings);
        let (start_sender, starts) = mpsc::channel(START_QUEUE);
        let (out, written) = mpsc::channel(64);
        let task = EngineTask {
            clock,
            exchange,
            streams,
            followed: watch::channel(Arc::default()).0,
            jobs: mpsc::channel(1).0,
            out,
            info: watch::channel(EngineInfo::default()).0,
            scheduler: watch::channel(engine.scheduler()).0,
            starts: start_sender,
            overtaken: CancellationToken::new(),
            refreshing: BTreeMap::new(),
            listing_news: Arc::default(),
            last_start: StartOrder::default(),
            engine,
        };
        Self {
            task,
            starts,
            written,
        }
    }

    /// What was saved of the operator's wishes since this was last called.
    fn saved(&mut self) -> Vec<SavedScheduler> {
        let batches = std::iter::from_fn(|| self.written.try_recv().ok());
        let mut all = Vec::new();
        for write in batches.flatten() {
            if let Write::Scheduler(saved) = write {
                all.push(saved);
            }
        }
        all
    }
}

fn names() -> Option<Vec<Symbol>> {
    Some(vec![Symbol::parse("ETHUSDT").unwrap()])
}

#[tokio::test]
async fn a_takeovers_own_start_does_not_undo_what_the_operator_says_meanwhile() {
    let mut bench = Bench::new();
    let voice = Voice::Speaking {
        turn: 1,
        told: Arc::new(ToldOfAll::new()),
        scheduler: Some(SavedScheduler {
            running: true,
            symbols: names(),
            interval_minutes: 7,
        }),
    };
    assert!(bench.task.take_voice(voice).await.is_ok());
    let own = bench.starts.try_recv().unwrap(); // its watch list is being made
    let (answer, stopped) = oneshot::channel();
    assert!(bench.task.carry_out(Order::Stop { answer }).await.is_ok());
    assert_eq!(stopped.await.unwrap(), Ok(()));
    assert!(!bench.saved().last().unwrap().running);
    assert!(bench.task.start(own).await.is_ok());
    let scheduler = bench.task.engine.scheduler();
    assert!(!scheduler.running, "the stop holds");
    assert_eq!(scheduler.sweep_every, Duration::from_secs(420));
    assert_eq!(bench.saved(), [], "and so says what was saved");
    assert_eq!(bench.task.last_start.symbols, names());
}

#[tokio::test]
async fn an_operators_start_goes_on_and_is_saved() {
    let mut bench = Bench::new();
    assert!(bench.task.apply([Event::Stop]).await.is_ok());
    let (answer, started) = oneshot::channel();
    let order = StartOrder {
        symbols: names(),
        sweep_every: Some(Duration::from_secs(120)),
    };
    assert!(
        bench
            .task
            .carry_out(Order::Start { order, answer })
            .await
            .is_ok()
    );
    let asked = bench.starts.try_recv().unwrap();
    assert!(bench.task.start(asked).await.is_ok());
    assert!(started.await.unwrap().is_ok());
    assert!(bench.task.engine.scheduler().running);
    let saved = SavedScheduler {
        running: true,
        symbols: names(),
        interval_minutes: 2,
    };
    assert_eq!(bench.saved(), [saved]);
}

#[tokio::test]
async fn a_stop_overtakes_a_start_that_is_on_its_way() {
    let mut bench = Bench::new();
    let (answer, mut started) = oneshot::channel();
    let order = StartOrder::default();
    assert!(
        bench
            .task
            .carry_out(Order::Start { order, answer })
            .await
            .is_ok()
    );
    let asked = bench.starts.try_recv().unwrap(); // its watch list is being made
    let (answer, stopped) = oneshot::channel();
    assert!(bench.task.carry_out(Order::Stop { answer }).await.is_ok());
    assert_eq!(stopped.await.unwrap(), Ok(()));
    assert!(asked.is_void());
    assert!(bench.task.start(asked).await.is_ok());
    assert!(!bench.task.engine.scheduler().running, "the stop holds");
    assert!(!bench.saved().last().unwrap().running);
    assert!(started.try_recv().is_err(), "nobody says it was started");
    let (answer, started) = oneshot::channel();
    let order = StartOrder::default();
    assert!(
        bench
            .task
            .carry_out(Order::Start { order, answer })
            .await
            .is_ok()
    );
    let asked = bench.starts.try_recv().unwrap();
    assert!(bench.task.start(asked).await.is_ok());
    assert!(
        started.await.unwrap().is_ok(),
        "one after it is carried out"
    );
}

#[tokio::test]
async fn a_start_whose_asker_has_gone_starts_nothing() {
    let mut bench = Bench::new();
    assert!(bench.task.apply([Event::Stop]).await.is_ok());
    let (answer, asker) = oneshot::channel();
    let order = StartOrder {
        symbols: names(),
        sweep_every: None,
    };
    assert!(
        bench
            .task
            .carry_out(Order::Start { order, answer })
            .await
            .is_ok()
    );
    let asked = bench.starts.try_recv().unwrap();
    drop(asker);
    assert!(bench.task.start(asked).await.is_ok());
    assert!(!bench.task.engine.scheduler().running);
    let saved = bench.saved().pop().unwrap();
    assert!(!saved.running);
    assert_eq!(saved.symbols, names(), "its list is in force");
}
