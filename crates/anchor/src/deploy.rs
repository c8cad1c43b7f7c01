//! Puts a fresh `BowlineAnchor` on a chain.
//!
//! [`Plan::make`] finds out what that costs and sends nothing, [`Plan::send`] sends one transaction, [`Sent::mined`]
//! waits for its block and looks at what stands there then. Nothing is ever signed for a chain with another id than the one that
//! was asked for, and nothing is sent twice.

use std::time::Duration;

use crate::tables::AnchorTarget;
use alloy_primitives::utils::format_ether;
use alloy_primitives::{Address, U256, hex};
use alloy_sol_types::SolValue;
use bowline_types::{EvmAddress, EvmHash, Timestamp};
use serde::Deserialize;

use crate::fees::{AboveCap, Fees, first};
use crate::registry::{Kind, Registry, RegistryError};
use crate::wallet::{Unsigned, Wallet};
use bowline_evm::{Receipt, Rpc, RpcError};

/// The contract as it was compiled.
const ARTIFACT: &str = include_str!("../../../contracts/artifacts/BowlineAnchor.json");

/// Between two looks for the transaction's receipt.
const RECEIPT_POLL: Duration = Duration::from_millis(250);

/// Which contract is wanted where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deployment {
    /// The chain's id.
    pub chain_id: u64,
    /// Who decides which accounts may commit.
    pub owner: EvmAddress,
    /// Who may commit from the beginning.
    pub committer: EvmAddress,
    /// Wei a unit of gas at most.
    pub fee_cap: u128,
}

/// Why there is no new contract, or why that is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeployError {
    /// Nothing was sent.
    #[error("the chain has the id {found}, not {expected}: nothing was sent")]
    WrongChain {
        /// What was asked for.
        expected: u64,
        /// What the endpoint says.
        found: u64,
    },
    /// Nothing was sent.
    #[error("the chain's blocks have no base fee (EIP-1559), which this needs: nothing was sent")]
    NoBaseFee,
    /// Nothing was sent.
    #[error("{0}: nothing was sent")]
    AboveCap(String),
    /// Nothing was sent.
    #[error("{account} has {has} ether and needs up to {needs}: nothing was sent")]
    Funds {
        /// The account that would pay.
        account: EvmAddress,
        /// Ether.
        has: String,
        /// Ether.
        needs: String,
    },
    /// Nothing was sent.
    #[error("the transaction could not be made: {0}")]
    Unsignable(String),
    /// Handing it over failed: the chain may have it all the same.
    #[error("transaction {tx_hash} was handed over, and the answer was: {error}")]
    Broadcast {
        /// The transaction.
        tx_hash: EvmHash,
        /// The endpoints' words.
        error: RpcError,
    },
    /// It may still come.
    #[error("transaction {tx_hash} was sent and is in no block after {secs} s{because}")]
    NotMined {
        /// The transaction.
        tx_hash: EvmHash,
        /// How long it was waited for.
        secs: u64,
        /// What the chain said last, if it was away.
        because: String,
    },
    /// It cost its gas and made nothing.
    #[error("transaction {0} was reverted: there is no contract")]
    Reverted(EvmHash),
    /// What the transaction made is not what was asked for.
    #[error("transaction {tx_hash} made {problem}")]
    NotAsAsked {
        /// The transaction.
        tx_hash: EvmHash,
        /// What stands there.
        problem: String,
    },
    /// Nothing was sent.
    #[error("the chain can't be asked: {0}")]
    Rpc(#[from] RpcError),
}

impl From<AboveCap> for DeployError {
    fn from(error: AboveCap) -> Self {
        Self::AboveCap(error.to_string())
    }
}

/// A transaction that is ready to be sent, and what it may cost.
#[derive(Debug, Clone)]
pub struct Plan {
    deployment: Deployment,
    sender: EvmAddress,
    call: Vec<u8>,
    gas: u64,
    gas_limit: u64,
    base_fee: u128,
    fees: Fees,
    balance: U256,
}

/// A contract that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deployed {
    /// Where it is.
    pub contract: EvmAddress,
    /// What made it.
    pub tx_hash: EvmHash,
    /// In which block.
    pub block_number: u64,
    /// What that used.
    pub gas_used: u64,
    /// What was paid for a unit, wei.
    pub gas_price: Option<u128>,
}

