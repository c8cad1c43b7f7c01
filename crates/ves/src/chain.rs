//! The chain of commitments as a verifier of an export walks it.
//!
//! Each commitment continues the one that stands before it, and its root is that of the file's events. One that
//! is wrong in itself is not the end: a correction later in the same file may name it and cover its range with
//! the right root. What nobody corrected is reported when the file ends. It refuses to excuse a commitment that
//! stands in the wrong place: no correction can make the file's ranges fit.

use std::collections::HashMap;

use bowline_types::BatchId;

use crate::commitment::Commitment;
use crate::hash::Hash;
use crate::merkle;
use crate::verify_export::ExportError;

/// A commitment of an export that a later one of the same export corrects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corrected {
    /// The commitment that is not to be relied on.
    pub batch_id: BatchId,
    /// The one to rely on instead.
    pub corrected_by: BatchId,
    /// First number that both cover.
    pub sequence_start: u64,
    /// Last number that both cover.
    pub sequence_end: u64,
    /// What is wrong with it; none if the verifier finds nothing wrong, or does not hold its events.
    pub problem: Option<String>,
}

/// A commitment of the file.
struct Seen {
    start: u64,
    end: u64,
    /// The root of the file's events in its range; none if the file does not hold them.
    root: Option<Hash>,
    line: u64,
    problem: Option<String>,
    corrected_by: Option<BatchId>,
}

/// Where the reader of the file is.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) line: u64,
    /// The file's first event.
    pub(crate) first: u64,
    /// The number after the last event that was read.
    pub(crate) next: u64,
    /// Whether all of the file's events were read.
    pub(crate) all_read: bool,
}

/// The commitments that were read so far.
#[derive(Default)]
pub(crate) struct Chain {
    last: Option<Commitment>,
    committed_end: Option<u64>,
    seen: HashMap<BatchId, Seen>,
    /// The first correction whose predecessor is not in the file.
    detached: Option<ExportError>,
    pub(crate) commitment_count: u64,
    pub(crate) committed_event_count: u64,
    pub(crate) correction_count: u64,
    pub(crate) corrected: Vec<Corrected>,
    /// Commitments and corrections as they stand in the file.
    pub(crate) all: Vec<Commitment>,
}

impl Chain {
    /// Takes an ordinary commitment; `leaves` are those of the events up to `place.next` that none has covered.
    pub(crate) fn extend(
        &mut self,
        new: Commitment,
        leaves: &[Hash],
        place: Place,
    ) -> Result<(), ExportError> {
        let refuse = |problem: String| Err(bad(&new, place.line, problem));
        if let Some(end) = self.committed_end.filter(|end| end + 1 != new.sequence_start) {
            return refuse(format!(
                "it does not continue the chain: it starts at {} after {end}",
                new.sequence_start
            ));
        }
        if new.sequence_end.checked_add(1) != Some(place.next) {
            return refuse(format!("it stands after event {}", place.next - 1));
        }
        let count = place.next.checked_sub(new.sequence_start).and_then(|count| usize::try_from(count).ok());
        let skipped = count.filter(|count| *count > 0).and_then(|count| leaves.len().checked_sub(count));
        let Some(leaves) = skipped.and_then(|skipped| leaves.get(skipped..)) else {
            return refuse("it covers events that are not in the file".to_owned());
        };
        if self.seen.contains_key(&new.batch_id) {
            return refuse("its id stands in the file twice".to_owned());
        }
        let root = merkle::root(leaves);
        let problem = self.problem(&new, Some(root));
        self.commitment_count += 1;
        self.committed_event_count += leaves.len() as u64;
        self.committed_end = Some(new.sequence_end);
        self.keep(&new, Some(root), problem, place.line);
        self.last = Some(new);
        Ok(())
    }

    /// Takes a correction of the commitment `corrects`.
    pub(crate) fn correct(
        &mut self,
        new: Commitment,
        corrects: BatchId,
        place: Place,
    ) -> Result<(), ExportError> {
        let root = self.corrected_root(&new, corrects, place).map_err(|p| bad(&new, place.line, p))?;
        self.correction_count += 1;
        if place.all_read && !self.last_is_wrong() && !self.links(&new) {
            // What it continues lies beyond the file's range; `finish` asks whether there is such a thing.
            let problem = new.check().err().map(|e| e.to_string()).or_else(|| root_problem(&new, root));
            let detached = bad(&new, place.line, "it does not continue the commitment before it".to_owned());
            self.detached.get_or_insert(detached);
            self.keep(&new, root, problem, place.line);
            return Ok(());
        }
        let problem = self.problem(&new, root);
        self.keep(&new, root, problem, place.line);
        self.last = Some(new);
        Ok(())
    }

