//! Everything that others may do with anchors: see how they are doing, ask for one, compare one with the chain,
//! let a blocked stream be tried again, take the reports of an anchoring service elsewhere.
//!
//! A handle works on every node of a store, also on one that does not anchor: what the anchoring process has to do
//! is left for it in the store, and it is woken.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::tables::{
    AnchorBacklog, AnchorFilter, AnchorRow, AnchorSend, AnchorStore, AnchorTarget, ReportOutcome,
    ReportedAnchor, SendState,
};
use bowline_runtime::Clock;
use bowline_store::{CommitmentRecord, Lease, LineStore, StoreError};
use bowline_types::{BatchId, StreamId, Timestamp};
use bowline_ves::Commitment;
use tokio::time::Instant;
use uuid::Uuid;

use crate::config::{Chain, Config};
use crate::error::AnchorError;
use crate::registry::{Kind, Registry};
use crate::service::LEASE;
use crate::status::{Blocked, ChainState, Holder, Status, Trouble, UnderWay};
use bowline_evm::Rpc;

/// Sends and blocked streams that a status names.
const NAMED_MAX: usize = 100;

/// What the chain gets to answer for a status.
const STATUS_TIME_MAX: Duration = Duration::from_secs(5);

/// Between two looks at what becomes of an anchor that somebody waits for.
const WAIT_POLL: Duration = Duration::from_millis(200);

/// How far an anchor that was asked for has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It was final before.
    AlreadyAnchored,
    /// It is final.
    Anchored,
    /// It is in a block that may still be taken back.
    Mined,
    /// Its transaction waits for a block.
    Sent,
    /// The anchoring process has not taken it up yet.
    Pending,
}

impl Progress {
    /// The word in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AlreadyAnchored => "already_anchored",
            Self::Anchored => "anchored",
            Self::Mined => "mined",
            Self::Sent => "sent",
            Self::Pending => "pending",
        }
    }
}

/// What became of a wish to anchor.
#[derive(Debug, Clone)]
pub struct Anchored {
    /// How far it is.
    pub progress: Progress,
    /// The commitment.
    pub record: CommitmentRecord,
    /// The send that holds it, if there is one.
    pub send: Option<AnchorSend>,
}

/// What the chain says of a commitment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verification {
    /// Whether exactly this commitment is there.
    pub on_chain: bool,
    /// The contract that was asked.
    pub target: AnchorTarget,
    /// Its kind.
    pub kind: Kind,
    /// The block; none if the contract does not keep it.
    pub block_number: Option<u64>,
    /// Blocks on top of that one.
    pub confirmations: Option<u64>,
    /// The chain's last block.
    pub head_block: u64,
}

/// What the service and its handles share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn LineStore>,
    pub(crate) tables: Arc<dyn AnchorStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) chain: Option<(Chain, Rpc)>,
    /// This process in the lease.
    pub(crate) holder: Uuid,
    pub(crate) lease: Mutex<Option<Lease>>,
    pub(crate) trouble: Mutex<Option<Trouble>>,
    /// When the last round that has ended had begun; what is in the way was true then.
    pub(crate) round_began: Mutex<Option<Instant>>,
}

impl Shared {
    pub(crate) fn lease(&self) -> MutexGuard<'_, Option<Lease>> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn trouble(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn round_began(&self) -> MutexGuard<'_, Option<Instant>> {
        self.round_began.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The contract of the configuration.
    pub(crate) fn configured(&self) -> Option<AnchorTarget> {
        let (chain, _) = self.chain.as_ref()?;
        Some(AnchorTarget { chain_id: self.config.chain_id, contract: chain.contract })
    }
}

/// Everything that others may do with anchors; cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle(pub(crate) Arc<Shared>);

impl Handle {
    /// Whether this node is set up to anchor.
    pub fn is_configured(&self) -> bool {
        self.0.chain.is_some()
    }

    /// Blocks on top of a transaction's block that make it final.
    pub fn confirmations_needed(&self) -> u64 {
        self.0.config.finality_confirmations
    }

    /// What is in the way of all anchoring, as far as this process knows.
    pub fn trouble(&self) -> Option<Trouble> {
        self.0.trouble().clone()
    }

