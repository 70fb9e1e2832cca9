//! A script's text: prose, commands with what they take, and what came of them when they were played last, which is left out.

/// A part of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// A line for people: a comment, or an empty one.
    Prose(String),
    /// A command.
    Command {
        /// The line that it is in, from 1.
        number: usize,
        /// Without the mark.
        command: String,
        /// The lines that it takes.
        input: Vec<String>,
    },
}

/// The parts of a script.
pub fn blocks(text: &str) -> Result<Vec<Block>, String> {
    let mut blocks = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_end();
        if let Some(command) = line.strip_prefix("> ") {
            let command = command.trim().to_owned();
            blocks.push(Block::Command { number, command, input: Vec::new() });
        } else if let Some(more) = line.strip_prefix('|') {
            let Some(Block::Command { input, .. }) = blocks.last_mut() else {
                return Err(format!("line {number}: no command takes this"));
            };
            input.push(more.strip_prefix(' ').unwrap_or(more).to_owned());
        } else if line.is_empty() || line.starts_with('#') {
            blocks.push(Block::Prose(line.to_owned()));
        }
    }
    Ok(blocks)
}

/// A span of time: `90s`, `5m`, `2h`.
pub fn span(text: &str) -> Option<std::time::Duration> {
    let unit = text.chars().last()?;
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return None,
    };
    Some(std::time::Duration::from_secs(number.checked_mul(seconds)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_a_command_is_left_out_and_the_rest_is_kept() {
        let text = "# What.\n\n> apply\n| a:\n|   b: 1\n   0s  somebody  does something\n> advance 5s\n";
        let command = |number, command: &str, input: &[&str]| Block::Command {
            number,
            command: command.to_owned(),
            input: input.iter().map(|line| (*line).to_owned()).collect(),
        };
        let prose = |line: &str| Block::Prose(line.to_owned());
        let expected = vec![
            prose("# What."),
            prose(""),
            command(3, "apply", &["a:", "  b: 1"]),
            command(7, "advance 5s", &[]),
        ];
        assert_eq!(blocks(text), Ok(expected));
        assert!(blocks("| a").is_err());
    }

    #[test]
    fn spans_are_whole_numbers_with_a_unit() {
        let seconds = |text| span(text).map(|span| span.as_secs());
        assert_eq!(["90s", "5m", "2h"].map(seconds), [Some(90), Some(300), Some(7200)]);
        assert_eq!(["", "5", "s", "-1s", "5d", "99999999999999999999s"].map(seconds), [None; 6]);
    }
}
