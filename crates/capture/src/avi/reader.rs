//! Reads AVI by walking its chunks in file order. Lists are entered, not nested, so that hostile
//! sizes can neither recurse nor loop; a clip that is cut off ends where it is cut.

use std::io::{BufReader, Read, Seek, SeekFrom};

use crate::jpeg::MAX_JPEG_BYTES;

/// Chunks without a picture that are skipped in a row.
const MAX_OTHER_CHUNKS: u32 = 100_000;
/// Bytes of a header chunk that are looked at.
const HEADER_BYTES: usize = 64;
/// Rates that are believed.
const FPS_RANGE: std::ops::RangeInclusive<f64> = 0.1..=240.0;

/// Why a file can't be read as an MJPEG clip.
#[derive(Debug, thiserror::Error)]
pub enum AviError {
    /// Another kind of file.
    #[error("not an AVI file")]
    NotAvi,
    /// Nothing to show.
    #[error("the AVI file has no video")]
    NoVideo,
    /// Video that needs a decoder.
    #[error(
        "the AVI file's video is coded as `{0}`; MJPEG is read directly, other codecs need ffmpeg"
    )]
    Codec(String),
    /// A picture beyond the limit.
    #[error("a picture of {0} bytes is over the limit of {MAX_JPEG_BYTES}")]
    TooLarge(u64),
    /// Nothing but other chunks.
    #[error("the AVI file has over {MAX_OTHER_CHUNKS} chunks without a picture in a row")]
    NoProgress,
    /// The file can't be read.
    #[error("the AVI file can't be read")]
    Io(#[from] std::io::Error),
}

/// Reads pictures off an MJPEG AVI file.
#[derive(Debug)]
pub struct AviReader<R> {
    file: BufReader<R>,
    length: u64,
    position: u64,
    first: u64,
    stream: u8,
    fps: Option<f64>,
}

struct Chunk {
    id: [u8; 4],
    size: u64,
}

#[derive(Default)]
struct Headers {
    streams: u8,
    video: Option<u8>,
    fps: Option<f64>,
    frame_us: u32,
    codec: [u8; 4],
}

