//! How many triggers there are, how full the queue is and how far chains are: the few figures that every look at a
//! process shows.
//!
//! Counting takes the store some time, and `/status` is there for anybody: there the figures are up to a second old, and
//! however many ask, one of them counts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bowline_line::checks::{ChainFacts, DeliveryFacts};
use bowline_store::{StoreError, TriggerFilter};
use serde_json::json;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::state::Api;

/// How old figures may be that anybody gets.
const AGE_MAX: Duration = Duration::from_secs(1);

/// The last figures, with the time when they were counted; none of them if the store failed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures(Arc<Mutex<Option<Counted>>>);

#[derive(Debug)]
struct Counted {
    at: Instant,
    facts: Option<DeliveryFacts>,
}

impl Counted {
    fn is_fresh(&self) -> bool {
        self.at.elapsed() < AGE_MAX
    }
}

/// Triggers and the queue, up to [`AGE_MAX`] old; none if the store does not answer in time. What it answers later is for
/// whoever asks next.
pub(super) async fn recent_deliveries(api: &Api, time_max: Duration) -> Option<DeliveryFacts> {
    let look = async {
        let kept = match Arc::clone(&api.figures.0).try_lock_owned() {
            Ok(kept) => kept,
            // Somebody counts: what comes of that is new enough.
            Err(_) => return api.figures.0.lock().await.as_ref()?.facts.clone(),
        };
        match kept.as_ref().filter(|counted| counted.is_fresh()) {
            Some(counted) => counted.facts.clone(),
            // A task of its own, which goes on if this request does not wait for it.
            None => tokio::spawn(count(api.clone(), kept)).await.ok()?,
        }
    };
    tokio::time::timeout(time_max, look).await.ok()?
}

async fn count(api: Api, mut kept: OwnedMutexGuard<Option<Counted>>) -> Option<DeliveryFacts> {
    let facts = ask(&api).await.ok();
    *kept = Some(Counted { at: Instant::now(), facts: facts.clone() });
    facts
}

/// Triggers and the queue as they are now; none if the store does not answer in time.
pub(super) async fn deliveries(api: &Api, time_max: Duration) -> Option<DeliveryFacts> {
    tokio::time::timeout(time_max, ask(api)).await.ok()?.ok()
}

async fn ask(api: &Api) -> Result<DeliveryFacts, StoreError> {
    let now = api.line.clock.now();
    let depth = api.line.store.queue_depth(now).await?;
    let (_, triggers) =
        api.line.store.triggers(TriggerFilter { limit: 1, ..TriggerFilter::default() }).await?;
    let breakers = api.line.store.breakers(None).await?;
    let secs = depth.oldest_due_at.map(|due| now.micros().saturating_sub(due.micros()) / 1_000_000);
    Ok(DeliveryFacts {
        triggers,
        waiting: depth.waiting,
        due: depth.due,
        running: depth.running,
        dead: depth.dead,
        oldest_due_secs: secs.map(|secs| u64::try_from(secs).unwrap_or(0)),
        breakers_open: breakers.len() as u64,
    })
}

/// The chains that this process indexes.
pub(super) fn chains(api: &Api) -> Vec<ChainFacts> {
    if !api.roles.contains(&"indexer") {
        return Vec::new();
    }
    let facts = api.indexer.status().into_iter().map(|chain| ChainFacts {
        chain_id: chain.chain_id,
        state: json!(chain.state).as_str().unwrap_or_default().to_owned(),
        name: chain.name,
        block: chain.block,
        lag_blocks: chain.lag_blocks,
    });
    facts.collect()
}
