//! A node: built in order, run, and taken down in the reverse order.
//!
//! It starts and stops; what a subsystem does, and whether it fails, is the subsystem's business.

mod build;
mod chains;
mod error;
mod reactions;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bowline_gateway::Drain;
use bowline_runtime::{MetricsHandle, Shutdown, TaskError, Tasks};
use bowline_store::LineStore;

use self::chains::Chains;
pub use self::error::Error;
use self::reactions::Reactions;
use crate::config::{Role, Roles};
use crate::data::DataFolder;
use crate::disk::DiskWatch;
use crate::process::ProcessMetrics;

/// Between two folds of the histograms' samples.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// What the line's tasks get after the last connection has ended.
const TASKS_GRACE: Duration = Duration::from_secs(4);

/// A node that is ready to run.
#[derive(Debug)]
pub struct Node {
    roles: Roles,
    data: DataFolder,
    store: Arc<dyn LineStore>,
    parts: Parts,
    handle: bowline_line::Handle,
    drain: Drain,
    metrics: MetricsHandle,
    process: ProcessMetrics,
    drain_time: Duration,
}

/// What runs.
#[derive(Debug)]
struct Parts {
    line: bowline_line::Service,
    anchors: bowline_anchor::Service,
    chains: Chains,
    reactions: Reactions,
    disk: DiskWatch,
    gateway: bowline_gateway::Service,
}

impl Node {
    /// Where the gateway listens; a process without that role answers there whether it is well.
    pub fn address(&self) -> SocketAddr {
        self.parts.gateway.address()
    }

    /// What runs in this process.
    pub fn roles(&self) -> Roles {
        self.roles
    }

    /// The line, for whoever runs in the same process.
    pub fn line(&self) -> &bowline_line::Handle {
        &self.handle
    }

    /// Serves until `stop` resolves or a task fails, then drains: the gateway answers what was begun, while what
    /// follows the line and the chains ends its present step; then the line writes what was handed over, then the
    /// store closes.
    ///
    /// # Errors
    /// A task that failed, or connections that did not end in time.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let Parts { line, anchors, chains, reactions, disk, gateway } = self.parts;
        let grace = TASKS_GRACE.max(reactions.grace());
        let (tasks, followers) = (Tasks::new(Shutdown::new()), Tasks::new(Shutdown::new()));
        line.spawn(&tasks);
        tasks.spawn("disk", disk.run(tasks.shutdown().clone()));
        tasks.spawn("metrics", upkeep(self.metrics, self.process, tasks.shutdown().clone()));
        if self.roles.has(Role::Gateway) {
            anchors.spawn(&tasks);
        }
        chains.spawn(self.roles, &followers);
        reactions.spawn(self.roles, &followers);
        let closing = Shutdown::new();
        let gateway = gateway.run(closing.clone(), self.drain_time);
        tokio::pin!(gateway);
        let (line_failed, follower_failed) = (tasks.shutdown().clone(), followers.shutdown().clone());
        let ended = tokio::select! {
            ended = &mut gateway => Some(ended),
            () = stop => None,
            () = line_failed.begun() => None,
            () = follower_failed.begun() => None,
        };
        tracing::info!(component = "node", "Draining");
        self.drain.begin();
        closing.begin();
        followers.shutdown().begin();
        let served = async {
            match ended {
                Some(ended) => ended,
                None => gateway.await,
            }
        };
        let (served, followed) = tokio::join!(served, followers.join(grace));
        tasks.shutdown().begin();
        let joined = tasks.join(TASKS_GRACE).await;
        self.store.close().await;
        drop(self.data);
        joined?;
        followed?;
        served?;
        tracing::info!(component = "node", "Stopped");
        Ok(())
    }
}

async fn upkeep(
    metrics: MetricsHandle,
    process: ProcessMetrics,
    shutdown: Shutdown,
) -> Result<(), TaskError> {
    while !shutdown.has_begun() {
        tokio::select! {
            () = tokio::time::sleep(METRICS_UPKEEP) => {
                metrics.upkeep();
                process.look();
            }
            () = shutdown.begun() => {}
        }
    }
    Ok(())
}