    /// How anchoring is doing.
    ///
    /// # Errors
    /// The store's; what is wrong with the chain is part of the status.
    pub async fn status(&self) -> Result<Status, StoreError> {
        let Shared { config, store, tables, clock, .. } = &*self.0;
        let chain = tokio::time::timeout(STATUS_TIME_MAX, self.chain_state()).await;
        let chain =
            chain.unwrap_or_else(|_| Err(format!("no answer within {} s", STATUS_TIME_MAX.as_secs())));
        let configured = self.0.configured();
        let chosen = tables.anchor_target().await?;
        let backlog = tables.anchor_backlog().await?;
        let sends = tables.live_sends().await?;
        let blocks = tables.anchor_blocks(NAMED_MAX).await?;
        let lease = store.lease(LEASE).await?;
        let head = chain.as_ref().ok().map(|chain| chain.block_number);
        Ok(Status {
            configured: self.is_configured(),
            chain_id: configured.map(|target| target.chain_id),
            contract: configured.map(|target| target.contract),
            sender: self.0.chain.as_ref().map(|(chain, _)| chain.wallet.address()),
            chosen_chain_id: chosen.map(|target| target.chain_id),
            chosen_contract: chosen.map(|target| target.contract),
            endpoints: self.0.chain.as_ref().map(|(_, rpc)| rpc.endpoints()).unwrap_or_default(),
            chain,
            holder: lease.map(|lease| Holder {
                holder: lease.holder,
                is_this_process: lease.holder == self.0.holder,
                expires_at: lease.expires_at,
            }),
            pending: backlog.pending,
            under_way: backlog.under_way,
            anchored: backlog.anchored,
            oldest_secs: backlog.oldest.map(|oldest| seconds_between(oldest, clock.now())),
            transactions: sends.iter().take(NAMED_MAX).map(|send| under_way(send, head)).collect(),
            blocked: blocks.into_iter().map(blocked).collect(),
            trouble: self.trouble(),
            interval_secs: config.interval_secs,
            finality_confirmations: config.finality_confirmations,
            replace_after_secs: config.replace_after_secs,
            fee_cap_wei: config.fee_cap().to_string(),
        })
    }

    async fn chain_state(&self) -> Result<ChainState, String> {
        let (chain, rpc) = self.0.chain.as_ref().ok_or("anchoring is not set up")?;
        let rpc = rpc.of_any_chain();
        let text = |error: bowline_evm::RpcError| error.to_string();
        let chain_id = rpc.chain_id().await.map_err(text)?;
        let block = rpc.latest().await.map_err(text)?;
        let sender = chain.wallet.address();
        let balance = rpc.balance(sender).await.map_err(text)?;
        let target = AnchorTarget { chain_id, contract: chain.contract };
        let registry = Registry::find(rpc.clone(), target).await;
        let may_commit = match &registry {
            Ok(registry) => registry.allows(sender).await.ok(),
            Err(_) => None,
        };
        Ok(ChainState {
            chain_id,
            block_number: block.number(),
            block_time: seconds(block.timestamp()),
            base_fee_wei: block.base_fee().map(|fee| fee.to_string()),
            kind: registry.as_ref().ok().map(Registry::kind),
            contract_problem: registry.err().map(|error| error.to_string()),
            may_commit,
            balance_wei: balance.to_string(),
        })
    }

    /// Asks for a commitment's anchor now, and waits for so long at most until a block has it.
    ///
    /// # Errors
    /// See [`AnchorError`]; the wish stays, and is granted once what is in the way is gone.
    pub async fn anchor(&self, batch_id: BatchId, wait: Duration) -> Result<Anchored, AnchorError> {
        let store = &self.0.store;
        let record = store.commitment(batch_id).await?.ok_or(AnchorError::NoCommitment(batch_id))?;
        if record.anchor.is_some() {
            return self.progress(record, Progress::AlreadyAnchored).await;
        }
        if !self.is_configured() {
            return Err(AnchorError::NotConfigured);
        }
        self.0.tables.wake_anchoring().await?;
        let asked = Instant::now();
        let deadline = asked + wait;
        loop {
            let record = store.commitment(batch_id).await?.ok_or(AnchorError::NoCommitment(batch_id))?;
            let found = self.progress(record, Progress::Anchored).await?;
            let is_over = Instant::now() >= deadline;
            match found.progress {
                Progress::Pending | Progress::Sent if !is_over => {
                    self.refuse_if_blocked(&found, asked).await?;
                    tokio::time::sleep(WAIT_POLL).await;
                }
                _ => return Ok(found),
            }
        }
    }

