//! The work on one chain, in rounds: look at its head, and bring the line as far as that allows.
//!
//! A round starts from the checkpoint that the store has, and every write names the one that it starts from, so it
//! does not matter where the last round or the last process stopped. What an endpoint says leads to nothing but more
//! blocks on top of the checkpoint; what contradicts it is for `fork`.

use std::sync::Arc;
use std::time::Duration;

use bowline_evm::{Block, Rpc, RpcError};
use bowline_runtime::Clock;
use bowline_store::{BlockMark, ChainAdvance, LineStore, StoreError, VerifiedBatch};
use bowline_types::EvmAddress;
use bowline_ves::{SecretKey, SequencerSigner};

use crate::config::ChainConfig;
use crate::decode::Decoder;
use crate::fetch::{self, Step};
use crate::fork::Suspicion;
use crate::halt::Halt;
use crate::handle::{ChainState, Indexed, Progress};
use crate::look::Seen;
use crate::place::Place;
use crate::range::RangeSize;
use crate::sign::{SignedStep, Signer};

/// Blocks near the head that are read at once.
const TAIL_BLOCKS: u64 = 16;
/// Below the first block, if that is near the head: where a reorganization is met again.
const BASE_DEPTH: u64 = 64;
/// Blocks behind that still count as up to date.
const LIVE_LAG: u64 = 128;
/// A pause after failures, at most.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Rounds in a row that an endpoint may be behind before it is worth a warning.
const FAILURES_WORTH_A_WARNING: u32 = 10;

/// A chain with all that the work on it needs.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) config: ChainConfig,
    pub(crate) title: String,
    /// Each endpoint by itself.
    pub(crate) each: Vec<Rpc>,
    pub(crate) contracts: Arc<[EvmAddress]>,
    pub(crate) decoder: Arc<Decoder>,
    pub(crate) store: Arc<dyn LineStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) sequencer: Arc<SequencerSigner>,
    pub(crate) key: Arc<SecretKey>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) range: Arc<RangeSize>,
}

/// How a round ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Round {
    /// The line moved, and there may be more.
    Moved,
    /// There is nothing to do before the chain goes on.
    Waits,
    /// The endpoint that was asked does not help; the others may.
    AskAll,
}

/// The work of one term.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    pub(crate) chain: &'a Chain,
    pub(crate) place: Option<Place>,
    pub(crate) suspicion: Option<Suspicion>,
    pub(crate) ask_all: bool,
    pub(crate) asked_all: bool,
    pub(crate) same_head_looks: u32,
    pub(crate) last_head: Option<u64>,
    failures: u32,
    pub(crate) has_told: bool,
}

impl<'a> Work<'a> {
    pub(crate) fn new(chain: &'a Chain) -> Self {
        Self {
            chain,
            place: None,
            suspicion: None,
            ask_all: false,
            asked_all: false,
            same_head_looks: 0,
            last_head: None,
            failures: 0,
            has_told: false,
        }
    }

    /// Works until it is dropped.
    pub(crate) async fn run(&mut self) {
        loop {
            let pause = match self.round().await {
                Ok(Round::AskAll) => {
                    self.ask_all = true;
                    continue;
                }
                Ok(Round::Moved) => Duration::ZERO,
                Ok(Round::Waits) => self.poll(),
                Err(halt) => {
                    let pause = self.failed(&halt);
                    tokio::time::sleep(pause).await;
                    continue;
                }
            };
            self.failures = 0;
            self.chain.progress.failed(None);
            tokio::time::sleep(pause).await;
        }
    }

    fn poll(&self) -> Duration {
        Duration::from_millis(self.chain.config.poll_ms)
    }

