//! NanoDet-Plus: one row for each cell of four grids: class scores, then how far each side of the box
//! is from the cell's corner, as a distribution over whole strides (generalised focal loss, Li et
//! al. 2020).

use super::{Outputs, best, between, grid};
use crate::detection::Detection;

const STRIDES: [usize; 4] = [8, 16, 32, 64];
/// Distances of 0 to 7 strides.
const BINS: usize = 8;
/// Values of a row behind the class scores: left, top, right, bottom.
pub(super) const BOX_VALUES: usize = 4 * BINS;

/// An error is what was expected.
pub(super) fn decode(outputs: &Outputs<'_>, boxes: &mut Vec<Detection>) -> Result<(), String> {
    let (width, height) = (outputs.width, outputs.height);
    let cells = grid::cells(width, height, &STRIDES);
    let (values, data) = match outputs.single() {
        Some((rows, values, data)) if rows == cells && values > BOX_VALUES => (values, data),
        _ => return Err(format!("[1, {cells}, classes + {BOX_VALUES}]")),
    };
    let rows = data.chunks_exact(values);
    for (row, (column, line, step)) in rows.zip(grid::walk(width, height, &STRIDES)) {
        let (scores, sides) = row.split_at(values - BOX_VALUES);
        if let Some((class, score)) = best(scores, outputs.threshold) {
            let side = |index: usize| expected(&sides[index * BINS..][..BINS]) * step;
            let (x, y) = (column * step, line * step);
            let corners = [x - side(0), y - side(1), x + side(2), y + side(3)];
            boxes.push(between(class, score, corners));
        }
    }
    Ok(())
}

/// The mean of a distribution that is given before softmax.
fn expected(logits: &[f32]) -> f32 {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (mut sum, mut weighted) = (0.0, 0.0);
    for (bin, logit) in logits.iter().enumerate() {
        let weight = (logit - highest).exp();
        sum += weight;
        weighted += weight * bin as f32;
    }
    weighted / sum
}

#[cfg(test)]
mod tests {
    use edgeflow_model::Family;

    use super::super::{Decode, testing::Tensor};
    use super::*;

    #[test]
    fn sides_are_means_of_their_distributions() {
        // 64 x 64: 64 + 16 + 4 + 1 cells.
        let mut output = Tensor::zeros(&[1, 85, 34]);
        // Row 65 is the second cell of the 4x4 grid, at stride 16.
        let row = &mut output.data[65 * 34..][..34];
        row[1] = 0.7;
        for (side, bin) in [(0, 1), (1, 0), (2, 2), (3, 7)] {
            row[2 + side * BINS + bin] = 50.0;
        }
        let mut boxes: Vec<Detection> = Vec::new();
        Family::NanoDet
            .decode(&[output.view()], 64, 64, 0.5, &mut boxes)
            .unwrap();
        assert_eq!(boxes.len(), 1);
        let found = boxes[0];
        assert_eq!((found.class, found.score), (1, 0.7));
        for (value, expected) in [
            (found.x, 0.0),
            (found.y, 0.0),
            (found.w, 48.0),
            (found.h, 112.0),
        ] {
            assert!((value - expected).abs() < 1e-3, "{found:?}");
        }
        assert!((expected(&[0.0; BINS]) - 3.5).abs() < 1e-6);
    }
}
