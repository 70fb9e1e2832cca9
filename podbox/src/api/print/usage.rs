//! Rows of what nodes and pods use.

use super::cell;
use super::{Column, NAME, Printer};
use crate::api::object;
use crate::api::quantity::Quantity;
use serde_json::Value;

const COLUMNS: &[Column] = &[
    NAME,
    ("cpu", "string", "quantity", false),
    ("memory", "string", "quantity", false),
    ("Window", "string", "duration", false),
];

pub(super) static NODE: Printer =
    Printer { columns: COLUMNS, cells: |object, _| row(object, &[&object["usage"]]) };

pub(super) static POD: Printer = Printer {
    columns: COLUMNS,
    cells: |object, _| {
        let usages: Vec<&Value> = cell::list(object, "/containers").map(|one| &one["usage"]).collect();
        row(object, &usages)
    },
};

fn row(object: &Value, usages: &[&Value]) -> Vec<Value> {
    let sum = |of: &str| {
        let amounts = usages.iter().filter_map(|usage| Quantity::parse(usage[of].as_str()?).ok());
        amounts.fold(Quantity::ZERO, Quantity::plus).to_string()
    };
    vec![
        object::name(object).into(),
        sum("cpu").into(),
        sum("memory").into(),
        cell::text(object, "/window", ""),
    ]
}
