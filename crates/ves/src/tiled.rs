//! A commitment's root and upper levels from leaves that come one after the other.
//!
//! It holds the leaves of one tile and 32 bytes for each tile before it, so a commitment of 2^31 events takes
//! 64 MiB with tiles of 2^10. What it gives is what [`Tree`](crate::Tree) gives of all leaves at once.

use crate::hash::Hash;
use crate::merkle::{next_level, root};

/// A tree that grows leaf by leaf.
#[derive(Debug, Clone)]
pub struct TiledTree {
    tile_height: u32,
    /// Leaves of the tile that is not full yet.
    tile: Vec<Hash>,
    /// The roots of the full tiles.
    nodes: Vec<Hash>,
}

impl TiledTree {
    /// A tree without leaves, of tiles of `2^tile_height`.
    pub fn new(tile_height: u32) -> Self {
        Self { tile_height, tile: Vec::new(), nodes: Vec::new() }
    }

    /// Adds the next leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.tile.push(leaf);
        if self.tile.len() as u64 == 1 << self.tile_height {
            self.close_tile();
        }
    }

    /// The root, and the levels from the tiles' height upwards as [`Tree::upper`](crate::Tree::upper) has them.
    pub fn finish(mut self) -> (Hash, Vec<u8>) {
        // A tree of half a tile or less does not reach up to the tiles' height.
        if self.nodes.is_empty() && self.tile.len() as u64 <= (1 << self.tile_height) / 2 {
            return (root(&self.tile), Vec::new());
        }
        if !self.tile.is_empty() {
            self.close_tile();
        }
        let mut upper = Vec::new();
        let mut level = self.tile_height;
        let mut nodes = self.nodes;
        loop {
            upper.extend(nodes.iter().flat_map(|node| node.as_bytes()).copied());
            if nodes.len() <= 1 {
                return (nodes.first().copied().unwrap_or(Hash::ZERO), upper);
            }
            nodes = next_level(&nodes, level);
            level += 1;
        }
    }

    fn close_tile(&mut self) {
        let mut nodes = std::mem::take(&mut self.tile);
        for level in 0..self.tile_height {
            nodes = next_level(&nodes, level);
        }
        self.nodes.extend(nodes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::Tree;

    #[test]
    fn it_gives_what_the_whole_tree_gives() {
        for tile_height in [1, 2, 3] {
            for count in 0..40 {
                let leaves: Vec<Hash> = (0..count).map(|n| Hash::new([n; 32])).collect();
                let mut tiled = TiledTree::new(tile_height);
                leaves.iter().for_each(|leaf| tiled.push(*leaf));
                let tree = Tree::new(leaves);
                assert_eq!(
                    tiled.finish(),
                    (tree.root(), tree.upper(tile_height)),
                    "{count} at {tile_height}"
                );
            }
        }
    }
}
