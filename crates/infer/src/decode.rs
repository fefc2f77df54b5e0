//! From a model's output tensors to boxes in input pixels, or to a class. A decoder for each family of
//! models; geometry of the picture and suppression are not theirs.

mod centerface;
mod classes;
mod distances;
mod end_to_end;
mod grid;
mod masks;
mod nanodet;
mod picodet;
mod ssd;
#[cfg(test)]
mod testing;
mod yolov5;
mod yolov8;
mod yolox;

use edgeflow_model::Family;

use crate::backend::TensorView;
use crate::detection::Detection;
use crate::letterbox::Letterbox;
use crate::outline::Point;

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
    /// No class has a probability.
    #[error("the model's output holds no numbers")]
    NoNumbers,
}

/// Boxes of a family's outputs.
pub trait Decode: Sized {
    /// Classes of a model with these outputs, which are those of the family.
    fn classes(self, tensors: &[TensorView<'_>]) -> usize;

    /// Guesses the family from the outputs of a model run on `width` x `height` pixels.
    fn guess(tensors: &[TensorView<'_>], width: usize, height: usize) -> Option<Self>;

    /// Appends every box with a score over `threshold` to `boxes`, in input pixels.
    fn decode(
        self,
        tensors: &[TensorView<'_>],
        width: usize,
        height: usize,
        threshold: f32,
        boxes: &mut Vec<Detection>,
    ) -> Result<(), DecodeError>;
}

impl Decode for Family {
    fn classes(self, tensors: &[TensorView<'_>]) -> usize {
        let last = |index: usize| tensors.get(index).and_then(|it| it.shape.last()).copied();
        let sizes = match self {
            Self::Yolox | Self::Yolov5 => last(0).map(|values| values.saturating_sub(5)),
            Self::Yolov8 => yolov8::classes(tensors),
            Self::NanoDet => last(0).map(|values| values.saturating_sub(distances::VALUES)),
            Self::PicoDet => last(0),
            // One of the outputs has the boxes; the background is no class.
            Self::Ssd => ssd::classes(tensors),
            Self::EndToEnd => None,
            Self::CenterFace => Some(1),
            Self::Classes => classes::values(tensors).map(<[f32]>::len),
        };
        sizes.unwrap_or(0)
    }

    fn guess(tensors: &[TensorView<'_>], width: usize, height: usize) -> Option<Self> {
        let fits = |kind: &Self| match kind {
            Self::Classes => classes::values(tensors).is_some(),
            _ => kind
                .decode(tensors, width, height, 1.0, &mut Vec::new())
                .is_ok(),
        };
        Self::ALL.into_iter().find(fits)
    }

    fn decode(
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
            Self::PicoDet => picodet::decode(&outputs, boxes),
            Self::CenterFace => centerface::decode(&outputs, boxes),
            Self::Classes => Err("boxes, which a classifier has not".to_owned()),
        };
        decoded.map_err(|expected| DecodeError::Shape {
            family: self.name(),
            have: shapes(tensors),
            expected,
        })
    }
}

/// Outlines of what was found, in pixels of the picture as `found` is, for as many of them as get one; none
/// at all if the model has no masks.
pub fn outlines(
    family: Family,
    tensors: &[TensorView<'_>],
    fit: &Letterbox,
    found: &[Detection],
) -> Vec<Vec<Point>> {
    match family {
        Family::Yolov8 => masks::outlines(tensors, fit, found),
        _ => Vec::new(),
    }
}

/// The likeliest class of a classifier's outputs, with its probability.
pub fn likeliest(tensors: &[TensorView<'_>]) -> Result<(usize, f32), DecodeError> {
    let values = classes::values(tensors).ok_or_else(|| DecodeError::Shape {
        family: Family::Classes.name(),
        have: shapes(tensors),
        expected: "[1, classes]".to_owned(),
    })?;
    classes::likeliest(values).ok_or(DecodeError::NoNumbers)
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
        cell: 0,
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
        cell: 0,
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
        for kind in Family::ALL {
            assert_eq!(Family::by_name(kind.name()), Some(kind));
        }
        let guess = |shapes: &[&[usize]]| {
            let tensors: Vec<Tensor> = shapes.iter().map(|shape| Tensor::zeros(shape)).collect();
            let views: Vec<_> = tensors.iter().map(Tensor::view).collect();
            Family::guess(&views, 64, 64).map(|kind| (kind.name(), kind.classes(&views)))
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
        assert_eq!(
            guess(&[&[1, 6 + 32, 84], &[1, 32, 16, 16]]),
            Some(("yolov8", 2))
        );
        assert_eq!(guess(&[&[1, 300, 6]]), Some(("yolov10", 0)));
        assert_eq!(guess(&[&[1, 85, 112]]), Some(("nanodet", 80)));
        assert_eq!(guess(&[&[1, 4420, 2], &[1, 4420, 4]]), Some(("ssd", 1)));
        assert_eq!(guess(&[&[1, 4420, 4], &[1, 4420, 21]]), Some(("ssd", 20)));
        let heat: [&[usize]; 3] = [&[1, 1, 16, 16], &[1, 2, 16, 16], &[1, 2, 16, 16]];
        assert_eq!(guess(&heat), Some(("centerface", 1)));
        let grids: [&[usize]; 8] = [
            &[1, 64, 10],
            &[1, 16, 10],
            &[1, 4, 10],
            &[1, 1, 10],
            &[1, 64, 32],
            &[1, 16, 32],
            &[1, 4, 32],
            &[1, 1, 32],
        ];
        assert_eq!(guess(&grids), Some(("picodet", 10)));
        assert_eq!(guess(&[&[1, 1000]]), Some(("classes", 1000)));
        assert_eq!(guess(&[&[1, 1]]), None);
    }
}
