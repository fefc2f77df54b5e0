//! The outline of what is positive in a grid of values, as a polygon: marching squares (Lorensen and
//! Cline 1987, in two dimensions) with linear interpolation, then fewer points by Douglas and Peucker
//! (1973). Pure; knows no models.

/// A point in units of the grid: the value at column 2 of row 1 is at (2, 1).
pub type Point = [f32; 2];

/// How far a point may be from the line that replaces it, at first.
const TOLERANCE: f32 = 0.4;
/// No edge.
const NONE: usize = usize::MAX;

/// A grid of values, row by row.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    values: &'a [f32],
    width: usize,
    height: usize,
}

impl<'a> Field<'a> {
    /// `None`: there are not as many values as the size needs. Values at the border have to be
    /// negative for outlines that are closed; others are left out.
    pub fn new(values: &'a [f32], width: usize, height: usize) -> Option<Self> {
        (width.checked_mul(height) == Some(values.len())).then_some(Self {
            values,
            width,
            height,
        })
    }

    /// The outline around the largest positive part, with `most` points at most; none when there is no
    /// such part.
    pub fn largest(&self, most: usize) -> Vec<Point> {
        let mut next = self.steps();
        let mut largest = Vec::new();
        let mut largest_area = 0.0;
        for start in 0..next.len() {
            let points = self.follow(&mut next, start);
            let area = area(&points);
            if area > largest_area {
                (largest, largest_area) = (points, area);
            }
        }
        simplify(&largest, most)
    }

    fn at(&self, x: usize, y: usize) -> f32 {
        self.values[y * self.width + x]
    }

    fn is_inside(&self, [x, y]: [usize; 2]) -> bool {
        self.at(x, y) > 0.0
    }

    /// Edges of the grid that an outline crosses, each with the one that it crosses next; what is
    /// positive lies on the right. An edge from (x, y) to the right is `2 * (y * width + x)`, one
    /// downwards the next number.
    fn steps(&self) -> Vec<usize> {
        let mut next = vec![NONE; 2 * self.width * self.height];
        let number = |x: usize, y: usize, down: usize| 2 * (y * self.width + x) + down;
        for y in 0..self.height.saturating_sub(1) {
            for x in 0..self.width.saturating_sub(1) {
                // Clockwise from the top left corner.
                let corners = [[x, y], [x + 1, y], [x + 1, y + 1], [x, y + 1]];
                let inside = corners.map(|corner| self.is_inside(corner));
                if inside == [true; 4] || inside == [false; 4] {
                    continue;
                }
                let edges = [
                    number(x, y, 0),
                    number(x + 1, y, 1),
                    number(x, y + 1, 0),
                    number(x, y, 1),
                ];
                let enters = |side: usize| !inside[side] && inside[(side + 1) % 4];
                for side in 0..4 {
                    if inside[side] && !inside[(side + 1) % 4] {
                        let back = (1..4).map(|more| (side + more) % 4);
                        let back = back.into_iter().find(|side| enters(*side));
                        next[edges[side]] = back.map_or(NONE, |side| edges[side]);
                    }
                }
            }
        }
        next
    }

    /// The points of the outline through an edge, whose steps are used up.
    fn follow(&self, next: &mut [usize], start: usize) -> Vec<Point> {
        let mut points = Vec::new();
        let mut edge = start;
        while edge != NONE && next[edge] != NONE {
            points.push(self.crossing(edge));
            edge = std::mem::replace(&mut next[edge], NONE);
        }
        // One that ends at the border is no outline.
        if edge == start { points } else { Vec::new() }
    }

    fn crossing(&self, edge: usize) -> Point {
        let (cell, down) = (edge / 2, edge % 2 == 1);
        let (x, y) = (cell % self.width, cell / self.width);
        let (from, to) = if down {
            (self.at(x, y), self.at(x, y + 1))
        } else {
            (self.at(x, y), self.at(x + 1, y))
        };
        let share = from / (from - to);
        let share = if share.is_finite() { share } else { 0.5 };
        let (x, y) = (x as f32, y as f32);
        if down { [x, y + share] } else { [x + share, y] }
    }
}

/// Twice the area of a polygon; negative when it goes counter-clockwise as one sees it, with rows
/// downwards: around a hole.
fn area(points: &[Point]) -> f32 {
    let pairs = points.iter().zip(points.iter().cycle().skip(1));
    pairs.map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum()
}

/// A closed polygon with few points.
fn simplify(points: &[Point], most: usize) -> Vec<Point> {
    let mut tolerance = TOLERANCE;
    let mut simple = fewer(points, tolerance);
    while simple.len() > most.max(3) {
        tolerance *= 1.5;
        simple = fewer(points, tolerance);
    }
    if simple.len() < 3 {
        simple.clear();
    }
    simple
}

