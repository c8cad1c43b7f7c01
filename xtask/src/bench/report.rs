//! The report of a benchmark: rows and facts, as a table for the terminal and as Markdown for a file.
//!
//! In the file it owns only what stands between its two marks; the text around them belongs to
//! people. Ratios are given only once R is known, and R only if it was measured before and after.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, bail};
use comfy_table::{CellAlignment, Table, presets};

use super::load::{LoadReport, Shape, Timing};

const BEGIN: &str = "<!-- bench ingest begin -->";
const END: &str = "<!-- bench ingest end -->";
const NEW_FILE: &str =
    "# Benchmarks\n\nMeasured by `cargo xtask bench ingest`, which replaces what stands between its marks.\n";
const COLUMNS: [&str; 10] = [
    "store",
    "batch",
    "connections",
    "streams",
    "sent/s",
    "events/s",
    "ratio to R",
    "p50 ms",
    "p99 ms",
    "errors",
];
/// Columns of words stand left, columns of figures right.
const WORD_COLUMNS_COUNT: usize = 1;

/// With what, and on what, it was measured.
pub(super) struct Facts {
    pub(super) command: String,
    /// How one calls the generator.
    pub(super) generator: String,
    pub(super) machine: String,
    pub(super) postgres: String,
    pub(super) timing: Timing,
}

/// One load run.
pub(super) struct Row {
    pub(super) store: &'static str,
    pub(super) shape: Shape,
    pub(super) load: LoadReport,
}

/// Mean of two measurements of R, and both of them.
#[derive(Debug, Clone, Copy)]
struct VerifyRate {
    before: f64,
    after: f64,
}

impl VerifyRate {
    fn mean(self) -> f64 {
        (self.before + self.after) / 2.0
    }
}

/// Everything that a run of the benchmark found out.
pub(super) struct Report {
    facts: Facts,
    rows: Vec<Row>,
    peak_memory_kib: Vec<(&'static str, u64)>,
    writers: Vec<(&'static str, f64)>,
    verify: Option<VerifyRate>,
}

impl Report {
    pub(super) fn new(facts: Facts) -> Report {
        Report { facts, rows: Vec::new(), peak_memory_kib: Vec::new(), writers: Vec::new(), verify: None }
    }

    pub(super) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub(super) fn add_peak_memory(&mut self, store: &'static str, kib: u64) {
        self.peak_memory_kib.push((store, kib));
    }

    /// The peer: events a second of one caller without a server, a transaction each.
    pub(super) fn add_writer(&mut self, store: &'static str, events_per_sec: f64) {
        self.writers.push((store, events_per_sec));
    }

    pub(super) fn set_verify_rate(&mut self, before: f64, after: f64) -> Result<()> {
        if !(before > 0.0 && after > 0.0) {
            bail!(
                "R cannot be {before} before and {after} after; try `{} verify` alone",
                self.facts.generator
            );
        }
        self.verify = Some(VerifyRate { before, after });
        Ok(())
    }

    pub(super) fn errors(&self) -> u64 {
        self.rows.iter().map(|row| row.load.errors).sum()
    }

    /// The rows so far, for the terminal.
    pub(super) fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(COLUMNS);
        table.add_rows(self.rows.iter().map(|row| self.cells(row)));
        for column in table.column_iter_mut().skip(WORD_COLUMNS_COUNT) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    /// The block for the file, from mark to mark.
    pub(super) fn markdown(&self) -> String {
        let Timing { seconds, warmup_secs } = self.facts.timing;
        let mut text = format!("{BEGIN}\n\n");
        let mut fact = |name: &str, value: &str| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "- {name}: {value}");
        };
        fact("Command", &format!("`{}`", self.facts.command));
        fact("Machine", &self.facts.machine);
        fact("Node", "a fresh one for each store, default settings, stopped with SIGTERM");
        fact("PostgreSQL", &self.facts.postgres);
        fact(
            "Each row",
            &format!(
                "{seconds} s after a warm-up of {warmup_secs} s; load generator, node and store share the machine"
            ),
        );
        if let Some(verify) = self.verify {
            let (before, after) = (verify.before, verify.after);
            fact(
                "R",
                &format!(
                    "{:.0} strict Ed25519 verifications/s on one core ({before:.0} before, {after:.0} after)",
                    verify.mean()
                ),
            );
        }
        for (store, kib) in &self.peak_memory_kib {
            fact(&format!("Peak memory of the node on {store}"), &format!("{:.0} MiB", *kib as f64 / 1024.0));
        }
        for (store, events_per_sec) in &self.writers {
            fact(
                &format!("One caller without a server, a transaction an event, on {store}"),
                &format!("{events_per_sec:.0} events/s (`{} writer`)", self.facts.generator),
            );
        }
        text.push('\n');
        push_row(&mut text, &COLUMNS.map(str::to_owned));
        let rule = |index: usize| if index < WORD_COLUMNS_COUNT { "---" } else { "---:" }.to_owned();
        push_row(&mut text, &std::array::from_fn::<_, { COLUMNS.len() }, _>(rule));
        for row in &self.rows {
            push_row(&mut text, &self.cells(row));
        }
        format!("{text}\n{END}")
    }

