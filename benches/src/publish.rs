//! What was measured last, as a document for people: the targets, each reached or missed, and the
//! tables. Only what stands between marks is written; the rest of the document is its author's.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::Outcome;
use crate::report::median;

/// Writes both parts into the document. What was not measured is said to be so.
pub fn publish(folder: &Path, document: &Path) -> Outcome<()> {
    let results = Results { folder };
    let text = fs::read_to_string(document)?;
    let text = between_marks(&text, "targets", &targets(&results))?;
    let text = between_marks(&text, "tables", &tables(folder))?;
    fs::write(document, text)?;
    println!("written: {}", document.display());
    Ok(())
}

fn between_marks(text: &str, name: &str, part: &str) -> Outcome<String> {
    let (begin, end) = (
        format!("<!-- {name} -->\n"),
        format!("<!-- end of {name} -->"),
    );
    let missing = || format!("the document lacks the mark {begin:?} or {end:?}");
    let (before, rest) = text.split_once(&begin).ok_or_else(missing)?;
    let (_, after) = rest.split_once(&end).ok_or_else(missing)?;
    Ok(format!("{before}{begin}\n{part}\n{end}{after}"))
}

/// All tables, in the order in which they are measured.
fn tables(folder: &Path) -> String {
    let mut text = String::new();
    for name in MEASURED {
        match fs::read_to_string(folder.join(format!("{name}.md"))) {
            Ok(table) => {
                let _ = write!(text, "{}\n\n", table.trim_end());
            }
            Err(_) => {
                let _ = write!(text, "Not measured: {name}.\n\n");
            }
        }
    }
    text.trim_end().to_owned()
}

/// Each target with what was measured.
fn targets(results: &Results<'_>) -> String {
    let mut text = "| what | target | measured | |\n|---|---|---|---|\n".to_owned();
    let mut row = |what: &str, target: f64, at_most: bool, values: &[Option<f64>]| {
        let known: Vec<f64> = values.iter().flatten().copied().collect();
        let met = |value: f64| {
            if at_most {
                value <= target
            } else {
                value >= target
            }
        };
        let verdict = match known.len() {
            0 => "not measured",
            _ if known.iter().all(|&value| met(value)) => "reached",
            _ if known.iter().any(|&value| met(value)) => "missed in part",
            _ => "missed",
        };
        let digits = if target > 100.0 { 0 } else { 2 };
        let shown = values.iter().map(|value| match value {
            Some(value) => format!("{value:.digits$}"),
            None => "-".to_owned(),
        });
        let shown: Vec<String> = shown.collect();
        let _ = writeln!(
            text,
            "| {what} | {target} | {} | {verdict} |",
            shown.join(" / ")
        );
    };
    for mode in MODES {
        let values = MANY.map(|clients| results.cpu_ratio(mode, clients, "pgbouncer"));
        row(
            &format!("CPU to PgBouncer 1.26, {mode}, 16 / 64 / 256 clients"),
            0.85,
            true,
            &values,
        );
    }
    for mode in MODES {
        let values = MANY.map(|clients| results.cpu_ratio(mode, clients, "epoll"));
        row(
            &format!("CPU to the bare forwarder, {mode}, 16 / 64 / 256 clients"),
            1.2,
            true,
            &values,
        );
    }
    let values = MODES.map(|mode| results.p50_ratio(mode, 1));
    row(
        "p50 of one client to PgBouncer's, simple / extended / prepared",
        1.0,
        true,
        &values,
    );
    let values = MODES.map(|mode| results.tail(mode, 1000));
    row(
        "p99 / p50 of 1,000 clients over 20 backends, in the three modes",
        1.5,
        true,
        &values,
    );
    let idle = results.idle();
    row(
        "bytes of an idle client without TLS, at 5,000 / 15,000",
        3072.0,
        true,
        &idle,
    );
    let throughput = results.value("result", "dbbouncer", 2);
    row(
        "result of 100 MiB to HAProxy's throughput",
        1.0,
        false,
        &[throughput],
    );
    let logins = results.value("logins", "dbbouncer, trust", 3);
    row("logins by trust to PgBouncer's rate", 1.0, false, &[logins]);
    let beside = |name: &str| {
        let alone = results.value("neighbour", name, 1)?;
        Some(results.value("neighbour", name, 3)? / alone)
    };
    row(
        "a quiet tenant's p99 beside a flood, same shard, to alone",
        2.0,
        true,
        &[beside("dbbouncer")],
    );
    row(
        "the same, on another shard",
        1.2,
        true,
        &[beside("dbbouncer, another shard")],
    );
    text.trim_end().to_owned()
}

