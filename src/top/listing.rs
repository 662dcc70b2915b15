//! A list that somebody looks at: put in order by one of its columns, narrowed by words, with a cursor.
//! What is in it and what its columns are is another matter: of tenants or of sessions.

use std::cmp::Ordering;

/// The columns of a list.
pub trait Columns: Copy + PartialEq + 'static {
    /// What stands in a line.
    type Row;

    /// All of them, from left to right.
    const ALL: &'static [Self];

    /// The words at its head.
    fn title(self) -> &'static str;

    /// Whether it holds words, which begin at the left; numbers end at the right.
    fn is_text(self) -> bool;

    /// What stands in it.
    fn cell(self, row: &Self::Row) -> String;

    /// Which of two rows comes first; what is unknown never does.
    fn compare(self, a: &Self::Row, b: &Self::Row, down: bool) -> Ordering;

    /// Which of two rows comes first where that says nothing.
    fn tie(a: &Self::Row, b: &Self::Row) -> Ordering;

    /// The words that a filter finds a row by, in small letters.
    fn words(row: &Self::Row) -> String;

    /// The column so many places to the right; the first follows the last.
    fn at(self, steps: isize) -> Self {
        let here = Self::ALL.iter().position(|column| *column == self);
        let there = here.unwrap_or(0).cast_signed() + steps;
        let count = Self::ALL.len().cast_signed();
        Self::ALL[there.rem_euclid(count).cast_unsigned()]
    }
}

/// By what rows are put in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order<C> {
    /// By this column.
    pub by: C,
    /// The largest first.
    pub down: bool,
}

/// How a list is looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing<C> {
    /// The rows' order.
    pub order: Order<C>,
    /// The words that must all be found in a row.
    pub filter: String,
    /// Whether the filter is being typed.
    pub is_typing: bool,
    /// The place of the cursor among the rows that are shown.
    pub cursor: usize,
}

impl<C: Columns> Order<C> {
    /// Words from A, numbers from the largest.
    pub fn by(column: C) -> Order<C> {
        Order {
            by: column,
            down: !column.is_text(),
        }
    }
}

impl<C: Columns> Listing<C> {
    /// From the top.
    pub fn new(order: Order<C>, filter: String) -> Listing<C> {
        Listing {
            order,
            filter,
            is_typing: false,
            cursor: 0,
        }
    }

    /// The rows that the filter lets pass, in order. What is not known comes last, whichever way.
    pub fn shown<'a>(&self, rows: &'a [C::Row]) -> Vec<&'a C::Row> {
        let wanted = self.filter.to_lowercase();
        let wanted: Vec<_> = wanted.split_whitespace().collect();
        let passes = |row: &&C::Row| {
            let text = C::words(row);
            wanted.iter().all(|word| text.contains(word))
        };
        let mut rows: Vec<_> = rows.iter().filter(passes).collect();
        let Order { by, down } = self.order;
        rows.sort_by(|a, b| by.compare(a, b, down).then_with(|| C::tie(a, b)));
        rows
    }

    /// The row under the cursor.
    pub fn under_cursor<'a>(&self, rows: &'a [C::Row]) -> Option<&'a C::Row> {
        let shown = self.shown(rows);
        // Rows may have gone since the cursor was set.
        let last = shown.len().checked_sub(1)?;
        Some(shown[self.cursor.min(last)])
    }

    /// Puts it in order by another column.
    pub fn sort_by(&mut self, steps: isize) {
        self.order = Order::by(self.order.by.at(steps));
    }

    /// Moves the cursor to where rows are.
    pub fn stay_on_a_row(&mut self, rows: &[C::Row]) {
        let last = self.shown(rows).len().saturating_sub(1);
        self.cursor = self.cursor.min(last);
    }
}

/// What stands in a cell, for comparing.
pub enum Value<'a> {
    Text(&'a str),
    Number(f64),
    Unknown,
}

impl Value<'_> {
    /// Which of two comes first; what is unknown never does.
    pub fn compare(&self, other: &Value<'_>, down: bool) -> Ordering {
        let order = match (self, other) {
            (Value::Text(a), Value::Text(b)) => a.cmp(b),
            (Value::Number(a), Value::Number(b)) => a.total_cmp(b),
            (a, b) => {
                let unknown = |value: &Value<'_>| matches!(value, Value::Unknown);
                return unknown(a).cmp(&unknown(b));
            }
        };
        if down { order.reverse() } else { order }
    }
}
