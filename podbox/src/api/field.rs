//! What is wrong with a field: paths, reasons and wording as Kubernetes' API server has them. Pure; it does not
//! judge anything itself.

use serde_json::Value;
use std::fmt;

/// Why a field is refused. The names in `details.causes[].reason` derive from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It must be set.
    Required,
    /// Its value is malformed or out of range.
    Invalid,
    /// Its value is none of those there are.
    NotSupported,
    /// Another element has the same value.
    Duplicate,
    /// It must not be set, or not be changed, here.
    Forbidden,
    /// What it refers to is not there.
    NotFound,
    /// It has too many bytes.
    TooLong,
    /// It has too many elements.
    TooMany,
    /// It is not of its type.
    TypeInvalid,
    /// The server failed, not the field.
    Internal,
}

impl Reason {
    /// The word in `details.causes[].reason`.
    pub fn word(self) -> &'static str {
        match self {
            Reason::Required => "FieldValueRequired",
            Reason::Invalid => "FieldValueInvalid",
            Reason::NotSupported => "FieldValueNotSupported",
            Reason::Duplicate => "FieldValueDuplicate",
            Reason::Forbidden => "FieldValueForbidden",
            Reason::NotFound => "FieldValueNotFound",
            Reason::TooLong => "FieldValueTooLong",
            Reason::TooMany => "FieldValueTooMany",
            Reason::TypeInvalid => "FieldValueTypeInvalid",
            Reason::Internal => "InternalError",
        }
    }

    fn says(self) -> &'static str {
        match self {
            Reason::Required => "Required value",
            Reason::Invalid | Reason::TypeInvalid => "Invalid value",
            Reason::NotSupported => "Unsupported value",
            Reason::Duplicate => "Duplicate value",
            Reason::Forbidden => "Forbidden",
            Reason::NotFound => "Not found",
            Reason::TooLong => "Too long",
            Reason::TooMany => "Too many",
            Reason::Internal => "Internal error",
        }
    }

    fn shows_value(self) -> bool {
        !matches!(
            self,
            Reason::Required | Reason::Forbidden | Reason::TooLong | Reason::TooMany | Reason::Internal
        )
    }
}

/// Where a field is: `spec.containers[0].resources.limits[cpu]`. A chain on the stack, so that the path of a
/// field that is in order costs nothing.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Root,
    Child(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// The object itself.
    pub const ROOT: Path<'static> = Path { parent: None, step: Step::Root };

    /// A field of this one.
    pub fn child(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Child(name) }
    }

    /// An element of this list.
    pub fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), step: Step::Index(index) }
    }

    /// An entry of this map.
    pub fn key(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Key(key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Child(name) if self.parent.is_some_and(|parent| !matches!(parent.step, Step::Root)) => {
                write!(f, ".{name}")
            }
            Step::Child(name) => f.write_str(name),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) => write!(f, "[{key}]"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// Why.
    pub reason: Reason,
    /// The field's path.
    pub field: String,
    /// The value that is refused as it is shown, where the reason shows it: JSON, in most cases; nothing, if it is left out.
    pub value: String,
    /// In upstream's words; may be empty.
    pub detail: String,
}

impl FieldError {
    /// What `details.causes[].message` says: everything but the path.
    pub fn body(&self) -> String {
        let mut text = self.reason.says().to_owned();
        if self.reason.shows_value() && !self.value.is_empty() {
            text.push_str(&format!(": {}", self.value));
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// Everything that is wrong with an object, in upstream's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Errors(pub Vec<FieldError>);

impl Errors {
    /// Adds one.
    pub fn add(&mut self, reason: Reason, path: &Path, value: impl Into<Value>, detail: impl Into<String>) {
        self.add_shown(reason, path, value.into().to_string(), detail);
    }

    /// Adds one whose value says nothing, and is not shown.
    pub fn add_omitted(&mut self, reason: Reason, path: &Path, detail: impl Into<String>) {
        self.add_shown(reason, path, "", detail);
    }

    /// Adds one whose value is shown in a form of its own: upstream shows some by the names of Go's fields.
    pub fn add_shown(
        &mut self,
        reason: Reason,
        path: &Path,
        value: impl Into<String>,
        detail: impl Into<String>,
    ) {
        self.0.push(FieldError {
            reason,
            field: path.to_string(),
            value: value.into(),
            detail: detail.into(),
        });
    }

    /// `Required value`, with a detail that may be empty.
    pub fn required(&mut self, path: &Path, detail: &str) {
        self.add(Reason::Required, path, Value::Null, detail);
    }

    /// `Invalid value: VALUE: DETAIL`.
    pub fn invalid(&mut self, path: &Path, value: impl Into<Value>, detail: impl Into<String>) {
        self.add(Reason::Invalid, path, value, detail);
    }

    /// `Unsupported value: VALUE: supported values: …`, in the order given.
    pub fn not_supported(&mut self, path: &Path, value: impl Into<Value>, supported: &[&str]) {
        let list: Vec<_> = supported.iter().map(|word| format!("{word:?}")).collect();
        self.add(Reason::NotSupported, path, value, format!("supported values: {}", list.join(", ")));
    }

    /// `Duplicate value: VALUE`.
    pub fn duplicate(&mut self, path: &Path, value: impl Into<Value>) {
        self.add(Reason::Duplicate, path, value, "");
    }

    /// `Forbidden: DETAIL`.
    pub fn forbidden(&mut self, path: &Path, detail: impl Into<String>) {
        self.add(Reason::Forbidden, path, Value::Null, detail);
    }

    /// `Not found: VALUE`.
    pub fn not_found(&mut self, path: &Path, value: impl Into<Value>) {
        self.add(Reason::NotFound, path, value, "");
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_upstreams() {
        let mut errors = Errors::default();
        let root = Path::ROOT;
        let (spec, containers) = (root.child("spec"), "containers");
        errors.invalid(&spec.child(containers).index(0).child("name"), "C_1", "must be small");
        errors.not_supported(&spec.child("os"), "beos", &["linux", "windows"]);
        errors.required(&spec.child("limits").key("cpu"), "");
        let told: Vec<_> = errors.0.iter().map(FieldError::to_string).collect();
        assert_eq!(
            told,
            [
                "spec.containers[0].name: Invalid value: \"C_1\": must be small",
                "spec.os: Unsupported value: \"beos\": supported values: \"linux\", \"windows\"",
                "spec.limits[cpu]: Required value",
            ]
        );
    }
}
