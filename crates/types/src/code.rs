//! The closed set of error codes that clients see, with their numbers and one total map to HTTP status.
//!
//! The numbers 1001 to 9003 are those of the sequencer API that Bowline is compatible with; ours beyond
//! that list continue the same blocks. A code is never renamed and never reused for another meaning.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $number:literal, $status:literal;)*) => {
        /// A stable error code: what a client may match on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Every code there is, in the order of their numbers.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The code as it stands on the wire, `SCREAMING_SNAKE`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            /// The number that stands beside it on the wire.
            pub const fn number(self) -> u16 {
                match self { $(Code::$name => $number,)* }
            }

            /// The HTTP status that carries it.
            pub const fn http_status(self) -> u16 {
                match self { $(Code::$name => $status,)* }
            }
        }
    };
}

codes! {
    /// No credential was sent.
    AuthRequired = "AUTH_REQUIRED", 1001, 401;
    /// The API key is unknown or revoked.
    InvalidApiKey = "INVALID_API_KEY", 1002, 401;
    /// The token's signature, issuer, audience or claims are wrong.
    InvalidToken = "INVALID_TOKEN", 1003, 401;
    /// The token was right, and its time is over.
    TokenExpired = "TOKEN_EXPIRED", 1004, 401;
    /// The credential lacks the permission, the tenant or the store.
    InsufficientPermissions = "INSUFFICIENT_PERMISSIONS", 1005, 403;
    /// More requests than the limit allows; `Retry-After` says when to come back.
    RateLimitExceeded = "RATE_LIMIT_EXCEEDED", 2001, 429;
    /// As many back-tests run as may at a time; nothing was done, try again.
    BacktestsBusy = "BACKTESTS_BUSY", 2002, 429;
    /// The body is not the JSON that the endpoint takes.
    InvalidRequestBody = "INVALID_REQUEST_BODY", 3001, 400;
    /// A field that must be there is not.
    MissingRequiredField = "MISSING_REQUIRED_FIELD", 3002, 400;
    /// A field or query parameter has a value that it can't have.
    InvalidFieldValue = "INVALID_FIELD_VALUE", 3003, 400;
    /// The body is larger than the limit.
    PayloadTooLarge = "PAYLOAD_TOO_LARGE", 3004, 413;
    /// The batch has more events than the limit.
    BatchTooLarge = "BATCH_TOO_LARGE", 3005, 413;
    /// The schema can't be taken: it is none, or it breaks the promise to those who know the version before it.
    SchemaValidationFailed = "SCHEMA_VALIDATION_FAILED", 3006, 400;
    /// No such schema.
    SchemaNotFound = "SCHEMA_NOT_FOUND", 3007, 404;
    /// The trigger can't be taken; the details name each field and what is wrong with it.
    InvalidTrigger = "INVALID_TRIGGER", 3008, 400;
    /// Neither the path nor the method is known.
    ResourceNotFound = "RESOURCE_NOT_FOUND", 4001, 404;
    /// No such event in the stream.
    EventNotFound = "EVENT_NOT_FOUND", 4002, 404;
    /// No such commitment.
    BatchNotFound = "BATCH_NOT_FOUND", 4003, 404;
    /// No event of the stream names that entity.
    EntityNotFound = "ENTITY_NOT_FOUND", 4004, 404;
    /// No such agent key.
    AgentKeyNotFound = "AGENT_KEY_NOT_FOUND", 4005, 404;
    /// The path exists, the method does not.
    MethodNotAllowed = "METHOD_NOT_ALLOWED", 4006, 405;
    /// The event exists and no commitment covers it yet.
    NotCommitted = "NOT_COMMITTED", 4007, 404;
    /// No such dead letter.
    DeadLetterNotFound = "DEAD_LETTER_NOT_FOUND", 4008, 404;
    /// The organization has no such trigger.
    TriggerNotFound = "TRIGGER_NOT_FOUND", 4009, 404;
    /// The trigger has no such condition or action.
    TriggerPartNotFound = "TRIGGER_PART_NOT_FOUND", 4010, 404;
    /// The organization has no such delivery.
    DeliveryNotFound = "DELIVERY_NOT_FOUND", 4011, 404;
    /// It exists already, with another content.
    AlreadyExists = "ALREADY_EXISTS", 5004, 409;
    /// Somebody else changed the trigger since; the details have its present revision.
    TriggerChanged = "TRIGGER_CHANGED", 5005, 409;
    /// The organization has as many triggers as it may have.
    TooManyTriggers = "TOO_MANY_TRIGGERS", 5006, 409;
    /// The delivery still waits or is on its way: there is nothing to repeat.
    DeliveryNotEnded = "DELIVERY_NOT_ENDED", 5007, 409;
    /// The signature is not the one that the endpoint asks for.
    InvalidSignature = "INVALID_SIGNATURE", 6001, 400;
    /// The bytes are not a usable public key.
    InvalidPublicKey = "INVALID_PUBLIC_KEY", 6003, 400;
    /// The range does not begin where the last commitment ended, or events are missing in it.
    SequenceGap = "SEQUENCE_GAP", 7003, 400;
    /// A correction replaces the commitment; the details name it.
    CommitmentCorrected = "COMMITMENT_CORRECTED", 7004, 409;
    /// The commitment is right: there is nothing to correct.
    CommitmentIntact = "COMMITMENT_INTACT", 7005, 409;
    /// The database answered with an error that is not the client's doing.
    DatabaseError = "DATABASE_ERROR", 8001, 500;
    /// Overloaded, draining, or the store is away; nothing was done, try again.
    ServiceUnavailable = "SERVICE_UNAVAILABLE", 8002, 503;
    /// The request's time ran out; whether it took effect is for a replay to find out.
    Timeout = "TIMEOUT", 8003, 504;
    /// The store has no room; nothing was done.
    StorageFull = "STORAGE_FULL", 8004, 507;
    /// The connection to the store broke during the commit; a replay of the same events settles it.
    OutcomeUnknown = "OUTCOME_UNKNOWN", 8005, 500;
    /// Agent keys kept changing while the events were on their way; nothing was done, try again.
    KeysChanged = "KEYS_CHANGED", 8006, 503;
    /// A defect of ours.
    InternalError = "INTERNAL_ERROR", 8999, 500;
    /// There is no chain to anchor to.
    AnchorNotConfigured = "ANCHOR_NOT_CONFIGURED", 9001, 503;
    /// The chain did not take the anchor, or can't be asked; the message says why. The commitment stays valid.
    AnchorFailed = "ANCHOR_FAILED", 9002, 502;
    /// The commitment is on no chain.
    NotAnchored = "NOT_ANCHORED", 9003, 404;
    /// Another transaction is known as the commitment's anchor; the details name it.
    AnchorConflict = "ANCHOR_CONFLICT", 9004, 409;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn texts_and_numbers_are_unique_and_every_status_is_an_error() {
        let texts: HashSet<_> = Code::ALL.iter().map(|c| c.as_str()).collect();
        let numbers: HashSet<_> = Code::ALL.iter().map(|c| c.number()).collect();
        assert_eq!((texts.len(), numbers.len()), (Code::ALL.len(), Code::ALL.len()));
        assert!(Code::ALL.iter().all(|c| (400..600).contains(&c.http_status())));
    }
}
