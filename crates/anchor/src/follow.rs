//! What became of a send: is it in a block, is that block still there, has it enough blocks on top, or is there
//! something to do so that it gets into one.

use std::sync::atomic::Ordering;

use crate::tables::{AnchorSend, AnchorTransaction, MinedAt, SendChange, SendState};
use bowline_ves::Commitment;
use metrics::{counter, histogram};

use crate::fees::{Fees, replacement};
use crate::handle::seconds_between;
use crate::metrics::{COMMITMENTS, GAS, SECONDS, TRANSACTIONS};
use crate::registry::Registry;
use crate::setback::Setback;
use crate::steps::Step;
use crate::wallet::Unsigned;
use crate::work::Work;
use bowline_evm::{Receipt, RpcError};

/// The chain does not take a transaction, for a reason that is not understood.
const REFUSED: &str = "SEND_REFUSED";

/// What an endpoint means by refusing a signed transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BroadcastRefusal {
    /// It has it already.
    Known,
    /// The nonce is used: a receipt, or another transaction, will show by which.
    NonceUsed,
    /// It pays too little.
    Underpriced,
    /// The account can't pay for it.
    Funds,
    Other,
}

impl Work {
    /// Looks after a send; returns where it is now. `is_lowest` says that no other one holds a lower nonce.
    pub(crate) async fn follow(
        &self,
        registry: &Registry,
        send: AnchorSend,
        head: u64,
        is_lowest: bool,
    ) -> Result<SendState, Setback> {
        match send.state {
            SendState::Open => self.follow_open(registry, &send, is_lowest).await,
            SendState::Mined => self.follow_mined(registry, &send, head).await,
            SendState::Anchored | SendState::Void => Ok(send.state),
        }
    }

    async fn follow_open(
        &self,
        registry: &Registry,
        send: &AnchorSend,
        is_lowest: bool,
    ) -> Result<SendState, Setback> {
        // Asked first: if a block takes one of its transactions meanwhile, the receipt is there.
        let nonces_used = self.rpc().nonce(self.sender()).await?;
        // Any of its transactions may be the one that a block took.
        for transaction in send.transactions.iter().rev() {
            if let Some(receipt) = self.rpc().receipt(transaction.tx_hash).await? {
                return self.mined(registry, send, &receipt).await;
            }
        }
        let (Some(nonce), Some(newest)) = (send.nonce, send.transactions.last()) else {
            return self.void(send, "it holds no transaction").await;
        };
        if send.sender != self.sender() {
            let why = format!("it is of {}, whose key is not the configured one any more", send.sender);
            return self.void(send, &why).await;
        }
        if nonces_used > nonce {
            // Whatever the chain knows of its commitments is found when they are planned again.
            return self.void(send, &format!("another transaction used the nonce {nonce}")).await;
        }
        let replace_after = self.shared.config.replace_after_secs;
        let is_old = seconds_between(newest.recorded_at, self.clock().now()) >= replace_after;
        if is_old && is_lowest && nonces_used < nonce {
            // What came before it was taken back and never came again.
            return self.void(send, &format!("the chain waits for the nonce {nonces_used} first")).await;
        }
        if !self.rpc().knows(newest.tx_hash).await? {
            counter!(TRANSACTIONS, "event" => "rebroadcast").increment(1);
            if let Err(setback) = self.broadcast(send, newest).await {
                let age = seconds_between(send.created_at, self.clock().now());
                if setback.code == REFUSED && age >= replace_after {
                    // It may have been too large for the chain: the next one holds fewer.
                    self.room.store(send.batch_ids.len() / 2, Ordering::Relaxed);
                    self.void(send, &setback.message).await?;
                }
                return Err(setback);
            }
        }
        if is_old {
            self.replace(send, newest).await?;
        }
        Ok(SendState::Open)
    }

    async fn mined(
        &self,
        registry: &Registry,
        send: &AnchorSend,
        receipt: &Receipt,
    ) -> Result<SendState, Setback> {
        self.reached(Step::ReceiptSeen).await;
        if !receipt.succeeded() {
            counter!(TRANSACTIONS, "event" => "reverted").increment(1);
            self.reverts.fetch_add(1, Ordering::Relaxed);
            let said = self.rpc().estimate_gas(self.sender(), Some(send.target.contract), &send.call).await;
            let refusal = said.err().and_then(|error| registry.refusal(&error));
            let why = refusal.map_or("the chain does not say why".to_owned(), |refusal| refusal.message);
            let tx_hash = receipt.tx_hash();
            self.void(send, &format!("{tx_hash} was reverted: {why}")).await?;
            let fix = "the commitments are tried again; see `bowline anchors status` if it happens again";
            return Err(Setback::new("REVERTED", format!("{tx_hash} was reverted: {why}"), fix));
        }
        let mined = MinedAt {
            tx_hash: Some(receipt.tx_hash()),
            block_number: receipt.block_number(),
            block_hash: Some(receipt.block_hash()),
            gas_used: Some(receipt.gas_used()),
            gas_price: receipt.gas_price(),
        };
        self.change(send, SendChange::Mined(mined)).await?;
        self.reverts.store(0, Ordering::Relaxed);
        self.room.store(usize::MAX, Ordering::Relaxed);
        if send.mined.is_none() {
            counter!(TRANSACTIONS, "event" => "mined").increment(1);
            counter!(GAS).increment(receipt.gas_used());
        }
        tracing::info!(component = "anchor", tx_hash = %receipt.tx_hash(), block = mined.block_number, commitments = send.batch_ids.len(), "Anchor transaction mined");
        self.reached(Step::MinedRecorded).await;
        Ok(SendState::Mined)
    }

