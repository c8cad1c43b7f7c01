//! Rules over the line, and what they set off.
//!
//! `rules` says what a trigger may be and when it holds; `matching` follows the line and writes jobs; `delivery` carries
//! them out. They meet in the store and nowhere else: each may run in a process of its own. `routes` offers them over HTTP.

mod actions;
mod chapters;
pub mod checks;
mod config;
mod delivery;
mod error;
mod given_up;
mod handle;
mod input;
mod matching;
mod metrics;
mod problem;
pub mod routes;
mod rules;
mod service;

pub use actions::{ActionOwner, ActionRules, SealedConfig};
pub use chapters::TriggerChapters;
pub use config::{Config, MatchingConfig};
pub use delivery::{
    ArrivedWebhook, Deliveries, DeliveryConfig, DeliveryDependencies, OrganizationAllow, TestAttempt,
    TestSend, mask_secrets, new_signing_secret,
};
pub use error::TriggerError;
pub use handle::{
    Backtest, BacktestQuery, Bucket, Compared, ConditionExplanation, EventRef, EventSummary, Explanation,
    Fired, Handle, Remembered, Rule, ScopeCheck, TriggerList,
};
pub use input::{ActionInput, BreakerInput, ConditionInput, TriggerChanges, TriggerInput, TriggerView};
pub use problem::FieldProblem;
pub use rules::{Held, TriggerIndex};
pub use service::{Dependencies, Service};
