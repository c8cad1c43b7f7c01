//! Judges a stream's commitments while its events go by: the chain, the ranges, the roots, the upper levels.
//!
//! A commitment is taken up when the first event that it covers comes, gets every leaf of its range, and is
//! closed after the last. Several may cover one event; [`Chain`] alone decides what may follow what, and is gone
//! through before.

use std::collections::{HashMap, VecDeque};

use bowline_store::{CommitmentTrace, TILE_HEIGHT};
use bowline_types::{BatchId, StreamId};
use bowline_ves::{Commitment, CommitmentError, Hash, TiledTree};
use sha2::{Digest, Sha256};

use super::finding::{Finding, FindingKind, Findings};

/// The order of a stream's commitments: the one place that knows which may follow which.
///
/// They come in the chain's order, and each continues the state root of the one before. An ordinary one also
/// continues its range; a correction covers the range of the one that it names, which is then excused.
#[derive(Debug, Default)]
pub(super) struct Chain {
    last: Option<Link>,
    /// The last number under an ordinary commitment; none if that can't be gone by.
    committed_end: Option<u64>,
    /// Those that were corrected, until their correction comes.
    corrected: HashMap<BatchId, (u64, u64)>,
}

/// The end of the chain so far.
#[derive(Debug)]
enum Link {
    /// A commitment that is consistent.
    Sound(Commitment),
    /// One that is not: its range counts for nothing, and either state root may be the right one.
    Broken([Hash; 2]),
    /// One that can't be read.
    Unknown,
}

impl Chain {
    /// Takes the next commitment of the chain, and says what is wrong with it and its place.
    pub(super) fn take(&mut self, stream: StreamId, trace: CommitmentTrace) -> Option<Finding> {
        let Ok((record, _)) = trace.commitment else {
            // What can't be read is reported where its events go by.
            (self.last, self.committed_end) = (Some(Link::Unknown), None);
            return None;
        };
        let is_corrected = record.chain.corrected_by.is_some();
        let fault = self.judge(&record.commitment, is_corrected)?;
        Some(Finding { stream: Some(stream), ..name(fault, &record.commitment).at(trace.sequence_start) })
    }

    fn judge(&mut self, commitment: &Commitment, is_corrected: bool) -> Option<Finding> {
        if is_corrected {
            let range = (commitment.sequence_start, commitment.sequence_end);
            self.corrected.insert(commitment.batch_id, range);
        }
        let link = match commitment.check() {
            Ok(()) => {
                let fault = self.follows(commitment);
                self.last = Some(Link::Sound(commitment.clone()));
                if commitment.corrects.is_none() {
                    self.committed_end = Some(commitment.sequence_end);
                }
                return fault;
            }
            Err(CommitmentError::StateRoot { found, computed }) => {
                let fault = Finding::new(FindingKind::Commitment, computed.to_string(), found.to_string());
                (Finding { subject: "state root".to_owned(), ..fault }, Link::Broken([found, computed]))
            }
            Err(error) => {
                let fault =
                    Finding::new(FindingKind::Commitment, "a consistent commitment", error.to_string());
                (fault, Link::Broken([commitment.new_state_root; 2]))
            }
        };
        (self.last, self.committed_end) = (Some(link.1), None);
        (!is_corrected).then_some(link.0)
    }

    fn follows(&mut self, commitment: &Commitment) -> Option<Finding> {
        let fault = |expected: String, found| Some(Finding::new(FindingKind::Chain, expected, found));
        if let Some(wrong) = commitment.corrects {
            let range = (commitment.sequence_start, commitment.sequence_end);
            match self.corrected.remove(&wrong) {
                Some(corrected) if corrected == range => {}
                Some((start, end)) => {
                    return fault(format!("a correction over {start} to {end}"), "another range".to_owned());
                }
                None => {
                    let expected = "a correction of a commitment before it".to_owned();
                    return fault(expected, format!("one of {wrong}, which is not there"));
                }
            }
        }
        match &self.last {
            None => match commitment.follows(None) {
                Ok(()) => None,
                Err(error) => fault("the first commitment of the chain".to_owned(), error.to_string()),
            },
            Some(Link::Sound(last)) => {
                // Where no range is continued, only the state root is asked for.
                let before = commitment.sequence_start.saturating_sub(1);
                let end = if commitment.corrects.is_none() { self.committed_end } else { None };
                let last = Commitment { sequence_end: end.unwrap_or(before), ..last.clone() };
                let Err(error) = commitment.follows(Some(&last)) else { return None };
                let expected = format!("{} after state root {}", last.sequence_end + 1, last.new_state_root);
                fault(expected, error.to_string())
            }
            Some(Link::Broken(roots)) if !roots.contains(&commitment.prev_state_root) => {
                fault(format!("after state root {}", roots[0]), commitment.prev_state_root.to_string())
            }
            Some(Link::Broken(_) | Link::Unknown) => None,
        }
    }
}

/// A commitment whose events are going by.
#[derive(Debug)]
struct Open {
    commitment: Commitment,
    upper_levels: Vec<u8>,
    tree: TiledTree,
    /// The number of the next leaf.
    next: u64,
    /// Whether every leaf so far was there: without one of them no root can be judged.
    whole: bool,
}

