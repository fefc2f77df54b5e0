//! Points, areas and lines in shares of the picture, y downwards. Pure.

/// A point: x and y, 0 to 1.
pub(super) type Point = [f32; 2];

/// Whether a point is inside a polygon, by the even-odd rule (crossings of a ray to the right).
pub(super) fn inside(polygon: &[Point], [x, y]: Point) -> bool {
    let mut inside = false;
    let mut before = match polygon.last() {
        Some(last) => *last,
        None => return false,
    };
    for &corner in polygon {
        let (above, was_above) = (corner[1] > y, before[1] > y);
        if above != was_above {
            let share = (y - corner[1]) / (before[1] - corner[1]);
            if x < corner[0] + share * (before[0] - corner[0]) {
                inside = !inside;
            }
        }
        before = corner;
    }
    inside
}

/// Which way a line is crossed by somebody who goes from one point to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crossing {
    /// From its left to its right, looking from its first point to its second.
    Forward,
    /// From its right to its left.
    Backward,
}

/// Whether the way between two points crosses the line, and which way.
pub(super) fn crossing(line: &[Point; 2], from: Point, to: Point) -> Option<Crossing> {
    let [start, end] = *line;
    let (before, after) = (side(start, end, from), side(start, end, to));
    // Being on the line counts as being on its right, so that a stop there is one crossing.
    if (before < 0.0) == (after < 0.0) {
        return None;
    }
    let (one, other) = (side(from, to, start), side(from, to, end));
    if (one < 0.0) == (other < 0.0) {
        return None;
    }
    Some(if before < 0.0 {
        Crossing::Forward
    } else {
        Crossing::Backward
    })
}

/// Above zero: the point is right of the line, as one sees it in the picture.
fn side(start: Point, end: Point, point: Point) -> f32 {
    (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_point_is_inside_or_not() {
        let square = [[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8]];
        assert!(inside(&square, [0.5, 0.5]));
        assert!(!inside(&square, [0.1, 0.5]) && !inside(&square, [0.5, 0.9]));
        let hollow = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 0.2], [0.0, 1.0]];
        assert!(inside(&hollow, [0.1, 0.5]) && !inside(&hollow, [0.5, 0.8]));
        assert!(!inside(&[], [0.5, 0.5]));
    }

    #[test]
    fn a_line_from_the_top_down_is_crossed_forward_from_right_to_left_of_the_picture() {
        // Who looks down along it has the picture's left at the right hand.
        let line = [[0.5, 0.0], [0.5, 1.0]];
        assert_eq!(
            crossing(&line, [0.7, 0.5], [0.3, 0.5]),
            Some(Crossing::Forward)
        );
        assert_eq!(
            crossing(&line, [0.3, 0.5], [0.7, 0.5]),
            Some(Crossing::Backward)
        );
        assert_eq!(crossing(&line, [0.1, 0.5], [0.3, 0.5]), None);
        // Past its end.
        assert_eq!(
            crossing(&[[0.5, 0.0], [0.5, 0.4]], [0.3, 0.5], [0.7, 0.5]),
            None
        );
    }

    proptest! {
        #[test]
        fn the_way_back_is_the_other_way(
            points in proptest::array::uniform4((0.0_f32..1.0, 0.0_f32..1.0)),
        ) {
            let [a, b, from, to] = points.map(|(x, y)| [x, y]);
            let there = crossing(&[a, b], from, to);
            let back = crossing(&[a, b], to, from);
            prop_assert_eq!(there.is_some(), back.is_some());
            if let (Some(there), Some(back)) = (there, back) {
                prop_assert_ne!(there, back);
            }
            // Seen along the line the other way, left and right change places.
            if let Some(turned) = crossing(&[b, a], from, to)
                && let Some(there) = there
            {
                prop_assert_ne!(turned, there);
            }
        }
    }
}
