//! Frame metadata: a MessagePack map from text keys to anything. Reads and writes single keys and
//! carries every other key through byte for byte, so that a node never loses what a newer one wrote.

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

mod hops;
mod msgpack;

pub use hops::{HOPS, Hop, MAX_HOPS, MAX_HOPS_BYTES, RECORDED_HOPS, short_boot};

/// Key of the detections: an array of [`Detection`].
pub const DETECTIONS: &str = "detections";
/// Key of the tracks: an array of [`Track`].
pub const TRACKS: &str = "tracks";
/// Key of the text in an error frame.
pub const ERROR: &str = "error";
/// Key of the time at which a failure began, milliseconds since 1970.
pub const ERROR_SINCE: &str = "error_since_ms";
/// Key of the time of the next try, milliseconds since 1970.
pub const ERROR_NEXT_TRY: &str = "error_next_try_ms";
/// Entries accepted in one map.
pub const MAX_ENTRIES: usize = 256;
/// Bytes accepted in one key.
pub const MAX_KEY_LEN: usize = 128;
/// Bytes of error text written; the rest is cut.
pub const MAX_ERROR_LEN: usize = 4096;

/// A box in the pixels of the payload picture, origin top-left.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// What it is.
    pub label: String,
    /// How sure, 0 to 1.
    pub score: f32,
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Width.
    pub w: f32,
    /// Height.
    pub h: f32,
    /// Its outline, points in the same pixels; empty where only the box is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outline: Vec<[f32; 2]>,
}

/// A thing that is followed from picture to picture, in the pixels of the payload picture, origin
/// top-left.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Track {
    /// Stays with the thing; unique in one life of the tracking node.
    pub id: u64,
    /// What it is.
    pub label: String,
    /// How sure the last detection was, 0 to 1.
    pub score: f32,
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Width.
    pub w: f32,
    /// Height.
    pub h: f32,
    /// Time since it was seen first, milliseconds.
    pub seen_ms: u64,
    /// Its outline, points in the same pixels; empty where only the box is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outline: Vec<[f32; 2]>,
}

/// Why metadata can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    /// Not a MessagePack map with text keys, or over a limit.
    #[error("malformed metadata: {0}")]
    Malformed(&'static str),
    /// A key is there but holds something else.
    #[error("metadata key `{key}` can't be read")]
    Value {
        /// The key.
        key: String,
        /// What the decoder says.
        #[source]
        source: rmp_serde::decode::Error,
    },
    /// A value has no MessagePack form.
    #[error("metadata key `{key}` can't be written")]
    Encode {
        /// The key.
        key: String,
        /// What the encoder says.
        #[source]
        source: rmp_serde::encode::Error,
    },
}

/// A decoded map. Values stay encoded until they are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    entries: Vec<(String, Bytes)>,
}

impl Meta {
    /// No entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a map; no bytes at all are an empty one. Values share `bytes`.
    pub fn decode(bytes: &Bytes) -> Result<Self, MetaError> {
        if bytes.is_empty() {
            return Ok(Self::new());
        }
        let entries = msgpack::split_map(bytes).map_err(MetaError::Malformed)?;
        Ok(Self { entries })
    }

    /// The bytes of the map; none for an empty map.
    pub fn encode(&self) -> Bytes {
        if self.entries.is_empty() {
            return Bytes::new();
        }
        msgpack::join_map(&self.entries).into()
    }

