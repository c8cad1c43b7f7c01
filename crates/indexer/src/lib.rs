//! EVM networks on the line: each log of the contracts that are watched becomes an event of its chain's stream.

pub mod checks;
