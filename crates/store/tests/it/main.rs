//! The conformance suite: every sentence of `LineStore`'s contract, on both stores.
//!
//! A test is an async function of a [`bowline_conformance::Place`], which is an empty SQLite folder or an empty
//! PostgreSQL database; `conformance!` makes `sqlite::name` and `postgres::name` of it. What only one of
//! the stores can show stands in `embedded` and in `outages` and `runbook`.

// Clippy excuses unwraps in test functions only, and these tests are async functions that a macro calls.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod append;
mod breakers;
mod budgets;
mod commitments;
mod corrections;
mod dead_letters;
mod diagnostics;
mod embedded;
mod jobs;
mod key_lifecycle;
mod keys;
mod leases;
mod lifecycle;
mod model;
mod outages;
mod queue_limits;
mod queue_races;
mod races;
mod reading;
mod runbook;
mod schemas;
mod sources;
mod support;
mod triggers;

bowline_conformance::conformance! {
    bowline_store::Schema::default();
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
    breakers {
        failures_in_a_row_open_it_and_time_half_opens_it,
        so_many_may_try_it_out_at_a_time,
        reports_of_several_processes_are_all_counted,
        a_reset_closes_it,
        an_operator_closes_and_opens_it_by_sql,
    }
    budgets {
        a_budget_is_replaced_by_who_knows_its_version,
        of_competitors_for_a_version_one_succeeds,
        a_new_budget_removes_those_that_expired,
    }
    diagnostics {
        facts_are_those_of_the_rows,
        what_was_changed_past_the_line_is_seen,
        what_becomes_of_events_is_told,
    }
    commitments {
        commitments_chain_and_a_late_one_is_superseded,
        commitments_are_found_by_id_number_and_page,
        a_commitment_of_events_that_are_not_there_is_refused,
        of_two_commitments_at_a_time_one_wins,
    }
    corrections {
        a_correction_stands_behind_the_chain_and_marks_what_it_corrects,
        a_correction_that_fits_nothing_changes_nothing,
        of_two_corrections_at_a_time_one_wins,
        commitments_from_before_corrections_keep_their_order,
    }
    dead_letters {
        a_letter_is_kept_once_and_comes_again,
        letters_are_listed_by_what_is_asked_for,
        letters_are_kept_while_there_is_room,
        a_retry_ends_as_it_ended,
        a_sweep_finds_what_was_taken_and_what_is_old,
    }
    jobs {
        a_job_goes_to_one_worker_and_ends,
        workers_at_a_time_never_get_the_same_job,
        a_flood_of_one_tenant_does_not_hold_up_another,
        higher_priority_goes_first_and_costs_newcomers_nothing,
        a_retry_waits_until_it_is_due,
        a_lease_runs_out_and_a_late_report_counts_no_more,
        jobs_are_claimed_by_name_if_they_wait,
        ended_jobs_wait_again_under_their_ids,
        ended_jobs_are_purged_and_forgotten,
        a_job_is_handed_over_once_until_it_waits_anew,
        the_depth_is_counted,
        jobs_are_listed_by_what_is_asked_for,
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
    key_lifecycle {
        a_rotation_registers_the_next_key_and_lets_the_old_one_run_out,
        a_revocation_is_for_ever,
        a_validity_is_changed_in_parts,
        keys_are_listed_by_their_status_of_the_moment,
        of_two_rotations_at_a_time_both_keys_stand,
        a_batch_that_was_verified_before_a_change_is_refused,
        a_registration_disturbs_nobody,
        api_keys_are_listed_and_revoked,
    }
    leases {
        a_lease_has_one_holder_and_its_epoch_grows_with_a_change,
        who_holds_a_lease_keeps_it_from_others,
        an_expired_lease_holds_until_it_is_taken,
        of_two_holders_at_a_time_one_writes,
        a_takeover_waits_for_a_write_under_way,
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
    queue_limits {
        priorities_of_one_tenant_hold_up_no_other,
        a_higher_priority_overtakes_its_own_tenants_jobs,
        what_no_breaker_lets_pass_is_given_up,
        what_nobody_asked_a_breaker_about_was_not_barred_meanwhile,
        who_give_up_at_once_give_up_no_more_than_is_too_much,
        what_is_there_already_takes_nobodys_turn,
        a_tenant_with_too_many_jobs_gives_up_its_own,
    }
    schemas {
        a_schemas_number_is_given_once,
        the_newest_active_schema_judges,
        every_process_hears_of_a_changed_schema,
    }
    triggers {
        a_trigger_is_written_and_read_whole,
        a_trigger_is_changed_by_who_knows_its_revision,
        an_organization_has_so_many_triggers,
        a_reader_hears_of_every_change,
        a_deleted_trigger_leaves_nothing,
        a_step_is_written_once_whoever_writes_it,
        a_step_that_fails_leaves_nothing,
        memory_is_kept_by_its_key,
        a_job_is_there_once_and_comes_back_after_a_retraction,
        tags_are_fair_among_tenants,
    }
    sources {
        a_checkpoint_moves_with_its_events,
        a_step_from_elsewhere_changes_nothing,
        an_event_that_is_not_new_fails_the_whole_step,
        a_reorganization_forgets_marks_and_counts_a_generation,
        the_newest_marks_are_kept,
        of_two_steps_at_a_time_one_is_taken,
        a_dropped_step_is_whole_or_absent,
        a_step_that_was_signed_before_a_change_of_keys_is_refused,
        receipts_of_a_chain_are_signed_when_somebody_asks,
    }
}
