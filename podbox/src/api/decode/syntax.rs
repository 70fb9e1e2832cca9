//! What is wrong with a JSON text, in the words of Go's scanner, which clients and people know. Runs only after the parser has
//! refused a text.

/// Where the scanner stands.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Value,
    /// After `[`: a value or the end.
    FirstItem,
    /// After `{`: a key or the end.
    FirstKey,
    /// After a comma in an object.
    Key,
    /// After a key.
    Colon,
    /// After a value.
    After,
}

/// Describes what is wrong with `bytes`; `error` is the parser's word for it, for what is no error of syntax.
pub fn describe(bytes: &[u8], error: &serde_json::Error) -> String {
    let mut scanner = Scanner { bytes, at: 0 };
    match scanner.document() {
        Err(Some(what)) => what,
        Err(None) => "unexpected end of JSON input".to_owned(),
        Ok(()) => match error.to_string() {
            text if text.contains("recursion limit") => "exceeded max depth".to_owned(),
            text => text,
        },
    }
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// None is the end of the text.
type Scan = Result<(), Option<String>>;

impl Scanner<'_> {
    fn document(&mut self) -> Scan {
        let mut open = Vec::new();
        let mut state = State::Value;
        loop {
            while self.peek().is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
                self.at += 1;
            }
            if state == State::After && open.is_empty() {
                return self.peek().map_or(Ok(()), |byte| Err(invalid(byte, "after top-level value")));
            }
            let byte = self.peek().ok_or(None)?;
            state = self.step(state, byte, &mut open)?;
        }
    }

    fn step(&mut self, state: State, byte: u8, open: &mut Vec<u8>) -> Result<State, Option<String>> {
        match (state, byte) {
            (State::FirstItem, b']') | (State::FirstKey, b'}') => {
                self.at += 1;
                open.pop();
                Ok(State::After)
            }
            (State::FirstKey | State::Key, b'"') => self.string().map(|()| State::Colon),
            (State::FirstKey | State::Key, _) => {
                Err(invalid(byte, "looking for beginning of object key string"))
            }
            (State::Colon, b':') => self.skip(State::Value),
            (State::Colon, _) => Err(invalid(byte, "after object key")),
            (State::After, _) => self.after(byte, open),
            (State::Value | State::FirstItem, _) => self.value(byte, open),
        }
    }

    fn after(&mut self, byte: u8, open: &mut Vec<u8>) -> Result<State, Option<String>> {
        match (open.last(), byte) {
            (Some(b'{'), b',') => self.skip(State::Key),
            (Some(b'['), b',') => self.skip(State::Value),
            (Some(b'{'), b'}') | (Some(b'['), b']') => {
                open.pop();
                self.skip(State::After)
            }
            (Some(b'{'), _) => Err(invalid(byte, "after object key:value pair")),
            _ => Err(invalid(byte, "after array element")),
        }
    }

    fn value(&mut self, byte: u8, open: &mut Vec<u8>) -> Result<State, Option<String>> {
        match byte {
            b'{' | b'[' => {
                open.push(byte);
                return self.skip(if byte == b'{' { State::FirstKey } else { State::FirstItem });
            }
            b'"' => self.string()?,
            b'-' | b'0'..=b'9' => self.number()?,
            b't' => self.literal("true")?,
            b'f' => self.literal("false")?,
            b'n' => self.literal("null")?,
            _ => return Err(invalid(byte, "looking for beginning of value")),
        }
        Ok(State::After)
    }

    fn skip(&mut self, state: State) -> Result<State, Option<String>> {
        self.at += 1;
        Ok(state)
    }

    fn string(&mut self) -> Scan {
        self.at += 1;
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => match self.next()? {
                    b'u' => (0..4).try_for_each(|_| match self.next()? {
                        byte if byte.is_ascii_hexdigit() => Ok(()),
                        byte => Err(invalid(byte, "in \\u hexadecimal character escape")),
                    })?,
                    b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {}
                    byte => return Err(invalid(byte, "in string escape code")),
                },
                byte if byte < b' ' => return Err(invalid(byte, "in string literal")),
                _ => {}
            }
        }
    }

    fn number(&mut self) -> Scan {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.next()? {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            byte => return Err(invalid(byte, "in numeric literal")),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digit("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digit("in exponent of numeric literal")?;
        }
        Ok(())
    }

    fn digit(&mut self, place: &str) -> Scan {
        match self.next()? {
            byte if byte.is_ascii_digit() => self.digits(),
            byte => return Err(invalid(byte, place)),
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn literal(&mut self, word: &str) -> Scan {
        for expected in word.bytes() {
            let byte = self.next()?;
            if byte != expected {
                return Err(invalid(byte, &format!("in literal {word} (expecting '{}')", expected as char)));
            }
        }
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Result<u8, Option<String>> {
        let byte = self.peek().ok_or(None)?;
        self.at += 1;
        Ok(byte)
    }
}

fn invalid(byte: u8, place: &str) -> Option<String> {
    Some(match byte {
        b'\'' => format!("invalid character '\\'' {place}"),
        b'"' => format!("invalid character '\"' {place}"),
        byte => format!("invalid character '{}' {place}", char::from(byte).escape_default()),
    })
}
