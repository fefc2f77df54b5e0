//! MJPEG in AVI: a reader that scans the chunks itself and needs no index, and a writer for clips.

mod reader;
mod writer;

pub use reader::{AviError, AviReader};
pub use writer::{AviWriter, MAX_AVI_BYTES, WriteError};

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::jpeg::tests::picture;

    fn clip(fps: u32, pictures: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = AviWriter::new(&mut bytes, 16, 8, fps).unwrap();
        for picture in pictures {
            writer.write(picture).unwrap();
        }
        writer.finish().unwrap();
        bytes.into_inner()
    }

    fn read_all(bytes: &[u8]) -> Result<Vec<Vec<u8>>, AviError> {
        let mut reader = AviReader::new(Cursor::new(bytes))?;
        let mut found = Vec::new();
        while let Some(picture) = reader.next_picture()? {
            found.push(picture);
        }
        Ok(found)
    }

    #[test]
    fn what_is_written_is_read_at_its_own_rate() {
        let mut odd = picture(7);
        odd.push(0);
        let pictures = vec![picture(1), odd, picture(250)];
        let bytes = clip(15, &pictures);
        let mut reader = AviReader::new(Cursor::new(&bytes)).unwrap();
        assert_eq!(reader.fps(), Some(15.0));
        for _ in 0..2 {
            for expected in &pictures {
                assert_eq!(reader.next_picture().unwrap().as_ref(), Some(expected));
            }
            assert_eq!(reader.next_picture().unwrap(), None);
            reader.rewind().unwrap();
        }
    }

    #[test]
    fn a_cut_clip_gives_what_is_whole() {
        let bytes = clip(30, &[picture(1), picture(2)]);
        let index = bytes.windows(4).position(|id| id == b"idx1").unwrap();
        assert_eq!(read_all(&bytes[..index - 3]).unwrap(), [picture(1)]);
    }

    #[test]
    fn other_files_are_told_apart() {
        assert!(matches!(read_all(b""), Err(AviError::NotAvi)));
        assert!(matches!(
            read_all(b"RIFF\0\0\0\0WAVEfmt "),
            Err(AviError::NotAvi)
        ));
        let bytes = clip(15, &[picture(1)]);
        let codec = |from: &[u8], to: &[u8]| {
            let mut bytes = bytes.clone();
            while let Some(at) = bytes.windows(4).position(|id| id == from) {
                bytes[at..at + 4].copy_from_slice(to);
            }
            read_all(&bytes).unwrap_err().to_string()
        };
        assert!(codec(b"MJPG", b"H264").contains("coded as `H264`"));
        assert!(codec(b"vids", b"auds").contains("no video"));
        assert!(codec(b"movi", b"xxxx").contains("no video"));
    }

    #[test]
    fn a_chunk_beyond_the_limit_is_refused() {
        let mut bytes = clip(15, &[picture(1)]);
        let at = bytes.windows(4).position(|id| id == b"00dc").unwrap();
        bytes[at + 4..at + 8].copy_from_slice(&u32::MAX.to_le_bytes());
        bytes.resize(bytes.len() + 100, 0);
        // Longer than the file: the same as a cut clip.
        assert_eq!(read_all(&bytes).unwrap(), Vec::<Vec<u8>>::new());
    }

    proptest! {
        #[test]
        fn damaged_clips_never_panic(at in 0_usize..3000, byte in any::<u8>(), cut in 0_usize..3000) {
            let mut bytes = clip(15, &[picture(1), picture(2)]);
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(cut);
            let _ = read_all(&bytes);
        }

        #[test]
        fn any_bytes_after_the_magic_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read_all(&[&b"RIFF\xff\xff\xff\xffAVI "[..], &bytes].concat());
            let _ = read_all(&[&b"RIFF\xff\xff\xff\xffAVI LIST\xff\xff\xff\xffhdrl"[..], &bytes].concat());
        }
    }
}
