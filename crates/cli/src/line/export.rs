//! `bowline export`: a range of a stream as one file, verified before it gets its name.
//!
//! The file is written beside its place and renamed at the end, so a file of that name is always whole. It
//! refuses to pass on what does not verify: such a download is kept under another name as evidence.

use std::fs::File;
use std::io::{self, BufReader, Seek as _, Write};
use std::path::{Path, PathBuf};

use bowline_client::{ApiError, Call, Incoming};
use bowline_ves::{ExportReport, TrustedKeys, verify_export};
use clap::Args;
use indicatif::ProgressBar;
use serde::Deserialize;
use tempfile::NamedTempFile;

use crate::terminal::args::StreamArgs;
use crate::terminal::context::{Context, until_interrupted};
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::{output, progress};

/// Bytes that an export's first line may have: it holds the sequencer's keys.
const HEADER_BYTES_MAX: usize = 1 << 20;

/// `bowline export`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: check the file on another machine, with the key that you know to be the sequencer's:\n  \
                        bowline verify export FILE --sequencer-key HEX"
)]
pub(crate) struct Options {
    #[command(flatten)]
    stream: StreamArgs,
    /// First sequence number; 1 if left out
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    /// Last sequence number; the head if left out
    #[arg(long, value_name = "SEQ")]
    to: Option<u64>,
    /// Write to this file, `-` is stdout [default: STORE-FROM-TO.bowline.ndjson]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Do not verify what was downloaded
    #[arg(long)]
    no_verify: bool,
}

/// What the first line says, as far as it is needed here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Header {
    store_id: String,
    sequence_start: u64,
    sequence_end: u64,
    event_count: u64,
}

pub(crate) async fn run(context: &Context, options: Options) -> Outcome {
    let stream = context.stream(options.stream)?;
    let call = Call::get(&["api", "v1", "ves", "export"])
        .stream(stream)
        .query("from", options.from)
        .query("to", options.to);
    let client = context.client()?;
    if context.prints(&client, &call) {
        return Ok(Exit::Done);
    }
    let incoming = client.open(&call).await?;
    let to_stdout = options.out.as_deref() == Some(Path::new("-"));
    if to_stdout && options.no_verify {
        let mut download = Download::new(context.quiet());
        until_interrupted(download.copy(incoming, &mut io::stdout())).await?;
        return Ok(Exit::Done);
    }
    let folder = match options.out.as_deref().and_then(Path::parent) {
        Some(folder) if !to_stdout && folder != Path::new("") => folder.to_owned(),
        _ if to_stdout => std::env::temp_dir(),
        _ => PathBuf::from("."),
    };
    let mut file = partial_file(&folder)?;
    let mut download = Download::new(context.quiet());
    let header = until_interrupted(download.copy(incoming, file.as_file_mut())).await?;
    let report = match options.no_verify {
        true => None,
        false => Some(verified(file.as_file_mut(), &header, context.quiet())),
    };
    if to_stdout {
        return pass_on(file.as_file_mut(), report);
    }
    let name = options.out.unwrap_or_else(|| header.file_name());
    keep(context, file, &name, report, &header)
}

impl Header {
    fn parse(line: &[u8]) -> Result<Self, Failure> {
        serde_json::from_slice(line).map_err(|error| {
            ApiError::Unexpected { problem: format!("the export's first line: {error}") }.into()
        })
    }

    fn file_name(&self) -> PathBuf {
        // The id is the server's text: only what an id consists of may become part of a name.
        let store: String = self
            .store_id
            .chars()
            .filter(|char| char.is_ascii_alphanumeric() || *char == '-')
            .take(64)
            .collect();
        PathBuf::from(format!("{store}-{}-{}.bowline.ndjson", self.sequence_start, self.sequence_end))
    }
}

/// A download with its progress by lines.
struct Download {
    quiet: bool,
    /// Bytes of the first line so far; the whole line once `header` is there.
    first_line: Vec<u8>,
    header: Option<Header>,
    bar: ProgressBar,
    lines: u64,
}

impl Download {
    fn new(quiet: bool) -> Self {
        Self { quiet, first_line: Vec::new(), header: None, bar: progress::count(quiet, None), lines: 0 }
    }

    /// Copies the whole answer; a connection that breaks off is an error.
    async fn copy(
        &mut self,
        mut incoming: Incoming,
        sink: &mut (impl Write + Send),
    ) -> Result<Header, Failure> {
        while let Some(chunk) = incoming.chunk().await? {
            self.watch(&chunk)?;
            sink.write_all(&chunk).map_err(write_failed)?;
        }
        sink.flush().map_err(write_failed)?;
        self.bar.finish_and_clear();
        self.header.clone().ok_or_else(|| {
            ApiError::Unexpected { problem: "the export is cut off in its first line".to_owned() }.into()
        })
    }

