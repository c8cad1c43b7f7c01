//! Triggers on real stores: how they are made, matched, tried out and explained.
//!
//! A test is an async function of a [`support::TestStore`]; `on_both!` makes `sqlite::name` and `postgres::name` of it.

// Clippy excuses unwraps in test functions only, and these tests are async functions that a macro calls.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod events;
mod handle;
mod matching;
mod support;
mod trials;

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

macro_rules! on_both {
    ($($tests:tt)*) => {
        mod sqlite {
            on! { Sqlite: $($tests)* }
        }

        mod postgres {
            on! { Postgres: $($tests)* }
        }
    };
}

on_both! {
    handle {
        a_trigger_is_made_changed_and_deleted,
        what_cannot_be_taken_is_named,
        a_priority_from_before_there_was_a_range_counts_as_its_end,
        conditions_and_actions_keep_their_ids,
    }
    matching {
        of_two_services_none_loses_and_none_doubles,
        what_the_chain_takes_back_is_reversed,
        a_full_queue_holds_matching_up,
        an_organization_whose_jobs_are_barred_holds_up_no_other,
        what_cannot_be_matched_is_set_aside,
        events_from_before_a_trigger_do_not_fire,
        what_no_wake_up_told_is_found,
        an_organization_matches_its_own_stream,
        many_matches_of_one_event_are_all_written,
    }
    trials {
        a_dry_run_says_why,
        a_back_test_finds_every_time,
    }
}

mod locked {
    on! { Postgres:
        matching {
            no_event_is_blamed_for_a_store_that_is_slow,
        }
    }
}
