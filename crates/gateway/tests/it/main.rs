//! The gateway as a node puts it together: every subsystem's handle on a real embedded store, asked over TCP.
//!
//! What each route does is tested where it lives and, with a whole node, in the binary's suite. Here it is shown that all
//! of them are served, described once, and refused to strangers.

// Clippy excuses unwraps in test functions only, and much of this stands in functions that tests share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod composition;
mod description;
mod place;
mod vital_signs;
