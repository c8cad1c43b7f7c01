//! What the node's crate does with whole stores, on both engines: auditing them, backing them up, bringing them
//! back.
//!
//! A test is an async function of a [`place::Engine`]; `on_both!` makes `sqlite::name` and `postgres::name` of it.

// Clippy excuses unwraps in test functions only, and these tests are async functions that a macro calls.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod audit;
mod backups;
mod place;
mod upgrades;

macro_rules! tests {
    ($engine:ident: $($file:ident { $($name:ident,)* })*) => {
        $($(
            #[test]
            fn $name() {
                crate::place::run(crate::$file::$name(crate::place::Engine::$engine));
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
    audit {
        every_fault_is_found_and_nothing_else,
        an_audit_keeps_to_its_stream_and_to_its_haste,
        marks_and_the_sends_that_gave_them_must_agree,
    }
    backups {
        what_was_backed_up_is_brought_back_and_goes_on,
        a_restore_ended_anywhere_leaves_the_old_store_or_the_new,
        what_is_damaged_is_named_and_not_brought_back,
        a_store_with_faults_is_not_brought_back,
        a_store_in_use_is_left_alone,
        keys_go_along_only_when_asked_and_replace_none,
        the_newest_stay_and_what_was_not_finished_goes,
        a_backup_of_an_old_schema_is_migrated_on_its_way,
    }
    upgrades {
        a_former_builds_store_is_taken_over_whole,
    }
}
