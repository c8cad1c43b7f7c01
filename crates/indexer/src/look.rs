//! Looks at the chain's head: at the first endpoint's, and at all of them if that one does not lead further.

use bowline_evm::{Block, Rpc};
use futures_util::future::join_all;

use crate::chain::Work;
use crate::halt::Halt;

/// Blocks below the head that are not asked for in ranges.
const NEAR_BLOCKS: u64 = 64;
/// Looks at the same head after which the other endpoints are asked too.
const SAME_HEAD_LOOKS: u32 = 15;

/// What an endpoint says of the chain's end.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) rpc: Rpc,
    pub(crate) head: Block,
    /// The last block that counts; none if there is none yet.
    pub(crate) target: Option<u64>,
    /// The last block that may be asked for in ranges.
    pub(crate) deep: Option<u64>,
}

impl Work<'_> {
    /// What endpoints say, the furthest first. The others are asked only if the first one does not answer, has said
    /// the same for long, or did not help the last time.
    pub(crate) async fn look(&mut self) -> Result<Vec<Seen>, Halt> {
        let (first, others) = match self.chain.each.split_first() {
            Some((first, others)) => (first, others),
            None => return Err(Halt::Stuck("no endpoint is given".to_owned())),
        };
        let mut answers = vec![self.look_at(first).await];
        self.asked_all = self.ask_all || answers[0].is_err() || self.same_head_looks >= SAME_HEAD_LOOKS;
        if self.asked_all {
            self.same_head_looks = 0;
            answers.extend(join_all(others.iter().map(|rpc| self.look_at(rpc))).await);
        }
        self.ask_all = false;
        let (mut seen, mut failed) = (Vec::new(), None);
        for answer in answers {
            match answer {
                Ok(one) => seen.push(one),
                Err(halt) => drop(failed.get_or_insert(halt)),
            }
        }
        seen.sort_by_key(|one: &Seen| std::cmp::Reverse(one.head.number()));
        let furthest = seen.first().map(|one| one.head.number());
        match (furthest, failed) {
            (None, Some(halt)) => Err(halt),
            (furthest, _) => {
                self.same_head_looks = if furthest == self.last_head { self.same_head_looks + 1 } else { 0 };
                self.last_head = furthest;
                Ok(seen)
            }
        }
    }

    async fn look_at(&self, rpc: &Rpc) -> Result<Seen, Halt> {
        let config = &self.chain.config;
        let head = rpc.latest().await?;
        let confirmed = head.number().checked_sub(config.confirmations);
        let near = head.number().checked_sub(NEAR_BLOCKS);
        let (target, deep) = match config.finalized {
            false => (confirmed, near),
            true => {
                let last = rpc.finalized().await?.map(|block| block.number());
                let target = last.zip(confirmed).map(|(last, confirmed)| last.min(confirmed));
                (target, target)
            }
        };
        Ok(Seen { rpc: rpc.clone(), head, target, deep })
    }
}
