//! What `top` shows, as lines of text with a look: the same lines go to a terminal and to a pipe.

use super::column::{Column, time};
use super::keys::HELP;
use super::model::{Model, Row};
use super::sample::Sample;

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

/// How many rows of a screen of this height are tenants.
pub fn page(model: &Model, height: usize) -> usize {
    let shards = model
        .sample()
        .map_or(0, |sample| sample.shards.len().min(SHARD_LINES));
    height.saturating_sub(FIXED_LINES + shards).max(1)
}

/// A whole screen.
pub fn screen(model: &Model, url: &str, height: usize) -> Vec<Line> {
    let page = page(model, height);
    let rows = model.shown();
    let mut lines = head(model, url);
    // Tenants may have gone since the cursor was set.
    let cursor = model.cursor.min(rows.len().saturating_sub(1));
    // As many rows in front of the cursor as fit.
    let first = (cursor + 1).saturating_sub(page);
    let visible = &rows[first..rows.len().min(first + page)];
    lines.extend(table(model, visible, Some(cursor - first)));
    lines.resize_with(height.saturating_sub(2), Line::default);
    lines.push(about(
        rows.get(cursor).copied(),
        rows.len(),
        model.totals().tenants,
    ));
    lines.push(foot(model));
    lines
}

/// All of it, for a pipe.
pub fn report(model: &Model, url: &str) -> Vec<Line> {
    let mut lines = head(model, url);
    lines.extend(table(model, &model.shown(), None));
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
        format!("  {url}  up {}", uptime(sample.health.uptime_seconds)),
    );
    if model.is_paused {
        title.add(Look::Warn, "  paused".to_owned());
    }
    let mut lines = vec![title, totals(model)];
    let shards = sample.shards.iter().take(SHARD_LINES).enumerate();
    lines.extend(shards.map(|(index, _)| shard(model, sample, index)));
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

fn table(model: &Model, rows: &[&Row], cursor: Option<usize>) -> Vec<Line> {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| Column::ALL.iter().map(|column| column.cell(row)).collect())
        .collect();
    let titles: Vec<_> = Column::ALL
        .iter()
        .map(|column| {
            let mark = match (*column == model.order.by, model.order.down) {
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
    let widths: Vec<_> = (0..Column::ALL.len()).map(width).collect();
    let padded = |column: usize, text: &str| {
        let width = widths[column];
        match Column::ALL[column].is_text() {
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
                let look = if cursor == Some(place) {
                    Look::Cursor
                } else {
                    look(Column::ALL[column], row)
                };
                line.add(look, padded(column, cell));
            }
            line
        });
    std::iter::once(head).chain(rows).collect()
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

/// The tenant under the cursor, where there is something to say of it, and how many are shown.
fn about(row: Option<&Row>, shown: usize, all: usize) -> Line {
    let Some(row) = row else {
        let text = if all == 0 {
            "no tenants"
        } else {
            "no tenant has these words"
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

fn foot(model: &Model) -> Line {
    if let Some(trouble) = &model.trouble {
        return Line::of(Look::Bad, trouble);
    }
    let mut line = Line::default();
    if model.is_typing || !model.filter.is_empty() {
        let caret = if model.is_typing { "_" } else { "" };
        line.add(Look::Bold, format!("filter: {}{caret}  ", model.filter));
    }
    let help = if model.is_typing {
        "enter keep it  esc clear it"
    } else {
        HELP
    };
    line.add(Look::Faint, help.to_owned());
    line
}

fn uptime(seconds: u64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes} min {} s", seconds % 60),
        (..48, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{} d {} h", hours / 24, hours % 24),
    }
}

impl Line {
    fn of(look: Look, text: &str) -> Line {
        let mut line = Line::default();
        line.add(look, text.to_owned());
        line
    }

    /// What a database said must not move the cursor.
    fn add(&mut self, look: Look, text: String) {
        let text = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        self.0.push((look, text.collect()));
    }

    /// The text alone.
    pub fn text(&self) -> String {
        let text: String = self.0.iter().map(|(_, text)| text.as_str()).collect();
        text.trim_end().to_owned()
    }
}

/// Lines that are there whatever is shown: title, totals, gap, the table's head, about, foot.
const FIXED_LINES: usize = 6;
/// The most shards that have a line.
const SHARD_LINES: usize = 8;
