//! `cargo xtask bench … --compare COMMIT`: two builds measured turn by turn in one run.
//!
//! A machine that is shared drifts by more than most changes are worth, so a row is measured for the base, for this, for
//! the base again and so on, and each pair gives a ratio of its own: the drift hits both. What is told is the median of
//! the ratios and their spread; a ratio within the spread of 1 is no difference. Load on nodes comes from one generator,
//! this build's. What a generator measures within itself (anchoring, indexing, matching, the writer) is the code that is
//! linked into it, so there each build's own generator runs.

mod ingest;
mod subsystems;
mod table;

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};

use super::builds::Build;
use super::{Options, build, options_words, publish, report};
use crate::workspace::Workspace;
use table::Table;

pub(super) use ingest::run as ingest;
pub(super) use subsystems::{anchor, triggers};

/// How often each row is measured for both builds.
const PAIRS: usize = 3;
const PAIRS_QUICK: usize = 2;

#[derive(Debug, Clone, Copy)]
enum Side {
    Base,
    This,
}

/// Something of the base, and the same of this build.
#[derive(Debug, Clone, Copy)]
struct Pair<T> {
    base: T,
    this: T,
}

impl<T> Pair<T> {
    fn of(&self, side: Side) -> &T {
        match side {
            Side::Base => &self.base,
            Side::This => &self.this,
        }
    }

    fn map<U>(&self, value: impl Fn(&T) -> U) -> Pair<U> {
        Pair { base: value(&self.base), this: value(&self.this) }
    }
}

/// Builds what is not there yet, the base first.
fn make_builds(workspace: &Workspace, options: &Options) -> Result<Pair<Build>> {
    let base = match (&options.base_binary, &options.compare) {
        (Some(binary), commit) => {
            let given = Build::of_file(binary)?;
            let name = commit.clone().unwrap_or_else(|| given.name.clone());
            Build { name, ..given }
        }
        (None, Some(commit)) => Build::of_commit(workspace, commit)?,
        (None, None) => bail!("there is nothing to compare with; give --compare or --base-binary"),
    };
    Ok(Pair { base, this: build(workspace, options)? })
}

/// Measures the base and this build turn by turn.
fn turn_by_turn<T>(
    builds: &Pair<Build>,
    quick: bool,
    mut measure: impl FnMut(Side) -> Result<T>,
) -> Result<Vec<Pair<T>>> {
    let pairs_count = if quick { PAIRS_QUICK } else { PAIRS };
    let mut of = |side| measure(side).with_context(|| format!("{side:?}: {}", builds.of(side).name));
    (0..pairs_count).map(|_| Ok(Pair { base: of(Side::Base)?, this: of(Side::This)? })).collect()
}

/// Prints a comparison and writes it to the file that the options name.
fn tell(
    workspace: &Workspace,
    options: &Options,
    what: &str,
    builds: &Pair<Build>,
    facts: &[String],
    tables: &[Table],
) -> Result<()> {
    let name = format!("compare {what}");
    let pairs = if options.quick { PAIRS_QUICK } else { PAIRS };
    let mut text = format!("<!-- bench {name} begin -->\n\n");
    writeln!(text, "- Command: `cargo xtask bench {what}{}`", options_words(options))?;
    writeln!(text, "- Base: {}; this: {}", builds.base.name, builds.this.name)?;
    writeln!(text, "- Machine: {}", report::machine(&std::env::temp_dir())?)?;
    writeln!(
        text,
        "- Turn by turn: {pairs} pairs of base and this a row; medians, and the spread of the pairs' ratios"
    )?;
    for fact in facts {
        writeln!(text, "- {fact}")?;
    }
    for table in tables {
        write!(text, "\n{}", table.markdown())?;
    }
    write!(text, "\n<!-- bench {name} end -->")?;
    publish(workspace, options, &name, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builds_take_turns_and_the_base_begins() {
        let folder = tempfile::tempdir().unwrap();
        let build = |name: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, "").unwrap();
            Build::of_file(&file).unwrap()
        };
        let builds = Pair { base: build("old"), this: build("new") };
        let mut order = Vec::new();
        let pairs = turn_by_turn(&builds, false, |side| {
            order.push(builds.of(side).name.clone());
            Ok(order.len())
        });
        assert_eq!(order, ["old", "new", "old", "new", "old", "new"]);
        let pairs: Vec<_> = pairs.unwrap().iter().map(|pair| (pair.base, pair.this)).collect();
        assert_eq!(pairs, [(1, 2), (3, 4), (5, 6)]);
        let error = turn_by_turn(&builds, true, |side| match side {
            Side::Base => Ok(()),
            Side::This => bail!("it died"),
        });
        assert_eq!(format!("{:#}", error.unwrap_err()), "This: new: it died");
    }
}