    /// Keys in their order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(key, _)| key.as_str())
    }

    /// The value of a key, `None` when it is not there.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, MetaError> {
        let Some((_, value)) = self.entries.iter().find(|(name, _)| name == key) else {
            return Ok(None);
        };
        rmp_serde::from_slice(value)
            .map(Some)
            .map_err(|source| MetaError::Value {
                key: key.to_owned(),
                source,
            })
    }

    /// Sets a key, replacing what was there.
    pub fn set<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), MetaError> {
        let encoded = rmp_serde::to_vec_named(value).map_err(|source| MetaError::Encode {
            key: key.to_owned(),
            source,
        })?;
        if key.len() > MAX_KEY_LEN {
            return Err(MetaError::Malformed("key is too long"));
        }
        self.remove(key);
        if self.entries.len() >= MAX_ENTRIES {
            return Err(MetaError::Malformed("too many entries"));
        }
        self.entries.push((key.to_owned(), encoded.into()));
        Ok(())
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &str) {
        self.entries.retain(|(name, _)| name != key);
    }

    /// The detections; none when the key is missing.
    pub fn detections(&self) -> Result<Vec<Detection>, MetaError> {
        Ok(self.get(DETECTIONS)?.unwrap_or_default())
    }

    /// Sets the detections.
    pub fn set_detections(&mut self, detections: &[Detection]) -> Result<(), MetaError> {
        self.set(DETECTIONS, detections)
    }

    /// The tracks; none when the key is missing.
    pub fn tracks(&self) -> Result<Vec<Track>, MetaError> {
        Ok(self.get(TRACKS)?.unwrap_or_default())
    }

    /// Sets the tracks.
    pub fn set_tracks(&mut self, tracks: &[Track]) -> Result<(), MetaError> {
        self.set(TRACKS, tracks)
    }

    /// The text of an error frame.
    pub fn error(&self) -> Option<String> {
        self.get(ERROR).ok().flatten()
    }

    /// Sets the text of an error frame, cut to a bounded length.
    pub fn set_error(&mut self, message: &str) {
        let mut end = message.len().min(MAX_ERROR_LEN);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        // Text always has a MessagePack form; with a full map the error goes unexplained.
        let _ = self.set(ERROR, &message[..end]);
    }

    /// When a failure began and when it is tried again, milliseconds since 1970.
    pub fn error_times(&self) -> Option<(i64, i64)> {
        let time = |key| self.get(key).ok().flatten();
        Some((time(ERROR_SINCE)?, time(ERROR_NEXT_TRY)?))
    }

    /// Sets when a failure began and when it is tried again.
    pub fn set_error_times(&mut self, since_unix_ms: i64, next_try_unix_ms: i64) {
        // As above.
        let _ = self.set(ERROR_SINCE, &since_unix_ms);
        let _ = self.set(ERROR_NEXT_TRY, &next_try_unix_ms);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn detections_survive_and_unknown_keys_stay_as_they_were() {
        let foreign = rmp_serde::to_vec_named(&BTreeMap::from([("later", vec![1, 2, 3])])).unwrap();
        let mut meta = Meta::decode(&foreign.clone().into()).unwrap();
        let detections = vec![Detection {
            label: "person".into(),
            score: 0.9,
            x: 1.0,
            y: 2.0,
            w: 3.0,
            h: 4.0,
            outline: vec![[1.5, 2.0], [4.0, 2.5], [3.0, 6.0]],
        }];
        meta.set_detections(&detections).unwrap();
        let again = Meta::decode(&meta.encode()).unwrap();
        assert_eq!(again.detections().unwrap(), detections);
        assert_eq!(again.get::<Vec<u8>>("later").unwrap(), Some(vec![1, 2, 3]));
        let mut rest = again;
        rest.remove(DETECTIONS);
        assert_eq!(rest.encode(), foreign);
    }

    #[test]
    fn detections_are_named_maps() {
        let mut meta = Meta::new();
        meta.set_detections(&[Detection::default()]).unwrap();
        let detections: Vec<BTreeMap<String, serde::de::IgnoredAny>> =
            meta.get(DETECTIONS).unwrap().unwrap();
        let keys: Vec<_> = detections[0].keys().cloned().collect();
        assert_eq!(keys, ["h", "label", "score", "w", "x", "y"]);
    }

    #[test]
    fn a_wrong_type_is_an_error_and_not_a_panic() {
        let mut meta = Meta::new();
        meta.set(DETECTIONS, "text").unwrap();
        assert!(meta.detections().is_err());
    }

    #[test]
    fn the_number_of_entries_is_bounded() {
        let mut meta = Meta::new();
        for index in 0..MAX_ENTRIES {
            meta.set(&index.to_string(), &index).unwrap();
        }
        assert!(meta.set("one more", &1).is_err());
        assert!(meta.set("0", &1).is_ok());
        assert_eq!(Meta::decode(&meta.encode()).unwrap(), meta);
    }

    #[test]
    fn long_error_text_is_cut_at_a_character() {
        let mut meta = Meta::new();
        meta.set_error(&"ü".repeat(MAX_ERROR_LEN));
        let text = meta.error().unwrap();
        assert_eq!(text.len(), MAX_ERROR_LEN);
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail_cleanly(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(meta) = Meta::decode(&Bytes::from(bytes)) {
                prop_assert_eq!(Meta::decode(&meta.encode()).unwrap(), meta);
            }
        }
    }
}