    fn watch(&mut self, chunk: &[u8]) -> Result<(), Failure> {
        self.lines += chunk.iter().filter(|byte| **byte == b'\n').count() as u64;
        let Some(header) = &self.header else { return self.read_header(chunk) };
        // Keys and commitments have lines too, so the count can only run ahead.
        self.bar.set_position(self.lines.min(header.event_count));
        Ok(())
    }

    fn read_header(&mut self, chunk: &[u8]) -> Result<(), Failure> {
        let end = chunk.iter().position(|byte| *byte == b'\n');
        self.first_line.extend_from_slice(&chunk[..end.unwrap_or(chunk.len())]);
        if self.first_line.len() > HEADER_BYTES_MAX {
            let problem = format!("the export's first line is longer than {HEADER_BYTES_MAX} bytes");
            return Err(ApiError::Unexpected { problem }.into());
        }
        if end.is_some() {
            let header = Header::parse(&self.first_line)?;
            self.bar.finish_and_clear();
            self.bar =
                progress::count(self.quiet, Some(header.event_count)).with_message("events downloaded");
            self.header = Some(header);
        }
        Ok(())
    }
}

fn partial_file(folder: &Path) -> Result<NamedTempFile, Failure> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".bowline-export-").suffix(".partial");
    // Not a secret beyond what the umask says: it is renamed to a file that others may need to read.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder).map_err(|error| {
        Failure::usage(format!("cannot write to {}: {error}", folder.display()))
            .next("choose another place with --out")
    })
}

fn verified(file: &mut File, header: &Header, quiet: bool) -> Result<ExportReport, Failure> {
    file.rewind().map_err(write_failed)?;
    let bar = progress::count(quiet, Some(header.event_count)).with_message("events verified");
    let report =
        verify_export(BufReader::with_capacity(1 << 20, file), &TrustedKeys::default(), |_| bar.inc(1));
    bar.finish_and_clear();
    report.map_err(|error| Failure::no(error.to_string()))
}

/// Copies a verified download to stdout.
fn pass_on(file: &mut File, report: Option<Result<ExportReport, Failure>>) -> Outcome {
    if let Some(Err(failure)) = report {
        return Err(failure.next("nothing was written; --no-verify writes it as it came"));
    }
    file.rewind().map_err(write_failed)?;
    io::copy(file, &mut io::stdout().lock()).map_err(write_failed)?;
    output::flush()?;
    Ok(Exit::Done)
}

/// Gives the download its name, or keeps it as evidence if it does not verify.
fn keep(
    context: &Context,
    file: NamedTempFile,
    name: &Path,
    report: Option<Result<ExportReport, Failure>>,
    header: &Header,
) -> Outcome {
    if let Some(Err(failure)) = report {
        let mut evidence = name.as_os_str().to_owned();
        evidence.push(".unverified");
        let evidence = PathBuf::from(evidence);
        persist(file, &evidence)?;
        return Err(failure.next(format!("what came is kept in {}; export again", evidence.display())));
    }
    let verified = report.is_some();
    persist(file, name)?;
    if context.is_json() {
        output::line(
            &serde_json::json!({
                "file": name, "sequence_start": header.sequence_start, "sequence_end": header.sequence_end,
                "event_count": header.event_count, "verified": verified,
            })
            .to_string(),
        )?;
    } else {
        output::line(&name.display().to_string())?;
        let (start, end) = (header.sequence_start, header.sequence_end);
        let how = if verified { "verified" } else { "not verified" };
        output::talk(&format!("{} events, {start} to {end}, {how}", header.event_count));
    }
    Ok(Exit::Done)
}

fn persist(file: NamedTempFile, name: &Path) -> Result<(), Failure> {
    file.as_file().sync_all().map_err(write_failed)?;
    file.persist(name)
        .map(drop)
        .map_err(|error| Failure::usage(format!("cannot write {}: {}", name.display(), error.error)))
}

fn write_failed(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::reader_left(),
        _ => Failure::usage(format!("cannot write the export: {error}"))
            .next("make room, or choose another --out"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_read_across_chunks_and_names_the_file() {
        let line = br#"{"bowline_export":1,"store_id":"../9a-b","sequence_start":3,"sequence_end":9,"event_count":7}"#;
        let mut download = Download::new(true);
        download.watch(&line[..20]).unwrap();
        assert_eq!(download.header, None);
        download.watch(&[&line[20..], b"\n{\"agent_key\":"].concat()).unwrap();
        let header = download.header.clone().unwrap();
        assert_eq!(header.file_name(), Path::new("9a-b-3-9.bowline.ndjson"));
        download.watch(b"{}}\n\n").unwrap();
        assert_eq!(download.lines, 3);
        assert!(Download::new(true).watch(b"[]\n").is_err());
    }
}
