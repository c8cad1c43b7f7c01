//! Checks of what only the store knows: its rows, its locks, its connections, its tables.
//!
//! A fact that could not be had skips its check and no other. What mends trouble is a statement or a command as an
//! operator pastes it, with the ids filled in.

use bowline_runtime::{Finding, Seen};
use bowline_store::{Activity, CommitmentRecord, StoreFacts};
use bowline_ves::Commitment;

use super::facts::LineFacts;
use super::{percent, size, threshold};
use crate::metrics::COMMIT_SECONDS;

/// Trouble of one kind that a finding names.
const NAMED_MAX: usize = 5;

/// One fact of the store, or the finding that it is not there.
fn fact<T>(facts: &LineFacts, pick: impl FnOnce(&StoreFacts) -> &Seen<T>) -> Result<&T, Finding> {
    let store = facts.store.as_ref().map_err(|reason| Finding::skipped(format!("no store: {reason}")))?;
    pick(store).as_ref().map_err(Finding::skipped)
}

pub(super) fn migrations(facts: &LineFacts) -> Finding {
    let schema = match fact(facts, |store| &store.schema) {
        Ok(schema) => schema,
        Err(skipped) => return skipped,
    };
    let finding = match schema.found.cmp(&schema.known) {
        std::cmp::Ordering::Equal => Finding::ok("the schema is this binary's"),
        std::cmp::Ordering::Less => Finding::fail("the database lacks migrations", "bowline migrate"),
        std::cmp::Ordering::Greater => Finding::fail(
            "the database was migrated by a newer binary",
            "run the newer binary, on every node",
        ),
    };
    finding.held_against("version", schema.found, schema.known)
}

pub(super) fn lock_contention(facts: &LineFacts) -> Finding {
    let activity = match fact(facts, |store| &store.activity) {
        Ok(activity) => activity,
        Err(skipped) => return skipped,
    };
    let waiting: Vec<&Activity> = activity.iter().filter(|a| a.waits_for_lock).collect();
    let blockers = waiting.iter().flat_map(|waiter| &waiter.blocked_by);
    let blocker = blockers.copied().find(|pid| !waiting.iter().any(|waiter| waiter.pid == *pid));
    let longest = waiting.iter().map(|waiter| waiter.secs).fold(0.0, f64::max);
    let oldest = activity.first().map_or(0.0, |first| first.secs);
    let finding = if longest >= threshold::BLOCKING_FAIL_SECS {
        let who = blocker.map_or_else(|| "PID".to_owned(), |pid| pid.to_string());
        Finding::fail(
            format!("{} statements wait for a lock that another transaction holds", waiting.len()),
            format!(
                "psql \"$DATABASE_URL\" -c 'SELECT pg_terminate_backend({who})'; then batch events, or divide hot streams"
            ),
        )
    } else if oldest >= threshold::TRANSACTION_WARN_SECS {
        let pid = activity.first().map_or(0, |first| first.pid);
        Finding::warn(
            "a transaction has run for long; vacuum can't clean up behind it",
            format!("psql \"$DATABASE_URL\" -c 'SELECT pg_cancel_backend({pid})' if it is not wanted"),
        )
    } else {
        Finding::ok("nothing runs or waits for long")
    };
    let finding = finding
        .held_against(
            "waiting for a lock",
            format!("{}, {longest:.1} s", waiting.len()),
            format!("{} s", threshold::BLOCKING_FAIL_SECS),
        )
        .held_against(
            "longest transaction",
            format!("{oldest:.1} s"),
            format!("{} s", threshold::TRANSACTION_WARN_SECS),
        );
    activity.iter().take(NAMED_MAX).fold(finding, |finding, a| {
        let blocked =
            if a.blocked_by.is_empty() { String::new() } else { format!(", blocked by {:?}", a.blocked_by) };
        finding.with(
            format!("pid {}", a.pid),
            format!("{} {:.1} s{blocked}: {}", a.application, a.secs, a.query),
        )
    })
}

