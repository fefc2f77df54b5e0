//! YOLOX: one row for each cell of three grids: centre, size, objectness, class scores.

use super::{DecodeError, shapes};
use crate::backend::Tensor;
use crate::detection::Detection;

const STRIDES: [usize; 3] = [8, 16, 32];
/// Values of a row before the class scores.
const BOX_VALUES: usize = 5;

pub(super) fn decode(
    outputs: &[Tensor],
    width: usize,
    height: usize,
    threshold: f32,
    boxes: &mut Vec<Detection>,
) -> Result<(), DecodeError> {
    let cells: usize = STRIDES
        .iter()
        .map(|stride| (width / stride) * (height / stride))
        .sum();
    let wrong = || DecodeError::Shape {
        family: "yolox",
        have: shapes(outputs),
        expected: format!("[1, {cells}, 5 + classes]"),
    };
    let [output] = outputs else {
        return Err(wrong());
    };
    let values = match *output.shape {
        [1, rows, values] if rows == cells && values > BOX_VALUES => values,
        _ => return Err(wrong()),
    };
    if output.data.len() != cells * values {
        return Err(wrong());
    }
    let mut rows = output.data.chunks_exact(values);
    for stride in STRIDES {
        for grid_y in 0..height / stride {
            for (grid_x, row) in (0..width / stride).zip(rows.by_ref()) {
                if let Some((class, score)) = best(row, threshold) {
                    boxes.push(place(row, grid_x, grid_y, stride, class, score));
                }
            }
        }
    }
    Ok(())
}

/// The strongest class of a row when objectness times its score is over the threshold.
fn best(row: &[f32], threshold: f32) -> Option<(usize, f32)> {
    let objectness = row[BOX_VALUES - 1];
    // No class score is over 1: most rows end here. Also false for a NaN.
    if objectness > threshold {
        let (class, score) = row[BOX_VALUES..]
            .iter()
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(b.1))?;
        let score = objectness * score;
        return (score > threshold).then_some((class, score));
    }
    None
}

fn place(
    row: &[f32],
    grid_x: usize,
    grid_y: usize,
    stride: usize,
    class: usize,
    score: f32,
) -> Detection {
    let step = stride as f32;
    let center_x = (row[0] + grid_x as f32) * step;
    let center_y = (row[1] + grid_y as f32) * step;
    let (w, h) = (row[2].exp() * step, row[3].exp() * step);
    Detection {
        class,
        score,
        x: center_x - w / 2.0,
        y: center_y - h / 2.0,
        w,
        h,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 32x32 input has 16 + 4 + 1 cells.
    fn output(rows: &[(usize, [f32; 7])]) -> Tensor {
        let mut data = vec![0.0; 21 * 7];
        for (index, row) in rows {
            data[index * 7..][..7].copy_from_slice(row);
        }
        Tensor {
            shape: vec![1, 21, 7],
            data,
        }
    }

    #[test]
    fn cells_of_every_stride_are_placed() {
        let ln2 = std::f32::consts::LN_2;
        let outputs = [output(&[
            (5, [0.5, 0.5, 0.0, 0.0, 0.9, 0.1, 0.8]),
            (18, [0.0, 0.0, ln2, 0.0, 1.0, 0.7, 0.2]),
            (20, [0.5, 0.5, 0.0, 0.0, 0.5, 0.5, 0.5]),
        ])];
        let mut boxes = Vec::new();
        decode(&outputs, 32, 32, 0.4, &mut boxes).unwrap();
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
        let mut boxes = Vec::new();
        assert!(decode(std::slice::from_ref(&good), 64, 64, 0.3, &mut boxes).is_err());
        assert!(decode(&[good.clone(), good.clone()], 32, 32, 0.3, &mut boxes).is_err());
        assert!(decode(&[], 32, 32, 0.3, &mut boxes).is_err());
        let mut short = good;
        short.data.pop();
        assert!(decode(&[short], 32, 32, 0.3, &mut boxes).is_err());
    }

    #[test]
    fn a_nan_is_no_object() {
        let outputs = [output(&[(0, [f32::NAN; 7])])];
        let mut boxes = Vec::new();
        decode(&outputs, 32, 32, 0.1, &mut boxes).unwrap();
        assert_eq!(boxes, []);
    }
}
