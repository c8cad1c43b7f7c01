//! The metrics of followers.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

pub(crate) const LAG: &str = "bowline_follower_lag_events";
pub(crate) const ERRORS: &str = "bowline_follower_errors_total";

/// Makes a follower's metrics known, at 0.
pub(crate) fn declare(follower: &'static str) {
    describe_gauge!(LAG, Unit::Count, "Events between a follower's cursors and the heads, by follower");
    describe_counter!(ERRORS, Unit::Count, "Pages that a follower failed on and will retry, by follower");
    counter!(ERRORS, "follower" => follower).absolute(0);
    gauge!(LAG, "follower" => follower).set(0.0);
}
