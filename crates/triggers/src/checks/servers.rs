//! Whether the servers beside us have room: Redis's memory, and statements that PostgreSQL runs at a time.

use bowline_runtime::Finding;

use super::{TriggerFacts, fact, threshold};

pub(super) fn redis(facts: &TriggerFacts) -> Finding {
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

pub(super) fn active(facts: &TriggerFacts) -> Finding {
    let connections = match fact(facts, |store| &store.connections) {
        Ok(connections) => connections,
        Err(skipped) => return skipped,
    };
    let fix = "bowline doctor --check lock_contention names what holds them up; then lower DB_MAX_CONNECTIONS, or end statements \
               that run for minutes with pg_terminate_backend";
    let finding = if connections.active >= threshold::ACTIVE_FAIL {
        Finding::fail("the database runs far too many statements at a time", fix)
    } else if connections.active >= threshold::ACTIVE_WARN {
        Finding::warn("the database runs many statements at a time", fix)
    } else {
        Finding::ok("few statements run at a time")
    };
    finding
        .held_against("statements that run", connections.active, threshold::ACTIVE_WARN)
        .with("connections", connections.used)
        .with("connections at most", connections.max)
}
