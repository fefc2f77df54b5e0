//! Just enough MessagePack to cut a map into its values without decoding them. Iterative and
//! bounded: foreign bytes can't make it recurse or allocate.

use bytes::Bytes;

use super::{MAX_ENTRIES, MAX_KEY_LEN};

/// Cuts a map into text keys and the bytes of their values.
pub(super) fn split_map(bytes: &Bytes) -> Result<Vec<(String, Bytes)>, &'static str> {
    let mut cursor = Cursor { bytes, at: 0 };
    let count = cursor.map_len()?;
    if count > MAX_ENTRIES {
        return Err("too many entries");
    }
    let mut entries: Vec<(String, Bytes)> = Vec::with_capacity(count);
    for _ in 0..count {
        let key = cursor.text()?;
        if entries.iter().any(|(name, _)| *name == key) {
            return Err("a key is there twice");
        }
        let start = cursor.at;
        cursor.skip_value()?;
        entries.push((key, bytes.slice(start..cursor.at)));
    }
    if cursor.at != bytes.len() {
        return Err("bytes after the map");
    }
    Ok(entries)
}

/// Writes a map of encoded values.
pub(super) fn join_map(entries: &[(String, Bytes)]) -> Vec<u8> {
    let size: usize = entries
        .iter()
        .map(|(key, value)| key.len() + 5 + value.len())
        .sum();
    let mut out = Vec::with_capacity(size + 5);
    match u8::try_from(entries.len()) {
        Ok(count @ 0..=15) => out.push(0x80 | count),
        // MAX_ENTRIES keeps this within 16 bits.
        _ => {
            out.push(0xde);
            out.extend_from_slice(
                &u16::try_from(entries.len())
                    .unwrap_or(u16::MAX)
                    .to_be_bytes(),
            );
        }
    }
    for (key, value) in entries {
        match u8::try_from(key.len()) {
            Ok(len @ 0..=31) => out.push(0xa0 | len),
            // MAX_KEY_LEN keeps this within 8 bits.
            len => out.extend_from_slice(&[0xd9, len.unwrap_or(u8::MAX)]),
        }
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(value);
    }
    out
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

const CUT: &str = "cut short";

impl Cursor<'_> {
    fn byte(&mut self) -> Result<u8, &'static str> {
        let byte = *self.bytes.get(self.at).ok_or(CUT)?;
        self.at += 1;
        Ok(byte)
    }

    /// A big-endian length of `width` bytes.
    fn length(&mut self, width: usize) -> Result<usize, &'static str> {
        let mut value = 0_usize;
        for _ in 0..width {
            value = value << 8 | usize::from(self.byte()?);
        }
        Ok(value)
    }

    fn advance(&mut self, count: usize) -> Result<(), &'static str> {
        if count > self.bytes.len() - self.at {
            return Err(CUT);
        }
        self.at += count;
        Ok(())
    }

    fn map_len(&mut self) -> Result<usize, &'static str> {
        match self.byte()? {
            byte @ 0x80..=0x8f => Ok(usize::from(byte & 0x0f)),
            0xde => self.length(2),
            0xdf => self.length(4),
            _ => Err("not a map"),
        }
    }

    fn text(&mut self) -> Result<String, &'static str> {
        let len = match self.byte()? {
            byte @ 0xa0..=0xbf => usize::from(byte & 0x1f),
            0xd9 => self.length(1)?,
            0xda => self.length(2)?,
            0xdb => self.length(4)?,
            _ => return Err("a key is not text"),
        };
        if len > MAX_KEY_LEN {
            return Err("key is too long");
        }
        let start = self.at;
        self.advance(len)?;
        let text = std::str::from_utf8(&self.bytes[start..self.at]);
        text.map(str::to_owned).map_err(|_| "a key is not UTF-8")
    }

    /// Skips one value with all that it holds. `open` counts the values still to skip; each takes
    /// at least a byte, so a claimed count beyond the bytes left is refused at once.
    fn skip_value(&mut self) -> Result<(), &'static str> {
        let mut open = 1_usize;
        while open > 0 {
            open -= 1;
            let (skip, children) = match self.byte()? {
                0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (0, 0),
                byte @ 0x80..=0x8f => (0, 2 * usize::from(byte & 0x0f)),
                byte @ 0x90..=0x9f => (0, usize::from(byte & 0x0f)),
                byte @ 0xa0..=0xbf => (usize::from(byte & 0x1f), 0),
                0xc1 => return Err("a reserved byte"),
                0xc4 | 0xd9 => (self.length(1)?, 0),
                0xc5 | 0xda => (self.length(2)?, 0),
                0xc6 | 0xdb => (self.length(4)?, 0),
                0xc7 => (self.length(1)?.saturating_add(1), 0),
                0xc8 => (self.length(2)?.saturating_add(1), 0),
                0xc9 => (self.length(4)?.saturating_add(1), 0),
                0xcc | 0xd0 => (1, 0),
                0xcd | 0xd1 => (2, 0),
                0xca | 0xce | 0xd2 => (4, 0),
                0xcb | 0xcf | 0xd3 => (8, 0),
                byte @ 0xd4..=0xd8 => (1 + (1 << (byte - 0xd4)), 0),
                0xdc => (0, self.length(2)?),
                0xdd => (0, self.length(4)?),
                0xde => (0, self.length(2)?.saturating_mul(2)),
                0xdf => (0, self.length(4)?.saturating_mul(2)),
            };
            self.advance(skip)?;
            open = open.saturating_add(children);
            if open > self.bytes.len() - self.at {
                return Err(CUT);
            }
        }
        Ok(())
    }
}
