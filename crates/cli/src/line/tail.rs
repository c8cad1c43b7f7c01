//! `bowline tail`: the end of a stream, and what comes after it, one line an event.
//!
//! Following survives a broken connection: it goes on after the last event that was printed, and prints
//! nothing twice. It refuses to print past a gap, because a line without gaps is what it shows.

use std::time::Duration;

use bowline_client::answers::{Event, Head, RawPage};
use bowline_client::{ApiError, Call, Client, answers};
use bowline_types::StreamId;
use clap::Args;
use futures_util::StreamExt as _;
use serde::Deserialize;

use crate::line::events::payload_shown;
use crate::terminal::args::StreamArgs;
use crate::terminal::context::{Context, interrupt};
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::output::{self, shown};

/// Events that are shown if neither `--from` nor `--last` is given.
const LAST_DEFAULT: u64 = 10;
const PAGE_EVENTS: u64 = 500;
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// `bowline tail`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    stream: StreamArgs,
    /// Begin with this sequence number
    #[arg(long, value_name = "SEQ", conflicts_with = "last")]
    from: Option<u64>,
    /// Begin with the last COUNT events [default: 10]
    #[arg(long, value_name = "COUNT")]
    last: Option<u64>,
    /// Wait for further events; this is the default
    #[arg(long, short)]
    follow: bool,
    /// End at the head
    #[arg(long, conflicts_with = "follow")]
    no_follow: bool,
    /// Only of this event type
    #[arg(long, value_name = "TYPE")]
    event_type: Option<String>,
}

pub(crate) async fn run(context: &Context, options: Options) -> Outcome {
    let client = context.client()?;
    let stream = context.stream(options.stream)?;
    let mut tail = Tail {
        client: &client,
        stream,
        next: options.from.unwrap_or(1).max(1),
        event_type: options.event_type,
        json: context.is_json(),
    };
    let call = if options.no_follow { tail.page_call() } else { tail.follow_call() };
    if context.prints(&client, &call) {
        return Ok(Exit::Done);
    }
    let work = async {
        if options.from.is_none() {
            tail.next = tail.first_of_last(options.last.unwrap_or(LAST_DEFAULT)).await?;
        }
        if options.no_follow { tail.read_to_head().await } else { tail.follow().await }
    };
    tokio::select! {
        result = work => result.map(|()| Exit::Done),
        // Ending a follower is what Ctrl-C is for.
        () = interrupt() => Ok(Exit::Done),
    }
}

/// Why one connection ended.
enum End {
    /// Go on with another one.
    Broke(String),
    /// Give up.
    Failed(Failure),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<ApiError> for End {
    fn from(error: ApiError) -> Self {
        match error.retryable() {
            true => Self::Broke(Failure::from(error).cause),
            false => Self::Failed(error.into()),
        }
    }
}

/// What the server says before it ends a connection.
#[derive(Deserialize)]
struct Farewell {
    code: String,
    #[serde(default)]
    message: String,
}

/// A reader's position in a stream.
struct Tail<'a> {
    client: &'a Client,
    stream: StreamId,
    /// The sequence number of the next event to print.
    next: u64,
    event_type: Option<String>,
    json: bool,
}

