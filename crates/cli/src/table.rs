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
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|cells| vec![0; cells.len() - 1]).collect();
    let mut column = 0;
    loop {
        let has = |line: usize| lines.get(line).is_some_and(|cells| cells.len() > column + 1);
        if !(0..lines.len()).any(has) {
            break;
        }
        let mut line = 0;
        while line < lines.len() {
            if !has(line) {
                line += 1;
                continue;
            }
            let end = (line..lines.len()).find(|l| !has(*l)).unwrap_or(lines.len());
            let widest = lines[line..end]
                .iter()
                .map(|cells| cells[column].chars().count())
                .max()
                .unwrap_or(0);
            let width =
                if widest == 0 && min_width == 0 { 0 } else { (widest + padding).max(min_width) };
            for row in &mut widths[line..end] {
                row[column] = width;
            }
            line = end;
        }
        column += 1;
    }
    let mut out = String::with_capacity(text.len() * 2);
    for (i, (cells, widths)) in lines.iter().zip(&widths).enumerate() {
        if i > 0 {
            out.push('\n');
        }
        for (cell, width) in cells.iter().zip(widths) {
            out.push_str(cell);
            out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
        }
        out.push_str(cells.last().copied().unwrap_or_default());
    }
    out
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
    }
}
