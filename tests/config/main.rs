//! What a config file means, and what is said of one that cannot be meant.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access;
mod complaints;
mod documented;
mod process;
mod secrets;
mod tenants;
mod times;

use std::collections::HashMap;
use std::io;
use std::path::Path;

use dbbouncer::config::{Complaint, Cpus, Node, Settings, Surroundings, settle};

/// Settles a text among the same variables, secrets and four processors each time.
fn read(text: &str) -> Result<Settings, Vec<Complaint>> {
    read_on(
        text,
        Cpus {
            ours: vec![0, 1, 2, 3],
            online: 4,
            parallelism: 4,
        },
    )
}

fn read_on(text: &str, cpus: Cpus) -> Result<Settings, Vec<Complaint>> {
    let env = HashMap::from([
        ("PASSWORD", "s3cret"),
        ("PORT", "5433"),
        ("TRICKY", "file:nowhere"),
    ]);
    let surroundings = Surroundings {
        env: &|name| env.get(name).map(|value| value.to_string()),
        read: &|path| match path == Path::new("secrets/db") {
            true => Ok("from a file\r\n".to_owned()),
            false => Err(io::ErrorKind::NotFound.into()),
        },
        cpus,
    };
    settle(&Node::from_yaml(text).unwrap(), &surroundings)
}

fn meant(text: &str) -> Settings {
    read(text).unwrap_or_else(|complaints| panic!("{}", lines(&complaints)))
}

/// All complaints about a text, a line each.
fn complaints(text: &str) -> String {
    lines(&read(text).expect_err("there is something to complain of"))
}

fn lines(complaints: &[Complaint]) -> String {
    complaints
        .iter()
        .map(|complaint| format!("{complaint}\n"))
        .collect()
}

/// A tenant with these keys more.
fn tenant(more: &str) -> String {
    let indented = more
        .lines()
        .map(|line| format!("    {line}\n"))
        .collect::<String>();
    format!(
        "tenants:\n  t1:\n    db_type: postgres\n    host: db\n    dbname: d\n    username: u\n{indented}"
    )
}
