//! What `top` shows: its tenants, or the sessions of one.

use super::column::{Column, lasted, time};
use super::keys::{HELP, SESSIONS_HELP};
use super::listing::{Columns, Listing};
use super::model::{Model, Row};
use super::sample::Sample;
use super::sessions::{Field, Session, Watched};
use super::table::{Line, Look, page_of, table};

/// How many rows of a screen of this height are those of a list.
pub fn page(model: &Model, height: usize) -> usize {
    height.saturating_sub(head(model, "").len() + 3).max(1)
}

/// A whole screen.
pub fn screen(model: &Model, url: &str, height: usize) -> Vec<Line> {
    let page = page(model, height);
    let mut lines = head(model, url);
    let (list, about, foot) = match &model.watched {
        Some(watched) => (
            page_of(&watched.listing, &watched.rows, page, look_of_session),
            about_sessions(watched),
            foot(model, &watched.listing, SESSIONS_HELP),
        ),
        None => (
            page_of(&model.listing, &model.rows, page, look),
            about(model),
            foot(model, &model.listing, HELP),
        ),
    };
    lines.extend(list);
    lines.resize_with(height.saturating_sub(2), Line::default);
    lines.extend([about, foot]);
    lines
}

/// All of it, for a pipe.
pub fn report(model: &Model, url: &str) -> Vec<Line> {
    let mut lines = head(model, url);
    lines.extend(match &model.watched {
        Some(Watched { listing, rows, .. }) => {
            table(listing, &listing.shown(rows), None, look_of_session)
        }
        None => table(&model.listing, &model.shown(), None, look),
    });
    lines
}

fn head(model: &Model, url: &str) -> Vec<Line> {
    let Some(sample) = model.sample() else {
        return vec![Line::of(Look::Bold, "DBBouncer")];
    };
    let mut title = Line::of(Look::Bold, "DBBouncer");
    title.add(Look::Plain, format!(" {}", sample.health.version));
    title.add(
        Look::Faint,
        format!("  {url}  up {}", lasted(sample.health.uptime_seconds)),
    );
    if model.is_paused {
        title.add(Look::Warn, "  paused".to_owned());
    }
    let mut lines = vec![title, totals(model)];
    match &model.watched {
        Some(watched) => lines.push(tenant(model, &watched.tenant)),
        None => {
            let shards = sample.shards.iter().take(SHARD_LINES).enumerate();
            lines.extend(shards.map(|(index, _)| shard(model, sample, index)));
        }
    }
    lines.push(Line::default());
    lines
}

fn totals(model: &Model) -> Line {
    let totals = model.totals();
    let rate = |of: Option<f64>| of.map_or("-".to_owned(), |rate| format!("{rate:.1}"));
    let rates = totals.rates.as_ref();
    let some = |count: u64, look| if count > 0 { look } else { Look::Plain };
    let mut line = Line::default();
    for (name, value, look) in [
        ("tenants", totals.tenants.to_string(), Look::Plain),
        ("clients", totals.clients.to_string(), Look::Plain),
        ("active", totals.active.to_string(), Look::Plain),
        ("idle", totals.idle.to_string(), Look::Plain),
        (
            "waiting",
            totals.waiting.to_string(),
            some(totals.waiting, Look::Warn),
        ),
        (
            "queries/s",
            rate(rates.map(|rates| rates.queries)),
            Look::Plain,
        ),
        (
            "p99",
            time(rates.and_then(|rates| rates.times.quantile(0.99))),
            Look::Plain,
        ),
        (
            "errors/s",
            rate(rates.map(|rates| rates.errors)),
            Look::Plain,
        ),
        (
            "unhealthy",
            totals.unhealthy.to_string(),
            some(totals.unhealthy as u64, Look::Bad),
        ),
    ] {
        line.add(Look::Faint, format!("{name} "));
        line.add(look, format!("{value}  "));
    }
    line
}

fn shard(model: &Model, sample: &Sample, index: usize) -> Line {
    let shard = &sample.shards[index];
    let mut line = Line::of(Look::Faint, &format!("shard-{} ", shard.shard));
    if shard.answers {
        let busy = model
            .busy(index)
            .map_or("-".to_owned(), |busy| format!("{:.0}%", busy * 100.0));
        let (clients, tenants) = (shard.clients, shard.tenants);
        line.add(
            Look::Plain,
            format!("{busy:>4} busy, {clients} clients, {tenants} tenants"),
        );
    } else {
        line.add(Look::Bad, "does not answer".to_owned());
    }
    line
}

