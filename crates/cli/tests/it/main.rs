//! The whole node through its public interface: the binary, its HTTP API and its exit codes.
//!
//! A test is an async function of a [`site::Site`], which is an empty folder, on PostgreSQL with an empty
//! database. `on_sqlite!` and `on_both!` make tests of such functions.

// Clippy excuses unwraps in test functions only, and these tests are async functions that a macro calls.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod access;
mod admin;
mod anchor_crashes;
mod anchor_doctor;
mod anchors;
mod api_key_life;
mod author;
mod automatic;
mod backups;
mod chain;
mod client;
mod clock;
mod commands;
mod corrections;
mod crashes;
mod demo_anchor;
mod demo_triggers;
mod deploy_contract;
mod doctor;
mod evm;
mod exactly_once;
mod explain;
mod faults;
mod filesystem;
mod follow;
mod full;
mod hostile;
mod isolation;
mod key_commands;
mod key_life;
mod letters;
mod limits;
mod line;
mod load;
mod node;
mod offline;
mod operations;
mod outage;
mod procedures;
mod rate_limits;
mod receiver;
mod redis;
mod registry;
mod roles;
mod runbook;
mod schemas;
mod server;
mod site;
mod stopping;
mod strace;
mod triggers_api;
mod triggers_chain;
mod triggers_crashes;
mod triggers_delivery;
mod triggers_queue;
mod triggers_reorgs;
mod two_nodes;
mod verify_anchor;
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
    key_life {
        after_a_revocation_nothing_of_the_key_is_taken,
        a_client_goes_on_sending_through_a_rotation,
    }
    rate_limits {
        what_exceeds_a_limit_is_told_and_appends_nothing,
    }
    schemas {
        versions_follow_each_other_and_are_found,
        a_payload_that_breaks_its_schema_is_rejected_alone,
    }
    letters {
        what_was_not_taken_is_mended_and_retried,
    }
    corrections {
        a_damaged_commitment_is_found_and_corrected,
    }
    doctor {
        what_was_changed_past_the_line_is_found,
    }
    explain {
        an_events_life_is_told_and_checked,
    }
    admin {
        the_tool_works_on_the_database_itself,
    }
    roles {
        any_role_may_be_left_out,
        health_tells_of_the_database_and_of_redis,
    }
    triggers_api {
        triggers_are_made_changed_and_deleted,
        what_is_wrong_with_a_trigger_is_named,
        a_person_makes_and_tries_a_trigger,
    }
    triggers_chain {
        every_address_tells_how_far_a_chain_is,
        a_chains_events_are_proven_like_any_others,
        a_person_finds_out_when_a_trigger_would_have_fired,
    }
    triggers_delivery {
        an_event_is_delivered_and_told_of,
    }
    triggers_crashes {
        a_node_with_all_roles_is_killed_and_loses_and_doubles_nothing,
    }
    triggers_reorgs {
        what_the_chain_takes_back_is_taken_back_and_what_comes_again_is_not_doubled,
    }
    triggers_queue {
        a_deep_queue_holds_matching_and_loses_nothing,
    }
    procedures {
        every_block_of_the_runbook_runs,
        every_block_of_the_anchors_page_runs,
        every_block_of_the_triggers_page_runs,
    }
    anchor_doctor {
        the_doctor_names_what_is_in_the_way_of_anchors,
    }
    anchors {
        anchoring_fails_and_recovers_as_the_runbook_says,
        a_service_elsewhere_anchors_and_reports,
        the_admin_tool_anchors_on_the_database,
    }
    anchor_crashes {
        a_node_that_is_killed_while_it_anchors_loses_and_doubles_nothing,
    }
    backups {
        a_backup_made_under_load_is_brought_back_and_goes_on,
        a_bucket_keeps_backups_as_a_folder_does,
    }
}

