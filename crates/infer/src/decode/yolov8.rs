//! YOLOv8, v9, 11 and 12: one column for each cell of three grids, already placed: centre, size,
//! class scores. There is no objectness. Models that find outlines as well (segmentation) have masks in
//! a second output, and a coefficient for each of them behind the class scores: see `masks`.

use super::{Outputs, around, grid, rows};
use crate::backend::TensorView;
use crate::detection::Detection;

const STRIDES: [usize; 3] = [8, 16, 32];
/// Values of a column before the class scores.
const BOX_VALUES: usize = 4;

/// An error is what was expected.
pub(super) fn decode(outputs: &Outputs<'_>, boxes: &mut Vec<Detection>) -> Result<(), String> {
    let cells = grid::cells(outputs.width, outputs.height, &STRIDES);
    let there = outputs.tensors.first().and_then(rows);
    let classes = classes(outputs.tensors).filter(|classes| *classes > 0);
    let (Some((_, columns, data)), Some(classes)) = (there, classes) else {
        return Err(expected(cells));
    };
    if columns != cells {
        return Err(expected(cells));
    }
    let (places, scores) = data.split_at(BOX_VALUES * cells);
    let scores = &scores[..classes * cells];
    // Class by class, as they lie in memory.
    let mut best = vec![(outputs.threshold, usize::MAX); cells];
    for (class, scores) in scores.chunks_exact(cells).enumerate() {
        for (best, score) in best.iter_mut().zip(scores) {
            if *score > best.0 {
                *best = (*score, class);
            }
        }
    }
    for (cell, (score, class)) in best.into_iter().enumerate() {
        if class != usize::MAX {
            let place = std::array::from_fn(|value| places[value * cells + cell]);
            boxes.push(Detection {
                cell,
                ..around(class, score, place)
            });
        }
    }
    Ok(())
}

fn expected(cells: usize) -> String {
    format!(
        "[1, 4 + classes, {cells}], or with masks [1, 4 + classes + masks, {cells}] and [1, masks, height, width]"
    )
}

/// Classes of a model with these outputs.
pub(super) fn classes(tensors: &[TensorView<'_>]) -> Option<usize> {
    let masks = match tensors {
        [_] => 0,
        [_, prototypes] => match *prototypes.shape {
            [1, masks, _, _] => masks,
            _ => return None,
        },
        _ => return None,
    };
    let (values, _, _) = rows(tensors.first()?)?;
    values.checked_sub(BOX_VALUES)?.checked_sub(masks)
}

#[cfg(test)]
mod tests {
    use edgeflow_model::Family;

    use super::super::{Decode, testing::Tensor};
    use super::*;

    #[test]
    fn columns_are_boxes() {
        let mut output = Tensor::zeros(&[1, 6, 21]);
        let column = [10.0, 12.0, 4.0, 6.0, 0.3, 0.8];
        for (row, value) in column.into_iter().enumerate() {
            output.data[row * 21 + 20] = value;
            output.data[row * 21] = f32::NAN;
        }
        let mut boxes: Vec<Detection> = Vec::new();
        Family::Yolov8
            .decode(&[output.view()], 32, 32, 0.2, &mut boxes)
            .unwrap();
        assert_eq!(boxes.len(), 1, "and a NaN is none");
        let found = boxes[0];
        assert_eq!((found.class, found.score), (1, 0.8));
        assert_eq!((found.x, found.y, found.w, found.h), (8.0, 9.0, 4.0, 6.0));
    }

    #[test]
    fn coefficients_of_masks_are_no_classes() {
        let mut output = Tensor::zeros(&[1, 4 + 1 + 3, 21]);
        for (row, value) in [10.0, 12.0, 4.0, 6.0, 0.3, 9.0, 9.0, 9.0]
            .into_iter()
            .enumerate()
        {
            output.data[row * 21 + 20] = value;
        }
        let masks = Tensor::zeros(&[1, 3, 8, 8]);
        let tensors = [output.view(), masks.view()];
        let mut boxes: Vec<Detection> = Vec::new();
        Family::Yolov8
            .decode(&tensors, 32, 32, 0.2, &mut boxes)
            .unwrap();
        assert_eq!(Family::Yolov8.classes(&tensors), 1);
        assert_eq!(boxes.len(), 1);
        assert_eq!((boxes[0].class, boxes[0].score), (0, 0.3));
        let none_left = Tensor::zeros(&[1, 4 + 3, 21]);
        let tensors = [none_left.view(), masks.view()];
        let refused = Family::Yolov8.decode(&tensors, 32, 32, 0.2, &mut boxes);
        assert!(refused.is_err());
    }
}
