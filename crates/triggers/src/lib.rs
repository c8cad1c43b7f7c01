//! Triggers: rules over the line's events, and the jobs that follow from them.
//!
//! `rules` says what a trigger may be and when it holds; `matching` follows the line and writes jobs, which
//! `bowline-deliveries` delivers. They meet in the store and nowhere else: each may run in a process of its own. `routes`
//! offers them over HTTP.

mod chapters;
pub mod checks;
mod config;
mod error;
mod handle;
mod input;
mod matching;
mod metrics;
mod owners;
pub mod routes;
mod rules;
mod service;
mod template_names;

pub use bowline_deliveries::{Deliveries, FieldProblem, TestSend};
pub use chapters::TriggerChapters;
pub use config::{Config, MatchingConfig};
pub use error::{Missing, TriggerError};
pub use handle::{
    Backtest, BacktestQuery, Bucket, Compared, ConditionExplanation, ConditionState, EventRef, EventSummary,
    Explanation, Fired, Handle, Rule, ScopeCheck, TriggerList,
};
pub use input::{ActionInput, BreakerInput, ConditionInput, TriggerChanges, TriggerInput, TriggerView};
pub use owners::{TRIGGER, TriggerOwners, trigger_owner};
pub use rules::{IndexLookup, TriggerIndex};
pub use service::{Dependencies, Service};
