//! The conformance suite of projections, on both engines.
//!
//! The projection here ("tally") counts the events of each stream in a table of its own. A crash is a run that is aborted;
//! what must hold after it is read from the table and the cursor, which are one transaction.

// Clippy excuses unwraps in test functions only, and these tests are async functions that a macro calls.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod leader;
mod projecting;
mod tally;

bowline_conformance::conformance! {
    crate::tally::schema();
    leader {
        of_two_processes_one_leads_and_the_other_takes_over,
        work_that_ends_gives_others_a_turn,
    }
    projecting {
        effects_and_cursor_are_one_transaction,
        a_failing_stream_does_not_hold_up_another,
        poison_waits_unless_it_is_to_be_put_aside,
        a_letter_that_is_retried_is_projected_then,
        who_lost_the_lease_writes_nothing,
        a_step_from_elsewhere_changes_nothing,
        a_rebuild_reads_the_line_anew,
        what_is_original_is_not_rebuilt,
        many_streams_take_turns,
        a_gap_is_an_error_and_the_cursor_stays,
    }
}
