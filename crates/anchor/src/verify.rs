//! Compares what somebody holds of a stream with what a contract says of it.
//!
//! The contract is asked, not the node that made the commitments, and always about one block, so that the answers
//! belong together. A commitment counts only if its state root is the hash of its own fields, which is computed here:
//! whatever else it says of itself proves nothing. Nothing is written anywhere.

use std::collections::HashMap;

use crate::tables::AnchorTarget;
use bowline_types::{BatchId, EvmAddress, EvmHash, Timestamp};
use bowline_ves::{Commitment, ExportReport, Hash};

use crate::deploy::is_this_release;
use crate::handle::seconds;
use crate::registry::{Kind, OnChainHead, OnChainPlace, Registry, RegistryError};
use bowline_evm::{Block, Rpc, RpcError};

/// Commitments that one call asks about.
const PAGE_COMMITMENTS_MAX: usize = 200;

/// Which contract to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The chain's id, if it must be a certain one.
    pub chain_id: Option<u64>,
    /// The contract.
    pub contract: EvmAddress,
    /// Blocks on top of a commitment's block that make it final.
    pub confirmations: u64,
}

/// Why a comparison came to no end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// There is nothing to compare.
    #[error("the export holds no commitment: there is nothing that a chain could know")]
    NoCommitments,
    /// The endpoint serves another chain.
    #[error("the chain has the id {found}, not {expected}")]
    WrongChain {
        /// What was asked for.
        expected: u64,
        /// What the endpoint says.
        found: u64,
    },
    /// The block that the answers are about is gone.
    #[error("the chain replaced its block {0} while it was asked")]
    Moved(u64),
    /// The chain or the contract.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl From<RpcError> for VerifyError {
    fn from(error: RpcError) -> Self {
        Self::Registry(error.into())
    }
}

/// Whether the chain has a commitment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has it, with as many blocks on top as were asked for.
    Final,
    /// It has it, and a reorganization could still take it away, or its block is not known.
    Unconfirmed,
    /// It does not have it, and need not: the commitment is replaced by a correction.
    Replaced,
    /// It does not have it.
    Missing,
}

impl Standing {
    /// The word in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Final => "final",
            Self::Unconfirmed => "unconfirmed",
            Self::Replaced => "replaced",
            Self::Missing => "missing",
        }
    }
}

/// One commitment or correction, and what the chain says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// As the export has it.
    pub commitment: Commitment,
    /// The correction of the export that replaces it.
    pub corrected_by: Option<BatchId>,
    /// Whether the chain has it.
    pub standing: Standing,
    /// Where.
    pub place: Option<OnChainPlace>,
    /// Blocks on top of that block, if it is known.
    pub confirmations: Option<u64>,
    /// Why it is missing, for people.
    pub problem: Option<String>,
}

/// The end of the stream on the chain, held against the export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComparedHead {
    /// As the contract tells it.
    pub head: OnChainHead,
    /// Commitments and corrections that the chain has beyond those of the export; none if the export does not
    /// begin with the stream, so that nobody can count.
    pub beyond: Option<u64>,
    /// Whether the chain has committed to later events, or to more, than the export.
    pub is_ahead: bool,
    /// What does not fit, for people.
    pub problem: Option<String>,
}

/// What a comparison came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The contract that was asked.
    pub target: AnchorTarget,
    /// Its kind.
    pub kind: Kind,
    /// Whether its code is that of the `BowlineAnchor` of this release. If it is not, what it answers is only as good
    /// as whoever wrote it.
    pub code_is_known: bool,
    /// The block that all answers are about.
    pub block_number: u64,
    /// Its hash.
    pub block_hash: EvmHash,
    /// Its time.
    pub block_time: Timestamp,
    /// Blocks on top that were asked for.
    pub confirmations_needed: u64,
    /// Every commitment and correction, in the order of the export.
    pub rows: Vec<Compared>,
    /// The stream's end; none if the contract keeps none.
    pub head: Option<ComparedHead>,
}

impl Comparison {
    /// How many stand like that.
    pub fn count(&self, standing: Standing) -> usize {
        self.rows.iter().filter(|row| row.standing == standing).count()
    }

    /// Events under commitments that the chain has, directly or by a correction.
    pub fn anchored_events(&self) -> u64 {
        let rows: HashMap<BatchId, &Compared> =
            self.rows.iter().map(|row| (row.commitment.batch_id, row)).collect();
        let valid = |row: &Compared| {
            let mut row = row;
            // A correction stands behind what it replaces, so this ends.
            while let Some(next) = row.corrected_by.and_then(|id| rows.get(&id)) {
                row = next;
            }
            row.place.is_some()
        };
        let ordinary = self.rows.iter().filter(|row| row.commitment.corrects.is_none());
        ordinary.filter(|row| valid(row)).map(|row| u64::from(row.commitment.leaf_count)).sum()
    }

    /// Whether the chain has everything that counts, and nothing speaks against it.
    pub fn holds(&self) -> bool {
        let head_fits = self.head.as_ref().is_none_or(|head| head.problem.is_none());
        head_fits && self.count(Standing::Missing) == 0
    }
}

