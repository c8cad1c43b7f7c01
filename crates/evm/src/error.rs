//! Why a call had no effect, in the ways that a caller must tell apart.

use alloy_primitives::Bytes;

/// A call had no effect that is known of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RpcError {
    /// The endpoints that answer are of another chain.
    #[error("the endpoint's chain is {found}, not {expected}")]
    OtherChain {
        /// The chain that is meant.
        expected: u64,
        /// What an endpoint says.
        found: u64,
    },
    /// No endpoint answered.
    #[error("no endpoint of the chain answers: {causes}")]
    Away {
        /// Each endpoint with its cause.
        causes: String,
        /// Milliseconds until an endpoint's breaker lets a call pass, if all of them are open.
        retry_ms: Option<u64>,
    },
    /// An endpoint refused the call.
    #[error("{endpoint} refused: {message} (code {code})")]
    Refused {
        /// Who.
        endpoint: String,
        /// The JSON-RPC code.
        code: i64,
        /// Its words.
        message: String,
        /// What a contract reverted with, if that is why.
        revert: Option<Bytes>,
    },
    /// The answer would be too large, or the range of blocks is: less must be asked for at once.
    #[error("{endpoint} has too much to answer: {message}")]
    TooWide {
        /// Who.
        endpoint: String,
        /// Its words, or ours.
        message: String,
    },
}
