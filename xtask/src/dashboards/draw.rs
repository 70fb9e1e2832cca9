//! Pictures of dashboards: what their queries gave, drawn as SVG for the documentation. No picture says more than the numbers do:
//! one line per series, from zero, the same colours for the same places in a panel.

use std::fmt::Write;

use serde_json::Value;

use super::described::{Board, Panel, Unit};

const WIDTH: f64 = 1260.0;
const MARGIN: f64 = 16.0;
const TITLE: f64 = 62.0;
const ROW: f64 = 28.0;
const HEIGHT: f64 = 282.0;
/// Series that a panel draws; of the others it says how many there are.
const MOST: usize = 5;
const COLOURS: [&str; MOST] = ["#2f6fb3", "#d9822b", "#3d9a50", "#b3404a", "#7a5aa6"];
/// The height of a line of a legend.
const LINE: f64 = 14.0;
/// How wide a letter is, at most, on average: what is longer than its place is cut.
const LETTER: f64 = 6.4;

/// A series of a panel, as it was measured.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

/// A place in the picture.
#[derive(Clone, Copy)]
struct Place {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

/// What is between the edges of a panel's picture.
struct Scale {
    from: f64,
    to: f64,
    most: f64,
}

/// The picture of a dashboard. `data` has of each panel's title what each of its queries gave, as Prometheus' `query_range` answers.
pub fn svg(board: &Board, data: &Value) -> String {
    let rows = board.rows.len() as f64;
    let height = TITLE + rows * (ROW + HEIGHT);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"DejaVu Sans, Verdana, sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    text(&mut svg, (MARGIN, 26.0), "font-size=\"17\" font-weight=\"bold\" fill=\"#222\"", board.title);
    text(&mut svg, (MARGIN, 46.0), "font-size=\"12\" fill=\"#666\"", board.about);
    let mut top = TITLE;
    for row in board.rows {
        text(
            &mut svg,
            (MARGIN, top + 17.0),
            "font-size=\"13\" font-weight=\"bold\" fill=\"#555\"",
            row.title,
        );
        top += ROW;
        let width = (WIDTH - MARGIN) / row.panels.len().max(1) as f64;
        for (index, shown) in row.panels.iter().enumerate() {
            let left = MARGIN + index as f64 * width;
            let place = Place { left, top, width: width - MARGIN, height: HEIGHT - 14.0 };
            panel(&mut svg, shown, &lines(shown, &data[shown.title]), place);
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

fn panel(svg: &mut String, panel: &Panel, lines: &[Line], place: Place) {
    let Place { left, top, width, height } = place;
    // Writing to a String cannot fail.
    let _ = writeln!(
        svg,
        "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"#fafafa\" stroke=\"#ddd\"/>"
    );
    let room = width - 16.0;
    text(svg, (left + 8.0, top + 17.0), "font-size=\"12\" font-weight=\"bold\" fill=\"#333\"", panel.title);
    for (index, line) in wrapped(panel.about, room * 1.1).iter().enumerate() {
        let place = (left + 8.0, top + 32.0 + 12.0 * index as f64);
        text(svg, place, "font-size=\"10\" fill=\"#888\"", line);
    }
    if lines.is_empty() {
        let middle = (left + width / 2.0, top + height / 2.0);
        return text(svg, middle, "fill=\"#999\" text-anchor=\"middle\"", "nothing to show in this time");
    }
    let legend = LINE * lines.len().min(MOST + 1) as f64;
    let area =
        Place { left: left + 62.0, top: top + 58.0, width: width - 74.0, height: height - 84.0 - legend };
    let scale = axes(svg, panel.unit, lines, area);
    for (line, colour) in lines.iter().zip(COLOURS) {
        curve(svg, line, colour, &scale, area);
    }
    let below = area.top + area.height + 16.0 + LINE;
    for (index, (line, colour)) in lines.iter().zip(COLOURS).enumerate() {
        let below = below + LINE * index as f64;
        let _ = writeln!(
            svg,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"10\" height=\"3\" fill=\"{colour}\"/>",
            left + 10.0,
            below - 5.0
        );
        let last = worded(line.points.last().map_or(0.0, |(_, value)| *value), panel.unit);
        let room = room - 30.0 - LETTER * last.chars().count() as f64;
        text(svg, (left + 26.0, below), "fill=\"#444\"", &cut(&line.name, room));
        text(svg, (left + width - 10.0, below), "fill=\"#444\" text-anchor=\"end\"", &last);
    }
    if let Some(more @ 1..) = lines.len().checked_sub(MOST) {
        let place = (left + 26.0, below + LINE * MOST as f64);
        text(svg, place, "fill=\"#999\"", &format!("and {more} more"));
    }
}

/// Lines at round values, and what they and the edges are.
fn axes(svg: &mut String, unit: Unit, lines: &[Line], area: Place) -> Scale {
    let Place { left, top, width, height } = area;
    let points = || lines.iter().flat_map(|line| line.points.iter());
    let (from, to) = points().fold((f64::MAX, f64::MIN), |(from, to), (at, _)| (from.min(*at), to.max(*at)));
    let most = nice(points().map(|(_, value)| *value).fold(0.0, f64::max), unit);
    for part in 0..=2 {
        let (value, y) = (most * f64::from(part) / 2.0, top + height - height * f64::from(part) / 2.0);
        let _ = writeln!(svg, "<path d=\"M{left:.1} {y:.1}h{width:.1}\" stroke=\"#e2e2e2\" fill=\"none\"/>");
        text(svg, (left - 6.0, y + 4.0), "fill=\"#777\" text-anchor=\"end\"", &worded(value, unit));
    }
    let below = top + height + 14.0;
    let began = format!("{} s before", (to - from).round());
    text(svg, (left, below), "font-size=\"10\" fill=\"#999\"", &began);
    text(svg, (left + width, below), "font-size=\"10\" fill=\"#999\" text-anchor=\"end\"", "at the end");
    Scale { from, to, most }
}

/// A series; a value by itself is a dot.
fn curve(svg: &mut String, line: &Line, colour: &str, scale: &Scale, area: Place) {
    let at = |(at, value): &(f64, f64)| {
        let along = if scale.to > scale.from { (at - scale.from) / (scale.to - scale.from) } else { 0.5 };
        (area.left + area.width * along, area.top + area.height - area.height * (value / scale.most).min(1.0))
    };
    if let [one] = line.points.as_slice() {
        let (x, y) = at(one);
        let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{colour}\"/>");
        return;
    }
    let points: Vec<String> = line.points.iter().map(at).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\" stroke-linejoin=\"round\"/>",
        points.join(" ")
    );
}

/// A text on two lines, or what there is room for on them.
fn wrapped(text: &str, room: f64) -> Vec<String> {
    let fits = |line: &str| line.chars().count() <= (room / LETTER) as usize;
    let words: Vec<&str> = text.split(' ').collect();
    let first = (1..=words.len()).rev().find(|count| fits(&words[..*count].join(" "))).unwrap_or(words.len());
    let rest = words[first..].join(" ");
    [words[..first].join(" "), cut(&rest, room)].into_iter().filter(|line| !line.is_empty()).collect()
}

/// As much of a text as there is room for.
fn cut(text: &str, room: f64) -> String {
    let letters = (room / LETTER) as usize;
    match text.chars().count() > letters {
        true => text.chars().take(letters.saturating_sub(1)).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

/// A round number of this unit that is not below this one.
fn nice(value: f64, unit: Unit) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let bytes = matches!(unit, Unit::Bytes | Unit::BytesPerSecond);
    let whole = BYTES.iter().map(|(whole, _)| *whole).find(|whole| bytes && value >= *whole).unwrap_or(1.0);
    let value = value / whole;
    let scale = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    whole * steps.iter().map(|step| step * scale).find(|step| *step >= value).unwrap_or(value)
}

/// What bytes are counted in.
const BYTES: [(f64, &str); 3] =
    [((1_u64 << 30) as f64, " GiB"), ((1_u64 << 20) as f64, " MiB"), ((1_u64 << 10) as f64, " KiB")];

/// A number with its unit.
fn worded(value: f64, unit: Unit) -> String {
    let bytes = |suffix: &str| {
        let (whole, word) = BYTES.iter().find(|(whole, _)| value >= *whole).unwrap_or(&(1.0, " B"));
        format!("{}{word}{suffix}", short(value / whole))
    };
    match unit {
        Unit::Bytes => bytes(""),
        Unit::BytesPerSecond => bytes("/s"),
        Unit::Seconds if value == 0.0 => "0 s".to_owned(),
        Unit::Seconds if value < 1e-3 => format!("{} µs", short(value * 1e6)),
        Unit::Seconds if value < 1.0 => format!("{} ms", short(value * 1e3)),
        Unit::Seconds => {
            let longer = [(86_400.0, "d"), (3_600.0, "h"), (60.0, "min")];
            let (whole, word) =
                longer.into_iter().find(|(whole, _)| value >= 2.0 * whole).unwrap_or((1.0, "s"));
            format!("{} {word}", short(value / whole))
        }
        Unit::Share => format!("{} %", short(value * 100.0)),
        Unit::PerSecond => format!("{}/s", short(value)),
        Unit::Count | Unit::Cores => short(value),
    }
}

/// Three digits that count.
fn short(value: f64) -> String {
    let digits = match value.abs() {
        value if !(1e-6..100.0).contains(&value) => 0,
        value => (2.0 - value.log10().floor()) as usize,
    };
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

fn text(svg: &mut String, (x, y): (f64, f64), style: &str, text: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{}</text>", escaped(text));
}

/// As text in a picture.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
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
            (18_000.0, Unit::Seconds),
            (0.5, Unit::Share),
            (1234.0, Unit::PerSecond),
        ];
        assert_eq!(
            all.map(|(value, unit)| worded(value, unit)),
            ["3 KiB", "420 µs", "5 h", "50 %", "1234/s"]
        );
        assert_eq!([0.0, 3.0, 0.07, 10.0].map(|value| nice(value, Unit::Count)), [1.0, 5.0, 0.1, 10.0]);
        assert_eq!(nice(60.0 * 1024.0, Unit::Bytes), 100.0 * 1024.0);
        assert_eq!([0.000_123_4, 0.02, 43.71, 1234.0].map(short), ["0.000123", "0.02", "43.7", "1234"]);
        assert_eq!(wrapped("so few words", 7.0 * LETTER), ["so few", "words"]);
    }

    #[test]
    fn a_panel_draws_what_its_queries_gave() {
        let board = &super::super::boards::BOARDS[0];
        let panel = &board.rows[0].panels[0];
        let series = json!({"metric": {"phase": "Running"}, "values": [[1, "3"], [2, "4"], [3, "NaN"]]});
        let drawn = svg(board, &json!({panel.title: [[series]]}));
        assert!(
            drawn.contains(">Running<") && drawn.contains(">4<") && drawn.contains("<polyline"),
            "{drawn}"
        );
        assert!(drawn.contains("nothing to show"), "the others have none");
        assert_eq!(cut("a long name", 5.0 * LETTER), "a lo…");
        assert_eq!(named("{{a}}/{{b}} x", &json!({"a": "1", "b": "2"})), "1/2 x");
    }
}