    fn cells(&self, row: &Row) -> [String; COLUMNS.len()] {
        let ratio = match self.verify {
            Some(verify) => format!("{:.2}", row.load.events_per_sec / verify.mean()),
            None => "–".to_owned(),
        };
        [
            row.store.to_owned(),
            row.shape.batch.to_string(),
            row.shape.connections.to_string(),
            row.shape.streams.to_string(),
            row.shape.rate.map_or_else(|| "all".to_owned(), |rate| rate.to_string()),
            format!("{:.0}", row.load.events_per_sec),
            ratio,
            format!("{:.2}", row.load.p50_ms),
            format!("{:.2}", row.load.p99_ms),
            row.load.errors.to_string(),
        ]
    }
}

fn push_row(text: &mut String, cells: &[String]) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

/// Cores, processor and file system of the machine that this runs on.
pub(super) fn machine(data: &Path) -> Result<String> {
    let cores = thread::available_parallelism().context("the number of cores is unknown")?;
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model_in(&cpuinfo).unwrap_or("unknown processor");
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let file_system = file_system_of(&mounts, data).unwrap_or("an unknown file system");
    Ok(format!("{cores} cores, {model}, data on {file_system}"))
}

/// The type of the innermost mount that holds the path, from lines of `device folder type options`.
fn file_system_of<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let holding = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (folder, kind) = (words.next()?, words.next()?);
        path.starts_with(folder).then_some((folder.len(), kind))
    });
    holding.max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

fn model_in(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, model)| model.trim())
}

