//! Whether the database has room: statements that PostgreSQL runs at a time.
//! An embedded store has no such limit.

use bowline_runtime::Finding;

use super::{TriggerFacts, fact, threshold};

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
