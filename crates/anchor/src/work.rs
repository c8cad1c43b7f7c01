//! The work of the process that anchors, in rounds: see what became of what was sent, compare what is marked with the
//! chain, send what is due. Each round starts from what the store and the chain say, so it does not matter where
//! an earlier one ended.
//!
//! One transaction at a time waits for a block; the next one is made when it is mined. So the account's nonce is
//! always the chain's own count, and a contract that knows everything before can be asked what a call would do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use crate::tables::{ANCHORS, AnchorStore, AnchorTarget, SendState};
use bowline_runtime::Clock;
use bowline_store::{Lease, LineStore};
use bowline_types::EvmAddress;
use metrics::{counter, gauge};
use tokio::time::Instant;

use crate::config::Chain;
use crate::handle::{Shared, seconds_between};
use crate::metrics::{BALANCE, ERRORS};
use crate::registry::Registry;
use crate::service::show_backlog;
use crate::setback::Setback;
use crate::status::Trouble;
use crate::steps::{Step, Steps};
use bowline_evm::Rpc;

/// Between two tries when something is in the way, at most.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Between two looks at what waits, for the metrics.
const SHOW_PERIOD: Duration = Duration::from_secs(5);

/// What mends a choice of contracts that does not agree.
const SWITCH: &str = "set SET_REGISTRY_ADDRESS and L2_CHAIN_ID back, or let `bowline anchors switch` anchor everything anew there";

/// What a round left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Round {
    /// There is more to do at once.
    Again,
    /// Nothing to do before the next poll.
    Idle,
}

/// The work of one lease.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) shared: Arc<Shared>,
    pub(crate) lease: Lease,
    pub(crate) chain: Chain,
    rpc: Rpc,
    steps: Option<Arc<dyn Steps>>,
    /// The contract, once it was found to be the right one.
    registry: Option<Registry>,
    reconciled: Option<Instant>,
    looked_at_mined: Option<Instant>,
    shown: Option<Instant>,
    /// Everything pending is due, since some of it was.
    draining: bool,
    /// The last wake-up that was obeyed.
    heard: u64,
    setbacks: u32,
    /// Commitments of the next transaction at most: fewer after the chain has refused one.
    pub(crate) room: AtomicUsize,
    /// Transactions in a row that were reverted in their blocks.
    pub(crate) reverts: AtomicU32,
}

impl Work {
    pub(crate) fn new(
        shared: Arc<Shared>,
        (chain, rpc): (Chain, Rpc),
        lease: Lease,
        steps: Option<Arc<dyn Steps>>,
    ) -> Self {
        let heard = shared.store.changes().epoch(ANCHORS);
        Self {
            shared,
            lease,
            chain,
            rpc,
            steps,
            registry: None,
            reconciled: None,
            looked_at_mined: None,
            shown: None,
            draining: false,
            heard,
            setbacks: 0,
            room: AtomicUsize::new(usize::MAX),
            reverts: AtomicU32::new(0),
        }
    }

    /// Works until the lease is lost.
    pub(crate) async fn run(&mut self) {
        let mut changes = self.store().changes().watch();
        loop {
            let began = Instant::now();
            let pause = match self.round().await {
                Ok(round) => {
                    self.recovered();
                    if round == Round::Again { Duration::ZERO } else { self.shared.config.poll() }
                }
                Err(setback) if setback.code == "LEASE_LOST" => return,
                Err(setback) => self.set_back(setback),
            };
            *self.shared.round_began() = Some(began);
            if self.shown.is_none_or(|at| at.elapsed() >= SHOW_PERIOD) {
                show_backlog(&self.shared).await.ok();
                self.shown = Some(Instant::now());
            }
            let until = Instant::now() + pause;
            while tokio::time::timeout_at(until, changes.changed()).await.is_ok() {
                let epoch = self.store().changes().epoch(ANCHORS);
                if epoch != self.heard {
                    (self.heard, self.draining, self.setbacks) = (epoch, true, 0);
                    break;
                }
            }
        }
    }

    async fn round(&mut self) -> Result<Round, Setback> {
        let registry = self.registry().await?;
        let sends = self.tables().live_sends().await?;
        let has_open = sends.iter().any(|send| send.state == SendState::Open);
        let poll = Duration::from_secs(self.shared.config.finality_poll_secs);
        let mined_due = self.looked_at_mined.is_none_or(|at| at.elapsed() >= poll);
        if has_open || (mined_due && !sends.is_empty()) {
            let head = self.rpc().latest().await?.number();
            let mut still_open = false;
            let lowest = sends.iter().filter_map(|send| send.nonce).min();
            for send in sends {
                if send.state == SendState::Open || mined_due {
                    let is_lowest = send.nonce == lowest;
                    still_open |= self.follow(&registry, send, head, is_lowest).await? == SendState::Open;
                }
            }
            self.looked_at_mined = mined_due.then(Instant::now).or(self.looked_at_mined);
            if still_open {
                return Ok(Round::Idle);
            }
        }
        let reconcile = Duration::from_secs(self.shared.config.reconcile_secs);
        if self.reconciled.is_none_or(|at| at.elapsed() >= reconcile) {
            self.reconcile(&registry).await?;
            self.reconciled = Some(Instant::now());
        }
        self.draining |= self.is_due().await?;
        if !self.draining {
            return Ok(Round::Idle);
        }
        let round = self.send_next(&registry).await?;
        self.draining = round == Round::Again;
        Ok(round)
    }

