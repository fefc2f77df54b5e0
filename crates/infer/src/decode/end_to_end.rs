//! Models that suppress by themselves, as YOLOv10 does: rows of corners, score and class.

use super::{Outputs, between};
use crate::detection::Detection;

/// Left, top, right, bottom, score, class.
const VALUES: usize = 6;
/// More rows than that are another family's.
const MAX_ROWS: usize = 1000;
/// Class numbers that are believed.
const MAX_CLASS: f32 = 65_535.0;

/// An error is what was expected.
pub(super) fn decode(outputs: &Outputs<'_>, boxes: &mut Vec<Detection>) -> Result<(), String> {
    let data = match outputs.single() {
        Some((rows, VALUES, data)) if rows <= MAX_ROWS => data,
        _ => {
            return Err(format!(
                "[1, boxes, {VALUES}] with {MAX_ROWS} boxes at most"
            ));
        }
    };
    for row in data.chunks_exact(VALUES) {
        let (score, class) = (row[4], row[5]);
        if score > outputs.threshold && (0.0..=MAX_CLASS).contains(&class) {
            let corners = [row[0], row[1], row[2], row[3]];
            boxes.push(between(class as usize, score, corners));
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
        let mut output = Tensor::zeros(&[1, 300, 6]);
        output.data[..6].copy_from_slice(&[1.0, 2.0, 11.0, 22.0, 0.9, 3.0]);
        output.data[6..12].copy_from_slice(&[1.0, 2.0, 11.0, 22.0, 0.9, -1.0]);
        output.data[12..18].copy_from_slice(&[1.0, 2.0, 11.0, 22.0, 0.9, f32::NAN]);
        let mut boxes: Vec<Detection> = Vec::new();
        Family::EndToEnd
            .decode(&[output.view()], 32, 32, 0.4, &mut boxes)
            .unwrap();
        assert_eq!(boxes.len(), 1, "what has no class is none");
        let found = boxes[0];
        assert_eq!((found.class, found.score), (3, 0.9));
        assert_eq!((found.x, found.y, found.w, found.h), (1.0, 2.0, 10.0, 20.0));
    }
}
