//! What to send next: compares each stream's pending commitments with what the chain knows of it.
//!
//! Three things may have happened behind this process's back: the chain may know more (a process died before it
//! could write that down), less (a reorganization), or something else (a fork, which nobody but an operator can
//! judge).

use std::sync::atomic::Ordering;

use crate::tables::{AnchorBlock, AnchorFilter, AnchorSend, MinedAt, PendingStream, SendOrigin, SendState};
use bowline_store::{ChainQuery, CommitmentRecord};
use bowline_types::{EvmAddress, EvmHash, StreamId};
use metrics::counter;
use uuid::Uuid;

use crate::metrics::COMMITMENTS;
use crate::registry::{OnChainHead, Registry};
use crate::setback::Setback;
use crate::steps::Step;
use crate::work::{Round, Work};

/// Streams that are compared with the chain by one call.
const STREAMS_MAX: usize = 64;

/// Streams of which the marks are compared with the chain by one call.
const RECONCILED_MAX: usize = 200;

/// What is to be done with a stream's first pending commitments.
enum Judged {
    /// They are what the chain waits for.
    Send(Vec<CommitmentRecord>),
    /// Something was written down; another look is needed.
    Changed,
    /// Nothing, until what was sent before is mined again.
    Wait,
}

impl Work {
    /// Sends the next transaction, or settles why there can be none.
    pub(crate) async fn send_next(&self, registry: &Registry) -> Result<Round, Setback> {
        let streams = self.tables().pending_streams(STREAMS_MAX).await?;
        if streams.is_empty() {
            return Ok(Round::Idle);
        }
        let ids: Vec<StreamId> = streams.iter().map(|pending| pending.stream).collect();
        let heads = registry.heads(&ids).await?;
        self.reached(Step::Asked).await;
        let (mut chosen, mut changed) = (Vec::new(), false);
        for (index, PendingStream { stream, .. }) in streams.into_iter().enumerate() {
            let most = self.shared.config.transaction_commitments_max.min(self.room.load(Ordering::Relaxed));
            let room = most.max(1).saturating_sub(chosen.len());
            if room == 0 {
                break;
            }
            let page = self.tables().pending_of(stream, room).await?;
            let judged = match heads.get(index) {
                Some(head) => self.judge(registry, *head, page).await?,
                None => self.judge_original(registry, page).await?,
            };
            match judged {
                Judged::Send(page) => chosen.extend(page),
                Judged::Changed => changed = true,
                Judged::Wait => {}
            }
        }
        if !chosen.is_empty() {
            return self.submit(registry, chosen).await;
        }
        Ok(if changed { Round::Again } else { Round::Idle })
    }

    /// Compares the beginning of what is pending with the end of the stream on the chain.
    async fn judge(
        &self,
        registry: &Registry,
        head: OnChainHead,
        mut page: Vec<CommitmentRecord>,
    ) -> Result<Judged, Setback> {
        let Some(first) = page.first() else { return Ok(Judged::Wait) };
        let stream = first.commitment.stream;
        if first.chain.position == head.length + 1 && first.commitment.prev_state_root == head.state_root {
            let chained = page.windows(2).position(
                |pair| matches!(pair, [a, b] if a.commitment.new_state_root != b.commitment.prev_state_root),
            );
            page.truncate(chained.map_or(page.len(), |last| last + 1));
            return Ok(Judged::Send(page));
        }
        if !self.is_ours(stream, head).await? {
            return self.block_fork(&page, head).await;
        }
        if head.length >= first.chain.position {
            page.retain(|record| record.chain.position <= head.length);
            return self.adopt(registry, &page).await;
        }
        self.look_at_gap(&page, head).await
    }

    /// Whether the end of the stream on the chain is one of this store's commitments.
    async fn is_ours(&self, stream: StreamId, head: OnChainHead) -> Result<bool, Setback> {
        let Some(before) = head.length.checked_sub(1) else { return Ok(true) };
        let query = ChainQuery { stream, after: before, corrections_only: false, limit: 1 };
        let found = self.store().chain(query).await?;
        Ok(found.first().is_some_and(|record| record.commitment.new_state_root == head.state_root))
    }

