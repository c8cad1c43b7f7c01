//! Writes what became of jobs, many at a time: what ends while one group is written makes the next.
//!
//! A report stays in memory until it is durable. If the process dies before, the job is delivered once more under the
//! same id, which is what ids are for.

use std::sync::Arc;
use std::time::Duration;

use bowline_store::StoreError;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Shared;
use super::breakers::Breakers;
use super::conclusion::Done;
use super::in_hand::InHand;

/// Reports of one transaction at most.
const GROUP_MAX: usize = 256;

/// How long the first report of a group waits for others.
const GATHER: Duration = Duration::from_millis(5);

/// Reports that wait at most; then deliveries do.
pub(crate) const WAITING_MAX: usize = 1_024;

/// Between two tries at a store that is away.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Writes reports.
#[derive(Debug)]
pub(crate) struct Reports {
    pub(crate) shared: Arc<Shared>,
    pub(crate) breakers: Arc<Breakers>,
    pub(crate) in_hand: Arc<InHand>,
}

impl Reports {
    /// Writes until whoever delivers is gone and everything is written.
    pub(crate) async fn run(self, mut waiting: mpsc::Receiver<Done>) {
        let mut group = Vec::with_capacity(GROUP_MAX);
        while waiting.recv_many(&mut group, GROUP_MAX).await > 0 {
            let until = Instant::now() + GATHER;
            while group.len() < GROUP_MAX {
                let room = GROUP_MAX - group.len();
                match tokio::time::timeout_at(until, waiting.recv_many(&mut group, room)).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
            }
            self.write(std::mem::take(&mut group)).await;
        }
    }

    async fn write(&self, group: Vec<Done>) {
        let claims: Vec<_> = group.iter().map(|done| (done.report.job_id, done.report.claim)).collect();
        let reports: Vec<_> = group.iter().map(|done| done.report.clone()).collect();
        let counted = self.insist(reports).await;
        for (job_id, claim) in claims {
            self.in_hand.release(job_id, claim);
        }
        let mut breakers = Vec::new();
        let mut buried = Vec::new();
        for done in group {
            if counted.contains(&done.report.job_id) {
                buried.extend(done.buried);
            }
            breakers.extend(done.breakers);
        }
        if let Err(error) = self.breakers.tell(breakers).await {
            tracing::warn!(component = "triggers", %error, "Circuit breakers can't be told of deliveries");
        }
        if let Some(queue) = &self.shared.queue
            && !buried.is_empty()
            && let Err(error) = queue.bury(&buried).await
            && !error.is_known_absence()
        {
            tracing::warn!(component = "triggers", %error, "Dead letters can't be shown in Redis");
        }
    }

    /// Writes reports, however long it takes: forgetting one would deliver its job again.
    async fn insist(&self, reports: Vec<bowline_store::JobReport>) -> Vec<uuid::Uuid> {
        let mut pause = Duration::from_millis(50);
        loop {
            let error = match self.shared.store.report_jobs(reports.clone(), self.shared.clock.now()).await {
                Ok(counted) => return counted,
                Err(error) => error,
            };
            log_trouble(&error);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

fn log_trouble(error: &StoreError) {
    tracing::warn!(component = "triggers", %error, "Reports of deliveries can't be written, retrying");
}