/// The commitments of one stream.
#[derive(Debug)]
pub(super) struct Coverage {
    stream: StreamId,
    last_event: u64,
    queued: VecDeque<CommitmentTrace>,
    /// Behind which commitment the next page begins; none if there is none.
    page_after: Option<(u64, u64)>,
    open: Vec<Open>,
    open_max: usize,
    commitments: u64,
}

impl Coverage {
    pub(super) fn new(stream: StreamId, last_event: u64, open_max: usize) -> Self {
        Self {
            stream,
            last_event,
            queued: VecDeque::new(),
            page_after: Some((0, 0)),
            open: Vec::new(),
            open_max,
            commitments: 0,
        }
    }

    pub(super) fn stream(&self) -> StreamId {
        self.stream
    }

    /// Commitments taken up so far.
    pub(super) fn commitments(&self) -> u64 {
        self.commitments
    }

    /// Behind which commitment the page begins that is needed now.
    pub(super) fn page_due(&self) -> Option<(u64, u64)> {
        self.page_after.filter(|_| self.queued.is_empty())
    }

    /// Takes a page that was asked for with that limit.
    pub(super) fn queue(&mut self, page: Vec<CommitmentTrace>, limit: usize) {
        let last = page.last().filter(|_| page.len() >= limit);
        self.page_after = last.map(|last| (last.sequence_start, last.chain_position));
        self.queued.extend(page);
    }

    /// Takes up the queued commitments that begin at `number` or before.
    pub(super) fn begin(&mut self, number: u64, findings: &mut Findings) {
        while let Some(next) = self.queued.pop_front_if(|next| next.sequence_start <= number) {
            self.commitments += 1;
            let start = next.sequence_start;
            if let Some(finding) = self.take_up(next) {
                findings.add(Finding { stream: Some(self.stream), ..finding.at(start) });
            }
        }
    }

    fn take_up(&mut self, trace: CommitmentTrace) -> Option<Finding> {
        let (record, upper_levels) = match trace.commitment {
            Ok(whole) => whole,
            Err(problem) => return Some(Finding::new(FindingKind::Unreadable, "a commitment", problem.0)),
        };
        let commitment = record.commitment;
        // What is inconsistent was reported as part of the chain, and its range is not to be gone by. What was
        // corrected is not to be relied on at all.
        if record.chain.corrected_by.is_some() || commitment.check().is_err() {
            return None;
        }
        let named = |fault: Finding| Some(name(fault, &commitment));
        let (end, last) = (commitment.sequence_end, self.last_event);
        if end > last {
            let expected = format!("events up to {end}");
            return named(Finding::new(
                FindingKind::Commitment,
                expected,
                format!("{last} is the last event"),
            ));
        }
        if self.open.len() >= self.open_max {
            let expected = format!("at most {} commitments over one event", self.open_max);
            return named(Finding::new(
                FindingKind::Commitment,
                expected,
                "one more, which was not followed",
            ));
        }
        let (tree, next) = (TiledTree::new(TILE_HEIGHT), commitment.sequence_start);
        self.open.push(Open { commitment, upper_levels, tree, next, whole: true });
        None
    }

    /// Gives an event's leaf to the commitments that cover it, and closes those that end with it.
    pub(super) fn leaf(&mut self, number: u64, leaf: Option<Hash>, findings: &mut Findings) {
        for open in &mut self.open {
            open.whole &= open.next == number;
            open.next = number.saturating_add(1);
            match leaf {
                Some(leaf) if open.whole => open.tree.push(leaf),
                _ => open.whole = false,
            }
        }
        let (ended, open) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|open| open.next > open.commitment.sequence_end);
        self.open = open;
        let ended: Vec<Open> = ended;
        for ended in ended.into_iter().filter(|ended| ended.whole) {
            let start = ended.commitment.sequence_start;
            if let Some(finding) = ended.close() {
                findings.add(Finding { stream: Some(self.stream), ..finding.at(start) });
            }
        }
    }
}

impl Open {
    fn close(self) -> Option<Finding> {
        let (root, upper_levels) = self.tree.finish();
        let stored = self.commitment.merkle_root;
        if root != stored {
            let fault = Finding::new(FindingKind::MerkleRoot, root.to_string(), stored.to_string());
            return Some(name(fault, &self.commitment));
        }
        if upper_levels != self.upper_levels {
            let fault =
                Finding::new(FindingKind::UpperLevels, digest(&upper_levels), digest(&self.upper_levels));
            return Some(name(fault, &self.commitment));
        }
        None
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("{} bytes of SHA-256 {}", bytes.len(), Hash::new(Sha256::digest(bytes).into()))
}

/// The fault with its commitment's id and range.
fn name(fault: Finding, commitment: &Commitment) -> Finding {
    let (start, end) = (commitment.sequence_start, commitment.sequence_end);
    let what = if fault.subject.is_empty() { String::new() } else { format!("{} of ", fault.subject) };
    Finding { subject: format!("{what}commitment {} over {start} to {end}", commitment.batch_id), ..fault }
}