/// The numbers that were written as JSON.
struct Results<'a> {
    folder: &'a Path,
}

impl Results<'_> {
    fn read(&self, name: &str) -> Option<Value> {
        let text = fs::read_to_string(self.folder.join(format!("{name}.json"))).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// The rounds of one peer with one load.
    fn rounds(&self, kind: &str, mode: &str, clients: u64) -> Option<Vec<Value>> {
        let report = self.read("transactions")?;
        let cells = report.get("cells")?.as_array()?;
        let cell = cells.iter().find(|cell| {
            cell["kind"] == kind && cell["mode"] == mode && cell["clients"] == clients
        });
        cell?.get("rounds")?.as_array().cloned()
    }

    /// The median over the rounds of DBBouncer's processor time to another's.
    fn cpu_ratio(&self, mode: &str, clients: u64, other: &str) -> Option<f64> {
        self.ratio_of_rounds(mode, clients, other, "cpu")
    }

    fn p50_ratio(&self, mode: &str, clients: u64) -> Option<f64> {
        self.ratio_of_rounds(mode, clients, "pgbouncer", "p50")
    }

    fn ratio_of_rounds(&self, mode: &str, clients: u64, other: &str, what: &str) -> Option<f64> {
        let ours = self.rounds("dbbouncer", mode, clients)?;
        let theirs = self.rounds(other, mode, clients)?;
        let each = ours.iter().zip(&theirs);
        let ratios = each.map(|(ours, theirs)| Some(ours[what].as_f64()? / theirs[what].as_f64()?));
        Some(median(ratios.collect::<Option<Vec<f64>>>()?))
    }

    /// p99 to p50: the median of each round's own ratio.
    fn tail(&self, mode: &str, clients: u64) -> Option<f64> {
        let rounds = self.rounds("dbbouncer", mode, clients)?;
        let tails = rounds
            .iter()
            .map(|round| Some(round["p99"].as_f64()? / round["p50"].as_f64()?));
        Some(median(tails.collect::<Option<Vec<f64>>>()?))
    }

    fn idle(&self) -> [Option<f64>; 2] {
        [5000.0, 15000.0].map(|clients| {
            let table = self.read("idle")?;
            let row = rows(&table)?.iter().find_map(|row| {
                let ours = row[0].as_str()?.starts_with("dbbouncer");
                let values = row[1].as_array()?;
                (ours && values.first()?.as_f64()? == clients).then_some(values)
            });
            row?.get(3)?.as_f64()
        })
    }

    /// A table's value: of the first row whose name begins so.
    fn value(&self, table: &str, name: &str, column: usize) -> Option<f64> {
        let table = self.read(table)?;
        let row = rows(&table)?
            .iter()
            .find(|row| row[0].as_str().is_some_and(|known| known.starts_with(name)));
        row?[1].get(column)?.as_f64()
    }
}

fn rows(table: &Value) -> Option<&Vec<Value>> {
    table.get("rows")?.as_array()
}

const MODES: [&str; 3] = ["simple", "extended", "prepared"];
const MANY: [u64; 3] = [16, 64, 256];

/// What `scripts/bench` measures, by the names of its files.
const MEASURED: [&str; 8] = [
    "transactions",
    "transactions-mysql",
    "logins",
    "idle",
    "result",
    "neighbour",
    "pgbench",
    "sysbench",
];
