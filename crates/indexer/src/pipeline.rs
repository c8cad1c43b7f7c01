//! Catching up: while one step is written the next ones are signed, and the ones after those are on their way from
//! the endpoint. What waits between them is bounded.

use std::sync::Arc;

use bowline_evm::{Rpc, RpcError};
use bowline_types::EvmAddress;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::chain::Work;
use crate::fetch::{self, Step};
use crate::halt::Halt;
use crate::range::RangeSize;

/// Ranges that an endpoint is asked for at a time.
const RANGES_AT_A_TIME: usize = 3;
/// Answers that wait to be signed.
const RANGES_WAITING_MAX: usize = 2;
/// Signed steps that wait to be written: enough that nobody rests while the disk is waited for.
const STEPS_WAITING_MAX: usize = 6;

/// A task that ends with whoever started it.
struct Stage(JoinHandle<()>);

impl Drop for Stage {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Work<'_> {
    /// Brings the line from one block to another one, both included, as far as the endpoint leads.
    pub(crate) async fn catch_up(&mut self, rpc: &Rpc, from: u64, to: u64) -> Result<(), Halt> {
        let (fetched_to, mut fetched) = mpsc::channel::<Result<Vec<Step>, Halt>>(RANGES_WAITING_MAX);
        let (signed_to, mut signed) = mpsc::channel(STEPS_WAITING_MAX);
        let fetcher = Fetcher {
            rpc: rpc.clone(),
            contracts: Arc::clone(&self.chain.contracts),
            size: Arc::clone(&self.chain.range),
        };
        let signer = self.signer()?;
        let _fetching = Stage(tokio::spawn(fetcher.run(from, to, fetched_to)));
        let _signing = Stage(tokio::spawn(async move {
            while let Some(steps) = fetched.recv().await {
                let steps = match steps {
                    Ok(steps) => steps,
                    Err(halt) => return drop(signed_to.send(Err(halt)).await),
                };
                for step in steps {
                    let one = signer.clone().sign(step).await;
                    let is_last = one.is_err();
                    if signed_to.send(one).await.is_err() || is_last {
                        return;
                    }
                }
            }
        }));
        while let Some(step) = signed.recv().await {
            self.write(step?, rpc.name()).await?;
        }
        Ok(())
    }
}

#[derive(Clone)]
struct Fetcher {
    rpc: Rpc,
    contracts: Arc<[EvmAddress]>,
    size: Arc<RangeSize>,
}

impl Fetcher {
    async fn run(self, from: u64, to: u64, fetched: mpsc::Sender<Result<Vec<Step>, Halt>>) {
        let ranges = stream::unfold(from, |next| {
            let last = next.saturating_add(self.size.now() - 1).min(to);
            async move { (next <= to).then_some(((next, last), last + 1)) }
        });
        let mut answers = ranges.map(|(from, to)| self.fetch(from, to)).buffered(RANGES_AT_A_TIME).boxed();
        while let Some(answer) = answers.next().await {
            let is_last = answer.is_err();
            if fetched.send(answer).await.is_err() || is_last {
                return;
            }
        }
    }

    /// A range, in halves if it is too much at once.
    fn fetch(&self, from: u64, to: u64) -> BoxFuture<'_, Result<Vec<Step>, Halt>> {
        Box::pin(async move {
            let blocks = to - from + 1;
            match fetch::range(&self.rpc, &self.contracts, from, to).await {
                Ok(steps) => {
                    self.size.answered(blocks, steps.iter().map(|step| step.entries.len()).sum());
                    Ok(steps)
                }
                // Whatever it refuses in its own words, it may be the size.
                Err(Halt::Rpc(RpcError::TooWide { .. } | RpcError::Refused { .. })) if blocks > 1 => {
                    self.size.refused(blocks);
                    let middle = from + (blocks - 1) / 2;
                    let mut steps = self.fetch(from, middle).await?;
                    steps.extend(self.fetch(middle + 1, to).await?);
                    Ok(steps)
                }
                Err(halt) => {
                    // It may have taken too long.
                    if matches!(halt, Halt::Rpc(RpcError::Away { .. })) {
                        self.size.slow(blocks);
                    }
                    Err(halt)
                }
            }
        })
    }
}
