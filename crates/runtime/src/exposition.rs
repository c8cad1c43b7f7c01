//! Reads what `/metrics` answers: the Prometheus text format, as far as checks and reports need it.
//!
//! A line that can't be read is left out: a newer node may say more than this reader knows. It refuses to
//! judge a value.

/// One value with its labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The metric's name, with `_bucket`, `_sum` or `_count` if it is part of a histogram.
    pub name: String,
    /// Label names and values, as they stand.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
}

impl Sample {
    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Everything that `/metrics` answered at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples(Vec<Sample>);

impl Samples {
    /// Reads the text format.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        Self(lines.filter_map(parse_line).collect())
    }

    /// Every series of a metric.
    pub fn series(&self, name: &str) -> impl Iterator<Item = &Sample> {
        self.0.iter().filter(move |sample| sample.name == name)
    }

    /// The sum over a metric's series; none if there is no such metric.
    pub fn sum(&self, name: &str) -> Option<f64> {
        self.series(name).map(|sample| sample.value).fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    }

    /// The value of the series with that label.
    pub fn labelled(&self, name: &str, label: &str, value: &str) -> Option<f64> {
        self.series(name).find(|sample| sample.label(label) == Some(value)).map(|sample| sample.value)
    }

    /// How many values a histogram has seen, over all of its series.
    pub fn count(&self, histogram: &str) -> Option<f64> {
        self.sum(&format!("{histogram}_count"))
    }

    /// The value below which the share `quantile` of a histogram's values lie, over all of its series: linear
    /// within a bucket, as Prometheus' `histogram_quantile` has it. None without values.
    pub fn quantile(&self, histogram: &str, quantile: f64) -> Option<f64> {
        let buckets = self.buckets(&format!("{histogram}_bucket"));
        let total = buckets.last().map(|(_, count)| *count).filter(|total| *total > 0.0)?;
        let rank = quantile * total;
        let (mut lower, mut below) = (0.0, 0.0);
        for (bound, count) in buckets {
            if count >= rank {
                // Beyond the last finite bound nothing is known but that bound.
                let within = if count > below { (rank - below) / (count - below) } else { 1.0 };
                return Some(if bound.is_finite() { lower + (bound - lower) * within } else { lower });
            }
            (lower, below) = (bound, count);
        }
        None
    }

    /// What was counted between `earlier` and this moment. What is no counter keeps its value; a counter that
    /// is smaller than before began anew, and counts from 0.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let counted =
            |name: &str| ["_total", "_bucket", "_sum", "_count"].iter().any(|end| name.ends_with(end));
        let change = |sample: &Sample| {
            let before = earlier.0.iter().find(|old| old.name == sample.name && old.labels == sample.labels);
            let before = before.filter(|_| counted(&sample.name)).map_or(0.0, |old| old.value);
            let value = if sample.value >= before { sample.value - before } else { sample.value };
            Sample { value, ..sample.clone() }
        };
        Self(self.0.iter().map(change).collect())
    }

    /// Upper bounds with the number of values up to each, summed over the series, ascending.
    fn buckets(&self, name: &str) -> Vec<(f64, f64)> {
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for sample in self.series(name) {
            let Some(bound) = sample.label("le").and_then(number) else { continue };
            match buckets.iter_mut().find(|(known, _)| *known == bound) {
                Some((_, count)) => *count += sample.value,
                None => buckets.push((bound, sample.value)),
            }
        }
        buckets.sort_by(|left, right| left.0.total_cmp(&right.0));
        buckets
    }
}

fn parse_line(line: &str) -> Option<Sample> {
    let (name, labels, rest) = match line.split_once('{') {
        Some((name, rest)) => {
            let (labels, rest) = parse_labels(rest)?;
            (name, labels, rest)
        }
        None => {
            let (name, rest) = line.split_once(' ')?;
            (name, Vec::new(), rest)
        }
    };
    // A timestamp may follow the value.
    let value = number(rest.split_whitespace().next()?)?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// The labels up to the closing brace, and what stands behind it.
fn parse_labels(mut text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        text = text.trim_start_matches([',', ' ']);
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = rest.char_indices();
        loop {
            match chars.next()? {
                (at, '"') => {
                    text = &rest[at + 1..];
                    break;
                }
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        }
        labels.push((name.to_owned(), value));
    }
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        _ => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
# HELP latency_seconds Time
# TYPE latency_seconds histogram
latency_seconds_bucket{path="/a",le="0.1"} 90
latency_seconds_bucket{path="/a",le="1"} 98
latency_seconds_bucket{path="/a",le="+Inf"} 100
latency_seconds_sum{path="/a"} 12.5
latency_seconds_count{path="/a"} 100
latency_seconds_bucket{path="/b \"x\",y}",le="0.1"} 0
latency_seconds_bucket{path="/b \"x\",y}",le="1"} 0
latency_seconds_bucket{path="/b \"x\",y}",le="+Inf"} 100
latency_seconds_count{path="/b \"x\",y}"} 100
refused_total{kind="full"} 3
refused_total{kind="away"} 4 1700000000
open 7
damaged{kind=
"#;

    #[test]
    fn values_are_read_with_their_labels_and_damage_is_left_out() {
        let samples = Samples::parse(TEXT);
        assert_eq!(samples.sum("refused_total"), Some(7.0));
        assert_eq!(samples.labelled("refused_total", "kind", "away"), Some(4.0));
        assert_eq!(samples.sum("open"), Some(7.0));
        assert_eq!((samples.sum("damaged"), samples.sum("absent")), (None, None));
        let labels: Vec<_> =
            samples.series("latency_seconds_count").map(|s| s.label("path").unwrap()).collect();
        assert_eq!(labels, ["/a", "/b \"x\",y}"]);
    }

    #[test]
    fn a_quantile_is_that_of_all_series_together() {
        let samples = Samples::parse(TEXT);
        assert_eq!(samples.count("latency_seconds"), Some(200.0));
        assert!((samples.quantile("latency_seconds", 0.45).unwrap() - 0.1).abs() < 1e-9);
        // Half of the values lie beyond the last bound: at least that much is known.
        assert_eq!(samples.quantile("latency_seconds", 0.99), Some(1.0));
        assert_eq!(samples.quantile("absent", 0.99), None);
        assert_eq!(Samples::parse("x_bucket{le=\"1\"} 0").quantile("x", 0.5), None);
    }

    #[test]
    fn a_span_counts_what_happened_in_it() {
        let (before, after) =
            (Samples::parse("a_total 5\nb 5\nc_total 9"), Samples::parse("a_total 8\nb 8\nc_total 2"));
        let span = after.since(&before);
        assert_eq!(
            [span.sum("a_total"), span.sum("b"), span.sum("c_total")],
            [Some(3.0), Some(8.0), Some(2.0)]
        );
    }
}
