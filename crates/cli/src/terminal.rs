//! What all commands share: their common flags, what this machine remembers, how they print and how they end.

pub(crate) mod args;
pub(crate) mod completions;
pub(crate) mod context;
pub(crate) mod exit;
pub(crate) mod local;
pub(crate) mod output;
pub(crate) mod progress;
mod refusal;
