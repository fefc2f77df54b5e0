//! Boxes by how far each side is from a point, as a distribution over whole strides (generalised
//! focal loss, Li et al. 2020): what NanoDet-Plus and PicoDet have in common.

/// The grids that both have.
pub(super) const STRIDES: [usize; 4] = [8, 16, 32, 64];
/// Distances of 0 to 7 strides.
const BINS: usize = 8;
/// Values of a cell: left, top, right, bottom.
pub(super) const VALUES: usize = 4 * BINS;

/// Left, top, right and bottom of the box around a point.
pub(super) fn corners(sides: &[f32], [x, y]: [f32; 2], step: f32) -> [f32; 4] {
    let side = |index: usize| expected(&sides[index * BINS..][..BINS]) * step;
    [x - side(0), y - side(1), x + side(2), y + side(3)]
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
    use super::*;

    #[test]
    fn sides_are_means_of_their_distributions() {
        assert!((expected(&[0.0; BINS]) - 3.5).abs() < 1e-6);
        let mut sides = [0.0; VALUES];
        for (side, bin) in [(0, 1), (1, 0), (2, 2), (3, 7)] {
            sides[side * BINS + bin] = 50.0;
        }
        let found = corners(&sides, [16.0, 0.0], 16.0);
        for (value, expected) in found.iter().zip([0.0, 0.0, 48.0, 112.0]) {
            assert!((value - expected).abs() < 1e-3, "{found:?}");
        }
    }
}
