//! What was measured, as JSON for programs, a table for people, and a plot.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::compare::{FLOOR, reference};
use crate::peers::{Kind, Peer, Setup};
use crate::talk::{Dialect, Mode};
use crate::{Common, Outcome, host, plot};

/// All cells of one run.
#[derive(Serialize)]
pub struct Report {
    dialect: Dialect,
    machine: String,
    rounds: usize,
    round_ms: u64,
    tenants: usize,
    backends: usize,
    /// What was measured, in order.
    pub cells: Vec<Cell>,
}

/// One peer with one load.
#[derive(Serialize)]
pub struct Cell {
    /// What it is.
    pub kind: Kind,
    /// Its name and version.
    pub peer: String,
    /// How queries were sent.
    pub mode: Mode,
    /// By how many.
    pub clients: usize,
    /// After all rounds, in KiB; none without a process.
    pub memory_kib: Option<u64>,
    /// One after the other.
    pub rounds: Vec<Round>,
}

/// One round. Times are in microseconds.
#[derive(Serialize)]
pub struct Round {
    /// Transactions per second.
    pub per_second: f64,
    /// The proxy's processor time for one transaction.
    pub cpu: Option<f64>,
    /// Latencies that so many hundredths and thousandths kept below.
    pub p50: f64,
    /// See `p50`.
    pub p99: f64,
    /// See `p50`.
    pub p999: f64,
}

impl Report {
    /// Nothing so far.
    pub fn new(common: &Common, setup: &Setup) -> Report {
        Report {
            dialect: setup.dialect,
            machine: host::describe(),
            rounds: common.rounds,
            round_ms: common.round_ms,
            tenants: setup.tenants,
            backends: setup.tenants * setup.pool_size,
            cells: Vec::new(),
        }
    }

    /// Takes in the cells of one load; their table.
    pub fn add(&mut self, cells: Vec<Cell>) -> String {
        let table = table(self.dialect, &cells);
        self.cells.extend(cells);
        table
    }

    /// Writes `name`.json, `name`.md and `name`.svg.
    pub fn write(&self, folder: &Path, name: &str) -> Outcome<()> {
        fs::create_dir_all(folder)?;
        let path = |extension: &str| folder.join(format!("{name}.{extension}"));
        fs::write(path("json"), serde_json::to_string_pretty(self)?)?;
        fs::write(path("md"), self.markdown())?;
        fs::write(path("svg"), plot::cpu(&self.cells))?;
        println!("\nwritten: {}", path("{json,md,svg}").display());
        Ok(())
    }

    fn markdown(&self) -> String {
        let Report {
            machine,
            rounds,
            round_ms,
            tenants,
            backends,
            ..
        } = self;
        let mut text = format!(
            "{machine}. {rounds} interleaved rounds of {round_ms} ms, medians. {tenants} tenants, \
             {backends} backends for those that pool. CPU: the proxy's, in microseconds for one \
             transaction; ratios: the median of each round's own.\n"
        );
        let mut rest = &self.cells[..];
        while let Some(first) = rest.first() {
            let same = |cell: &&Cell| (cell.mode, cell.clients) == (first.mode, first.clients);
            let count = rest.iter().take_while(same).count();
            text.push_str(&table(self.dialect, &rest[..count]));
            rest = &rest[count..];
        }
        text
    }
}

impl Cell {
    /// Without rounds so far.
    pub fn new(peer: &Peer, mode: Mode, clients: usize) -> Cell {
        Cell {
            kind: peer.kind,
            peer: peer.name.clone(),
            mode,
            clients,
            memory_kib: None,
            rounds: Vec::new(),
        }
    }

    /// The median of something over the rounds.
    pub fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(of).collect())
    }

    /// The median of the processor time, if it has any.
    pub fn cpu(&self) -> Option<f64> {
        median_of_some(self.rounds.iter().map(|round| round.cpu))
    }

    fn cpu_against(&self, other: &Cell) -> Option<f64> {
        let both = self.rounds.iter().zip(&other.rounds);
        median_of_some(both.map(|(mine, theirs)| Some(mine.cpu? / theirs.cpu?)))
    }
}

fn table(dialect: Dialect, cells: &[Cell]) -> String {
    let Some(first) = cells.first() else {
        return String::new();
    };
    let (mode, clients) = (first.mode.name(), first.clients);
    let (mode, other) = match dialect {
        Dialect::Postgres => (mode.to_owned(), "PgBouncer"),
        Dialect::Mysql => (format!("MySQL, {mode}"), "MySQL Router"),
    };
    let clients = match clients {
        1 => "1 client".to_owned(),
        many => format!("{many} clients"),
    };
    let mut text = format!(
        "\n| {mode}, {clients} | tx/s | CPU | to {other} | to the floor | p50 µs | p99 µs | p99.9 µs | memory KiB |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|\n"
    );
    let find = |kind: Kind| cells.iter().find(|cell| cell.kind == kind);
    let (reference, floor) = (find(reference(dialect)), find(FLOOR));
    for cell in cells {
        let against = |other: Option<&Cell>| other.and_then(|other| cell.cpu_against(other));
        let _ = writeln!(
            text,
            "| {} | {:.0} | {} | {} | {} | {:.0} | {:.0} | {:.0} | {} |",
            cell.peer,
            cell.median(|round| round.per_second),
            number(cell.cpu()),
            number(against(reference)),
            number(against(floor)),
            cell.median(|round| round.p50),
            cell.median(|round| round.p99),
            cell.median(|round| round.p999),
            cell.memory_kib
                .map_or_else(String::new, |kib| kib.to_string()),
        );
    }
    text
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| format!("{value:.2}"))
}

fn median_of_some(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<f64> = values.flatten().collect();
    (!values.is_empty()).then(|| median(values))
}

/// The value in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
