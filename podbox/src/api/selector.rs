//! Label and field selectors: their text, their errors in upstream's words, and what they match. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;

/// What is asked of one label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// What is asked.
    pub test: Test,
}

/// What a label's value must be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Test {
    /// It is one of these.
    In(BTreeSet<String>),
    /// It is none of these, or not there.
    NotIn(BTreeSet<String>),
    /// It is there.
    Exists,
    /// It is not there.
    Absent,
    /// It is a number above this.
    Greater(i64),
    /// It is a number below this.
    Less(i64),
}

/// A label selector: all of its requirements. Without any, it matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels(pub Vec<Requirement>);

impl Labels {
    /// Reads `a=b,c!=d,e in (f, g),h,!i`.
    pub fn parse(text: &str) -> Result<Labels, String> {
        Parser { tokens: tokens(text), at: 0 }.selector()
    }

    /// From an object's `matchLabels` and `matchExpressions`, which validation has found in order.
    pub fn of(selector: &LabelSelector) -> Labels {
        let one = |value: &String| BTreeSet::from([value.clone()]);
        let labels = selector.match_labels.iter().flatten();
        let labels = labels.map(|(key, value)| Requirement { key: key.clone(), test: Test::In(one(value)) });
        let expressions = selector.match_expressions.iter().flatten().map(|expression| {
            let values = || expression.values.iter().flatten().cloned().collect();
            let test = match expression.operator.as_str() {
                "In" => Test::In(values()),
                "NotIn" => Test::NotIn(values()),
                "Exists" => Test::Exists,
                _ => Test::Absent,
            };
            Requirement { key: expression.key.clone(), test }
        });
        Labels(labels.chain(expressions).collect())
    }

    /// From labels that must all be there.
    pub fn of_map<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Labels {
        let one = |(key, value): (&String, &String)| Requirement {
            key: key.clone(),
            test: Test::In(BTreeSet::from([value.clone()])),
        };
        Labels(labels.into_iter().map(one).collect())
    }

    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether labels are as it asks; `get` finds one by its key.
    pub fn matches<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|requirement| {
            let value = get(&requirement.key);
            let number = || value.and_then(|value| value.parse::<i64>().ok());
            match &requirement.test {
                Test::In(values) => value.is_some_and(|value| values.contains(value)),
                Test::NotIn(values) => !value.is_some_and(|value| values.contains(value)),
                Test::Exists => value.is_some(),
                Test::Absent => value.is_none(),
                Test::Greater(than) => number().is_some_and(|number| number > *than),
                Test::Less(than) => number().is_some_and(|number| number < *than),
            }
        })
    }
}

/// As [`Labels::parse`] reads it, by key.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted: Vec<_> = self.0.iter().collect();
        sorted.sort_by(|a, b| a.key.cmp(&b.key));
        for (index, requirement) in sorted.into_iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            let key = &requirement.key;
            let list =
                |values: &BTreeSet<String>| values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
            match &requirement.test {
                Test::In(values) if values.len() == 1 => write!(f, "{key}={}", list(values)),
                Test::In(values) => write!(f, "{key} in ({})", list(values)),
                Test::NotIn(values) if values.len() == 1 => write!(f, "{key}!={}", list(values)),
                Test::NotIn(values) => write!(f, "{key} notin ({})", list(values)),
                Test::Exists => f.write_str(key),
                Test::Absent => write!(f, "!{key}"),
                Test::Greater(than) => write!(f, "{key}>{than}"),
                Test::Less(than) => write!(f, "{key}<{than}"),
            }?;
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Sign(&'static str),
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Token::Word(text) => text,
            Token::Sign(sign) => sign,
        }
    }
}

const SIGNS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"];

fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let length = match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            Some(sign) => {
                found.push(Token::Sign(sign));
                sign.len()
            }
            None => {
                let end = rest.find(|c: char| c.is_whitespace() || "=!(),><".contains(c));
                let end = end.unwrap_or(rest.len());
                found.push(Token::Word(rest[..end].to_owned()));
                end
            }
        };
        rest = rest[length..].trim_start();
    }
    found
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn sign(&self) -> Option<&str> {
        match self.tokens.get(self.at) {
            Some(Token::Sign(sign)) => Some(sign),
            _ => None,
        }
    }

    fn selector(mut self) -> Result<Labels, String> {
        let mut found = Vec::new();
        if self.tokens.is_empty() {
            return Ok(Labels(found));
        }
        loop {
            let requirement = self.requirement();
            found.push(requirement.map_err(|why| format!("unable to parse requirement: {why}"))?);
            match self.next() {
                None => return Ok(Labels(found)),
                Some(Token::Sign(",")) if self.tokens.len() > self.at => {}
                Some(Token::Sign(",")) => {
                    return Err("found '', expected: identifier after ','".to_owned());
                }
                Some(other) => {
                    return Err(format!("found '{}', expected: ',' or 'end of string'", other.text()));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        if self.sign() == Some("!") {
            self.at += 1;
            let key = self.word("identifier")?;
            return Ok(Requirement { key, test: Test::Absent });
        }
        let key = self.word("!, identifier, or 'end of string'")?;
        let test = match self.tokens.get(self.at).cloned() {
            None | Some(Token::Sign(",")) => return Ok(Requirement { key, test: Test::Exists }),
            Some(Token::Sign("=" | "==")) => Test::In(self.one()?),
            Some(Token::Sign("!=")) => Test::NotIn(self.one()?),
            Some(Token::Sign(">")) => Test::Greater(self.number()?),
            Some(Token::Sign("<")) => Test::Less(self.number()?),
            Some(Token::Word(word)) if word == "in" => Test::In(self.several()?),
            Some(Token::Word(word)) if word == "notin" => Test::NotIn(self.several()?),
            Some(other) => {
                return Err(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", other.text()));
            }
        };
        Ok(Requirement { key, test })
    }

    fn word(&mut self, expected: &str) -> Result<String, String> {
        match self.next() {
            Some(Token::Word(word)) => Ok(word),
            other => {
                let found = other.as_ref().map(Token::text).unwrap_or_default().to_owned();
                Err(format!("found '{found}', expected: {expected}"))
            }
        }
    }

    /// What follows an operator: a word, or nothing, which is the empty value.
    fn one(&mut self) -> Result<BTreeSet<String>, String> {
        self.at += 1;
        match self.tokens.get(self.at) {
            Some(Token::Word(_)) => Ok(BTreeSet::from([self.word("identifier")?])),
            _ => Ok(BTreeSet::from([String::new()])),
        }
    }

    fn number(&mut self) -> Result<i64, String> {
        self.at += 1;
        let word = self.word("identifier")?;
        word.parse().map_err(|_| {
            format!(
                "values[0]: Invalid value: {word:?}: for 'Gt', 'Lt' operators, the value must be an integer"
            )
        })
    }

    fn several(&mut self) -> Result<BTreeSet<String>, String> {
        self.at += 1;
        match self.next() {
            Some(Token::Sign("(")) => {}
            other => {
                let found = other.as_ref().map(Token::text).unwrap_or_default().to_owned();
                return Err(format!("found '{found}' expected: '('"));
            }
        }
        let mut values = BTreeSet::new();
        let mut word = String::new();
        loop {
            match self.next() {
                Some(Token::Word(next)) if word.is_empty() => word = next,
                Some(Token::Sign(",")) => drop(values.insert(std::mem::take(&mut word))),
                Some(Token::Sign(")")) => {
                    values.insert(word);
                    return Ok(values);
                }
                other => {
                    let found = other.as_ref().map(Token::text).unwrap_or_default().to_owned();
                    return Err(format!("found '{found}', expected: ',' or ')'"));
                }
            }
        }
    }
}

/// What is asked of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTest {
    /// The field's path, `spec.nodeName`.
    pub field: String,
    /// What it is compared with.
    pub value: String,
    /// Whether it must be that value, or must not.
    pub equal: bool,
}

/// A field selector: all of its tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<FieldTest>);

impl Fields {
    /// Reads `a=b,c!=d`.
    pub fn parse(text: &str) -> Result<Fields, String> {
        let mut found = Vec::new();
        for term in terms(text).into_iter().filter(|term| !term.is_empty()) {
            let split = |sign: &str| term.split_once(sign).map(|(a, b)| (a.to_owned(), unescape(b)));
            let parsed = match (split("!="), split("=="), split("=")) {
                (Some((field, value)), ..) => FieldTest { field, value, equal: false },
                (None, Some((field, value)), _) | (None, None, Some((field, value))) => {
                    FieldTest { field, value, equal: true }
                }
                _ => return Err(format!("invalid selector: '{text}'; can't understand '{term}'")),
            };
            found.push(parsed);
        }
        Ok(Fields(found))
    }

    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name that it asks for, if it asks for one.
    pub fn name(&self) -> Option<&str> {
        let test = self.0.iter().find(|test| test.equal && test.field == "metadata.name");
        test.map(|test| test.value.as_str())
    }

    /// Whether an object's fields are as it asks. A field that is not there is the empty text.
    pub fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|test| (text(object, &test.field) == test.value) == test.equal)
    }
}