    async fn round(&mut self) -> Result<Round, Halt> {
        if self.place.is_none() {
            self.begin().await?;
        }
        let looks = self.look().await?;
        let (mut first_halt, mut is_forked) = (None, false);
        for seen in &looks {
            match self.advance(seen).await {
                Ok(Round::Moved) => {
                    self.suspicion = None;
                    return Ok(Round::Moved);
                }
                // Nothing new here, but somebody before this one has other blocks.
                Ok(_) if is_forked => {}
                Ok(round) => return Ok(round),
                Err(halt @ (Halt::Rpc(_) | Halt::Unserved { .. } | Halt::Unlinked { .. })) => {
                    is_forked |= matches!(halt, Halt::Unlinked { .. });
                    first_halt.get_or_insert(halt);
                }
                Err(halt) => return Err(halt),
            }
        }
        if !self.asked_all && self.chain.each.len() > 1 {
            return Ok(Round::AskAll);
        }
        self.ask_all = true;
        if is_forked {
            return self.fork(&looks).await;
        }
        first_halt.map_or(Ok(Round::Waits), Err)
    }

    /// Says what is in the way, and for how long to wait. Where the store may have more than this process knows, it is
    /// asked again.
    fn failed(&mut self, halt: &Halt) -> Duration {
        let progress = &self.chain.progress;
        let (chain_id, text) = (self.chain.config.chain_id, halt.to_string());
        if let Halt::Store(StoreError::KeysChanged { .. } | StoreError::SourceMoved(_)) = halt {
            // The next round knows more; nothing is in the way.
            self.place = None;
            return self.pause();
        }
        progress.failed(Some(text.clone()));
        match halt {
            Halt::Rpc(error) => {
                progress.metrics().rpc_failed();
                progress.is(ChainState::Away);
                if self.failures == 0 {
                    tracing::warn!(component = "indexer", chain_id, error = text, "Chain can't be asked");
                }
                let open = match error {
                    RpcError::Away { retry_ms, .. } => *retry_ms,
                    _ => None,
                };
                let pause = self.pause();
                return open.map_or(pause, |open| {
                    Duration::from_millis(open).clamp(self.poll().min(PAUSE_MAX), PAUSE_MAX)
                });
            }
            Halt::Unserved { .. } | Halt::Unlinked { .. } if self.failures == FAILURES_WORTH_A_WARNING => {
                tracing::warn!(component = "indexer", chain_id, error = text, "Endpoint is waited for");
            }
            Halt::Unserved { .. } | Halt::Unlinked { .. } => {
                tracing::debug!(component = "indexer", chain_id, error = text, "Endpoint is waited for");
            }
            Halt::Store(error) => {
                self.place = None;
                progress.is(ChainState::Away);
                if self.failures == 0 && !error.is_known_absence() {
                    tracing::warn!(
                        component = "indexer",
                        chain_id,
                        error = text,
                        "Step could not be written"
                    );
                }
            }
            Halt::Stuck(_) => {
                self.place = None;
                if progress.state() != ChainState::Away || self.failures == 0 {
                    tracing::error!(component = "indexer", chain_id, error = text, "Indexing is stuck");
                }
                progress.is(ChainState::Away);
            }
        }
        self.pause()
    }

    fn pause(&mut self) -> Duration {
        let pause = self.poll().saturating_mul(1 << self.failures.min(8));
        self.failures = self.failures.saturating_add(1);
        pause.min(PAUSE_MAX)
    }

    /// Goes as far as an endpoint leads.
    async fn advance(&mut self, seen: &Seen) -> Result<Round, Halt> {
        let progress = Arc::clone(&self.chain.progress);
        let place = self.place()?;
        let number = seen.head.number();
        progress.seen(&seen.head, seen.target, self.chain.clock.now());
        if let Some(block) =
            place.block.filter(|block| block.number == number && block.hash != seen.head.hash())
        {
            return Err(Halt::Unlinked { endpoint: seen.rpc.name().to_owned(), number: block.number });
        }
        let next = self.next_of(&place);
        let Some(target) = seen.target else { return Ok(Round::Waits) };
        if place.block.is_none_or(|block| block.number + 1 < next) && next > 0 && next - 1 <= target {
            self.base(seen, next - 1).await?;
        }
        if next > target {
            // An endpoint that is behind the line says nothing about how far the chain is.
            if place.block.is_some_and(|block| block.number <= number) {
                progress.is(ChainState::Live);
            }
            return Ok(Round::Waits);
        }
        if target - next >= LIVE_LAG || progress.state() != ChainState::Live {
            progress.is(ChainState::Syncing);
        }
        match seen.deep.map(|deep| deep.min(target)) {
            // Block 0 alone, so that there is a mark below everything else.
            Some(deep) if next <= deep && next > 0 => self.catch_up(&seen.rpc, next, deep).await?,
            _ => {
                let last = if next == 0 { 0 } else { target.min(next + TAIL_BLOCKS - 1) };
                let steps = fetch::blocks(&seen.rpc, &self.chain.contracts, next, last).await?;
                for step in steps {
                    let signed = self.signer()?.sign(step).await?;
                    self.write(signed, seen.rpc.name()).await?;
                }
            }
        }
        Ok(Round::Moved)
    }