/// The tenant whose sessions are shown, in a line.
fn tenant(model: &Model, id: &str) -> Line {
    let mut line = Line::of(Look::Faint, "sessions of ");
    line.add(Look::Bold, format!("{id}  "));
    let Some(row) = model.tenant(id) else {
        line.add(Look::Bad, "no such tenant (any more)".to_owned());
        return line;
    };
    for column in [Column::Type, Column::Mode, Column::State, Column::Health] {
        line.add(look(column, row), format!("{}  ", column.cell(row)));
    }
    let counts = [
        Column::Clients,
        Column::Active,
        Column::Idle,
        Column::Waiting,
    ];
    for column in counts.into_iter().chain([Column::Max, Column::Pinned]) {
        line.add(Look::Faint, format!("{} ", column.title().to_lowercase()));
        line.add(look(column, row), format!("{}  ", column.cell(row)));
    }
    line
}

fn look(column: Column, row: &Row) -> Look {
    let stats = row.stats.as_ref();
    match column {
        Column::Tenant => Look::Bold,
        Column::State => match row.state.as_str() {
            "active" => Look::Good,
            "unknown" => Look::Bad,
            _ => Look::Warn,
        },
        Column::Health => match stats.map(|stats| stats.healthy) {
            Some(true) => Look::Good,
            Some(false) => Look::Bad,
            None => Look::Warn,
        },
        Column::Waiting if stats.is_some_and(|stats| stats.waiting > 0) => Look::Warn,
        Column::Active if stats.is_some_and(|stats| stats.active >= row.max) => Look::Warn,
        Column::Type | Column::Mode => Look::Faint,
        _ => Look::Plain,
    }
}

fn look_of_session(field: Field, session: &Session) -> Look {
    match (field, session.state.as_str()) {
        (Field::User, _) => Look::Bold,
        (Field::State, "active") => Look::Good,
        (Field::State, "waiting" | "idle_in_transaction") => Look::Warn,
        (Field::State, "unknown") => Look::Bad,
        (_, "idle") => Look::Faint,
        _ => Look::Plain,
    }
}

/// How many are shown, and the tenant under the cursor where there is something to say of it.
fn about(model: &Model) -> Line {
    let (shown, all) = (model.shown().len(), model.rows.len());
    let Some(row) = model.listing.under_cursor(&model.rows) else {
        let text = match all {
            0 => "no tenants",
            _ => "no tenant has these words",
        };
        return Line::of(Look::Faint, text);
    };
    let mut line = Line::of(Look::Faint, &format!("{shown} of {all} tenants  "));
    let because = row
        .stats
        .as_ref()
        .and_then(|stats| stats.unhealthy_because.as_ref());
    if let Some(because) = because {
        line.add(Look::Bad, format!("{}: {because}", row.id));
    }
    line
}

/// The question whether one is to be ended, what has come of that, or how many are shown.
fn about_sessions(watched: &Watched) -> Line {
    if let Some(doomed) = &watched.doomed {
        let Session {
            id, user, client, ..
        } = doomed;
        let state = Field::State.cell(doomed);
        return Line::of(
            Look::Warn,
            &format!(
                "end session {id} of {user} from {client}, {state}? y ends it, any other key does not"
            ),
        );
    }
    if let Some(told) = &watched.told {
        return Line::of(Look::Warn, told);
    }
    let (shown, all) = (
        watched.listing.shown(&watched.rows).len(),
        watched.rows.len(),
    );
    let text = match (watched.is_known, shown, all) {
        (false, ..) => "asking for its sessions".to_owned(),
        (_, _, 0) => "no sessions".to_owned(),
        (_, 0, _) => "no session has these words".to_owned(),
        _ => format!("{shown} of {all} sessions"),
    };
    Line::of(Look::Faint, &text)
}

fn foot<C>(model: &Model, listing: &Listing<C>, help: &str) -> Line {
    if let Some(trouble) = &model.trouble {
        return Line::of(Look::Bad, trouble);
    }
    let mut line = Line::default();
    if listing.is_typing || !listing.filter.is_empty() {
        let caret = if listing.is_typing { "_" } else { "" };
        line.add(Look::Bold, format!("filter: {}{caret}  ", listing.filter));
    }
    let help = match listing.is_typing {
        true => "enter keep it  esc clear it",
        false => help,
    };
    line.add(Look::Faint, help.to_owned());
    line
}

/// The most shards that have a line.
const SHARD_LINES: usize = 8;
