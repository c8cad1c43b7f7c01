//! What mends an error: one sentence that names a command of `bowline`, a setting of the server, or the wait.
//!
//! The commands do the same over the same API. Flags of a command line are not named here: a program has none.

use crate::ApiError;

impl ApiError {
    /// What mends it. If the server says what does, that is it; such a text is the server's own.
    pub fn remedy(&self) -> &str {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } => "start a node with `bowline serve`",
            Self::Unexpected { .. } => "see that the address is a Bowline server of this version",
            Self::Unsendable { .. } => "use the API key as it was handed out, without a line break",
            Self::Unwritable { .. } => "change the request as the message says",
            Self::NoClient { .. } => "see that the system has root certificates that can be read",
            Self::Refused { fix: Some(fix), .. } => fix,
            Self::Refused { status, code, .. } => remedy_of_code(code).unwrap_or_else(|| by_status(*status)),
        }
    }
}

/// What mends a refusal with this code; none if the code does not say enough, and the status must.
pub fn remedy_of_code(code: &str) -> Option<&'static str> {
    Some(match code {
        "EVENT_NOT_FOUND" => "see what there is with `bowline events list`",
        "BATCH_NOT_FOUND" => "see what there is with `bowline commitments list --all`",
        "NOT_COMMITTED" => {
            "commit the events that no commitment covers yet with `bowline commitments create`"
        }
        "SEQUENCE_GAP" => "see the last range with `bowline commitments list --all`",
        "BATCH_TOO_LARGE" | "PAYLOAD_TOO_LARGE" => "send less at once",
        "STORAGE_FULL" => "make room on the server's disk; nothing was written",
        "ALREADY_EXISTS" => {
            "look at what there is with `bowline keys list`: choose another id, or take a new key with `bowline keys rotate`"
        }
        "DEAD_LETTER_NOT_FOUND" => "see what there is with `bowline dead-letters list`",
        "COMMITMENT_CORRECTED" => "see the commitment that replaces it with `bowline commitments show`",
        "COMMITMENT_INTACT" => "see what is wrong with `bowline commitments check --all`",
        "ANCHOR_NOT_CONFIGURED" => {
            "set L2_RPC_URL, SET_REGISTRY_ADDRESS and SEQUENCER_PRIVATE_KEY in the node's environment, and restart it"
        }
        "ANCHOR_FAILED" => "see what is in the way with `bowline anchors status`; the commitment stays valid",
        "ANCHOR_CONFLICT" => "see what is known of it with `bowline anchors show`",
        "INVALID_TRIGGER" => "change the fields that the message names, and try again",
        "TRIGGER_NOT_FOUND" | "TRIGGER_PART_NOT_FOUND" => {
            "see what there is with `bowline triggers list` and `show`"
        }
        "TRIGGER_CHANGED" => "look at it with `bowline triggers show`, and change its present revision",
        "TOO_MANY_TRIGGERS" => {
            "delete triggers that nobody needs, or raise triggers.per_tenant_max at the server"
        }
        "DELIVERY_NOT_FOUND" => "see what there is with `bowline deliveries list`",
        "DELIVERY_NOT_ENDED" => "`bowline queue drain` waits until it has ended",
        "AGENT_KEY_NOT_FOUND" => "see the registered keys with `bowline keys list`",
        "INVALID_SIGNATURE" => "sign with the secret key that belongs to the public key",
        "ADMIN_IP_DENIED" => {
            "ask from an address in the server's api.admin_ip_allowlist (ADMIN_IP_ALLOWLIST)"
        }
        "SCHEMA_NOT_FOUND" => "see what there is with `bowline schemas list`",
        "SCHEMA_VALIDATION_FAILED" => "change the schema as the message says, and try again",
        "RATE_LIMIT_EXCEEDED" | "RATE_LIMITED" => "wait as long as the message says",
        "INVALID_PUBLIC_KEY" => "make a key with `bowline keys generate`",
        "OUTCOME_UNKNOWN" | "TIMEOUT" => "send the same again: an event with the same id is taken once",
        _ => return None,
    })
}

fn by_status(status: u16) -> &'static str {
    match status {
        401 => "give an API key; a node keeps one in admin.key of its data folder",
        403 => "use an API key that has the permission, the tenant and the store",
        404 | 405 => "check the ids, and that the address is a Bowline server of this version",
        429 | 503 => "try again in a few seconds; GET /ready says what the server lacks",
        500..=599 => "look at the server's log for the request id, then try again",
        _ => "change what the message names",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_own_advice_comes_first_then_the_code_then_the_status() {
        let advised = r#"{"error":{"code":"ANCHOR_FAILED","message":"x","request_id":"r1","details":{"fix":"buy gas"}}}"#;
        assert_eq!(ApiError::refused(502, None, advised).remedy(), "buy gas");
        let coded = r#"{"error":{"code":"EVENT_NOT_FOUND","message":"no such event"}}"#;
        assert!(ApiError::refused(404, None, coded).remedy().contains("bowline events list"));
        assert!(ApiError::refused(502, None, "Bad Gateway").remedy().contains("server's log"));
    }
}
