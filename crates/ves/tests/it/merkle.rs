//! Trees against a literal model with its pads written out, and proofs that must and must not hold.
//!
//! A proof made of a tile and the stored upper levels must be the very proof that the whole tree gives.

use bowline_ves::{
    Hash, InclusionProof, ProofError, Tree, node_hash, pad_leaf, padded_leaf_count, proof_from_tile, root,
    tree_depth,
};
use proptest::prelude::*;

fn leaves(count: usize) -> Vec<Hash> {
    (0..count as u64)
        .map(|n| node_hash(&Hash::ZERO, &Hash::from_slice(&[n.to_be_bytes(); 4].concat()).unwrap()))
        .collect()
}

/// The tree as the rules say it: pads written out.
fn model(leaves: &[Hash]) -> Vec<Vec<Hash>> {
    let mut level = leaves.to_vec();
    level.resize(leaves.len().next_power_of_two(), pad_leaf());
    let mut levels = vec![level];
    while levels.last().unwrap().len() > 1 {
        levels.push(levels.last().unwrap().chunks(2).map(|pair| node_hash(&pair[0], &pair[1])).collect());
    }
    levels
}

#[test]
fn every_small_tree_is_the_model_and_every_leaf_has_its_proof() {
    for count in 1..=300 {
        let leaves = leaves(count);
        let model = model(&leaves);
        let tree = Tree::new(leaves.clone());
        assert_eq!(tree.root(), model.last().unwrap()[0]);
        assert_eq!(root(&leaves), tree.root());
        assert_eq!((tree.depth() as usize, tree.leaf_count()), (model.len() - 1, count as u64));
        assert_eq!(padded_leaf_count(count as u64), model[0].len() as u64);
        let upper = tree.upper(3);
        for index in 0..count {
            let proof = tree.path(index as u64).unwrap();
            let expected: Vec<Hash> = model[..model.len() - 1]
                .iter()
                .enumerate()
                .map(|(level, nodes)| nodes[index >> level ^ 1])
                .collect();
            assert_eq!(proof.path, expected);
            proof.verify(&tree.root()).unwrap();
            let tile = index & !7;
            let tile_leaves = &leaves[tile..count.min(tile + 8)];
            assert_eq!(proof_from_tile(count as u64, index as u64, 3, tile_leaves, &upper), Ok(proof));
        }
        assert_eq!(tree.path(count as u64), None);
    }
}

#[test]
fn the_empty_tree_and_the_single_leaf() {
    let empty = Tree::new(Vec::new());
    assert_eq!((empty.root(), empty.depth(), empty.leaf_count()), (Hash::ZERO, 0, 0));
    assert_eq!(
        (root(&[]), empty.path(0), empty.upper(0).len(), padded_leaf_count(0)),
        (Hash::ZERO, None, 0, 0)
    );
    let leaf = leaves(1);
    let single = Tree::new(leaf.clone());
    assert_eq!((single.root(), single.depth()), (leaf[0], 0));
    assert!(single.path(0).unwrap().path.is_empty());
    assert_eq!((tree_depth(2), tree_depth(3), tree_depth(1 << 20), tree_depth(u64::MAX)), (1, 2, 20, 64));
}

#[test]
fn a_proof_that_does_not_fit_is_refused() {
    let tree = Tree::new(leaves(4));
    let good = tree.path(2).unwrap();
    assert_eq!(good.directions(), [true, false]);
    // Index 6 has the same low bits as 2 and would otherwise pass.
    let shifted = InclusionProof { leaf_index: 6, ..good.clone() };
    assert_eq!(shifted.verify(&tree.root()), Err(ProofError::IndexOutOfRange { leaf_index: 6, depth: 2 }));
    let long = InclusionProof { path: vec![Hash::ZERO; 65], ..good };
    assert_eq!(long.verify(&tree.root()), Err(ProofError::PathTooLong { found: 65 }));
    let full = InclusionProof { leaf_index: u64::MAX, path: vec![Hash::ZERO; 64], ..good };
    assert!(matches!(full.verify(&tree.root()), Err(ProofError::RootMismatch { .. })));
    let other = InclusionProof { leaf_hash: Hash::ZERO, ..good };
    assert!(matches!(other.verify(&tree.root()), Err(ProofError::RootMismatch { .. })));
}

#[test]
fn stored_parts_that_do_not_belong_together_are_refused() {
    let leaves = leaves(20);
    let tree = Tree::new(leaves.clone());
    let upper = tree.upper(3);
    let tile = &leaves[8..16];
    assert!(proof_from_tile(20, 9, 3, tile, &upper).is_ok());
    let refused = [
        proof_from_tile(20, 9, 3, &leaves[8..15], &upper),
        proof_from_tile(20, 9, 3, &leaves[0..8], &upper),
        proof_from_tile(20, 9, 3, tile, &upper[32..]),
        proof_from_tile(20, 9, 3, tile, &upper[..upper.len() - 1]),
        proof_from_tile(20, 9, 3, tile, &[upper.as_slice(), &[0; 32]].concat()),
        proof_from_tile(40, 9, 3, tile, &upper),
        proof_from_tile(u64::MAX, 9, 3, tile, &upper),
        proof_from_tile(20, 9, 200, tile, &upper),
    ];
    for result in refused {
        assert!(matches!(result, Err(ProofError::TileMismatch { .. })), "{result:?}");
    }
    assert!(matches!(proof_from_tile(20, 20, 3, tile, &upper), Err(ProofError::IndexOutOfRange { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn tiles_of_any_height_give_the_same_proofs(count in 1..600_usize, height in 0..12_u32, at in any::<prop::sample::Index>()) {
        let leaves = leaves(count);
        let tree = Tree::new(leaves.clone());
        let index = at.index(count);
        let tile = index >> height << height;
        let tile_leaves = &leaves[tile..count.min(tile + (1 << height))];
        let proof = proof_from_tile(count as u64, index as u64, height, tile_leaves, &tree.upper(height)).unwrap();
        prop_assert_eq!(proof.verify(&tree.root()), Ok(()));
        prop_assert_eq!(Some(proof), tree.path(index as u64));
    }

    #[test]
    fn a_changed_proof_never_holds(count in 2..200_usize, at in any::<prop::sample::Index>(), byte in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let tree = Tree::new(leaves(count));
        let mut proof = tree.path(at.index(count) as u64).unwrap();
        let mut bytes: Vec<u8> = proof.path.iter().flat_map(|node| *node.as_bytes()).collect();
        let byte = byte.index(bytes.len());
        bytes[byte] ^= 1 << bit;
        proof.path = bytes.chunks(32).map(|node| Hash::from_slice(node).unwrap()).collect();
        prop_assert!(proof.verify(&tree.root()).is_err());
    }
}