fn fewer(points: &[Point], tolerance: f32) -> Vec<Point> {
    let Some(first) = points.first() else {
        return Vec::new();
    };
    let far = |index: &usize| distance(points[*index], *first);
    let farthest = (0..points.len()).max_by(|a, b| far(a).total_cmp(&far(b)));
    let farthest = farthest.unwrap_or(0);
    let mut keep = vec![false; points.len()];
    (keep[0], keep[farthest]) = (true, true);
    // The end of the second half is the first point again.
    let mut parts = vec![(0, farthest), (farthest, points.len())];
    while let Some((from, to)) = parts.pop() {
        let (start, end) = (points[from], points[to % points.len()]);
        let off = |index: &usize| to_line(points[*index], start, end);
        let worst = (from + 1..to).max_by(|a, b| off(a).total_cmp(&off(b)));
        if let Some(worst) = worst.filter(|worst| off(worst) > tolerance) {
            keep[worst] = true;
            parts.extend([(from, worst), (worst, to)]);
        }
    }
    let kept = points.iter().zip(keep).filter(|(_, keep)| *keep);
    kept.map(|(point, _)| *point).collect()
}

fn distance(a: Point, b: Point) -> f32 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

/// From a point to the line between two others.
fn to_line(point: Point, start: Point, end: Point) -> f32 {
    let (dx, dy) = (end[0] - start[0], end[1] - start[1]);
    let length = dx.hypot(dy);
    if length <= f32::EPSILON {
        return distance(point, start);
    }
    ((point[0] - start[0]) * dy - (point[1] - start[1]) * dx).abs() / length
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Values of a drawing: `#` is 1, anything else -1.
    fn drawn(rows: &[&str]) -> (Vec<f32>, usize, usize) {
        let value = |c: char| if c == '#' { 1.0 } else { -1.0 };
        let values = rows.iter().flat_map(|row| row.chars().map(value)).collect();
        (values, rows[0].len(), rows.len())
    }

    fn outline(rows: &[&str]) -> Vec<Point> {
        let (values, width, height) = drawn(rows);
        Field::new(&values, width, height).unwrap().largest(40)
    }

    #[test]
    fn a_square_has_its_four_corners_cut() {
        let points = outline(&["......", ".####.", ".####.", ".####.", ".####.", "......"]);
        assert!(area(&points) > 0.0);
        // Halfway between the values of -1 and 1.
        assert!((area(&points) / 2.0 - 15.5).abs() < 0.6, "{points:?}");
        for [x, y] in points {
            assert!((0.5..=4.5).contains(&x) && (0.5..=4.5).contains(&y));
        }
    }

    #[test]
    fn values_say_where_between_two_places_the_outline_is() {
        let values = [-1.0, -1.0, -1.0, -1.0, 3.0, -1.0, -1.0, -1.0, -1.0];
        let points = Field::new(&values, 3, 3).unwrap().largest(40);
        assert_eq!(points.len(), 4);
        for point in [[1.0, 0.25], [1.75, 1.0], [1.0, 1.75], [0.25, 1.0]] {
            assert!(points.contains(&point), "{points:?}");
        }
    }

    #[test]
    fn the_largest_part_counts_and_holes_do_not() {
        let points = outline(&[
            ".........",
            ".#.#####.",
            "...#...#.",
            ".#.#...#.",
            "...#...#.",
            "...#####.",
            ".........",
        ]);
        let left = points.iter().map(|point| point[0]).fold(9.0, f32::min);
        assert!(left > 2.0, "{points:?}");
        let area = area(&points) / 2.0;
        assert!((22.0..=25.0).contains(&area), "{area}");
    }

    #[test]
    fn parts_that_meet_at_a_corner_are_one() {
        let points = outline(&["......", ".##...", ".##...", "...##.", "...##.", "......"]);
        let right = points.iter().map(|point| point[0]).fold(0.0, f32::max);
        assert!(right > 4.0 && area(&points) > 7.0, "{points:?}");
    }

    #[test]
    fn nothing_is_no_outline_and_neither_is_what_has_no_end() {
        assert!(outline(&["....", "....", "...."]).is_empty());
        assert!(outline(&["####", "####", "####"]).is_empty());
        assert!(outline(&[".##.", ".##.", "...."]).is_empty());
        assert!(Field::new(&[1.0], 1, 1).unwrap().largest(9).is_empty());
        assert!(Field::new(&[], 0, 0).unwrap().largest(9).is_empty());
        assert!(Field::new(&[1.0], 2, 2).is_none());
    }

    #[test]
    fn a_circle_keeps_its_area_with_few_points() {
        let size = 64;
        let value = |index: usize| {
            let (x, y) = ((index % size) as f32, (index / size) as f32);
            25.0 - (x - 31.5).hypot(y - 31.5)
        };
        let values: Vec<f32> = (0..size * size).map(value).collect();
        let field = Field::new(&values, size, size).unwrap();
        let all = std::f32::consts::PI * 25.0 * 25.0;
        for (most, share) in [(40, 0.98), (12, 0.9)] {
            let points = field.largest(most);
            assert!(points.len() <= most && points.len() > 6);
            let part = area(&points) / 2.0 / all;
            assert!(part > share && part < 1.02, "{part}");
        }
    }

    proptest! {
        #[test]
        fn any_values_have_an_outline_within_the_grid(
            values in proptest::collection::vec(any::<f32>(), 48), most in 0_usize..20
        ) {
            let points = Field::new(&values, 8, 6).unwrap().largest(most);
            prop_assert!(points.len() <= most.max(3));
            for [x, y] in points {
                prop_assert!((0.0..=7.0).contains(&x) && (0.0..=5.0).contains(&y), "{x} {y}");
            }
        }
    }
}
