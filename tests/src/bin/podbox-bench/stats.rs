//! Medians, p99, ratios; the table and the closing JSON line.

use serde_json::{Map, Value, json};
use std::time::Duration;

/// What was measured, and how it compares to what was aimed at.
#[derive(Default)]
pub struct Report {
    lines: Vec<String>,
    metrics: Map<String, Value>,
}

/// Samples of one thing.
pub struct Samples {
    name: String,
    sorted: Vec<Duration>,
}

impl Samples {
    /// Of `name`; there must be one at least.
    pub fn new(name: &str, mut samples: Vec<Duration>) -> Samples {
        samples.sort();
        Samples { name: name.to_owned(), sorted: samples }
    }

    /// Whether these are the samples of `name`.
    pub fn is(&self, name: &str) -> bool {
        self.name == name
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.sorted.len()
    }

    /// In milliseconds.
    pub fn median_ms(&self) -> f64 {
        self.quantile(50)
    }

    /// In milliseconds.
    pub fn p99_ms(&self) -> f64 {
        self.quantile(99)
    }

    /// The smallest sample that at least so many per cent do not exceed.
    fn quantile(&self, percent: usize) -> f64 {
        let rank = (self.sorted.len() * percent).div_ceil(100).max(1);
        self.sorted.get(rank - 1).map_or(f64::NAN, |sample| sample.as_secs_f64() * 1e3)
    }
}

impl Report {
    /// A table of samples, with each median as a multiple of the first one's.
    pub fn table(&mut self, rows: &[Samples]) {
        let base = rows.first().map_or(f64::NAN, Samples::median_ms);
        self.lines
            .push(format!("{:<34} {:>7} {:>12} {:>12} {:>9}", "", "samples", "median ms", "p99 ms", "ratio"));
        for row in rows {
            let (median, p99) = (row.median_ms(), row.p99_ms());
            let ratio = median / base;
            let (name, samples) = (&row.name, row.sorted.len());
            self.lines.push(format!("{name:<34} {samples:>7} {median:>12.3} {p99:>12.3} {ratio:>9.2}"));
        }
    }

    /// A line of its own.
    pub fn line(&mut self, line: String) {
        self.lines.push(line);
    }

    /// A figure without a target.
    pub fn figure(&mut self, metric: &str, value: f64, unit: &str) {
        self.metrics.insert(metric.to_owned(), json!({ "value": round(value), "unit": unit }));
    }

    /// A figure that is to be at most `target`.
    pub fn at_most(&mut self, metric: &str, value: f64, unit: &str, target: f64) {
        let met = value <= target;
        let word = if met { "met" } else { "NOT met" };
        self.lines.push(format!("{metric}: {value:.3} {unit}, target at most {target} {unit}: {word}"));
        let figure = json!({ "value": round(value), "unit": unit, "target": target, "met": met });
        self.metrics.insert(metric.to_owned(), figure);
    }

    /// A figure that is to be at least `target`.
    pub fn at_least(&mut self, metric: &str, value: f64, unit: &str, target: f64) {
        let met = value >= target;
        let word = if met { "met" } else { "NOT met" };
        self.lines.push(format!("{metric}: {value:.0} {unit}, target at least {target} {unit}: {word}"));
        let figure = json!({ "value": round(value), "unit": unit, "target": target, "met": met });
        self.metrics.insert(metric.to_owned(), figure);
    }

    /// Prints all, the JSON object last.
    pub fn print(self, name: &str) {
        for line in self.lines {
            println!("{line}");
        }
        println!("{}", json!({ "bench": name, "metrics": self.metrics }));
    }
}

fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
