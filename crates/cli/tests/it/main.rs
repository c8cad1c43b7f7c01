//! The whole node through its public interface: the binary, its HTTP API and its exit codes.
//!
//! A test is an async function of a [`site::Site`], which is an empty folder, on PostgreSQL with an empty
//! database. `on_sqlite!` and `on_both!` make tests of such functions.

// Clippy excuses unwraps in test functions only, and these tests are async functions that a macro calls.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod access;
mod author;
mod automatic;
mod backups;
mod client;
mod clock;
mod commands;
mod crashes;
mod exactly_once;
mod faults;
mod filesystem;
mod follow;
mod full;
mod hostile;
mod isolation;
mod limits;
mod line;
mod load;
mod node;
mod offline;
mod outage;
mod runbook;
mod server;
mod site;
mod stopping;
mod strace;
mod two_nodes;
mod wire;

macro_rules! tests {
    ($engine:ident: $($file:ident { $($name:ident,)* })*) => {
        $($(
            #[test]
            fn $name() {
                crate::site::run(crate::site::Engine::$engine, crate::$file::$name);
            }
        )*)*
    };
}

macro_rules! on_both {
    ($($tests:tt)*) => {
        mod sqlite {
            tests! { Sqlite: $($tests)* }
        }

        mod postgres {
            tests! { Postgres: $($tests)* }
        }
    };
}

on_both! {
    line {
        what_is_ingested_is_read_committed_proven_and_exported,
    }
    exactly_once {
        the_same_again_gets_the_same_receipt,
        of_competitors_with_one_event_one_is_accepted,
    }
    follow {
        readers_get_history_and_then_live_without_a_gap,
    }
    crashes {
        what_was_acknowledged_survives_every_kill,
    }
    limits {
        errors_have_one_shape_and_the_requests_id,
    }
    backups {
        a_backup_made_under_load_is_brought_back_and_goes_on,
        a_bucket_keeps_backups_as_a_folder_does,
    }
}

tests! { Sqlite:
    isolation {
        a_bad_event_never_harms_its_neighbours,
    }
    limits {
        what_is_too_much_is_refused_as_a_whole,
    }
    access {
        no_path_answers_a_stranger,
        the_bootstrap_key_works_in_every_spelling,
        api_keys_stay_within_their_scope,
        tokens_are_taken_for_what_they_say,
        without_authentication_everyone_on_this_machine_may_do_everything,
    }
    runbook {
        a_node_answers_as_the_runbook_says,
    }
    stopping {
        a_stopping_node_answers_what_it_has_begun,
        a_data_folder_has_one_node,
    }
    automatic {
        commitments_appear_where_no_client_makes_them,
    }
    hostile {
        clients_that_stand_still_are_let_go,
        a_reader_that_takes_nothing_is_cut_off_and_counted,
        requests_that_are_no_requests_cost_nobody_anything,
        clients_that_break_off_leave_nothing_behind,
        bodies_that_do_not_come_take_no_memory,
    }
    commands {
        a_person_appends_reads_proves_and_verifies,
        a_tail_prints_what_is_appended,
        settings_and_schemas_are_checked_without_a_node,
        the_demo_catches_a_tampered_copy,
    }
    outage {
        a_node_outlives_its_database,
        clients_that_insist_get_through_every_outage,
    }
    clock {
        a_clock_that_steps_back_turns_nothing_around,
    }
    faults {
        a_disk_that_fails_while_a_node_serves_loses_nothing,
        a_disk_that_fails_while_a_node_starts_loses_nothing,
        a_commit_of_unknown_outcome_is_settled_by_sending_it_again,
        a_disk_that_goes_on_failing_is_told_until_it_is_well,
    }
    full {
        a_nearly_full_disk_stops_the_line_and_nothing_else,
        a_full_disk_harms_nothing,
        a_full_disk_of_the_database_is_told_and_outlived,
    }
}

tests! { Postgres:
    two_nodes {
        two_nodes_write_one_stream,
    }
    backups {
        a_damaged_store_is_told_by_its_exit_code,
    }
}
