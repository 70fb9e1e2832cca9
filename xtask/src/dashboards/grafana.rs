//! Dashboards as Grafana imports them.

use serde_json::{Value, json};

use super::described::{Board, Panel, Unit};

/// Grafana's grid is so wide.
const WIDTH: usize = 24;
/// How high a panel is on it.
const HEIGHT: usize = 8;

/// A dashboard's file.
pub fn json(board: &Board) -> String {
    let source =
        json!({"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"});
    let variables = board.variables.iter().map(|variable| {
        json!({
            "name": variable.label,
            "type": "query",
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "query": format!("label_values({}, {})", variable.of, variable.label),
            "refresh": 2,
            "includeAll": true,
            "multi": true,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        })
    });
    let variables: Vec<Value> = std::iter::once(source).chain(variables).collect();
    let mut panels = Vec::new();
    let mut below = 0;
    for row in board.rows {
        let id = panels.len() + 1;
        panels.push(json!({
            "id": id, "title": row.title, "type": "row", "collapsed": false, "panels": [],
            "gridPos": {"x": 0, "y": below, "w": WIDTH, "h": 1},
        }));
        let width = WIDTH / row.panels.len().max(1);
        for (index, shown) in row.panels.iter().enumerate() {
            let place = json!({"x": index * width, "y": below + 1, "w": width, "h": HEIGHT});
            panels.push(panel(shown, panels.len() + 1, place));
        }
        below += 1 + HEIGHT;
    }
    let mut made = json!({
        "title": board.title,
        "uid": format!("podbox-{}", board.name),
        "description": board.about,
        "tags": ["podbox"],
        "schemaVersion": 39,
        "version": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": variables},
        "panels": panels,
    });
    // In the same order whatever serde_json was built with.
    made.sort_all_objects();
    format!("{made:#}\n")
}

fn panel(panel: &Panel, id: usize, place: Value) -> Value {
    let queries = panel.queries.iter().enumerate().map(|(index, query)| {
        let reference = char::from(b'A' + u8::try_from(index).unwrap_or(25));
        json!({
            "refId": reference,
            "expr": query.expr,
            "legendFormat": query.legend,
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
        })
    });
    json!({
        "id": id,
        "title": panel.title,
        "description": panel.about,
        "type": "timeseries",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": unit(panel.unit), "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": queries.collect::<Vec<_>>(),
    })
}

/// Grafana's word for it.
fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Count | Unit::Cores => "short",
        Unit::PerSecond => "ops",
        Unit::Seconds => "s",
        Unit::Bytes => "bytes",
        Unit::BytesPerSecond => "Bps",
        Unit::Share => "percentunit",
    }
}
