//! Writes MJPEG AVI with an index, so that every player can show and seek in it.

use std::io::{Seek, SeekFrom, Write};

/// Bytes of a clip that are written: AVI 1.0 can't address more than a few GiB.
pub const MAX_AVI_BYTES: u64 = 1 << 30;

/// Where the sizes and counts are that are known only at the end.
const RIFF_SIZE_AT: u64 = 4;
const TOTAL_FRAMES_AT: u64 = 48;
const STREAM_LENGTH_AT: u64 = 140;
const MOVI_SIZE_AT: u64 = 216;
/// The `movi` list type, to which index offsets are relative.
const MOVI_AT: u64 = 220;
const KEY_FRAME: u32 = 0x10;

/// Why a clip can't be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// No rate.
    #[error("a clip needs at least 1 picture a second")]
    Fps,
    /// The clip gets too long.
    #[error("the clip is over {MAX_AVI_BYTES} bytes")]
    TooLarge,
    /// The file can't be written.
    #[error("the clip can't be written")]
    Io(#[from] std::io::Error),
}

/// Writes pictures to an MJPEG AVI file. [`Self::finish`] makes it whole.
#[derive(Debug)]
pub struct AviWriter<W> {
    file: W,
    position: u64,
    index: Vec<(u32, u32)>,
    largest: u32,
}

impl<W: Write + Seek> AviWriter<W> {
    /// Begins a clip of `width` x `height` pixels.
    pub fn new(mut file: W, width: u16, height: u16, fps: u32) -> Result<Self, WriteError> {
        if fps == 0 {
            return Err(WriteError::Fps);
        }
        let header = header(width, height, fps);
        file.write_all(&header)?;
        Ok(Self {
            file,
            position: header.len() as u64,
            index: Vec::new(),
            largest: 0,
        })
    }

    /// Appends a picture.
    pub fn write(&mut self, jpeg: &[u8]) -> Result<(), WriteError> {
        let size = u32::try_from(jpeg.len()).map_err(|_| WriteError::TooLarge)?;
        let after = self.position + 8 + u64::from(size) + u64::from(size % 2);
        if after > MAX_AVI_BYTES {
            return Err(WriteError::TooLarge);
        }
        let offset = u32::try_from(self.position - MOVI_AT).map_err(|_| WriteError::TooLarge)?;
        self.index.push((offset, size));
        self.largest = self.largest.max(size);
        self.file.write_all(b"00dc")?;
        self.file.write_all(&size.to_le_bytes())?;
        self.file.write_all(jpeg)?;
        if size % 2 == 1 {
            self.file.write_all(&[0])?;
        }
        self.position = after;
        Ok(())
    }

    /// Writes the index and the sizes.
    pub fn finish(mut self) -> Result<(), WriteError> {
        let low = |value: u64| u32::try_from(value).map_err(|_| WriteError::TooLarge);
        let movi_size = low(self.position - MOVI_AT)?;
        let index_size = low(self.index.len() as u64 * 16)?;
        self.file.write_all(b"idx1")?;
        self.file.write_all(&index_size.to_le_bytes())?;
        for (offset, size) in &self.index {
            self.file.write_all(b"00dc")?;
            for value in [KEY_FRAME, *offset, *size] {
                self.file.write_all(&value.to_le_bytes())?;
            }
        }
        let frames = low(self.index.len() as u64)?;
        let total = low(self.position + 8 + u64::from(index_size) - 8)?;
        for (at, value) in [
            (RIFF_SIZE_AT, total),
            (TOTAL_FRAMES_AT, frames),
            (STREAM_LENGTH_AT, frames),
            (STREAM_LENGTH_AT + 4, self.largest),
            (MOVI_SIZE_AT, movi_size),
        ] {
            self.file.seek(SeekFrom::Start(at))?;
            self.file.write_all(&value.to_le_bytes())?;
        }
        self.file.flush()?;
        Ok(())
    }
}

/// Everything before the first picture, with zeros where the end is needed.
fn header(width: u16, height: u16, fps: u32) -> Vec<u8> {
    let (width, height) = (u32::from(width), u32::from(height));
    let mut out = Vec::with_capacity(256);
    let text = |out: &mut Vec<u8>, id: &[u8; 4]| out.extend_from_slice(id);
    let numbers = |out: &mut Vec<u8>, values: &[u32]| {
        values
            .iter()
            .for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
    };
    text(&mut out, b"RIFF");
    numbers(&mut out, &[0]);
    text(&mut out, b"AVI ");
    text(&mut out, b"LIST");
    numbers(&mut out, &[192]);
    text(&mut out, b"hdrl");
    // Microseconds a frame, byte rate, padding, flags (index), frames, initial, streams, buffer.
    text(&mut out, b"avih");
    numbers(&mut out, &[56, 1_000_000 / fps, 0, 0, 0x10, 0, 0, 1, 0]);
    numbers(&mut out, &[width, height, 0, 0, 0, 0]);
    text(&mut out, b"LIST");
    numbers(&mut out, &[116]);
    text(&mut out, b"strl");
    // Flags, priority, initial, scale, rate, start, length, buffer, quality, sample size, frame.
    text(&mut out, b"strh");
    numbers(&mut out, &[56]);
    text(&mut out, b"vids");
    text(&mut out, b"MJPG");
    numbers(&mut out, &[0, 0, 0, 1, fps, 0, 0, 0, u32::MAX, 0]);
    numbers(&mut out, &[0, width | height << 16]);
    // Own size, width, height, planes and bits, compression, picture bytes, and four unused.
    text(&mut out, b"strf");
    numbers(&mut out, &[40, 40, width, height, 1 | 24 << 16]);
    text(&mut out, b"MJPG");
    numbers(&mut out, &[width * height * 3, 0, 0, 0, 0]);
    text(&mut out, b"LIST");
    numbers(&mut out, &[0]);
    text(&mut out, b"movi");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_to_fill_in_are_where_they_should_be() {
        let header = header(640, 480, 15);
        let at = |at: u64, len: usize| &header[usize::try_from(at).unwrap()..][..len];
        assert_eq!(at(MOVI_AT, 4), b"movi");
        assert_eq!(header.len() as u64, MOVI_AT + 4);
        assert_eq!(at(MOVI_SIZE_AT - 4, 4), b"LIST");
        assert_eq!(at(TOTAL_FRAMES_AT - 20, 4), 56_u32.to_le_bytes());
        assert_eq!(at(STREAM_LENGTH_AT - 8, 4), 15_u32.to_le_bytes());
        assert_eq!(at(RIFF_SIZE_AT + 4, 4), b"AVI ");
    }
}