tests! { Sqlite:
    operations {
        alerts_fire_when_they_should_and_only_then,
        alerts_and_dashboards_ask_for_what_is_measured,
        what_alerts_count_is_there_at_zero,
        what_alerts_say_to_type_exists,
        the_compose_file_starts_what_there_is,
        the_units_start_what_there_is,
    }
    roles {
        an_embedded_database_belongs_to_one_process,
        logs_are_json_lines_with_small_levels,
    }
    anchors {
        a_person_sees_and_mends_anchors,
        anchors_go_to_another_contract_when_told,
        administrators_anchor_their_own_streams_alone,
    }
    isolation {
        a_bad_event_never_harms_its_neighbours,
    }
    limits {
        what_is_too_much_is_refused_as_a_whole,
    }
    access {
        no_path_answers_a_stranger,
        no_path_of_another_listener_answers_a_stranger,
        the_bootstrap_key_works_in_every_spelling,
        api_keys_stay_within_their_scope,
        tokens_are_taken_for_what_they_say,
        without_authentication_everyone_on_this_machine_may_do_everything,
    }
    key_life {
        a_key_is_registered_with_proof_that_it_is_there,
        an_event_that_was_made_in_time_may_come_a_little_late,
    }
    api_key_life {
        an_api_key_is_listed_expires_and_is_revoked,
        administrators_come_from_where_they_may,
    }
    key_commands {
        a_person_rotates_and_revokes_keys,
        the_spellings_of_the_admin_tool_are_understood,
        a_person_makes_and_revokes_api_keys,
    }
    runbook {
        a_node_answers_as_the_runbook_says,
        its_details_are_real,
    }
    doctor {
        checks_are_listed_and_a_node_that_is_away_is_said_to_be,
        an_absent_database_is_named,
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
    deploy_contract {
        a_contract_is_put_on_a_chain,
        nothing_is_sent_where_something_is_wrong,
        a_transaction_that_no_block_takes_is_named,
    }
    verify_anchor {
        an_export_is_held_against_the_chain,
        another_history_of_a_stream_is_a_no,
        corrections_are_held_against_the_chain,
        a_contract_of_the_originals_kind_is_asked_too,
    }
    demo_triggers {
        the_demo_shows_the_way_from_a_log_to_a_webhook,
        what_the_demo_says_to_type_works,
        the_triggers_demo_says_what_chain_it_wants,
    }
    triggers_api {
        secrets_stay_with_whoever_wrote_them,
        an_organization_reaches_its_own_receivers_alone,
        so_many_back_tests_run_and_the_next_one_is_told_when,
    }
    triggers_chain {
        deliveries_fail_are_repeated_and_forgotten,
    }
    demo_anchor {
        the_demo_starts_a_chain_and_ends_it,
        the_demo_uses_a_chain_that_is_there,
        the_demo_says_what_chain_it_wants,
    }
    schemas {
        each_mode_does_what_it_says,
        hostile_schemas_are_refused_and_reach_nothing,
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
    roles {
        each_role_runs_in_a_process_of_its_own,
        gateways_alone_commit_by_themselves,
        an_exhausted_pool_is_told_and_answered,
    }
    triggers_delivery {
        processes_of_their_own_deliver_through_redis,
        a_worker_with_another_key_says_so_and_goes_on,
    }
    triggers_crashes {
        two_of_every_process_are_killed_and_lose_and_double_nothing,
    }
    two_nodes {
        two_nodes_write_one_stream,
    }
    anchor_crashes {
        of_two_nodes_one_anchors_and_the_other_takes_over,
    }
    key_life {
        a_revocation_at_one_node_counts_at_the_other,
    }
    api_key_life {
        a_key_that_is_revoked_at_one_node_dies_at_the_other,
    }
    rate_limits {
        two_nodes_share_one_limit,
    }
    schemas {
        another_node_hears_of_a_schema,
    }
    doctor {
        who_holds_the_counters_is_named_and_ended_by_the_fix,
    }
    backups {
        a_damaged_store_is_told_by_its_exit_code,
    }
}
