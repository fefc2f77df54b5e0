//! YOLOv8, v9, 11 and 12: one column for each cell of three grids, already placed: centre, size,
//! class scores. There is no objectness.

use super::{Outputs, around, grid};
use crate::detection::Detection;

const STRIDES: [usize; 3] = [8, 16, 32];
/// Values of a column before the class scores.
const BOX_VALUES: usize = 4;

/// An error is what was expected.
pub(super) fn decode(outputs: &Outputs<'_>, boxes: &mut Vec<Detection>) -> Result<(), String> {
    let cells = grid::cells(outputs.width, outputs.height, &STRIDES);
    let data = match outputs.single() {
        Some((values, columns, data)) if columns == cells && values > BOX_VALUES => data,
        _ => return Err(format!("[1, 4 + classes, {cells}]")),
    };
    let (places, scores) = data.split_at(BOX_VALUES * cells);
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
            boxes.push(around(class, score, place));
        }
    }
    Ok(())
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
}
