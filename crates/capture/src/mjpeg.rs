//! Files of JPEGs one after the other (`.mjpeg`, `.mjpg`). They carry no rate of their own.

use std::io::{Read, Seek, SeekFrom};

use crate::jpeg::Splitter;

/// Bytes read from the file at a time.
const CHUNK: usize = 64 * 1024;

/// Reads pictures off a file.
#[derive(Debug)]
pub struct MjpegReader<R> {
    file: R,
    splitter: Splitter,
    chunk: Vec<u8>,
}

impl<R: Read + Seek> MjpegReader<R> {
    /// A reader at the start of `file`.
    pub fn new(file: R) -> Self {
        Self {
            file,
            splitter: Splitter::default(),
            chunk: vec![0; CHUNK],
        }
    }

    /// The next picture; `None` at the end.
    pub fn next_picture(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(picture) = self.splitter.next_picture() {
                return Ok(Some(picture));
            }
            match self.file.read(&mut self.chunk)? {
                0 => return Ok(None),
                count => self.splitter.push(&self.chunk[..count]),
            }
        }
    }

    /// Goes back to the first picture.
    pub fn rewind(&mut self) -> std::io::Result<()> {
        self.splitter.reset();
        self.file.seek(SeekFrom::Start(0)).map(drop)
    }

    /// Broken pictures skipped so far.
    pub fn damaged(&self) -> u64 {
        self.splitter.damaged()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::jpeg::tests::picture;

    #[test]
    fn pictures_come_in_order_and_again_after_a_rewind() {
        let pictures = [picture(1), picture(2)];
        let mut reader = MjpegReader::new(Cursor::new(pictures.concat()));
        for _ in 0..2 {
            for expected in &pictures {
                assert_eq!(reader.next_picture().unwrap().as_ref(), Some(expected));
            }
            assert_eq!(reader.next_picture().unwrap(), None);
            reader.rewind().unwrap();
        }
    }

    #[test]
    fn a_file_without_pictures_just_ends() {
        let mut reader = MjpegReader::new(Cursor::new(vec![0x55; 300_000]));
        assert_eq!(reader.next_picture().unwrap(), None);
    }
}