    async fn is_due(&self) -> Result<bool, Setback> {
        let config = &self.shared.config;
        let waiting = self.tables().pending_streams(1).await?;
        let Some(oldest) = waiting.first() else { return Ok(false) };
        if seconds_between(oldest.oldest, self.shared.clock.now()) >= config.interval_secs {
            return Ok(true);
        }
        Ok(self.tables().anchor_backlog().await?.pending >= config.batch_threshold)
    }

    /// The contract, after it was made sure that it is the right one on the right chain.
    async fn registry(&mut self) -> Result<Registry, Setback> {
        if let Some(registry) = &self.registry {
            return Ok(registry.clone());
        }
        let target = self.target();
        let registry = Registry::find(self.rpc().clone(), target).await?;
        if !registry.allows(self.sender()).await? {
            let message = format!("{} may not commit to the contract {}", self.sender(), target.contract);
            let fix = "let the contract's owner call setCommitter for the account, or set SEQUENCER_PRIVATE_KEY to one that may";
            return Err(Setback::new("NOT_COMMITTER", message, fix));
        }
        self.agree_on(target).await?;
        gauge!(BALANCE).set(f64::from(self.rpc().balance(self.sender()).await?));
        self.registry = Some(registry.clone());
        Ok(registry)
    }

    /// The contract of the settings must be the one that the store's anchors go to.
    async fn agree_on(&self, target: AnchorTarget) -> Result<(), Setback> {
        match self.tables().anchor_target().await? {
            Some(chosen) if chosen == target => Ok(()),
            // Marks that others reported would be lost by the choice.
            None if self.tables().anchor_backlog().await?.anchored > 0 => {
                let message = "commitments are marked as anchored by a service elsewhere".to_owned();
                Err(Setback::new("TARGET_CHANGED", message, SWITCH))
            }
            None => {
                Ok(self.tables().choose_anchor_target(&self.lease, target, self.shared.clock.now()).await?)
            }
            Some(chosen) => {
                let message = format!(
                    "the store's anchors go to {} on chain {}, the settings say {} on chain {}",
                    chosen.contract, chosen.chain_id, target.contract, target.chain_id
                );
                Err(Setback::new("TARGET_CHANGED", message, SWITCH))
            }
        }
    }

    fn recovered(&mut self) {
        // What is reverted costs gas, so the pauses go on growing until something is mined well.
        if self.reverts.load(Ordering::Relaxed) == 0 {
            self.setbacks = 0;
        }
        if let Some(trouble) = self.shared.trouble().take() {
            tracing::info!(component = "anchor", code = trouble.code, "Anchoring goes on");
        }
    }

    /// Takes note of what is in the way; returns after how long to try again.
    fn set_back(&mut self, setback: Setback) -> Duration {
        let Setback { code, message, fix, retry_ms } = setback;
        counter!(ERRORS, "code" => code).increment(1);
        // Whatever was found out about chain and contract may not hold any more.
        (self.registry, self.looked_at_mined) = (None, None);
        let mut trouble = self.shared.trouble();
        let known = trouble.as_ref().filter(|known| known.code == code).map(|known| known.since);
        if known.is_none() {
            tracing::warn!(
                component = "anchor",
                code,
                cause = message,
                fix,
                "Anchoring is held up, retrying"
            );
        }
        let since = known.unwrap_or_else(|| self.shared.clock.now());
        *trouble = Some(Trouble { code: code.to_owned(), message, fix: fix.to_owned(), since });
        drop(trouble);
        let grown = self.shared.config.poll().mul_f64(1.5_f64.powi(self.setbacks.min(40).cast_signed()));
        self.setbacks = self.setbacks.saturating_add(1);
        grown.max(Duration::from_millis(retry_ms.unwrap_or(0))).min(PAUSE_MAX)
    }

    /// Says that a point was reached, to whoever listens.
    pub(crate) async fn reached(&self, step: Step) {
        if let Some(steps) = &self.steps {
            steps.reached(step).await;
        }
    }

    pub(crate) fn store(&self) -> &dyn LineStore {
        self.shared.store.as_ref()
    }

    pub(crate) fn tables(&self) -> &dyn AnchorStore {
        self.shared.tables.as_ref()
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        self.shared.clock.as_ref()
    }

    pub(crate) fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    pub(crate) fn sender(&self) -> EvmAddress {
        self.chain.wallet.address()
    }

    pub(crate) fn target(&self) -> AnchorTarget {
        AnchorTarget { chain_id: self.shared.config.chain_id, contract: self.chain.contract }
    }
}
