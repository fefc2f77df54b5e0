//! Outlines of what models with masks found (segmentation as in YOLACT, Bolya et al. 2019, and YOLOv8
//! to 11): a mask is a sum of prototypes, weighted with the coefficients behind a box's class scores.

use super::{TensorView, rows};
use crate::detection::Detection;
use crate::letterbox::Letterbox;
use crate::outline::{Field, Point};

/// Boxes of a picture that get an outline, the surest first.
const MAX_OUTLINES: usize = 100;
/// Points of an outline.
const MAX_POINTS: usize = 40;
/// What is beyond a box.
const OUTSIDE: f32 = -1.0;

/// The outputs of a model with masks.
struct Masks<'a> {
    /// A column for each cell: box, class scores, coefficients.
    columns: &'a [f32],
    cells: usize,
    /// Where the coefficients begin.
    first: usize,
    prototypes: &'a [f32],
    count: usize,
    width: usize,
    height: usize,
}

/// Outlines of boxes, in pixels of the picture, for as many of them as get one. Empty when the model has no
/// masks.
pub(super) fn outlines(
    tensors: &[TensorView<'_>],
    fit: &Letterbox,
    found: &[Detection],
) -> Vec<Vec<Point>> {
    let Some(masks) = Masks::of(tensors) else {
        return Vec::new();
    };
    let mut field = Vec::new();
    let found = found.iter().take(MAX_OUTLINES);
    found
        .map(|found| masks.outline(fit, found, &mut field))
        .collect()
}

impl<'a> Masks<'a> {
    fn of(tensors: &[TensorView<'a>]) -> Option<Self> {
        let [columns, prototypes] = tensors else {
            return None;
        };
        let (values, cells, data) = rows(columns)?;
        let [1, count, height, width] = *prototypes.shape else {
            return None;
        };
        let size = count.checked_mul(height)?.checked_mul(width)?;
        (size > 0 && size == prototypes.data.len()).then_some(Self {
            columns: data,
            cells,
            first: values.checked_sub(count)?,
            prototypes: prototypes.data,
            count,
            width,
            height,
        })
    }

    fn outline(&self, fit: &Letterbox, found: &Detection, field: &mut Vec<f32>) -> Vec<Point> {
        if found.cell >= self.cells {
            return Vec::new();
        }
        let placed = fit.apply(found);
        // Prototypes are smaller than the input.
        let along = fit.width as f32 / self.width as f32;
        let down = fit.height as f32 / self.height as f32;
        let columns = cut(placed.x / along, placed.w / along, self.width);
        let lines = cut(placed.y / down, placed.h / down, self.height);
        // With a border, so that every outline is closed.
        let (width, height) = (columns.len() + 2, lines.len() + 2);
        field.clear();
        field.resize(width * height, 0.0);
        for mask in 0..self.count {
            let weight = self.columns[(self.first + mask) * self.cells + found.cell];
            let prototype = &self.prototypes[mask * self.width * self.height..];
            for (row, line) in lines.clone().enumerate() {
                let from = &prototype[line * self.width..][columns.clone()];
                let to = &mut field[(row + 1) * width + 1..][..columns.len()];
                to.iter_mut()
                    .zip(from)
                    .for_each(|(to, it)| *to += weight * it);
            }
        }
        for (row, values) in field.chunks_exact_mut(width).enumerate() {
            if row == 0 || row == height - 1 {
                values.fill(OUTSIDE);
            }
            (values[0], values[width - 1]) = (OUTSIDE, OUTSIDE);
        }
        let Some(grid) = Field::new(field, width, height) else {
            return Vec::new();
        };
        let mut points = grid.largest(MAX_POINTS);
        for point in &mut points {
            // A prototype's value stands for the middle of its pixel.
            let x = (point[0] - 0.5 + columns.start as f32) * along;
            let y = (point[1] - 0.5 + lines.start as f32) * down;
            let [x, y] = fit.undo_point([x, y]);
            *point = [
                x.clamp(found.x, found.x + found.w),
                y.clamp(found.y, found.y + found.h),
            ];
        }
        points
    }
}

/// The whole pixels that a span touches, of `most`.
fn cut(start: f32, length: f32, most: usize) -> std::ops::Range<usize> {
    // A cast to an integer keeps within its range.
    let from = (start.max(0.0) as usize).min(most);
    let to = ((start + length).ceil().max(0.0) as usize).min(most);
    from..to.max(from)
}

#[cfg(test)]
mod tests {
    use edgeflow_model::{InputSize, Placement};

    use super::super::testing::Tensor;
    use super::*;
    use crate::letterbox::Area;

    /// A model of 32 x 32 pixels with one class and two masks of 8 x 8: the left half, and a square of
    /// 4 x 4 in the middle.
    fn tensors() -> (Tensor, Tensor) {
        let mut columns = Tensor::zeros(&[1, 4 + 1 + 2, 21]);
        columns.data[5 * 21 + 3] = 1.0;
        columns.data[6 * 21 + 4] = 1.0;
        let mut prototypes = Tensor::zeros(&[1, 2, 8, 8]);
        for y in 0..8 {
            for x in 0..8 {
                prototypes.data[y * 8 + x] = if x < 4 { 1.0 } else { -1.0 };
                let middle = (2..6).contains(&x) && (2..6).contains(&y);
                prototypes.data[64 + y * 8 + x] = if middle { 1.0 } else { -1.0 };
            }
        }
        (columns, prototypes)
    }

    fn found(cell: usize, x: f32, y: f32, w: f32, h: f32) -> Detection {
        Detection {
            cell,
            x,
            y,
            w,
            h,
            ..Detection::default()
        }
    }

    fn bounds(points: &[Point]) -> [f32; 4] {
        let fold = |axis: usize, with: fn(f32, f32) -> f32, start: f32| {
            points.iter().map(|point| point[axis]).fold(start, with)
        };
        [
            fold(0, f32::min, 1e9),
            fold(1, f32::min, 1e9),
            fold(0, f32::max, -1e9),
            fold(1, f32::max, -1e9),
        ]
    }

    #[test]
    fn outlines_are_where_the_masks_are_and_end_at_the_box() {
        let (columns, prototypes) = tensors();
        let views = [columns.view(), prototypes.view()];
        let size = InputSize::Fixed {
            width: 32,
            height: 32,
        };
        // A picture of 64 x 32: scaled to 32 x 16, eight rows of padding above and below.
        let fit = Letterbox::fit(&Area::whole(64, 32), size, Placement::Center);
        let boxes = [
            found(4, 0.0, 0.0, 64.0, 32.0),
            found(3, 0.0, 8.0, 64.0, 16.0),
            found(4, 40.0, 0.0, 10.0, 32.0),
            found(5, 0.0, 0.0, 64.0, 32.0),
            found(99, 0.0, 0.0, 64.0, 32.0),
        ];
        let outlines = outlines(&views, &fit, &boxes);
        // The square covers input pixels 8 to 24, which are 16 to 48 and 0 to 32 of the picture.
        assert_eq!(bounds(&outlines[0]), [16.0, 0.0, 48.0, 32.0]);
        assert_eq!(bounds(&outlines[1]), [0.0, 8.0, 32.0, 24.0]);
        let [left, top, right, bottom] = bounds(&outlines[2]);
        assert_eq!((left, top, bottom), (40.0, 0.0, 32.0));
        assert!((46.0..=50.0).contains(&right), "{right}");
        assert!(outlines[3].is_empty() && outlines[4].is_empty());
        assert!(outlines.iter().all(|outline| outline.len() <= MAX_POINTS));
    }

    #[test]
    fn a_model_without_masks_has_no_outlines() {
        let (columns, prototypes) = tensors();
        let size = InputSize::Fixed {
            width: 32,
            height: 32,
        };
        let fit = Letterbox::fit(&Area::whole(32, 32), size, Placement::Center);
        let boxes = [found(4, 0.0, 0.0, 32.0, 32.0)];
        assert!(outlines(&[columns.view()], &fit, &boxes).is_empty());
        let too_many = Tensor::zeros(&[1, 9, 8, 8]);
        assert!(outlines(&[columns.view(), too_many.view()], &fit, &boxes).is_empty());
        let short = TensorView {
            data: &prototypes.data[1..],
            ..prototypes.view()
        };
        assert!(outlines(&[columns.view(), short], &fit, &boxes).is_empty());
    }

    #[test]
    fn boxes_that_are_nowhere_have_no_outline() {
        let (columns, prototypes) = tensors();
        let views = [columns.view(), prototypes.view()];
        let size = InputSize::Fixed {
            width: 32,
            height: 32,
        };
        let fit = Letterbox::fit(&Area::whole(32, 32), size, Placement::Center);
        for (x, w) in [(-90.0, 5.0), (90.0, 5.0), (0.0, f32::NEG_INFINITY)] {
            let boxes = [found(3, x, 0.0, w, 32.0)];
            assert!(outlines(&views, &fit, &boxes)[0].is_empty());
        }
    }
}
