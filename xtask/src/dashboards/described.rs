//! The words in which dashboards and rules are described.

/// A dashboard.
pub struct Board {
    /// Its file's name, and Grafana's key of it.
    pub name: &'static str,
    /// What it is called.
    pub title: &'static str,
    /// What it answers.
    pub about: &'static str,
    /// What its queries can be narrowed by.
    pub variables: &'static [Variable],
    /// Its rows.
    pub rows: &'static [Row],
}

/// Something that a dashboard's queries can be narrowed by: `label=~"$label"`.
pub struct Variable {
    /// The label.
    pub label: &'static str,
    /// What is asked for its values.
    pub of: &'static str,
}

/// Panels side by side.
pub struct Row {
    /// What they are about.
    pub title: &'static str,
    /// At most three.
    pub panels: &'static [Panel],
}

/// A picture of some queries over time.
pub struct Panel {
    /// What it shows.
    pub title: &'static str,
    /// What to look for, and what it means.
    pub about: &'static str,
    /// In what it is measured.
    pub unit: Unit,
    /// What is asked.
    pub queries: &'static [Query],
}

/// Something to ask Prometheus.
pub struct Query {
    /// In its language.
    pub expr: &'static str,
    /// How a series is called, with labels in braces.
    pub legend: &'static str,
}

/// In what something is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Count,
    PerSecond,
    Seconds,
    Bytes,
    BytesPerSecond,
    Share,
    Cores,
}

/// An alert.
pub struct Alert {
    /// Its name.
    pub name: &'static str,
    /// When it is due.
    pub expr: &'static str,
    /// For how long it has to be so.
    pub lasts: &'static str,
    /// How bad that is.
    pub severity: Severity,
    /// What happened, with labels in braces.
    pub summary: &'static str,
    /// What it means.
    pub means: &'static str,
    /// What to look at and to do, in order.
    pub steps: &'static [&'static str],
    /// What proves that it comes when it should.
    pub proof: Proof,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Somebody should look now.
    Critical,
    /// Somebody should look today.
    Warning,
    /// Somebody should know.
    Info,
}

/// A story that ends in an alert, in the words of `promtool test rules`.
pub struct Proof {
    /// Series, with a value per minute.
    pub series: &'static [(&'static str, &'static str)],
    /// When it is not due yet.
    pub quiet: &'static str,
    /// When it is.
    pub due: &'static str,
    /// The labels that it then has, but for its severity.
    pub labels: &'static [(&'static str, &'static str)],
}

/// What is computed once for all who ask.
pub struct Record {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub expr: &'static str,
}

/// A query, by its expression and its series' names.
pub const fn query(expr: &'static str, legend: &'static str) -> Query {
    Query { expr, legend }
}
