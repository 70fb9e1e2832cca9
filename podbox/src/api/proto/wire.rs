//! The wire format: numbered fields of four forms. Nothing is known of what they mean.

use super::{ProtoError, Result};

/// A field's bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload<'b> {
    /// A number of up to 64 bits.
    Varint(u64),
    /// Eight bytes.
    Fixed64(u64),
    /// Text, bytes or a message.
    Bytes(&'b [u8]),
    /// Four bytes.
    Fixed32(u32),
}

impl<'b> Payload<'b> {
    /// As bytes; `field` is named if it is something else.
    pub fn bytes(&self, field: &str) -> Result<&'b [u8]> {
        match self {
            Payload::Bytes(bytes) => Ok(bytes),
            _ => Err(ProtoError::Mismatch(field.to_owned())),
        }
    }

    /// As text.
    pub fn text(&self, field: &str) -> Result<&'b str> {
        std::str::from_utf8(self.bytes(field)?).map_err(|_| ProtoError::Utf8(field.to_owned()))
    }

    /// As a number.
    pub fn varint(&self, field: &str) -> Result<u64> {
        match self {
            Payload::Varint(number) => Ok(*number),
            _ => Err(ProtoError::Mismatch(field.to_owned())),
        }
    }
}

/// What is left of a message.
pub struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    /// All of it is.
    pub fn new(bytes: &'b [u8]) -> Reader<'b> {
        Reader(bytes)
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next field's number and bytes.
    pub fn next(&mut self) -> Result<Option<(u32, Payload<'b>)>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|number| *number > 0);
        let number = number.ok_or(ProtoError::Tag(key >> 3))?;
        let payload = match key & 7 {
            0 => Payload::Varint(self.varint()?),
            1 => Payload::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| ProtoError::Truncated)?;
                Payload::Bytes(self.take(length)?)
            }
            5 => Payload::Fixed32(u32::from_le_bytes(self.array()?)),
            other => return Err(ProtoError::WireType(other as u8)),
        };
        Ok(Some((number, payload)))
    }

    /// A number in groups of seven bits, the lowest first.
    pub fn varint(&mut self) -> Result<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(ProtoError::Overflow)
    }

    fn take(&mut self, length: usize) -> Result<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(ProtoError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(ProtoError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }
}
