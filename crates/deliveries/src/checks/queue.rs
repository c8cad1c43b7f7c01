//! Whether jobs are delivered: how many wait, how many fail, how many were given up and which breakers block.
//!
//! It judges counts and refuses to guess why a receiver fails: the receiver's answer stands beside the finding.

use bowline_runtime::Finding;
use bowline_store::OpenBreaker;

use super::{DeliveryFacts, fact, secs_since, threshold};
use crate::outcome::FailureCode;

/// Breakers that a finding names.
const NAMED_MAX: usize = 5;

const MORE_WORKERS: &str = "docker compose up -d --scale action-workers=3 (systemctl start bowline-action-workers@2); if the \
                            queue does not drain, bowline doctor --check deliveries";

pub(super) fn queue_depth(facts: &DeliveryFacts) -> Finding {
    let actions = match fact(facts, |store| &store.actions) {
        Ok(actions) => actions,
        Err(skipped) => return skipped,
    };
    let waiting = actions.waiting;
    let finding = if waiting >= threshold::QUEUE_FAIL {
        Finding::fail(
            "so many jobs wait that matching is held (QUEUE_CRITICAL_DEPTH); nothing is lost, and it goes on by itself",
            MORE_WORKERS,
        )
    } else if waiting > threshold::QUEUE_WARN {
        Finding::warn("jobs come faster than they are delivered (QUEUE_HIGH_DEPTH)", MORE_WORKERS)
    } else if waiting >= threshold::QUEUE_USUAL {
        Finding::ok("more jobs wait than on an ordinary day")
    } else {
        Finding::ok("jobs do not pile up")
    };
    let finding = finding
        .held_against("jobs that wait", waiting, threshold::QUEUE_WARN)
        .with("in workers' hands", actions.running);
    match actions.oldest_due_at {
        Some(due) => finding.with("seconds that one has been due", secs_since(due, facts.now).max(0)),
        None => finding,
    }
}

pub(super) fn deliveries(facts: &DeliveryFacts) -> Finding {
    let actions = match fact(facts, |store| &store.actions) {
        Ok(actions) => actions,
        Err(skipped) => return skipped,
    };
    let attempts: u64 = actions.attempts.iter().map(|one| one.attempts).sum();
    let failed: u64 = actions.attempts.iter().map(|one| one.failed).sum();
    if attempts == 0 {
        return match actions.oldest_due_at {
            Some(due) if secs_since(due, facts.now) >= threshold::STILL_SECS => Finding::fail(
                "jobs are due and nobody delivers them",
                "docker compose up -d action-workers (systemctl start bowline-action-workers@1)",
            )
            .held_against(
                "seconds that one has been due",
                secs_since(due, facts.now),
                threshold::STILL_SECS,
            ),
            _ => Finding::skipped("nothing was delivered in the last 15 minutes, and nothing had to be"),
        };
    }
    let percent = failed.saturating_mul(100) / attempts;
    let enough = attempts >= threshold::ATTEMPTS_MIN;
    let fix = "see what the receiver answers with bowline deliveries list --state dead, and mend it; what waits is tried again \
               by itself";
    // A worker with another key than the gateway's can't open secrets.
    let is_of_key = |error: &Option<String>| {
        error.as_ref().is_some_and(|error| FailureCode::SecretsUnreadable.is_of(error))
    };
    let finding = if actions.attempts.iter().any(|one| is_of_key(&one.error)) {
        Finding::fail(
            "in the last 15 minutes a worker could not open the secrets of actions: it had another key than the process that sealed them",
            "set BOWLINE_SECRETS_KEY (triggers.secrets_key) to the same in every process of this store and restart them; then \
             bowline deliveries redeliver --all",
        )
    } else if enough && percent > threshold::FAILED_FAIL_PERCENT {
        Finding::fail("most deliveries fail", fix)
    } else if enough && percent > threshold::FAILED_WARN_PERCENT {
        Finding::warn("many deliveries fail", fix)
    } else {
        Finding::ok("deliveries succeed")
    };
    let finding = finding
        .held_against("failed of the last 15 minutes, %", percent, threshold::FAILED_WARN_PERCENT)
        .with("attempts looked at", attempts);
    let worst = actions.attempts.iter().filter(|one| one.failed > 0).take(NAMED_MAX);
    worst.fold(finding, |finding, one| {
        let error = one.error.as_deref().unwrap_or("no reason was kept");
        // An action that can't be made ready has no receiver.
        let to = if one.destination.is_empty() { "before sending" } else { &one.destination };
        finding.with(to.to_owned(), format!("{} of {} failed: {error}", one.failed, one.attempts))
    })
}

pub(super) fn job_letters(facts: &DeliveryFacts) -> Finding {
    let actions = match fact(facts, |store| &store.actions) {
        Ok(actions) => actions,
        Err(skipped) => return skipped,
    };
    let finding = match actions.dead {
        0 => Finding::ok("no job was given up"),
        _ => Finding::warn(
            "jobs were given up after as many tries as the settings say",
            "bowline deliveries list --state dead; mend the cause, then bowline deliveries redeliver --all",
        ),
    };
    finding.held_against("jobs given up", actions.dead, 1)
}

pub(super) fn breakers(facts: &DeliveryFacts) -> Finding {
    let breakers = match fact(facts, |store| &store.open_breakers) {
        Ok(breakers) => breakers,
        Err(skipped) => return skipped,
    };
    if breakers.is_empty() {
        return Finding::ok("no circuit breaker is open");
    }
    let triggers = fact(facts, |store| &store.matching).map_or(0, |matching| matching.triggers);
    let open = breakers.iter().filter(|breaker| breaker.kind == "trigger").count() as u64;
    let fix = "mend the receiver: a try a minute finds it out by itself; or bowline triggers breaker TRIGGER_ID --reset";
    let finding = if triggers > 0 && open >= triggers {
        Finding::fail("the circuit breakers of all triggers are open: no action is carried out", fix)
    } else {
        Finding::warn("circuit breakers are open: jobs behind them wait", fix)
    };
    let finding = finding.held_against("circuit breakers that are not closed", breakers.len(), 1);
    breakers.iter().take(NAMED_MAX).fold(finding, |finding, breaker| {
        let OpenBreaker { kind, name, state, failure_count, last_failure_at } = breaker;
        let last = last_failure_at.map(|at| format!(", the last at {at}")).unwrap_or_default();
        finding.with(format!("{kind} {name}"), format!("{state}, {failure_count} failures{last}"))
    })
}
