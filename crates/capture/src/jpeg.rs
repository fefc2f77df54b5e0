//! The outer structure of JPEG: where a picture ends, and its size. Reads markers only.

/// Bytes of a picture that are accepted.
pub const MAX_JPEG_BYTES: usize = 32 * 1024 * 1024;

/// Size of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Pixels a row.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// Why bytes are not a whole JPEG.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JpegError {
    /// Something else, or damaged between its segments.
    #[error("not a JPEG picture, or a damaged one")]
    Malformed,
    /// The end is missing.
    #[error("the JPEG is cut off")]
    Truncated,
    /// More bytes than accepted.
    #[error("the JPEG is over {MAX_JPEG_BYTES} bytes")]
    TooLarge,
}

/// Checks that `bytes` hold a whole picture, and returns its size.
pub fn inspect(bytes: &[u8]) -> Result<Size, JpegError> {
    if bytes.len() > MAX_JPEG_BYTES {
        return Err(JpegError::TooLarge);
    }
    let mut walk = Walk::default();
    match walk.advance(bytes) {
        Progress::End(_) => walk.size.ok_or(JpegError::Malformed),
        Progress::More => Err(JpegError::Truncated),
        Progress::Malformed => Err(JpegError::Malformed),
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Start,
    Marker,
    Entropy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// The picture goes on past the bytes there.
    More,
    /// The picture ends before this offset.
    End(usize),
    Malformed,
}

/// A walk over the segments of one picture that goes on where it was when more bytes have come.
#[derive(Clone, Debug, Default)]
struct Walk {
    at: usize,
    phase: Phase,
    size: Option<Size>,
}

impl Walk {
    /// Goes as far as the bytes reach. `bytes` must begin with what earlier calls saw.
    fn advance(&mut self, bytes: &[u8]) -> Progress {
        loop {
            let step = match self.phase {
                Phase::Start => self.start(bytes),
                Phase::Marker => self.marker(bytes),
                Phase::Entropy => self.entropy(bytes),
            };
            if let Some(progress) = step {
                return progress;
            }
        }
    }

    fn start(&mut self, bytes: &[u8]) -> Option<Progress> {
        match bytes {
            [0xff, 0xd8, ..] => {
                (self.at, self.phase) = (2, Phase::Marker);
                None
            }
            [] | [0xff] => Some(Progress::More),
            _ => Some(Progress::Malformed),
        }
    }

    fn marker(&mut self, bytes: &[u8]) -> Option<Progress> {
        let Some(&[first, marker]) = bytes.get(self.at..self.at.saturating_add(2)) else {
            return Some(Progress::More);
        };
        if first != 0xff {
            return Some(Progress::Malformed);
        }
        match marker {
            0xff => self.at += 1,
            0x01 | 0xd0..=0xd7 => self.at += 2,
            0x00 | 0xd8 => return Some(Progress::Malformed),
            0xd9 => return Some(Progress::End(self.at + 2)),
            _ => return self.segment(bytes, marker),
        }
        None
    }

    /// A segment with a length.
    fn segment(&mut self, bytes: &[u8], marker: u8) -> Option<Progress> {
        let Some(&[high, low]) = bytes.get(self.at + 2..self.at + 4) else {
            return Some(Progress::More);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length < 2 {
            return Some(Progress::Malformed);
        }
        if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
            let Some(&[_, h1, h0, w1, w0]) = bytes.get(self.at + 4..self.at + 9) else {
                return Some(Progress::More);
            };
            self.size = Some(Size {
                width: u16::from_be_bytes([w1, w0]),
                height: u16::from_be_bytes([h1, h0]),
            });
        }
        self.at += 2 + length;
        if marker == 0xda {
            self.phase = Phase::Entropy;
        }
        None
    }

    fn entropy(&mut self, bytes: &[u8]) -> Option<Progress> {
        while let Some(rest) = bytes.get(self.at..) {
            let Some(offset) = rest.iter().position(|byte| *byte == 0xff) else {
                self.at = bytes.len();
                break;
            };
            self.at += offset;
            match bytes.get(self.at + 1) {
                None => break,
                Some(0x00 | 0xd0..=0xd7) => self.at += 2,
                Some(0xff) => self.at += 1,
                Some(_) => {
                    self.phase = Phase::Marker;
                    return None;
                }
            }
        }
        Some(Progress::More)
    }
}

/// Cuts a stream of JPEGs, one after the other, into pictures. What is between or broken is
/// skipped and counted.
#[derive(Debug, Default)]
pub struct Splitter {
    buffer: Vec<u8>,
    walk: Walk,
    damaged: u64,
}

impl Splitter {
    /// Takes more bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole picture; `None`: more bytes are needed.
    pub fn next_picture(&mut self) -> Option<Vec<u8>> {
        loop {
            if self.walk.phase == Phase::Start && !self.find_start() {
                return None;
            }
            match self.walk.advance(&self.buffer) {
                Progress::More if self.buffer.len() <= MAX_JPEG_BYTES => return None,
                Progress::More | Progress::Malformed => {
                    self.damaged += 1;
                    self.drop_front(2);
                }
                Progress::End(end) => {
                    let rest = self.buffer.split_off(end);
                    let picture = std::mem::replace(&mut self.buffer, rest);
                    self.walk = Walk::default();
                    return Some(picture);
                }
            }
        }
    }

    /// Forgets what is half read; for a stream that begins anew.
    pub fn reset(&mut self) {
        self.buffer.clear();
        self.walk = Walk::default();
    }

    /// Pictures that were broken so far.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Whether part of a picture is waiting for its rest.
    pub fn is_partial(&self) -> bool {
        self.walk.phase != Phase::Start
    }

    /// Brings the next start marker to the front of the buffer.
    fn find_start(&mut self) -> bool {
        let found = self
            .buffer
            .windows(3)
            .position(|window| window == [0xff, 0xd8, 0xff]);
        match found {
            Some(offset) => {
                self.drop_front(offset);
                true
            }
            None => {
                // The last two bytes may be the begin of a marker.
                let keep = self.buffer.len().min(2);
                self.drop_front(self.buffer.len() - keep);
                false
            }
        }
    }

    fn drop_front(&mut self, count: usize) {
        self.buffer.drain(..count.min(self.buffer.len()));
        self.walk = Walk::default();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A small real picture.
    pub(crate) fn picture(value: u8) -> Vec<u8> {
        let mut out = Vec::new();
        jpeg_encoder::Encoder::new(&mut out, 80)
            .encode(&[value; 16 * 8 * 3], 16, 8, jpeg_encoder::ColorType::Rgb)
            .unwrap();
        out
    }

    fn split(chunks: &[&[u8]]) -> (Vec<Vec<u8>>, u64) {
        let mut splitter = Splitter::default();
        let mut found = Vec::new();
        for chunk in chunks {
            splitter.push(chunk);
            found.extend(std::iter::from_fn(|| splitter.next_picture()));
        }
        (found, splitter.damaged())
    }

    #[test]
    fn a_whole_picture_has_a_size() {
        let size = inspect(&picture(9)).unwrap();
        assert_eq!((size.width, size.height), (16, 8));
    }

    #[test]
    fn every_cut_is_noticed() {
        let whole = picture(9);
        for length in 0..whole.len() {
            assert_eq!(
                inspect(&whole[..length]),
                Err(JpegError::Truncated),
                "{length}"
            );
        }
        assert_eq!(inspect(b"text"), Err(JpegError::Malformed));
    }

    #[test]
    fn an_embedded_thumbnail_does_not_end_a_picture() {
        let inner = picture(1);
        let outer = picture(2);
        let mut with_thumbnail = outer[..2].to_vec();
        with_thumbnail.extend_from_slice(&[0xff, 0xe1]);
        let length = u16::try_from(inner.len() + 2).unwrap();
        with_thumbnail.extend_from_slice(&length.to_be_bytes());
        with_thumbnail.extend_from_slice(&inner);
        with_thumbnail.extend_from_slice(&outer[2..]);
        let (found, damaged) = split(&[&with_thumbnail, &outer]);
        assert_eq!((found, damaged), (vec![with_thumbnail, outer], 0));
    }

    #[test]
    fn noise_and_broken_pictures_are_skipped() {
        let good = picture(3);
        let mut broken = good.clone();
        broken[2] = 0xff;
        broken[3] = 0x00;
        let (found, damaged) = split(&[b"noise", &broken, &good, b"\r\n--boundary\r\n", &good]);
        assert_eq!((found.len(), damaged), (2, 1));
        assert_eq!(found[0], good);
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_pictures(cuts in proptest::collection::vec(0_usize..2000, 0..12)) {
            let stream = [picture(1), b"xx".to_vec(), picture(2), picture(3)].concat();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % stream.len()).collect();
            cuts.push(0);
            cuts.push(stream.len());
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
            let (found, _) = split(&chunks);
            prop_assert_eq!(found, vec![picture(1), picture(2), picture(3)]);
        }

        #[test]
        fn any_bytes_are_split_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let start = [&[0xff, 0xd8, 0xff][..], &bytes].concat();
            split(&[&bytes, &start]);
            let _ = inspect(&start);
        }
    }
}
