//! The cells of models that look at a picture in several grids: one row of output for each cell, the
//! finest grid first, row by row.

/// Cells of a side of `pixels`. A rest that is no whole cell counts as one.
fn cells_along(pixels: usize, stride: usize) -> usize {
    pixels.div_ceil(stride)
}

/// How many cells all grids have.
pub(super) fn cells(width: usize, height: usize, strides: &[usize]) -> usize {
    let of = |stride: &usize| cells_along(width, *stride) * cells_along(height, *stride);
    strides.iter().map(of).sum()
}

/// Column, row and stride of each cell, in order.
pub(super) fn walk(
    width: usize,
    height: usize,
    strides: &[usize],
) -> impl Iterator<Item = (f32, f32, f32)> {
    strides.iter().flat_map(move |&stride| {
        let (columns, rows) = (cells_along(width, stride), cells_along(height, stride));
        (0..rows).flat_map(move |row| {
            (0..columns).map(move |column| (column as f32, row as f32, stride as f32))
        })
    })
}
