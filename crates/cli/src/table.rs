//! Columns as Go's `text/tabwriter` lays them out with Docker's settings: at least 10 wide, 3 apart.
//!
//! A cell is text that ends in a tab; what follows a line's last tab belongs to no column. A column is a run of lines
//! that have a cell at its place, so that a line with fewer cells ends the columns above it.

const MIN_WIDTH: usize = 10;
const PADDING: usize = 3;

/// Lays out `text`, whose cells are separated by tabs.
pub(crate) fn columns(text: &str) -> String {
    columns_at_least(text, MIN_WIDTH, PADDING)
}

/// As [`columns`], with other settings.
pub(crate) fn columns_at_least(text: &str, min_width: usize, padding: usize) -> String {
    let mut cells: Vec<Cell<'_>> = Vec::new();
    // Where each line begins among the cells.
    let mut starts: Vec<usize> = Vec::new();
    let mut open: Vec<Column> = Vec::new();
    let close = |cells: &mut [Cell<'_>], starts: &[usize], at: usize, column: Column| {
        let Column { first, widest } = column;
        let width =
            if widest == 0 && min_width == 0 { 0 } else { (widest + padding).max(min_width) };
        for start in &starts[first..] {
            cells[start + at].width = width;
        }
    };
    for (line, text) in text.split('\n').enumerate() {
        let start = cells.len();
        cells.extend(text.split('\t').map(|text| Cell {
            text,
            length: text.chars().count(),
            width: 0,
        }));
        let here = cells.len() - start - 1;
        for (at, column) in open.drain(here.min(open.len())..).enumerate() {
            close(&mut cells, &starts, here + at, column);
        }
        starts.push(start);
        for (at, cell) in cells[start..start + here].iter().enumerate() {
            match open.get_mut(at) {
                Some(column) => column.widest = column.widest.max(cell.length),
                None => open.push(Column { first: line, widest: cell.length }),
            }
        }
    }
    for (at, column) in open.into_iter().enumerate() {
        close(&mut cells, &starts, at, column);
    }
    let mut out = String::with_capacity(text.len() * 2);
    let ends = starts.iter().skip(1).copied().chain([cells.len()]);
    for (start, end) in starts.iter().copied().zip(ends) {
        if start > 0 {
            out.push('\n');
        }
        for Cell { text, length, width } in &cells[start..end] {
            out.push_str(text);
            out.extend(std::iter::repeat_n(' ', width.saturating_sub(*length)));
        }
    }
    out
}

/// A text between tabs.
struct Cell<'a> {
    text: &'a str,
    /// In characters.
    length: usize,
    /// That of its column; 0 for what follows a line's last tab.
    width: usize,
}

/// A column that goes on, from its first line.
struct Column {
    first: usize,
    widest: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_padded_to_the_widest_and_at_least_ten() {
        assert_eq!(columns("ID\tNAME\n1\tx\n"), "ID        NAME\n1         x\n");
        assert_eq!(columns("A LONG HEADER\tB\nx\ty\n"), "A LONG HEADER   B\nx               y\n");
        assert_eq!(
            columns("é\tB\nx\ty"),
            "é         B\nx         y",
            "characters count, not bytes"
        );
    }

    #[test]
    fn a_line_without_the_cell_ends_a_column() {
        assert_eq!(
            columns("a\tb\nplain\naaaaaaaaaaaaaa\tb"),
            "a         b\nplain\naaaaaaaaaaaaaa   b"
        );
        assert_eq!(
            columns("a\tb\tc\nd\teeeeeeeee\n\tx\ty\t\n\n"),
            "a         b         c\nd         eeeeeeeee\n          x         y         \n\n"
        );
    }
}
