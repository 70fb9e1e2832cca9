//! Manifests: the bytes of a YAML or JSON file to Kubernetes objects, or every reason why not.
//!
//! Decoding is strict as `kubectl --validate=strict` is: unknown and duplicate fields are errors. Pure: it
//! does not read files, does not apply defaults and does not judge values (`api::rules`
//! does both). What aliases expand to is bounded, so a small file cannot become a large object.

mod survey;

#[cfg(test)]
mod tests;

use crate::limits;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use serde::Deserializer;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt;
use survey::Survey;

/// An object that podbox knows.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A pod to run.
    Pod(Box<Pod>),
    /// Configuration that pods refer to.
    ConfigMap(Box<ConfigMap>),
    /// Secrets that pods refer to.
    Secret(Box<Secret>),
}

/// Where in a file an object was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The file, as the user named it.
    pub file: String,
    /// Which document of it, from 1; empty documents count.
    pub document: usize,
    /// Its index in a `List`, if it came from one.
    pub item: Option<usize>,
}

/// An object and where it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Where it was.
    pub position: Position,
    /// What it is.
    pub object: Object,
}

/// One reason why a file is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub position: Position,
    /// What, with the field's path and, where the parser knows it, the line.
    pub cause: String,
}

/// Every reason why a file is refused, in the file's order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ManifestError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, document {}", self.file, self.document)?;
        self.item.map_or(Ok(()), |item| write!(f, ", items[{item}]"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.position, self.cause)
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.problems.iter().map(Problem::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// The objects of a file. `file` is its name for people.
pub fn decode(file: &str, bytes: &[u8]) -> Result<Vec<Document>, ManifestError> {
    let mut decoder = Decoder { file, document: 0, found: Vec::new(), problems: Vec::new() };
    decoder.file(bytes);
    match decoder.problems.is_empty() {
        true => Ok(decoder.found),
        false => Err(ManifestError { problems: decoder.problems }),
    }
}

/// The tree of YAML's one document, and the paths of the keys that came twice. The error is for people, in the words of
/// YAML's parser.
pub(super) fn tree(bytes: &[u8]) -> Result<(Value, Vec<String>), String> {
    if nesting(bytes) > limits::MANIFEST_BRACKETS {
        return Err(format!("over {} brackets are open inside of each other", limits::MANIFEST_BRACKETS));
    }
    let Some(document) = serde_yaml::Deserializer::from_slice(bytes).next() else {
        return Ok((Value::Null, Vec::new()));
    };
    let Survey { value, duplicates } = Survey::of(document).map_err(|error| {
        let text = error.to_string();
        text.rfind(" at line ").map_or(text.clone(), |end| text[..end].to_owned())
    })?;
    Ok((value, duplicates))
}

/// How many brackets are open at most, as far as the bytes tell without parsing. The parser's time grows with its
/// square. Those within text count too, which is why the limit is far above what a manifest nests.
fn nesting(bytes: &[u8]) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for byte in bytes {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

struct Decoder<'a> {
    file: &'a str,
    document: usize,
    found: Vec<Document>,
    problems: Vec<Problem>,
}

impl Decoder<'_> {
    fn file(&mut self, bytes: &[u8]) {
        if bytes.len() as u64 > limits::MANIFEST_BYTES {
            self.document = 1;
            return self.problem(
                None,
                format!("the file has {} bytes; a manifest may have {}", bytes.len(), limits::MANIFEST_BYTES),
            );
        }
        if nesting(bytes) > limits::MANIFEST_BRACKETS {
            self.document = 1;
            let text =
                format!("the file opens over {} brackets inside of each other", limits::MANIFEST_BRACKETS);
            return self.problem(None, text);
        }
        // Two readers over the same bytes: one looks at what a document is, the other decodes it.
        let documents = serde_yaml::Deserializer::from_slice(bytes);
        for (yaml, again) in documents.zip(serde_yaml::Deserializer::from_slice(bytes)) {
            self.document += 1;
            match Survey::of(yaml) {
                // After a syntax error the parser does not find the next document.
                Err(error) => return self.problem(None, error),
                Ok(Survey { value, duplicates }) if duplicates.is_empty() => {
                    if !value.is_null() {
                        self.object(&value, again, None);
                    }
                }
                Ok(Survey { duplicates, .. }) => {
                    for path in duplicates {
                        self.problem(None, format!("duplicate field \"{path}\""));
                    }
                }
            }
        }
    }

    /// Decodes one object; `value` is the same one as a tree.
    fn object<'de, D>(&mut self, value: &Value, yaml: D, item: Option<usize>)
    where
        D: Deserializer<'de>,
        D::Error: fmt::Display,
    {
        let word = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
        if !value.is_object() {
            return self.problem(item, "a manifest's document must be a mapping with apiVersion and kind");
        }
        match (word("apiVersion"), word("kind")) {
            (_, "") => self.problem(item, "Object 'Kind' is missing"),
            ("", _) => self.problem(item, "Object 'apiVersion' is missing"),
            ("v1", "Pod") => self.typed(yaml, item, |pod| Object::Pod(Box::new(pod))),
            ("v1", "ConfigMap") => self.typed(yaml, item, |map| Object::ConfigMap(Box::new(map))),
            ("v1", "Secret") => self.typed(yaml, item, |secret| Object::Secret(Box::new(secret))),
            ("v1", "List") if item.is_none() => self.list(value),
            (version, kind) => {
                self.problem(item, format!("no matches for kind \"{kind}\" in version \"{version}\""));
            }
        }
    }

    fn list(&mut self, list: &Value) {
        const FIELDS: [&str; 4] = ["apiVersion", "kind", "metadata", "items"];
        let unknown = list.as_object().into_iter().flat_map(|fields| fields.keys());
        for field in unknown.filter(|field| !FIELDS.contains(&field.as_str())) {
            self.problem(None, format!("unknown field \"{field}\""));
        }
        match list.get("items") {
            None | Some(Value::Null) => {}
            Some(Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    // As text again: of the readers, only the YAML one names a wrong field's path.
                    match serde_yaml::to_string(item) {
                        Ok(text) => {
                            self.object(item, serde_yaml::Deserializer::from_str(&text), Some(index));
                        }
                        Err(error) => self.problem(Some(index), error),
                    }
                }
            }
            Some(_) => self.problem(None, "items: must be a list"),
        }
    }

    fn typed<'de, D, T>(&mut self, yaml: D, item: Option<usize>, wrap: fn(T) -> Object)
    where
        D: Deserializer<'de>,
        D::Error: fmt::Display,
        T: DeserializeOwned,
    {
        let mut unknown = Vec::new();
        let decoded: Result<T, _> = serde_ignored::deserialize(yaml, |path| unknown.push(field_path(&path)));
        match decoded {
            Ok(object) if unknown.is_empty() => {
                let position = self.position(item);
                self.found.push(Document { position, object: wrap(object) });
            }
            Ok(_) => {
                for path in unknown {
                    self.problem(item, format!("unknown field \"{path}\""));
                }
            }
            Err(error) => self.problem(item, without_line_of_copy(&error.to_string(), item)),
        }
    }

    fn position(&self, item: Option<usize>) -> Position {
        Position { file: self.file.to_owned(), document: self.document, item }
    }

    fn problem(&mut self, item: Option<usize>, cause: impl fmt::Display) {
        let position = self.position(item);
        self.problems.push(Problem { position, cause: cause.to_string() });
    }
}

/// A list's item is decoded from a copy: its line numbers are not the file's.
fn without_line_of_copy(error: &str, item: Option<usize>) -> String {
    match (item, error.rfind(" at line ")) {
        (Some(_), Some(end)) => error[..end].to_owned(),
        _ => error.to_owned(),
    }
}

/// A path as Kubernetes writes it: `spec.containers[0].image`.
fn field_path(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", field_path(parent)),
        Path::Map { parent, key } => child(&field_path(parent), key),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            field_path(parent)
        }
    }
}

fn child(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}
