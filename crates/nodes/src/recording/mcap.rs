//! The parts of the MCAP container format that recordings use, byte by byte. A file is a magic,
//! records of opcode, length and content, and the magic again. Knows no files and no frames.

/// First and last bytes of a file.
pub(crate) const MAGIC: [u8; 8] = *b"\x89MCAP0\r\n";
/// Opcode and length in front of a record's content.
pub(crate) const PREFIX: usize = 9;
/// Content of a footer.
pub(crate) const FOOTER: usize = 20;
/// A footer record and the last magic.
pub(crate) const TAIL: usize = PREFIX + FOOTER + MAGIC.len();
/// A chunk's content in front of its records, without compression.
pub(crate) const CHUNK_HEAD: usize = 40;
/// A message's content in front of its data.
pub(crate) const MESSAGE_HEAD: usize = 22;
/// Content of an index of one message.
pub(crate) const MESSAGE_INDEX: usize = 22;

/// Opcodes of records.
pub(crate) mod op {
    pub(crate) const HEADER: u8 = 0x01;
    pub(crate) const FOOTER: u8 = 0x02;
    pub(crate) const SCHEMA: u8 = 0x03;
    pub(crate) const CHANNEL: u8 = 0x04;
    pub(crate) const MESSAGE: u8 = 0x05;
    pub(crate) const CHUNK: u8 = 0x06;
    pub(crate) const MESSAGE_INDEX: u8 = 0x07;
    pub(crate) const CHUNK_INDEX: u8 = 0x08;
    pub(crate) const STATISTICS: u8 = 0x0b;
    pub(crate) const METADATA: u8 = 0x0c;
    pub(crate) const METADATA_INDEX: u8 = 0x0d;
    pub(crate) const SUMMARY_OFFSET: u8 = 0x0e;
    pub(crate) const DATA_END: u8 = 0x0f;
    /// Opcodes from here on belong to applications.
    pub(crate) const PRIVATE: u8 = 0x80;
}

/// Appends a record whose content `fill` writes.
pub(crate) fn record(out: &mut Vec<u8>, opcode: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(opcode);
    let at = out.len();
    out.extend_from_slice(&[0; 8]);
    fill(out);
    let length = (out.len() - at - 8) as u64;
    out[at..at + 8].copy_from_slice(&length.to_le_bytes());
}

/// Appends a text with its length.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

/// Appends bytes with their length.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    // Names and schemas are far below 4 GiB.
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Appends a map of texts, with its length in bytes.
pub(crate) fn put_map<'a>(out: &mut Vec<u8>, entries: impl Iterator<Item = (&'a str, &'a str)>) {
    let mut map = Vec::new();
    for (key, value) in entries {
        put_text(&mut map, key);
        put_text(&mut map, value);
    }
    put_bytes(out, &map);
}

/// Reads fields off the front of a record's content; `None` where the content is too short.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn bytes(&mut self, length: u64) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(field)
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        let length = self.u32()?;
        std::str::from_utf8(self.bytes(length.into())?).ok()
    }

    /// The next record: opcode and content.
    pub(crate) fn record(&mut self) -> Option<(u8, &'a [u8])> {
        let [opcode] = self.array()?;
        let length = self.u64()?;
        Some((opcode, self.bytes(length)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_were_written() {
        let mut out = Vec::new();
        record(&mut out, op::METADATA, |out| {
            put_text(out, "name");
            put_map(out, [("a", "b")].into_iter());
        });
        record(&mut out, op::DATA_END, |out| out.extend_from_slice(&[0; 4]));
        let mut fields = Fields(&out);
        let (opcode, content) = fields.record().unwrap();
        assert_eq!(opcode, op::METADATA);
        let mut content = Fields(content);
        assert_eq!(content.text(), Some("name"));
        assert_eq!(content.u32(), Some(10));
        assert_eq!((content.text(), content.text()), (Some("a"), Some("b")));
        assert_eq!(fields.record().unwrap().0, op::DATA_END);
        assert!(fields.record().is_none());
    }
}
