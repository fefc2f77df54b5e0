//! Aligned columns without borders, easy to read and to cut. Knows nothing of what is in them.

use super::colour::{Paint, Style};

const GAP: &str = "  ";

/// One cell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(crate) fn styled(text: impl Into<String>, style: Style) -> Self {
        Self {
            // A cell is one line: a table stays a table whatever a reason contains.
            text: text.into().replace(['\n', '\r', '\t'], " "),
            style,
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text, Style::Plain)
    }
}

/// Builds a row of cells from anything that is text.
#[macro_export]
macro_rules! cells {
    ($($cell:expr),* $(,)?) => { vec![$($crate::output::table::Cell::from($cell)),*] };
}

impl From<&Cell> for Cell {
    fn from(cell: &Cell) -> Self {
        cell.clone()
    }
}

/// A header and rows.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new(header: Vec<&'static str>) -> Self {
        Self {
            header,
            rows: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, row: Vec<Cell>) {
        self.rows.push(row);
    }

    /// The lines, header first.
    pub(crate) fn lines(&self, paint: Paint) -> Vec<String> {
        let mut widths: Vec<usize> = self.header.iter().map(|text| width(text)).collect();
        for row in &self.rows {
            for (column, cell) in row.iter().enumerate() {
                if let Some(known) = widths.get_mut(column) {
                    *known = (*known).max(width(&cell.text));
                }
            }
        }
        let header: Vec<Cell> = self
            .header
            .iter()
            .map(|text| Cell::styled(*text, Style::Dim))
            .collect();
        std::iter::once(&header)
            .chain(&self.rows)
            .map(|row| one_line(row, &widths, paint))
            .collect()
    }

    pub(crate) fn render(&self, paint: Paint) -> String {
        self.lines(paint).join("\n")
    }
}

fn one_line(row: &[Cell], widths: &[usize], paint: Paint) -> String {
    let last_filled = row.iter().rposition(|cell| !cell.text.is_empty());
    let mut line = String::new();
    for (column, cell) in row.iter().enumerate() {
        if last_filled.is_none_or(|last| column > last) {
            break;
        }
        if column > 0 {
            line.push_str(GAP);
        }
        line.push_str(&paint.style(cell.style, &cell.text));
        if last_filled != Some(column) {
            let pad = widths
                .get(column)
                .map_or(0, |wide| wide.saturating_sub(width(&cell.text)));
            line.push_str(&" ".repeat(pad));
        }
    }
    line
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_have_no_trailing_blanks() {
        let mut table = Table::new(vec!["NAME", "PHASE", "MESSAGE"]);
        table.push(cells!["entrance", "ready", ""]);
        table.push(cells!["a", "progressing", "line\nbreak"]);
        assert_eq!(
            table.render(Paint(false)),
            "NAME      PHASE        MESSAGE\n\
             entrance  ready\n\
             a         progressing  line break"
        );
    }

    #[test]
    fn colour_does_not_move_columns() {
        let mut table = Table::new(vec!["A", "B"]);
        table.push(vec![Cell::styled("x", Style::Good), "y".into()]);
        assert_eq!(table.lines(Paint(true))[1], "\x1b[32mx\x1b[0m  y");
    }
}
