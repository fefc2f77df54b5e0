//! A picture as frames hold it: JPEG, or raw pixels.

use std::time::{Duration, Instant};

use crate::image::{ImageError, JpegReader, Picture};
use crate::raw::Raw;

/// A picture that is not decoded yet.
#[derive(Clone, Copy, Debug)]
pub enum Coded<'a> {
    /// The bytes of a JPEG.
    Jpeg(&'a [u8]),
    /// Pixels of a camera.
    Raw(Raw<'a>),
}

/// Decodes into a buffer that is used again.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    reader: JpegReader,
    pub(crate) picture: Picture,
}

impl Coded<'_> {
    /// Writes RGB into `picture`, whose buffer is used again.
    pub fn read(&self, reader: &mut JpegReader, picture: &mut Picture) -> Result<(), ImageError> {
        match self {
            Coded::Jpeg(jpeg) => reader.read(jpeg, picture),
            Coded::Raw(raw) => raw.read(picture),
        }
    }
}

impl Decoded {
    /// Reads the picture; the time that it took.
    pub(crate) fn read(&mut self, coded: &Coded<'_>) -> Result<Duration, ImageError> {
        let start = Instant::now();
        coded.read(&mut self.reader, &mut self.picture)?;
        Ok(start.elapsed())
    }
}
