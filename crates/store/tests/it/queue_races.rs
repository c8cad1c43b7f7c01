//! What only several processes on one server can do to each other's jobs: differ in their clocks, and wait for each other.
//!
//! These run on PostgreSQL alone; an embedded store has one process and one writer.

use std::sync::Arc;
use std::time::Duration;

use bowline_store::{
    Claim, JobEnd, JobFilter, JobState, LineStore, MatchCommit, NewJob, StateKey, StoreError,
};
use bowline_types::{StreamId, TenantId, Timestamp};
use sqlx::Connection;
use tokio::time::Instant;
use uuid::Uuid;

use crate::jobs::{claim, end, insert, made, report};
use crate::support::{Engine, Place, run, until};
use crate::triggers::{job, put, step, trigger};
use bowline_conformance::events::{at, grow, new_stream};

const LEASE: Duration = Duration::from_secs(60);

/// How long everything runs against everything else.
const RACE: Duration = Duration::from_secs(5);

#[test]
fn a_worker_whose_clock_is_wrong_neither_loses_nor_gets_others_jobs() {
    run(Engine::Postgres, |place: Arc<Place>| async move {
        let store = place.open().await;
        let job = made(TenantId::random());
        insert(&place, std::slice::from_ref(&job)).await;
        // Its clock is more than a year behind the server's.
        let claimed = claim(&store, 1, 0).await;
        let far_ahead = Timestamp::from_micros(i64::MAX / 64);
        for now in [at(0), far_ahead] {
            assert_eq!(store.reclaim_jobs(now).await.unwrap(), 0, "a job was taken from a worker that lives");
        }
        let held = vec![(job.job_id, claimed[0].claim)];
        crate::support::leases_age(&place, 45).await;
        assert_eq!(store.extend_claims(held.clone(), LEASE, at(0)).await.unwrap(), held);
        crate::support::leases_age(&place, 45).await;
        assert_eq!(store.reclaim_jobs(far_ahead).await.unwrap(), 0, "it was not prolonged");
        crate::support::leases_age(&place, 16).await;
        assert_eq!(store.reclaim_jobs(at(0)).await.unwrap(), 1, "its clock keeps what is lost");
        assert!(store.extend_claims(held, LEASE, far_ahead).await.unwrap().is_empty());
        assert!(
            store.report_jobs(vec![report(&claimed[0], JobEnd::Succeeded)], at(9)).await.unwrap().is_empty()
        );
    });
}

#[test]
fn a_claim_that_is_lost_while_it_is_prolonged_is_not_held() {
    run(Engine::Postgres, |place: Arc<Place>| async move {
        let store = place.open().await;
        let jobs = [made(TenantId::random()), made(TenantId::random())];
        insert(&place, &jobs).await;
        let claimed = claim(&store, 2, 0).await;
        let held: Vec<_> = claimed.iter().map(|claimed| (claimed.job.job.job_id, claimed.claim)).collect();
        crate::support::leases_age(&place, 61).await;
        // Another process lets one of them wait again, and is not quite through with it.
        let mut other = place.connect().await;
        let mut reclaims = other.begin().await.unwrap();
        let sql = "UPDATE action_jobs SET state = 'waiting', ready = true, worker = NULL, lease_until = NULL WHERE job_id = $1";
        sqlx::query(sql).bind(held[0].0).execute(&mut *reclaims).await.unwrap();
        let (extending, asked) = (Arc::clone(&store), held.clone());
        let extended = tokio::spawn(async move { extending.extend_claims(asked, LEASE, at(0)).await });
        let waits = "SELECT count(*) = 1 FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%action_jobs%'";
        until(async || sqlx::query_scalar(waits).fetch_one(&mut place.connect().await).await.unwrap()).await;
        reclaims.commit().await.unwrap();
        assert_eq!(extended.await.unwrap().unwrap(), held[1..]);
        assert_eq!(store.reclaim_jobs(at(0)).await.unwrap(), 0, "what is held was not prolonged");
        other.close().await.unwrap();
    });
}

/// In another order each time.
fn shuffled<T>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<(Uuid, T)> = items.into_iter().map(|item| (Uuid::new_v4(), item)).collect();
    items.sort_by_key(|(random, _)| *random);
    items.into_iter().map(|(_, item)| item).collect()
}

/// What everybody writes about.
#[derive(Debug)]
struct Stage {
    tenants: Vec<TenantId>,
    /// Triggers that are there, with their conditions.
    triggers: std::sync::Mutex<Vec<(Uuid, Vec<Uuid>)>>,
    ends: Instant,
}

impl Stage {
    fn triggers(&self) -> Vec<(Uuid, Vec<Uuid>)> {
        self.triggers.lock().unwrap().clone()
    }

    fn goes_on(&self) -> bool {
        Instant::now() < self.ends
    }

