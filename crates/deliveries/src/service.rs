//! Puts deliveries together: what they take, and which tasks a process with workers runs.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bowline_runtime::{Clock, Tasks};
use bowline_store::LineStore;

use crate::actions::Actions;
use crate::{ActionRules, Config, JobOwners, OwnerKind, RedisQueue, metrics, workers};

/// What deliveries need.
#[derive(Clone)]
pub struct Dependencies {
    /// Where jobs are.
    pub store: Arc<dyn LineStore>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Hands jobs to workers faster than the store does, if there is one.
    pub queue: Option<RedisQueue>,
    /// Whose jobs are delivered: one entry a kind of owners.
    pub owners: Vec<Arc<dyn JobOwners>>,
    /// The key that encrypts the secrets of actions; the same in all processes of a store.
    pub secrets_key: [u8; 32],
    /// This process's name, as operators see it beside its attempts.
    pub instance: String,
}

impl fmt::Debug for Dependencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dependencies").field("instance", &self.instance).finish_non_exhaustive()
    }
}

/// What workers, upkeep and test sends of a process share.
#[derive(Debug)]
pub(crate) struct DeliveryContext {
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn LineStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) queue: Option<RedisQueue>,
    pub(crate) owners: HashMap<OwnerKind, Arc<dyn JobOwners>>,
    pub(crate) instance: String,
    pub(crate) actions: Arc<Actions>,
}

/// Deliveries; cheap to clone.
#[derive(Debug, Clone)]
pub struct Deliveries(pub(crate) Arc<DeliveryContext>);

impl Deliveries {
    /// Puts them together; no task runs and no connection opens yet.
    ///
    /// # Errors
    /// A setting that can't be taken, or two entries for one kind of owners.
    pub fn build(config: &Config, dependencies: Dependencies) -> Result<Self, String> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(problems.join("; "));
        }
        metrics::declare();
        let Dependencies { store, clock, queue, owners: given, secrets_key, instance } = dependencies;
        let mut owners = HashMap::new();
        for of_kind in given {
            let kind = of_kind.kind();
            if owners.insert(kind, of_kind).is_some() {
                return Err(format!("two parts of this node own jobs of the kind {kind}"));
            }
        }
        let actions = Arc::new(Actions::new(config, &secrets_key, &store, &clock)?);
        let config = config.clone();
        Ok(Self(Arc::new(DeliveryContext { config, store, clock, queue, owners, instance, actions })))
    }

    /// The rules of actions, for subsystems whose users write actions.
    pub fn actions(&self) -> Arc<dyn ActionRules> {
        Arc::clone(&self.0.actions) as Arc<dyn ActionRules>
    }

    /// Starts the workers. Any number of processes may run them on one store.
    pub fn spawn_workers(&self, tasks: &Tasks) {
        workers::spawn(&self.0, tasks);
    }
}
