//! When the chain has other blocks than the line knows: first to be sure, then to take back.
//!
//! A fork must be seen twice, each time with a chain of hashes from the block that both have up to the checkpoint's
//! height, and no endpoint that answers may still have the checkpoint's block, unless the fork goes on for long and
//! grows. An endpoint that is only behind has no say. What is taken back stays on the line; a further event says that it is
//! taken back.

use std::collections::HashSet;

use bowline_evm::{Block, Rpc};
use bowline_store::{BlockMark, ChainAdvance, ReadQuery, StoredEvent};
use bowline_types::{EventId, EvmHash};
use bowline_ves::sign_events;

use crate::chain::{Round, Work};
use crate::event::retracts;
use crate::fetch;
use crate::halt::Halt;
use crate::look::Seen;
use crate::place::Place;

/// Looks that must find the same fork.
const LOOKS_MIN: u32 = 2;
/// Looks after which an endpoint that still has the old block is outvoted, by one that is so many blocks further.
const LOOKS_DISPUTED: u32 = 30;
const BLOCKS_DISPUTED: u64 = 3;
/// Blocks whose chain of hashes is looked at.
const LINKS_MAX: u64 = 1_024;
/// Events that are taken back at once, unless there is no mark between.
const RETRACTED_AT_ONCE: u64 = 2_000;
/// Events and bytes on a page of what is to be taken back.
const PAGE_EVENTS: usize = 1_000;
const PAGE_BYTES: usize = 16 << 20;

/// A fork that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Suspicion {
    /// The other block at the checkpoint's height.
    hash: EvmHash,
    /// The last block that both have.
    ancestor: BlockMark,
    looks: u32,
}

