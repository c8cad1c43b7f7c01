//! Carries out what triggers set off: webhooks, Telegram messages, calls of MCP tools.
//!
//! A job is in the store until it has ended, so nothing is lost with a process, and its id goes with every attempt,
//! so that a receiver may tell a repetition. What a user wrote decides where a delivery goes: it only ever goes to
//! public addresses, and what the chain wrote is never more than data in it. This part refuses to know what an event
//! means, and to keep anything that could not be lost.

mod action;
mod actions;
mod address;
mod addresses;
mod bench;
mod breakers;
mod catalog;
mod conclusion;
mod config;
mod escape;
mod feed;
mod in_hand;
mod mcp;
mod metrics;
mod outcome;
mod pace;
mod reading;
mod reports;
mod rest;
mod retry;
mod secrets;
mod signature;
mod telegram;
mod template;
mod trial;
mod upkeep;
mod vault;
mod ways;
mod web;
mod workers;

use std::sync::Arc;

use bowline_runtime::{Clock, Tasks};
use bowline_store::{LineStore, RedisQueue};

pub use self::config::{DeliveryConfig, OrganizationAllow};
pub use self::secrets::mask_secrets;
pub use self::signature::{ArrivedWebhook, new_signing_secret};
pub use self::trial::{TestAttempt, TestSend};
use crate::ActionRules;
use actions::Actions;

/// What deliveries need.
#[derive(Clone)]
pub struct DeliveryDependencies {
    /// Where jobs are.
    pub store: Arc<dyn LineStore>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What hands jobs out faster than the store does, if there is one.
    pub queue: Option<RedisQueue>,
    /// What secrets of actions are encrypted with; the same in all processes of a store.
    pub secrets_key: [u8; 32],
    /// This process's name, as operators see it beside what it has delivered.
    pub instance: String,
}

impl std::fmt::Debug for DeliveryDependencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeliveryDependencies").field("instance", &self.instance).finish_non_exhaustive()
    }
}

/// What the workers and everybody else who delivers share.
#[derive(Debug)]
struct Shared {
    config: DeliveryConfig,
    store: Arc<dyn LineStore>,
    clock: Arc<dyn Clock>,
    queue: Option<RedisQueue>,
    instance: String,
    actions: Arc<Actions>,
}

/// Deliveries; cheap to clone.
#[derive(Debug, Clone)]
pub struct Deliveries(Arc<Shared>);

impl Deliveries {
    /// Puts it together; nothing runs yet, and nothing is asked of anybody.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn build(config: &DeliveryConfig, dependencies: DeliveryDependencies) -> Result<Self, String> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(problems.join("; "));
        }
        metrics::declare();
        let DeliveryDependencies { store, clock, queue, secrets_key, instance } = dependencies;
        let actions = Arc::new(Actions::new(config, &secrets_key, &store, &clock)?);
        Ok(Self(Arc::new(Shared { config: config.clone(), store, clock, queue, instance, actions })))
    }

    /// The kinds of actions, for whoever makes triggers.
    pub fn actions(&self) -> Arc<dyn ActionRules> {
        Arc::clone(&self.0.actions) as Arc<dyn ActionRules>
    }

    /// Starts to deliver. Any number of processes may.
    pub fn spawn_workers(&self, tasks: &Tasks) {
        workers::spawn(&self.0, tasks);
    }
}
