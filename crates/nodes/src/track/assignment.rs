//! Which track goes with which detection at the least total cost: the Hungarian method as shortest
//! augmenting paths (Jonker and Volgenant, 1987), O(n²m). Pure.

/// Cost of a pair that can't be. Finite, so that sums stay ordered.
const NEVER: f32 = 1e6;

/// Pairs (row, column) of least total cost, none above `limit`. `cost(row, column)` has to be finite.
pub(super) fn assign(
    rows: usize,
    columns: usize,
    limit: f32,
    cost: impl Fn(usize, usize) -> f32,
) -> Vec<(usize, usize)> {
    let capped = |row: usize, column: usize| {
        let cost = cost(row, column);
        if cost > limit { NEVER } else { cost }
    };
    let pairs = if rows <= columns {
        solve(rows, columns, capped)
    } else {
        let turned = solve(columns, rows, |row, column| capped(column, row));
        turned.into_iter().map(|(a, b)| (b, a)).collect()
    };
    let fits = |&(row, column): &(usize, usize)| cost(row, column) <= limit;
    pairs.into_iter().filter(fits).collect()
}

/// For `rows <= columns`: a column for every row. Rows and columns count from 1 inside; 0 is the
/// column that a path starts from.
fn solve(rows: usize, columns: usize, cost: impl Fn(usize, usize) -> f32) -> Vec<(usize, usize)> {
    let mut row_potential = vec![0.0_f32; rows + 1];
    let mut column_potential = vec![0.0_f32; columns + 1];
    let mut row_of = vec![0_usize; columns + 1];
    for row in 1..=rows {
        row_of[0] = row;
        let mut at = 0;
        let mut least = vec![f32::INFINITY; columns + 1];
        let mut before = vec![0_usize; columns + 1];
        let mut done = vec![false; columns + 1];
        while row_of[at] != 0 {
            done[at] = true;
            let here = row_of[at];
            let (mut step, mut next) = (f32::INFINITY, 0);
            for column in 1..=columns {
                if done[column] {
                    continue;
                }
                let reduced =
                    cost(here - 1, column - 1) - row_potential[here] - column_potential[column];
                if reduced < least[column] {
                    least[column] = reduced;
                    before[column] = at;
                }
                if least[column] < step {
                    step = least[column];
                    next = column;
                }
            }
            for column in 0..=columns {
                if done[column] {
                    row_potential[row_of[column]] += step;
                    column_potential[column] -= step;
                } else {
                    least[column] -= step;
                }
            }
            at = next;
        }
        while at != 0 {
            row_of[at] = row_of[before[at]];
            at = before[at];
        }
    }
    let taken = row_of.iter().enumerate().skip(1);
    taken
        .filter(|(_, row)| **row != 0)
        .map(|(column, row)| (row - 1, column - 1))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The least cost by trying everything: each pair that is left out costs `limit`.
    fn best(rows: &[Vec<u8>], row: usize, used: &mut Vec<bool>, limit: f32) -> f32 {
        if row == rows.len() {
            return 0.0;
        }
        let mut least = limit + best(rows, row + 1, used, limit);
        for column in 0..used.len() {
            let cost = f32::from(rows[row][column]);
            if !used[column] && cost <= limit {
                used[column] = true;
                least = least.min(cost + best(rows, row + 1, used, limit));
                used[column] = false;
            }
        }
        least
    }

    proptest! {
        #[test]
        fn pairs_are_unique_allowed_and_the_cheapest(
            table in (1_usize..5, 1_usize..5).prop_flat_map(|(rows, columns)| {
                proptest::collection::vec(proptest::collection::vec(0_u8..100, columns), rows)
            }),
        ) {
            let (rows, columns) = (table.len(), table[0].len());
            // Without a limit as many are paired as can be, so the costs compare.
            let all = assign(rows, columns, 1000.0, |r, c| f32::from(table[r][c]));
            prop_assert_eq!(all.len(), rows.min(columns));
            let sum: f32 = all.iter().map(|(r, c)| f32::from(table[*r][*c])).sum();
            let missing = (rows - all.len()) as f32 * 1000.0;
            prop_assert_eq!(sum + missing, best(&table, 0, &mut vec![false; columns], 1000.0));
            let some = assign(rows, columns, 50.0, |r, c| f32::from(table[r][c]));
            let mut taken: Vec<usize> = some.iter().map(|(_, c)| *c).collect();
            taken.sort_unstable();
            taken.dedup();
            prop_assert_eq!(taken.len(), some.len());
            prop_assert!(some.iter().all(|(r, c)| table[*r][*c] <= 50));
        }
    }

    #[test]
    fn nothing_to_pair_is_no_pair() {
        assert_eq!(assign(0, 3, 1.0, |_, _| 0.0), []);
        assert_eq!(assign(3, 0, 1.0, |_, _| 0.0), []);
        assert_eq!(assign(1, 1, 0.5, |_, _| 0.9), []);
    }
}
