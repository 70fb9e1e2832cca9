//! Values that are text in JSON and more than that: read, judged, and written as upstream writes them.

use crate::api::quantity::Quantity;
use data_encoding::BASE64;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A quantity in its canonical form.
pub fn quantity(text: &str) -> Result<String, String> {
    Quantity::parse(text).map(|quantity| quantity.to_string()).map_err(|error| error.to_string())
}

/// A time in UTC, to the second or to the microsecond.
pub fn time(text: &str, micro: bool) -> Result<String, String> {
    let layout = if micro { "2006-01-02T15:04:05.000000Z07:00" } else { "2006-01-02T15:04:05Z07:00" };
    let refuse = || {
        let first = text.bytes().take(4).all(|byte| byte.is_ascii_digit());
        // Go names the first part that does not fit; of most texts that is the year.
        let part = if first && text.len() >= 4 { "Z07:00" } else { "2006" };
        format!("parsing time {text:?} as {layout:?}: cannot parse {text:?} as {part:?}")
    };
    // Laxer forms that jiff takes, a blank for the T or no seconds, are not RFC 3339.
    let strict = text.as_bytes();
    if strict.len() < 20 || strict[10] != b'T' || strict[16] != b':' {
        return Err(refuse());
    }
    let time: Timestamp = text.parse().map_err(|_| refuse())?;
    let format = if micro { "%Y-%m-%dT%H:%M:%S%.6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    Ok(time.to_zoned(TimeZone::UTC).strftime(format).to_string())
}

/// Whether a text is base64.
pub fn bytes(text: &str) -> Result<(), String> {
    match BASE64.decode(text.as_bytes()) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("illegal base64 data at input byte {}", error.position)),
    }
}
