//! Inclusion proofs: checking one, and making one from a tile of leaves and the stored upper levels.
//!
//! A proof is refused if its index does not fit its path, so that one leaf cannot be shown at two positions
//! of a tree. Making a proof from stored parts refuses parts that do not fit together: a wrong answer would
//! look like fraud to whoever checks it.

use crate::hash::Hash;
use crate::merkle::{next_level, nodes_at, sibling, tree_depth};
use crate::preimage::node_hash;

/// Nodes that a path may have: a leaf index is a u64.
pub const PROOF_PATH_MAX: usize = 64;

/// Why a proof does not hold, or could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The path is longer than any tree.
    #[error("the proof path has {found} nodes; at most {PROOF_PATH_MAX} are possible")]
    PathTooLong {
        /// Nodes of the path.
        found: usize,
    },
    /// The index names no leaf of a tree that is as deep as the path.
    #[error("leaf index {leaf_index} does not exist in a tree of depth {depth}")]
    IndexOutOfRange {
        /// The index.
        leaf_index: u64,
        /// Depth of the tree.
        depth: u32,
    },
    /// The leaf and the path hash to another root.
    #[error("the proof leads to root {computed}, not to {expected}")]
    RootMismatch {
        /// Where the path leads.
        computed: Hash,
        /// The root that was asked for.
        expected: Hash,
    },
    /// The stored parts of a tree do not belong together.
    #[error("the stored tree is inconsistent: {problem}")]
    TileMismatch {
        /// What does not fit.
        problem: String,
    },
}

/// A leaf, its position and the siblings from the leaf up to the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionProof {
    /// The leaf itself.
    pub leaf_hash: Hash,
    /// `sequence_number - sequence_start` of the commitment.
    pub leaf_index: u64,
    /// Bottom-up, as long as the tree is deep.
    pub path: Vec<Hash>,
}

impl InclusionProof {
    /// Whether the leaf stands at its index under `root`.
    pub fn verify(&self, root: &Hash) -> Result<(), ProofError> {
        if self.path.len() > PROOF_PATH_MAX {
            return Err(ProofError::PathTooLong { found: self.path.len() });
        }
        let depth = self.path.len() as u32;
        // The index must be used up by the path: what is left of it would be ignored.
        if self.leaf_index.checked_shr(depth).unwrap_or(0) != 0 {
            return Err(ProofError::IndexOutOfRange { leaf_index: self.leaf_index, depth });
        }
        let computed =
            self.path.iter().zip(self.directions()).fold(self.leaf_hash, |node, (beside, left)| {
                if left { node_hash(&node, beside) } else { node_hash(beside, &node) }
            });
        if computed == *root { Ok(()) } else { Err(ProofError::RootMismatch { computed, expected: *root }) }
    }

    /// For each node of the path, bottom-up: whether the current node is the left child.
    pub fn directions(&self) -> Vec<bool> {
        let bit = |level: usize| self.leaf_index.checked_shr(level as u32).unwrap_or(0) & 1;
        (0..self.path.len()).map(|level| bit(level) == 0).collect()
    }
}

/// Makes the proof for `index` of a tree of `leaf_count` leaves without holding the tree.
///
/// `tile_leaves` are the leaves from `(index >> tile_height) << tile_height` on, `2^tile_height` of them or
/// as many as there are; `upper` is what `Tree::upper(tile_height)` returned. The result is `Tree::path`'s.
pub fn proof_from_tile(
    leaf_count: u64,
    index: u64,
    tile_height: u32,
    tile_leaves: &[Hash],
    upper: &[u8],
) -> Result<InclusionProof, ProofError> {
    let depth = tree_depth(leaf_count);
    if index >= leaf_count {
        return Err(ProofError::IndexOutOfRange { leaf_index: index, depth });
    }
    let tile_start = index.checked_shr(tile_height).map_or(0, |tile| tile << tile_height);
    let tile_len = 1_u64.checked_shl(tile_height).unwrap_or(u64::MAX).min(leaf_count - tile_start);
    if tile_leaves.len() as u64 != tile_len {
        let found = tile_leaves.len();
        return Err(mismatch(format!("the tile must have {tile_len} leaves and has {found}")));
    }
    let in_tile = index - tile_start;
    let leaf_hash = usize::try_from(in_tile).ok().and_then(|at| tile_leaves.get(at)).copied();
    let leaf_hash = leaf_hash.ok_or_else(|| mismatch("the tile lacks its leaf".to_owned()))?;
    let mut path = Vec::with_capacity(depth as usize);
    let mut nodes = tile_leaves.to_vec();
    for level in 0..tile_height.min(depth) {
        path.push(sibling(&nodes, in_tile >> level, level));
        nodes = next_level(&nodes, level);
    }
    if tile_height <= depth {
        let upper = upper_levels(leaf_count, tile_height, upper)?;
        let tile_root = upper.first().and_then(|level| level.get((index >> tile_height) as usize));
        if tile_root != nodes.first() {
            return Err(mismatch("the leaves of the tile do not lead to its stored node".to_owned()));
        }
        let inner = upper.iter().zip(tile_height..depth);
        path.extend(inner.map(|(nodes, level)| sibling(nodes, index >> level, level)));
    }
    Ok(InclusionProof { leaf_hash, leaf_index: index, path })
}

/// Cuts the stored bytes into levels, lowest first.
fn upper_levels(leaf_count: u64, tile_height: u32, upper: &[u8]) -> Result<Vec<Vec<Hash>>, ProofError> {
    let (nodes, rest) = upper.as_chunks::<32>();
    let mut nodes = nodes.iter().map(|bytes| Hash::new(*bytes));
    let levels: Vec<Vec<Hash>> = (tile_height..=tree_depth(leaf_count))
        .map(|level| nodes.by_ref().take(nodes_at(leaf_count, level) as usize).collect())
        .collect();
    let complete = levels.last().is_some_and(|top| top.len() == 1);
    if !complete || nodes.next().is_some() || !rest.is_empty() {
        return Err(mismatch(format!(
            "{} bytes are not the upper levels of {leaf_count} leaves",
            upper.len()
        )));
    }
    Ok(levels)
}

fn mismatch(problem: String) -> ProofError {
    ProofError::TileMismatch { problem }
}
