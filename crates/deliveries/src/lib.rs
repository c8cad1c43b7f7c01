//! Delivers jobs to receivers: webhooks, Telegram messages, calls of MCP tools.
//!
//! A job is a row until it has ended, so no process that dies loses one, and its id goes with every attempt, so that a
//! receiver recognises a repetition. Jobs have owners (triggers, and whatever else sends), which this crate knows only
//! through [`JobOwners`]. It refuses to know what an event means, and to send anywhere but to public addresses and those
//! that the operator allows.

mod actions;
mod breakers;
mod channels;
mod chapters;
pub mod checks;
mod config;
mod error;
mod give_up;
mod guard;
mod metrics;
mod outcome;
mod owners;
mod problem;
mod redis;
mod retry;
mod service;
mod test_send;
mod workers;

pub use actions::{ActionRules, ActionScope, SealedConfig, TemplateNames, mask_secrets};
pub use channels::{ArrivedWebhook, new_signing_secret};
pub use chapters::DeliveryChapters;
pub use config::{Config, OrganizationAllow};
pub use error::{DeliveryError, MissingPart};
pub use give_up::{GiveUpReason, GiveUpTally};
pub use owners::{JobOwner, JobOwners, OwnerChanges, OwnerKind, OwnerRecord};
pub use problem::FieldProblem;
pub use redis::{
    BuriedJob, QueueError, QueueWaiter, RedisConfig, RedisDepth, RedisQueue, RelayError, Relayed, relay_once,
};
pub use service::{Deliveries, Dependencies};
pub use test_send::{TestAttempt, TestSend};
