//! Anchors: what the line committed, on an EVM chain that the operator does not control.

pub mod abi;
