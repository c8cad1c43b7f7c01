//! Writes the conclusions of jobs in groups: those that arrive while one group is written make the next.
//!
//! A report stays in memory until it is durable. If the process dies before, the job is delivered again under the same id,
//! by which its receiver recognises the repetition.

use std::sync::Arc;
use std::time::Duration;

use bowline_store::StoreError;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::claims::HeldClaims;
use super::conclusion::Conclusion;
use crate::breakers::Breakers;
use crate::service::DeliveryContext;

/// Reports of one transaction at most.
const GROUP_MAX: usize = 256;

/// How long the first report of a group waits for others.
const GATHER: Duration = Duration::from_millis(5);

/// Conclusions that wait at most; beyond that deliveries wait.
pub(crate) const WAITING_MAX: usize = 1_024;

/// The longest pause between two tries at a store that does not answer.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Writes reports; one a process.
#[derive(Debug)]
pub(crate) struct ReportWriter {
    pub(crate) context: Arc<DeliveryContext>,
    pub(crate) breakers: Arc<Breakers>,
    pub(crate) held_claims: Arc<HeldClaims>,
}

impl ReportWriter {
    /// Writes until no sender is left and every conclusion is written.
    pub(crate) async fn run(self, mut waiting: mpsc::Receiver<Conclusion>) {
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

    async fn write(&self, group: Vec<Conclusion>) {
        let claims: Vec<_> =
            group.iter().map(|conclusion| (conclusion.report.job_id, conclusion.report.claim)).collect();
        let reports: Vec<_> = group.iter().map(|conclusion| conclusion.report.clone()).collect();
        let counted = self.insist(reports).await;
        for (job_id, claim) in claims {
            self.held_claims.release(job_id, claim);
        }
        let mut breakers = Vec::new();
        let mut buried = Vec::new();
        for conclusion in group {
            if counted.contains(&conclusion.report.job_id) {
                buried.extend(conclusion.buried);
            }
            breakers.extend(conclusion.breakers);
        }
        if let Err(error) = self.breakers.write(breakers).await {
            tracing::warn!(component = "triggers", %error, "Circuit breakers can't be told of deliveries");
        }
        if let Some(queue) = &self.context.queue
            && !buried.is_empty()
            && let Err(error) = queue.bury(&buried).await
            && !error.is_known_absence()
        {
            tracing::warn!(component = "triggers", %error, "Dead letters can't be shown in Redis");
        }
    }

    /// Writes reports, however long it takes: a report that is dropped delivers its job again.
    async fn insist(&self, reports: Vec<bowline_store::JobReport>) -> Vec<uuid::Uuid> {
        let mut pause = Duration::from_millis(50);
        loop {
            let error = match self.context.store.report_jobs(reports.clone(), self.context.clock.now()).await
            {
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