    /// Marks the block before the first one, so that the first one has something to follow on.
    async fn base(&mut self, seen: &Seen, base: u64) -> Result<(), Halt> {
        let mut numbers = vec![base];
        let known = self.place()?.block;
        if let Some(block) = known
            && fetch::header(&seen.rpc, block.number).await?.hash() != block.hash
        {
            return Err(Halt::Unlinked { endpoint: seen.rpc.name().to_owned(), number: block.number });
        }
        if known.is_none() && base >= BASE_DEPTH && seen.deep.is_none_or(|deep| base > deep) {
            numbers.insert(0, base - BASE_DEPTH);
        }
        let blocks = fetch::headers(&seen.rpc, numbers).await?;
        let marks = blocks.iter().map(|block| (block.number(), block.hash(), 0)).collect();
        let last_time = blocks.last().map(Block::timestamp);
        let step = Step { from: base, parent: None, marks, last_time, entries: Vec::new() };
        let signed = self.signer()?.sign(step).await?;
        self.write(signed, seen.rpc.name()).await
    }

    pub(crate) fn signer(&self) -> Result<Signer, Halt> {
        let place = self.place()?;
        Ok(Signer { author: place.author, key: Arc::clone(&self.chain.key), generation: place.generation })
    }

    /// Writes a step, if it follows on the checkpoint.
    pub(crate) async fn write(&mut self, step: SignedStep, endpoint: &str) -> Result<(), Halt> {
        let place = self.place()?;
        if let (Some(block), Some(parent)) = (place.block, step.parent)
            && (block.number + 1, block.hash) != (step.from, parent)
        {
            return Err(Halt::Unlinked { endpoint: endpoint.to_owned(), number: block.number });
        }
        let SignedStep { marks, last_time, events, counted, .. } = step;
        let logs = events.len() as u64;
        let Some((number, hash, _)) = marks.last().copied() else { return Ok(()) };
        let advance = ChainAdvance {
            chain_id: self.chain.config.chain_id,
            stream: place.author.stream,
            expected: (place.generation, place.block.map(|block| (block.number, block.hash))),
            generation: place.generation,
            forget_above: None,
            marks,
        };
        let head = self.append(advance, events, place.keys_epoch).await?;
        self.place = Some(Place { block: Some(BlockMark { number, hash, head }), ..place });
        self.chain.progress.metrics().written(&counted);
        let indexed = Indexed { number, hash, time: last_time, logs };
        self.chain.progress.moved(indexed, self.chain.clock.now());
        Ok(())
    }

    /// Appends, and returns where the stream is then.
    pub(crate) async fn append(
        &self,
        advance: ChainAdvance,
        events: Vec<bowline_ves::VerifiedEvent>,
        keys_epoch: u64,
    ) -> Result<u64, Halt> {
        let chain = self.chain;
        let (batch, sequencer) = (VerifiedBatch { events, keys_epoch }, Arc::clone(&chain.sequencer));
        Ok(chain.store.append_from_chain(advance, batch, sequencer, chain.clock.now()).await?)
    }

    /// The line was taken back to there.
    pub(crate) fn stand_at(&mut self, place: Place) {
        if let Some(block) = place.block {
            self.chain.progress.went_back(place.generation, block);
        }
        self.place = Some(place);
    }
}
