//! From a model's output tensors to boxes in input pixels. A decoder for each family of models;
//! geometry of the picture and suppression are not theirs.

mod centerface;
mod end_to_end;
mod grid;
mod nanodet;
mod ssd;
#[cfg(test)]
mod testing;
mod yolov5;
mod yolov8;
mod yolox;

use crate::backend::TensorView;
use crate::detection::Detection;
use crate::letterbox::Placement;
use crate::prepare::{ChannelOrder, Colours};

/// A family of models with the same outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecoderKind {
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
    /// Heat map, scale, offset and landmarks at stride 4.
    CenterFace,
}

/// What a decoder works on.
#[derive(Clone, Copy, Debug)]
struct Outputs<'a> {
    tensors: &'a [TensorView<'a>],
    width: usize,
    height: usize,
    threshold: f32,
}

/// Why outputs can't be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The shapes are not those of the family.
    #[error("the model's outputs {have} are not those of {family}: {expected}")]
    Shape {
        /// The family.
        family: &'static str,
        /// The shapes there.
        have: String,
        /// What would fit.
        expected: String,
    },
}

impl DecoderKind {
    /// Every family, in the order in which outputs are tried.
    pub const ALL: [Self; 7] = [
        Self::Yolox,
        Self::Yolov5,
        Self::Yolov8,
        Self::EndToEnd,
        Self::Ssd,
        Self::NanoDet,
        Self::CenterFace,
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
            Self::CenterFace => "centerface",
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
            Self::CenterFace => (Placement::TopLeft, Colours::plain(ChannelOrder::Rgb)),
        }
    }

    /// Classes of a model with these outputs, which are those of the family.
    pub fn classes(self, tensors: &[TensorView<'_>]) -> usize {
        let last = |index: usize| tensors.get(index).and_then(|it| it.shape.last()).copied();
        let middle = || tensors.first().and_then(|it| it.shape.get(1)).copied();
        let sizes = match self {
            Self::Yolox | Self::Yolov5 => last(0).map(|values| values.saturating_sub(5)),
            Self::Yolov8 => middle().map(|values| values.saturating_sub(4)),
            Self::NanoDet => last(0).map(|values| values.saturating_sub(nanodet::BOX_VALUES)),
            // One of the outputs has the boxes; the background is no class.
            Self::Ssd => ssd::classes(tensors),
            Self::EndToEnd => None,
            Self::CenterFace => Some(1),
        };
        sizes.unwrap_or(0)
    }

    /// Guesses the family from the outputs of a model run on `width` x `height` pixels.
    pub fn guess(tensors: &[TensorView<'_>], width: usize, height: usize) -> Option<Self> {
        let fits = |kind: &Self| {
            kind.decode(tensors, width, height, 1.0, &mut Vec::new())
                .is_ok()
        };
        Self::ALL.into_iter().find(fits)
    }

    /// Appends every box with a score over `threshold` to `boxes`, in input pixels.
    pub fn decode(
        self,
        tensors: &[TensorView<'_>],
        width: usize,
        height: usize,
        threshold: f32,
        boxes: &mut Vec<Detection>,
    ) -> Result<(), DecodeError> {
        let outputs = Outputs {
            tensors,
            width,
            height,
            threshold,
        };
        let decoded = match self {
            Self::Yolox => yolox::decode(&outputs, boxes),
            Self::Yolov5 => yolov5::decode(&outputs, boxes),
            Self::Yolov8 => yolov8::decode(&outputs, boxes),
            Self::EndToEnd => end_to_end::decode(&outputs, boxes),
            Self::Ssd => ssd::decode(&outputs, boxes),
            Self::NanoDet => nanodet::decode(&outputs, boxes),
            Self::CenterFace => centerface::decode(&outputs, boxes),
        };
        decoded.map_err(|expected| DecodeError::Shape {
            family: self.name(),
            have: shapes(tensors),
            expected,
        })
    }
}

impl<'a> Outputs<'a> {
    /// The only output, if it has three dimensions, a batch of one and all its values:
    /// `[1, rows, values]`.
    fn single(&self) -> Option<(usize, usize, &'a [f32])> {
        let [tensor] = self.tensors else {
            return None;
        };
        rows(tensor)
    }
}

/// The sizes of `[1, rows, values]` with the values.
fn rows<'a>(tensor: &TensorView<'a>) -> Option<(usize, usize, &'a [f32])> {
    match *tensor.shape {
        [1, rows, values] if rows.checked_mul(values) == Some(tensor.data.len()) => {
            Some((rows, values, tensor.data))
        }
        _ => None,
    }
}

/// The class with the highest score, if that is over the threshold. NaN is under it.
fn best(scores: &[f32], threshold: f32) -> Option<(usize, f32)> {
    let mut best = None;
    let mut highest = threshold;
    for (class, score) in scores.iter().enumerate() {
        if *score > highest {
            highest = *score;
            best = Some((class, *score));
        }
    }
    best
}

/// A box from its centre and size.
fn around(class: usize, score: f32, [x, y, w, h]: [f32; 4]) -> Detection {
    Detection {
        class,
        score,
        x: x - w / 2.0,
        y: y - h / 2.0,
        w,
        h,
    }
}

/// A box from its corners.
fn between(class: usize, score: f32, [left, top, right, bottom]: [f32; 4]) -> Detection {
    Detection {
        class,
        score,
        x: left,
        y: top,
        w: right - left,
        h: bottom - top,
    }
}

/// Shapes as text, for messages.
pub fn shapes(tensors: &[TensorView<'_>]) -> String {
    let shapes: Vec<String> = tensors
        .iter()
        .map(|tensor| format!("{:?}", tensor.shape))
        .collect();
    shapes.join(", ")
}

#[cfg(test)]
mod tests {
    use super::testing::Tensor;
    use super::*;

    #[test]
    fn names_and_guesses_are_apart() {
        for kind in DecoderKind::ALL {
            assert_eq!(DecoderKind::by_name(kind.name()), Some(kind));
        }
        let guess = |shapes: &[&[usize]]| {
            let tensors: Vec<Tensor> = shapes.iter().map(|shape| Tensor::zeros(shape)).collect();
            let views: Vec<_> = tensors.iter().map(Tensor::view).collect();
            DecoderKind::guess(&views, 64, 64).map(|kind| (kind.name(), kind.classes(&views)))
        };
        // 64 + 16 + 4 cells, and one more at stride 64.
        assert_eq!(guess(&[&[1, 84, 85]]), Some(("yolox", 80)));
        assert_eq!(guess(&[&[1, 252, 85]]), Some(("yolov5", 80)));
        assert_eq!(
            guess(&[&[1, 84, 84]]),
            Some(("yolox", 79)),
            "a square one is ambiguous"
        );
        assert_eq!(guess(&[&[1, 6, 84]]), Some(("yolov8", 2)));
        assert_eq!(guess(&[&[1, 300, 6]]), Some(("yolov10", 0)));
        assert_eq!(guess(&[&[1, 85, 112]]), Some(("nanodet", 80)));
        assert_eq!(guess(&[&[1, 4420, 2], &[1, 4420, 4]]), Some(("ssd", 1)));
        assert_eq!(guess(&[&[1, 4420, 4], &[1, 4420, 21]]), Some(("ssd", 20)));
        let heat: [&[usize]; 3] = [&[1, 1, 16, 16], &[1, 2, 16, 16], &[1, 2, 16, 16]];
        assert_eq!(guess(&heat), Some(("centerface", 1)));
        assert_eq!(guess(&[&[1, 1000]]), None);
    }
}
