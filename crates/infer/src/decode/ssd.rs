//! SSD as pytorch-ssd exports it, UltraFace with it: class scores of each anchor, the background
//! first, and the corners of its box as shares of the input.

use super::{Outputs, TensorView, best, between, rows};
use crate::detection::Detection;

/// Left, top, right, bottom.
const BOX_VALUES: usize = 4;

struct Parts<'a> {
    /// Of an anchor, the background with them.
    classes: usize,
    scores: &'a [f32],
    places: &'a [f32],
}

/// An error is what was expected.
pub(super) fn decode(outputs: &Outputs<'_>, boxes: &mut Vec<Detection>) -> Result<(), String> {
    let Some(parts) = parts(outputs.tensors) else {
        return Err("[1, anchors, 1 + classes] and [1, anchors, 4]".to_owned());
    };
    let (width, height) = (outputs.width as f32, outputs.height as f32);
    let scores = parts.scores.chunks_exact(parts.classes);
    for (scores, place) in scores.zip(parts.places.chunks_exact(BOX_VALUES)) {
        if let Some((class, score)) = best(&scores[1..], outputs.threshold) {
            let [left, right] = [place[0], place[2]].map(|share| share * width);
            let [top, bottom] = [place[1], place[3]].map(|share| share * height);
            boxes.push(between(class, score, [left, top, right, bottom]));
        }
    }
    Ok(())
}

/// Classes without the background.
pub(super) fn classes(tensors: &[TensorView<'_>]) -> Option<usize> {
    parts(tensors).map(|parts| parts.classes - 1)
}

/// Scores and boxes come in either order. With three classes and the background both have four
/// values, and the scores are first.
fn parts<'a>(tensors: &[TensorView<'a>]) -> Option<Parts<'a>> {
    let [first, second] = tensors else {
        return None;
    };
    let (first, second) = (rows(first)?, rows(second)?);
    let (scores, places) = if second.1 == BOX_VALUES {
        (first, second)
    } else {
        (second, first)
    };
    let fits = scores.0 == places.0 && places.1 == BOX_VALUES && scores.1 > 1;
    fits.then_some(Parts {
        classes: scores.1,
        scores: scores.2,
        places: places.2,
    })
}

#[cfg(test)]
mod tests {
    use edgeflow_model::Family;

    use super::super::{Decode, testing::Tensor};
    use super::*;

    #[test]
    fn shares_become_pixels_in_either_order() {
        let mut scores = Tensor::zeros(&[1, 5, 3]);
        scores.data[3..6].copy_from_slice(&[0.9, 0.3, 0.6]);
        let mut places = Tensor::zeros(&[1, 5, 4]);
        places.data[4..8].copy_from_slice(&[0.25, 0.5, 0.75, 1.0]);
        for order in [[&scores, &places], [&places, &scores]] {
            let views = order.map(Tensor::view);
            let mut boxes: Vec<Detection> = Vec::new();
            Family::Ssd
                .decode(&views, 320, 240, 0.5, &mut boxes)
                .unwrap();
            assert_eq!(boxes.len(), 1, "the background is no object");
            let found = boxes[0];
            assert_eq!((found.class, found.score), (1, 0.6));
            assert_eq!(
                (found.x, found.y, found.w, found.h),
                (80.0, 120.0, 160.0, 120.0)
            );
        }
    }
}
