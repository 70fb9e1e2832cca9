//! Aligned columns for people.

/// Renders rows below a header; each column is as wide as its widest cell, the last one is not padded.
pub fn render(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    line(&mut text, &widths, header.iter().copied());
    for row in rows {
        line(&mut text, &widths, row.iter().map(String::as_str));
    }
    text
}

fn line<'a>(text: &mut String, widths: &[usize], cells: impl Iterator<Item = &'a str>) {
    let start = text.len();
    for (cell, width) in cells.zip(widths) {
        text.push_str(cell);
        let padding = width - cell.chars().count() + 3;
        text.extend(std::iter::repeat_n(' ', padding));
    }
    let end = start + text[start..].trim_end().len();
    text.truncate(end);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_are_aligned_and_lines_not_padded() {
        let rows = vec![vec!["web".into(), "Running".into()], vec!["a-longer-name".into(), "-".into()]];
        let expected = "POD             STATE\nweb             Running\na-longer-name   -\n";
        assert_eq!(super::render(&["POD", "STATE"], &rows), expected);
    }
}
