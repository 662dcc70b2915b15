//! What a key means.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::listing::{Columns, Listing};
use super::model::Model;
use super::sessions::Session;

/// What is to be done after a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    Stay,
    Quit,
    /// Other sessions are shown now, or none.
    Look,
    /// A session of this tenant is to be ended.
    End(String, Session),
}

/// The keys of the list of tenants in a line, for people.
pub const HELP: &str =
    "q quit  enter sessions  / filter  < > column to sort by  r reverse  up down move  space pause";
/// And those of a list of sessions.
pub const SESSIONS_HELP: &str =
    "q quit  esc tenants  K end session  / filter  < > column to sort by  r reverse  space pause";

/// Does what a key asks for; a page has so many rows.
pub fn press(model: &mut Model, key: KeyEvent, page: usize) -> Next {
    // A question is answered, or dropped before anything else is done.
    let asked = model
        .watched
        .as_mut()
        .and_then(|watched| Some((watched.tenant.clone(), watched.doomed.take()?)));
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c' | 'd') => Next::Quit,
            _ => Next::Stay,
        };
    }
    if let Some((tenant, doomed)) = asked {
        return match key.code {
            KeyCode::Char('y' | 'Y') => Next::End(tenant, doomed),
            _ => Next::Stay,
        };
    }
    let is_typing = match &model.watched {
        Some(watched) => watched.listing.is_typing,
        None => model.listing.is_typing,
    };
    match key.code {
        KeyCode::Char('q') if !is_typing => return Next::Quit,
        KeyCode::Char(' ') if !is_typing => model.is_paused = !model.is_paused,
        code if model.watched.is_some() => return press_at_sessions(model, code, page),
        // Once to be rid of the filter, once more to leave.
        KeyCode::Esc if model.listing.filter.is_empty() && !is_typing => return Next::Quit,
        KeyCode::Enter if !is_typing => {
            let Some(row) = model.listing.under_cursor(&model.rows) else {
                return Next::Stay;
            };
            model.watch(row.id.clone(), String::new());
            return Next::Look;
        }
        code => press_at(&mut model.listing, &model.rows, code, page),
    }
    Next::Stay
}

fn press_at_sessions(model: &mut Model, key: KeyCode, page: usize) -> Next {
    let Some(watched) = &mut model.watched else {
        return Next::Stay;
    };
    watched.told = None;
    let listing = &mut watched.listing;
    match key {
        KeyCode::Esc if listing.filter.is_empty() && !listing.is_typing => {
            model.watched = None;
            return Next::Look;
        }
        // A capital, so that nobody who moves the cursor by letters ends a session.
        KeyCode::Char('K') if !listing.is_typing => {
            watched.doomed = listing.under_cursor(&watched.rows).cloned();
        }
        key => press_at(listing, &watched.rows, key, page),
    }
    Next::Stay
}

/// What is done alike in all lists.
fn press_at<C: Columns>(listing: &mut Listing<C>, rows: &[C::Row], key: KeyCode, page: usize) {
    if listing.is_typing {
        edit(listing, key);
    } else {
        match key {
            KeyCode::Esc => listing.filter.clear(),
            KeyCode::Char('/') => listing.is_typing = true,
            KeyCode::Char('>') | KeyCode::Right => listing.sort_by(1),
            KeyCode::Char('<') | KeyCode::Left => listing.sort_by(-1),
            KeyCode::Char('r') => listing.order.down = !listing.order.down,
            KeyCode::Char('k') | KeyCode::Up => listing.cursor = listing.cursor.saturating_sub(1),
            KeyCode::Char('j') | KeyCode::Down => listing.cursor += 1,
            KeyCode::PageUp => listing.cursor = listing.cursor.saturating_sub(page),
            KeyCode::PageDown => listing.cursor += page,
            KeyCode::Home => listing.cursor = 0,
            KeyCode::End => listing.cursor = usize::MAX,
            _ => {}
        }
    }
    listing.stay_on_a_row(rows);
}

