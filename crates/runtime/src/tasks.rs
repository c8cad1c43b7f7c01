//! Supervised background tasks and the one shutdown signal that ends them.
//!
//! A task here runs as long as the process. One that ends early, by an error or a panic, would leave the
//! node half alive, so its end shuts the whole node down with the task's name as the reason. Work that
//! may fail is retried inside of its task, never by starting the task anew.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Tells everyone that the node is to stop; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// A signal that nobody has given yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the signal; giving it twice changes nothing.
    pub fn begin(&self) {
        self.0.cancel();
    }

    /// Whether the signal was given.
    pub fn has_begun(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Resolves once the signal is given.
    pub async fn begun(&self) {
        self.0.cancelled().await;
    }
}

/// A supervised task that ended before the shutdown did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {task} task ended unexpectedly: {cause}")]
pub struct TaskError {
    /// The task's name.
    pub task: &'static str,
    /// Its error, or the message of its panic.
    pub cause: String,
}

/// The node's tasks; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    shutdown: Shutdown,
    failed: Arc<Mutex<Option<TaskError>>>,
}

impl Tasks {
    /// No tasks yet; a failing one will begin `shutdown`.
    pub fn new(shutdown: Shutdown) -> Self {
        Self { tracker: TaskTracker::new(), shutdown, failed: Arc::default() }
    }

    /// The signal that these tasks obey.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Runs `work` until it returns; it must watch the shutdown signal itself.
    pub fn spawn<F, E>(&self, task: &'static str, work: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        let tasks = self.clone();
        let running = self.tracker.spawn(work);
        self.tracker.spawn(async move {
            let cause = match running.await {
                Ok(Ok(())) if tasks.shutdown.has_begun() => return,
                Ok(Ok(())) => "it returned".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            let failure = TaskError { task, cause };
            tracing::error!(component = "runtime", task, error = %failure, "Task failed, node stops");
            tasks.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
            tasks.shutdown.begin();
        });
    }

    /// Waits until every task has ended, `grace` at most.
    ///
    /// # Errors
    /// The first task that failed, or the time running out.
    pub async fn join(self, grace: Duration) -> Result<(), TaskError> {
        self.tracker.close();
        let ended = tokio::time::timeout(grace, self.tracker.wait()).await;
        if let Some(failure) = self.failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(failure);
        }
        ended.map_err(|_| TaskError {
            task: "drain",
            cause: format!("{} tasks still ran after {} s", self.tracker.len(), grace.as_secs()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panicking_task_stops_the_node_and_is_named() {
        let tasks = Tasks::new(Shutdown::new());
        tasks.spawn("doomed", async { if true { panic!("by design") } else { Ok::<_, TaskError>(()) } });
        tasks.shutdown().begun().await;
        let failure = tasks.join(Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(failure.task, "doomed");
    }

    #[tokio::test]
    async fn tasks_that_obey_the_signal_end_cleanly() {
        let tasks = Tasks::new(Shutdown::new());
        let signal = tasks.shutdown().clone();
        tasks.spawn("obedient", async move {
            signal.begun().await;
            Ok::<_, TaskError>(())
        });
        tasks.shutdown().begin();
        assert_eq!(tasks.join(Duration::from_secs(5)).await, Ok(()));
    }
}