/// Puts the block into the file, which is made if it is not there.
pub(super) fn write(path: &Path, name: &str, block: &str) -> Result<()> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => NEW_FILE.to_owned(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let text = splice(&text, name, block).with_context(|| format!("{}", path.display()))?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The text with the block in place of the one between the marks, or at the end if it has none.
fn splice(text: &str, name: &str, block: &str) -> Result<String> {
    let (begin_mark, end_mark) =
        (format!("<!-- bench {name} begin -->"), format!("<!-- bench {name} end -->"));
    match (text.find(&begin_mark), text.find(&end_mark)) {
        (None, None) => Ok(format!("{}\n\n{block}\n", text.trim_end())),
        (Some(begin), Some(end)) if begin < end => {
            Ok(format!("{}{block}{}", &text[..begin], &text[end + end_mark.len()..]))
        }
        _ => {
            bail!("the marks `{begin_mark}` and `{end_mark}` are not a pair; put them right, or remove both")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::new(Facts {
            command: "cargo xtask bench ingest".to_owned(),
            generator: "bowline-bench".to_owned(),
            machine: "2 cores, Some Processor, data on ext4".to_owned(),
            postgres: "postgres (PostgreSQL) 15.1: fsync=on".to_owned(),
            timing: Timing { seconds: 8, warmup_secs: 2 },
        });
        report.add(Row {
            store: "sqlite",
            shape: Shape { batch: 100, connections: 16, streams: 1, rate: None },
            load: LoadReport { events_per_sec: 15000.4, p50_ms: 8.125, p99_ms: 20.0, errors: 1 },
        });
        report.add_peak_memory("sqlite", 65536);
        report.add_writer("sqlite", 1800.0);
        report
    }

    #[test]
    fn the_markdown_says_what_was_measured_and_on_what() {
        let mut report = report();
        report.set_verify_rate(19000.0, 21000.0).unwrap();
        assert_eq!(report.errors(), 1);
        assert_eq!(
            report.markdown(),
            "<!-- bench ingest begin -->\n\n\
             - Command: `cargo xtask bench ingest`\n\
             - Machine: 2 cores, Some Processor, data on ext4\n\
             - Node: a fresh one for each store, default settings, stopped with SIGTERM\n\
             - PostgreSQL: postgres (PostgreSQL) 15.1: fsync=on\n\
             - Each row: 8 s after a warm-up of 2 s; load generator, node and store share the machine\n\
             - R: 20000 strict Ed25519 verifications/s on one core (19000 before, 21000 after)\n\
             - Peak memory of the node on sqlite: 64 MiB\n\
             - One caller without a server, a transaction an event, on sqlite: 1800 events/s (`bowline-bench writer`)\n\n\
             | store | batch | connections | streams | sent/s | events/s | ratio to R | p50 ms | p99 ms | errors |\n\
             | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n\
             | sqlite | 100 | 16 | 1 | all | 15000 | 0.75 | 8.12 | 20.00 | 1 |\n\n\
             <!-- bench ingest end -->"
        );
    }

    #[test]
    fn there_is_no_ratio_without_a_rate_to_compare_to() {
        let mut report = report();
        assert!(report.set_verify_rate(0.0, 1.0).is_err());
        assert!(report.markdown().contains("| 15000 | – |"));
        assert!(report.table().to_string().contains("–"));
    }

    #[test]
    fn the_block_replaces_the_one_before_and_nothing_else() {
        let text = format!("# Benchmarks\n\nWords.\n\n{BEGIN}\nold\n{END}\n\nMore words.\n");
        let block = format!("{BEGIN}\nnew\n{END}");
        let spliced = splice(&text, "ingest", &block).unwrap();
        assert_eq!(spliced, format!("# Benchmarks\n\nWords.\n\n{block}\n\nMore words.\n"));
        assert_eq!(splice(&spliced, "ingest", &block).unwrap(), spliced);
        assert_eq!(splice("# Benchmarks\n", "ingest", &block).unwrap(), format!("# Benchmarks\n\n{block}\n"));
    }

    #[test]
    fn marks_that_are_no_pair_are_an_error() {
        for text in [BEGIN.to_owned(), END.to_owned(), format!("{END}\n{BEGIN}")] {
            assert!(splice(&text, "ingest", "block").is_err(), "{text}");
        }
    }

    #[test]
    fn a_missing_file_is_made_with_a_title() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docs/benchmarks.md");
        write(&path, "ingest", &format!("{BEGIN}\none\n{END}")).unwrap();
        write(&path, "ingest", &format!("{BEGIN}\ntwo\n{END}")).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# Benchmarks\n"), "{text}");
        assert!(text.contains("two") && !text.contains("one\n"), "{text}");
    }

    #[test]
    fn the_innermost_mount_tells_the_file_system() {
        let mounts = "/dev/vda / ext4 rw 0 0\nproc /proc proc rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n";
        assert_eq!(file_system_of(mounts, Path::new("/tmp/x")), Some("tmpfs"));
        assert_eq!(file_system_of(mounts, Path::new("/tmpfiles")), Some("ext4"));
        assert_eq!(file_system_of("", Path::new("/tmp")), None);
    }

    #[test]
    fn the_processor_is_read_from_cpuinfo() {
        assert_eq!(
            model_in("processor\t: 0\nmodel\t\t: 1\nmodel name\t: Some Processor\n"),
            Some("Some Processor")
        );
        assert_eq!(model_in("processor\t: 0\n"), None);
    }
}