pub(super) fn counter_locks(facts: &LineFacts) -> Finding {
    let locks = match fact(facts, |store| &store.counter_locks) {
        Ok(locks) => locks,
        Err(skipped) => return skipped,
    };
    let held = locks.iter().filter(|lock| lock.granted);
    let worst = held.max_by(|left, right| left.secs.total_cmp(&right.secs));
    let fix = |pid: i32| format!("psql \"$DATABASE_URL\" -c 'SELECT pg_terminate_backend({pid})'");
    let finding = match worst {
        Some(lock) if lock.secs >= threshold::BLOCKING_FAIL_SECS && lock.blocks > 0 => Finding::fail(
            format!(
                "process {} holds streams' counters while {} others wait: these streams stand still",
                lock.pid, lock.blocks
            ),
            fix(lock.pid),
        ),
        Some(lock) if lock.secs >= threshold::TRANSACTION_WARN_SECS => Finding::warn(
            format!(
                "process {} holds streams' counters for long: nobody can append to these streams",
                lock.pid
            ),
            fix(lock.pid),
        ),
        _ => Finding::ok("the streams' counters are held no longer than a commit takes"),
    };
    let finding = finding.held_against(
        "longest hold",
        format!("{:.1} s", worst.map_or(0.0, |lock| lock.secs)),
        format!(
            "{} s with others waiting, {} s without",
            threshold::BLOCKING_FAIL_SECS,
            threshold::TRANSACTION_WARN_SECS
        ),
    );
    locks.iter().take(NAMED_MAX).fold(finding, |finding, lock| {
        let state = if lock.granted { "holds" } else { "waits" };
        finding.with(
            format!("pid {}", lock.pid),
            format!("{} {state}, {:.1} s, blocks {}", lock.application, lock.secs, lock.blocks),
        )
    })
}

pub(super) fn db_connections(facts: &LineFacts) -> Finding {
    let connections = match fact(facts, |store| &store.connections) {
        Ok(connections) => connections,
        Err(skipped) => return skipped,
    };
    let used = percent(connections.used, connections.max);
    let fix = "lower MAX_DB_CONNECTIONS on the nodes, end idle connections, or `ALTER SYSTEM SET max_connections = 200` and restart PostgreSQL";
    let finding = if used >= threshold::CONNECTIONS_FAIL_PERCENT {
        Finding::fail("the server is about to refuse connections", fix)
    } else if used >= threshold::CONNECTIONS_WARN_PERCENT {
        Finding::warn("the server's connections run short", fix)
    } else {
        Finding::ok("the server has connections left")
    };
    finding
        .held_against(
            "used",
            format!("{} of {} ({used} %)", connections.used, connections.max),
            format!("{} %", threshold::CONNECTIONS_WARN_PERCENT),
        )
        .with("idle for ten minutes", connections.long_idle)
}

pub(super) fn sequence_gaps(facts: &LineFacts) -> Finding {
    let streams = match fact(facts, |store| &store.streams) {
        Ok(streams) => streams,
        Err(skipped) => return skipped,
    };
    let looked: u64 = streams.iter().map(|stream| stream.head + 1 - stream.looked_from).sum();
    let sick: Vec<_> =
        streams.iter().filter(|stream| !stream.gaps.is_empty() || stream.last > stream.head).collect();
    let finding = match sick.first() {
        Some(first) => Finding::fail(
            "numbers of a stream are missing, or lie beyond its counter: rows were changed past the line",
            format!(
                "stop appending to stream {}, keep the database as it is, restore it beside from the last backup and \
                 compare with `bowline export`",
                first.stream
            ),
        ),
        None => Finding::ok("numbers are dense"),
    };
    let finding =
        finding.held_against("events looked at", format!("{looked} in {} streams", streams.len()), "any gap");
    sick.iter().take(NAMED_MAX).fold(finding, |finding, stream| {
        let gaps: Vec<String> =
            stream.gaps.iter().take(NAMED_MAX).map(|(first, last)| format!("{first}..={last}")).collect();
        let beyond = if stream.last > stream.head {
            format!(" last {} beyond head {}", stream.last, stream.head)
        } else {
            String::new()
        };
        finding.with(format!("stream {}", stream.stream), format!("missing {}{beyond}", gaps.join(", ")))
    })
}

