//! The columns of the list of tenants: their titles, what stands in them, and how rows are put in order by them.

use std::cmp::Ordering;

use clap::ValueEnum;

use super::listing::{Columns, Value};
use super::model::Row;

/// A column; the same as on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Column {
    /// Its name
    Tenant,
    /// What its database speaks
    Type,
    /// Whether its pool serves
    State,
    /// Whether its database is well
    Health,
    /// Clients that are let in, those that wait among them
    Clients,
    /// Connections to the database that serve a client
    Active,
    /// Connections to the database that nobody uses
    Idle,
    /// Clients that wait for a connection
    Waiting,
    /// The most connections to the database
    Max,
    /// Queries in a second
    Queries,
    /// The time that 99 of 100 queries stayed below
    P99,
    /// Errors of the database in a second
    Errors,
    /// Clients that are pinned to their connection
    Pinned,
    /// Its pool mode
    Mode,
    /// The shard that owns it
    Shard,
}

impl Columns for Column {
    type Row = Row;

    const ALL: &'static [Column] = &[
        Column::Tenant,
        Column::Type,
        Column::State,
        Column::Health,
        Column::Clients,
        Column::Active,
        Column::Idle,
        Column::Waiting,
        Column::Max,
        Column::Queries,
        Column::P99,
        Column::Errors,
        Column::Pinned,
        Column::Mode,
        Column::Shard,
    ];

    fn title(self) -> &'static str {
        match self {
            Column::Tenant => "TENANT",
            Column::Type => "TYPE",
            Column::State => "STATE",
            Column::Health => "HEALTH",
            Column::Clients => "CLIENTS",
            Column::Active => "ACTIVE",
            Column::Idle => "IDLE",
            Column::Waiting => "WAITING",
            Column::Max => "MAX",
            Column::Queries => "QUERIES/S",
            Column::P99 => "P99",
            Column::Errors => "ERRORS/S",
            Column::Pinned => "PINNED",
            Column::Mode => "MODE",
            Column::Shard => "SHARD",
        }
    }

    fn is_text(self) -> bool {
        use Column::{Health, Mode, State, Tenant, Type};
        matches!(self, Tenant | Type | State | Health | Mode)
    }

    fn cell(self, row: &Row) -> String {
        match (self, self.value(row)) {
            (_, Value::Unknown) if self == Column::Health => "unknown".to_owned(),
            (_, Value::Unknown) => "-".to_owned(),
            (_, Value::Text(text)) => text.to_owned(),
            (Column::P99, Value::Number(seconds)) => time(Some(seconds)),
            (Column::Queries | Column::Errors, Value::Number(rate)) => format!("{rate:.1}"),
            (_, Value::Number(number)) => format!("{number:.0}"),
        }
    }

    fn compare(self, a: &Row, b: &Row, down: bool) -> Ordering {
        self.value(a).compare(&self.value(b), down)
    }

    fn tie(a: &Row, b: &Row) -> Ordering {
        a.id.cmp(&b.id)
    }

    fn words(row: &Row) -> String {
        let health = Column::Health.cell(row);
        let Row {
            id,
            db_type,
            mode,
            state,
            shard,
            ..
        } = row;
        format!("{id} {db_type} {mode} {state} {health} shard-{shard}").to_lowercase()
    }
}

impl Column {
    fn value(self, row: &Row) -> Value<'_> {
        let known = |number: Option<f64>| number.map_or(Value::Unknown, Value::Number);
        let stats = row.stats.as_ref();
        let rates = row.rates.as_ref();
        match self {
            Column::Tenant => Value::Text(&row.id),
            Column::Type => Value::Text(&row.db_type),
            Column::State => Value::Text(&row.state),
            Column::Mode => Value::Text(&row.mode),
            Column::Health => match stats.map(|stats| stats.healthy) {
                Some(true) => Value::Text("healthy"),
                Some(false) => Value::Text("unhealthy"),
                None => Value::Unknown,
            },
            Column::Clients => known(stats.map(|stats| stats.clients as f64)),
            Column::Active => known(stats.map(|stats| stats.active as f64)),
            Column::Idle => known(stats.map(|stats| stats.idle as f64)),
            Column::Waiting => known(stats.map(|stats| stats.waiting as f64)),
            Column::Pinned => known(stats.map(|stats| stats.pinned as f64)),
            Column::Max => Value::Number(row.max as f64),
            Column::Shard => Value::Number(row.shard as f64),
            Column::Queries => known(rates.map(|rates| rates.queries)),
            Column::Errors => known(rates.map(|rates| rates.errors)),
            Column::P99 => known(rates.and_then(|rates| rates.times.quantile(0.99))),
        }
    }
}

/// A time in the unit that fits it.
pub fn time(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds < 0.01 => format!("{:.2} ms", seconds * 1e3),
        Some(seconds) if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
        Some(seconds) => format!("{seconds:.1} s"),
    }
}

/// A time of a minute or more, in the two units that fit it.
pub fn lasted(seconds: u64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes} min {} s", seconds % 60),
        (..48, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{} d {} h", hours / 24, hours % 24),
    }
}
