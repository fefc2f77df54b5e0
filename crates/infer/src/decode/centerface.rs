//! CenterFace: a heat map of face centres, the size and the offset at each point. Landmarks are
//! not used.

use super::{DecodeError, shapes};
use crate::backend::Tensor;
use crate::detection::Detection;

const STRIDE: usize = 4;

pub(super) fn decode(
    outputs: &[Tensor],
    width: usize,
    height: usize,
    threshold: f32,
    boxes: &mut Vec<Detection>,
) -> Result<(), DecodeError> {
    let (columns, rows) = (width / STRIDE, height / STRIDE);
    let plane = |index: usize, channels: usize| {
        let output = outputs.get(index)?;
        let fits = *output.shape == [1, channels, rows, columns];
        (fits && output.data.len() == channels * rows * columns).then_some(&output.data[..])
    };
    let (Some(heat), Some(scale), Some(offset)) = (plane(0, 1), plane(1, 2), plane(2, 2)) else {
        return Err(DecodeError::Shape {
            family: "centerface",
            have: shapes(outputs),
            expected: format!("[1, 1, {rows}, {columns}] and two [1, 2, {rows}, {columns}]"),
        });
    };
    let (scale_y, scale_x) = scale.split_at(rows * columns);
    let (offset_y, offset_x) = offset.split_at(rows * columns);
    let step = STRIDE as f32;
    for (index, &score) in heat.iter().enumerate() {
        if score > threshold {
            let (row, column) = (index / columns, index % columns);
            let w = scale_x[index].exp() * step;
            let h = scale_y[index].exp() * step;
            let center_x = (column as f32 + offset_x[index] + 0.5) * step;
            let center_y = (row as f32 + offset_y[index] + 0.5) * step;
            boxes.push(Detection {
                class: 0,
                score,
                x: center_x - w / 2.0,
                y: center_y - h / 2.0,
                w,
                h,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs() -> [Tensor; 3] {
        let tensor = |channels: usize| Tensor {
            shape: vec![1, channels, 8, 16],
            data: vec![0.0; channels * 8 * 16],
        };
        [tensor(1), tensor(2), tensor(2)]
    }

    #[test]
    fn a_peak_becomes_a_box_around_its_point() {
        let mut outputs = outputs();
        let index = 3 * 16 + 5;
        outputs[0].data[index] = 0.8;
        outputs[1].data[index] = 3.0_f32.ln();
        outputs[1].data[128 + index] = 2.0_f32.ln();
        outputs[2].data[index] = 0.25;
        outputs[2].data[128 + index] = -0.5;
        let mut boxes = Vec::new();
        decode(&outputs, 64, 32, 0.5, &mut boxes).unwrap();
        assert_eq!(boxes.len(), 1);
        let found = boxes[0];
        let near = |a: f32, b: f32| (a - b).abs() < 1e-4;
        assert!(near(found.w, 8.0) && near(found.h, 12.0), "{found:?}");
        assert!(
            near(found.x, 20.0 - 4.0) && near(found.y, 15.0 - 6.0),
            "{found:?}"
        );
    }

    #[test]
    fn other_shapes_are_refused() {
        let mut boxes = Vec::new();
        assert!(decode(&outputs(), 32, 32, 0.5, &mut boxes).is_err());
        assert!(decode(&outputs()[..2], 64, 32, 0.5, &mut boxes).is_err());
        let mut short = outputs();
        short[2].data.pop();
        assert!(decode(&short, 64, 32, 0.5, &mut boxes).is_err());
    }
}
