//! A table of two builds: for each figure of a row the medians of the base and of this, and their ratio.
//!
//! The ratio is the median of the ratios of the pairs, not the ratio of the medians, since only the two of a pair were
//! measured in the same minute. Behind it stand the smallest and the largest. A base of zero has no ratio.

use std::fmt::Write as _;

use super::Pair;

/// One measured quantity with its unit, and how many digits behind the point mean something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) decimals: usize,
}

/// Rows that are told apart by their keys, each with the same figures.
#[derive(Debug)]
pub(super) struct Table {
    keys: Vec<&'static str>,
    figures: Vec<Figure>,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    keys: Vec<String>,
    /// The pairs of each figure.
    figures: Vec<Vec<Pair<f64>>>,
}

impl Table {
    pub(super) fn new(keys: &[&'static str], figures: &[Figure]) -> Table {
        Table { keys: keys.to_vec(), figures: figures.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; `values` gives the figures of one measurement in the table's order.
    pub(super) fn add<T>(&mut self, keys: Vec<String>, pairs: &[Pair<T>], values: impl Fn(&T) -> Vec<f64>) {
        let measured: Vec<Pair<Vec<f64>>> = pairs.iter().map(|pair| pair.map(&values)).collect();
        let figures = (0..self.figures.len())
            .map(|index| measured.iter().map(|pair| pair.map(|values| values[index])).collect())
            .collect();
        self.rows.push(Row { keys, figures });
    }

    /// The newest row on one line, for progress.
    pub(super) fn newest(&self) -> String {
        let Some(row) = self.rows.last() else { return String::new() };
        let keys: Vec<String> =
            self.keys.iter().zip(&row.keys).map(|(name, value)| format!("{name} {value}")).collect();
        let figures: Vec<String> = self
            .figures
            .iter()
            .zip(&row.figures)
            .map(|(figure, pairs)| {
                let [base, this, ratio] = cells(figure, pairs);
                format!("{} {base} -> {this}, {ratio}", figure.name)
            })
            .collect();
        format!("{}: {}", keys.join(", "), figures.join("; "))
    }

    pub(super) fn markdown(&self) -> String {
        let mut lines = vec![self.header()];
        lines.extend(self.rows.iter().map(|row| {
            let figures = self.figures.iter().zip(&row.figures);
            let figures = figures.flat_map(|(figure, pairs)| cells(figure, pairs));
            row.keys.iter().cloned().chain(figures).collect()
        }));
        let columns = lines[0].len();
        let width_of = |column: usize| {
            lines.iter().filter_map(|line| Some(line.get(column)?.chars().count())).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width_of).collect();
        let mut text = String::new();
        for (index, line) in lines.iter().enumerate() {
            // Padded, so that it can be read in a terminal as well. Writing to a string does not fail.
            let padded: Vec<String> =
                line.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
            let _ = writeln!(text, "| {} |", padded.join(" | "));
            if index == 0 {
                let rule: Vec<String> = widths.iter().map(|width| "-".repeat(width + 1) + ":").collect();
                let _ = writeln!(text, "|{}|", rule.join("|"));
            }
        }
        text
    }

    fn header(&self) -> Vec<String> {
        let keys = self.keys.iter().map(|key| (*key).to_owned());
        let figures = self.figures.iter().flat_map(|figure| {
            [format!("{} base", figure.name), "this".to_owned(), "this/base (min..max)".to_owned()]
        });
        keys.chain(figures).collect()
    }
}

/// Base, this, and their ratio with its spread.
fn cells(figure: &Figure, pairs: &[Pair<f64>]) -> [String; 3] {
    let number =
        |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.0$}", figure.decimals));
    let base = median(pairs.iter().map(|pair| pair.base).collect());
    let this = median(pairs.iter().map(|pair| pair.this).collect());
    let mut ratios: Vec<f64> = pairs.iter().map(|pair| pair.this / pair.base).collect();
    ratios.retain(|ratio| ratio.is_finite());
    let (least, most) = ratios.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), ratio| {
        (least.min(*ratio), most.max(*ratio))
    });
    let ratio = match median(ratios) {
        Some(ratio) => format!("{ratio:.2} ({least:.2}..{most:.2})"),
        None => "–".to_owned(),
    };
    [number(base), number(this), ratio]
}

/// The one in the middle, or the mean of the two there; none of nothing.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 0 => Some((values[middle - 1] + values[middle]) / 2.0),
        _ => Some(values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let figures = [Figure { name: "events/s", decimals: 0 }, Figure { name: "p99 ms", decimals: 1 }];
        let mut table = Table::new(&["store"], &figures);
        // The machine gets slower by half, the builds stay 10 % apart.
        let pairs = [(1000.0, 1100.0), (500.0, 550.0), (700.0, 700.0)]
            .map(|(base, this)| Pair { base: [base, 4.0], this: [this, 0.0] });
        table.add(vec!["sqlite".to_owned()], &pairs, |values| values.to_vec());
        let pairs = [Pair { base: [0.0, 1.0], this: [10.0, 2.0] }];
        table.add(vec!["postgres".to_owned()], &pairs, |values| values.to_vec());
        table
    }

    #[test]
    fn the_ratio_is_that_of_pairs_and_has_its_spread() {
        let text = table().markdown();
        let lines: Vec<&str> = text.lines().collect();
        let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
        assert_eq!(
            cells(lines[0])[1..8],
            [
                "store",
                "events/s base",
                "this",
                "this/base (min..max)",
                "p99 ms base",
                "this",
                "this/base (min..max)"
            ]
        );
        assert_eq!(
            cells(lines[2])[1..8],
            ["sqlite", "700", "700", "1.10 (1.00..1.10)", "4.0", "0.0", "0.00 (0.00..0.00)"]
        );
        assert_eq!(cells(lines[3])[1..8], ["postgres", "0", "10", "–", "1.0", "2.0", "2.00 (2.00..2.00)"]);
        assert!(lines[1].starts_with("|---------:|"), "{text}");
        assert!(lines.iter().all(|line| line.chars().count() == lines[0].len()), "{text}");
    }

    #[test]
    fn the_newest_row_tells_how_far_it_is() {
        assert_eq!(
            table().newest(),
            "store postgres: events/s 0 -> 10, –; p99 ms 1.0 -> 2.0, 2.00 (2.00..2.00)"
        );
        assert_eq!(Table::new(&["store"], &[]).newest(), "");
    }

    #[test]
    fn the_median_of_two_is_between_them() {
        assert_eq!(median(vec![3.0, 1.0]), Some(2.0));
        assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(Vec::new()), None);
    }
}
