//! How many triggers there are, how full the queue is and how far chains are: the few figures that every look at a
//! process shows.

use std::time::Duration;

use bowline_line::checks::{ChainFacts, DeliveryFacts};
use bowline_store::{StoreError, TriggerFilter};
use serde_json::json;

use crate::state::Api;

/// Triggers and the queue; none if the store does not answer in time.
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
