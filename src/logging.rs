//! How the log looks, and how often one thing may be said.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use env_logger::fmt::Formatter;
use log::Record;
use serde_json::json;

use crate::config::LogFormat;

/// Something that clients can cause as often as they like, and that is logged at most once in
/// [`SELDOM`].
pub struct Seldom {
    start: Instant,
    /// When it may be said again, in milliseconds since `start`.
    next: AtomicU64,
    unsaid: AtomicU64,
}

/// How often it was not said, for the end of the line that says it again.
pub struct Unsaid(u64);

impl Seldom {
    /// Whether to say it now.
    pub fn now(&self) -> Option<Unsaid> {
        self.at(self.start.elapsed())
    }

    fn at(&self, time: Duration) -> Option<Unsaid> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        // Relaxed: of two threads in the same moment both may speak, which is no harm.
        if millis(time) < self.next.load(Ordering::Relaxed) {
            self.unsaid.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.next.store(millis(time + SELDOM), Ordering::Relaxed);
        Some(Unsaid(self.unsaid.swap(0, Ordering::Relaxed)))
    }
}

impl Default for Seldom {
    fn default() -> Seldom {
        Seldom {
            start: Instant::now(),
            next: AtomicU64::new(0),
            unsaid: AtomicU64::new(0),
        }
    }
}

impl fmt::Display for Unsaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(f, " (and {count} times more since the last such line)"),
        }
    }
}

/// Starts logging to standard error. `filter` is in the words of `RUST_LOG`.
pub fn start(format: LogFormat, filter: &str) -> Result<(), log::SetLoggerError> {
    let mut builder = env_logger::Builder::new();
    builder.parse_filters(filter);
    match format {
        LogFormat::Text => {
            builder.format_timestamp_millis().format_target(false);
        }
        LogFormat::Json => {
            builder.format(json_line);
        }
    }
    builder.try_init()
}

fn json_line(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let line = json_of(record, &humantime::format_rfc3339_millis(SystemTime::now()));
    writeln!(out, "{line}")
}

fn json_of(record: &Record<'_>, time: &dyn fmt::Display) -> serde_json::Value {
    json!({
        "time": time.to_string(),
        "level": record.level().as_str().to_ascii_lowercase(),
        "target": record.target(),
        "message": record.args().to_string(),
    })
}

/// How often one thing is said at most.
const SELDOM: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_often_is_said_seldom_and_counted() {
        let seldom = Seldom::default();
        let mut said = Vec::new();
        for millis in [0, 1, 500, 999, 1000, 1001, 5000] {
            let unsaid = seldom.at(Duration::from_millis(millis));
            said.extend(unsaid.map(|unsaid| (millis, unsaid.0)));
        }
        assert_eq!(said, [(0, 0), (1000, 3), (5000, 1)]);
    }

    #[test]
    fn a_line_of_json_holds_whatever_was_said() {
        let record = |args: fmt::Arguments<'_>| {
            let record = Record::builder()
                .args(args)
                .level(log::Level::Warn)
                .target("t")
                .build();
            json_of(&record, &"now")
        };
        let line = record(format_args!("a \"quote\"\nand a line")).to_string();
        assert!(!line.contains('\n'));
        assert_eq!(
            line,
            r#"{"level":"warn","message":"a \"quote\"\nand a line","target":"t","time":"now"}"#
        );
    }
}
