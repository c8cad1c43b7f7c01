//! `export-events`: a stream's events out of the database, each with its hashes, signatures and receipt.
//!
//! Every event can be verified from what is written. The self-contained file that proves a whole range is made by
//! `bowline export`, from a running node.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use bowline_line::event_json;
use bowline_store::ReadQuery;
use clap::{Args, ValueEnum};
use tempfile::NamedTempFile;

use super::{Place, StreamArgs, store_failed};
use crate::operate::direct::DirectStore;
use crate::terminal::context::until_interrupted;
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::output;

/// Events read at a time.
const PAGE_EVENTS: usize = 500;

/// Payload bytes read at a time.
const PAGE_BYTES: usize = 4 << 20;

/// `export-events`.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    stream: StreamArgs,
    /// First sequence number
    #[arg(long, value_name = "SEQ", default_value_t = 1)]
    from: u64,
    /// Last sequence number; the head if left out
    #[arg(long, value_name = "SEQ")]
    to: Option<u64>,
    /// Write to this file; standard output if left out
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// One array, or an event a line
    #[arg(long, value_enum, default_value = "json")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Json,
    Ndjson,
}

pub(super) async fn run(place: &Place, direct: &DirectStore, options: Options) -> Outcome {
    let refuse = |error: io::Error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::reader_left(),
        _ => Failure::usage(format!("cannot write the events: {error}")),
    };
    let count = match &options.output {
        None => {
            let mut sink = BufWriter::new(io::stdout());
            let count = until_interrupted(write(direct, &options, &mut sink)).await?;
            sink.flush().map_err(refuse)?;
            count
        }
        // Beside its place and renamed at the end, so that a file of that name is always whole.
        Some(path) => {
            let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
            let file = NamedTempFile::new_in(folder).map_err(refuse)?;
            let mut sink = BufWriter::new(file);
            let count = until_interrupted(write(direct, &options, &mut sink)).await?;
            let file = sink.into_inner().map_err(|error| refuse(error.into_error()))?;
            file.as_file().sync_all().map_err(refuse)?;
            let file: File = file.persist(path).map_err(|error| refuse(error.error))?;
            drop(file);
            count
        }
    };
    if !place.json {
        output::talk(&format!("{count} events of stream {}", options.stream.stream()));
    }
    Ok(Exit::Done)
}

async fn write(
    direct: &DirectStore,
    options: &Options,
    sink: &mut (impl Write + Send),
) -> Result<u64, Failure> {
    let refuse = |error: io::Error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::reader_left(),
        _ => Failure::usage(format!("cannot write the events: {error}")),
    };
    let array = options.format == Format::Json;
    let mut count = 0;
    let mut next = Some(options.from.max(1));
    while let Some(from) = next {
        let mut query = ReadQuery::from(options.stream.stream(), from, PAGE_EVENTS);
        query.to = options.to;
        query.bytes_max = PAGE_BYTES;
        let page = direct.store.read(query).await.map_err(store_failed)?;
        for event in &page.events {
            let before = match (array, count) {
                (true, 0) => "[\n",
                (true, _) => ",\n",
                (false, 0) => "",
                (false, _) => "\n",
            };
            write!(sink, "{before}{}", event_json(event, true)).map_err(refuse)?;
            count += 1;
        }
        next = page.next;
    }
    let end = match (array, count) {
        (true, 0) => "[]\n",
        (true, _) => "\n]\n",
        (false, 0) => "",
        (false, _) => "\n",
    };
    sink.write_all(end.as_bytes()).map_err(refuse)?;
    Ok(count)
}
