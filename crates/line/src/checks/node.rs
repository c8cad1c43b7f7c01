//! Checks of what a node says of itself: `/health`, `/ready`, `/metrics` and `/health/detailed`.
//!
//! A metric is asked for by its name alone, so that a node of another version is still checked as far as it tells.
//! Nothing here knows where the figures come from.

use bowline_runtime::{Finding, Samples};

use super::facts::{LineFacts, NodeFacts};
use super::{percent, size, threshold};
use crate::metrics::EVENTS_REJECTED;

/// Names that other crates count under.
const INGEST_SECONDS: &str = "sequencer_ingest_latency_seconds";
const STORE_ERRORS: &str = "bowline_store_errors_total";
const EVENTS_RECEIVED: &str = "sequencer_ves_events_received";

/// The metrics, or the finding that they are not there.
fn metrics(facts: &LineFacts) -> Result<&Samples, Finding> {
    facts.metrics.as_ref().map_err(|reason| Finding::skipped(format!("no metrics: {reason}")))
}

/// The node's facts, or the finding that they are not there.
fn node(facts: &LineFacts) -> Result<&NodeFacts, Finding> {
    facts.node.as_ref().map_err(|reason| Finding::skipped(format!("no /health/detailed: {reason}")))
}

/// Over which time the metrics count.
fn span(facts: &LineFacts) -> String {
    facts.window_secs.map_or_else(|| "since the node started".to_owned(), |secs| format!("within {secs} s"))
}

pub(super) fn health(facts: &LineFacts) -> Finding {
    match &facts.health {
        Ok(answer) if answer.status == 200 && answer.says == "healthy" => {
            Finding::ok("the process answers").with("/health", format!("200 in {} ms", answer.took_ms))
        }
        Ok(answer) => Finding::fail("what answers at this address is not a healthy node", "bowline serve")
            .held_against("/health", format!("{} {}", answer.status, answer.says), "200 healthy"),
        Err(reason) => Finding::fail("nothing answers: the node does not run there", "bowline serve")
            .held_against("/health", reason, "200 healthy"),
    }
}

pub(super) fn ready(facts: &LineFacts) -> Finding {
    match &facts.ready {
        Ok(answer) if answer.status == 200 => {
            Finding::ok("requests are served").with("/ready", format!("200 in {} ms", answer.took_ms))
        }
        Ok(answer) => {
            let (cause, fix) = match answer.says.contains("database") {
                true => (
                    "the node's database does not answer; the node refuses with 503 and recovers by itself",
                    "start the database, and check DATABASE_URL with `bowline config check`; \
                     for `too many connections` see the check db_connections",
                ),
                false => ("the node is stopping and takes no more requests", "bowline serve"),
            };
            Finding::fail(cause, fix).held_against(
                "/ready",
                format!("{} {}", answer.status, answer.says),
                "200 ready",
            )
        }
        Err(reason) => Finding::fail("nothing answers: the node does not run there", "bowline serve")
            .held_against("/ready", reason, "200 ready"),
    }
}

pub(super) fn db_pool(facts: &LineFacts) -> Finding {
    let node = match node(facts) {
        Ok(node) => node,
        Err(skipped) => return skipped,
    };
    let pool = &node.pool;
    let used = percent(pool.active, pool.max);
    let finding = if used >= threshold::POOL_PERCENT && node.store.engine == "postgres" {
        Finding::warn(
            "the pool is exhausted: requests wait for a connection",
            format!(
                "raise MAX_DB_CONNECTIONS (store.connections_max), now {}, and restart the node",
                pool.max
            ),
        )
    } else {
        Finding::ok("connections are left")
    };
    finding
        .held_against(
            "in use",
            format!("{} of {} ({used} %)", pool.active, pool.max),
            format!("{} %", threshold::POOL_PERCENT),
        )
        .with("idle", pool.idle)
}

