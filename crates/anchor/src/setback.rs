//! Why a round of anchoring ended early: a stable word, the cause, and what mends it.

use bowline_store::StoreError;

use crate::fees::AboveCap;
use crate::registry::{Refusal, RegistryError};
use bowline_evm::RpcError;

/// What stopped a round; the next one tries again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setback {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) fix: &'static str,
    /// Milliseconds before which it is useless to try again.
    pub(crate) retry_ms: Option<u64>,
}

impl Setback {
    pub(crate) fn new(code: &'static str, message: impl Into<String>, fix: &'static str) -> Self {
        Self { code, message: message.into(), fix, retry_ms: None }
    }
}

impl From<StoreError> for Setback {
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::LeaseLost(_) => "LEASE_LOST",
            _ => "STORE",
        };
        Self::new(code, error.to_string(), "see `bowline doctor`: the store has to work first")
    }
}

impl From<RpcError> for Setback {
    fn from(error: RpcError) -> Self {
        let message = error.to_string();
        match error {
            RpcError::Away { retry_ms, .. } => {
                let fix =
                    "check L2_RPC_URL and the node behind it; anchoring goes on by itself once one answers";
                Self { retry_ms, ..Self::new("RPC_UNAVAILABLE", message, fix) }
            }
            RpcError::OtherChain { .. } => {
                let fix = "set L2_CHAIN_ID to the chain that is meant, or L2_RPC_URL to an endpoint of it";
                Self::new("CHAIN_MISMATCH", message, fix)
            }
            RpcError::Refused { .. } | RpcError::TooWide { .. } => Self::new(
                "RPC_REFUSED",
                message,
                "look at the endpoint's own log: it refuses an ordinary call",
            ),
        }
    }
}

impl From<RegistryError> for Setback {
    fn from(error: RegistryError) -> Self {
        let message = error.to_string();
        match error {
            RegistryError::Rpc(error) => error.into(),
            RegistryError::NoContract(_) => Self::new(
                "NO_CONTRACT",
                message,
                "set SET_REGISTRY_ADDRESS to the contract, or make one with `bowline anchors deploy-contract`",
            ),
            RegistryError::Unknown(_) | RegistryError::Garbled { .. } => Self::new(
                "UNKNOWN_CONTRACT",
                message,
                "set SET_REGISTRY_ADDRESS to the contract that anchors go to",
            ),
        }
    }
}

impl From<AboveCap> for Setback {
    fn from(error: AboveCap) -> Self {
        let fix = "wait until the chain is cheaper, or raise anchor.fee_gwei_max (ANCHOR_FEE_GWEI_MAX)";
        Self::new("FEE_ABOVE_CAP", error.to_string(), fix)
    }
}

impl From<Refusal> for Setback {
    fn from(refusal: Refusal) -> Self {
        let fix = match refusal.code {
            "NOT_COMMITTER" => {
                "let the contract's owner call setCommitter for the account, or set SEQUENCER_PRIVATE_KEY to one that may"
            }
            _ => "see `bowline anchors status`, and compare with the chain by `bowline anchors verify`",
        };
        Self::new(refusal.code, refusal.message, fix)
    }
}