impl Work<'_> {
    /// Looks at a fork that no endpoint leads around; takes back what the chain took back once that is sure.
    pub(crate) async fn fork(&mut self, looks: &[Seen]) -> Result<Round, Halt> {
        let Some(block) = self.place()?.block else { return Ok(Round::Waits) };
        let (mut other, mut is_disputed) = (None, false);
        for seen in looks {
            match seen.rpc.block(block.number).await {
                Ok(Some(found)) if found.hash() == block.hash => is_disputed = true,
                Ok(Some(found)) => drop(other.get_or_insert((seen, found))),
                // It is behind, or away.
                Ok(None) | Err(_) => {}
            }
        }
        let Some((seen, found)) = other else {
            self.suspicion = None;
            return Ok(Round::Waits);
        };
        let ancestor = self.ancestor(&seen.rpc, block, &found).await?;
        let before = self.suspicion.filter(|known| known.hash == found.hash() && known.ancestor == ancestor);
        let looks = before.map_or(1, |known| known.looks + 1);
        self.suspicion = Some(Suspicion { hash: found.hash(), ancestor, looks });
        let outvotes = looks >= LOOKS_DISPUTED && seen.head.number() >= block.number + BLOCKS_DISPUTED;
        if looks < LOOKS_MIN || (is_disputed && !outvotes) {
            return Ok(Round::Waits);
        }
        self.suspicion = None;
        tracing::warn!(
            component = "indexer",
            chain_id = self.chain.config.chain_id,
            block = block.number,
            ancestor = ancestor.number,
            "Chain has reorganized"
        );
        self.chain.progress.metrics().reorganized();
        self.take_back(ancestor).await?;
        Ok(Round::Moved)
    }

    /// The last known block that the endpoint has too, with a chain of hashes from there to the block that it has
    /// instead of the checkpoint.
    async fn ancestor(&self, rpc: &Rpc, block: BlockMark, found: &Block) -> Result<BlockMark, Halt> {
        let marks = self.chain.store.block_marks(self.chain.config.chain_id).await?;
        let mut ancestor = None;
        for mark in marks.into_iter().filter(|mark| mark.number < block.number) {
            if fetch::header(rpc, mark.number).await?.hash() == mark.hash {
                ancestor = Some(mark);
                break;
            }
        }
        let ancestor = ancestor.ok_or_else(|| {
            let problem = "the chain has no block in common with what is on the line: it is another chain, or went \
                           back further than what is known of it";
            Halt::Stuck(problem.to_owned())
        })?;
        if block.number - ancestor.number <= LINKS_MAX {
            let headers = fetch::headers(rpc, ancestor.number + 1..=block.number).await?;
            let mut parent = ancestor.hash;
            for header in &headers {
                if header.parent_hash() != parent {
                    return Err(Halt::unserved(rpc.name(), "has blocks that do not follow on each other"));
                }
                parent = header.hash();
            }
        }
        if fetch::header(rpc, block.number).await?.hash() != found.hash() {
            return Err(Halt::unserved(rpc.name(), format!("changed its mind about block {}", block.number)));
        }
        Ok(ancestor)
    }

    /// Takes back everything above that block, in steps of which each leaves the line at a block that it knew.
    async fn take_back(&mut self, ancestor: BlockMark) -> Result<(), Halt> {
        loop {
            let place = self.place()?;
            let Some(block) = place.block.filter(|block| block.number > ancestor.number) else {
                return Ok(());
            };
            let head = self.chain.store.head(place.author.stream).await?.map_or(0, |stream| stream.head);
            let marks = self.chain.store.block_marks(self.chain.config.chain_id).await?;
            let mut below = marks.into_iter().filter(|m| (ancestor.number..block.number).contains(&m.number));
            let mut goal = below.next().unwrap_or(ancestor);
            for mark in below.take_while(|mark| head.saturating_sub(mark.head) <= RETRACTED_AT_ONCE) {
                goal = mark;
            }
            self.take_back_to(&place, goal).await?;
        }
    }

    async fn take_back_to(&mut self, place: &Place, goal: BlockMark) -> Result<(), Halt> {
        let mut events = self.standing(place, goal.head + 1).await?;
        events.reverse();
        let count = events.len() as u64;
        let drafts = events.iter().map(|event| place.author.retraction(event));
        let drafts = drafts.collect::<Result<Vec<_>, _>>().map_err(Halt::Stuck)?;
        let key = std::sync::Arc::clone(&self.chain.key);
        let signed = tokio::task::spawn_blocking(move || sign_events(drafts, &key)).await;
        let signed = signed.map_err(|e| Halt::Stuck(e.to_string()))?;
        let signed = signed.map_err(|e| Halt::Stuck(format!("an event can't be signed: {e}")))?;
        let advance = ChainAdvance {
            chain_id: self.chain.config.chain_id,
            stream: place.author.stream,
            expected: (place.generation, place.block.map(|block| (block.number, block.hash))),
            generation: place.generation + 1,
            forget_above: Some(goal.number),
            marks: vec![(goal.number, goal.hash, count)],
        };
        let head = self.append(advance, signed, place.keys_epoch).await?;
        self.chain.progress.metrics().retracted(count);
        self.stand_at(Place {
            generation: place.generation + 1,
            block: Some(BlockMark { head, ..goal }),
            ..place.clone()
        });
        Ok(())
    }

    /// The logs from that sequence number on that are not taken back, in their order.
    async fn standing(&self, place: &Place, from: u64) -> Result<Vec<StoredEvent>, Halt> {
        let (mut logs, mut taken_back) = (Vec::new(), HashSet::<EventId>::new());
        let mut query =
            ReadQuery { bytes_max: PAGE_BYTES, ..ReadQuery::from(place.author.stream, from, PAGE_EVENTS) };
        loop {
            let page = self.chain.store.read(query.clone()).await?;
            for event in page.events {
                match retracts(&event) {
                    Some(event_id) => drop(taken_back.insert(event_id)),
                    None if event.envelope.source_agent_id == place.author.agent => logs.push(event),
                    None => {}
                }
            }
            match page.next {
                Some(next) => query.from = next,
                None => break,
            }
        }
        logs.retain(|event| !taken_back.contains(&event.envelope.event_id));
        Ok(logs)
    }
}