    /// The chain knows less than what is marked or under way: it may be about to get it, or has lost it.
    async fn look_at_gap(&self, page: &[CommitmentRecord], head: OnChainHead) -> Result<Judged, Setback> {
        let Some(first) = page.first() else { return Ok(Judged::Wait) };
        let stream = first.commitment.stream;
        let filter = AnchorFilter { stream, after: head.length, limit: 1 };
        let missing = self.tables().anchor_rows(filter).await?.into_iter().next();
        match missing.and_then(|row| row.send).filter(|send| send.target == self.target()) {
            Some(send) if send.state == SendState::Anchored => self.unmark(stream, head.length, &send).await,
            Some(_) => Ok(Judged::Wait),
            None => {
                let message = format!(
                    "the contract knows the stream up to commitment {} of its chain, and what follows up to {} is \
                     marked as anchored elsewhere",
                    head.length,
                    first.chain.position - 1
                );
                self.block(first, "HISTORY_ELSEWHERE", message).await?;
                Ok(Judged::Changed)
            }
        }
    }

    /// Takes marks away that the chain does not bear out; an endpoint that is only behind proves nothing.
    async fn unmark(&self, stream: StreamId, after: u64, lost: &AnchorSend) -> Result<Judged, Setback> {
        let Some(mined) = lost.mined else { return Ok(Judged::Wait) };
        let latest = self.rpc().latest().await?.number();
        let is_behind = latest < mined.block_number.saturating_add(self.shared.config.finality_confirmations);
        match (self.rpc().block(mined.block_number).await?, mined.block_hash) {
            (None, _) => return Ok(Judged::Wait),
            (Some(block), Some(hash)) if block.hash() == hash => return Ok(Judged::Wait),
            (Some(_), None) if is_behind => return Ok(Judged::Wait),
            (Some(_), _) => {}
        }
        let reason = "the chain does not have it any more";
        let now = self.clock().now();
        let count = self.tables().unmark_anchors(&self.lease, stream, after, reason, now).await?;
        counter!(COMMITMENTS, "outcome" => "unmarked").increment(count);
        if count == 0 {
            return Ok(Judged::Wait);
        }
        tracing::error!(component = "anchor", %stream, count, "Chain has lost anchors that were final, they are sent again");
        Ok(Judged::Changed)
    }

    /// Writes down what the chain knows and the store does not.
    async fn adopt(&self, registry: &Registry, page: &[CommitmentRecord]) -> Result<Judged, Setback> {
        let commitments: Vec<_> = page.iter().map(|record| &record.commitment).collect();
        let known = registry.known(&commitments).await?;
        let latest = self.rpc().latest().await?.number();
        let mut found: Vec<(MinedAt, Vec<&CommitmentRecord>)> = Vec::new();
        for (record, block) in page.iter().zip(known) {
            let Some(block) = block else { continue };
            let block_number = if block == 0 { latest } else { block };
            let unknown =
                MinedAt { tx_hash: None, block_number, block_hash: None, gas_used: None, gas_price: None };
            let place = registry.place(&record.commitment, block_number).await?.unwrap_or(unknown);
            match found.iter_mut().find(|(known, _)| *known == place) {
                Some((_, records)) => records.push(record),
                None => found.push((place, vec![record])),
            }
        }
        let adopted = !found.is_empty();
        for (place, records) in found {
            self.record_adopted(place, &records).await?;
        }
        Ok(if adopted { Judged::Changed } else { Judged::Wait })
    }

