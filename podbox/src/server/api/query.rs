//! The query parameters of API requests, read and judged in upstream's words. Pure.

use crate::api::decode::FieldValidation;
use crate::api::field::{Errors, Path, Reason};
use crate::api::selector::{Fields, Labels};
use crate::api::status::ApiError;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The parameters of a request, by name; several of one name in order.
#[derive(Clone, Debug, Default)]
pub struct Query(BTreeMap<String, Vec<String>>);

impl Query {
    /// Reads what follows the question mark.
    pub fn parse(text: &str) -> Query {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, value) in form_urlencoded::parse(text.as_bytes()) {
            found.entry(key.into_owned()).or_default().push(value.into_owned());
        }
        Query(found)
    }

    /// The first of a name; the empty text if there is none.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(|all| all.first()).map(String::as_str).unwrap_or_default()
    }

    /// All of a name.
    pub fn all(&self, name: &str) -> &[String] {
        self.0.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether it is there.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A flag: anything but `false` (in capitals too) and `0` sets it, also nothing.
    pub fn flag(&self, name: &str) -> bool {
        let text = self.text(name);
        self.has(name) && text != "0" && !text.eq_ignore_ascii_case("false")
    }

    /// A number; `None` if it is not there or empty.
    pub fn number(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(None);
        }
        let parsed = text.parse().map(Some);
        parsed
            .map_err(|_| ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")))
    }
}

/// How a resourceVersion is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// As the request's kind has it.
    Unset,
    /// Exactly that one.
    Exact,
    /// That one or any later.
    NotOlderThan,
}

/// What a list or watch asks for.
#[derive(Clone, Debug)]
pub struct ListOptions {
    /// Which labels.
    pub labels: Labels,
    /// Which fields.
    pub fields: Fields,
    /// Whether it is a watch.
    pub watch: bool,
    /// Whether the watch wants bookmarks.
    pub bookmarks: bool,
    /// The revision; `None` for the newest.
    pub version: Option<u64>,
    /// How the revision is to be taken.
    pub version_match: Match,
    /// When the watch is to end.
    pub timeout_seconds: Option<u64>,
    /// How many objects at most; 0 for all.
    pub limit: usize,
    /// Where an earlier list ended.
    pub token: String,
    /// Whether a watch begins with what there is.
    pub initial_events: Option<bool>,
}

/// A revision's text.
pub fn revision(text: &str) -> Result<Option<u64>, String> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax")
        }),
    }
}