pub(super) fn ingest_latency(facts: &LineFacts) -> Finding {
    let metrics = match metrics(facts) {
        Ok(metrics) => metrics,
        Err(skipped) => return skipped,
    };
    let Some(p99) = metrics.quantile(INGEST_SECONDS, 0.99).map(|seconds| seconds * 1_000.0) else {
        return Finding::ok(format!("no ingest request {}", span(facts)));
    };
    let waits = metrics.quantile("bowline_store_append_seconds", 0.99).map(|seconds| seconds * 1_000.0);
    let finding = match p99 > threshold::INGEST_P99_MS {
        true => Finding::warn(
            "ingest is slow",
            "bowline doctor --check db_pool --check lock_contention --check counter_locks --check indexes; \
             then larger batches, or hot streams divided into several stores",
        ),
        false => Finding::ok("ingest is fast enough"),
    };
    let finding = finding
        .held_against(
            format!("p99 {}", span(facts)),
            format!("{p99:.0} ms"),
            format!("{:.0} ms", threshold::INGEST_P99_MS),
        )
        .with("requests", metrics.count(INGEST_SECONDS).unwrap_or(0.0));
    match waits {
        Some(waits) => finding.with("p99 of the store's commits", format!("{waits:.0} ms")),
        None => finding,
    }
}

pub(super) fn queue(facts: &LineFacts) -> Finding {
    let queue = match node(facts) {
        Ok(node) => &node.queue,
        Err(skipped) => return skipped,
    };
    let used = percent(queue.pending_events, queue.pending_events_max);
    let finding = match used >= threshold::QUEUE_PERCENT {
        true => Finding::warn(
            "more events arrive than the store writes; further ones get 503 with Retry-After",
            "bowline doctor --check ingest_latency --check lock_contention; or raise line.limits.pending_events_max",
        ),
        false => Finding::ok("events are written as they come"),
    };
    finding
        .held_against(
            "waiting",
            format!("{} of {}", queue.pending_events, queue.pending_events_max),
            format!("{} %", threshold::QUEUE_PERCENT),
        )
        .with("turned away since the start", queue.refused_total)
}

pub(super) fn rate_limits(facts: &LineFacts) -> Finding {
    let metrics = match metrics(facts) {
        Ok(metrics) => metrics,
        Err(skipped) => return skipped,
    };
    // Whatever limits requests answers 429, under whichever metric it counts besides.
    let refused =
        metrics.series("sequencer_http_requests_total").filter(|s| s.label("status") == Some("429"));
    let refused = refused.map(|sample| sample.value).sum::<f64>() as u64;
    let finding = match refused > 0 {
        true => Finding::warn(
            "requests were turned away by a rate limit",
            "raise RATE_LIMIT_PER_MINUTE or the limit of the tenant's API key, or have the tenant send larger batches",
        ),
        false => Finding::ok("no request was turned away by a rate limit"),
    };
    let mut finding = finding.held_against(format!("429 answers {}", span(facts)), refused, 1);
    if let Ok(tenants) = facts.store.as_ref().map_err(String::clone).and_then(|s| s.busiest_tenants.clone()) {
        for load in tenants {
            finding = finding.with(
                format!("tenant {}", load.tenant_id),
                format!("{} events in the last hour", load.events),
            );
        }
    }
    finding
}

pub(super) fn signatures(facts: &LineFacts) -> Finding {
    let metrics = match metrics(facts) {
        Ok(metrics) => metrics,
        Err(skipped) => return skipped,
    };
    let reasons = ["invalid_signature", "agent_key_invalid", "invalid_payload_hash", "invalid_cipher_hash"];
    let counted =
        reasons.map(|reason| (reason, metrics.labelled(EVENTS_REJECTED, "reason", reason).unwrap_or(0.0)));
    let rejected: f64 = counted.iter().map(|(_, count)| count).sum();
    let received = metrics.sum(EVENTS_RECEIVED).unwrap_or(0.0);
    let share = if received > 0.0 { rejected * 100.0 / received } else { 0.0 };
    let mut finding = match share > threshold::REJECTED_PERCENT {
        true => Finding::warn(
            "many events fail verification: a wrong or unregistered key, a clock, or an agent that computes its \
             signing hash differently",
            "bowline keys list --tenant TENANT; the rejections in the agents' answers name event, reason and field",
        ),
        false => Finding::ok("events verify"),
    };
    finding = finding.held_against(
        format!("rejected {}", span(facts)),
        format!("{rejected} of {received} ({share:.1} %)"),
        format!("{} %", threshold::REJECTED_PERCENT),
    );
    for (reason, count) in counted.into_iter().filter(|(_, count)| *count > 0.0) {
        finding = finding.with(reason, count);
    }
    finding
}