    /// What is wrong with the file's commitments and was never corrected, the first one by its line.
    pub(crate) fn finish(&mut self, reaches_head: bool) -> Result<(), ExportError> {
        let open = self.seen.iter().filter(|(_, seen)| seen.corrected_by.is_none());
        let first = open
            .filter_map(|(batch_id, seen)| {
                seen.problem.as_ref().map(|problem| (seen.line, batch_id, seen, problem))
            })
            .min_by_key(|(line, ..)| *line);
        if let Some((line, batch_id, seen, problem)) = first {
            return Err(ExportError::BadCommitment {
                batch_id: *batch_id,
                sequence_start: seen.start,
                sequence_end: seen.end,
                line,
                problem: problem.clone(),
            });
        }
        // A file up to the head holds the whole rest of the chain.
        match self.detached.take() {
            Some(error) if reaches_head => Err(error),
            _ => Ok(()),
        }
    }

    /// The state root after the last commitment.
    pub(crate) fn state_root(&self) -> Option<Hash> {
        self.last.as_ref().map(|last| last.new_state_root)
    }

    /// The root that a correction must have, if the file holds its events; marks what it corrects.
    fn corrected_root(
        &mut self,
        new: &Commitment,
        corrects: BatchId,
        place: Place,
    ) -> Result<Option<Hash>, String> {
        if new.sequence_end >= place.next {
            return Err("it corrects a commitment to events that have not come yet".to_owned());
        }
        if self.seen.contains_key(&new.batch_id) {
            return Err("its id stands in the file twice".to_owned());
        }
        let Some(wrong) = self.seen.get_mut(&corrects) else {
            if new.sequence_start >= place.first {
                return Err(format!("it corrects commitment {corrects}, which is not in the file"));
            }
            return Ok(None);
        };
        if (wrong.start, wrong.end) != (new.sequence_start, new.sequence_end) {
            return Err(format!(
                "it corrects commitment {corrects}, which covers {}..={}",
                wrong.start, wrong.end
            ));
        }
        if let Some(other) = wrong.corrected_by {
            return Err(format!("commitment {corrects} is corrected by {other} already"));
        }
        wrong.corrected_by = Some(new.batch_id);
        self.corrected.push(Corrected {
            batch_id: corrects,
            corrected_by: new.batch_id,
            sequence_start: wrong.start,
            sequence_end: wrong.end,
            problem: wrong.problem.clone(),
        });
        Ok(wrong.root)
    }

    /// What of a commitment a correction could mend.
    fn problem(&self, new: &Commitment, root: Option<Hash>) -> Option<String> {
        let own = new.check().err().map(|error| error.to_string());
        own.or_else(|| self.link_problem(new)).or_else(|| root_problem(new, root))
    }

    fn link_problem(&self, new: &Commitment) -> Option<String> {
        let Some(last) = &self.last else {
            // The first commitment of a file may continue one that the file does not hold.
            let unrooted = new.sequence_start == 1 && new.prev_state_root != Hash::ZERO;
            let found = new.prev_state_root;
            return unrooted
                .then(|| format!("the first commitment has the previous state root {found}, not zero"));
        };
        (!self.last_is_wrong() && !self.links(new)).then(|| {
            format!(
                "it does not continue the chain: its previous state root is {}, the commitment before has {}",
                new.prev_state_root, last.new_state_root
            )
        })
    }

    /// A wrong commitment's state root says nothing about the next one, which was built on the right one.
    fn last_is_wrong(&self) -> bool {
        let last = self.last.as_ref().and_then(|last| self.seen.get(&last.batch_id));
        last.is_some_and(|last| last.problem.is_some())
    }

    fn links(&self, new: &Commitment) -> bool {
        self.last.as_ref().is_some_and(|last| last.new_state_root == new.prev_state_root)
    }

    fn keep(&mut self, new: &Commitment, root: Option<Hash>, problem: Option<String>, line: u64) {
        let seen = Seen {
            start: new.sequence_start,
            end: new.sequence_end,
            root,
            line,
            problem,
            corrected_by: None,
        };
        self.seen.insert(new.batch_id, seen);
        self.all.push(new.clone());
    }
}

fn root_problem(new: &Commitment, root: Option<Hash>) -> Option<String> {
    root.filter(|root| *root != new.merkle_root)
        .map(|root| format!("the events have Merkle root {root}, it says {}", new.merkle_root))
}

pub(crate) fn bad(commitment: &Commitment, line: u64, problem: String) -> ExportError {
    ExportError::BadCommitment {
        batch_id: commitment.batch_id,
        sequence_start: commitment.sequence_start,
        sequence_end: commitment.sequence_end,
        line,
        problem,
    }
}