    async fn progress(&self, record: CommitmentRecord, if_marked: Progress) -> Result<Anchored, AnchorError> {
        let sends = self.0.tables.sends_of(record.commitment.batch_id).await?;
        let send = present(sends, record.anchor.is_some());
        let progress = match (&record.anchor, send.as_ref().map(|send| send.state)) {
            (Some(_), _) => if_marked,
            (None, Some(SendState::Mined)) => Progress::Mined,
            (None, Some(SendState::Open)) => Progress::Sent,
            (None, Some(SendState::Anchored | SendState::Void) | None) => Progress::Pending,
        };
        Ok(Anchored { progress, record, send })
    }

    /// Who waits for something that will not happen is told why.
    async fn refuse_if_blocked(&self, found: &Anchored, asked: Instant) -> Result<(), AnchorError> {
        let stream = found.record.commitment.stream;
        let blocks = self.0.tables.anchor_blocks(NAMED_MAX).await?;
        if let Some(block) = blocks.into_iter().find(|block| block.stream == stream) {
            let fix =
                "see `bowline anchors status`; `bowline anchors retry` tries the stream again".to_owned();
            return Err(AnchorError::Refused { code: block.code, message: block.message, fix });
        }
        // What was in the way before somebody asked may be gone: only a round that began since then tells.
        let tried = self.0.round_began().is_some_and(|began| began >= asked);
        match self.trouble().filter(|_| tried) {
            Some(Trouble { code, message, fix, .. }) => Err(AnchorError::Refused { code, message, fix }),
            None => Ok(()),
        }
    }

    /// Compares a commitment with the chain.
    ///
    /// # Errors
    /// See [`AnchorError`].
    pub async fn verify(&self, batch_id: BatchId) -> Result<Verification, AnchorError> {
        let record = self.0.store.commitment(batch_id).await?.ok_or(AnchorError::NoCommitment(batch_id))?;
        let (_, rpc) = self.0.chain.as_ref().ok_or(AnchorError::NotConfigured)?;
        let target = self.0.configured().ok_or(AnchorError::NotConfigured)?;
        let registry = Registry::find(rpc.clone(), target).await?;
        verify_one(&registry, rpc, &record.commitment).await.map_err(AnchorError::from)
    }

    /// Lets a blocked stream, or all of them, be tried again at once. Returns how many were blocked.
    ///
    /// # Errors
    /// The store's.
    pub async fn retry(&self, stream: Option<StreamId>) -> Result<u64, StoreError> {
        self.0.tables.unblock_anchors(stream).await
    }

    /// Makes the configured contract the one that anchors go to from now on: what it does not know is anchored
    /// there from the beginning.
    ///
    /// # Errors
    /// [`AnchorError::NotHolder`] if another process anchors; or that there is no such contract.
    pub async fn switch(&self) -> Result<AnchorTarget, AnchorError> {
        let (chain, rpc) = self.0.chain.as_ref().ok_or(AnchorError::NotConfigured)?;
        let target = self.0.configured().ok_or(AnchorError::NotConfigured)?;
        let sender = chain.wallet.address();
        if !Registry::find(rpc.clone(), target).await?.allows(sender).await? {
            let message = format!("{sender} may not commit to the contract {}", target.contract);
            let fix = "let the contract's owner call setCommitter for the account first".to_owned();
            return Err(AnchorError::Refused { code: "NOT_COMMITTER".to_owned(), message, fix });
        }
        let lease = self.0.lease().clone().ok_or(AnchorError::NotHolder)?;
        self.0.tables.choose_anchor_target(&lease, target, self.0.clock.now()).await?;
        tracing::warn!(component = "anchor", chain_id = target.chain_id, contract = %target.contract, "Anchors go to another contract from now on");
        self.0.tables.wake_anchoring().await?;
        Ok(target)
    }

    /// A stream's commitments in the order of its chain, each with its anchor.
    ///
    /// # Errors
    /// The store's.
    pub async fn rows(&self, filter: AnchorFilter) -> Result<Vec<AnchorRow>, StoreError> {
        self.0.tables.anchor_rows(filter).await
    }

    /// Every send that ever held that commitment, oldest first.
    ///
    /// # Errors
    /// The store's.
    pub async fn sends_of(&self, batch_id: BatchId) -> Result<Vec<AnchorSend>, StoreError> {
        self.0.tables.sends_of(batch_id).await
    }