pub(super) fn commitments(facts: &LineFacts) -> Finding {
    let chains = match fact(facts, |store| &store.chains) {
        Ok(chains) => chains,
        Err(skipped) => return skipped,
    };
    let count: usize = chains.iter().map(|chain| chain.commitments.len()).sum();
    let mut broken: Vec<(&Commitment, String)> = Vec::new();
    for chain in chains {
        let (mut before, mut committed_end): (Option<&Commitment>, Option<u64>) = (None, None);
        for (place, CommitmentRecord { commitment, chain: mark, .. }) in chain.commitments.iter().enumerate()
        {
            // A correction continues the chain, and no range; neither does what stands behind a corrected one.
            let end = committed_end.filter(|_| commitment.corrects.is_none());
            let sequence_end = end.unwrap_or(commitment.sequence_start.saturating_sub(1));
            let chained = match before {
                Some(before) => commitment.follows(Some(&Commitment { sequence_end, ..before.clone() })),
                None if place == 0 && chain.whole => commitment.follows(None),
                None => Ok(()),
            };
            let is_corrected = mark.corrected_by.is_some();
            if let Err(problem) = commitment.check().and(chained)
                && !is_corrected
            {
                broken.push((commitment, problem.to_string()));
            }
            before = (!is_corrected).then_some(commitment);
            if commitment.corrects.is_none() {
                committed_end = Some(commitment.sequence_end);
            }
        }
    }
    let finding = match broken.first() {
        Some((commitment, _)) => Finding::fail(
            "a stored commitment does not fit: its row was changed past the line. Never delete it, that would break \
             the chain for everyone who has its successors",
            format!(
                "bowline commitments check --tenant {} --store {}; then bowline commitments correct {} --reason TEXT",
                commitment.stream.tenant_id, commitment.stream.store_id, commitment.batch_id
            ),
        ),
        None => Finding::ok("commitments chain, and their state roots are right"),
    };
    let finding = finding.held_against(
        "commitments looked at",
        format!("{count} in {} streams", chains.len()),
        "any that does not fit",
    );
    broken.iter().take(NAMED_MAX).fold(finding, |finding, (commitment, problem)| {
        let (start, end) = (commitment.sequence_start, commitment.sequence_end);
        finding.with(format!("commitment {}", commitment.batch_id), format!("{start} to {end}: {problem}"))
    })
}

pub(super) fn commitment_lag(facts: &LineFacts) -> Finding {
    let streams = match fact(facts, |store| &store.streams) {
        Ok(streams) => streams,
        Err(skipped) => return skipped,
    };
    // A stream without any commitment has nobody who asks for one, and that is allowed.
    let committed = streams.iter().filter(|stream| stream.committed > 0);
    let Some(worst) = committed.max_by_key(|stream| stream.head.saturating_sub(stream.committed)) else {
        return Finding::ok("no stream has commitments").with("streams", streams.len());
    };
    let uncommitted = worst.head.saturating_sub(worst.committed);
    let waited = |since: bowline_types::Timestamp| {
        u64::try_from(facts.now.micros().saturating_sub(since.micros()) / 1_000_000).unwrap_or(0)
    };
    let secs = worst.uncommitted_since.map_or(0, waited);
    let create = format!(
        "bowline commitments create --tenant {} --store {}; or line.commitments.auto: unclaimed in the settings",
        worst.stream.tenant_id, worst.stream.store_id
    );
    let finding = if uncommitted >= threshold::UNCOMMITTED_EVENTS {
        Finding::warn("many events wait for one commitment, which will be slow", create)
    } else if secs >= threshold::UNCOMMITTED_SECS {
        Finding::warn("events have waited for long for a commitment", create)
    } else {
        Finding::ok("commitments keep up")
    };
    finding
        .held_against(
            "uncommitted in the stream that is furthest behind",
            uncommitted,
            threshold::UNCOMMITTED_EVENTS,
        )
        .held_against("its oldest", format!("{secs} s"), format!("{} s", threshold::UNCOMMITTED_SECS))
        .with("stream", worst.stream)
        .with("p99 of making one", commit_time(facts))
}

/// How long commitments take, if the node tells.
fn commit_time(facts: &LineFacts) -> String {
    let p99 = facts.metrics.as_ref().ok().and_then(|metrics| metrics.quantile(COMMIT_SECONDS, 0.99));
    p99.map_or_else(|| "not known".to_owned(), |seconds| format!("{:.0} ms", seconds * 1_000.0))
}

pub(super) fn dead_letters(facts: &LineFacts) -> Finding {
    let letters = match fact(facts, |store| &store.dead_letters) {
        Ok(letters) => letters,
        Err(skipped) => return skipped,
    };
    let open = letters.iter().filter(|letter| letter.status != "resolved");
    let count: u64 = open.map(|letter| letter.count).sum();
    let finding = match count > 0 {
        true => Finding::warn(
            "events were refused and wait for somebody",
            "bowline dead-letters list; mend the cause; bowline dead-letters retry --all",
        ),
        false => Finding::ok("no refused event waits"),
    };
    let finding = finding.held_against("unresolved", count, 1);
    letters.iter().fold(finding, |finding, letter| {
        let oldest = letter.oldest.map(|oldest| format!(", the oldest of {oldest}")).unwrap_or_default();
        finding.with(letter.status.clone(), format!("{}{oldest}", letter.count))
    })
}

