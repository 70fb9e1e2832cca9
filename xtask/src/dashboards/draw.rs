//! Pictures of dashboards: what their queries gave, drawn as SVG for the documentation. No picture says more than the numbers do:
//! one line per series, from zero, the same colours for the same places in a panel.

use std::fmt::Write;

use serde_json::Value;

use super::described::{Board, Panel, Unit};

const WIDTH: f64 = 1200.0;
const MARGIN: f64 = 16.0;
const TITLE: f64 = 40.0;
const ROW: f64 = 26.0;
const HEIGHT: f64 = 230.0;
/// Series that a panel draws; of the others it says how many there are.
const MOST: usize = 5;
const COLOURS: [&str; MOST] = ["#2f6fb3", "#d9822b", "#3d9a50", "#b3404a", "#7a5aa6"];

/// A series of a panel, as it was measured.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

/// The picture of a dashboard. `data` has of each panel's title what each of its queries gave, as Prometheus' `query_range` answers.
pub fn svg(board: &Board, data: &Value) -> String {
    let rows = board.rows.len() as f64;
    let height = TITLE + rows * (ROW + HEIGHT) + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"DejaVu Sans, sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    text(&mut svg, (MARGIN, 26.0), "font-size=\"17\" font-weight=\"bold\" fill=\"#222\"", board.title);
    let mut top = TITLE;
    for row in board.rows {
        text(&mut svg, (MARGIN, top + 17.0), "font-size=\"13\" fill=\"#555\"", row.title);
        top += ROW;
        let width = (WIDTH - MARGIN) / row.panels.len().max(1) as f64;
        for (index, shown) in row.panels.iter().enumerate() {
            let left = MARGIN + index as f64 * width;
            panel(
                &mut svg,
                shown,
                &lines(shown, &data[shown.title]),
                (left, top, width - MARGIN, HEIGHT - 12.0),
            );
        }
        top += HEIGHT;
    }
    svg.push_str("</svg>\n");
    svg
}

/// The series of a panel, those with the largest values first.
fn lines(panel: &Panel, answers: &Value) -> Vec<Line> {
    let mut lines = Vec::new();
    for (query, answer) in panel.queries.iter().zip(answers.as_array().into_iter().flatten()) {
        for series in answer.as_array().into_iter().flatten() {
            let points = series["values"].as_array().into_iter().flatten();
            let point = |point: &Value| {
                let value: f64 = point[1].as_str()?.parse().ok()?;
                value.is_finite().then_some((point[0].as_f64()?, value))
            };
            let points: Vec<_> = points.filter_map(point).collect();
            if !points.is_empty() {
                lines.push(Line { name: named(query.legend, &series["metric"]), points });
            }
        }
    }
    let most = |line: &Line| line.points.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    lines.sort_by(|a, b| most(b).total_cmp(&most(a)).then_with(|| a.name.cmp(&b.name)));
    lines
}

/// A series' name: the legend with its labels.
fn named(legend: &str, labels: &Value) -> String {
    let mut name = String::new();
    let mut rest = legend;
    while let Some((before, behind)) = rest.split_once("{{") {
        let (label, behind) = behind.split_once("}}").unwrap_or((behind, ""));
        name.push_str(before);
        name.push_str(labels[label].as_str().unwrap_or_default());
        rest = behind;
    }
    name + rest
}

