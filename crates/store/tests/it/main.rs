//! The conformance suite: every sentence of `LineStore`'s contract, on both stores.
//!
//! A test is an async function of a [`support::Place`], which is an empty SQLite folder or an empty
//! PostgreSQL database; `conformance!` makes `sqlite::name` and `postgres::name` of it. What only one of
//! the stores can show stands in `embedded` and in `outages` and `runbook`.

// Clippy excuses unwraps in test functions only, and these tests are async functions that a macro calls.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod append;
mod commitments;
mod diagnostics;
mod embedded;
mod events;
mod keys;
mod lifecycle;
mod model;
mod outages;
mod races;
mod reading;
mod runbook;
mod support;

macro_rules! on {
    ($engine:ident: $($file:ident { $($name:ident,)* })*) => {
        $($(
            #[test]
            fn $name() {
                crate::support::run(crate::support::Engine::$engine, crate::$file::$name);
            }
        )*)*
    };
}

macro_rules! conformance {
    ($($tests:tt)*) => {
        mod sqlite {
            on! { Sqlite: $($tests)* }
        }

        mod postgres {
            on! { Postgres: $($tests)* }
        }
    };
}

conformance! {
    append {
        numbers_are_dense_from_one_and_receipts_prove_them,
        what_was_signed_is_what_is_stored,
        a_replay_gets_the_first_receipt_for_ever,
        another_event_under_a_known_id_is_a_duplicate,
        a_command_is_taken_once_in_a_stream,
        a_base_version_is_checked_against_the_entity,
        a_rejected_event_leaves_no_trace,
        a_batch_may_name_several_streams,
        time_never_goes_back_in_a_stream,
    }
    diagnostics {
        facts_are_those_of_the_rows,
        what_was_changed_past_the_line_is_seen,
    }
    commitments {
        commitments_chain_and_a_late_one_is_superseded,
        commitments_are_found_by_id_number_and_page,
        a_commitment_of_events_that_are_not_there_is_refused,
        of_two_commitments_at_a_time_one_wins,
    }
    keys {
        an_agent_key_id_is_bound_to_one_key,
        agent_keys_are_listed_oldest_first,
        of_two_keys_registered_at_a_time_one_wins,
        an_api_key_is_kept_and_replaced_whole,
        words_that_this_binary_does_not_know_grant_nothing,
        a_sequencer_key_keeps_its_version,
        a_cursor_never_goes_back,
    }
    lifecycle {
        everything_is_there_after_reopening,
        migrations_are_applied_once,
        a_newer_schema_is_refused,
        an_old_schema_is_only_migrated_with_leave,
        a_closed_store_is_unavailable,
        closing_finishes_what_is_under_way,
    }
    races {
        concurrent_appends_are_dense_and_lose_nothing,
        new_streams_are_created_by_several_at_a_time,
        of_raced_replays_one_is_accepted,
        a_dropped_append_is_whole_or_absent,
        an_append_wakes_who_waits,
    }
    reading {
        pages_hold_every_matching_event_once,
        a_page_ends_at_its_bytes,
        an_event_is_found_by_its_id_in_its_stream,
        heads_tell_how_far_streams_are,
        leaves_are_those_of_the_events,
    }
}
