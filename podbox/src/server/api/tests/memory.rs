//! What stands in the places of the recordings' placeholders when they are sent again.

use serde_json::Value;
use std::collections::BTreeMap;

/// What the recordings put a placeholder for, because it differs from run to run.
#[derive(Default)]
pub struct Memory {
    /// Each object as the server last answered it, by path.
    objects: BTreeMap<String, Value>,
    token: String,
}

impl Memory {
    /// Puts the object's own values in the places of placeholders.
    pub fn fill(&self, value: &mut Value, now: &Value, object: &Value) {
        match value {
            Value::String(text) if text.contains('<') => {
                let word = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
                match now {
                    Value::Null => {}
                    now if text.starts_with('<') && text.ends_with('>') => {
                        *value = now.clone();
                        return;
                    }
                    Value::String(now) => {
                        now.clone_into(text);
                        return;
                    }
                    _ => {}
                }
                for (mark, with) in [
                    ("<rv>", word("resourceVersion")),
                    ("<uid>", word("uid")),
                    ("<time>", "2020-01-01T00:00:00Z".to_owned()),
                    ("<continue>", if self.token.is_empty() { "any".to_owned() } else { self.token.clone() }),
                ] {
                    *text = text.replace(mark, &with);
                }
            }
            Value::Array(items) => {
                items.iter_mut().enumerate().for_each(|(index, item)| self.fill(item, &now[index], object));
            }
            Value::Object(fields) => {
                fields.iter_mut().for_each(|(name, field)| self.fill(field, &now[name.as_str()], object));
            }
            _ => {}
        }
    }

    pub fn of(&self, path: &str) -> Value {
        self.objects.get(path).cloned().unwrap_or_default()
    }

    pub fn note(&mut self, path: &str, response: &Value) {
        let text = |field: &str| response["metadata"][field].as_str().unwrap_or_default().to_owned();
        if !text("continue").is_empty() {
            self.token = text("continue");
        }
        if !text("resourceVersion").is_empty() {
            let name = text("name");
            self.objects.insert(path.to_owned(), response.clone());
            self.objects.insert(format!("{path}/{name}"), response.clone());
        }
    }
}
