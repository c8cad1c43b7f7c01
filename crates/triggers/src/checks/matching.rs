//! Whether events are matched: how many wait, since when none was, and what could not be.

use bowline_deliveries::checks::QUEUE_FULL_JOBS;
use bowline_runtime::Finding;

use super::{TriggerFacts, fact, secs_since, threshold};

const RESTART: &str = "docker compose restart event-processor (systemctl restart bowline-event-processor); what waits is \
                       matched then, and nothing twice";

pub(super) fn matching(facts: &TriggerFacts) -> Finding {
    let matching = match fact(facts, |store| &store.matching) {
        Ok(matching) => matching,
        Err(skipped) => return skipped,
    };
    if matching.triggers == 0 && matching.last_at.is_none() {
        return Finding::skipped("there is no trigger").with("events on the line", matching.behind_events);
    }
    let waiting = fact(facts, |store| &store.actions).map_or(0, |actions| actions.waiting);
    let still = matching.last_at.map(|at| secs_since(at, facts.now));
    let behind = matching.behind_events;
    let finding = if behind > 0 && waiting >= QUEUE_FULL_JOBS {
        Finding::warn(
            "matching is held until the queue of jobs drains; events wait on the line and none is lost",
            "see the check queue_depth",
        )
    } else if behind > 0 && still.is_none_or(|secs| secs >= threshold::STILL_SECS) {
        Finding::fail("events wait and none is matched", RESTART)
    } else if behind >= threshold::BEHIND_EVENTS {
        Finding::warn(
            "matching is behind",
            "wait if many events came at once; else look for slow statements with bowline doctor --check lock_contention",
        )
    } else {
        Finding::ok("events are matched as they come")
    };
    let finding = finding
        .held_against("events that wait", behind, threshold::BEHIND_EVENTS)
        .with("matched in the last 5 minutes", matching.matched)
        .with("triggers", matching.triggers);
    match (still, matching.last_at) {
        (Some(secs), Some(at)) => finding
            .held_against("seconds since the last", secs, threshold::STILL_SECS)
            .with("last matched", at),
        _ => finding,
    }
}

pub(super) fn set_aside(facts: &TriggerFacts) -> Finding {
    let matching = match fact(facts, |store| &store.matching) {
        Ok(matching) => matching,
        Err(skipped) => return skipped,
    };
    let finding = match matching.set_aside {
        0 => Finding::ok("every event of the last hour could be matched"),
        _ => Finding::warn(
            "events could not be matched and were set aside; the others went on",
            "SELECT event_id, problem FROM processed_events WHERE problem IS NOT NULL names them and why",
        ),
    };
    finding.held_against("set aside in the last hour", matching.set_aside, 1)
}