    /// The commitment that counts for an event: the last one over it.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn commitment_covering(
        &self,
        stream: StreamId,
        number: u64,
    ) -> Result<Option<CommitmentRecord>, StoreError> {
        self.0.store.commitment_covering(stream, number).await
    }

    /// What waits for an anchor, what is on its way, what is done.
    ///
    /// # Errors
    /// The store's.
    pub async fn backlog(&self) -> Result<AnchorBacklog, StoreError> {
        self.0.tables.anchor_backlog().await
    }

    /// Streams that are set aside.
    pub(crate) async fn blocks(&self, limit: usize) -> Result<Vec<crate::tables::AnchorBlock>, StoreError> {
        self.0.tables.anchor_blocks(limit).await
    }

    /// The chain's last block; none if it can't be asked.
    pub(crate) async fn head_block(&self) -> Option<u64> {
        let (_, rpc) = self.0.chain.as_ref()?;
        rpc.latest().await.ok().map(|block| block.number())
    }

    /// Pending commitments of all streams, the oldest first, with how many there are.
    ///
    /// # Errors
    /// The store's.
    pub async fn pending(&self, limit: usize) -> Result<(Vec<CommitmentRecord>, u64), StoreError> {
        self.0.tables.pending(limit).await
    }

    /// Takes the report of an anchoring service elsewhere. A node that anchors by itself takes none: the two
    /// would get in each other's way.
    ///
    /// # Errors
    /// The store's; or [`AnchorError::Refused`] with the code `ANCHORS_ITSELF`.
    pub async fn report(&self, report: ReportedAnchor) -> Result<ReportOutcome, AnchorError> {
        if self.is_configured() {
            let message = "this node anchors by itself and takes no reports of others".to_owned();
            let fix = "take L2_RPC_URL from the node's settings if another service is to anchor".to_owned();
            return Err(AnchorError::Refused { code: "ANCHORS_ITSELF".to_owned(), message, fix });
        }
        Ok(self.0.tables.report_anchor(report, self.0.clock.now()).await?)
    }
}

/// The send that holds a commitment now. One that was final and did not leave a mark does not: the chain has lost
/// it, or anchors go to another contract since.
pub fn present(sends: Vec<AnchorSend>, is_marked: bool) -> Option<AnchorSend> {
    let holds = |send: &AnchorSend| match send.state {
        SendState::Open | SendState::Mined => true,
        SendState::Anchored => is_marked,
        SendState::Void => false,
    };
    sends.into_iter().rev().find(holds)
}

/// What a contract says of one commitment.
pub(crate) async fn verify_one(
    registry: &Registry,
    rpc: &Rpc,
    commitment: &Commitment,
) -> Result<Verification, crate::registry::RegistryError> {
    let head_block = rpc.latest().await?.number();
    let block = registry.known(&[commitment]).await?.into_iter().next().flatten();
    let block_number = block.filter(|block| *block > 0);
    Ok(Verification {
        on_chain: block.is_some(),
        target: registry.target(),
        kind: registry.kind(),
        block_number,
        confirmations: block_number.map(|block| head_block.saturating_sub(block)),
        head_block,
    })
}

fn under_way(send: &AnchorSend, head: Option<u64>) -> UnderWay {
    let newest = send.transactions.last().map(|transaction| transaction.tx_hash);
    let block_number = send.mined.map(|mined| mined.block_number).filter(|block| *block > 0);
    UnderWay {
        send_id: send.send_id,
        state: send.state.as_str().to_owned(),
        nonce: send.nonce,
        tx_hash: send.mined.and_then(|mined| mined.tx_hash).or(newest),
        transactions: send.transactions.len() as u64,
        commitments: send.batch_ids.len() as u64,
        created_at: send.created_at,
        block_number,
        confirmations: block_number.and_then(|block| head?.checked_sub(block)),
    }
}

fn blocked(block: crate::tables::AnchorBlock) -> Blocked {
    let crate::tables::AnchorBlock { stream, batch_id, code, message, since } = block;
    Blocked { stream, batch_id, code, message, since }
}

pub(crate) fn seconds(seconds: u64) -> Timestamp {
    Timestamp::from_micros(i64::try_from(seconds.saturating_mul(1_000_000)).unwrap_or(i64::MAX))
}

pub(crate) fn seconds_between(earlier: Timestamp, later: Timestamp) -> u64 {
    u64::try_from(later.micros().saturating_sub(earlier.micros()) / 1_000_000).unwrap_or(0)
}
