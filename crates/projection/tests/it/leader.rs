//! Leaders: one works at a time, and another one takes over.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bowline_conformance::{Engine, Place, soon, until};
use bowline_projection::{Leader, Term};
use bowline_runtime::{Shutdown, SystemClock};
use bowline_store::{Lease, LineStore, StoreError};
use uuid::Uuid;

#[derive(Debug, Default)]
struct Counts {
    led: AtomicUsize,
    stood_by: AtomicUsize,
    ended: AtomicUsize,
}

/// Works until its term ends, or not at all.
struct Work {
    counts: Arc<Counts>,
    is_short: bool,
}

#[async_trait]
impl Term for Work {
    async fn lead(&mut self, _lease: &Lease) {
        self.counts.led.fetch_add(1, Ordering::SeqCst);
        if !self.is_short {
            std::future::pending::<()>().await;
        }
    }

    async fn stand_by(&mut self) {
        self.counts.stood_by.fetch_add(1, Ordering::SeqCst);
    }

    fn ended(&mut self, _lease: &Lease) {
        self.counts.ended.fetch_add(1, Ordering::SeqCst);
    }

    fn failed(&mut self, error: &StoreError) {
        panic!("{error}");
    }
}

fn start(store: &Arc<dyn LineStore>, is_short: bool) -> (Arc<Counts>, Shutdown, tokio::task::JoinHandle<()>) {
    let (counts, shutdown) = (Arc::<Counts>::default(), Shutdown::new());
    let ttl = Duration::from_millis(300);
    let leader = Leader::new(Arc::clone(store), Arc::new(SystemClock), "work", Uuid::new_v4(), ttl);
    let (mut work, signal) = (Work { counts: Arc::clone(&counts), is_short }, shutdown.clone());
    let task = tokio::spawn(async move { leader.run(&mut work, &signal).await });
    (counts, shutdown, task)
}

pub(crate) async fn of_two_processes_one_leads_and_the_other_takes_over(place: Arc<Place>) {
    if place.engine() == Engine::Sqlite {
        // The file is one process's, and whoever asks gets the lease: the process that held it is gone.
        let store = place.open().await;
        let (first, ..) = start(&store, false);
        until(async || first.led.load(Ordering::SeqCst) == 1).await;
        let (second, ..) = start(&store, false);
        until(async || second.led.load(Ordering::SeqCst) >= 1).await;
        until(async || first.ended.load(Ordering::SeqCst) >= 1).await;
        return;
    }
    let [one, two] = place.open_two().await;
    let (first, shutdown, task) = start(&one, false);
    until(async || first.led.load(Ordering::SeqCst) == 1).await;
    let (second, _, other) = start(&two, false);
    until(async || second.stood_by.load(Ordering::SeqCst) >= 2).await;
    assert_eq!((second.led.load(Ordering::SeqCst), first.ended.load(Ordering::SeqCst)), (0, 0));
    // One that ends in order gives its lease back; one that dies lets it run out.
    shutdown.begin();
    soon(task).await.unwrap();
    until(async || second.led.load(Ordering::SeqCst) == 1).await;
    other.abort();
    let (third, ..) = start(&one, false);
    until(async || third.led.load(Ordering::SeqCst) == 1).await;
}

pub(crate) async fn work_that_ends_gives_others_a_turn(place: Arc<Place>) {
    let store = place.open().await;
    let (counts, shutdown, task) = start(&store, true);
    until(async || counts.led.load(Ordering::SeqCst) >= 2 && counts.ended.load(Ordering::SeqCst) >= 2).await;
    shutdown.begin();
    soon(task).await.unwrap();
}