/// Keys while the filter is typed: it is in force at once.
fn edit<C>(listing: &mut Listing<C>, key: KeyCode) {
    match key {
        KeyCode::Enter => listing.is_typing = false,
        KeyCode::Esc => {
            listing.is_typing = false;
            listing.filter.clear();
        }
        KeyCode::Backspace => drop(listing.filter.pop()),
        KeyCode::Char(c) if listing.filter.len() < LONGEST_FILTER => listing.filter.push(c),
        _ => {}
    }
}

/// The longest filter, in bytes.
const LONGEST_FILTER: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::column::Column;
    use crate::top::listing::Order;
    use crate::top::sessions::tests::session;

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
            next => panic!("{code:?} after {next:?}"),
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
        assert!(model.listing.is_typing && model.listing.filter == "q");
        types(&mut model, &[KeyCode::Enter]);
        assert!(!model.listing.is_typing && model.listing.filter == "q");
        // Escape clears what is there, and leaves where nothing is.
        assert_eq!(types(&mut model, &[KeyCode::Esc]), Next::Stay);
        assert_eq!(model.listing.filter, "");
        assert_eq!(types(&mut model, &[KeyCode::Esc]), Next::Quit);
    }

    #[test]
    fn the_order_goes_from_column_to_column_and_round() {
        let mut model = model();
        types(&mut model, &[KeyCode::Right]);
        assert_eq!(
            model.listing.order,
            Order {
                by: Column::Max,
                down: true
            }
        );
        types(&mut model, &[KeyCode::Char('r')]);
        assert_eq!(
            model.listing.order,
            Order {
                by: Column::Max,
                down: false
            }
        );
        model.listing.order.by = Column::Shard;
        types(&mut model, &[KeyCode::Char('>')]);
        assert_eq!(
            model.listing.order,
            Order {
                by: Column::Tenant,
                down: false
            }
        );
        types(&mut model, &[KeyCode::Left]);
        assert_eq!(
            model.listing.order,
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
        assert_eq!(model.listing.cursor, 0);
    }

    #[test]
    fn a_session_is_ended_when_the_user_means_it_and_then_the_very_one_that_was_asked_of() {
        let mut model = model();
        model.watch("acme".into(), String::new());
        let both = vec![session("1", "active", 9.0), session("2", "active", 5.0)];
        model.take_sessions("another", vec![session("3", "active", 1.0)]);
        model.take_sessions("acme", both.clone());
        let doomed = |model: &Model| model.watched.clone().and_then(|it| it.doomed);
        // Asked, and not meant.
        for key in [KeyCode::Enter, KeyCode::Char(' '), KeyCode::Char('q')] {
            types(&mut model, &[KeyCode::Char('K')]);
            assert_eq!(doomed(&model).as_ref(), Some(&both[0]));
            assert_eq!(types(&mut model, &[key]), Next::Stay);
            assert!(doomed(&model).is_none() && !model.is_paused, "{key:?}");
        }
        types(&mut model, &[KeyCode::Char('K')]);
        let key = KeyEvent::new(KeyCode::Char('y'), KeyModifiers::CONTROL);
        assert_eq!(press(&mut model, key, 10), Next::Stay);
        assert_eq!(doomed(&model), None);
        // Others come to stand where it stood.
        types(&mut model, &[KeyCode::Down, KeyCode::Char('K')]);
        model.take_sessions("acme", vec![both[0].clone(), session("7", "active", 6.0)]);
        let end = Next::End("acme".into(), both[1].clone());
        assert_eq!(types(&mut model, &[KeyCode::Char('y')]), end);
        // A letter of the filter ends nobody.
        types(&mut model, &[KeyCode::Char('/'), KeyCode::Char('K')]);
        assert_eq!(doomed(&model), None);
        types(&mut model, &[KeyCode::Esc]);
        assert_eq!(types(&mut model, &[KeyCode::Esc]), Next::Look);
        assert_eq!(model.watched, None);
    }

    #[test]
    fn control_c_quits_also_while_typing() {
        let mut model = model();
        types(&mut model, &[KeyCode::Char('/')]);
        let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(press(&mut model, key, 10), Next::Quit);
    }
}