    async fn follow_mined(
        &self,
        registry: &Registry,
        send: &AnchorSend,
        head: u64,
    ) -> Result<SendState, Setback> {
        let Some(mined) = send.mined else { return self.void(send, "nobody knows where it was mined").await };
        if let Some(tx_hash) = mined.tx_hash {
            match self.rpc().receipt(tx_hash).await? {
                None => return self.reopen(send).await,
                Some(receipt) if Some(receipt.block_hash()) != mined.block_hash => {
                    return self.mined(registry, send, &receipt).await;
                }
                Some(_) => {}
            }
        }
        if head.saturating_sub(mined.block_number) < self.shared.config.finality_confirmations {
            return Ok(SendState::Mined);
        }
        if let Some(block_hash) = mined.block_hash {
            // An endpoint may keep receipts of blocks that are not the chain's any more.
            let block = self.rpc().block(mined.block_number).await?;
            if block.is_none_or(|block| block.hash() != block_hash) {
                return self.reopen(send).await;
            }
        }
        let commitments = self.commitments_of(send).await?;
        let known = registry.known(&commitments.iter().collect::<Vec<_>>()).await?;
        if known.iter().any(Option::is_none) {
            return self.reopen(send).await;
        }
        let moved = known.iter().flatten().copied().find(|block| *block > mined.block_number);
        if let Some(block_number) = moved.filter(|_| mined.block_hash.is_none()) {
            // The contract's word alone is known, and it names a later block now.
            self.change(send, SendChange::Mined(MinedAt { block_number, ..mined })).await?;
            return Ok(SendState::Mined);
        }
        self.reached(Step::FinalSeen).await;
        self.change(send, SendChange::Anchored).await?;
        let now = self.clock().now();
        for commitment in &commitments {
            histogram!(SECONDS).record(seconds_between(commitment.committed_at, now) as f64);
        }
        counter!(COMMITMENTS, "outcome" => "anchored").increment(commitments.len() as u64);
        tracing::info!(component = "anchor", send_id = %send.send_id, block = mined.block_number, commitments = commitments.len(), "Anchors are final");
        self.reached(Step::Anchored).await;
        Ok(SendState::Anchored)
    }

    /// The block that held it is gone. What was ours is sent again; what was only found there is forgotten.
    async fn reopen(&self, send: &AnchorSend) -> Result<SendState, Setback> {
        counter!(TRANSACTIONS, "event" => "reorged").increment(1);
        let Some(newest) = send.transactions.last() else {
            return self.void(send, "the chain has taken back the block that held it").await;
        };
        tracing::warn!(component = "anchor", send_id = %send.send_id, tx_hash = %newest.tx_hash, "Anchor's block was taken back by the chain");
        self.change(send, SendChange::Reopened).await?;
        Ok(SendState::Open)
    }

    async fn void(&self, send: &AnchorSend, reason: &str) -> Result<SendState, Setback> {
        tracing::warn!(component = "anchor", send_id = %send.send_id, reason, "Anchor transaction has no effect, its commitments are pending again");
        self.change(send, SendChange::Void(reason.to_owned())).await?;
        counter!(COMMITMENTS, "outcome" => "voided").increment(send.batch_ids.len() as u64);
        Ok(SendState::Void)
    }

    async fn change(&self, send: &AnchorSend, change: SendChange) -> Result<(), Setback> {
        Ok(self.tables().change_send(&self.lease, send.send_id, change, self.clock().now()).await?)
    }

    async fn commitments_of(&self, send: &AnchorSend) -> Result<Vec<Commitment>, Setback> {
        let mut commitments = Vec::with_capacity(send.batch_ids.len());
        for batch_id in &send.batch_ids {
            let record = self.store().commitment(*batch_id).await?;
            commitments.extend(record.map(|record| record.commitment));
        }
        Ok(commitments)
    }