    async fn record_adopted(&self, place: MinedAt, records: &[&CommitmentRecord]) -> Result<(), Setback> {
        let send = AnchorSend {
            send_id: Uuid::new_v4(),
            target: self.target(),
            origin: SendOrigin::Adopted,
            sender: EvmAddress::default(),
            nonce: None,
            call: Vec::new(),
            gas_limit: 0,
            state: SendState::Mined,
            created_at: self.clock().now(),
            mined: Some(place),
            settled_at: None,
            reason: None,
            transactions: Vec::new(),
            batch_ids: records.iter().map(|record| record.commitment.batch_id).collect(),
        };
        self.tables().record_send(&self.lease, send).await?;
        counter!(COMMITMENTS, "outcome" => "adopted").increment(records.len() as u64);
        let tx_hash = place.tx_hash.map(|hash: EvmHash| hash.to_string());
        tracing::info!(
            component = "anchor",
            commitments = records.len(),
            block = place.block_number,
            tx_hash,
            "Found anchors on the chain that were not written down"
        );
        Ok(())
    }

    async fn block_fork(&self, page: &[CommitmentRecord], head: OnChainHead) -> Result<Judged, Setback> {
        let Some(first) = page.first() else { return Ok(Judged::Wait) };
        let message = format!(
            "the chain has another history of the stream: its commitment {} there has the state root {}, here it has not. \
             Was the store put back in time, or does another store anchor the same stream?",
            head.length, head.state_root
        );
        self.block(first, "FORKED", message).await?;
        Ok(Judged::Changed)
    }

    /// Sets a stream aside until an operator has looked.
    pub(crate) async fn block(
        &self,
        first: &CommitmentRecord,
        code: &str,
        message: String,
    ) -> Result<(), Setback> {
        let stream = first.commitment.stream;
        tracing::error!(component = "anchor", %stream, code, cause = message, "Stream can't be anchored until somebody looks");
        let block = AnchorBlock {
            stream,
            batch_id: first.commitment.batch_id,
            code: code.to_owned(),
            message,
            since: self.clock().now(),
        };
        Ok(self.tables().block_anchors(&self.lease, block).await?)
    }

    /// A contract of the original kind knows ids and no order.
    async fn judge_original(
        &self,
        registry: &Registry,
        mut page: Vec<CommitmentRecord>,
    ) -> Result<Judged, Setback> {
        let known = registry.known(&page.iter().map(|record| &record.commitment).collect::<Vec<_>>()).await?;
        if known.iter().any(Option::is_some) {
            let mut there = known.iter();
            page.retain(|_| there.next().is_some_and(Option::is_some));
            return self.adopt(registry, &page).await;
        }
        Ok(Judged::Send(page))
    }

    /// Compares the ends of all that is marked with the chain: whoever has a stream's end has what it continues.
    pub(crate) async fn reconcile(&self, registry: &Registry) -> Result<(), Setback> {
        let mut after = None;
        loop {
            let ends = self.tables().anchored_ends(after, RECONCILED_MAX).await?;
            let Some(last) = ends.last() else { return Ok(()) };
            after = Some(last.stream);
            let mut records = Vec::with_capacity(ends.len());
            for end in &ends {
                records.extend(self.store().commitment(end.batch_id).await?);
            }
            let known =
                registry.known(&records.iter().map(|record| &record.commitment).collect::<Vec<_>>()).await?;
            for (record, known) in records.iter().zip(known) {
                if known.is_none() {
                    self.repair(registry, record).await?;
                }
            }
        }
    }

    /// A marked commitment that the contract does not have.
    async fn repair(&self, registry: &Registry, record: &CommitmentRecord) -> Result<(), Setback> {
        let stream = record.commitment.stream;
        // The original contract knows no order: each commitment that it has lost is found by itself.
        let mut after = record.chain.position.saturating_sub(1);
        if let Some(head) = registry.heads(&[stream]).await?.first() {
            if !self.is_ours(stream, *head).await? {
                self.block_fork(std::slice::from_ref(record), *head).await?;
                return Ok(());
            }
            after = head.length.min(after);
        }
        let filter = AnchorFilter { stream, after, limit: 1 };
        let lost = self.tables().anchor_rows(filter).await?.into_iter().next().and_then(|row| row.send);
        if let Some(send) =
            lost.filter(|send| send.state == SendState::Anchored && send.target == self.target())
        {
            self.unmark(stream, after, &send).await?;
        }
        Ok(())
    }
}