impl Deployed {
    /// What it cost, ether; none if the chain does not say.
    pub fn cost_ether(&self) -> Option<String> {
        self.gas_price.map(|price| format_ether(U256::from(self.gas_used) * U256::from(price)))
    }
}

#[derive(Deserialize)]
struct Artifact {
    bytecode: String,
    #[serde(rename = "deployedBytecode")]
    deployed: String,
}

/// Whether a contract's code is that of the `BowlineAnchor` that this release makes: what answers like one may be
/// something else.
pub fn is_this_release(code: &[u8]) -> bool {
    let artifact = serde_json::from_str::<Artifact>(ARTIFACT).ok();
    let deployed = artifact.and_then(|artifact| hex::decode(artifact.deployed.trim_start_matches("0x")).ok());
    deployed.is_some_and(|deployed| deployed == code)
}

impl Plan {
    /// Finds out what the deployment costs. Nothing is sent.
    ///
    /// # Errors
    /// See [`DeployError`].
    pub async fn make(rpc: &Rpc, sender: EvmAddress, deployment: Deployment) -> Result<Self, DeployError> {
        check_chain(rpc, deployment.chain_id).await?;
        let base_fee = rpc.latest().await?.base_fee().ok_or(DeployError::NoBaseFee)?;
        let fees = first(base_fee, rpc.tip().await?, deployment.fee_cap)?;
        let call = creation(deployment.owner, deployment.committer)?;
        let balance = rpc.balance(sender).await?;
        let gas = rpc.estimate_gas(sender, None, &call).await?;
        let plan = Self {
            deployment,
            sender,
            call,
            gas,
            gas_limit: gas.saturating_add(gas / 4),
            base_fee,
            fees,
            balance,
        };
        if balance < plan.cost_max() {
            let needs = format_ether(plan.cost_max());
            return Err(DeployError::Funds { account: sender, has: format_ether(balance), needs });
        }
        Ok(plan)
    }

    /// What is wanted.
    pub fn deployment(&self) -> Deployment {
        self.deployment
    }

    /// Who pays.
    pub fn sender(&self) -> EvmAddress {
        self.sender
    }

    /// Gas, as the chain estimates it.
    pub fn gas(&self) -> u64 {
        self.gas
    }

    /// Bytes of the transaction's data.
    pub fn bytes(&self) -> usize {
        self.call.len()
    }

    /// What it costs at the present fees, ether.
    pub fn cost_ether(&self) -> String {
        format_ether(U256::from(self.gas) * U256::from(self.base_fee.saturating_add(self.fees.tip)))
    }

    /// What it costs at most, ether.
    pub fn cost_max_ether(&self) -> String {
        format_ether(self.cost_max())
    }

    /// What the account has, ether.
    pub fn balance_ether(&self) -> String {
        format_ether(self.balance)
    }

    fn cost_max(&self) -> U256 {
        U256::from(self.gas_limit) * U256::from(self.fees.fee_max)
    }

    /// Sends the transaction.
    ///
    /// # Errors
    /// See [`DeployError`]; after [`DeployError::Broadcast`] the contract may still come to be.
    pub async fn send(self, rpc: &Rpc, wallet: &Wallet) -> Result<Sent, DeployError> {
        // The endpoint may be another one than the one that was asked before.
        check_chain(rpc, self.deployment.chain_id).await?;
        let unsigned = Unsigned {
            chain_id: self.deployment.chain_id,
            nonce: rpc.nonce(self.sender).await?,
            to: None,
            data: &self.call,
            gas_limit: self.gas_limit,
            fees: self.fees,
        };
        let signed = wallet.sign(&unsigned, Timestamp::from_micros(0)).map_err(DeployError::Unsignable)?;
        let tx_hash = signed.tx_hash;
        rpc.broadcast(&signed.raw).await.map_err(|error| DeployError::Broadcast { tx_hash, error })?;
        Ok(Sent { deployment: self.deployment, tx_hash })
    }
}

/// A transaction that the chain has taken, in no block yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    deployment: Deployment,
    tx_hash: EvmHash,
}