/// Splits at commas that are not escaped.
fn terms(text: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        match (c, found.last_mut()) {
            (',', _) if !escaped => found.push(String::new()),
            (c, Some(last)) => last.push(c),
            (_, None) => {}
        }
        escaped = c == '\\' && !escaped;
    }
    found
}

fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    plain
}

fn text(object: &Value, field: &str) -> String {
    let found = field.split('.').try_fold(object, |value, step| value.get(step));
    match found {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(flag)) => flag.to_string(),
        Some(Value::Number(number)) => number.to_string(),
        // A pod's `status.podIPs` is asked for by its addresses.
        Some(Value::Array(items)) => {
            let ips = items.iter().filter_map(|item| item.get("ip")?.as_str());
            ips.collect::<Vec<_>>().join(",")
        }
        // What is false by default is not written.
        None if matches!(field, "spec.unschedulable" | "spec.hostNetwork") => "false".to_owned(),
        None if field == "status.replicas" || field == "status.successful" => "0".to_owned(),
        // An Event's `source` is asked for by its component; whoever writes new Events has it elsewhere.
        _ if field == "source" => {
            let at = |path| object.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty());
            at("/source/component").or_else(|| at("/reportingComponent")).unwrap_or_default().to_owned()
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_are_matched() {
        let labels = [("a", "1"), ("b", "x"), ("n", "7")];
        let get = |key: &str| labels.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
        for (selector, matches) in [
            ("", true),
            ("a=1", true),
            ("a==1,b!=y", true),
            ("a in (1, 2),b notin (y)", true),
            ("a,!c", true),
            ("!a", false),
            ("c!=1", true),
            ("n>6", true),
            ("n<7", false),
            ("c=", false),
        ] {
            assert_eq!(Labels::parse(selector).map(|labels| labels.matches(get)), Ok(matches), "{selector}");
        }
    }

    #[test]
    fn recorded_errors_are_given_word_for_word() {
        let parse = |text: &str| Labels::parse(text).unwrap_err();
        assert_eq!(
            parse("a b"),
            "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"
        );
        assert_eq!(parse("a in b"), "unable to parse requirement: found 'b' expected: '('");
        assert_eq!(parse("a=b c!"), "found 'c', expected: ',' or 'end of string'");
        assert_eq!(Fields::parse("foo").unwrap_err(), "invalid selector: 'foo'; can't understand 'foo'");
    }

    #[test]
    fn fields_are_matched() {
        let pod = json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n"}, "status": {}});
        for (selector, matches) in [
            ("metadata.name=a", true),
            ("spec.nodeName!=n", false),
            ("status.phase=", true),
            ("spec.hostNetwork=false", true),
            ("spec.nodeName=n,metadata.name!=b", true),
        ] {
            assert_eq!(Fields::parse(selector).map(|fields| fields.matches(&pod)), Ok(matches), "{selector}");
        }
        assert_eq!(Fields::parse("metadata.name=a").unwrap().name(), Some("a"));
        let by = Fields::parse("source=kubelet").unwrap();
        assert!(by.matches(&json!({"source": {"component": "kubelet"}, "reportingComponent": "x"})));
        assert!(by.matches(&json!({"source": {}, "reportingComponent": "kubelet"})));
        assert!(!by.matches(&json!({"source": {"component": "x"}, "reportingComponent": "kubelet"})));
    }
}
