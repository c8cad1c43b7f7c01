//! Whether a store holds what it must: every number, hash, signature, receipt, version, commitment and cursor.
//!
//! [`audit`] reads one moment of a store from end to end, in memory that does not grow with it, and names each
//! fault with its stream, its number, what was expected and what is there. Signatures are judged against the
//! registered keys' bytes, whenever those were valid. It refuses to mend anything, and to report as a second
//! fault what follows from a first one in the same row.

mod commitments;
mod event;
mod finding;
mod keys;

use std::sync::Arc;

use bowline_store::{CommitmentTrace, EventTrace, Snapshot, StoreError, StreamTrace};
use bowline_types::{StreamId, Timestamp};
use rayon::prelude::*;

use self::commitments::{Chain, Coverage};
use self::event::Judged;
pub use self::finding::{FINDINGS_MAX, Finding, FindingKind, Findings};
use self::keys::{KeyRing, PageKeys};
use crate::store::schema;

/// Events of one page: enough for all cores, few enough to hold.
const PAGE_EVENTS: usize = 4_096;
/// Payload bytes of one page.
const PAGE_BYTES: usize = 32 << 20;
/// Commitments read at a time; each carries 64 bytes for 1,024 of its events.
const PAGE_COMMITMENTS: usize = 64;
/// Commitments that cover one event at most; further ones are not followed.
const COVERING_MAX: usize = 64;

/// What to look at.
#[derive(Debug, Clone, Copy, Default)]
pub struct AuditScope {
    /// Only this stream; the store as a whole is still asked for its own faults.
    pub stream: Option<StreamId>,
    /// Leaves signatures out: hashes, numbers and chains only.
    pub quick: bool,
}

/// What an audit found.
#[derive(Debug, Clone)]
pub struct AuditReport {
    /// `sqlite` or `postgres`.
    pub engine: &'static str,
    /// The store's schema version.
    pub schema_version: i64,
    /// Streams looked at.
    pub streams: u64,
    /// Events looked at.
    pub events: u64,
    /// Signatures verified: an agent's and two of a sequencer for each event.
    pub signatures: u64,
    /// Commitments looked at.
    pub commitments: u64,
    /// Followers' cursors looked at.
    pub cursors: u64,
    /// What is wrong.
    pub findings: Findings,
}

impl AuditReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.total() == 0
    }
}

/// Looks at everything. `progress` is told how many events of how many are done.
///
/// # Errors
/// The store can't be read at all, or has a schema of another version than this binary.
pub async fn audit(
    snapshot: &mut dyn Snapshot,
    scope: AuditScope,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<AuditReport, StoreError> {
    let found = snapshot.schema_version();
    let needed = schema().version();
    if found < needed {
        return Err(StoreError::NeedsMigration { found, needed });
    }
    let mut audit = Audit::new(snapshot, scope).await?;
    audit.engine().await?;
    let streams = audit.snapshot.streams().await?;
    let chosen: Vec<_> =
        streams.iter().filter(|trace| scope.stream.is_none_or(|only| trace.stream == only)).collect();
    let expected = chosen.iter().map(|trace| trace.last_event).sum();
    if let (Some(only), true) = (scope.stream, chosen.is_empty()) {
        audit.report.findings.add(Finding::of(only, FindingKind::Counter, "a stream of the store", "none"));
    }
    for trace in chosen {
        audit.stream(trace, expected, progress).await?;
    }
    audit.across().await?;
    audit.cursors(&streams).await?;
    audit.report.findings.sort();
    Ok(audit.report)
}

/// An audit under way.
struct Audit<'s> {
    snapshot: &'s mut dyn Snapshot,
    scope: AuditScope,
    keys: KeyRing,
    report: AuditReport,
}

impl<'s> Audit<'s> {
    async fn new(snapshot: &'s mut dyn Snapshot, scope: AuditScope) -> Result<Self, StoreError> {
        let report = AuditReport {
            engine: snapshot.engine(),
            schema_version: snapshot.schema_version(),
            streams: 0,
            events: 0,
            signatures: 0,
            commitments: 0,
            cursors: 0,
            findings: Findings::default(),
        };
        let keys = KeyRing::new(snapshot.sequencer_keys().await?);
        Ok(Self { snapshot, scope, keys, report })
    }

