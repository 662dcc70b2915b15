//! The sessions of one tenant: what the API says of them, their columns, and the one that is to be ended.

use std::cmp::Ordering;

use serde::Deserialize;

use super::column::{lasted, time};
use super::listing::{Columns, Listing, Order, Value};

/// One of `/tenants/{id}/sessions`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Session {
    pub id: String,
    pub user: String,
    pub application: Option<String>,
    pub client: String,
    pub connected_seconds: f64,
    pub state: String,
    pub state_seconds: Option<f64>,
    pub transaction_seconds: Option<f64>,
    pub backend: Option<u32>,
}

/// A tenant whose sessions are shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Watched {
    pub tenant: String,
    pub rows: Vec<Session>,
    pub listing: Listing<Field>,
    /// Whether they have been told at all.
    pub is_known: bool,
    /// The one that is to be ended if the user means it, as it was when that was asked.
    pub doomed: Option<Session>,
    /// What has come of the last one that was.
    pub told: Option<String>,
}

impl Watched {
    /// Whoever is at work for the longest first.
    pub fn new(tenant: String, filter: String) -> Watched {
        Watched {
            tenant,
            rows: Vec::new(),
            listing: Listing::new(Order::by(Field::For), filter),
            is_known: false,
            doomed: None,
            told: None,
        }
    }
}

/// A column of a list of sessions; the same as on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Session,
    User,
    State,
    For,
    Transaction,
    Backend,
    Client,
    Connected,
    Application,
}

impl Columns for Field {
    type Row = Session;

    const ALL: &'static [Field] = &[
        Field::Session,
        Field::User,
        Field::State,
        Field::For,
        Field::Transaction,
        Field::Backend,
        Field::Client,
        Field::Connected,
        Field::Application,
    ];

    fn title(self) -> &'static str {
        match self {
            Field::Session => "SESSION",
            Field::User => "USER",
            Field::State => "STATE",
            Field::For => "FOR",
            Field::Transaction => "TRANSACTION",
            Field::Backend => "BACKEND",
            Field::Client => "CLIENT",
            Field::Connected => "CONNECTED",
            Field::Application => "APPLICATION",
        }
    }

    fn is_text(self) -> bool {
        use Field::{Application, Client, State, User};
        matches!(self, User | State | Client | Application)
    }

    fn cell(self, row: &Session) -> String {
        match (self, self.value(row)) {
            (_, Value::Unknown) => "-".to_owned(),
            (Field::State, Value::Text(text)) => text.replace('_', " "),
            (_, Value::Text(text)) => text.to_owned(),
            (Field::Session | Field::Backend, Value::Number(number)) => format!("{number:.0}"),
            (_, Value::Number(seconds)) if seconds < 60.0 => time(Some(seconds)),
            (_, Value::Number(seconds)) => lasted(seconds as u64),
        }
    }

    fn compare(self, a: &Session, b: &Session, down: bool) -> Ordering {
        let order = self.value(a).compare(&self.value(b), down);
        match (self, a.is_idle(), b.is_idle()) {
            // Thousands may have been idle for days; who is at work for seconds is looked for.
            (Field::For, true, false) => Ordering::Greater,
            (Field::For, false, true) => Ordering::Less,
            _ => order,
        }
    }

    fn tie(a: &Session, b: &Session) -> Ordering {
        Field::Session.compare(a, b, false)
    }

    fn words(row: &Session) -> String {
        let Session {
            id, user, client, ..
        } = row;
        let application = row.application.as_deref().unwrap_or_default();
        let state = Field::State.cell(row);
        let backend = Field::Backend.cell(row);
        format!("{id} {user} {state} {backend} {client} {application}").to_lowercase()
    }
}

impl Field {
    fn value(self, row: &Session) -> Value<'_> {
        let known = |number: Option<f64>| number.map_or(Value::Unknown, Value::Number);
        match self {
            Field::Session => known(row.id.parse().ok()),
            Field::User => Value::Text(&row.user),
            Field::State => Value::Text(&row.state),
            Field::For => known(row.state_seconds),
            Field::Transaction => known(row.transaction_seconds),
            Field::Backend => known(row.backend.map(f64::from)),
            Field::Client => Value::Text(&row.client),
            Field::Connected => Value::Number(row.connected_seconds),
            Field::Application => row
                .application
                .as_deref()
                .map_or(Value::Unknown, Value::Text),
        }
    }
}

impl Session {
    /// Whether nobody waits for anything, and nothing is held.
    pub fn is_idle(&self) -> bool {
        self.state == "idle"
    }
}

#[cfg(test)]
pub mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    pub fn session(id: &str, state: &str, seconds: f64) -> Session {
        Session {
            id: id.into(),
            user: "app".into(),
            application: Some(format!("worker-{id}")),
            client: format!("10.0.0.{id}:4000"),
            connected_seconds: 4000.0,
            state: state.into(),
            state_seconds: Some(seconds),
            transaction_seconds: None,
            backend: (state != "idle").then_some(77),
        }
    }

    #[test]
    fn who_is_at_work_for_the_longest_comes_first_and_the_idle_last() {
        let mut watched = Watched::new("acme".into(), String::new());
        watched.rows = vec![
            session("1", "idle", 90_000.0),
            session("2", "active", 0.5),
            session("10", "active", 0.5),
            session("3", "idle_in_transaction", 75.0),
            session("4", "unknown", 0.0),
        ];
        watched.rows[4].state_seconds = None;
        let ids = |watched: &Watched| -> Vec<String> {
            let shown = watched.listing.shown(&watched.rows);
            shown.iter().map(|row| row.id.clone()).collect()
        };
        assert_eq!(ids(&watched), ["3", "2", "10", "4", "1"]);
        watched.listing.filter = "idle IN 10.0".into();
        assert_eq!(ids(&watched), ["3"]);
        watched.listing = Listing::new(Order::by(Field::Session), "worker".into());
        assert_eq!(ids(&watched), ["10", "4", "3", "2", "1"]);
        let cells = Field::ALL.iter().map(|field| field.cell(&watched.rows[3]));
        let expected = [
            "3",
            "app",
            "idle in transaction",
            "1 min 15 s",
            "-",
            "77",
            "10.0.0.3:4000",
            "1 h 6 min",
            "worker-3",
        ];
        assert_eq!(cells.collect::<Vec<_>>(), expected);
    }
}
