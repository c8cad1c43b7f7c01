//! A commitment: one Merkle root over a dense range of a stream, chained to the commitment before it.
//!
//! A commitment that passes `check` is consistent in itself; `follows` ties it to its predecessor. Whether
//! the root is that of the stored events is for whoever has the events. This file refuses to choose ranges,
//! ids or times.

use bowline_types::{BatchId, StoreId, StreamId, TenantId, Timestamp};
use serde::{Deserialize, Serialize, Serializer};

use crate::hash::Hash;
use crate::merkle::{Tree, padded_leaf_count, tree_depth};
use crate::preimage::state_root;
use crate::receipt::bare;

/// Why a commitment is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitmentError {
    /// The text is not a commitment.
    #[error("not a commitment: {problem}")]
    Malformed {
        /// What was expected and what was found.
        problem: String,
    },
    /// The version is not 1.
    #[error("ves_version {found} is not supported")]
    Version {
        /// The version found.
        found: u32,
    },
    /// The range is empty, too wide, or does not have as many events as the tree has leaves.
    #[error("the range {start}..={end} does not have {leaf_count} events")]
    Range {
        /// First sequence number.
        start: u64,
        /// Last sequence number.
        end: u64,
        /// Leaves of the tree.
        leaf_count: u64,
    },
    /// Depth or padded leaf count are not those of the leaf count.
    #[error("depth {tree_depth} and {padded_leaf_count} padded leaves are not those of {leaf_count} leaves")]
    Shape {
        /// Depth found.
        tree_depth: u32,
        /// Padded leaf count found.
        padded_leaf_count: u32,
        /// Leaf count found.
        leaf_count: u32,
    },
    /// The new state root is not the hash of the other fields.
    #[error("the state root is {found}, the fields give {computed}")]
    StateRoot {
        /// The root found.
        found: Hash,
        /// The root that the fields give.
        computed: Hash,
    },
    /// It does not continue the commitment before it.
    #[error("it does not continue the chain: {problem}")]
    Chain {
        /// What does not fit.
        problem: String,
    },
}

/// A Merkle root over the events `sequence_start..=sequence_end` of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commitment {
    /// Names the commitment.
    pub batch_id: BatchId,
    /// Tenant and store.
    pub stream: StreamId,
    /// The version of the byte rules; 1.
    pub ves_version: u32,
    /// Levels above the leaves.
    pub tree_depth: u32,
    /// Events covered.
    pub leaf_count: u32,
    /// The next power of two.
    pub padded_leaf_count: u32,
    /// The root over the leaves.
    pub merkle_root: Hash,
    /// The state root of the commitment before; zero for the first.
    pub prev_state_root: Hash,
    /// The state root after this commitment.
    pub new_state_root: Hash,
    /// First sequence number covered.
    pub sequence_start: u64,
    /// Last sequence number covered.
    pub sequence_end: u64,
    /// When it was made; not part of any hash.
    pub committed_at: Timestamp,
    /// The earlier commitment of the same range that this one replaces; not part of any hash.
    pub corrects: Option<BatchId>,
}

impl Commitment {
    /// Commits to the leaves of `tree`, which must be those of `start..=end`. An empty range, one that does
    /// not match the tree, and one wider than 2^31 are refused.
    pub fn seal(
        batch_id: BatchId,
        stream: StreamId,
        tree: &Tree,
        start: u64,
        end: u64,
        prev: Hash,
        committed_at: Timestamp,
    ) -> Result<Self, CommitmentError> {
        let leaves = tree.leaf_count();
        let leaf_count = range_len(start, end).filter(|len| u64::from(*len) == leaves);
        let leaf_count = leaf_count.ok_or(CommitmentError::Range { start, end, leaf_count: leaves })?;
        let merkle_root = tree.root();
        Ok(Self {
            batch_id,
            stream,
            ves_version: 1,
            tree_depth: tree_depth(leaves),
            leaf_count,
            padded_leaf_count: padded(leaf_count),
            merkle_root,
            prev_state_root: prev,
            new_state_root: state_root(stream, &prev, &merkle_root, start, end, leaf_count),
            sequence_start: start,
            sequence_end: end,
            committed_at,
            corrects: None,
        })
    }

    /// The same as a correction of that commitment, whose range it must have; its place is the end of the chain.
    #[must_use]
    pub fn correcting(self, wrong: BatchId) -> Self {
        Self { corrects: Some(wrong), ..self }
    }

    /// Whether both are over the same events.
    pub fn same_range(&self, other: &Self) -> bool {
        self.stream == other.stream
            && (self.sequence_start, self.sequence_end) == (other.sequence_start, other.sequence_end)
    }

