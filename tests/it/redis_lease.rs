//! The keepers of the lease on a real server: one holds it at a time, it is handed over, and nobody believes to hold it
//! longer than Redis does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hamacast::clock::Mono;
use hamacast::store::redis::{
    EngineId, HighestTerm, LEASE, LeaseKeeper, LeaseState, RedisSettings, Term, keys,
};
use hamacast::tasks::Tasks;
use redis::AsyncCommands;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::support::redis::RedisServer;

const LONG: Duration = Duration::from_secs(30);

struct Keeper {
    state: watch::Receiver<LeaseState>,
    look_now: Arc<Notify>,
    stop: CancellationToken,
    kill: CancellationToken,
    tasks: Tasks,
}

impl Keeper {
    fn start(settings: RedisSettings, name: &str) -> Self {
        let look_now = Arc::new(Notify::new());
        let engine = EngineId::parse(name).unwrap();
        let highest = HighestTerm::default();
        let keeper = LeaseKeeper::new(settings, engine, highest, look_now.clone());
        let (stop, kill) = (CancellationToken::new(), CancellationToken::new());
        let (tasks, state) = (Tasks::new(), keeper.follow());
        let (stopped, killed) = (stop.clone(), kill.clone());
        tasks.spawn_short("lease keeper", async move {
            tokio::select! {
                () = keeper.run(stopped) => {}
                () = killed.cancelled() => {}
            }
        });
        Self {
            state,
            look_now,
            stop,
            kill,
            tasks,
        }
    }

    async fn until(&mut self, what: &str, wanted: impl FnMut(&LeaseState) -> bool) -> LeaseState {
        let state = tokio::time::timeout(LONG, self.state.wait_for(wanted)).await;
        *state.unwrap_or_else(|_| panic!("never: {what}")).unwrap()
    }

    async fn until_held(&mut self) -> Term {
        let held = self.until("held", |state| term(state).is_some()).await;
        term(&held).unwrap()
    }

    fn may_write(&self) -> bool {
        self.state.borrow().may_write(Mono::now()).is_some()
    }

    async fn ended(&self) {
        assert!(self.tasks.drain(LONG).await.is_empty());
    }
}

fn term(state: &LeaseState) -> Option<Term> {
    match state {
        LeaseState::Away { .. } | LeaseState::Others => None,
        LeaseState::Held { term, .. } => Some(*term),
    }
}

#[tokio::test]
async fn one_of_two_holds_the_lease_keeps_it_and_hands_it_over() {
    let server = RedisServer::start().await;
    let mut first = Keeper::start(server.settings(), "a");
    assert_eq!(first.until_held().await, Term::new(1));
    let mut second = Keeper::start(server.settings(), "b");
    // two renewals long
    let mut good = Mono::default();
    for _ in 0..2 {
        let state = first.until(
            "renewed",
            |state| matches!(state, LeaseState::Held { good_until, .. } if *good_until > good),
        );
        let LeaseState::Held { good_until, .. } = state.await else {
            panic!("lost");
        };
        good = good_until;
        assert!(first.may_write() && !second.may_write());
    }
    let told = Instant::now();
    first.stop.cancel();
    first.ended().await;
    assert!(!first.may_write());
    second.look_now.notify_one(); // it heard `leaving`
    assert_eq!(second.until_held().await, Term::new(2));
    println!("handed over after {:?}", told.elapsed());
    assert!(told.elapsed() < 5 * Duration::from_secs(1));
}

#[tokio::test]
async fn the_lease_of_a_killed_engine_is_taken_within_six_seconds() {
    let server = RedisServer::start().await;
    let mut first = Keeper::start(server.settings(), "a");
    first.until_held().await;
    let mut second = Keeper::start(server.settings(), "b");
    let killed = Instant::now();
    first.kill.cancel();
    first.ended().await;
    assert_eq!(second.until_held().await, Term::new(2));
    println!("taken over after {:?}", killed.elapsed());
    assert!(killed.elapsed() < 5 * Duration::from_secs(6));
}

#[tokio::test]
async fn a_server_that_goes_silent_costs_the_role_before_the_lease_ends() {
    let server = RedisServer::start().await;
    let mut keeper = Keeper::start(server.settings(), "a");
    let before = keeper.until_held().await;
    server.pause();
    let paused = Mono::now();
    keeper.until("lost", |state| term(state).is_none()).await;
    let lost = Mono::now().ms_since(paused);
    println!("role lost {lost} ms after the server fell silent");
    assert!(!keeper.may_write());
    assert!(u128::from(lost) < 5 * LEASE.as_millis());
    server.resume();
    assert!(keeper.until_held().await > before, "under a new term");
}

#[tokio::test]
async fn a_lease_that_was_given_away_is_noticed_and_only_a_higher_term_comes_back() {
    let server = RedisServer::start().await;
    let mut keeper = Keeper::start(server.settings(), "a");
    keeper.until_held().await;
    let mut client = server.client().await;
    let () = client.set(keys::ENGINE, "b 7").await.unwrap();
    keeper.look_now.notify_one(); // a write was refused as fenced
    keeper.until("fenced", |state| term(state).is_none()).await;
    assert!(!keeper.may_write());
    let () = redis::cmd("FLUSHALL")
        .query_async(&mut client)
        .await
        .unwrap();
    keeper.look_now.notify_one();
    assert_eq!(keeper.until_held().await, Term::new(8));
}

#[tokio::test]
async fn an_emptied_server_is_taken_again_under_a_higher_term() {
    let server = RedisServer::start().await;
    let mut keeper = Keeper::start(server.settings(), "a");
    assert_eq!(keeper.until_held().await, Term::new(1));
    let mut client = server.client().await;
    let () = redis::cmd("FLUSHALL")
        .query_async(&mut client)
        .await
        .unwrap();
    keeper.look_now.notify_one();
    let again = keeper.until("taken again", |state| term(state) == Some(Term::new(2)));
    again.await;
    let lease: String = client.get(keys::ENGINE).await.unwrap();
    assert_eq!(lease, "a 2");
}

#[tokio::test]
async fn a_server_that_comes_late_or_again_is_found() {
    let mut server = RedisServer::start().await;
    server.kill();
    let mut keeper = Keeper::start(server.settings(), "a");
    server.restart().await;
    assert_eq!(keeper.until_held().await, Term::new(1));
    server.kill();
    keeper.until("lost", |state| term(state).is_none()).await;
    server.restart().await;
    assert_eq!(keeper.until_held().await, Term::new(2));
    keeper.stop.cancel();
    keeper.ended().await;
    let lease: Option<String> = server.client().await.get(keys::ENGINE).await.unwrap();
    assert_eq!(lease, None);
}
