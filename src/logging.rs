//! The log: one line of text for each event, on standard error.
//!
//! Whatever a message holds, it stays one line: what a peer sent cannot forge another.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use env_logger::Builder;
use log::kv::{Error, Key, Value, VisitSource};
use log::{LevelFilter, Record};

/// Starts logging. Without a level, `RUST_LOG` says what is logged, and without that, `info` is.
pub fn start(level: Option<LevelFilter>) {
    let mut log = Builder::new();
    match (level, std::env::var("RUST_LOG")) {
        (Some(level), _) => log.filter_level(level),
        (None, Ok(filters)) => log.parse_filters(&filters),
        (None, Err(_)) => log.filter_level(LevelFilter::Info),
    };
    log.format(|out, record| {
        let time = out.timestamp_millis();
        writeln!(out, "{time} {}", line(record))
    });
    log.init();
}

/// What is said of an event: its level, its message, then `key=value` for what it carries.
fn line(record: &Record) -> String {
    let mut line = OneLine(format!("{:5} ", record.level()));
    // Writing to a String fails only if a value's own Display does; then the rest is missing.
    let _ = write!(line, "{}", record.args());
    let _ = record.key_values().visit(&mut line);
    line.0
}

/// Text in which whatever would end the line or move the cursor is escaped.
struct OneLine(String);

impl fmt::Write for OneLine {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                c if c.is_control() => self.0.extend(c.escape_default()),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

impl<'kvs> VisitSource<'kvs> for OneLine {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        Ok(write!(self, " {key}={value}")?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_it_says() {
        let values = [("tenant", "t1"), ("user", "a\u{1b}[2Jb")];
        let record = Record::builder()
            .level(log::Level::Warn)
            .args(format_args!("refused: no\r\nsuch \0 user ü"))
            .key_values(&values)
            .build();
        let expected = r"WARN  refused: no\r\nsuch \u{0} user ü tenant=t1 user=a\u{1b}[2Jb";
        assert_eq!(line(&record), expected);
    }
}
