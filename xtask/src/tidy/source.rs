//! A source file reduced to its code: comments, strings and the unit tests at its end are blanked, line numbers kept.

use std::path::{Path, PathBuf};

/// A file to be checked.
pub struct Source {
    /// Relative to the workspace.
    pub path: PathBuf,
    /// The first line.
    pub first: String,
    /// The code without comments, strings and unit tests.
    pub code: String,
    /// How many lines there are before the unit tests.
    pub lines: usize,
}

impl Source {
    /// Reads a file's text.
    pub fn new(path: &Path, text: &str) -> Source {
        let body = before_tests(text);
        Source {
            path: path.to_owned(),
            first: text.lines().next().unwrap_or_default().to_owned(),
            code: blank(body),
            lines: body.lines().count(),
        }
    }

    /// Whether the whole file is test code.
    pub fn is_test(&self) -> bool {
        let name = self.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        name == "tests"
            || name.ends_with("_tests")
            || self.path.components().any(|part| part.as_os_str() == "tests")
    }

    /// The module's path below `podbox/src`, if it is one: `["pod", "plan"]`.
    pub fn module(&self) -> Option<Vec<String>> {
        let path = self.path.strip_prefix("podbox/src").ok()?.with_extension("");
        let mut parts: Vec<String> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if parts.last().is_some_and(|last| last == "mod") {
            parts.pop();
        }
        Some(parts)
    }

    /// The line, from 1, of the byte at `offset` of the code.
    pub fn line(&self, offset: usize) -> usize {
        self.code[..offset].matches('\n').count() + 1
    }
}

/// `text` up to the block of unit tests, which is a file's last item by convention.
fn before_tests(text: &str) -> &str {
    let mut from = 0;
    while let Some(at) = text[from..].find("#[cfg(test)]") {
        let at = from + at;
        let next = text[at..].lines().nth(1).unwrap_or_default();
        if next.starts_with("mod ") && next.ends_with('{') {
            return &text[..at];
        }
        from = at + 1;
    }
    text
}

/// `text` with comments and the insides of strings made blank.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut previous = ' ';
    while let Some(char) = chars.next() {
        match char {
            '/' if chars.peek() == Some(&'/') => {
                while chars.peek().is_some_and(|next| *next != '\n') {
                    chars.next();
                }
            }
            '"' => {
                // A raw string ends at its quote and hashes; none here has a quote inside, other strings may.
                let raw = previous == 'r' || previous == '#';
                code.push('"');
                while let Some(inside) = chars.next() {
                    match inside {
                        '\\' if !raw => drop(chars.next()),
                        '"' => break,
                        '\n' => code.push('\n'),
                        _ => {}
                    }
                }
                code.push('"');
            }
            // A quote as a character is no string's beginning.
            '\'' if chars.peek() == Some(&'"') => drop(chars.next()),
            _ => code.push(char),
        }
        previous = char;
    }
    code
}

#[cfg(test)]
mod tests {
    use super::Source;
    use std::path::Path;

    #[test]
    fn comments_strings_and_tests_are_no_code() {
        let text = "//! unsafe\nlet a = \"unsafe \\\" unsafe\"; // unsafe\nlet q = '\"';\n#[cfg(test)]\nmod tests {\nunsafe\n}\n";
        let source = Source::new(Path::new("podbox/src/pod/mod.rs"), text);
        assert!(!source.code.contains("unsafe"), "{}", source.code);
        assert!(source.code.contains("let q"));
        assert_eq!(source.lines, 3);
        assert_eq!(source.module().unwrap(), ["pod"]);
    }

    #[test]
    fn a_test_module_in_its_own_file_does_not_end_the_code() {
        let source = Source::new(Path::new("x.rs"), "#[cfg(test)]\nmod tests;\nuse crate::a;\n");
        assert!(source.code.contains("crate::a"));
    }
}
