//! Why a round of a chain's work ended early. Nothing of a round is lost by that: the next one starts from what the
//! store says.

use bowline_evm::RpcError;
use bowline_store::StoreError;

/// Why a round ended early.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Halt {
    /// The chain can't be asked.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// An endpoint does not have what it says it has, or contradicts itself: it is behind, or changes its mind.
    #[error("{endpoint} {problem}")]
    Unserved {
        /// Which.
        endpoint: String,
        /// What is wrong.
        problem: String,
    },
    /// What an endpoint has does not follow on the checkpoint.
    #[error("{endpoint} has another block {number} than the checkpoint")]
    Unlinked {
        /// Which.
        endpoint: String,
        /// The checkpoint's block.
        number: u64,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody has to do something.
    #[error("{0}")]
    Stuck(String),
}

impl Halt {
    pub(crate) fn unserved(endpoint: &str, problem: impl Into<String>) -> Self {
        Self::Unserved { endpoint: endpoint.to_owned(), problem: problem.into() }
    }
}
