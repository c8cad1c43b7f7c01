//! Reads, interprets and signs lines on a thread of its own, ahead of the request that is under way.
//!
//! How far ahead is bounded by events and by bytes, so a slow server slows the reading and never fills the
//! memory. The thread ends with the input, with the first line that can't be read, or when nobody receives.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::PathBuf;
use std::sync::Arc;

use bowline_runtime::{Clock as _, SystemClock};
use bowline_types::{CommandId, EventId, StreamId};
use bowline_ves::{Draft, sign_envelope};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::lines::{Defaults, LineEvent, interpret};
use super::sender::RejectedLine;
use crate::terminal::exit::{Exit, Failure};
use crate::terminal::local::Agent;

/// Bytes that a line may have: with its envelope it must fit a request body of 10 MiB.
const LINE_BYTES_MAX: usize = 8 << 20;
/// KiB of signed events that wait for their request; must hold the longest line.
pub(super) const BUFFERED_KIB_MAX: usize = 16 << 10;
const READ_BYTES: usize = 256 << 10;

/// Where lines come from.
#[derive(Debug)]
pub(super) enum Source {
    Stdin,
    File { path: PathBuf, bytes: Option<u64>, repeat: u64 },
}

impl Source {
    /// Bytes that will be read in all, where that is known.
    pub(super) fn bytes(&self) -> Option<u64> {
        match self {
            Self::Stdin => None,
            Self::File { bytes, repeat, .. } => bytes.and_then(|bytes| bytes.checked_mul(*repeat)),
        }
    }

    /// How to read the input, and how many times; a file that can't be opened is refused here.
    fn open(self) -> Result<(Open, u64), Failure> {
        let (path, repeat) = match self {
            Self::Stdin => {
                return Ok((Box::new(|| Ok(Box::new(BufReader::with_capacity(READ_BYTES, io::stdin())))), 1));
            }
            Self::File { path, repeat, .. } => (path, repeat),
        };
        let file = File::open(&path)
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
        let mut first = Some(file);
        let open: Open = Box::new(move || {
            let file = first.take().map_or_else(|| File::open(&path), Ok)?;
            Ok(Box::new(BufReader::with_capacity(READ_BYTES, file)))
        });
        Ok((open, repeat))
    }
}

/// Gives the input from its beginning, each time that it is called.
type Open = Box<dyn FnMut() -> io::Result<Box<dyn BufRead>> + Send>;

/// What the reader hands over, in the order of the lines.
pub(super) enum Item {
    Event(SignedLine),
    /// Not sent: the server would reject it for the same reason.
    Rejected(RejectedLine),
    /// The input ends here: this line can't be read.
    Broken {
        line: u64,
        problem: String,
    },
}

/// One line as a signed envelope.
pub(super) struct SignedLine {
    pub(super) line: u64,
    pub(super) event_id: EventId,
    pub(super) json: String,
    /// Bytes of input up to the end of this line.
    pub(super) offset: u64,
    /// Its share of the memory; given back when the event is done with.
    _permit: OwnedSemaphorePermit,
}

/// Everything that turns lines into items.
pub(super) struct Reader {
    pub(super) stream: StreamId,
    pub(super) agent: Agent,
    pub(super) defaults: Defaults,
    pub(super) items: mpsc::Sender<Item>,
    pub(super) buffered: Arc<Semaphore>,
}

/// Nobody receives any more.
struct Closed;

impl Reader {
    /// Opens the source and starts the thread; it is left alone at the end, for it may wait for input forever.
    pub(super) fn start(self, source: Source) -> Result<(), Failure> {
        let (open, repeat) = source.open()?;
        let runtime = Handle::current();
        std::thread::Builder::new()
            .name("append-reader".to_owned())
            .spawn(move || {
                // An error means that the sender has ended and reports why.
                let _ = self.read_all(&runtime, open, repeat);
            })
            .map(drop)
            .map_err(|error| Failure::new(Exit::Usage, format!("cannot start a thread: {error}")))
    }

    fn read_all(&self, runtime: &Handle, mut open: Open, repeat: u64) -> Result<(), Closed> {
        let mut offset = 0;
        for round in 0..repeat {
            let mut input = match open() {
                Ok(input) => input,
                Err(error) => return self.broken(0, error.to_string()),
            };
            let mut line = 0;
            let mut buffer = Vec::new();
            loop {
                line += 1;
                buffer.clear();
                match input.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut buffer) {
                    Ok(0) => break,
                    Ok(bytes) => offset += bytes as u64,
                    Err(error) => return self.broken(line, error.to_string()),
                }
                if buffer.len() > LINE_BYTES_MAX {
                    return self.broken(line, format!("it is longer than {LINE_BYTES_MAX} bytes"));
                }
                match self.item(runtime, &buffer, line, offset, round > 0)? {
                    Some(item @ Item::Broken { .. }) => return self.send(item),
                    Some(item) => self.send(item)?,
                    None => {}
                }
            }
        }
        Ok(())
    }

    /// What one line becomes; nothing if it is blank.
    fn item(
        &self,
        runtime: &Handle,
        bytes: &[u8],
        line: u64,
        offset: u64,
        fresh_ids: bool,
    ) -> Result<Option<Item>, Closed> {
        let broken = |problem: String| Ok(Some(Item::Broken { line, problem }));
        let text = match std::str::from_utf8(bytes) {
            // Some editors begin a file with a byte order mark.
            Ok(text) if line == 1 => text.trim_start_matches('\u{feff}').trim(),
            Ok(text) => text.trim(),
            Err(error) => return broken(error.to_string()),
        };
        if text.is_empty() {
            return Ok(None);
        }
        let mut event = match interpret(text, line, &self.defaults) {
            Ok(event) => event,
            Err(problem) => return broken(problem),
        };
        if fresh_ids {
            event.event_id = None;
            event.command_id = event.command_id.map(|_| CommandId::random());
        }
        let draft = self.draft(event);
        let event_id = draft.event_id;
        let envelope = match sign_envelope(draft, &self.agent.key) {
            Ok(envelope) => envelope,
            Err(rejection) => {
                let (reason, message) = (rejection.reason(), rejection.message());
                let event_id = Some(event_id.to_string());
                return Ok(Some(Item::Rejected(RejectedLine { line, event_id, reason, message })));
            }
        };
        let json = envelope.to_json();
        let kib = (json.len() / 1024 + 1).min(BUFFERED_KIB_MAX) as u32;
        let permit =
            runtime.block_on(Arc::clone(&self.buffered).acquire_many_owned(kib)).map_err(|_| Closed)?;
        Ok(Some(Item::Event(SignedLine { line, event_id, json, offset, _permit: permit })))
    }

    fn draft(&self, event: LineEvent) -> Draft {
        Draft {
            stream: self.stream,
            event_id: event.event_id.unwrap_or_else(EventId::random),
            source_agent_id: self.agent.agent_id,
            agent_key_id: self.agent.key_id,
            entity_type: event.entity_type,
            entity_id: event.entity_id,
            event_type: event.event_type,
            created_at: event.created_at.unwrap_or_else(|| SystemClock.now().to_string()),
            payload: event.payload,
            command_id: event.command_id,
            base_version: event.base_version,
        }
    }

    fn broken(&self, line: u64, problem: String) -> Result<(), Closed> {
        self.send(Item::Broken { line, problem })
    }

    fn send(&self, item: Item) -> Result<(), Closed> {
        self.items.blocking_send(item).map_err(|_| Closed)
    }
}
