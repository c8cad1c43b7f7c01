//! Rules over the line, and what they set off.
//!
//! `rules` says what a trigger may be and when it holds; `matching` follows the line and writes jobs; `delivery` carries
//! them out. They meet in the store and nowhere else: each may run in a process of its own.

mod problem;

pub use problem::FieldProblem;