pub(super) fn tables(facts: &LineFacts) -> Finding {
    let tables = match fact(facts, |store| &store.tables) {
        Ok(tables) => tables,
        Err(skipped) => return skipped,
    };
    let embedded = facts.store.as_ref().is_ok_and(|store| store.engine == "sqlite");
    let large = |rows: u64| embedded || rows >= threshold::TABLE_ROWS_MIN;
    let bloated = tables.iter().find(|table| {
        large(table.rows + table.dead_rows)
            && percent(table.dead_rows, table.rows + table.dead_rows) > threshold::DEAD_ROWS_PERCENT
    });
    let stale = tables.iter().find(|table| {
        !embedded
            && large(table.rows)
            && (table.analyzed_at.is_none() || percent(table.changed_rows, table.rows) > 50)
    });
    let finding = if let Some(table) = bloated {
        Finding::warn(
            format!("{} holds much room that nothing uses", table.name),
            match embedded {
                true => "stop the node, then: sqlite3 DATA/bowline.db VACUUM".to_owned(),
                false => format!("psql \"$DATABASE_URL\" -c 'VACUUM ANALYZE {};'", table.name),
            },
        )
    } else if let Some(table) = stale {
        let fix = format!("psql \"$DATABASE_URL\" -c 'ANALYZE {};'", table.name);
        Finding::warn(format!("the planner does not know what {} looks like", table.name), fix)
    } else {
        Finding::ok("tables are clean")
    };
    let total: u64 = tables.iter().map(|table| table.bytes).sum();
    let finding = finding.held_against(
        "dead rows or pages",
        bloated.map_or(0, |t| t.dead_rows),
        format!("{} %", threshold::DEAD_ROWS_PERCENT),
    );
    let finding = finding.with("size", size(total));
    tables.iter().filter(|table| table.bytes > 0).take(NAMED_MAX).fold(finding, |finding, table| {
        let what = if embedded { "pages" } else { "rows" };
        let analyzed = table.analyzed_at.map(|at| format!(", analyzed {at}")).unwrap_or_default();
        finding.with(
            table.name.clone(),
            format!("{}, {} {what}, {} dead{analyzed}", size(table.bytes), table.rows, table.dead_rows),
        )
    })
}

pub(super) fn indexes(facts: &LineFacts) -> Finding {
    let indexes = match fact(facts, |store| &store.indexes) {
        Ok(indexes) => indexes,
        Err(skipped) => return skipped,
    };
    let missing: Vec<&str> = indexes.iter().filter(|i| !i.usable).map(|i| i.name.as_str()).collect();
    let unused: Vec<_> = indexes
        .iter()
        .filter(|i| i.scans == Some(0) && !i.unique && i.bytes >= threshold::UNUSED_INDEX_BYTES)
        .collect();
    let finding = if !missing.is_empty() {
        Finding::fail(
            "indexes of the schema are missing or unusable: reads walk through whole tables",
            format!(
                "CREATE INDEX as the migrations have it, or for one that is there and unusable: \
                 psql \"$DATABASE_URL\" -c 'REINDEX INDEX CONCURRENTLY {}'",
                missing.first().copied().unwrap_or_default()
            ),
        )
    } else if let Some(index) = unused.first() {
        Finding::warn(
            format!("{} is large and was never used since the statistics began", index.name),
            "none needed; an index that no query of yours uses may be dropped after a month of this",
        )
    } else {
        Finding::ok("every index of the schema is there")
    };
    let finding = finding
        .held_against(
            "missing or unusable",
            if missing.is_empty() { "none".to_owned() } else { missing.join(", ") },
            "any",
        )
        .held_against("unused and large", unused.len(), 1);
    indexes.iter().filter(|i| i.scans.is_some()).take(NAMED_MAX).fold(finding, |finding, index| {
        finding.with(index.name.clone(), format!("{} scans, {}", index.scans.unwrap_or(0), size(index.bytes)))
    })
}

pub(super) fn backups(facts: &LineFacts) -> Finding {
    let backup = match &facts.backup {
        Ok(backup) => backup,
        Err(reason) => return Finding::skipped(reason),
    };
    let fix = "make a backup: `pg_dump -Fc` for PostgreSQL, a copy of the stopped node's data folder for the embedded store";
    let Some(newest) = backup.newest else {
        return Finding::fail("there is no backup", fix).held_against(
            "newest",
            format!("none in {}", backup.place),
            "1 day",
        );
    };
    let age = u64::try_from(facts.now.micros().saturating_sub(newest.micros()) / 1_000_000).unwrap_or(0);
    let finding = if age >= threshold::BACKUP_FAIL_SECS {
        Finding::fail("the newest backup is old", fix)
    } else if age >= threshold::BACKUP_WARN_SECS {
        Finding::warn("the newest backup is older than a day", fix)
    } else {
        Finding::ok("there is a backup of the last day")
    };
    finding
        .held_against(
            "newest",
            format!("{newest}, {} h ago", age / 3_600),
            format!("{} h", threshold::BACKUP_WARN_SECS / 3_600),
        )
        .with("looked in", &backup.place)
}