    /// What the engine says of itself.
    async fn engine(&mut self) -> Result<(), StoreError> {
        for problem in self.snapshot.engine_problems(FINDINGS_MAX).await? {
            self.report.findings.add(Finding {
                stream: problem.stream,
                subject: problem.check.to_owned(),
                ..Finding::new(FindingKind::Engine, problem.expected, problem.found)
            });
        }
        Ok(())
    }

    /// One stream from its first number to its last.
    async fn stream(
        &mut self,
        trace: &StreamTrace,
        expected: u64,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<(), StoreError> {
        self.report.streams += 1;
        self.counter(trace);
        let (stream, events_before) = (trace.stream, self.report.events);
        let mut pass = Pass {
            next: 1,
            last_time: None,
            coverage: Coverage::new(stream, trace.last_event, COVERING_MAX),
        };
        self.chain(stream).await?;
        let mut page = self.snapshot.events(stream, 0, PAGE_EVENTS, PAGE_BYTES).await?;
        while let Some(last) = page.last().map(|event| event.sequence_number) {
            let keys = self.keys.of_page(&mut *self.snapshot, &page, self.scope.quick).await?;
            // While the cores judge this page, the next one is read.
            let judging = tokio::task::spawn_blocking(move || judge_page(page, &keys));
            let next = self.snapshot.events(stream, last + 1, PAGE_EVENTS, PAGE_BYTES).await;
            let judged = judging.await.map_err(|e| StoreError::Internal(e.to_string()))?;
            for event in judged {
                self.place(stream, event, &mut pass).await?;
            }
            progress(self.report.events, expected);
            page = next?;
        }
        self.cover(&mut pass, u64::MAX).await?;
        self.report.commitments += pass.coverage.commitments();
        self.rows(trace, self.report.events - events_before);
        Ok(())
    }

    /// The stream's commitments in the order in which they were made.
    async fn chain(&mut self, stream: StreamId) -> Result<(), StoreError> {
        let (mut chain, mut after) = (Chain::default(), 0);
        loop {
            let page = self.snapshot.chain(stream, after, PAGE_COMMITMENTS).await?;
            let Some(last) = page.last().map(|last| last.chain_position) else { return Ok(()) };
            for finding in page.into_iter().filter_map(|trace| chain.take(stream, trace)) {
                self.report.findings.add(finding);
            }
            after = last;
        }
    }

    /// What the index gave against what the table has.
    fn rows(&mut self, trace: &StreamTrace, read: u64) {
        if let Some(rows) = trace.rows.filter(|rows| *rows != read) {
            let expected = format!("{rows} events by the primary key's index, as the table has");
            let finding = Finding::of(trace.stream, FindingKind::Engine, expected, format!("{read} events"));
            self.report.findings.add(Finding { subject: "index_count".to_owned(), ..finding });
        }
    }

    fn counter(&mut self, trace: &StreamTrace) {
        let last = trace.last_event;
        if trace.counter.unwrap_or(0) != last {
            let found = trace.counter.map_or_else(|| "no counter".to_owned(), |counter| counter.to_string());
            let finding = Finding::of(trace.stream, FindingKind::Counter, last.to_string(), found);
            self.report.findings.add(Finding { subject: "the last event's number".to_owned(), ..finding });
        }
        if trace.last_leaf > last {
            let found = format!("a leaf {}", trace.last_leaf);
            let expected = format!("no leaf beyond event {last}");
            self.report
                .findings
                .add(Finding::of(trace.stream, FindingKind::Leaf, expected, found).at(trace.last_leaf));
        }
    }

    /// What is only seen in an event's place: the number, the time, and the commitments over it.
    async fn place(&mut self, stream: StreamId, event: Judged, pass: &mut Pass) -> Result<(), StoreError> {
        self.report.events += 1;
        self.report.signatures += u64::from(event.signatures);
        let number = event.sequence_number;
        let findings = &mut self.report.findings;
        if number < pass.next {
            let expected = format!("nothing before event {}", pass.next);
            findings.add(Finding::of(stream, FindingKind::Number, expected, number.to_string()).at(number));
        } else if number > pass.next {
            let found = match number - pass.next {
                1 => format!("{number} in its place"),
                _ => format!("{number} in its place, {} events are missing", number - pass.next),
            };
            findings
                .add(Finding::of(stream, FindingKind::Number, pass.next.to_string(), found).at(pass.next));
        }
        if let (Some(before), Some(time)) = (pass.last_time, event.sequenced_at)
            && time < before
        {
            let expected = format!("not before {before}");
            findings.add(Finding::of(stream, FindingKind::Time, expected, time.to_string()).at(number));
        }
        for finding in event.findings {
            findings.add(Finding { stream: Some(stream), ..finding.at(number) });
        }
        self.cover(pass, number).await?;
        pass.coverage.leaf(number, event.leaf, &mut self.report.findings);
        pass.last_time = event.sequenced_at.or(pass.last_time);
        pass.next = pass.next.max(number.saturating_add(1));
        Ok(())
    }

    /// Takes up the commitments that begin at `number` or before.
    async fn cover(&mut self, pass: &mut Pass, number: u64) -> Result<(), StoreError> {
        while let Some(after) = pass.coverage.page_due() {
            let stream = pass.coverage.stream();
            let page: Vec<CommitmentTrace> =
                self.snapshot.commitments(stream, after, PAGE_COMMITMENTS).await?;
            pass.coverage.queue(page, PAGE_COMMITMENTS);
            pass.coverage.begin(number, &mut self.report.findings);
        }
        pass.coverage.begin(number, &mut self.report.findings);
        Ok(())
    }

    /// What the database tells of all events at once.
    async fn across(&mut self) -> Result<(), StoreError> {
        for found in self.snapshot.entity_breaks(self.scope.stream, FINDINGS_MAX).await? {
            let finding = Finding::of(
                found.stream,
                FindingKind::EntityVersion,
                found.expected.to_string(),
                found.found.to_string(),
            );
            let subject = format!("{}/{}", found.entity_type, found.entity_id);
            self.report.findings.add(Finding { subject, ..finding }.at(found.sequence_number));
        }
        for found in self.snapshot.repeated_ids(self.scope.stream, FINDINGS_MAX).await? {
            let there =
                format!("{} events, {} the first and {} the last", found.count, found.first, found.last);
            let finding = Finding::of(found.stream, FindingKind::RepeatedId, "one event".to_owned(), there);
            let subject = format!("{} {}", found.kind, found.id);
            self.report.findings.add(Finding { subject, ..finding }.at(found.last));
        }
        self.anchors().await
    }

    /// Where commitments' marks and the sends that gave them tell different things.
    async fn anchors(&mut self) -> Result<(), StoreError> {
        for found in bowline_anchor::audit::breaks(self.snapshot, self.scope.stream, FINDINGS_MAX).await? {
            let (expected, there) = match (found.is_marked, found.place) {
                (true, _) => ("an anchored send that gave the mark", "none that gave it"),
                (false, Some(_)) => ("the mark of an anchored send", "no mark"),
                (false, None) => ("the commitment of an anchored send", "none"),
            };
            let subject = format!("commitment {}", found.batch_id);
            let finding = Finding { subject, ..Finding::new(FindingKind::Anchor, expected, there) };
            let stream = found.place.map(|(stream, _)| stream);
            let sequence_number = found.place.map(|(_, number)| number);
            self.report.findings.add(Finding { stream, sequence_number, ..finding });
        }
        Ok(())
    }

    async fn cursors(&mut self, streams: &[StreamTrace]) -> Result<(), StoreError> {
        for cursor in self.snapshot.cursors().await? {
            if self.scope.stream.is_some_and(|only| only != cursor.stream) {
                continue;
            }
            self.report.cursors += 1;
            let at = streams.binary_search_by(|trace| trace.stream.cmp(&cursor.stream));
            let trace = at.ok().and_then(|at| streams.get(at));
            let head = trace.map_or(0, |trace| trace.counter.unwrap_or(0).max(trace.last_event));
            if cursor.sequence_number > head {
                let expected = format!("{head} at most");
                let found = cursor.sequence_number.to_string();
                let finding = Finding::of(cursor.stream, FindingKind::Cursor, expected, found);
                let subject = format!("follower {}", cursor.follower);
                self.report.findings.add(Finding { subject, ..finding }.at(cursor.sequence_number));
            }
        }
        Ok(())
    }
}

/// Where a pass over a stream is.
struct Pass {
    /// The number that the next event must have.
    next: u64,
    last_time: Option<Timestamp>,
    coverage: Coverage,
}

fn judge_page(page: Vec<EventTrace>, keys: &Arc<PageKeys>) -> Vec<Judged> {
    page.into_par_iter().map(|trace| event::judge(trace, keys)).collect()
}
