//! Anchors against a real EVM node: every test has a chain of its own.

// Clippy excuses unwraps in test functions only, and much of this stands in functions that tests share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod abi;
mod anvil;
mod contract;
mod corrections;
mod endpoints;
mod faults;
mod gas;
mod original;
mod ownership;
mod proxy;
mod rig;
mod service;
mod steps;
mod support;
mod tables;

bowline_conformance::conformance! {
    bowline_store::Schema::default();
    tables {
        a_send_goes_from_open_to_anchored,
        a_commitment_is_held_once_or_nothing_is_written,
        what_is_void_is_pending_again,
        marks_that_the_chain_has_lost_are_taken_away,
        another_target_has_marks_of_its_own,
        a_blocked_stream_is_set_aside_until_somebody_looks,
        somebody_elses_anchor_is_recorded_once,
        what_waits_keeps_the_order_of_its_chain,
        a_thousand_commitments_are_paged_and_anchored,
        every_process_hears_that_there_is_something_to_anchor,
        a_report_and_a_send_at_a_time_exclude_each_other,
        every_write_looks_at_its_lease,
    }
}
