//! The names that templates of a trigger's actions may use: the fields of its events, and what matching adds to them.
//!
//! A trigger of all registries may use the fields of the known registries alone: a field of an operator's own contract is
//! missing in most of its events.

use bowline_deliveries::TemplateNames;

/// The fields of the known registries' events, and those that matching and deliveries add.
const NAMES: [&str; 51] = [
    "chain_id",
    "block_number",
    "block_hash",
    "timestamp",
    "transaction_hash",
    "log_index",
    "address",
    "registry",
    "event_type",
    "occurrence",
    "agent_id",
    "owner",
    "token_uri",
    "updated_by",
    "metadata_key",
    "metadata_value",
    "client_address",
    "feedback_index",
    "value",
    "value_raw",
    "value_decimals",
    "score",
    "tag1",
    "tag2",
    "endpoint",
    "file_uri",
    "file_hash",
    "responder",
    "response_uri",
    "response_hash",
    "validator_address",
    "request_uri",
    "request_hash",
    "response",
    "tag",
    "from",
    "to",
    "approved",
    "operator",
    "topics",
    "data",
    "event_id",
    "sequence_number",
    "sequenced_at",
    "from_token_id",
    "to_token_id",
    "trigger_id",
    "trigger_name",
    "count",
    "ema_score",
    "retracts",
];

/// Registries whose events have no other fields.
const REGISTRIES: [&str; 3] = ["identity", "reputation", "validation"];

/// The names for actions of a trigger on that registry; on all registries if it names none.
pub(crate) fn template_names(registry: Option<&str>) -> TemplateNames<'static> {
    match registry {
        Some(registry) if !REGISTRIES.contains(&registry) => TemplateNames::Any,
        _ => TemplateNames::These(&NAMES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contracts_of_an_operators_own_have_fields_of_their_own() {
        for known in [None, Some("reputation")] {
            assert!(matches!(template_names(known), TemplateNames::These(names) if names.contains(&"score")));
        }
        assert!(matches!(template_names(Some("my_contract")), TemplateNames::Any));
    }
}