impl ListOptions {
    /// Reads them from a query.
    pub fn read(query: &Query, watch_path: bool) -> Result<ListOptions, ApiError> {
        let watch = watch_path || query.flag("watch");
        let limit = query.number("limit")?.unwrap_or(0).max(0);
        let timeout = query.number("timeoutSeconds")?.and_then(|seconds| u64::try_from(seconds).ok());
        let labels = Labels::parse(query.text("labelSelector")).map_err(ApiError::bad_request)?;
        let fields = Fields::parse(query.text("fieldSelector")).map_err(ApiError::bad_request)?;
        let initial_events = query.has("sendInitialEvents").then(|| query.flag("sendInitialEvents"));
        let version_text = query.text("resourceVersion");
        let version_match = judge(query, watch, initial_events)?;
        if !query.text("continue").is_empty() && !matches!(version_text, "" | "0") {
            return Err(ApiError::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let version = revision(version_text).map_err(|why| match watch {
            true => ApiError::internal(why),
            false => ApiError::bad_request(format!("invalid resource version: {why}")),
        })?;
        Ok(ListOptions {
            labels,
            fields,
            watch,
            bookmarks: query.flag("allowWatchBookmarks"),
            version,
            version_match,
            timeout_seconds: timeout,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            token: query.text("continue").to_owned(),
            initial_events,
        })
    }
}

fn judge(query: &Query, watch: bool, initial_events: Option<bool>) -> Result<Match, ApiError> {
    let (version, word) = (query.text("resourceVersion"), query.text("resourceVersionMatch"));
    let mut errors = Errors::default();
    let root = Path::ROOT;
    let (at_match, at_initial) = (root.child("resourceVersionMatch"), root.child("sendInitialEvents"));
    match (initial_events, word) {
        (Some(_), _) if !watch => {
            errors.forbidden(&at_initial, "sendInitialEvents is forbidden for list");
        }
        (Some(_), word) if word != "NotOlderThan" => {
            errors.forbidden(
                &at_match,
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            );
        }
        (None, word) if watch && !word.is_empty() => {
            errors.forbidden(
                &at_match,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            );
        }
        (None, "") | (Some(_), _) => {}
        (None, "Exact" | "NotOlderThan") if version.is_empty() => {
            errors
                .forbidden(&at_match, "resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        (None, "Exact") if version == "0" => {
            errors.forbidden(
                &at_match,
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            );
        }
        (None, "Exact" | "NotOlderThan") if !query.text("continue").is_empty() => {
            errors.forbidden(&at_match, "resourceVersionMatch is forbidden when continue is provided");
        }
        (None, "Exact" | "NotOlderThan") => {}
        (None, other) => errors.not_supported(&at_match, other, &["Exact", "NotOlderThan", ""]),
    }
    refuse("ListOptions", &errors)?;
    Ok(match word {
        "Exact" => Match::Exact,
        "NotOlderThan" => Match::NotOlderThan,
        _ => Match::Unset,
    })
}

fn refuse(kind: &str, errors: &Errors) -> Result<(), ApiError> {
    match errors.is_empty() {
        true => Ok(()),
        false => Err(ApiError::invalid("meta.k8s.io", kind, "", errors)),
    }
}

/// What a write asks for.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// Do all but store.
    pub dry_run: bool,
    /// Who owns the fields that it sets.
    pub manager: String,
    /// What to do about unknown fields.
    pub validation: FieldValidation,
    /// For server-side apply: take fields over from other managers.
    pub force: bool,
    /// Whether it is a server-side apply, which notes by itself who owns what.
    pub apply: bool,
}

impl WriteOptions {
    /// Reads them for a request whose options are called `kind`: `CreateOptions`, `UpdateOptions` or `PatchOptions`.
    /// `agent` is the client's `User-Agent`.
    pub fn read(query: &Query, kind: &str, agent: &str, apply: bool) -> Result<WriteOptions, ApiError> {
        let mut errors = Errors::default();
        let root = Path::ROOT;
        let named = query.text("fieldManager");
        if kind == "PatchOptions" && apply && named.is_empty() {
            errors.required(&root.child("fieldManager"), "is required for apply patch");
        }
        if kind == "PatchOptions" && !apply && query.has("force") {
            errors.forbidden(&root.child("force"), "may not be specified for non-apply patch");
        }
        if named.len() > 128 {
            let field = root.child("fieldManager");
            errors.add(Reason::TooLong, &field, Value::Null, "may not be more than 128 bytes");
        }
        dry_run_errors(query.all("dryRun"), &mut errors);
        let validation = match query.text("fieldValidation") {
            "Strict" => FieldValidation::Strict,
            "Warn" | "" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            other => {
                let field = root.child("fieldValidation");
                errors.not_supported(&field, other, &["", "Ignore", "Strict", "Warn"]);
                FieldValidation::Warn
            }
        };
        refuse(kind, &errors)?;
        // As upstream: what comes before the version in `kubectl/v1.35.0 (linux/amd64)`.
        let manager = match named {
            "" => agent.split('/').next().unwrap_or_default().chars().take(128).collect(),
            named => named.to_owned(),
        };
        Ok(WriteOptions {
            dry_run: !query.all("dryRun").is_empty(),
            manager,
            validation,
            force: query.flag("force"),
            apply,
        })
    }
}

/// What is wrong with `dryRun`.
pub fn dry_run_errors(values: &[String], errors: &mut Errors) {
    if values.iter().any(|value| value != "All") {
        errors.not_supported(&Path::ROOT.child("dryRun"), json!(values), &["All"]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::recorded;

    #[test]
    fn recorded_list_refusals_are_given_word_for_word() {
        let mut compared = 0;
        for line in recorded::lines("validation.jsonl") {
            let name = line["name"].as_str().unwrap();
            let path = line["request"]["path"].as_str().unwrap();
            let Some((_, query)) = path.split_once('?') else { continue };
            // Whether a field can be selected by is the kind's to say, and a future revision the store's.
            let other = ["fieldSelector field", "future", "bad continue"];
            if !name.starts_with("list: ") || other.iter().any(|word| name.contains(word)) {
                continue;
            }
            compared += 1;
            match ListOptions::read(&Query::parse(query), false) {
                Ok(_) => assert_eq!(line["status"], 200, "{name}"),
                Err(error) => assert_eq!(error.body(), line["response"], "{name}"),
            }
        }
        eprintln!("{compared} lists compared");
    }

    #[test]
    fn the_manager_is_the_clients_name() {
        let read = |query: &str| {
            WriteOptions::read(&Query::parse(query), "CreateOptions", "kubectl/v1.35 (x)", false)
        };
        assert_eq!(read("").unwrap().manager, "kubectl");
        assert_eq!(read("fieldManager=me&dryRun=All").unwrap().manager, "me");
        assert!(read("dryRun=Foo").unwrap_err().message.ends_with("[\"Foo\"]: supported values: \"All\""));
    }
}
