//! CenterFace: a heat map of face centres, the size and the offset at each point. Landmarks are
//! not used.

use super::{Outputs, around};
use crate::detection::Detection;

const STRIDE: usize = 4;

/// An error is what was expected.
pub(super) fn decode(outputs: &Outputs<'_>, boxes: &mut Vec<Detection>) -> Result<(), String> {
    let (columns, rows) = (outputs.width / STRIDE, outputs.height / STRIDE);
    let plane = |index: usize, channels: usize| {
        let output = outputs.tensors.get(index)?;
        let fits = *output.shape == [1, channels, rows, columns];
        (fits && output.data.len() == channels * rows * columns).then_some(output.data)
    };
    let (Some(heat), Some(scale), Some(offset)) = (plane(0, 1), plane(1, 2), plane(2, 2)) else {
        return Err(format!(
            "[1, 1, {rows}, {columns}] and two [1, 2, {rows}, {columns}]"
        ));
    };
    let (scale_y, scale_x) = scale.split_at(rows * columns);
    let (offset_y, offset_x) = offset.split_at(rows * columns);
    let step = STRIDE as f32;
    for (index, &score) in heat.iter().enumerate() {
        if score > outputs.threshold {
            let (row, column) = (index / columns, index % columns);
            let w = scale_x[index].exp() * step;
            let h = scale_y[index].exp() * step;
            let center_x = (column as f32 + offset_x[index] + 0.5) * step;
            let center_y = (row as f32 + offset_y[index] + 0.5) * step;
            boxes.push(around(0, score, [center_x, center_y, w, h]));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use edgeflow_model::Family;

    use super::super::{Decode, testing::Tensor};
    use super::*;

    fn outputs() -> [Tensor; 3] {
        [1, 2, 2].map(|channels| Tensor::zeros(&[1, channels, 8, 16]))
    }

    fn decode(outputs: &[Tensor], width: usize, height: usize) -> Option<Vec<Detection>> {
        let views: Vec<_> = outputs.iter().map(Tensor::view).collect();
        let mut boxes = Vec::new();
        let decoded = Family::CenterFace.decode(&views, width, height, 0.5, &mut boxes);
        decoded.is_ok().then_some(boxes)
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
        let boxes = decode(&outputs, 64, 32).unwrap();
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
        assert!(decode(&outputs(), 32, 32).is_none());
        assert!(decode(&outputs()[..2], 64, 32).is_none());
        let mut short = outputs();
        short[2].data.pop();
        assert!(decode(&short, 64, 32).is_none());
    }
}