impl Sent {
    /// The transaction.
    pub fn tx_hash(&self) -> EvmHash {
        self.tx_hash
    }

    /// Waits so long at most until a block has it, and checks what stands there then.
    ///
    /// # Errors
    /// See [`DeployError`]; after [`DeployError::NotMined`] the contract may still come to be.
    pub async fn mined(&self, rpc: &Rpc, wait: Duration) -> Result<Deployed, DeployError> {
        let tx_hash = self.tx_hash;
        let receipt = receipt(rpc, tx_hash, wait).await?;
        if !receipt.succeeded() {
            return Err(DeployError::Reverted(tx_hash));
        }
        let wrong = |problem: String| DeployError::NotAsAsked { tx_hash, problem };
        let contract = receipt.contract().ok_or_else(|| wrong("no contract".to_owned()))?;
        self.check(rpc, contract).await.map_err(wrong)?;
        Ok(Deployed {
            contract,
            tx_hash,
            block_number: receipt.block_number(),
            gas_used: receipt.gas_used(),
            gas_price: receipt.gas_price(),
        })
    }

    async fn check(&self, rpc: &Rpc, contract: EvmAddress) -> Result<(), String> {
        let Deployment { chain_id, committer, .. } = self.deployment;
        let target = AnchorTarget { chain_id, contract };
        let text = |error: RegistryError| format!("{contract}, and that can't be checked: {error}");
        let registry = Registry::find(rpc.clone(), target).await.map_err(text)?;
        if registry.kind() != Kind::Bowline {
            return Err(format!("{contract}, which is no BowlineAnchor"));
        }
        match registry.allows(committer).await.map_err(text)? {
            true => Ok(()),
            false => Err(format!("{contract}, to which {committer} may not commit")),
        }
    }
}

/// Makes the contract without asking anybody: [`Plan::make`] and [`Plan::send`].
///
/// # Errors
/// See [`DeployError`].
pub async fn deploy(
    rpc: &Rpc,
    wallet: &Wallet,
    deployment: Deployment,
    wait: Duration,
) -> Result<Deployed, DeployError> {
    Plan::make(rpc, wallet.address(), deployment).await?.send(rpc, wallet).await?.mined(rpc, wait).await
}

async fn check_chain(rpc: &Rpc, expected: u64) -> Result<(), DeployError> {
    let found = rpc.chain_id().await?;
    if found == expected { Ok(()) } else { Err(DeployError::WrongChain { expected, found }) }
}

async fn receipt(rpc: &Rpc, tx_hash: EvmHash, wait: Duration) -> Result<Receipt, DeployError> {
    let deadline = tokio::time::Instant::now() + wait;
    loop {
        let because = match rpc.receipt(tx_hash).await {
            Ok(Some(receipt)) => return Ok(receipt),
            Ok(None) => String::new(),
            Err(error) => format!("; {error}"),
        };
        if tokio::time::Instant::now() >= deadline {
            return Err(DeployError::NotMined { tx_hash, secs: wait.as_secs(), because });
        }
        tokio::time::sleep(RECEIPT_POLL).await;
    }
}

/// The creation code with the constructor's arguments.
fn creation(owner: EvmAddress, committer: EvmAddress) -> Result<Vec<u8>, DeployError> {
    let damaged = |problem: String| DeployError::Unsignable(format!("the artifact is damaged: {problem}"));
    let artifact: Artifact = serde_json::from_str(ARTIFACT).map_err(|error| damaged(error.to_string()))?;
    let mut call = hex::decode(artifact.bytecode).map_err(|error| damaged(error.to_string()))?;
    let word = |address: EvmAddress| Address::from(*address.as_bytes());
    call.extend((word(owner), word(committer)).abi_encode_params());
    Ok(call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_creation_code_ends_with_owner_and_committer() {
        let (owner, committer) = (EvmAddress::new([1; 20]), EvmAddress::new([2; 20]));
        let call = creation(owner, committer).unwrap();
        let (code, arguments) = call.split_at(call.len() - 64);
        assert!(code.len() > 1_000);
        assert_eq!(arguments[..12], [0; 12]);
        assert_eq!(
            (&arguments[12..32], &arguments[44..]),
            (&owner.as_bytes()[..], &committer.as_bytes()[..])
        );
    }
}
