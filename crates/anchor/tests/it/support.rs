//! Commitments to put on a test's private chain.

mod chain;
mod line;

pub(crate) use bowline_neighbours::{Anvil, KEYS, Refusal, number, soon};
pub(crate) use chain::{BOWLINE, Chain, ORIGINAL};
pub(crate) use line::{Line, batch, commit, correct, on_chain, word};
