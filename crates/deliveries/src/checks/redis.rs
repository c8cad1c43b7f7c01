//! Whether Redis answers and has memory left.
//! A node without Redis is well: its workers ask the database.

use bowline_runtime::Finding;

use super::{DeliveryFacts, threshold};

pub(super) fn redis(facts: &DeliveryFacts) -> Finding {
    let redis = match &facts.redis {
        None => return Finding::skipped("no Redis is named (REDIS_URL): workers ask the database"),
        Some(Err(problem)) => {
            return Finding::fail(
                format!(
                    "Redis does not answer: {problem}; workers ask the database meanwhile, and no job is lost"
                ),
                "docker compose up -d redis (systemctl start redis-server)",
            );
        }
        Some(Ok(redis)) => redis,
    };
    let finding = match redis.memory_bytes > threshold::REDIS_BYTES {
        true => Finding::warn(
            "Redis uses much memory",
            "redis-cli LLEN action_jobs tells how many jobs it has; then docker compose up -d --scale action-workers=3",
        ),
        false => Finding::ok("Redis answers and has memory left"),
    };
    finding.held_against("memory, bytes", redis.memory_bytes, threshold::REDIS_BYTES)
}
