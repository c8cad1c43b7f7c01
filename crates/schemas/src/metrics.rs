//! The registry's metrics, each present at zero from the start. The names without a `bowline_` prefix are those that
//! the sequencer's operators already graph.

use metrics::{Unit, counter, describe_counter, gauge};

pub(crate) const ERRORS: &str = "sequencer_errors_schema_validation";
pub(crate) const VALIDATIONS: &str = "bowline_schema_validations_total";
pub(crate) const REGISTERED: &str = "bowline_schemas_registered_total";
pub(crate) const CACHE_HITS: &str = "cache_hits_total";
pub(crate) const CACHE_MISSES: &str = "cache_misses_total";
pub(crate) const CACHE_ENTRIES: &str = "cache_entries";

/// The label of this crate's cache.
pub(crate) const CACHE: &str = "schemas";

/// Names, describes and zeroes every metric of this crate.
pub(crate) fn declare() {
    describe_counter!(ERRORS, Unit::Count, "Events whose payload broke its schema, rejected or not");
    describe_counter!(VALIDATIONS, Unit::Count, "Payloads held against a schema, by outcome");
    describe_counter!(REGISTERED, Unit::Count, "Schemas registered");
    for name in [ERRORS, REGISTERED] {
        counter!(name).absolute(0);
    }
    for outcome in ["valid", "warned", "rejected", "replayed"] {
        counter!(VALIDATIONS, "outcome" => outcome).absolute(0);
    }
    counter!(CACHE_HITS, "cache" => CACHE).absolute(0);
    counter!(CACHE_MISSES, "cache" => CACHE).absolute(0);
    gauge!(CACHE_ENTRIES, "cache" => CACHE).set(0.0);
}
