//! The byte rules of VES v1 against published and independently computed vectors, and their laws against
//! random inputs. One binary; each module is one noun of the crate.
//!
//! Nothing here touches a clock, a network or a disk, so every failure repeats.

// Clippy excuses unwraps in test functions only, and the builders that they share stand outside of those.
#![allow(clippy::unwrap_used, clippy::panic)]

mod canonical;
mod check;
mod corrections;
mod envelope;
mod export;
mod keys;
mod laws;
mod merkle;
mod samples;
mod seeds;
mod vectors;