    /// Whether version, range, shape and state root fit together.
    pub fn check(&self) -> Result<(), CommitmentError> {
        let (start, end, leaf_count) = (self.sequence_start, self.sequence_end, self.leaf_count);
        if self.ves_version != 1 {
            return Err(CommitmentError::Version { found: self.ves_version });
        }
        if range_len(start, end) != Some(leaf_count) {
            return Err(CommitmentError::Range { start, end, leaf_count: u64::from(leaf_count) });
        }
        if self.tree_depth != tree_depth(u64::from(leaf_count))
            || self.padded_leaf_count != padded(leaf_count)
        {
            return Err(CommitmentError::Shape {
                tree_depth: self.tree_depth,
                padded_leaf_count: self.padded_leaf_count,
                leaf_count,
            });
        }
        let computed =
            state_root(self.stream, &self.prev_state_root, &self.merkle_root, start, end, leaf_count);
        if computed != self.new_state_root {
            return Err(CommitmentError::StateRoot { found: self.new_state_root, computed });
        }
        Ok(())
    }

    /// Whether this ordinary commitment continues `prev` without a gap; with no `prev`, whether it can be the
    /// first. Corrections are not judged here: they lie behind the numbers that they cover.
    pub fn follows(&self, prev: Option<&Self>) -> Result<(), CommitmentError> {
        let refuse = |problem: String| Err(CommitmentError::Chain { problem });
        let Some(prev) = prev else {
            return match self.prev_state_root {
                Hash::ZERO => Ok(()),
                found => {
                    refuse(format!("the first commitment has the previous state root {found}, not zero"))
                }
            };
        };
        if prev.stream != self.stream {
            return refuse(format!("stream {} after {}", self.stream, prev.stream));
        }
        if prev.sequence_end.checked_add(1) != Some(self.sequence_start) {
            return refuse(format!("it starts at {} after {}", self.sequence_start, prev.sequence_end));
        }
        if prev.new_state_root != self.prev_state_root {
            return refuse(format!(
                "its previous state root is {}, the commitment before has {}",
                self.prev_state_root, prev.new_state_root
            ));
        }
        Ok(())
    }

    /// The commitment as clients get it: snake_case, roots in bare hex.
    pub fn to_json(&self) -> serde_json::Value {
        // Serializing strings and numbers into a tree does not fail.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Parses what `to_json` wrote; unknown fields are ignored, nothing is checked beyond the types.
    pub fn from_json(json: &str) -> Result<Self, CommitmentError> {
        let wire: Wire = serde_json::from_str(json)
            .map_err(|problem| CommitmentError::Malformed { problem: problem.to_string() })?;
        Ok(Self {
            batch_id: wire.batch_id,
            stream: StreamId::new(wire.tenant_id, wire.store_id),
            ves_version: wire.ves_version,
            tree_depth: wire.tree_depth,
            leaf_count: wire.leaf_count,
            padded_leaf_count: wire.padded_leaf_count,
            merkle_root: wire.merkle_root,
            prev_state_root: wire.prev_state_root,
            new_state_root: wire.new_state_root,
            sequence_start: wire.sequence_start,
            sequence_end: wire.sequence_end,
            committed_at: wire.committed_at,
            corrects: wire.corrects,
        })
    }
}

/// Events in a range: 1 to 2^31, so that the padded count fits 32 bits.
fn range_len(start: u64, end: u64) -> Option<u32> {
    let len = end.checked_sub(start)?.checked_add(1)?;
    u32::try_from(len).ok().filter(|len| *len <= 1 << 31)
}

fn padded(leaf_count: u32) -> u32 {
    u32::try_from(padded_leaf_count(u64::from(leaf_count))).unwrap_or(u32::MAX)
}

#[derive(Serialize, Deserialize)]
struct Wire {
    batch_id: BatchId,
    tenant_id: TenantId,
    store_id: StoreId,
    ves_version: u32,
    tree_depth: u32,
    leaf_count: u32,
    padded_leaf_count: u32,
    #[serde(serialize_with = "bare")]
    merkle_root: Hash,
    #[serde(serialize_with = "bare")]
    prev_state_root: Hash,
    #[serde(serialize_with = "bare")]
    new_state_root: Hash,
    sequence_start: u64,
    sequence_end: u64,
    committed_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    corrects: Option<BatchId>,
}

impl Serialize for Commitment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Wire {
            batch_id: self.batch_id,
            tenant_id: self.stream.tenant_id,
            store_id: self.stream.store_id,
            ves_version: self.ves_version,
            tree_depth: self.tree_depth,
            leaf_count: self.leaf_count,
            padded_leaf_count: self.padded_leaf_count,
            merkle_root: self.merkle_root,
            prev_state_root: self.prev_state_root,
            new_state_root: self.new_state_root,
            sequence_start: self.sequence_start,
            sequence_end: self.sequence_end,
            committed_at: self.committed_at,
            corrects: self.corrects,
        }
        .serialize(serializer)
    }
}
