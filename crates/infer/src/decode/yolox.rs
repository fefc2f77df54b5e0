//! YOLOX: one row for each cell of three grids: centre, size, objectness, class scores.

use super::{Outputs, around, best, grid};
use crate::detection::Detection;

const STRIDES: [usize; 3] = [8, 16, 32];
/// Values of a row before the class scores.
const BOX_VALUES: usize = 5;

/// An error is what was expected.
pub(super) fn decode(outputs: &Outputs<'_>, boxes: &mut Vec<Detection>) -> Result<(), String> {
    let (width, height) = (outputs.width, outputs.height);
    let cells = grid::cells(width, height, &STRIDES);
    let (values, data) = match outputs.single() {
        Some((rows, values, data)) if rows == cells && values > BOX_VALUES => (values, data),
        _ => return Err(format!("[1, {cells}, 5 + classes]")),
    };
    let rows = data.chunks_exact(values);
    for (row, (column, line, step)) in rows.zip(grid::walk(width, height, &STRIDES)) {
        if let Some((class, score)) = scored(row, outputs.threshold) {
            let center_x = (row[0] + column) * step;
            let center_y = (row[1] + line) * step;
            let (w, h) = (row[2].exp() * step, row[3].exp() * step);
            boxes.push(around(class, score, [center_x, center_y, w, h]));
        }
    }
    Ok(())
}

/// The strongest class of a row when objectness times its score is over the threshold.
pub(super) fn scored(row: &[f32], threshold: f32) -> Option<(usize, f32)> {
    let objectness = row[BOX_VALUES - 1];
    // No class score is over 1: most rows end here. Also false for a NaN.
    if objectness > threshold {
        let (class, score) = best(&row[BOX_VALUES..], 0.0)?;
        let score = objectness * score;
        return (score > threshold).then_some((class, score));
    }
    None
}

#[cfg(test)]
mod tests {
    use edgeflow_model::Family;

    use super::super::{Decode, testing::Tensor};
    use super::*;

    /// A 32x32 input has 16 + 4 + 1 cells.
    fn output(rows: &[(usize, [f32; 7])]) -> Tensor {
        let mut output = Tensor::zeros(&[1, 21, 7]);
        for (index, row) in rows {
            output.data[index * 7..][..7].copy_from_slice(row);
        }
        output
    }

    fn decode(outputs: &[Tensor], side: usize, threshold: f32) -> Option<Vec<Detection>> {
        let views: Vec<_> = outputs.iter().map(Tensor::view).collect();
        let mut boxes = Vec::new();
        let decoded = Family::Yolox.decode(&views, side, side, threshold, &mut boxes);
        decoded.is_ok().then_some(boxes)
    }

    #[test]
    fn cells_of_every_stride_are_placed() {
        let ln2 = std::f32::consts::LN_2;
        let outputs = [output(&[
            (5, [0.5, 0.5, 0.0, 0.0, 0.9, 0.1, 0.8]),
            (18, [0.0, 0.0, ln2, 0.0, 1.0, 0.7, 0.2]),
            (20, [0.5, 0.5, 0.0, 0.0, 0.5, 0.5, 0.5]),
        ])];
        let boxes = decode(&outputs, 32, 0.4).unwrap();
        assert_eq!(boxes.len(), 2);
        let first = boxes[0];
        assert_eq!((first.class, first.x, first.y, first.w), (1, 8.0, 8.0, 8.0));
        assert!((first.score - 0.72).abs() < 1e-6);
        // Row 18 is the third cell of the 2x2 grid: column 0, row 1 at stride 16.
        let second = boxes[1];
        assert_eq!((second.class, second.w, second.h), (0, 32.0, 16.0));
        assert_eq!((second.x, second.y), (-16.0, 8.0));
    }

    #[test]
    fn other_shapes_are_refused() {
        let good = output(&[]);
        assert!(decode(std::slice::from_ref(&good), 64, 0.3).is_none());
        assert!(decode(&[good.clone(), good.clone()], 32, 0.3).is_none());
        assert!(decode(&[], 32, 0.3).is_none());
        let mut short = good;
        short.data.pop();
        assert!(decode(&[short], 32, 0.3).is_none());
    }

    #[test]
    fn a_nan_is_no_object() {
        let outputs = [output(&[(0, [f32::NAN; 7])])];
        assert_eq!(decode(&outputs, 32, 0.1), Some(Vec::new()));
    }
}
