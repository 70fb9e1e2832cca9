//! `managedFields`: who owns which fields, read from an object and written to it.

use super::Write;
use super::set::Set;
use super::walk::Differences;
use crate::api::object;
use serde_json::{Map, Value};

/// Managers of updates that an object keeps apart; older ones become one.
const UPDATERS: usize = 10;
/// Who that one is.
const ANCIENT: &str = "ancient-changes";

/// How fields were set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// By server-side apply.
    Apply,
    /// By anything else.
    Update,
}

/// Who set fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    name: String,
    operation: Operation,
    /// Of an applier it does not tell entries apart.
    api_version: String,
    subresource: String,
}

/// A manager's entry.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    manager: Manager,
    /// When it last changed something; none if it never did.
    pub(super) time: Option<String>,
    pub(super) set: Set,
}

/// All entries of an object.
#[derive(Debug, Default)]
pub struct Managed {
    entries: Vec<Entry>,
}

impl Operation {
    fn word(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

impl Manager {
    pub(super) fn new(write: &Write<'_>, operation: Operation) -> Manager {
        Manager {
            name: write.manager.to_owned(),
            operation,
            api_version: write.api_version.to_owned(),
            subresource: write.subresource.to_owned(),
        }
    }

    fn is(&self, other: &Manager) -> bool {
        let version = self.operation == Operation::Apply || self.api_version == other.api_version;
        self.name == other.name
            && self.operation == other.operation
            && self.subresource == other.subresource
            && version
    }

    /// As conflicts name it.
    fn shown(&self) -> String {
        let mut text = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            text += &format!(" with subresource {:?}", self.subresource);
        }
        if self.operation == Operation::Update {
            text += &format!(" using {}", self.api_version);
        }
        text
    }
}

impl Managed {
    /// Reads the list; what is no entry is passed over.
    pub fn read(list: &Value) -> Managed {
        let entries = list.as_array().into_iter().flatten().filter_map(Entry::read).collect();
        Managed { entries }
    }

    /// Whether nobody owns anything.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn find(&self, manager: &Manager) -> Option<Entry> {
        self.entries.iter().find(|entry| entry.manager.is(manager)).cloned()
    }

    /// Puts an entry in the place of the manager's last.
    pub(super) fn set(&mut self, manager: Manager, set: Set, time: Option<&str>) {
        self.entries.retain(|entry| !entry.manager.is(&manager));
        if !set.is_empty() {
            self.entries.push(Entry { manager, time: time.map(str::to_owned), set });
        }
    }

    /// Notes when a manager changed something.
    pub(super) fn touch(&mut self, manager: &Manager, now: &str) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.manager.is(manager)) {
            entry.time = Some(now.to_owned());
        }
    }

    /// All owned fields.
    pub(super) fn all(&self) -> Set {
        let mut all = Set::default();
        self.entries.iter().for_each(|entry| all.add(&entry.set));
        all
    }

    /// What others than `me` own of `changed`, by who they are, in order.
    pub(super) fn conflicts(&self, changed: &Set, me: &Manager) -> Vec<(String, Set)> {
        let others = self.entries.iter().filter(|entry| !entry.manager.is(me));
        let mut conflicts: Vec<_> = others
            .map(|entry| (entry.manager.shown(), entry.set.common(changed)))
            .filter(|(_, set)| !set.is_empty())
            .collect();
        conflicts.retain(|(_, set)| !set.paths().is_empty());
        conflicts.sort_by(|a, b| a.0.cmp(&b.0));
        conflicts
    }

    /// Takes what changed from everybody but `me`, and what went from everybody.
    pub(super) fn lose(&mut self, differences: &Differences, me: Option<&Manager>) {
        for entry in &mut self.entries {
            entry.set.subtract(&differences.removed);
            if !me.is_some_and(|me| entry.manager.is(me)) {
                entry.set.subtract(&differences.set);
            }
        }
        self.entries.retain(|entry| !entry.set.is_empty());
    }

    /// Makes the oldest updaters one, as far as there are too many.
    pub(super) fn cap(&mut self) {
        self.sort();
        let updates = |entry: &Entry| entry.manager.operation == Operation::Update;
        let mut over = self.entries.iter().filter(|entry| updates(entry)).count().saturating_sub(UPDATERS);
        let mut index = 0;
        while over > 0 && index < self.entries.len() {
            let entry = &self.entries[index];
            if !updates(entry) || entry.manager.name == ANCIENT {
                index += 1;
                continue;
            }
            let mut oldest = self.entries.remove(index);
            ANCIENT.clone_into(&mut oldest.manager.name);
            match self.entries.iter_mut().find(|entry| entry.manager.is(&oldest.manager)) {
                Some(ancient) => {
                    ancient.set.add(&oldest.set);
                    ancient.time = ancient.time.take().max(oldest.time);
                    over -= 1;
                }
                None => {
                    self.entries.insert(index, oldest);
                    index += 1;
                }
            }
        }
    }

    fn sort(&mut self) {
        self.entries.sort_by(|a, b| {
            let key = |entry: &'_ Entry| (entry.manager.operation, entry.time.clone().unwrap_or_default());
            key(a)
                .cmp(&key(b))
                .then_with(|| a.manager.name.cmp(&b.manager.name))
                .then_with(|| a.manager.api_version.cmp(&b.manager.api_version))
                .then_with(|| a.manager.subresource.cmp(&b.manager.subresource))
        });
    }

    /// Writes the list into an object.
    pub fn write(mut self, into: &mut Value) {
        self.sort();
        let list: Vec<_> = self.entries.iter().map(Entry::write).collect();
        match object::metadata(into) {
            Some(meta) if list.is_empty() => drop(meta.remove("managedFields")),
            _ => object::set(into, "managedFields", list),
        }
    }
}

impl Entry {
    fn read(value: &Value) -> Option<Entry> {
        let word = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let operation = match value["operation"].as_str()? {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        let set = Set::read(&value["fieldsV1"]);
        let manager = Manager {
            name: word("manager"),
            operation,
            api_version: word("apiVersion"),
            subresource: word("subresource"),
        };
        let time = value["time"].as_str().map(str::to_owned);
        (!set.is_empty()).then_some(Entry { manager, time, set })
    }

    fn write(&self) -> Value {
        let mut entry = Map::new();
        let words = [
            ("manager", self.manager.name.as_str()),
            ("operation", self.manager.operation.word()),
            ("apiVersion", &self.manager.api_version),
            ("time", self.time.as_deref().unwrap_or_default()),
            ("fieldsType", "FieldsV1"),
            ("subresource", &self.manager.subresource),
        ];
        for (key, word) in words.into_iter().filter(|(_, word)| !word.is_empty()) {
            entry.insert(key.to_owned(), word.into());
        }
        entry.insert("fieldsV1".to_owned(), self.set.write());
        Value::Object(entry)
    }
}