impl Tail<'_> {
    async fn first_of_last(&self, count: u64) -> Result<u64, Failure> {
        let call = Call::get(&["api", "v1", "ves", "head"]).stream(self.stream);
        let head: Head = self.client.json(&call).await?;
        Ok(head.head_sequence.saturating_sub(count) + 1)
    }

    fn page_call(&self) -> Call {
        Call::get(&["api", "v1", "ves", "events"])
            .stream(self.stream)
            .query("from", Some(self.next))
            .query("limit", Some(PAGE_EVENTS))
            .query("event_type", self.event_type.as_ref())
    }

    fn follow_call(&self) -> Call {
        Call::get(&["api", "v1", "ves", "stream"])
            .stream(self.stream)
            .query("from", Some(self.next))
            .header("accept", "text/event-stream")
    }

    async fn read_to_head(&mut self) -> Result<(), Failure> {
        loop {
            let page: RawPage = answers::parse(&self.client.text(&self.page_call()).await?)?;
            for event in &page.events {
                self.print(event.get())?;
            }
            match page.next {
                Some(next) if next > self.next => self.next = next,
                _ => return output::flush(),
            }
        }
    }

    async fn follow(&mut self) -> Result<(), Failure> {
        let mut connected = false;
        let mut pause = PAUSE_FIRST;
        loop {
            let before = self.next;
            let cause = match self.read_stream(&mut connected).await {
                End::Failed(failure) => return Err(failure),
                // A server that was never there is an error, one that went away comes back.
                End::Broke(cause) if !connected => {
                    return Err(Failure::new(Exit::Unreachable, cause)
                        .next("start a node with `bowline serve`, or set --url to where one runs"));
                }
                End::Broke(cause) => cause,
            };
            if self.next > before {
                pause = PAUSE_FIRST;
            }
            let seconds = pause.as_secs_f64();
            output::talk(&format!("{cause}; going on with event {} in {seconds:.1} s", self.next));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Prints what one connection brings, until it ends.
    async fn read_stream(&mut self, connected: &mut bool) -> End {
        match self.try_read_stream(connected).await {
            Ok(()) => End::Broke("the server ended the connection".to_owned()),
            Err(end) => end,
        }
    }

    async fn try_read_stream(&mut self, connected: &mut bool) -> Result<(), End> {
        let mut call = self.follow_call();
        if *connected {
            call = call.header("last-event-id", self.next - 1);
        }
        let incoming = self.client.open(&call).await?;
        *connected = true;
        let mut messages = incoming.messages();
        while let Some(message) = messages.next().await {
            let message = message?;
            match message.kind.as_str() {
                "event" => self.accept(&message.id, &message.data)?,
                "error" => return Err(End::Broke(farewell(&message.data))),
                // A later server may send more kinds.
                _ => {}
            }
        }
        Ok(())
    }

    /// Prints an event if it is the next one; skips what was printed before.
    fn accept(&mut self, id: &str, data: &str) -> Result<(), End> {
        let number: u64 = id.parse().map_err(|_| {
            End::Failed(ApiError::Unexpected { problem: format!("event id `{}`", shown(id, 40)) }.into())
        })?;
        if number < self.next {
            return Ok(());
        }
        if number > self.next {
            let gap = format!("the server skipped from event {} to {number}", self.next);
            return Err(End::Failed(
                Failure::no(gap).next("export the stream and check it with `bowline verify export`"),
            ));
        }
        self.next = number + 1;
        self.print(data)?;
        Ok(output::flush()?)
    }

    fn print(&self, data: &str) -> Result<(), Failure> {
        let event = match (&self.event_type, self.json) {
            // Raw lines need no parsing.
            (None, true) => return output::line(&one_line(data)),
            _ => answers::parse::<Event>(data)?,
        };
        if self.event_type.as_ref().is_some_and(|wanted| *wanted != event.event_type) {
            return Ok(());
        }
        match self.json {
            true => output::line(&one_line(data)),
            false => output::line(&row(&event)),
        }
    }
}

fn farewell(data: &str) -> String {
    match serde_json::from_str(data) {
        Ok(Farewell { code, message }) => {
            shown(&format!("the server ended the connection: {code} {message}"), 200)
        }
        Err(_) => shown(&format!("the server ended the connection: {data}"), 200),
    }
}

/// JSON has line breaks only between tokens, where blanks mean the same.
fn one_line(json: &str) -> std::borrow::Cow<'_, str> {
    if json.contains(['\n', '\r']) { json.replace(['\n', '\r'], " ").into() } else { json.into() }
}

fn row(event: &Event) -> String {
    let (kind, entity) = (shown(&event.event_type, 40), shown(&event.entity(), 60));
    let (number, at) = (event.sequence_number, shown(&event.sequenced_at, 40));
    format!("{number:>8}  {at:<32}  {kind:<24}  {entity:<28}  {}", payload_shown(event))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(client: &Client, next: u64) -> Tail<'_> {
        let stream = "64527dd3-a654-4410-9327-e58a1492ce77";
        let stream = StreamId::new(stream.parse().unwrap(), stream.parse().unwrap());
        Tail { client, stream, next, event_type: Some("none".to_owned()), json: true }
    }

    #[test]
    fn nothing_is_printed_twice_and_no_gap_is_passed() {
        let client = Client::new("http://127.0.0.1:1".parse().unwrap(), None).unwrap();
        let mut tail = tail(&client, 5);
        let data = r#"{"sequence_number":5,"sequenced_at":"t","event_id":"64527dd3-a654-4410-9327-e58a1492ce77",
                       "event_type":"a","entity_type":"e","entity_id":"i","payload":1}"#;
        assert!(tail.accept("4", "not even looked at").is_ok());
        assert!(tail.accept("5", data).is_ok());
        assert_eq!(tail.next, 6);
        let Err(End::Failed(failure)) = tail.accept("8", data) else { panic!("the gap went unnoticed") };
        assert_eq!(
            (failure.exit, failure.cause.as_str()),
            (Exit::No, "the server skipped from event 6 to 8")
        );
    }

    #[test]
    fn the_servers_last_words_are_passed_on() {
        assert_eq!(
            farewell(r#"{"code":"SERVICE_UNAVAILABLE","message":"draining"}"#),
            "the server ended the connection: SERVICE_UNAVAILABLE draining"
        );
        assert!(farewell("\u{1b}[2J").ends_with("\\u{1b}[2J"));
    }
}
