//! Prometheus' text format, for what the recorder does not keep: written anew at each scrape from what there is then, so
//! that a series ends with its object.
//!
//! **Invariants:** a family's series stand together, under one head; no series is written twice; label values are escaped; a page has
//! no more series than [`limits::PAGE_SERIES`](crate::limits::PAGE_SERIES), and counts those that it leaves out.

use super::Kind;
use crate::limits;
use std::fmt::Write;
use std::time::{Duration, SystemTime};

/// A page as far as it is written.
#[derive(Debug)]
pub struct Page {
    text: String,
    series: usize,
    most: usize,
    left_out: usize,
}

impl Default for Page {
    fn default() -> Page {
        Page::up_to(limits::PAGE_SERIES)
    }
}

/// A family of metrics that is made of objects: one, none or several series of each.
#[derive(Clone, Copy, Debug)]
pub struct Family<T: ?Sized> {
    /// Its name.
    pub name: &'static str,
    /// What it measures with.
    pub kind: Kind,
    /// What it says, for people.
    pub help: &'static str,
    /// Writes what it has of one object.
    pub series: fn(&T, &mut Series<'_>),
}

/// A family that only grows.
pub const fn counter<T: ?Sized>(
    name: &'static str,
    help: &'static str,
    series: fn(&T, &mut Series<'_>),
) -> Family<T> {
    Family { name, kind: Kind::Counter, help, series }
}

/// A family that goes up and down.
pub const fn gauge<T: ?Sized>(
    name: &'static str,
    help: &'static str,
    series: fn(&T, &mut Series<'_>),
) -> Family<T> {
    Family { name, kind: Kind::Gauge, help, series }
}

impl Page {
    fn up_to(most: usize) -> Page {
        Page { text: String::new(), series: 0, most, left_out: 0 }
    }

    /// The text, and how many series it leaves out.
    pub fn finish(self) -> (String, usize) {
        (self.text, self.left_out)
    }

    /// Adds whole families that are text already.
    pub fn append(&mut self, families: &str) {
        self.series += families.lines().filter(|line| !line.starts_with('#')).count();
        self.text.push_str(families);
    }

    /// Begins a family of which no object is needed.
    pub fn family<'a>(&'a mut self, name: &'a str, kind: Kind, help: &'static str) -> Series<'a> {
        Series { head: Some((kind, help)), name, own: "", page: self, begun: Vec::new() }
    }

    /// Begins a family of the table of which no object is needed.
    pub fn row(&mut self, name: &'static str) -> Series<'_> {
        let (kind, help) = super::row(name);
        self.family(name, kind, help)
    }

    /// Writes a family of the table: of all these objects, each with the labels that say which it is.
    pub fn rows<'a, T: ?Sized + 'a>(
        &mut self,
        name: &'static str,
        objects: impl IntoIterator<Item = (&'a str, &'a T)>,
        series: impl Fn(&T, &mut Series<'_>),
    ) {
        let (kind, help) = super::row(name);
        self.write_named((name, kind, help), objects, series);
    }

    /// Writes a family whose name is made up: of all these objects, each with the labels that say which it is.
    pub fn write_named<'a, T: ?Sized + 'a>(
        &mut self,
        (name, kind, help): (&str, Kind, &'static str),
        objects: impl IntoIterator<Item = (&'a str, &'a T)>,
        series: impl Fn(&T, &mut Series<'_>),
    ) {
        let mut head = Some((kind, help));
        for (own, object) in objects {
            let mut lines = Series { head, name, own, page: self, begun: Vec::new() };
            series(object, &mut lines);
            head = lines.head;
        }
    }

    /// Writes a family: of all these objects, each with the labels that say which it is.
    pub fn write<'a, T: ?Sized + 'a>(
        &mut self,
        family: &Family<T>,
        objects: impl IntoIterator<Item = (&'a str, &'a T)>,
    ) {
        let Family { name, kind, help, series } = *family;
        self.write_named((name, kind, help), objects, series);
    }
}

/// The series that a family has of one object.
#[derive(Debug)]
pub struct Series<'a> {
    /// What is written before the first of them.
    head: Option<(Kind, &'static str)>,
    name: &'a str,
    /// The labels that say which object it is, as text.
    own: &'a str,
    page: &'a mut Page,
    /// Where the labels of the lines so far are in the page, while there are several.
    begun: Vec<(usize, usize)>,
}

impl Series<'_> {
    /// The object's only one.
    pub fn one(&mut self, value: impl Number) {
        self.with(&[], value);
    }

    /// One with further labels.
    pub fn with(&mut self, labels: &[(&str, &str)], value: impl Number) {
        self.line("", labels, value);
    }

    /// That something is so.
    pub fn info(&mut self, labels: &[(&str, &str)]) {
        self.with(labels, 1u64);
    }

    /// Of several states, which it is.
    pub fn state(&mut self, label: &str, states: &[&str], now: &str) {
        for state in states {
            self.with(&[(label, state)], *state == now);
        }
    }

    /// A histogram: how many were at most each bound, but not the one before; their sum and number.
    pub fn histogram(&mut self, labels: &[(&str, &str)], buckets: &[(f64, u64)], sum: f64, count: u64) {
        let mut below = 0;
        let mut bucket = |bound: &str, below: u64| {
            let with_bound: Vec<_> = labels.iter().copied().chain([("le", bound)]).collect();
            self.line("_bucket", &with_bound, below);
        };
        for (bound, inside) in buckets {
            below += inside;
            bucket(&bound.to_string(), below);
        }
        bucket("+Inf", count);
        self.line("_sum", labels, sum);
        self.line("_count", labels, count);
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Number) {
        let page = &mut *self.page;
        if page.series >= page.most {
            page.left_out += 1;
            return;
        }
        if let Some((kind, help)) = self.head.take() {
            page.text.push_str(&head(self.name, kind, help));
        }
        let line = page.text.len();
        page.text.extend([self.name, suffix]);
        let begin = page.text.len();
        if !self.own.is_empty() || !labels.is_empty() {
            page.text.push('{');
            page.text.push_str(self.own);
            for (index, (name, value)) in labels.iter().enumerate() {
                if index > 0 || !self.own.is_empty() {
                    page.text.push(',');
                }
                label(&mut page.text, name, value);
            }
            page.text.push('}');
        }
        let end = page.text.len();
        let is_new = |(from, to): &(usize, usize)| page.text[*from..*to] != page.text[begin..end];
        // Bounds of a histogram differ, and its sum and count have other names.
        if suffix.is_empty() && !self.begun.iter().all(is_new) {
            page.text.truncate(line);
            return;
        }
        if suffix.is_empty() {
            self.begun.push((begin, end));
        }
        page.text.push(' ');
        value.write(&mut page.text);
        page.text.push('\n');
        page.series += 1;
    }
}

/// The head of a family.
pub fn head(name: &str, kind: Kind, help: &str) -> String {
    let kind = match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    format!("# HELP {name} {help}\n# TYPE {name} {kind}\n")
}

/// Labels as text, without braces.
pub fn labels(labels: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in labels {
        if !text.is_empty() {
            text.push(',');
        }
        label(&mut text, name, value);
    }
    text
}

fn label(text: &mut String, name: &str, value: &str) {
    text.push_str(name);
    text.push_str("=\"");
    // Nearly none of them has anything to escape.
    for part in value.split_inclusive(['\\', '"', '\n']) {
        match part.strip_suffix(['\\', '"', '\n']) {
            Some(before) => {
                text.push_str(before);
                text.push_str(match part.as_bytes()[before.len()] {
                    b'\\' => "\\\\",
                    b'"' => "\\\"",
                    _ => "\\n",
                });
            }
            None => text.push_str(part),
        }
    }
    text.push('"');
}

/// What a series' value can be.
pub trait Number {
    /// Writes it.
    fn write(self, text: &mut String);
}

macro_rules! numbers {
    ($($of:ty),*) => {
        $(impl Number for $of {
            fn write(self, text: &mut String) {
                // Writing to a String cannot fail.
                let _ = write!(text, "{self}");
            }
        })*
    };
}
numbers!(f64, i32, i64, u32, u64, usize);

impl Number for bool {
    fn write(self, text: &mut String) {
        text.push(if self { '1' } else { '0' });
    }
}

/// A span, in seconds.
impl Number for Duration {
    fn write(self, text: &mut String) {
        self.as_secs_f64().write(text);
    }
}

/// A moment, in seconds since the epoch.
impl Number for SystemTime {
    fn write(self, text: &mut String) {
        self.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().write(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PODS: Family<[&str]> = gauge("pods", "Pods.", |names, series| {
        names.iter().for_each(|name| series.with(&[("name", name)], 1.5));
    });

    #[track_caller]
    fn check(page: Page, expected: &str, left_out: usize) {
        assert_eq!(page.finish(), (expected.to_owned(), left_out));
    }

    #[test]
    fn values_are_escaped_and_no_series_comes_twice() {
        let mut page = Page::default();
        page.write(&PODS, [("", &["a\"\\\nb", "c", "c"][..]), ("node=\"n\"", &["c"])]);
        let text = "# HELP pods Pods.\n# TYPE pods gauge\npods{name=\"a\\\"\\\\\\nb\"} 1.5\npods{name=\"c\"} 1.5\n\
                    pods{node=\"n\",name=\"c\"} 1.5\n";
        check(page, text, 0);
    }

    #[test]
    fn a_family_without_series_is_not_there() {
        let mut page = Page::default();
        page.write(&PODS, [("", &[][..])]);
        page.family("up", Kind::Gauge, "Whether it is.").one(true);
        check(page, "# HELP up Whether it is.\n# TYPE up gauge\nup 1\n", 0);
    }

    #[test]
    fn what_a_page_has_no_room_for_is_counted() {
        let mut page = Page::up_to(2);
        page.write(&PODS, [("", &["a", "b", "c", "d"][..])]);
        let text = "# HELP pods Pods.\n# TYPE pods gauge\npods{name=\"a\"} 1.5\npods{name=\"b\"} 1.5\n";
        check(page, text, 2);
    }

    #[test]
    fn a_histograms_buckets_have_all_that_is_below_their_bound() {
        let mut page = Page::default();
        let mut series = page.family("h", Kind::Histogram, "H.");
        series.histogram(&[("a", "b")], &[(0.5, 1), (1.0, 2)], 2.5, 4);
        let text = "# HELP h H.\n# TYPE h histogram\nh_bucket{a=\"b\",le=\"0.5\"} 1\nh_bucket{a=\"b\",le=\"1\"} 3\n\
                    h_bucket{a=\"b\",le=\"+Inf\"} 4\nh_sum{a=\"b\"} 2.5\nh_count{a=\"b\"} 4\n";
        check(page, text, 0);
    }
}