pub(super) fn store_errors(facts: &LineFacts) -> Finding {
    let metrics = match metrics(facts) {
        Ok(metrics) => metrics,
        Err(skipped) => return skipped,
    };
    let of = |kind: &str| metrics.labelled(STORE_ERRORS, "kind", kind).unwrap_or(0.0);
    let (away, unknown, full, internal) =
        (of("unavailable"), of("outcome_unknown"), of("full"), of("internal"));
    let finding = if full > 0.0 {
        Finding::fail("the store had no room", "make room on the database's disk, see the check disk_space")
    } else if internal > 0.0 {
        Finding::warn(
            "the store failed in a way that it should not",
            "read the node's log for `the store failed`",
        )
    } else if away + unknown > 0.0 {
        Finding::warn(
            "the store was away, or a statement waited too long for a lock",
            "bowline doctor --check ready --check lock_contention; the node's log has the database's own words",
        )
    } else {
        Finding::ok("the store refused nothing")
    };
    let kinds = [("unavailable", away), ("outcome unknown", unknown), ("full", full), ("internal", internal)];
    let name = |kind: &str| format!("{kind} {}", span(facts));
    kinds.into_iter().fold(finding, |finding, (kind, count)| finding.held_against(name(kind), count, 1))
}

pub(super) fn circuit_breakers(facts: &LineFacts) -> Finding {
    let breakers = match node(facts) {
        Ok(node) => &node.circuit_breakers,
        Err(skipped) => return skipped,
    };
    if breakers.is_empty() {
        return Finding::skipped("the node has no circuit breakers");
    }
    let open = breakers.iter().find(|breaker| breaker.state != "closed");
    let finding = match open {
        Some(breaker) => Finding::fail(
            format!(
                "{} is away; calls to it are refused at once, and it is probed until it is back",
                breaker.name
            ),
            match breaker.name.as_str() {
                "store" => {
                    "start the database, and check DATABASE_URL with `bowline config check`".to_owned()
                }
                name => format!("see that what {name} talks to answers; the breaker closes by itself then"),
            },
        ),
        None => Finding::ok("nothing is cut off"),
    };
    breakers.iter().fold(finding, |finding, breaker| {
        let value = format!("{}, opened {} times", breaker.state, breaker.opened_total);
        finding.held_against(breaker.name.clone(), value, "not closed")
    })
}

pub(super) fn followers(facts: &LineFacts) -> Finding {
    let followers = match node(facts) {
        Ok(node) => &node.followers,
        Err(skipped) => return skipped,
    };
    // The commitments' lag has a check of its own: without automatic commitments it only grows.
    let followers: Vec<_> = followers.iter().filter(|follower| follower.name != "commitments").collect();
    let Some(slowest) = followers.iter().max_by_key(|follower| follower.lag_events) else {
        return Finding::skipped("nothing follows the line but the commitments, see commitment_lag");
    };
    let finding = match slowest.lag_events >= threshold::FOLLOWER_LAG_EVENTS {
        true => Finding::warn(
            format!("{} falls behind", slowest.name),
            "read the node's log for `Follower fell back`",
        ),
        false => Finding::ok("followers keep up"),
    };
    followers.iter().fold(finding, |finding, follower| {
        let value = format!("{} events behind, {} errors", follower.lag_events, follower.errors);
        finding.held_against(follower.name.clone(), value, threshold::FOLLOWER_LAG_EVENTS)
    })
}

pub(super) fn memory(facts: &LineFacts) -> Finding {
    let node = match node(facts) {
        Ok(node) => node,
        Err(skipped) => return skipped,
    };
    let process = &node.process;
    let files_max = process.open_files_max.unwrap_or(u64::MAX);
    let finding = if process.resident_bytes >= threshold::RESIDENT_BYTES {
        Finding::warn(
            "the process takes much memory",
            "lower MAX_DB_CONNECTIONS, CACHE_AGENT_KEY_MAX or line.limits.pending_events_max, and restart the node",
        )
    } else if percent(process.open_files, files_max) >= threshold::OPEN_FILES_PERCENT {
        Finding::warn(
            "the process is about to run out of open files",
            "raise the limit (`ulimit -n`, LimitNOFILE=), or lower line.limits.connections_max",
        )
    } else {
        Finding::ok("memory and open files are within their limits")
    };
    let finding = finding
        .held_against("in RAM", size(process.resident_bytes), size(threshold::RESIDENT_BYTES))
        .held_against(
            "open files",
            process.open_files_max.map_or_else(
                || process.open_files.to_string(),
                |max| format!("{} of {max}", process.open_files),
            ),
            format!("{} %", threshold::OPEN_FILES_PERCENT),
        );
    node.caches.iter().fold(finding, |finding, cache| {
        let max = cache.entries_max.map(|max| format!(" of {max}")).unwrap_or_default();
        let value = format!("{}{max} entries, {} hits, {} misses", cache.entries, cache.hits, cache.misses);
        finding.with(format!("cache {}", cache.name), value)
    })
}

