//! YOLOv5 and YOLOv7: three boxes for each cell of three grids, already placed: centre, size,
//! objectness, class scores.

use super::{Outputs, around, grid, yolox};
use crate::detection::Detection;

const STRIDES: [usize; 3] = [8, 16, 32];
/// Shapes of box that each cell has.
const ANCHORS: usize = 3;
/// Values of a row before the class scores.
const BOX_VALUES: usize = 5;

/// An error is what was expected.
pub(super) fn decode(outputs: &Outputs<'_>, boxes: &mut Vec<Detection>) -> Result<(), String> {
    let count = ANCHORS * grid::cells(outputs.width, outputs.height, &STRIDES);
    let (values, data) = match outputs.single() {
        Some((rows, values, data)) if rows == count && values > BOX_VALUES => (values, data),
        _ => return Err(format!("[1, {count}, 5 + classes]")),
    };
    for row in data.chunks_exact(values) {
        if let Some((class, score)) = yolox::scored(row, outputs.threshold) {
            boxes.push(around(class, score, [row[0], row[1], row[2], row[3]]));
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
    fn rows_are_boxes() {
        let mut output = Tensor::zeros(&[1, 63, 7]);
        output.data[7 * 40..][..7].copy_from_slice(&[10.0, 12.0, 4.0, 6.0, 0.5, 0.2, 0.9]);
        let mut boxes: Vec<Detection> = Vec::new();
        Family::Yolov5
            .decode(&[output.view()], 32, 32, 0.4, &mut boxes)
            .unwrap();
        assert_eq!(boxes.len(), 1);
        let found = boxes[0];
        assert_eq!((found.class, found.x, found.y), (1, 8.0, 9.0));
        assert_eq!((found.w, found.h, found.score), (4.0, 6.0, 0.45));
    }
}