fn panel(svg: &mut String, panel: &Panel, lines: &[Line], (left, top, width, height): (f64, f64, f64, f64)) {
    // Writing to a String cannot fail.
    let _ = writeln!(
        svg,
        "<rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" fill=\"#fafafa\" stroke=\"#ddd\"/>"
    );
    text(svg, (left + 8.0, top + 17.0), "font-size=\"12\" font-weight=\"bold\" fill=\"#333\"", panel.title);
    let legend = lines.len().min(MOST) as f64 * 14.0 + if lines.len() > MOST { 14.0 } else { 0.0 };
    let (x, y, w, h) = (left + 58.0, top + 28.0, width - 70.0, height - 42.0 - legend);
    if lines.is_empty() {
        text(svg, (left + width / 2.0 - 30.0, top + height / 2.0), "fill=\"#999\"", "no series");
        return;
    }
    let points = || lines.iter().flat_map(|line| line.points.iter());
    let (from, to) = points().fold((f64::MAX, f64::MIN), |(from, to), (at, _)| (from.min(*at), to.max(*at)));
    let top_value = nice(points().map(|(_, value)| *value).fold(0.0, f64::max));
    for part in 0..=2 {
        let (value, line) = (top_value * f64::from(part) / 2.0, y + h - h * f64::from(part) / 2.0);
        let _ = writeln!(svg, "<path d=\"M{x:.1} {line:.1}h{w:.1}\" stroke=\"#e4e4e4\" fill=\"none\"/>");
        text(svg, (x - 6.0, line + 4.0), "fill=\"#777\" text-anchor=\"end\"", &worded(value, panel.unit));
    }
    for (index, line) in lines.iter().take(MOST).enumerate() {
        let colour = COLOURS[index];
        let at = |(at, value): &(f64, f64)| {
            let along = if to > from { (at - from) / (to - from) } else { 0.5 };
            format!("{:.1},{:.1}", x + w * along, y + h - h * value / top_value)
        };
        let points: Vec<String> = line.points.iter().map(at).collect();
        let _ = match line.points.as_slice() {
            [one] => {
                let (cx, cy) =
                    at(one).split_once(',').map(|(x, y)| (x.to_owned(), y.to_owned())).unwrap_or_default();
                writeln!(svg, "<circle cx=\"{cx}\" cy=\"{cy}\" r=\"2.5\" fill=\"{colour}\"/>")
            }
            _ => writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"/>",
                points.join(" ")
            ),
        };
        let below = y + h + 18.0 + index as f64 * 14.0;
        let _ = writeln!(
            svg,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"10\" height=\"3\" fill=\"{colour}\"/>",
            left + 10.0,
            below - 5.0
        );
        let last = line.points.last().map_or(0.0, |(_, value)| *value);
        let name: String = line.name.chars().take((width / 7.5) as usize).collect();
        text(svg, (left + 26.0, below), "fill=\"#444\"", &format!("{name}  {}", worded(last, panel.unit)));
    }
    if lines.len() > MOST {
        let below = y + h + 18.0 + MOST as f64 * 14.0;
        text(svg, (left + 26.0, below), "fill=\"#999\"", &format!("and {} more", lines.len() - MOST));
    }
}

/// A round number that is not below this one.
fn nice(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let scale = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    steps.iter().map(|step| step * scale).find(|step| *step >= value).unwrap_or(value)
}

/// A number with its unit.
fn worded(value: f64, unit: Unit) -> String {
    let scaled = |value: f64, steps: &[(f64, &str)], suffix: &str| {
        let (scale, word) =
            steps.iter().find(|(scale, _)| value.abs() >= *scale).copied().unwrap_or((1.0, ""));
        format!("{}{word}{suffix}", short(value / scale))
    };
    let bytes = [(f64::from(1 << 30), " GiB"), (f64::from(1 << 20), " MiB"), (f64::from(1 << 10), " KiB")];
    match unit {
        Unit::Bytes => scaled(value, &bytes, ""),
        Unit::BytesPerSecond => scaled(value, &bytes, "/s"),
        Unit::Seconds if value == 0.0 => "0 s".to_owned(),
        Unit::Seconds if value < 1e-3 => format!("{} µs", short(value * 1e6)),
        Unit::Seconds if value < 1.0 => format!("{} ms", short(value * 1e3)),
        Unit::Seconds => format!("{} s", short(value)),
        Unit::Share => format!("{} %", short(value * 100.0)),
        Unit::PerSecond => format!("{}/s", short(value)),
        Unit::Count | Unit::Cores => short(value),
    }
}

/// Three digits.
fn short(value: f64) -> String {
    let digits = match value.abs() {
        value if value == 0.0 || value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

fn text(svg: &mut String, (x, y): (f64, f64), style: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{text}</text>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_short_and_have_their_unit() {
        let all = [
            (3.0 * 1024.0, Unit::Bytes),
            (0.00042, Unit::Seconds),
            (0.5, Unit::Share),
            (1234.0, Unit::PerSecond),
        ];
        assert_eq!(all.map(|(value, unit)| worded(value, unit)), ["3 KiB", "420 µs", "50 %", "1234/s"]);
        assert_eq!([nice(0.0), nice(3.0), nice(0.07), nice(10.0)], [1.0, 5.0, 0.1, 10.0]);
    }

    #[test]
    fn a_panel_draws_what_its_queries_gave() {
        let board = &super::super::boards::BOARDS[0];
        let panel = &board.rows[0].panels[0];
        let series = json!({"metric": {"phase": "Running"}, "values": [[1, "3"], [2, "4"], [3, "NaN"]]});
        let drawn = svg(board, &json!({panel.title: [[series]]}));
        assert!(drawn.contains("Running  4") && drawn.contains("<polyline"), "{drawn}");
        assert!(drawn.contains("no series"), "the others have none");
        assert_eq!(named("{{a}}/{{b}} x", &json!({"a": "1", "b": "2"})), "1/2 x");
    }
}
