//! The runbook as a list of blocks that somebody could paste, and how an answer is compared with its shape.
//!
//! A fence says by its words how its block is run. One that is indented, or has a word that is not known here, is an
//! error: no block is left out silently.

use crate::site::Engine;

/// One fenced block.
#[derive(Debug)]
pub(super) struct Block {
    /// Where its fence stands, counted from 1.
    pub(super) line: usize,
    /// The heading above it.
    pub(super) heading: String,
    pub(super) kind: Kind,
    /// Only with this store; with both if there is none.
    pub(super) engine: Option<Engine>,
    /// The node must not run meanwhile.
    pub(super) is_stopped: bool,
    /// What the last command ends with.
    pub(super) exit: i32,
    pub(super) text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Commands behind `$ `, each with the shape of its answer.
    Console,
    /// Statements for `psql`.
    Sql,
    /// The shape of what the statements right above answer.
    Shape,
    /// Environment variables of the node.
    Settings,
    NotRun,
}

/// A command and the shape of its answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Typed {
    pub(super) command: String,
    pub(super) shape: Vec<String>,
}

pub(super) fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut heading = String::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        assert!(
            !line.starts_with([' ', '\t']) || !line.trim_start().starts_with("```"),
            "{}: indented",
            index + 1
        );
        if let Some(title) = line.strip_prefix("##") {
            heading = title.trim_start_matches('#').trim().to_owned();
        }
        let Some(words) = line.strip_prefix("```") else { continue };
        let inner = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
        let text = inner.map(|line| format!("{line}\n")).collect();
        let block = Block { text, heading: heading.clone(), ..Block::marked(words, index + 1) };
        let follows_sql = blocks.last().is_some_and(|block| block.kind == Kind::Sql);
        assert!(block.kind != Kind::Shape || follows_sql, "{}: a shape of nothing", index + 1);
        blocks.push(block);
    }
    blocks
}

impl Block {
    fn marked(words: &str, line: usize) -> Self {
        let (words, reason) = words.split_once("not-run:").unwrap_or((words, ""));
        let (engine, is_stopped, exit) = (None, false, 0);
        let (heading, text) = (String::new(), String::new());
        let mut block = Self { line, heading, kind: Kind::NotRun, engine, is_stopped, exit, text };
        let mut words = words.split_whitespace();
        block.kind = match words.next() {
            Some("console") => Kind::Console,
            Some("settings") => Kind::Settings,
            Some("text") => Kind::Shape,
            Some("sql") => Kind::Sql,
            other => panic!("{line}: {other:?} does not say how the block is run"),
        };
        if matches!(block.kind, Kind::Sql | Kind::Shape) {
            block.engine = Some(Engine::Postgres);
        }
        for word in words {
            match word {
                "sqlite" => block.engine = Some(Engine::Sqlite),
                "postgres" => block.engine = Some(Engine::Postgres),
                "stopped" => block.is_stopped = true,
                _ => match word.strip_prefix("exit=").map(str::parse) {
                    Some(Ok(exit)) => block.exit = exit,
                    _ => panic!("{line}: `{word}` is no mark of a block"),
                },
            }
        }
        if !reason.trim().is_empty() {
            block.kind = Kind::NotRun;
        }
        block
    }

    /// The commands of a console.
    pub(super) fn typed(&self) -> Vec<Typed> {
        let mut typed: Vec<Typed> = Vec::new();
        let mut is_open = false;
        for line in self.text.lines() {
            match (line.strip_prefix("$ "), typed.last_mut()) {
                (_, Some(last)) if is_open => last.command.push_str(&format!("\n{line}")),
                (Some(command), _) => typed.push(Typed { command: command.to_owned(), shape: Vec::new() }),
                (None, Some(last)) => last.shape.push(line.to_owned()),
                (None, None) => panic!("{}: an answer without a command", self.line),
            }
            is_open = (is_open || line.starts_with("$ ")) && line.ends_with('\\');
        }
        typed
    }
}

/// Whether an answer has the shape: a line `…` stands for any lines, `…` within a line for any text, and blanks
/// count once. A shape without lines fits everything.
pub(super) fn fits(shape: &[String], answer: &str) -> bool {
    let shape: Vec<String> = shape.iter().map(|line| bare(line)).filter(|line| !line.is_empty()).collect();
    let answer: Vec<String> = answer.lines().map(bare).filter(|line| !line.is_empty()).collect();
    shape.is_empty() || lines_fit(&shape, &answer)
}

fn bare(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn lines_fit(shape: &[String], answer: &[String]) -> bool {
    match (shape.split_first(), answer.split_first()) {
        (None, first) => first.is_none(),
        (Some((line, rest)), _) if line == "…" => (0..=answer.len()).any(|n| lines_fit(rest, &answer[n..])),
        (Some(_), None) => false,
        (Some((line, rest)), Some((first, others))) => line_fits(line, first) && lines_fit(rest, others),
    }
}

fn line_fits(line: &str, text: &str) -> bool {
    let Some((start, rest)) = line.split_once('…') else { return line == text };
    let Some(text) = text.strip_prefix(start) else { return false };
    let starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    starts.into_iter().any(|at| line_fits(rest, &text[at..]))
}

#[test]
fn blocks_say_how_they_are_run() {
    let text = "## A\n```console sqlite exit=1\n$ one \\\n  two\nfirst …\n…\n$ three\n```\n### B\n```sql\nSELECT 1;\n```\n\
                ```text\n…\n```\n```console not-run: it needs a chain\n$ x\n```\n";
    let blocks = blocks(text);
    let kinds: Vec<_> = blocks.iter().map(|block| (block.heading.as_str(), block.kind.clone())).collect();
    assert_eq!(kinds, [("A", Kind::Console), ("B", Kind::Sql), ("B", Kind::Shape), ("B", Kind::NotRun)]);
    assert_eq!((blocks[0].engine, blocks[0].exit, blocks[0].line), (Some(Engine::Sqlite), 1, 2));
    let typed = blocks[0].typed();
    assert_eq!((typed[0].command.as_str(), typed[1].command.as_str()), ("one \\\n  two", "three"));
    assert_eq!(typed[0].shape, ["first …", "…"]);
    for wrong in [
        "```\nx\n```\n",
        "```bash\nx\n```\n",
        "```console later\n$ x\n```\n",
        "- ```sql\n",
        "```text\nx\n```\n",
    ] {
        let indented = wrong.replace("- ", "  ");
        assert!(std::panic::catch_unwind(|| super::page::blocks(&indented)).is_err(), "{wrong}");
    }
}

#[test]
fn shapes_fit_what_they_stand_for_and_nothing_else() {
    let shape = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(fits(&shape("ok …  ms\n…\nend"), "ok  7 ms\na\nb\nend\n"));
    assert!(fits(&shape("a\n…"), "a\n") && fits(&[], "whatever"));
    for wrong in ["ok 7 s\nend", "ok 7 ms\na\nending", "ok 7 ms\nend\nmore", ""] {
        assert!(!fits(&shape("ok … ms\n…\nend"), wrong), "{wrong}");
    }
}
