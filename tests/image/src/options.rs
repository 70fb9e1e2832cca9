//! The command line: a job, its arguments in order, and `--name VALUE` or `--name` anywhere.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

/// Options that take no value.
const FLAGS: &[&str] = &["child", "ignore", "quiet", "stderr"];

/// A parsed command line.
pub struct Options {
    words: Vec<String>,
    named: BTreeMap<String, String>,
}

impl Options {
    /// Parses what follows the program's name.
    pub fn parse(args: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut options = Options { words: Vec::new(), named: BTreeMap::new() };
        let mut args = args.peekable();
        while let Some(arg) = args.next() {
            match arg.strip_prefix("--") {
                None => options.words.push(arg),
                Some(flag) if FLAGS.contains(&flag) => {
                    drop(options.named.insert(flag.to_owned(), String::new()))
                }
                Some(name) => {
                    let value = args.next().ok_or_else(|| format!("--{name} wants a value"))?;
                    options.named.insert(name.to_owned(), value);
                }
            }
        }
        Ok(options)
    }

    /// The job's name, empty if there is none.
    pub fn job(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// The job's argument at `index`.
    pub fn word(&self, index: usize) -> Result<&str, String> {
        let word = self.words.get(index + 1).map(String::as_str);
        word.ok_or_else(|| format!("{} wants at least {} arguments", self.job(), index + 1))
    }

    /// The job's argument at `index`, as a number.
    pub fn number<T: FromStr>(&self, index: usize) -> Result<T, String> {
        let word = self.word(index)?;
        word.parse().map_err(|_| format!("{word:?} is not a number that {} takes", self.job()))
    }

    /// The job's argument at `index`, as milliseconds.
    pub fn millis(&self, index: usize) -> Result<Duration, String> {
        self.number(index).map(Duration::from_millis)
    }

    /// Whether the flag `name` was given.
    pub fn has(&self, name: &str) -> bool {
        self.named.contains_key(name)
    }

    /// The option `name`, if given.
    pub fn named<T: FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        self.named
            .get(name)
            .map(|value| value.parse().map_err(|_| format!("--{name} {value:?} is not a number it takes")))
            .transpose()
    }

    /// The option `name` in milliseconds.
    pub fn duration(&self, name: &str, default_ms: u64) -> Result<Duration, String> {
        Ok(Duration::from_millis(self.named(name)?.unwrap_or(default_ms)))
    }
}

#[cfg(test)]
mod tests {
    use super::Options;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_take_no_value_and_options_do() {
        let options = parse("eat --child 64 --every 10").unwrap();
        assert_eq!(options.job(), "eat");
        assert!(options.has("child"));
        assert_eq!(options.number::<u64>(0), Ok(64));
        assert_eq!(options.duration("every", 1).unwrap().as_millis(), 10);
        assert_eq!(options.duration("hold", 7).unwrap().as_millis(), 7);
    }

    #[test]
    fn what_is_missing_or_no_number_is_told() {
        assert!(parse("eat --every").is_err());
        assert!(parse("eat").unwrap().number::<u64>(0).is_err());
        assert!(parse("eat much").unwrap().number::<u64>(0).unwrap_err().contains("much"));
    }
}
