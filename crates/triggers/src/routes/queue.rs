//! How full the queue of deliveries is.

use axum::Json;
use axum::extract::State;
use bowline_http::{ApiError, Principal, data};
use bowline_store::{BreakerKey, Permission};
use serde_json::{Value, json};

use super::TriggerRoutes;

/// Circuit breakers that are named.
const BREAKERS_MAX: usize = 100;

/// How many deliveries wait, are due, are under way and were given up, and what holds them back.
#[utoipa::path(get, path = "/api/v1/queue/stats", tag = "triggers", responses(
    (status = 200, description = "`{\"data\":{\"waiting\",\"due\",\"running\",\"dead\",\"oldest_due_at\",\"oldest_due_secs\",\
        \"redis\":null|{\"waiting\",\"dead\"}|{\"problem\"},\"breakers\":[{\"trigger_id\"|\"destination\",\"state\",\
        \"failure_count\",\"opened_at\"}],\"breakers_open\"}}`: of all organizations; breakers are named to administrators of all of them", body = Object)))]
pub(super) async fn stats(
    State(state): State<TriggerRoutes>,
    principal: Principal,
) -> Result<Json<Value>, ApiError> {
    principal.require(Permission::Admin)?;
    let now = state.line.clock.now();
    let depth = state.line.store.queue_depth(now).await?;
    let breakers = state.line.store.breakers(None).await?;
    let redis = match &state.redis {
        None => Value::Null,
        Some(redis) => match redis.depth().await {
            Ok(depth) => json!({ "waiting": depth.waiting, "dead": depth.dead }),
            Err(problem) => json!({ "problem": problem.to_string() }),
        },
    };
    let secs = depth.oldest_due_at.map(|due| now.micros().saturating_sub(due.micros()).max(0) / 1_000_000);
    // A receiver's or a trigger's trouble is its organization's business.
    let sees_all = principal.require_everything().is_ok();
    let named = breakers.iter().filter(|_| sees_all).take(BREAKERS_MAX).map(|breaker| {
        let mut shown = json!({
            "state": breaker.state.as_str(),
            "failure_count": breaker.failure_count,
            "last_failure_at": breaker.last_failure_at,
            "opened_at": breaker.opened_at,
        });
        match &breaker.key {
            BreakerKey::Trigger(id) => shown["trigger_id"] = json!(id),
            BreakerKey::Destination(host) => shown["destination"] = json!(host),
        }
        shown
    });
    Ok(data(json!({
        "waiting": depth.waiting,
        "due": depth.due,
        "running": depth.running,
        "dead": depth.dead,
        "oldest_due_at": depth.oldest_due_at,
        "oldest_due_secs": secs,
        "redis": redis,
        "breakers": named.collect::<Vec<_>>(),
        "breakers_open": breakers.len(),
    })))
}