pub(super) fn disk_space(facts: &LineFacts) -> Finding {
    let disk = match node(facts) {
        Ok(node) => &node.disk,
        Err(skipped) => return skipped,
    };
    if disk.total_bytes == 0 {
        return Finding::skipped("the node can't tell the size of its disk");
    }
    let free = percent(disk.free_bytes, disk.total_bytes);
    let fix = "make room: delete old backups and exports, or move the data folder to a larger disk and start with --data";
    let below = |percent: u64, bytes: u64| free < percent && disk.free_bytes < bytes;
    let finding = if below(threshold::DISK_FREE_FAIL_PERCENT, threshold::DISK_FREE_FAIL_BYTES) {
        Finding::fail("the disk is almost full; a full one refuses every event", fix)
    } else if below(threshold::DISK_FREE_WARN_PERCENT, threshold::DISK_FREE_WARN_BYTES) {
        Finding::warn("the disk fills up", fix)
    } else {
        Finding::ok("the disk has room")
    };
    finding.held_against(
        "free",
        format!("{} of {} ({free} %)", size(disk.free_bytes), size(disk.total_bytes)),
        format!(
            "below {} % and {}",
            threshold::DISK_FREE_WARN_PERCENT,
            size(threshold::DISK_FREE_WARN_BYTES)
        ),
    )
}

pub(super) fn clock_skew(facts: &LineFacts) -> Finding {
    let clocks = [("node", &facts.node_clock), ("database", &facts.database_clock)];
    let known = clocks.iter().filter_map(|(name, clock)| clock.as_ref().ok().map(|clock| (*name, clock)));
    let worst = known.clone().max_by_key(|(_, clock)| beyond_doubt(clock.ahead_ms, clock.give_or_take_ms));
    let Some((name, clock)) = worst else {
        let reasons: Vec<String> = clocks
            .iter()
            .filter_map(|(name, clock)| clock.as_ref().err().map(|e| format!("{name}: {e}")))
            .collect();
        return Finding::skipped(reasons.join("; "));
    };
    let off = beyond_doubt(clock.ahead_ms, clock.give_or_take_ms);
    let cause = format!("the {name}'s clock and this machine's differ");
    let fix = "set the clocks by NTP (`timedatectl set-ntp true`); receipts and the keys' validity go by the node's clock";
    let finding = if off >= threshold::SKEW_FAIL_MS {
        Finding::fail(cause, fix)
    } else if off >= threshold::SKEW_WARN_MS {
        Finding::warn(cause, fix)
    } else {
        Finding::ok("the clocks agree")
    };
    known.fold(finding, |finding, (name, clock)| {
        let value = format!("{:+} ms, give or take {}", clock.ahead_ms, clock.give_or_take_ms);
        finding.held_against(
            format!("{name} ahead of this machine"),
            value,
            format!("{} ms", threshold::SKEW_WARN_MS),
        )
    })
}

/// So many milliseconds is a clock off at least.
fn beyond_doubt(ahead_ms: i64, give_or_take_ms: i64) -> u64 {
    ahead_ms.unsigned_abs().saturating_sub(give_or_take_ms.unsigned_abs())
}

pub(super) fn exposure(facts: &LineFacts) -> Finding {
    let listen = match node(facts) {
        Ok(node) => &node.listen,
        Err(skipped) => return skipped,
    };
    let finding = if listen.auth != "required" && !listen.loopback {
        Finding::fail(
            "anyone who reaches the node may do anything",
            "set AUTH_MODE=required and restart the node",
        )
    } else if !listen.loopback {
        Finding::warn(
            "the node is reachable from other machines, and it speaks no TLS: keys and events cross the network in the clear",
            "set HOST=127.0.0.1 and let a proxy with TLS speak for the node",
        )
    } else if listen.auth != "required" {
        Finding::warn(
            "everyone on this machine may do anything",
            "set AUTH_MODE=required and restart the node",
        )
    } else {
        Finding::ok("only this machine reaches the node, with a credential")
    };
    finding.with("listens on", &listen.address).with("authentication", &listen.auth)
}
