//! What an error of the client means at the terminal: its exit code, and which flag helps.
//!
//! The remedy is the client's own; here stands only what a command line has beyond that. Texts of the server are
//! cleaned before they are shown.

use bowline_client::{ApiError, remedy_of_code};

use crate::terminal::exit::{Exit, Failure};
use crate::terminal::output::shown;

/// Characters of a foreign error text that are shown.
const TEXT_CHARS_MAX: usize = 300;

/// What the command line has to say of a remedy.
enum Hint {
    /// Nothing.
    None,
    /// This follows it.
    More(&'static str),
    /// This stands in its place.
    Instead(&'static str),
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let remedy = shown(error.remedy(), TEXT_CHARS_MAX);
        let next = match hint(&error) {
            Hint::None => remedy,
            Hint::More(words) => remedy + words,
            Hint::Instead(words) => words.to_owned(),
        };
        Self::new(exit(&error), shown(&error.to_string(), TEXT_CHARS_MAX)).next(next)
    }
}

fn exit(error: &ApiError) -> Exit {
    match error {
        ApiError::Unreachable { .. } | ApiError::Broken { .. } | ApiError::Unexpected { .. } => {
            Exit::Unreachable
        }
        ApiError::Unsendable { .. } | ApiError::Unwritable { .. } | ApiError::NoClient { .. } => Exit::Usage,
        ApiError::Refused { status, .. } => match status {
            401 | 403 => Exit::NotAllowed,
            404 | 409 => Exit::No,
            429 | 500..=599 => Exit::Unreachable,
            _ => Exit::Usage,
        },
    }
}

fn hint(error: &ApiError) -> Hint {
    match error {
        ApiError::Unreachable { .. } | ApiError::Broken { .. } => {
            Hint::More(", or set --url or BOWLINE_URL to where one runs")
        }
        ApiError::Unexpected { .. } => Hint::Instead("see that --url is a Bowline server of this version"),
        ApiError::Unsendable { .. } => Hint::Instead("see --api-key and BOWLINE_API_KEY"),
        ApiError::Unwritable { .. } | ApiError::NoClient { .. } => Hint::None,
        // The server's own advice stands alone.
        ApiError::Refused { fix: Some(_), .. } => Hint::None,
        ApiError::Refused { status, code, .. } => match remedy_of_code(code) {
            Some(_) => hint_by_code(code),
            None => hint_by_status(*status),
        },
    }
}

fn hint_by_code(code: &str) -> Hint {
    Hint::More(match code {
        "EVENT_NOT_FOUND" => ", and check --tenant and --store",
        "SEQUENCE_GAP" => ", or leave --start and --end out",
        "BATCH_TOO_LARGE" | "PAYLOAD_TOO_LARGE" => ": a smaller --batch, or smaller payloads",
        "COMMITMENT_INTACT" => "; --force corrects it anyway",
        "TRIGGER_NOT_FOUND" | "TRIGGER_PART_NOT_FOUND" | "DELIVERY_NOT_FOUND" => ", and check --organization",
        "SCHEMA_NOT_FOUND" => ", and check --tenant",
        "RATE_LIMIT_EXCEEDED" | "RATE_LIMITED" => "; a larger --batch does not help",
        "INVALID_SIGNATURE" => {
            return Hint::Instead(
                "with the secret key on this machine, name it with --name; else give its proof with --proof",
            );
        }
        _ => return Hint::None,
    })
}

fn hint_by_status(status: u16) -> Hint {
    match status {
        401 => Hint::Instead(
            "set --api-key or BOWLINE_API_KEY; a node on this machine keeps one in DATA/admin.key, see --data",
        ),
        404 | 405 => Hint::Instead("check the ids, and that --url is a Bowline server of this version"),
        403 | 429 | 500..=599 => Hint::None,
        _ => Hint::More("; `bowline help COMMAND` lists the options"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: &str) -> ApiError {
        let (code, message) = (code.to_owned(), "x".to_owned());
        ApiError::Refused { status, code, message, request_id: None, fix: None, retry_after: None }
    }

    #[test]
    fn a_refusal_has_its_exit_code_and_says_which_flag_helps() {
        let found = |status, code: &str| {
            let failure = Failure::from(refused(status, code));
            (failure.exit, failure.next.unwrap())
        };
        for (status, code, exit, next) in [
            (
                404,
                "EVENT_NOT_FOUND",
                Exit::No,
                "see what there is with `bowline events list`, and check --tenant and --store",
            ),
            (
                413,
                "PAYLOAD_TOO_LARGE",
                Exit::Usage,
                "send less at once: a smaller --batch, or smaller payloads",
            ),
            (404, "BATCH_NOT_FOUND", Exit::No, "see what there is with `bowline commitments list --all`"),
            (
                400,
                "INVALID_SIGNATURE",
                Exit::Usage,
                "with the secret key on this machine, name it with --name; else give its proof with --proof",
            ),
            (
                401,
                "MISSING_AUTH",
                Exit::NotAllowed,
                "set --api-key or BOWLINE_API_KEY; a node on this machine keeps one in DATA/admin.key, see --data",
            ),
            (
                422,
                "NEW_CODE",
                Exit::Usage,
                "change what the message names; `bowline help COMMAND` lists the options",
            ),
            (404, "", Exit::No, "check the ids, and that --url is a Bowline server of this version"),
            (503, "", Exit::Unreachable, "try again in a few seconds; GET /ready says what the server lacks"),
        ] {
            assert_eq!(found(status, code), (exit, next.to_owned()), "{status} {code}");
        }
    }

    #[test]
    fn a_server_that_is_not_there_is_named_with_how_to_start_one() {
        let away = ApiError::Unreachable { url: "http://x".to_owned(), problem: "refused".to_owned() };
        let failure = Failure::from(away);
        assert_eq!(
            (failure.exit, failure.cause.as_str()),
            (Exit::Unreachable, "cannot reach http://x: refused")
        );
        let next = "start a node with `bowline serve`, or set --url or BOWLINE_URL to where one runs";
        assert_eq!(failure.next.unwrap(), next);
    }

    #[test]
    fn a_servers_text_is_cleaned_and_its_advice_stands_alone() {
        let mut error = refused(502, "ANCHOR_FAILED");
        if let ApiError::Refused { fix, message, .. } = &mut error {
            *fix = Some("buy\u{1b} gas".to_owned());
            *message = "\u{1b}[2J".to_owned();
        }
        let failure = Failure::from(error);
        assert_eq!(failure.next.unwrap(), "buy\\u{1b} gas");
        assert_eq!(failure.cause, "the server answered 502 ANCHOR_FAILED: \\u{1b}[2J");
    }
}
