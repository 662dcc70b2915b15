//! Lines of text with a look, and tables of them: the same lines go to a terminal and to a pipe.

use super::listing::{Columns, Listing};
use crate::logging::is_unseen;

/// A line: pieces of text, each with its look.
#[derive(Debug, Default, PartialEq)]
pub struct Line(pub Vec<(Look, String)>);

/// How a piece of text looks; it says nothing that the text does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    Plain,
    Faint,
    Bold,
    Good,
    Warn,
    Bad,
    /// The head of the table.
    Head,
    /// The row of the cursor.
    Cursor,
}

impl Line {
    /// One piece.
    pub fn of(look: Look, text: &str) -> Line {
        let mut line = Line::default();
        line.add(look, text.to_owned());
        line
    }

    /// What a database or a client said must not move the cursor, nor what stands beside it.
    pub fn add(&mut self, look: Look, text: String) {
        let text = text.chars().map(|c| if is_unseen(c) { ' ' } else { c });
        self.0.push((look, text.collect()));
    }

    /// The text alone.
    pub fn text(&self) -> String {
        let text: String = self.0.iter().map(|(_, text)| text.as_str()).collect();
        text.trim_end().to_owned()
    }
}

/// A head and these rows, each column as wide as it must be. The cursor stands in the row of this place.
pub fn table<C: Columns>(
    listing: &Listing<C>,
    rows: &[&C::Row],
    cursor: Option<usize>,
    look: impl Fn(C, &C::Row) -> Look,
) -> Vec<Line> {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| C::ALL.iter().map(|column| column.cell(row)).collect())
        .collect();
    let titles: Vec<_> = C::ALL
        .iter()
        .map(|column| {
            let mark = match (*column == listing.order.by, listing.order.down) {
                (false, _) => "",
                (true, true) => " v",
                (true, false) => " ^",
            };
            format!("{}{mark}", column.title())
        })
        .collect();
    let width = |column: usize| {
        let cells = cells.iter().map(|cells| cells[column].chars().count());
        cells
            .chain([titles[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<_> = (0..C::ALL.len()).map(width).collect();
    let padded = |column: usize, text: &str| {
        let width = widths[column];
        match C::ALL[column].is_text() {
            true => format!("{text:<width$}  "),
            false => format!("{text:>width$}  "),
        }
    };
    let mut head = Line::default();
    (0..titles.len()).for_each(|column| head.add(Look::Head, padded(column, &titles[column])));
    let rows = rows
        .iter()
        .zip(&cells)
        .enumerate()
        .map(|(place, (row, cells))| {
            let mut line = Line::default();
            for (column, cell) in cells.iter().enumerate() {
                let look = match cursor == Some(place) {
                    true => Look::Cursor,
                    false => look(C::ALL[column], row),
                };
                line.add(look, padded(column, cell));
            }
            line
        });
    std::iter::once(head).chain(rows).collect()
}

/// As much of a list as fits a page, with the row of the cursor in it.
pub fn page_of<C: Columns>(
    listing: &Listing<C>,
    rows: &[C::Row],
    page: usize,
    look: impl Fn(C, &C::Row) -> Look,
) -> Vec<Line> {
    let shown = listing.shown(rows);
    // Rows may have gone since the cursor was set.
    let cursor = listing.cursor.min(shown.len().saturating_sub(1));
    // As many rows in front of the cursor as fit.
    let first = (cursor + 1).saturating_sub(page);
    let visible = &shown[first..shown.len().min(first + page)];
    table(listing, visible, Some(cursor - first), look)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_called_itself_does_not_turn_the_line_round() {
        let line = Line::of(
            Look::Plain,
            "a\u{1b}[2J \u{202e}b\u{2066}c\u{200b}d\u{feff}ü",
        );
        assert_eq!(line.text(), "a [2J  b c d ü");
    }
}
