//! The Merkle tree of a commitment: leaves padded to a power of two, without ever storing a pad.
//!
//! A subtree that is all pads has one known root per height, so a tree of n leaves costs about 2n hashes of
//! memory and work, whatever the padding. Level 0 holds the leaves, level `depth` the root; each level keeps
//! its real nodes only, `ceil(n / 2^level)` of them. It refuses to know what a leaf means.

use std::sync::OnceLock;

use crate::hash::Hash;
use crate::preimage::{node_hash, pad_leaf};
use crate::proof::InclusionProof;

/// Levels for which the root of an all-pad subtree is kept: more than any tree in memory can have.
const PAD_LEVELS: usize = 64;

/// The root of a subtree of `2^level` pads.
pub(crate) fn pad_root(level: u32) -> Hash {
    static PADS: OnceLock<[Hash; PAD_LEVELS]> = OnceLock::new();
    let pads = PADS.get_or_init(|| {
        let mut pads = [pad_leaf(); PAD_LEVELS];
        for level in 1..PAD_LEVELS {
            pads[level] = node_hash(&pads[level - 1], &pads[level - 1]);
        }
        pads
    });
    pads.get(level as usize).copied().unwrap_or(Hash::ZERO)
}

/// The level above `nodes`, which stand at `level`: a last node without a sibling gets a pad subtree.
pub(crate) fn next_level(nodes: &[Hash], level: u32) -> Vec<Hash> {
    let parent = |pair: &[Hash]| match pair {
        [left, right] => node_hash(left, right),
        [left, ..] => node_hash(left, &pad_root(level)),
        [] => Hash::ZERO,
    };
    nodes.chunks(2).map(parent).collect()
}

/// Leaves after padding: the next power of two, 0 for none.
pub fn padded_leaf_count(leaf_count: u64) -> u64 {
    match leaf_count {
        0 => 0,
        // Beyond 2^63 there is no next power of two; no tree gets there.
        count => count.checked_next_power_of_two().unwrap_or(u64::MAX),
    }
}

/// Levels above the leaves: 0 for no leaf and for one.
pub fn tree_depth(leaf_count: u64) -> u32 {
    leaf_count.checked_sub(1).map_or(0, |last_index| u64::BITS - last_index.leading_zeros())
}

/// Nodes that a tree of `leaf_count` leaves really has at `level`.
pub(crate) fn nodes_at(leaf_count: u64, level: u32) -> u64 {
    1_u64.checked_shl(level).map_or(u64::from(leaf_count > 0), |span| leaf_count.div_ceil(span))
}

/// The root alone, in memory for half of the leaves: zero for none, the leaf itself for one.
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::ZERO,
        [leaf] => *leaf,
        _ => {
            let mut nodes = next_level(leaves, 0);
            let mut level = 1;
            while nodes.len() > 1 {
                nodes = next_level(&nodes, level);
                level += 1;
            }
            nodes.first().copied().unwrap_or(Hash::ZERO)
        }
    }
}

/// A whole tree, for a commitment's root and any number of proofs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// From the leaves up to the root; one empty level for no leaves.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// Builds all levels: about `2 * leaves.len()` hashes of 32 bytes.
    pub fn new(leaves: Vec<Hash>) -> Self {
        let mut levels = vec![leaves];
        let mut level = 0;
        while let Some(top) = levels.last()
            && top.len() > 1
        {
            let next = next_level(top, level);
            levels.push(next);
            level += 1;
        }
        Self { levels }
    }

    /// The Merkle root: zero for no leaves.
    pub fn root(&self) -> Hash {
        self.levels.last().and_then(|top| top.first()).copied().unwrap_or(Hash::ZERO)
    }

    /// Levels above the leaves.
    pub fn depth(&self) -> u32 {
        tree_depth(self.leaf_count())
    }

    /// Leaves without padding.
    pub fn leaf_count(&self) -> u64 {
        self.level(0).len() as u64
    }

    /// The real nodes at a level, 0 being the leaves; empty above the root.
    pub fn level(&self, level: u32) -> &[Hash] {
        self.levels.get(level as usize).map_or(&[], Vec::as_slice)
    }

    /// The proof that the leaf at `index` is under the root; nothing if there is no such leaf.
    pub fn path(&self, index: u64) -> Option<InclusionProof> {
        let leaf_hash = *self.level(0).get(usize::try_from(index).ok()?)?;
        let path = (0..self.depth()).map(|level| sibling(self.level(level), index >> level, level)).collect();
        Some(InclusionProof { leaf_hash, leaf_index: index, path })
    }

    /// The levels from `tile_height` to the root, lowest first, 32 bytes a node and real nodes only: with the
    /// `2^tile_height` leaves around an index this is all that `proof_from_tile` needs. Empty if the tree is
    /// lower than that.
    pub fn upper(&self, tile_height: u32) -> Vec<u8> {
        let levels = self.levels.iter().skip(tile_height as usize);
        levels.flatten().flat_map(|node| node.as_bytes()).copied().collect()
    }
}

/// The sibling of the node at `index` of a level whose real nodes are `nodes`.
pub(crate) fn sibling(nodes: &[Hash], index: u64, level: u32) -> Hash {
    let beside = usize::try_from(index ^ 1).ok().and_then(|beside| nodes.get(beside));
    beside.copied().unwrap_or_else(|| pad_root(level))
}
