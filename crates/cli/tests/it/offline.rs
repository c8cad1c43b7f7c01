//! The binary without a server: exit codes, what goes to stdout and what to stderr, and the offline verifier on
//! files made here.

mod evidence;
mod usage;
mod verify;
