//! Families of models: what their outputs are, and how they are trained to see a picture.

use crate::input::{ChannelOrder, Colours, Placement};

/// A family of models with the same outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// One output `[1, cells, 5 + classes]`, cells of strides 8, 16 and 32, not placed yet.
    Yolox,
    /// One output `[1, 3 x cells, 5 + classes]`, placed (YOLOv5, YOLOv7).
    Yolov5,
    /// One output `[1, 4 + classes, cells]`, placed (YOLOv8, v9, 11, 12).
    Yolov8,
    /// One output `[1, boxes, 6]`, corners, score and class, suppressed already (YOLOv10).
    EndToEnd,
    /// `[1, anchors, classes]` with a background class first, and `[1, anchors, 4]`, corners as
    /// shares of the input (UltraFace, SSD of pytorch-ssd).
    Ssd,
    /// One output `[1, cells, classes + 32]`, cells of strides 8, 16, 32 and 64 (NanoDet-Plus).
    NanoDet,
    /// `[1, cells, classes]` for each of the strides 8, 16, 32 and 64, then `[1, cells, 32]` for each
    /// (PicoDet without its post-processing).
    PicoDet,
    /// Heat map, scale, offset and landmarks at stride 4.
    CenterFace,
    /// One output `[1, classes]`, probabilities or what softmax makes them of: a classifier.
    Classes,
}

impl Family {
    /// Every family, in the order in which outputs are tried.
    pub const ALL: [Self; 9] = [
        Self::Yolox,
        Self::Yolov5,
        Self::Yolov8,
        Self::EndToEnd,
        Self::Ssd,
        Self::NanoDet,
        Self::PicoDet,
        Self::CenterFace,
        Self::Classes,
    ];

    /// Name of the family.
    pub fn name(self) -> &'static str {
        match self {
            Self::Yolox => "yolox",
            Self::Yolov5 => "yolov5",
            Self::Yolov8 => "yolov8",
            Self::EndToEnd => "yolov10",
            Self::Ssd => "ssd",
            Self::NanoDet => "nanodet",
            Self::PicoDet => "picodet",
            Self::CenterFace => "centerface",
            Self::Classes => "classes",
        }
    }

    /// The family of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// How models of the family are trained to see a picture.
    pub fn input(self) -> (Placement, Colours) {
        match self {
            Self::Yolox => (Placement::TopLeft, Colours::plain(ChannelOrder::Bgr)),
            Self::Yolov5 | Self::Yolov8 | Self::EndToEnd => (Placement::Center, Colours::UNIT),
            Self::Ssd => (Placement::Stretch, Colours::SIGNED),
            Self::NanoDet => (
                Placement::Stretch,
                Colours {
                    order: ChannelOrder::Bgr,
                    mean: [103.53, 116.28, 123.675],
                    deviation: [57.375, 57.12, 58.395],
                },
            ),
            Self::PicoDet => (Placement::Stretch, Colours::IMAGENET),
            Self::CenterFace => (Placement::TopLeft, Colours::plain(ChannelOrder::Rgb)),
            Self::Classes => (Placement::USUAL_CROP, Colours::IMAGENET),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Family {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        Self::by_name(&name).ok_or_else(|| serde::de::Error::custom(format!("no family `{name}`")))
    }
}