    /// Hands a recorded transaction to the chain; one that pays too little is replaced.
    pub(crate) async fn broadcast(
        &self,
        send: &AnchorSend,
        transaction: &AnchorTransaction,
    ) -> Result<(), Setback> {
        let Err(error) = self.rpc().broadcast(&transaction.raw).await else { return Ok(()) };
        let RpcError::Refused { message, .. } = &error else { return Err(error.into()) };
        match read_refusal(message) {
            BroadcastRefusal::Known | BroadcastRefusal::NonceUsed => Ok(()),
            BroadcastRefusal::Underpriced => self.replace(send, transaction).await,
            BroadcastRefusal::Funds => Err(insufficient_funds(self.sender(), message)),
            BroadcastRefusal::Other => {
                let fix = "look at the endpoint's own log: it does not take the transaction";
                Err(Setback::new(REFUSED, error.to_string(), fix))
            }
        }
    }

    /// Makes a transaction that pays more for the same call and nonce, and broadcasts it.
    async fn replace(&self, send: &AnchorSend, newest: &AnchorTransaction) -> Result<(), Setback> {
        let previous = Fees { fee_max: newest.fee_max, tip: newest.tip };
        let (base_fee, tip) = self.prices().await?;
        let fees = replacement(previous, base_fee, tip, self.shared.config.fee_cap())?;
        let unsigned = Unsigned {
            chain_id: send.target.chain_id,
            nonce: send.nonce.unwrap_or_default(),
            to: Some(send.target.contract),
            data: &send.call,
            gas_limit: send.gas_limit,
            fees,
        };
        let transaction = self.sign(&unsigned)?;
        self.change(send, SendChange::Replaced(transaction.clone())).await?;
        counter!(TRANSACTIONS, "event" => "replaced").increment(1);
        tracing::info!(component = "anchor", old = %newest.tx_hash, new = %transaction.tx_hash, fee_max = fees.fee_max, "Anchor transaction replaced by one that pays more");
        match self.rpc().broadcast(&transaction.raw).await {
            Ok(()) => Ok(()),
            Err(RpcError::Refused { message, .. }) if read_refusal(&message) != BroadcastRefusal::Other => {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The base fee and the tip, wei a unit of gas.
    pub(crate) async fn prices(&self) -> Result<(u128, u128), Setback> {
        let latest = self.rpc().latest().await?;
        let Some(base_fee) = latest.base_fee() else {
            let fix = "use a chain with EIP-1559; others are not served";
            return Err(Setback::new("NO_BASE_FEE", "the chain's blocks have no base fee", fix));
        };
        Ok((base_fee, self.rpc().tip().await?))
    }

    pub(crate) fn sign(&self, unsigned: &Unsigned<'_>) -> Result<AnchorTransaction, Setback> {
        let signed = self.chain.wallet.sign(unsigned, self.clock().now());
        signed.map_err(|error| Setback::new("SIGNING", error, "check SEQUENCER_PRIVATE_KEY"))
    }
}

pub(crate) fn insufficient_funds(sender: bowline_types::EvmAddress, problem: &str) -> Setback {
    let message = format!("{sender} can't pay for the transaction: {problem}");
    Setback::new("INSUFFICIENT_FUNDS", message, "send funds to the account; anchoring goes on by itself")
}

/// Nodes have words of their own for the same few reasons; there are no codes for them.
fn read_refusal(message: &str) -> BroadcastRefusal {
    const WORDS: [(&str, BroadcastRefusal); 12] = [
        ("already known", BroadcastRefusal::Known),
        ("alreadyknown", BroadcastRefusal::Known),
        ("already imported", BroadcastRefusal::Known),
        ("known transaction", BroadcastRefusal::Known),
        ("nonce too low", BroadcastRefusal::NonceUsed),
        ("oldnonce", BroadcastRefusal::NonceUsed),
        ("underpriced", BroadcastRefusal::Underpriced),
        ("less than block base fee", BroadcastRefusal::Underpriced),
        ("feetoolow", BroadcastRefusal::Underpriced),
        ("fee too low", BroadcastRefusal::Underpriced),
        ("insufficient funds", BroadcastRefusal::Funds),
        ("insufficientfunds", BroadcastRefusal::Funds),
    ];
    let message = message.to_ascii_lowercase();
    let found = WORDS.iter().find(|(word, _)| message.contains(word));
    found.map_or(BroadcastRefusal::Other, |(_, refusal)| *refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_several_nodes_are_understood() {
        for (message, refusal) in [
            ("already known", BroadcastRefusal::Known),
            ("transaction already imported", BroadcastRefusal::Known),
            ("AlreadyKnown", BroadcastRefusal::Known),
            ("nonce too low: next nonce 5, tx nonce 4", BroadcastRefusal::NonceUsed),
            ("replacement transaction underpriced", BroadcastRefusal::Underpriced),
            ("max fee per gas less than block base fee: address 0x…", BroadcastRefusal::Underpriced),
            ("insufficient funds for gas * price + value", BroadcastRefusal::Funds),
            ("intrinsic gas too low", BroadcastRefusal::Other),
        ] {
            assert_eq!(read_refusal(message), refusal, "{message}");
        }
    }
}