impl<R: Read + Seek> AviReader<R> {
    /// Reads the headers up to the first picture.
    pub fn new(mut file: R) -> Result<Self, AviError> {
        let length = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(0))?;
        let mut reader = Self {
            file: BufReader::with_capacity(64 * 1024, file),
            length,
            position: 0,
            first: 0,
            stream: 0,
            fps: None,
        };
        let mut magic = [0; 12];
        if length < 12 {
            return Err(AviError::NotAvi);
        }
        reader.fill(&mut magic)?;
        if !magic.starts_with(b"RIFF") || !magic.ends_with(b"AVI ") {
            return Err(AviError::NotAvi);
        }
        let headers = reader.headers()?;
        reader.stream = headers.video.ok_or(AviError::NoVideo)?;
        if !headers.codec.eq_ignore_ascii_case(b"MJPG") {
            return Err(AviError::Codec(printable(headers.codec)));
        }
        let from_avih = 1e6 / f64::from(headers.frame_us);
        reader.fps = headers
            .fps
            .or(Some(from_avih))
            .filter(|fps| FPS_RANGE.contains(fps));
        reader.first = reader.position;
        Ok(reader)
    }

    /// Pictures a second, if the file says.
    pub fn fps(&self) -> Option<f64> {
        self.fps
    }

    /// The next picture as it is in the file; `None` at the end.
    pub fn next_picture(&mut self) -> Result<Option<Vec<u8>>, AviError> {
        for _ in 0..MAX_OTHER_CHUNKS {
            let Some(chunk) = self.chunk()? else {
                return Ok(None);
            };
            if self.is_picture(chunk.id) && chunk.size > 0 {
                return self.picture(chunk.size);
            }
            if !self.enter(&chunk)? {
                self.skip(chunk.size)?;
            }
        }
        Err(AviError::NoProgress)
    }

    /// Goes back to the first picture.
    pub fn rewind(&mut self) -> Result<(), AviError> {
        self.file.seek(SeekFrom::Start(self.first))?;
        self.position = self.first;
        Ok(())
    }

    fn headers(&mut self) -> Result<Headers, AviError> {
        let mut headers = Headers::default();
        for _ in 0..MAX_OTHER_CHUNKS {
            let Some(chunk) = self.chunk()? else {
                return Err(AviError::NoVideo);
            };
            if &chunk.id == b"LIST" {
                let mut kind = [0; 4];
                self.fill(&mut kind)?;
                match &kind {
                    b"movi" => return Ok(headers),
                    b"hdrl" | b"strl" => {}
                    _ => self.skip(chunk.size.saturating_sub(4))?,
                }
                continue;
            }
            let looked_at = self.header_chunk(&chunk, &mut headers)?;
            self.skip_exact(chunk.size + chunk.size % 2 - looked_at)?;
        }
        Err(AviError::NoProgress)
    }

    /// Takes what is of use from a chunk; returns how many of its bytes were read.
    fn header_chunk(&mut self, chunk: &Chunk, headers: &mut Headers) -> Result<u64, AviError> {
        if !matches!(&chunk.id, b"avih" | b"strh" | b"strf") {
            return Ok(0);
        }
        let mut bytes = [0; HEADER_BYTES];
        let count = usize::try_from(chunk.size).map_or(HEADER_BYTES, |s| s.min(HEADER_BYTES));
        self.fill(&mut bytes[..count])?;
        let u32_at = |at: usize| {
            let field = bytes.get(at..at + 4).and_then(|b| b.first_chunk::<4>());
            field.map_or(0, |field| u32::from_le_bytes(*field))
        };
        match &chunk.id {
            b"avih" => headers.frame_us = u32_at(0),
            b"strh" => {
                if bytes.starts_with(b"vids") && headers.video.is_none() {
                    headers.video = Some(headers.streams);
                    headers.codec = u32_at(4).to_le_bytes();
                    let (scale, rate) = (f64::from(u32_at(20)), f64::from(u32_at(24)));
                    headers.fps = Some(rate / scale).filter(|fps| FPS_RANGE.contains(fps));
                }
                headers.streams = headers.streams.saturating_add(1);
            }
            // The format of the stream whose header came last.
            _ => {
                let compression = u32_at(16).to_le_bytes();
                let is_video = headers.video == headers.streams.checked_sub(1);
                if is_video && compression != [0; 4] {
                    headers.codec = compression;
                }
            }
        }
        Ok(count as u64)
    }

    /// The next chunk's id and size; `None` at the end of the file or where it is cut.
    fn chunk(&mut self) -> Result<Option<Chunk>, AviError> {
        if self.length.saturating_sub(self.position) < 8 {
            return Ok(None);
        }
        let mut header = [0; 8];
        self.fill(&mut header)?;
        let [a, b, c, d, size @ ..] = header;
        Ok(Some(Chunk {
            id: [a, b, c, d],
            size: u64::from(u32::from_le_bytes(size)),
        }))
    }

    /// Goes into a list that may hold pictures. Everything else has to be skipped.
    fn enter(&mut self, chunk: &Chunk) -> Result<bool, AviError> {
        if !matches!(&chunk.id, b"LIST" | b"RIFF") || self.length - self.position < 4 {
            return Ok(false);
        }
        let mut kind = [0; 4];
        self.fill(&mut kind)?;
        if !matches!(&kind, b"movi" | b"rec " | b"AVIX") {
            self.skip(chunk.size.saturating_sub(4))?;
        }
        Ok(true)
    }

    fn is_picture(&self, id: [u8; 4]) -> bool {
        let digits = [b'0' + self.stream / 10, b'0' + self.stream % 10];
        id.starts_with(&digits) && matches!(&id[2..], b"dc" | b"db")
    }

    fn picture(&mut self, size: u64) -> Result<Option<Vec<u8>>, AviError> {
        if size > self.length - self.position {
            self.position = self.length;
            return Ok(None);
        }
        let bytes = usize::try_from(size).unwrap_or(usize::MAX);
        if bytes > MAX_JPEG_BYTES {
            return Err(AviError::TooLarge(size));
        }
        let mut picture = vec![0; bytes];
        self.fill(&mut picture)?;
        self.skip_exact(size % 2)?;
        Ok(Some(picture))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), AviError> {
        self.file.read_exact(bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Skips the content of a chunk and its padding.
    fn skip(&mut self, size: u64) -> Result<(), AviError> {
        self.skip_exact(size + size % 2)
    }

    fn skip_exact(&mut self, count: u64) -> Result<(), AviError> {
        let left = self.length.saturating_sub(self.position);
        let count = count.min(left);
        self.file
            .seek_relative(i64::try_from(count).unwrap_or(i64::MAX))?;
        self.position += count;
        Ok(())
    }
}

fn printable(code: [u8; 4]) -> String {
    let printable = |byte: &u8| {
        if byte.is_ascii_graphic() {
            char::from(*byte)
        } else {
            '?'
        }
    };
    code.iter().map(printable).collect()
}
