//! Why something about anchors could not be done, in the ways that a caller must tell apart.

use bowline_store::StoreError;
use bowline_types::{BatchId, Code};

use crate::registry::RegistryError;
use crate::setback::Setback;

/// Why something about anchors could not be done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AnchorError {
    /// This node is not set up to anchor.
    #[error(
        "anchoring is not set up: set L2_RPC_URL, SET_REGISTRY_ADDRESS and SEQUENCER_PRIVATE_KEY, and restart the node"
    )]
    NotConfigured,
    /// There is no such commitment.
    #[error("there is no commitment {0}")]
    NoCommitment(BatchId),
    /// Something is in the way of all anchoring, or of this stream's.
    #[error("{code}: {message}")]
    Refused {
        /// A stable word.
        code: String,
        /// The cause, for people.
        message: String,
        /// What mends it.
        fix: String,
    },
    /// Another process anchors, and has to do this.
    #[error("another process anchors for this store; ask that node, or wait until it has stopped")]
    NotHolder,
    /// The chain or the contract.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AnchorError {
    /// The code that a client sees.
    pub const fn code(&self) -> Code {
        match self {
            Self::NotConfigured => Code::AnchorNotConfigured,
            Self::NoCommitment(_) => Code::BatchNotFound,
            Self::Refused { .. } | Self::Registry(_) => Code::AnchorFailed,
            Self::NotHolder => Code::ServiceUnavailable,
            Self::Store(error) => error.code(),
        }
    }

    /// The stable word of what is in the way and what mends it, if the chain or the contract is.
    pub fn advice(&self) -> Option<(String, String)> {
        match self {
            Self::Refused { code, fix, .. } => Some((code.clone(), fix.clone())),
            Self::Registry(error) => {
                let setback = Setback::from(error.clone());
                Some((setback.code.to_owned(), setback.fix.to_owned()))
            }
            Self::NotConfigured | Self::NoCommitment(_) | Self::NotHolder | Self::Store(_) => None,
        }
    }
}
