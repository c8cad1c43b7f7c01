//! Counts tests by reading what `cargo test` prints: targets, results and the names of failures.
//!
//! It understands cargo's `Running` and `Doc-tests` lines and libtest's `test result:` lines and
//! passes over all others. A target that was started and gave no result, because it was killed or
//! aborted, counts as one failed test.

use std::collections::BTreeMap;

/// What a target is called, by the path of its test binary.
#[derive(Debug, Default)]
pub(super) struct TargetNames {
    by_executable: BTreeMap<String, String>,
}

impl TargetNames {
    pub(super) fn insert(&mut self, executable: &str, name: String) {
        self.by_executable.insert(executable.to_owned(), name);
    }

    /// Cargo prints the path relative to the workspace when the binary lies inside it.
    fn find(&self, executable: &str) -> Option<&str> {
        let exact = self.by_executable.get(executable);
        let relative =
            || self.by_executable.iter().find(|(path, _)| path.ends_with(executable)).map(|(_, name)| name);
        exact.or_else(relative).map(String::as_str)
    }
}

/// The results of one test binary, or of one crate's examples in documentation.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) ignored: u64,
    pub(super) seconds: f64,
    failures: Vec<String>,
    has_result: bool,
}

/// All targets in the order in which they ran.
#[derive(Debug, Default)]
pub(super) struct Tally {
    names: TargetNames,
    targets: Vec<Target>,
}

impl Tally {
    pub(super) fn new(names: TargetNames) -> Tally {
        Tally { names, targets: Vec::new() }
    }

    /// Takes in one line without its line break.
    pub(super) fn read_line(&mut self, line: &str) {
        if let Some(name) = self.started_target(line) {
            self.targets.push(Target { name, ..Target::default() });
        } else if let Some(result) = parse_result(line) {
            let target = self.current();
            target.passed += result.passed;
            target.failed += result.failed;
            target.ignored += result.ignored;
            target.seconds += result.seconds;
            target.has_result = true;
        } else if let Some(test) = failed_test(line) {
            self.current().failures.push(test.to_owned());
        }
    }

    /// To be called after the last line.
    pub(super) fn finish(&mut self) {
        for target in self.targets.iter_mut().filter(|target| !target.has_result) {
            target.failed += 1;
            target.failures.push("it ended without a result".to_owned());
        }
    }

    pub(super) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The target and the name of each failed test.
    pub(super) fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        self.targets
            .iter()
            .flat_map(|target| target.failures.iter().map(|test| (target.name.as_str(), test.as_str())))
    }

    pub(super) fn passed(&self) -> u64 {
        self.targets.iter().map(|target| target.passed).sum()
    }

    pub(super) fn failed(&self) -> u64 {
        self.targets.iter().map(|target| target.failed).sum()
    }

    pub(super) fn ignored(&self) -> u64 {
        self.targets.iter().map(|target| target.ignored).sum()
    }

    pub(super) fn seconds(&self) -> f64 {
        self.targets.iter().fold(0.0, |sum, target| sum + target.seconds)
    }

    fn started_target(&self, line: &str) -> Option<String> {
        if let Some(name) = line.strip_prefix("   Doc-tests ") {
            return Some(format!("{} doc", name.replace('_', "-")));
        }
        let running = line.strip_prefix("     Running ")?.strip_suffix(')')?;
        let (source, executable) = running.rsplit_once(" (")?;
        Some(self.names.find(executable).unwrap_or(source).to_owned())
    }

    /// The target that runs now; a result before any target is counted under a name of its own.
    fn current(&mut self) -> &mut Target {
        if self.targets.is_empty() {
            self.targets.push(Target { name: "(unnamed)".to_owned(), ..Target::default() });
        }
        let last = self.targets.len() - 1;
        &mut self.targets[last]
    }
}

struct TestResult {
    passed: u64,
    failed: u64,
    ignored: u64,
    seconds: f64,
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 9 filtered out; finished in 0.10s`
fn parse_result(line: &str) -> Option<TestResult> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count =
        |noun: &str| counts.split("; ").find_map(|part| part.strip_suffix(noun)?.trim().parse::<u64>().ok());
    let seconds = counts
        .split("; ")
        .find_map(|part| part.strip_prefix("finished in ")?.strip_suffix('s')?.parse().ok());
    Some(TestResult {
        passed: count("passed")?,
        failed: count("failed")?,
        ignored: count("ignored")?,
        seconds: seconds.unwrap_or(0.0),
    })
}

/// `test tail::wakes ... FAILED`
fn failed_test(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
   Compiling bowline-types v0.1.1
    Finished `test` profile in 1.00s
     Running unittests src/lib.rs (/t/debug/deps/bowline_types-1)

running 2 tests
test ids::round_trip ... ok
test ids::bounds ... FAILED

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.25s

     Running tests/it/main.rs (target/debug/deps/it-2)
running 1 test
     Running tests/it/main.rs (/t/debug/deps/it-3)
test result: ok. 4 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 1.00s
   Doc-tests bowline_types
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.50s
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.25s
";

    fn tally() -> Tally {
        let mut names = TargetNames::default();
        names.insert("/t/debug/deps/bowline_types-1", "bowline-types unit".to_owned());
        names.insert("/checkout/target/debug/deps/it-2", "bowline-store tests/it".to_owned());
        let mut tally = Tally::new(names);
        for line in OUTPUT.lines() {
            tally.read_line(line);
        }
        tally.finish();
        tally
    }

    #[test]
    fn targets_are_named_and_counted_in_order() {
        let tally = tally();
        let rows: Vec<(&str, u64, u64, u64, f64)> = tally
            .targets()
            .iter()
            .map(|target| {
                (target.name.as_str(), target.passed, target.failed, target.ignored, target.seconds)
            })
            .collect();
        assert_eq!(
            rows,
            [
                ("bowline-types unit", 1, 1, 0, 0.25),
                ("bowline-store tests/it", 0, 1, 0, 0.0),
                ("tests/it/main.rs", 4, 0, 2, 1.0),
                ("bowline-types doc", 3, 0, 0, 0.75),
            ]
        );
        assert_eq!((tally.passed(), tally.failed(), tally.ignored()), (8, 2, 2));
    }

    #[test]
    fn failures_are_named_and_a_target_without_a_result_is_one() {
        let failures: Vec<String> =
            tally().failures().map(|(target, test)| format!("{target}: {test}")).collect();
        assert_eq!(
            failures,
            ["bowline-types unit: ids::bounds", "bowline-store tests/it: it ended without a result"]
        );
    }

    #[test]
    fn other_lines_are_passed_over() {
        let mut tally = Tally::default();
        for line in
            ["test result: unknown", "Running late (again)", "test x ... ok", "", "test result: ok. 1 passed"]
        {
            tally.read_line(line);
        }
        assert!(tally.targets().is_empty());
    }
}
