//! What a key means.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::model::Model;

/// What is to be done after a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Stay,
    Quit,
}

/// The keys in a line, for people.
pub const HELP: &str =
    "q quit  / filter  < > column to sort by  r reverse  up down move  space pause";

/// Does what a key asks for; a page has so many rows.
pub fn press(model: &mut Model, key: KeyEvent, page: usize) -> Next {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c' | 'd') => Next::Quit,
            _ => Next::Stay,
        };
    }
    if model.is_typing {
        edit(model, key.code);
        return Next::Stay;
    }
    match key.code {
        KeyCode::Char('q') => return Next::Quit,
        // Once to be rid of the filter, once more to leave.
        KeyCode::Esc if model.filter.is_empty() => return Next::Quit,
        KeyCode::Esc => model.filter.clear(),
        KeyCode::Char('/') => model.is_typing = true,
        KeyCode::Char('>') | KeyCode::Right => sort_by(model, 1),
        KeyCode::Char('<') | KeyCode::Left => sort_by(model, -1),
        KeyCode::Char('r') => model.order.down = !model.order.down,
        KeyCode::Char(' ') => model.is_paused = !model.is_paused,
        KeyCode::Char('k') | KeyCode::Up => model.cursor = model.cursor.saturating_sub(1),
        KeyCode::Char('j') | KeyCode::Down => model.cursor += 1,
        KeyCode::PageUp => model.cursor = model.cursor.saturating_sub(page),
        KeyCode::PageDown => model.cursor += page,
        KeyCode::Home => model.cursor = 0,
        KeyCode::End => model.cursor = usize::MAX,
        _ => {}
    }
    stay_on_a_row(model);
    Next::Stay
}

/// Keys while the filter is typed: it is in force at once.
fn edit(model: &mut Model, key: KeyCode) {
    match key {
        KeyCode::Enter => model.is_typing = false,
        KeyCode::Esc => {
            model.is_typing = false;
            model.filter.clear();
        }
        KeyCode::Backspace => drop(model.filter.pop()),
        KeyCode::Char(c) if model.filter.len() < LONGEST_FILTER => model.filter.push(c),
        _ => {}
    }
    stay_on_a_row(model);
}

/// Another column: words from A, numbers from the largest.
fn sort_by(model: &mut Model, steps: isize) {
    model.order.by = model.order.by.at(steps);
    model.order.down = !model.order.by.is_text();
}

fn stay_on_a_row(model: &mut Model) {
    let last = model.shown().len().saturating_sub(1);
    model.cursor = model.cursor.min(last);
}

/// The longest filter, in bytes.
const LONGEST_FILTER: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::column::Column;
    use crate::top::model::Order;

    fn model() -> Model {
        let order = Order {
            by: Column::Waiting,
            down: true,
        };
        Model::new(order, String::new())
    }

    fn types(model: &mut Model, keys: &[KeyCode]) -> Next {
        let press = |next, &code: &KeyCode| match next {
            Next::Stay => press(model, KeyEvent::from(code), 10),
            Next::Quit => panic!("{code:?} after the end"),
        };
        keys.iter().fold(Next::Stay, press)
    }

    #[test]
    fn a_letter_of_the_filter_is_no_command() {
        let mut model = model();
        let keys = [
            KeyCode::Char('/'),
            KeyCode::Char('q'),
            KeyCode::Char('x'),
            KeyCode::Backspace,
        ];
        assert_eq!(types(&mut model, &keys), Next::Stay);
        assert!(model.is_typing && model.filter == "q");
        types(&mut model, &[KeyCode::Enter]);
        assert!(!model.is_typing && model.filter == "q");
        // Escape clears what is there, and leaves where nothing is.
        assert_eq!(types(&mut model, &[KeyCode::Esc]), Next::Stay);
        assert_eq!(model.filter, "");
        assert_eq!(types(&mut model, &[KeyCode::Esc]), Next::Quit);
    }

    #[test]
    fn the_order_goes_from_column_to_column_and_round() {
        let mut model = model();
        types(&mut model, &[KeyCode::Right]);
        assert_eq!(
            model.order,
            Order {
                by: Column::Max,
                down: true
            }
        );
        types(&mut model, &[KeyCode::Char('r')]);
        assert_eq!(
            model.order,
            Order {
                by: Column::Max,
                down: false
            }
        );
        model.order.by = Column::Shard;
        types(&mut model, &[KeyCode::Char('>')]);
        assert_eq!(
            model.order,
            Order {
                by: Column::Tenant,
                down: false
            }
        );
        types(&mut model, &[KeyCode::Left]);
        assert_eq!(
            model.order,
            Order {
                by: Column::Shard,
                down: true
            }
        );
    }

    #[test]
    fn the_cursor_stays_where_rows_are() {
        let mut model = model();
        types(
            &mut model,
            &[KeyCode::End, KeyCode::Down, KeyCode::PageDown],
        );
        assert_eq!(model.cursor, 0);
    }

    #[test]
    fn control_c_quits_also_while_typing() {
        let mut model = model();
        types(&mut model, &[KeyCode::Char('/')]);
        let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(press(&mut model, key, 10), Next::Quit);
    }
}
