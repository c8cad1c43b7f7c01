//! Makes a send out of commitments: asks what the call would do, signs it, writes it down, broadcasts it.
//! What becomes of it is for `follow`; what may be sent at all was decided by `plan`.

use crate::tables::{AnchorSend, SendOrigin, SendState};
use alloy_primitives::U256;
use bowline_store::CommitmentRecord;
use metrics::{counter, gauge};
use uuid::Uuid;

use crate::fees::first;
use crate::follow::insufficient_funds;
use crate::metrics::{BALANCE, COMMITMENTS, TRANSACTIONS};
use crate::registry::{Kind, Refusal, Registry};
use crate::setback::Setback;
use crate::steps::Step;
use crate::wallet::Unsigned;
use crate::work::{Round, Work};
use bowline_evm::RpcError;

impl Work {
    /// Sends one transaction for these commitments, or for the first of them if they are too many for one.
    pub(crate) async fn submit(
        &self,
        registry: &Registry,
        mut chosen: Vec<CommitmentRecord>,
    ) -> Result<Round, Setback> {
        loop {
            let call = encode(registry, &chosen);
            let limit = match self.estimate(&call).await {
                // What the call meets may differ a little from what was estimated.
                Ok(gas) => gas.saturating_add(gas / 4),
                Err(error) => match registry.refusal(&error) {
                    Some(refusal) => match self.single_out(registry, &chosen, refusal).await? {
                        Some(fewer) => {
                            chosen.truncate(fewer);
                            continue;
                        }
                        None => return Ok(Round::Again),
                    },
                    None if is_about_gas(&error) => u64::MAX,
                    None => return Err(error.into()),
                },
            };
            if limit <= self.shared.config.gas_max {
                self.send(&chosen, call, limit).await?;
                return Ok(Round::Again);
            }
            if chosen.len() == 1 {
                let message = format!("one commitment takes more gas than {}", self.shared.config.gas_max);
                return Err(Setback::new(
                    "GAS_ABOVE_CAP",
                    message,
                    "raise ANCHOR_GAS_MAX, if the chain allows it",
                ));
            }
            chosen.truncate(chosen.len().div_ceil(2));
        }
    }

    async fn estimate(&self, call: &[u8]) -> Result<u64, RpcError> {
        self.rpc().estimate_gas(self.sender(), Some(self.target().contract), call).await
    }

    async fn send(&self, chosen: &[CommitmentRecord], call: Vec<u8>, gas_limit: u64) -> Result<(), Setback> {
        let (base_fee, tip) = self.prices().await?;
        let fees = first(base_fee, tip, self.shared.config.fee_cap())?;
        let balance = self.rpc().balance(self.sender()).await?;
        gauge!(BALANCE).set(f64::from(balance));
        let cost = U256::from(gas_limit) * U256::from(fees.fee_max);
        if balance < cost {
            return Err(insufficient_funds(
                self.sender(),
                &format!("it has {balance} wei and needs up to {cost}"),
            ));
        }
        let nonce = self.rpc().nonce(self.sender()).await?;
        let live = self.tables().live_sends().await?;
        if live.iter().any(|send| send.sender == self.sender() && send.nonce >= Some(nonce)) {
            // A reorganization has taken something back that counts as mined: it comes first.
            let fix = "nothing: what the chain took back is sent again first";
            return Err(Setback::new(
                "CHAIN_MOVED",
                format!("the chain knows only {nonce} transactions"),
                fix,
            ));
        }
        let target = self.target();
        let unsigned = Unsigned {
            chain_id: target.chain_id,
            nonce,
            to: Some(target.contract),
            data: &call,
            gas_limit,
            fees,
        };
        let transaction = self.sign(&unsigned)?;
        self.reached(Step::Signed).await;
        let send = AnchorSend {
            send_id: Uuid::new_v4(),
            target,
            origin: SendOrigin::Own,
            sender: self.sender(),
            nonce: Some(nonce),
            call,
            gas_limit,
            state: SendState::Open,
            created_at: self.clock().now(),
            mined: None,
            settled_at: None,
            reason: None,
            transactions: vec![transaction.clone()],
            batch_ids: chosen.iter().map(|record| record.commitment.batch_id).collect(),
        };
        self.tables().record_send(&self.lease, send.clone()).await?;
        counter!(TRANSACTIONS, "event" => "signed").increment(1);
        counter!(COMMITMENTS, "outcome" => "sent").increment(chosen.len() as u64);
        self.reached(Step::Recorded).await;
        self.broadcast(&send, &transaction).await?;
        tracing::info!(component = "anchor", tx_hash = %transaction.tx_hash, nonce, commitments = chosen.len(), "Anchor transaction sent");
        self.reached(Step::Broadcast).await;
        Ok(())
    }

    /// The contract would refuse the call: sets the streams aside because of which. If each one alone is taken,
    /// returns how many of the first commitments to try by themselves.
    async fn single_out(
        &self,
        registry: &Registry,
        chosen: &[CommitmentRecord],
        refusal: Refusal,
    ) -> Result<Option<usize>, Setback> {
        // These are about the account, or about a chain that has moved since it was asked. The original contract
        // refuses for no other reason, since what it has was left out.
        let is_general = matches!(refusal.code, "NOT_COMMITTER" | "NOT_CHAINED" | "NOT_CONTIGUOUS");
        if is_general || registry.kind() == Kind::Original {
            return Err(refusal.into());
        }
        let groups: Vec<&[CommitmentRecord]> =
            chosen.chunk_by(|a, b| a.commitment.stream == b.commitment.stream).collect();
        let mut blocked = false;
        for group in &groups {
            let Err(error) = self.estimate(&encode(registry, group)).await else { continue };
            let Some(refusal) = registry.refusal(&error) else { return Err(error.into()) };
            if let Some(first) = group.first() {
                self.block(first, refusal.code, refusal.message).await?;
                blocked = true;
            }
        }
        match groups.first() {
            _ if blocked => Ok(None),
            Some(first) if groups.len() > 1 => Ok(Some(first.len())),
            _ => Err(refusal.into()),
        }
    }
}

/// Whether an endpoint could not estimate a call because it takes more gas than it allows.
fn is_about_gas(error: &RpcError) -> bool {
    const WORDS: [&str; 4] = ["gas required exceeds", "out of gas", "block gas limit", "gas limit"];
    let RpcError::Refused { message, .. } = error else { return false };
    let message = message.to_ascii_lowercase();
    WORDS.iter().any(|words| message.contains(words))
}

fn encode(registry: &Registry, records: &[CommitmentRecord]) -> Vec<u8> {
    registry.encode(&records.iter().map(|record| &record.commitment).collect::<Vec<_>>())
}
