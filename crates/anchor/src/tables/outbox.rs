//! What both stores decide alike about anchors: which send may be recorded, which change fits which state, and what
//! becomes of a report.

use bowline_types::{EvmAddress, EvmHash, Timestamp};
use uuid::Uuid;

use crate::tables::records::{
    AnchorSend, AnchorTarget, ReportOutcome, ReportedAnchor, SendChange, SendOrigin, SendState,
};
use bowline_store::{AnchorMark, StoreError};

use crate::tables::records::AnchorBlock;

/// Why a send is void whose target is not the present one any more.
pub(crate) const OTHER_TARGET: &str = "another contract was chosen";

fn refused(problem: String) -> StoreError {
    StoreError::Internal(problem)
}

/// A chain's id as the database has it.
pub(crate) fn chain_column(chain_id: u64) -> Result<i64, StoreError> {
    match i64::try_from(chain_id) {
        Ok(id) if id > 0 => Ok(id),
        _ => Err(refused(format!("no chain has the id {chain_id}"))),
    }
}

/// Whether a send may be recorded.
pub(crate) fn check_new(send: &AnchorSend, present: Option<AnchorTarget>) -> Result<(), StoreError> {
    let id = send.send_id;
    if present != Some(send.target) {
        return Err(refused(format!("send {id} goes to another contract than the present one")));
    }
    match (send.state, &send.mined) {
        (SendState::Open, None) | (SendState::Mined, Some(_)) => Ok(()),
        (state, _) => Err(refused(format!("send {id} can't be recorded as {}", state.as_str()))),
    }
}

/// Some of a send's commitments are not there, marked already or named twice.
pub(crate) fn unfit(send: &AnchorSend, fit: u64) -> StoreError {
    let all = send.batch_ids.len();
    refused(format!("of the {all} commitments of send {} only {fit} can be anchored", send.send_id))
}

/// There is no such send.
pub(crate) fn no_send(send_id: Uuid) -> StoreError {
    refused(format!("there is no send {send_id}"))
}

/// There is no such stream.
pub(crate) fn no_stream(block: &AnchorBlock) -> StoreError {
    refused(format!("stream {} to block is not there", block.stream))
}

/// Whether there is anything to write for a change; an error if it does not fit the send's state.
pub(crate) fn applies(send_id: Uuid, state: SendState, change: &SendChange) -> Result<bool, StoreError> {
    match (change, state) {
        (SendChange::Replaced(_) | SendChange::Mined(_), SendState::Open | SendState::Mined)
        | (SendChange::Void(_), SendState::Open | SendState::Mined)
        | (SendChange::Reopened | SendChange::Anchored, SendState::Mined) => Ok(true),
        (SendChange::Reopened, SendState::Open)
        | (SendChange::Anchored, SendState::Anchored)
        | (SendChange::Void(_), SendState::Void) => Ok(false),
        _ => Err(refused(format!("send {send_id} is {}, which {change:?} does not fit", state.as_str()))),
    }
}

/// What is known of a commitment that somebody reports as anchored.
#[derive(Debug)]
pub(crate) struct Reportable {
    /// Its mark.
    pub(crate) mark: Option<AnchorMark>,
    /// Whether a send to the present target holds it.
    pub(crate) is_held: bool,
    /// The transaction of an earlier report for the same chain whose mark was taken away since.
    pub(crate) earlier: Option<Option<EvmHash>>,
}

/// What becomes of a report that changes nothing; none if it is to be written.
pub(crate) fn answer(known: &Reportable, report: &ReportedAnchor) -> Option<ReportOutcome> {
    if let Some(mark) = known.mark {
        let same = mark.chain_id == report.chain_id && mark.tx_hash == Some(report.tx_hash);
        return Some(if same { ReportOutcome::Known } else { ReportOutcome::Conflict(mark.tx_hash) });
    }
    if known.is_held {
        return Some(ReportOutcome::UnderWay);
    }
    let earlier = known.earlier.filter(|tx_hash| *tx_hash != Some(report.tx_hash))?;
    Some(ReportOutcome::Conflict(earlier))
}

/// The send that stands for a report; where it was mined is written apart, since the block may not be known.
pub(crate) fn reported_send(report: &ReportedAnchor, now: Timestamp) -> AnchorSend {
    AnchorSend {
        send_id: Uuid::new_v4(),
        target: AnchorTarget { chain_id: report.chain_id, contract: EvmAddress::default() },
        origin: SendOrigin::Reported,
        sender: EvmAddress::default(),
        nonce: None,
        call: Vec::new(),
        gas_limit: 0,
        state: SendState::Anchored,
        created_at: now,
        mined: None,
        settled_at: Some(now),
        reason: None,
        transactions: Vec::new(),
        batch_ids: vec![report.batch_id],
    }
}
