//! From a model's output tensors to boxes in input pixels. A decoder for each family of models;
//! geometry of the picture and suppression are not theirs.

mod centerface;
mod yolox;

use crate::backend::Tensor;
use crate::detection::Detection;

/// A family of models with the same outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecoderKind {
    /// One output `[1, anchors, 5 + classes]`, decoded with strides 8, 16 and 32.
    Yolox,
    /// Heat map, scale, offset and landmarks at stride 4.
    CenterFace,
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
    /// Name of the family.
    pub fn name(self) -> &'static str {
        match self {
            Self::Yolox => "yolox",
            Self::CenterFace => "centerface",
        }
    }

    /// Guesses the family from the outputs of a model run on `width` x `height` pixels.
    pub fn guess(outputs: &[Tensor], width: usize, height: usize) -> Option<Self> {
        let fits = |kind: Self| {
            kind.decode(outputs, width, height, 1.0, &mut Vec::new())
                .is_ok()
        };
        [Self::Yolox, Self::CenterFace]
            .into_iter()
            .find(|kind| fits(*kind))
    }

    /// Appends every box with a score over `threshold` to `boxes`, in input pixels.
    pub fn decode(
        self,
        outputs: &[Tensor],
        width: usize,
        height: usize,
        threshold: f32,
        boxes: &mut Vec<Detection>,
    ) -> Result<(), DecodeError> {
        match self {
            Self::Yolox => yolox::decode(outputs, width, height, threshold, boxes),
            Self::CenterFace => centerface::decode(outputs, width, height, threshold, boxes),
        }
    }
}

/// Shapes as text, for messages.
pub fn shapes(outputs: &[Tensor]) -> String {
    let shapes: Vec<String> = outputs
        .iter()
        .map(|out| format!("{:?}", out.shape))
        .collect();
    shapes.join(", ")
}
