//! How many triggers there are, how full the queue is and how far chains are: the few figures that every look at a
//! process shows.
//!
//! Counting takes the store some time, and `/status` is there for anybody: there the figures are up to a second old, and
//! however many ask, one of them counts.

use std::time::Duration;

use bowline_line::checks::{ChainFacts, DeliveryFacts};
use bowline_store::{StoreError, TriggerFilter};
use serde_json::json;

use crate::recent::Recent;
use crate::state::Api;

/// How old figures may be that anybody gets.
const AGE_MAX: Duration = Duration::from_secs(1);

/// The last figures; none of them if the store failed.
pub(crate) type Figures = Recent<Option<DeliveryFacts>>;

/// No figures yet.
pub(crate) fn figures() -> Figures {
    Recent::new(AGE_MAX)
}

/// Triggers and the queue, up to a second old; none if the store does not answer in time.
pub(super) async fn recent_deliveries(api: &Api, time_max: Duration) -> Option<DeliveryFacts> {
    let count = || {
        let api = api.clone();
        async move { ask(&api).await.ok() }
    };
    api.figures.get(time_max, count).await?
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
