//! The chapter `anchored` in the life of an event: whether its commitment is on the chain, or what it waits for.
//!
//! It tells of the commitment that counts for the event, which after a correction is the correction. What the store
//! has marked as final is told as it was marked; whoever wants to know it from the chain itself takes
//! `bowline verify anchor`.

use std::time::Duration;

use crate::tables::{AnchorBlock, AnchorSend, MinedAt, SendState};
use async_trait::async_trait;
use bowline_line::explain::{Chapter, ChapterSource, Subject};
use bowline_store::{AnchorMark, CommitmentRecord, StoreError};

use crate::handle::Handle;

const NAME: &str = "anchored";

/// What the chain gets to say how many blocks it has.
const HEAD_TIME_MAX: Duration = Duration::from_secs(2);

/// Set-aside streams that are looked through.
const BLOCKS_MAX: usize = 1_000;

/// Tells of anchors.
#[derive(Debug)]
pub struct AnchorChapters {
    anchors: Handle,
}

impl AnchorChapters {
    /// The chapters of what that handle's node anchors.
    pub fn new(anchors: Handle) -> Self {
        Self { anchors }
    }

    async fn waiting(&self, record: &CommitmentRecord) -> Result<Chapter, StoreError> {
        let mut sends = self.anchors.sends_of(record.commitment.batch_id).await?;
        let newest = sends.pop();
        let is_under_way = |send: &&AnchorSend| matches!(send.state, SendState::Open | SendState::Mined);
        if let Some(send) = newest.as_ref().filter(is_under_way) {
            return Ok(self.under_way(send).await);
        }
        let stream = record.commitment.stream;
        let blocks = self.anchors.blocks(BLOCKS_MAX).await?;
        if let Some(block) = blocks.into_iter().find(|block| block.stream == stream) {
            return Ok(set_aside(&block));
        }
        if let Some(void) = newest.filter(|send| send.state == SendState::Void) {
            return Ok(had_no_effect(&void));
        }
        Ok(match self.anchors.is_configured() {
            true => Chapter::pending(NAME, "its commitment waits to be sent to the chain"),
            false => {
                Chapter::pending(NAME, "its commitment is on no chain: this node is not set up to anchor")
            }
        })
    }

    async fn under_way(&self, send: &AnchorSend) -> Chapter {
        let Some(mined) = send.mined else {
            let told = "its commitment was sent to the chain, and no block has it yet";
            let newest = send.transactions.last().map(|transaction| transaction.tx_hash);
            return with_hash(Chapter::pending(NAME, told).with("chain_id", send.target.chain_id), newest);
        };
        let head = tokio::time::timeout(HEAD_TIME_MAX, self.anchors.head_block()).await.ok().flatten();
        let needed = self.anchors.confirmations_needed();
        let block = mined.block_number;
        let chapter = match head.and_then(|head| head.checked_sub(block)) {
            Some(count) => {
                let told = format!(
                    "its commitment is in block {block}, with {count} of {needed} blocks on top of it"
                );
                Chapter::pending(NAME, told).with("confirmations", count)
            }
            None => Chapter::pending(NAME, format!("its commitment is in block {block}, and not final yet")),
        };
        place(chapter, send.target.chain_id, mined).with("confirmations_needed", needed)
    }
}

#[async_trait]
impl ChapterSource for AnchorChapters {
    async fn tell(&self, subject: &Subject) -> Result<Vec<Chapter>, StoreError> {
        let stream = subject.event.envelope.stream;
        let number = subject.event.receipt.sequence_number;
        let Some(record) = self.anchors.commitment_covering(stream, number).await? else {
            return Ok(Vec::new());
        };
        let chapter = match &record.anchor {
            Some(mark) => on_the_chain(mark),
            None => self.waiting(&record).await?,
        };
        let chapter = chapter.with("batch_id", &record.commitment.batch_id);
        Ok(vec![match &record.commitment.corrects {
            Some(wrong) => chapter.with("corrects", wrong),
            None => chapter,
        }])
    }
}

fn on_the_chain(mark: &AnchorMark) -> Chapter {
    let block = mark.block_number.map(|block| format!(", in block {block}")).unwrap_or_default();
    let told = format!("its commitment is on chain {}{block}, and final", mark.chain_id);
    let chapter = Chapter::done(NAME, Some(mark.anchored_at), told).with("chain_id", mark.chain_id);
    let chapter = match mark.block_number {
        Some(block) => chapter.with("block_number", block),
        None => chapter,
    };
    with_hash(chapter, mark.tx_hash)
}

fn set_aside(block: &AnchorBlock) -> Chapter {
    let told = format!("its stream can't be anchored until somebody looks: {}", block.message);
    Chapter::wrong(NAME, block.since, told)
        .with("code", &block.code)
        .with("refused_batch_id", &block.batch_id)
}

fn had_no_effect(void: &AnchorSend) -> Chapter {
    let reason = void.reason.as_deref().unwrap_or("nobody knows why");
    let told = format!("its last transaction had no effect, and another one will be made: {reason}");
    let newest = void.transactions.last().map(|transaction| transaction.tx_hash);
    with_hash(Chapter::wrong(NAME, void.settled_at, told).with("chain_id", void.target.chain_id), newest)
}

fn place(chapter: Chapter, chain_id: u64, mined: MinedAt) -> Chapter {
    with_hash(chapter.with("chain_id", chain_id).with("block_number", mined.block_number), mined.tx_hash)
}

fn with_hash(chapter: Chapter, tx_hash: Option<bowline_types::EvmHash>) -> Chapter {
    match tx_hash {
        Some(tx_hash) => chapter.with("tx_hash", &tx_hash),
        None => chapter,
    }
}

#[cfg(test)]
mod tests {
    use crate::tables::{AnchorTarget, SendOrigin};
    use bowline_line::explain::ChapterStatus;
    use bowline_types::{EvmAddress, EvmHash, Timestamp};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_transaction_without_effect_is_told_with_its_reason() {
        let void = AnchorSend {
            send_id: Uuid::nil(),
            target: AnchorTarget { chain_id: 5, contract: EvmAddress::default() },
            origin: SendOrigin::Own,
            sender: EvmAddress::default(),
            nonce: Some(1),
            call: Vec::new(),
            gas_limit: 1,
            state: SendState::Void,
            created_at: Timestamp::from_micros(1),
            mined: None,
            settled_at: Some(Timestamp::from_micros(2)),
            reason: Some("the block is gone".to_owned()),
            transactions: Vec::new(),
            batch_ids: Vec::new(),
        };
        let chapter = had_no_effect(&void);
        assert_eq!((chapter.status, chapter.at), (ChapterStatus::Wrong, void.settled_at));
        assert!(chapter.told.contains("the block is gone"), "{chapter:?}");
    }

    #[test]
    fn a_mark_that_only_the_contract_vouches_for_has_no_block() {
        let anchored_at = Timestamp::from_micros(3);
        let mark = AnchorMark { chain_id: 7, tx_hash: None, block_number: None, anchored_at };
        let chapter = on_the_chain(&mark);
        assert_eq!((chapter.status, chapter.at), (ChapterStatus::Done, Some(anchored_at)));
        assert_eq!(chapter.told, "its commitment is on chain 7, and final");
        let mark = AnchorMark { tx_hash: Some(EvmHash::new([1; 32])), block_number: Some(9), ..mark };
        let chapter = on_the_chain(&mark);
        assert!(
            chapter.told.contains("in block 9") && chapter.details.contains_key("tx_hash"),
            "{chapter:?}"
        );
    }
}
