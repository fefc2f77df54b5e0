//! NanoDet-Plus: one row for each cell of four grids: class scores, then the distances of the sides
//! from the cell's corner.

use super::{Outputs, best, between, distances, grid};
use crate::detection::Detection;

/// An error is what was expected.
pub(super) fn decode(outputs: &Outputs<'_>, boxes: &mut Vec<Detection>) -> Result<(), String> {
    let (width, height) = (outputs.width, outputs.height);
    let cells = grid::cells(width, height, &distances::STRIDES);
    let (values, data) = match outputs.single() {
        Some((rows, values, data)) if rows == cells && values > distances::VALUES => (values, data),
        _ => return Err(format!("[1, {cells}, classes + {}]", distances::VALUES)),
    };
    let rows = data.chunks_exact(values);
    for (row, (column, line, step)) in rows.zip(grid::walk(width, height, &distances::STRIDES)) {
        let (scores, sides) = row.split_at(values - distances::VALUES);
        if let Some((class, score)) = best(scores, outputs.threshold) {
            let corner = [column * step, line * step];
            boxes.push(between(
                class,
                score,
                distances::corners(sides, corner, step),
            ));
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
    fn a_row_is_scores_and_then_distances_from_the_corner_of_its_cell() {
        // 64 x 64: 64 + 16 + 4 + 1 cells.
        let mut output = Tensor::zeros(&[1, 85, 34]);
        // Row 65 is the second cell of the 4x4 grid, at stride 16.
        let row = &mut output.data[65 * 34..][..34];
        row[1] = 0.7;
        for (side, bin) in [(0, 1), (1, 0), (2, 2), (3, 7)] {
            row[2 + side * 8 + bin] = 50.0;
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
    }
}