    /// A step that makes jobs, brings back some, takes back some, and remembers something of every trigger.
    fn step(&self, stream: StreamId) -> MatchCommit {
        let mut next = step(stream, 0, 0);
        for (trigger_id, conditions) in self.triggers() {
            let jobs = (0..25_u128).map(|number| {
                let tenant_id = self.tenants[number as usize % self.tenants.len()];
                let (job_id, occurrence) = (Uuid::new_v5(&trigger_id, &number.to_be_bytes()), number);
                NewJob {
                    trigger_id,
                    ..job(stream, tenant_id, job_id.as_u128() ^ stream.store_id.uuid().as_u128(), occurrence)
                }
            });
            next.jobs.extend(shuffled(jobs).into_iter().take(15));
            for condition_id in conditions {
                let key =
                    |number: u32| StateKey { trigger_id, condition_id, stream, subject: number.to_string() };
                let state = |number: u32| (key(number), (!number.is_multiple_of(3)).then(|| "{}".to_owned()));
                next.state.extend(shuffled((0..12).map(state)).into_iter().take(8));
            }
        }
        next.jobs = shuffled(next.jobs);
        next.state = shuffled(next.state);
        next.retracted = shuffled((0..25).map(Uuid::from_u128)).into_iter().take(6).collect();
        next
    }
}

/// One of the things that go on at the same time.
async fn play(
    part: usize,
    store: Arc<dyn LineStore>,
    stage: Arc<Stage>,
    stream: StreamId,
) -> Result<u64, StoreError> {
    let mut rounds = 0;
    while stage.goes_on() {
        rounds += 1;
        let now = at(rounds);
        match part {
            0..3 => store.commit_matches(stage.step(stream), now).await?,
            3 | 4 => {
                let tenant_id = shuffled(stage.tenants.clone()).pop();
                drop(store.redeliver(JobFilter { tenant_id, limit: 60, ..JobFilter::default() }, now).await?);
            }
            5 => {
                let handed = store.hand_over(100, now).await?;
                let ids = shuffled(handed.into_iter().map(|job| job.job.job_id));
                store.take_back(Some(ids)).await?;
                store.hand_over(100, now).await?;
                store.take_back(None).await?;
            }
            6 | 7 => {
                let claimed = store.claim_jobs(Claim::Next { limit: 40 }, "w", LEASE, now).await?;
                let held = shuffled(claimed.iter().map(|claimed| (claimed.job.job.job_id, claimed.claim)));
                store.extend_claims(held, LEASE * 3, now).await?;
                let ends = [
                    JobEnd::Dead,
                    JobEnd::Cancelled,
                    JobEnd::Barred { due_at: at(rounds + 3) },
                    JobEnd::Dead,
                ];
                let reports =
                    claimed.iter().zip(ends.into_iter().cycle()).map(|(claimed, end)| report(claimed, end));
                drop(store.report_jobs(shuffled(reports), now).await?);
            }
            8 => {
                let mut made = trigger(stage.tenants[0]);
                put(&store, &mut made).await;
                let conditions = made.conditions.iter().map(|condition| condition.condition_id).collect();
                let oldest = {
                    let mut triggers = stage.triggers.lock().unwrap();
                    triggers.push((made.trigger_id, conditions));
                    if triggers.len() > 3 { Some(triggers.remove(0)) } else { None }
                };
                if let Some((trigger_id, _)) = oldest {
                    assert!(store.delete_trigger(stage.tenants[0], trigger_id, now).await?);
                }
            }
            _ => {
                drop(store.give_up_excess(20, now).await?);
                drop(store.give_up_barred(now, now).await?);
                store.reclaim_jobs(now).await?;
                let dead = JobFilter { state: Some(JobState::Dead), limit: 5, ..JobFilter::default() };
                drop(store.purge_jobs(dead).await?);
            }
        }
    }
    Ok(rounds as u64)
}

#[test]
fn whatever_is_done_to_jobs_at_the_same_time_nobody_waits_in_a_circle() {
    run(Engine::Postgres, |place: Arc<Place>| async move {
        let stores = place.open_two().await;
        let streams: Vec<StreamId> = (0..3).map(|_| new_stream()).collect();
        for stream in &streams {
            grow(&stores[0], *stream, 1).await;
        }
        let stage = Arc::new(Stage {
            tenants: (0..3).map(|_| TenantId::random()).collect(),
            triggers: std::sync::Mutex::default(),
            ends: Instant::now() + RACE,
        });
        let parts: Vec<_> = (0..10)
            .map(|part| {
                let (store, stage) = (Arc::clone(&stores[part % 2]), Arc::clone(&stage));
                tokio::spawn(play(part, store, stage, streams[part % 3]))
            })
            .collect();
        for (part, played) in parts.into_iter().enumerate() {
            let rounds = played.await.unwrap().unwrap();
            assert!(rounds > 1, "part {part} hardly ran: {rounds}");
        }
        let everything = claim(&stores[0], 5_000, 9).await;
        end(&stores[0], &everything, JobEnd::Succeeded).await;
        for store in &stores {
            store.close().await;
        }
        // A server's processes tell what they counted when they end.
        let gone = "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database()";
        until(async || sqlx::query_scalar(gone).fetch_one(&mut place.connect().await).await.unwrap()).await;
        let mut connection = place.connect().await;
        let counted = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
        let deadlocks: i64 = sqlx::query_scalar(counted).fetch_one(&mut connection).await.unwrap();
        assert_eq!(deadlocks, 0);
        connection.close().await.unwrap();
    });
}
