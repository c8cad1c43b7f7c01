//! Puts the triggers together: their dependencies, and the tasks that a process may run.

use std::sync::Arc;

use bowline_deliveries::ActionRules;
use bowline_runtime::{Clock, Tasks};
use bowline_store::LineStore;

use crate::{Config, Handle, matching};

/// What triggers need.
#[derive(Debug, Clone)]
pub struct Dependencies {
    /// Where triggers, events and jobs are.
    pub store: Arc<dyn LineStore>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The rules of actions.
    pub actions: Arc<dyn ActionRules>,
    /// This process's name, as operators see it beside the events that it matched.
    pub instance: String,
}

/// The triggers of a store, not yet running.
#[derive(Debug)]
pub struct Service {
    config: Config,
    dependencies: Dependencies,
}

impl Service {
    /// Puts it together; nothing runs yet.
    ///
    /// # Errors
    /// Settings that can't be taken.
    pub fn build(config: &Config, dependencies: Dependencies) -> Result<(Self, Handle), String> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(problems.join("; "));
        }
        crate::metrics::declare();
        let handle = Handle::new(config.clone(), dependencies.clone());
        Ok((Self { config: config.clone(), dependencies }, handle))
    }

    /// Starts to match events: chains share themselves out among the processes that do.
    pub fn spawn_matching(&self, tasks: &Tasks) {
        let matcher = matching::Matcher::new(&self.config.matching, &self.dependencies);
        tasks.spawn("triggers", matcher.run(tasks.shutdown().clone()));
    }
}
