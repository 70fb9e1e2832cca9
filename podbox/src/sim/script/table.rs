//! Tables as `kubectl get` prints them, of the columns that the server makes.

use crate::api::kinds::Kind;
use crate::api::print;
use serde_json::Value;
use std::time::SystemTime;

/// The lines of a table; none if there is nothing to be shown.
pub fn lines<'a>(
    kind: &Kind,
    objects: impl Iterator<Item = &'a Value>,
    wide: bool,
    now: SystemTime,
) -> Vec<String> {
    let printer = print::printer(kind);
    let shown: Vec<usize> =
        (0..printer.columns.len()).filter(|column| wide || !printer.columns[*column].3).collect();
    let cells = |object: &Value| {
        let cells = (printer.cells)(object, now);
        shown.iter().map(|column| text(cells.get(*column))).collect::<Vec<_>>()
    };
    let rows: Vec<Vec<String>> = objects.map(cells).collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let head: Vec<String> = shown.iter().map(|column| printer.columns[*column].0.to_uppercase()).collect();
    let all: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..shown.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("   ").trim_end().to_owned()
    };
    all.iter().map(line).collect()
}

fn text(cell: Option<&Value>) -> String {
    match cell {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}
