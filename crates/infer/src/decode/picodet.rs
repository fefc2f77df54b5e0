//! PicoDet without its post-processing: a tensor of class scores for each of four grids, then a tensor
//! of distances for each, from the middle of the cell (PP-PicoDet, Yu et al. 2021).

use super::{Outputs, best, between, distances, grid, rows};
use crate::detection::Detection;

const GRIDS: usize = distances::STRIDES.len();

/// An error is what was expected.
pub(super) fn decode(outputs: &Outputs<'_>, boxes: &mut Vec<Detection>) -> Result<(), String> {
    let grids: Option<Vec<Grid<'_>>> = (0..GRIDS).map(|index| grid_of(outputs, index)).collect();
    let is_whole = outputs.tensors.len() == 2 * GRIDS;
    let Some(grids) = grids.filter(|grids| is_whole && have_one_class_count(grids)) else {
        let values = distances::VALUES;
        return Err(format!(
            "[1, cells, classes] for each of the strides {:?}, then [1, cells, {values}] for each",
            distances::STRIDES
        ));
    };
    for grid in grids {
        let strides = [grid.stride];
        let cells = grid::walk(outputs.width, outputs.height, &strides);
        let rows = grid.scores.chunks_exact(grid.classes);
        let rows = rows.zip(grid.sides.chunks_exact(distances::VALUES));
        for ((scores, sides), (column, line, step)) in rows.zip(cells) {
            if let Some((class, score)) = best(scores, outputs.threshold) {
                let middle = [(column + 0.5) * step, (line + 0.5) * step];
                let corners = distances::corners(sides, middle, step);
                boxes.push(between(class, score, corners));
            }
        }
    }
    Ok(())
}

struct Grid<'a> {
    stride: usize,
    classes: usize,
    scores: &'a [f32],
    sides: &'a [f32],
}

fn grid_of<'a>(outputs: &Outputs<'a>, index: usize) -> Option<Grid<'a>> {
    let stride = distances::STRIDES[index];
    let cells = grid::cells(outputs.width, outputs.height, &[stride]);
    let (scored, classes, scores) = rows(outputs.tensors.get(index)?)?;
    let (measured, values, sides) = rows(outputs.tensors.get(GRIDS + index)?)?;
    let fits = scored == cells && measured == cells && values == distances::VALUES && classes > 0;
    fits.then_some(Grid {
        stride,
        classes,
        scores,
        sides,
    })
}

fn have_one_class_count(grids: &[Grid<'_>]) -> bool {
    grids.windows(2).all(|two| two[0].classes == two[1].classes)
}

#[cfg(test)]
mod tests {
    use edgeflow_model::Family;

    use super::super::{Decode, testing::Tensor};
    use super::*;

    /// Of 64 x 64 pixels, for two classes.
    fn tensors() -> Vec<Tensor> {
        let of = |values: usize| {
            let cells = [64, 16, 4, 1];
            cells.map(|cells| Tensor::zeros(&[1, cells, values]))
        };
        of(2).into_iter().chain(of(32)).collect()
    }

    fn decode(tensors: &[Tensor]) -> Result<Vec<Detection>, super::super::DecodeError> {
        let views: Vec<_> = tensors.iter().map(Tensor::view).collect();
        let mut boxes = Vec::new();
        Family::PicoDet.decode(&views, 64, 64, 0.5, &mut boxes)?;
        Ok(boxes)
    }

    #[test]
    fn distances_count_from_the_middle_of_the_cell() {
        let mut tensors = tensors();
        // The second cell of the grid of stride 16.
        tensors[1].data[2 + 1] = 0.7;
        for (side, bin) in [(0, 1), (1, 0), (2, 2), (3, 3)] {
            tensors[5].data[32 + side * 8 + bin] = 50.0;
        }
        let boxes = decode(&tensors).unwrap();
        assert_eq!(boxes.len(), 1);
        let found = boxes[0];
        assert_eq!((found.class, found.score), (1, 0.7));
        for (value, expected) in [
            (found.x, 8.0),
            (found.y, 8.0),
            (found.w, 48.0),
            (found.h, 48.0),
        ] {
            assert!((value - expected).abs() < 1e-3, "{found:?}");
        }
    }

    #[test]
    fn other_shapes_are_refused() {
        let mut one_less = tensors();
        one_less.pop();
        assert!(decode(&one_less).is_err());
        let mut one_more = tensors();
        one_more.push(Tensor::zeros(&[1, 1, 32]));
        assert!(decode(&one_more).is_err());
        let mut other_classes = tensors();
        other_classes[2] = Tensor::zeros(&[1, 4, 3]);
        assert!(decode(&other_classes).is_err());
        let mut no_classes = tensors();
        for scores in &mut no_classes[..4] {
            *scores = Tensor::zeros(&[1, scores.shape[1], 0]);
        }
        assert!(decode(&no_classes).is_err());
    }
}
