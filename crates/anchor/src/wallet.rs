//! The account that anchors, and its signature on a transaction.
//! It signs what it is given: which nonce and which fees are right is not its business.

use crate::tables::AnchorTransaction;
use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, Bytes, TxKind, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use bowline_types::{EvmAddress, EvmHash, Secret, Timestamp};

use crate::fees::Fees;

/// A private key that signs transactions of one chain; never printed.
#[derive(Clone)]
pub struct Wallet {
    signer: PrivateKeySigner,
}

impl std::fmt::Debug for Wallet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wallet").field("address", &self.address()).finish_non_exhaustive()
    }
}

/// What a transaction does.
#[derive(Debug, Clone)]
pub(crate) struct Unsigned<'a> {
    pub(crate) chain_id: u64,
    pub(crate) nonce: u64,
    /// The contract that is called; none to make one.
    pub(crate) to: Option<EvmAddress>,
    pub(crate) data: &'a [u8],
    pub(crate) gas_limit: u64,
    pub(crate) fees: Fees,
}

impl Wallet {
    /// The account of a private key: 32 bytes in hex, with or without `0x`.
    ///
    /// # Errors
    /// That it is none; the key is not repeated.
    pub fn new(key: &Secret) -> Result<Self, String> {
        let bytes = hex::decode(key.reveal().trim().trim_start_matches("0x"));
        let signer = bytes.ok().and_then(|bytes| PrivateKeySigner::from_slice(&bytes).ok());
        let signer = signer.ok_or("it is not a private key: 64 hex digits are expected")?;
        Ok(Self { signer })
    }

    /// The account's address.
    pub fn address(&self) -> EvmAddress {
        EvmAddress::new(self.signer.address().0.0)
    }

    /// Signs a transaction of the type 2 (EIP-1559). The same input gives the same bytes (RFC 6979).
    pub(crate) fn sign(
        &self,
        unsigned: &Unsigned<'_>,
        recorded_at: Timestamp,
    ) -> Result<AnchorTransaction, String> {
        let transaction = TxEip1559 {
            chain_id: unsigned.chain_id,
            nonce: unsigned.nonce,
            gas_limit: unsigned.gas_limit,
            max_fee_per_gas: unsigned.fees.fee_max,
            max_priority_fee_per_gas: unsigned.fees.tip,
            to: unsigned
                .to
                .map_or(TxKind::Create, |address| TxKind::Call(Address::from(*address.as_bytes()))),
            value: U256::ZERO,
            access_list: Default::default(),
            input: Bytes::copy_from_slice(unsigned.data),
        };
        let signature =
            self.signer.sign_hash_sync(&transaction.signature_hash()).map_err(|error| error.to_string())?;
        let envelope = TxEnvelope::from(transaction.into_signed(signature));
        Ok(AnchorTransaction {
            tx_hash: EvmHash::new(envelope.tx_hash().0),
            raw: envelope.encoded_2718(),
            fee_max: unsigned.fees.fee_max,
            tip: unsigned.fees.tip,
            recorded_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first account of the mnemonic that development nodes are started with.
    const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

    #[test]
    fn a_key_has_its_address_and_never_shows() {
        let wallet = Wallet::new(&Secret::new(KEY)).unwrap();
        assert_eq!(wallet.address().to_string(), "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266");
        assert!(!format!("{wallet:?}").contains("ac0974"));
        for bad in ["", "0x12", &"00".repeat(32), &"ff".repeat(32), "not hex"] {
            let error = Wallet::new(&Secret::new(bad)).unwrap_err();
            assert!(bad.is_empty() || !error.contains(bad), "{error}");
        }
    }
}