/// Compares every commitment and correction of an export that was verified with a contract.
///
/// # Errors
/// See [`VerifyError`]. That the chain lacks a commitment is no error but a part of the answer.
pub async fn compare(rpc: &Rpc, source: Source, export: &ExportReport) -> Result<Comparison, VerifyError> {
    if export.commitments.is_empty() {
        return Err(VerifyError::NoCommitments);
    }
    let found = rpc.chain_id().await?;
    if let Some(expected) = source.chain_id.filter(|expected| *expected != found) {
        return Err(VerifyError::WrongChain { expected, found });
    }
    let target = AnchorTarget { chain_id: found, contract: source.contract };
    let registry = Registry::find(rpc.clone(), target).await?;
    let code_is_known = is_this_release(&rpc.code(source.contract).await?);
    let block = rpc.latest().await?;
    let registry = registry.at(block.number());
    let head = registry.heads(&[export.stream]).await?.into_iter().next();
    let asker = Asker { registry: &registry, block: &block, needed: source.confirmations, head };
    let rows = asker.rows(export).await?;
    let last_root = rows.last().map(|row| row.commitment.new_state_root);
    let head = head.zip(last_root).map(|(head, last)| compare_head(head, last, &rows));
    let now = rpc.block(block.number()).await?;
    if now.map(|now| now.hash()) != Some(block.hash()) {
        return Err(VerifyError::Moved(block.number()));
    }
    Ok(Comparison {
        target,
        kind: registry.kind(),
        code_is_known,
        block_number: block.number(),
        block_hash: block.hash(),
        block_time: seconds(block.timestamp()),
        confirmations_needed: source.confirmations,
        rows,
        head,
    })
}

/// What is asked about each commitment.
struct Asker<'a> {
    registry: &'a Registry,
    block: &'a Block,
    needed: u64,
    head: Option<OnChainHead>,
}

impl Asker<'_> {
    async fn rows(&self, export: &ExportReport) -> Result<Vec<Compared>, VerifyError> {
        let replaced: HashMap<BatchId, BatchId> =
            export.corrected.iter().map(|one| (one.batch_id, one.corrected_by)).collect();
        let mut rows = Vec::with_capacity(export.commitments.len());
        for page in export.commitments.chunks(PAGE_COMMITMENTS_MAX) {
            let page: Vec<&Commitment> = page.iter().collect();
            let places = self.registry.places(&page).await?;
            let deep = self.deep(&page).await?;
            for ((commitment, place), is_deep) in page.into_iter().zip(places).zip(deep) {
                let corrected_by = replaced.get(&commitment.batch_id).copied();
                rows.push(self.row(commitment, place, is_deep, corrected_by));
            }
        }
        Ok(rows)
    }

    /// Which of these the contract knew so many blocks ago; only of a contract that does not keep blocks.
    async fn deep(&self, page: &[&Commitment]) -> Result<Vec<bool>, VerifyError> {
        let nothing = vec![false; page.len()];
        let (Kind::Original, Some(then)) =
            (self.registry.kind(), self.block.number().checked_sub(self.needed))
        else {
            return Ok(nothing);
        };
        match self.registry.at(then).places(page).await {
            Ok(places) => Ok(places.into_iter().map(|place| place.is_some()).collect()),
            // The contract was not there yet, or the endpoint keeps no state of that block.
            Err(RegistryError::Garbled { .. } | RegistryError::Rpc(RpcError::Refused { .. })) => Ok(nothing),
            Err(error) => Err(error.into()),
        }
    }

    fn row(
        &self,
        commitment: &Commitment,
        place: Option<OnChainPlace>,
        is_deep: bool,
        corrected_by: Option<BatchId>,
    ) -> Compared {
        let broken = commitment.check().err();
        // A state root that is not the hash of the fields names another commitment.
        let place = place.filter(|_| broken.is_none());
        let confirmations =
            place.and_then(|place| place.block_number).map(|block| self.block.number().saturating_sub(block));
        let is_final = is_deep || confirmations.is_some_and(|count| count >= self.needed);
        let standing = match place {
            Some(_) if is_final => Standing::Final,
            Some(_) => Standing::Unconfirmed,
            None if corrected_by.is_some() => Standing::Replaced,
            None => Standing::Missing,
        };
        let problem = (standing == Standing::Missing)
            .then(|| broken.map_or_else(|| self.why_missing(commitment), |error| error.to_string()));
        Compared { commitment: commitment.clone(), corrected_by, standing, place, confirmations, problem }
    }

    fn why_missing(&self, commitment: &Commitment) -> String {
        match self.head {
            None => "the contract does not know this Merkle root under this id".to_owned(),
            Some(head) if head.length == 0 => "the contract knows nothing of this stream".to_owned(),
            Some(head) if commitment.corrects.is_none() && commitment.sequence_start <= head.end => format!(
                "the chain has another history of the stream: something else is committed there up to event {}",
                head.end
            ),
            Some(head) => {
                format!("the contract has the stream up to event {} only, and not this one", head.end)
            }
        }
    }
}

