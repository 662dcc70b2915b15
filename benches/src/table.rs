//! A small table: for people and as JSON.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::{Outcome, host};

/// Rows of numbers, each with a name.
#[derive(Serialize)]
pub struct Table {
    machine: String,
    title: String,
    columns: Vec<String>,
    rows: Vec<(String, Vec<f64>)>,
}

impl Table {
    /// Without rows.
    pub fn new(title: &str, columns: &[&str]) -> Table {
        Table {
            machine: host::describe(),
            title: title.to_owned(),
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row(&mut self, name: &str, values: Vec<f64>) {
        self.rows.push((name.to_owned(), values));
    }

    /// Prints it, and writes `name`.json and `name`.md.
    pub fn write(&self, folder: &Path, name: &str) -> Outcome<()> {
        let text = self.markdown();
        print!("\n{text}");
        fs::create_dir_all(folder)?;
        fs::write(
            folder.join(format!("{name}.json")),
            serde_json::to_string_pretty(self)?,
        )?;
        fs::write(folder.join(format!("{name}.md")), text)?;
        Ok(())
    }

    fn markdown(&self) -> String {
        let mut text = format!("| {} | {} |\n|---|", self.title, self.columns.join(" | "));
        text.push_str(&"---:|".repeat(self.columns.len()));
        text.push('\n');
        for (name, values) in &self.rows {
            let _ = write!(text, "| {name} |");
            for value in values {
                let digits = if value.abs() < 100.0 { 2 } else { 0 };
                let _ = match value.is_nan() {
                    true => write!(text, " |"),
                    false => write!(text, " {value:.digits$} |"),
                };
            }
            text.push('\n');
        }
        text
    }
}
