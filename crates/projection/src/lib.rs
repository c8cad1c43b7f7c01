//! Followers of the line that keep rows of their own in its database.
//!
//! A [`Projection`] turns a page of events into [`Effects`]; a [`Projector`] writes them and moves the follower's cursor
//! in one transaction, under a lease, so effects are neither lost nor doubled whatever process dies (invariant 5). It
//! shows how far it lags, tries again what failed, and puts an event aside as a dead letter where that is asked for.
//! [`Leader`] is the loop of the lease alone, for work that is no projection. This crate refuses to know an event type
//! or a table.

mod aside;
mod leader;
mod metrics;
mod projector;

pub use aside::Aside;
pub use leader::{Leader, Term};
pub use projector::{
    Effects, Kind, NotRebuildable, ProjectError, Projection, Projector, RebuildError, Settings, effects,
};
