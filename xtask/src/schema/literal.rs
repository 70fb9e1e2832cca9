//! Reads the argument of a `json_schema!` macro: JSON but for trailing commas and for expressions in parentheses, which
//! refer to another type and may give it a description of its own.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

/// The value that the literal at the start of `text` stands for. An expression becomes `{"$ref": PATH, "description": …}`.
pub fn read(text: &str) -> Result<Value> {
    Reader { rest: text }.value()
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn value(&mut self) -> Result<Value> {
        match self.peek()? {
            '{' => self.object(),
            '[' => self.array(),
            '(' => self.expression(),
            '_' => self.reference(),
            '"' => self.string().map(Value::String),
            _ if self.take("true") => Ok(true.into()),
            _ if self.take("false") => Ok(false.into()),
            other => bail!("a literal begins with {other:?}"),
        }
    }

    fn object(&mut self) -> Result<Value> {
        self.expect("{")?;
        let mut object = Map::new();
        while !self.take("}") {
            let key = self.string()?;
            self.expect(":")?;
            object.insert(key, self.value()?);
            self.take(",");
        }
        Ok(Value::Object(object))
    }

    fn array(&mut self) -> Result<Value> {
        self.expect("[")?;
        let mut items = Vec::new();
        while !self.take("]") {
            items.push(self.value()?);
            self.take(",");
        }
        Ok(Value::Array(items))
    }

    /// `__gen.subschema_for::<PATH>()`.
    fn reference(&mut self) -> Result<Value> {
        let (_, after) =
            self.rest.split_once("subschema_for::<").context("an expression refers to no type")?;
        let (path, after) = after.split_once(">()").context("a type's path does not end")?;
        self.rest = after;
        Ok(json!({"$ref": path}))
    }

    /// A reference in parentheses, or a block in them that also inserts a description.
    fn expression(&mut self) -> Result<Value> {
        let mut value = self.reference()?;
        if !self.take(")") {
            let marker = "insert(\"description\".into(), ";
            let (_, after) = self.rest.split_once(marker).context("an expression inserts no description")?;
            self.rest = after;
            value["description"] = self.string()?.into();
            let (_, after) = self.rest.split_once("})").context("a block does not end")?;
            self.rest = after;
        }
        Ok(value)
    }

    fn string(&mut self) -> Result<String> {
        self.peek()?;
        let mut escaped = true;
        let end = self.rest.char_indices().position(|(_, char)| {
            let ends = char == '"' && !escaped;
            escaped = char == '\\' && !escaped;
            ends
        });
        let bytes = self.rest.char_indices().nth(end.context("a string does not end")?);
        let (literal, rest) = self.rest.split_at(bytes.context("a string does not end")?.0 + 1);
        self.rest = rest;
        // Rust's escapes are JSON's, but for the single quote.
        serde_json::from_str(&literal.replace("\\'", "'")).with_context(|| format!("no string: {literal}"))
    }

    fn peek(&mut self) -> Result<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next().context("a literal ends early")
    }

    fn take(&mut self, word: &str) -> bool {
        self.rest = self.rest.trim_start();
        let rest = self.rest.strip_prefix(word);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, word: &str) -> Result<()> {
        if !self.take(word) {
            bail!("expected {word:?} at {:?}", self.rest.chars().take(40).collect::<String>());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::read;
    use serde_json::json;

    #[test]
    fn literals_are_json_with_commas_and_references() {
        let text = r#"{ "a": [ "x \"q\"", ], "b": (__gen.subschema_for::<crate::B>()), "c": ({
            let mut s = __gen.subschema_for::<crate::C>();
            s.ensure_object().insert("description".into(), "of c".into());
            s
        }), "d": { "e": true, }, }) }"#;
        let expected = json!({
            "a": ["x \"q\""], "b": {"$ref": "crate::B"},
            "c": {"$ref": "crate::C", "description": "of c"}, "d": {"e": true},
        });
        assert_eq!(read(text).unwrap(), expected);
        assert!(read("{ \"a\"").is_err());
    }
}
