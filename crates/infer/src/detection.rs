//! Boxes: the type, overlap, non-maximum suppression and clamping to the picture.

/// A detected object in pixels of the picture, origin top-left.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Detection {
    /// Class number of the model.
    pub class: usize,
    /// Confidence, 0 to 1.
    pub score: f32,
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Width.
    pub w: f32,
    /// Height.
    pub h: f32,
    /// Where the model's outputs have it, of models with masks.
    pub cell: usize,
}

/// Candidates that suppression looks at; the weakest beyond that are left out.
pub const MAX_CANDIDATES: usize = 2000;
/// Detections a picture may have.
pub const MAX_DETECTIONS: usize = 300;

impl Detection {
    /// Intersection over union with another box.
    pub fn iou(&self, other: &Self) -> f32 {
        let left = self.x.max(other.x);
        let top = self.y.max(other.y);
        let right = (self.x + self.w).min(other.x + other.w);
        let bottom = (self.y + self.h).min(other.y + other.h);
        let inner = (right - left).max(0.0) * (bottom - top).max(0.0);
        let union = self.w * self.h + other.w * other.h - inner;
        if union > 0.0 { inner / union } else { 0.0 }
    }

    fn is_finite(&self) -> bool {
        [self.score, self.x, self.y, self.w, self.h]
            .iter()
            .all(|value| value.is_finite())
    }

    fn clamped(&self, width: f32, height: f32) -> Self {
        let left = self.x.clamp(0.0, width);
        let top = self.y.clamp(0.0, height);
        Self {
            x: left,
            y: top,
            w: (self.x + self.w).clamp(0.0, width) - left,
            h: (self.y + self.h).clamp(0.0, height) - top,
            ..*self
        }
    }
}

/// Keeps the best box of each group that overlaps by more than `iou` within its class, strongest
/// first. Boxes with values that are not finite are left out.
pub fn suppress(boxes: &mut Vec<Detection>, iou: f32) {
    boxes.retain(Detection::is_finite);
    boxes.sort_unstable_by(|a, b| {
        b.score
            .total_cmp(&a.score)
            .then(a.class.cmp(&b.class))
            .then(a.x.total_cmp(&b.x))
            .then(a.y.total_cmp(&b.y))
    });
    boxes.truncate(MAX_CANDIDATES);
    let mut kept = 0;
    for index in 0..boxes.len() {
        let candidate = boxes[index];
        let covered = boxes[..kept]
            .iter()
            .any(|other| other.class == candidate.class && other.iou(&candidate) > iou);
        if !covered {
            boxes[kept] = candidate;
            kept += 1;
            if kept == MAX_DETECTIONS {
                break;
            }
        }
    }
    boxes.truncate(kept);
}

/// Cuts boxes at the picture's edges; boxes outside of it are left out.
pub fn clamp(boxes: &mut Vec<Detection>, width: f32, height: f32) {
    for detection in boxes.iter_mut() {
        *detection = detection.clamped(width, height);
    }
    boxes.retain(|detection| detection.w > 0.0 && detection.h > 0.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(class: usize, score: f32, x: f32, w: f32) -> Detection {
        Detection {
            class,
            score,
            x,
            w,
            h: 10.0,
            ..Detection::default()
        }
    }

    #[test]
    fn iou_of_known_boxes() {
        assert_eq!(at(0, 1.0, 0.0, 10.0).iou(&at(0, 1.0, 0.0, 10.0)), 1.0);
        assert_eq!(at(0, 1.0, 0.0, 10.0).iou(&at(0, 1.0, 20.0, 10.0)), 0.0);
        let third = at(0, 1.0, 0.0, 10.0).iou(&at(0, 1.0, 5.0, 10.0));
        assert!((third - 1.0 / 3.0).abs() < 1e-6);
        assert_eq!(at(0, 1.0, 0.0, 0.0).iou(&at(0, 1.0, 0.0, 0.0)), 0.0);
    }

    #[test]
    fn the_strongest_of_overlapping_boxes_stays_and_classes_are_apart() {
        let mut boxes = vec![
            at(0, 0.6, 1.0, 10.0),
            at(1, 0.5, 0.0, 10.0),
            at(0, 0.9, 0.0, 10.0),
            at(0, 0.7, 30.0, 10.0),
        ];
        suppress(&mut boxes, 0.45);
        let kept: Vec<_> = boxes.iter().map(|b| (b.class, b.score)).collect();
        assert_eq!(kept, [(0, 0.9), (0, 0.7), (1, 0.5)]);
    }

    #[test]
    fn values_that_are_not_finite_are_left_out() {
        let mut boxes = vec![at(0, f32::NAN, 0.0, 1.0), at(0, 0.5, f32::INFINITY, 1.0)];
        suppress(&mut boxes, 0.5);
        assert_eq!(boxes, []);
    }

    #[test]
    fn the_number_of_detections_is_bounded() {
        let mut boxes: Vec<_> = (0..5000_u16)
            .map(|index| at(0, 0.5, f32::from(index) * 20.0, 10.0))
            .collect();
        suppress(&mut boxes, 0.5);
        assert_eq!(boxes.len(), MAX_DETECTIONS);
    }

    #[test]
    fn boxes_end_at_the_edges_of_the_picture() {
        let mut boxes = vec![at(0, 0.5, -5.0, 10.0), at(0, 0.5, 200.0, 10.0)];
        clamp(&mut boxes, 100.0, 4.0);
        assert_eq!(boxes.len(), 1);
        assert_eq!((boxes[0].x, boxes[0].w, boxes[0].h), (0.0, 5.0, 4.0));
    }
}
