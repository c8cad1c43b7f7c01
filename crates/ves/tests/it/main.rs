//! The byte rules against published and independently computed vectors, and their laws by random inputs.

mod canonical;
mod check;
mod envelope;
mod export;
mod keys;
mod merkle;
mod samples;
mod vectors;
