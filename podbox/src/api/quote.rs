//! Text in quotes as Go's `%q` writes it, which is what upstream's messages have. Pure.

/// Quotes bytes: what shows as it is, everything else by its number; what is no UTF-8 byte by byte.
pub fn quoted(bytes: &[u8]) -> String {
    let mut out = String::from('"');
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|char| push(char, &mut out));
        chunk.invalid().iter().for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
    }
    out.push('"');
    out
}

fn push(char: char, out: &mut String) {
    match char {
        '\x07' => out.push_str("\\a"),
        '\x08' => out.push_str("\\b"),
        '\x0b' => out.push_str("\\v"),
        '\x0c' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '"' | '\\' => out.extend(['\\', char]),
        '\0'..' ' | '\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(char))),
        _ if is_printable(char) => out.push(char),
        _ if char <= '\u{ffff}' => out.push_str(&format!("\\u{:04x}", u32::from(char))),
        _ => out.push_str(&format!("\\U{:08x}", u32::from(char))),
    }
}

/// Whether it shows. After a letter, so that what combines with the one before counts as such.
fn is_printable(char: char) -> bool {
    let pair = String::from_iter(['a', char]);
    pair.escape_debug().eq(pair.chars()) || char == '\''
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_quoted_as_go_quotes_it() {
        for (text, expected) in [
            ("a\"b\\c'", r#""a\"b\\c'""#),
            ("\x07\x08\t\n\x0b\x0c\r", r#""\a\b\t\n\v\f\r""#),
            ("\0\x01\x1b\x7f", r#""\x00\x01\x1b\x7f""#),
            ("\u{80}\u{a0}\u{200b}\u{2028}\u{feff}", r#""\u0080\u00a0\u200b\u2028\ufeff""#),
            ("\u{e0001}\u{10ffff}", r#""\U000e0001\U0010ffff""#),
            ("é 漢 e\u{301} 🎉", "\"é 漢 e\u{301} 🎉\""),
        ] {
            assert_eq!(quoted(text.as_bytes()), expected);
        }
        let alert = b"\x15\x03\x01\x00\x02\x02\x16\xff";
        assert_eq!(quoted(alert), r#""\x15\x03\x01\x00\x02\x02\x16\xff""#);
    }
}