/// A contract lets a stream go on only from its last state root, so whatever it knows lies behind its head.
fn compare_head(head: OnChainHead, last: Hash, rows: &[Compared]) -> ComparedHead {
    let is_whole = rows
        .first()
        .is_some_and(|row| row.commitment.prev_state_root == Hash::ZERO && row.commitment.corrects.is_none());
    let count = rows.len() as u64;
    let all_known = rows.iter().all(|row| row.standing != Standing::Missing);
    let beyond = (is_whole && all_known).then(|| head.length.saturating_sub(count));
    let end = rows.iter().map(|row| row.commitment.sequence_end).max().unwrap_or(0);
    let last_is_known = rows.last().is_some_and(|row| row.place.is_some());
    let problem = if !all_known {
        None
    } else if is_whole && head.length < count {
        Some(format!("it has {} commitments of the stream, the export {count}", head.length))
    } else if last_is_known && head.end < end {
        Some(format!("it has the stream up to event {}, the export's commitments go up to {end}", head.end))
    } else if beyond == Some(0) && last_is_known && head.state_root != last {
        Some(format!("its last state root of the stream is {}, the export's is {last}", head.state_root))
    } else {
        None
    };
    let is_ahead = head.end > end || head.length > count && is_whole;
    ComparedHead { head, beyond, is_ahead, problem }
}

#[cfg(test)]
mod tests {
    use bowline_types::{StoreId, StreamId, TenantId};
    use bowline_ves::Tree;

    use super::*;

    /// Three commitments of two events each, as one contract knows them.
    fn rows() -> Vec<Compared> {
        let stream = StreamId::new(TenantId::random(), StoreId::random());
        let now = Timestamp::from_micros(0);
        let mut prev = Hash::ZERO;
        let place = Some(OnChainPlace { block_number: Some(7), block_time: Some(now) });
        let row = |start: u64| {
            let tree = Tree::new(vec![Hash::new([1; 32]); 2]);
            let commitment =
                Commitment::seal(BatchId::random(), stream, &tree, start, start + 1, prev, now).unwrap();
            prev = commitment.new_state_root;
            Compared {
                commitment,
                corrected_by: None,
                standing: Standing::Final,
                place,
                confirmations: Some(9),
                problem: None,
            }
        };
        [1, 3, 5].map(row).to_vec()
    }

    fn head(rows: &[Compared], state_root: Option<Hash>, end: u64, length: u64) -> ComparedHead {
        let last = rows.last().unwrap().commitment.new_state_root;
        let head = OnChainHead { state_root: state_root.unwrap_or(last), end, length, block_number: 7 };
        compare_head(head, last, rows)
    }

    #[test]
    fn the_end_on_the_chain_is_that_of_the_export_or_lies_beyond() {
        let rows = rows();
        let same = head(&rows, None, 6, 3);
        assert_eq!((same.beyond, same.is_ahead, same.problem), (Some(0), false, None));
        let ahead = head(&rows, Some(Hash::new([2; 32])), 10, 5);
        assert_eq!((ahead.beyond, ahead.is_ahead, ahead.problem), (Some(2), true, None));
        // Nobody can count from the middle of a stream.
        let part = head(&rows[1..], Some(Hash::new([2; 32])), 10, 5);
        assert_eq!((part.beyond, part.is_ahead, part.problem), (None, true, None));
    }

    #[test]
    fn a_contract_that_contradicts_itself_is_found_out() {
        let rows = rows();
        let other = Some(Hash::new([2; 32]));
        for (state_root, end, length, word) in
            [(None, 6, 2, "2 commitments"), (None, 4, 3, "up to event 4"), (other, 6, 3, "last state root")]
        {
            let problem = head(&rows, state_root, end, length).problem.unwrap();
            assert!(problem.contains(word), "{problem}");
        }
    }

    #[test]
    fn events_count_by_the_commitment_that_counts_for_them() {
        let mut rows = rows();
        let mut correction = rows[0].clone();
        correction.commitment = correction.commitment.clone().correcting(rows[0].commitment.batch_id);
        correction.commitment.batch_id = BatchId::random();
        rows[0].corrected_by = Some(correction.commitment.batch_id);
        (rows[0].place, rows[0].standing) = (None, Standing::Replaced);
        (rows[1].place, rows[1].standing) = (None, Standing::Missing);
        rows.push(correction);
        let target = AnchorTarget { chain_id: 1, contract: EvmAddress::default() };
        let mut comparison = Comparison {
            code_is_known: true,
            target,
            kind: Kind::Bowline,
            block_number: 16,
            block_hash: EvmHash::default(),
            block_time: Timestamp::from_micros(0),
            confirmations_needed: 6,
            rows,
            head: None,
        };
        assert_eq!((comparison.anchored_events(), comparison.holds()), (4, false));
        comparison.rows.remove(1);
        assert!(comparison.holds());
        comparison.rows[2].place = None;
        assert_eq!(comparison.anchored_events(), 2);
    }
}
