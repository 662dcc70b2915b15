//! The log: one line for each event, of text or of JSON, on standard error.
//!
//! Whatever a message holds, it stays one line: what a peer sent cannot forge another. Lines are
//! written by a thread of their own, so that whoever reads them slowly does not hold up a shard;
//! what finds no room, there or on the disk, is counted and not written.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use env_logger::{Builder, Target};
use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, LevelFilter, Record};
use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat};
use serde_json::json;

use crate::config::LogFormat;

/// Starts logging. Without a level, `RUST_LOG` says what is logged, and without that, `info` is.
pub fn start(level: Option<LevelFilter>, format: LogFormat) {
    let mut log = Builder::new();
    match (level, std::env::var("RUST_LOG")) {
        (Some(level), _) => log.filter_level(level),
        (None, Ok(filters)) => log.parse_filters(&filters),
        (None, Err(_)) => log.filter_level(LevelFilter::Info),
    };
    log.format(move |out, record| {
        let time = out.timestamp_millis();
        match format {
            LogFormat::Text => writeln!(out, "{time} {}", line(record)),
            LogFormat::Json => writeln!(out, "{}", json_line(record, &time.to_string())),
        }
    });
    append();
    // Without that thread, lines are written by whoever says them.
    if let Ok(queue) = Queue::start(format) {
        log.target(Target::Pipe(Box::new(queue)));
    }
    log.init();
}

/// Has a log that is a file appended to, also where it was opened otherwise. Who cuts it to nothing would else find as many zeros
/// in it as there was text before.
fn append() {
    let log = io::stderr();
    let is_file = fstat(&log).is_ok_and(|it| FileType::from_raw_mode(it.st_mode).is_file());
    if is_file && let Ok(flags) = fcntl_getfl(&log) {
        // Where it may not be, it is written as it was opened.
        let _ = fcntl_setfl(&log, flags | OFlags::APPEND);
    }
}

/// Waits, for a moment at most, until all that was said has been written.
pub fn finish() {
    let (written, all_written) = bounded(1);
    if let Some(lines) = LINES.get()
        && lines
            .send_timeout(Line::Mark(written), WRITTEN_WITHIN)
            .is_ok()
    {
        let _ = all_written.recv_timeout(WRITTEN_WITHIN);
    }
}

/// What is said of an event: its level, its message, then `key=value` for what it carries.
fn line(record: &Record) -> String {
    let mut line = OneLine(format!("{:5} ", record.level()));
    // Writing to a String fails only if a value's own Display does; then the rest is missing.
    let _ = write!(line, "{}", record.args());
    let _ = record.key_values().visit(&mut line);
    line.0
}

/// The same as an object; what it carries stands beside the message.
fn json_line(record: &Record, time: &str) -> serde_json::Value {
    let mut fields = Fields(json!({
        "time": time,
        "level": record.level().as_str().to_ascii_lowercase(),
        "target": record.target(),
        "message": record.args().to_string(),
    }));
    let _ = record.key_values().visit(&mut fields);
    fields.0
}

/// Text in which whatever would end the line or move the cursor is escaped.
struct OneLine(String);

impl fmt::Write for OneLine {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                c if is_unseen(c) => self.0.extend(c.escape_default()),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

/// Whether it is no sign itself but does something to others: ends the line, moves the cursor, turns round what is read.
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

impl<'kvs> VisitSource<'kvs> for OneLine {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        Ok(write!(self, " {key}={value}")?)
    }
}

struct Fields(serde_json::Value);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        self.0[key.as_str()] = value.to_string().into();
        Ok(())
    }
}

/// Lines on their way to the thread that writes them.
struct Queue {
    lines: Sender<Line>,
}

enum Line {
    Text(Vec<u8>),
    /// Everything before it has been written.
    Mark(Sender<()>),
}

impl Queue {
    fn start(format: LogFormat) -> io::Result<Queue> {
        let (lines, waiting) = bounded(LINES_WAITING);
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread.spawn(move || write_all(&waiting, format))?;
        let _ = LINES.set(lines.clone());
        Ok(Queue { lines })
    }
}

impl io::Write for Queue {
    /// A whole line at a time, as env_logger does it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lines.try_send(Line::Text(line.to_vec())).is_err() {
            // Relaxed: a count that guards nothing.
            LOST.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(lines: &Receiver<Line>, format: LogFormat) {
    let mut paper = Paper {
        out: io::stderr(),
        format,
        torn: false,
        lost: &LOST,
        told: 0,
    };
    for line in lines {
        match line {
            Line::Text(text) => paper.put(&text),
            // If nobody can read the log, there is nobody to tell.
            Line::Mark(written) => drop(written.send(())),
        }
    }
}

/// What the lines are written on, which may be full and have room again later.
struct Paper<'a, W> {
    out: W,
    format: LogFormat,
    /// The last thing that was written is the beginning of a line.
    torn: bool,
    /// How many lines have been lost so far, here or on the way.
    lost: &'a AtomicU64,
    /// Of how many lost lines it has been told.
    told: u64,
}

impl<W: io::Write> Paper<'_, W> {
    /// Writes a line, whole and as a line of its own, or counts it; and says first how many are missing.
    fn put(&mut self, line: &[u8]) {
        let lost = self.lost.load(Ordering::Relaxed);
        let missing = lost - self.told;
        let is_told = missing == 0 || self.write(notice(self.format, missing, line).as_bytes());
        if is_told {
            self.told = lost;
        }
        if !(is_told && self.write(line)) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn write(&mut self, mut line: &[u8]) -> bool {
        if self.torn && !matches!(self.out.write(b"\n"), Ok(1)) {
            return false;
        }
        self.torn = false;
        while !line.is_empty() {
            match self.out.write(line) {
                Ok(0) => return false,
                Ok(count) => {
                    line = &line[count..];
                    self.torn = !line.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }
}

/// A line that tells how many are missing, of the same time as the line that it stands before.
fn notice(format: LogFormat, missing: u64, before: &[u8]) -> String {
    let words = format_args!(
        "{missing} lines of the log are missing here: it was read too slowly, or could not be written"
    );
    let values = [("lines_lost", missing)];
    let record = Record::builder()
        .level(Level::Warn)
        .target(module_path!())
        .args(words)
        .key_values(&values)
        .build();
    match format {
        LogFormat::Text => {
            let time = before
                .split(|byte| *byte == b' ')
                .next()
                .unwrap_or_default();
            format!("{} {}\n", String::from_utf8_lossy(time), line(&record))
        }
        LogFormat::Json => {
            let before: serde_json::Value = serde_json::from_slice(before).unwrap_or_default();
            let time = before["time"].as_str().unwrap_or_default();
            format!("{}\n", json_line(&record, time))
        }
    }
}

/// How many lines have not been written so far.
pub fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Where lines go, for [`finish`].
static LINES: OnceLock<Sender<Line>> = OnceLock::new();
/// Lines that found no room, here or on the disk.
static LOST: AtomicU64 = AtomicU64::new(0);
/// How many lines may wait to be written.
const LINES_WAITING: usize = 4096;
/// How long the end of the process waits for the last lines.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_it_says() {
        let values = [("tenant", "t1"), ("user", "a\u{1b}[2J\u{202e}b")];
        let record = Record::builder()
            .level(log::Level::Warn)
            .args(format_args!("refused: no\r\nsuch \0 user ü"))
            .key_values(&values)
            .build();
        let expected = r"WARN  refused: no\r\nsuch \u{0} user ü tenant=t1 user=a\u{1b}[2J\u{202e}b";
        assert_eq!(line(&record), expected);
    }

    /// A disk with so many bytes of room.
    struct Disk {
        text: Vec<u8>,
        room: usize,
    }

    impl io::Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.text.extend_from_slice(&bytes[..count]);
            self.room -= count;
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn after_a_full_disk_lines_are_whole_again_and_tell_how_many_are_missing() {
        let disk = Disk {
            text: Vec::new(),
            room: 13,
        };
        let lost = AtomicU64::new(0);
        let mut paper = Paper {
            out: disk,
            format: LogFormat::Text,
            torn: false,
            lost: &lost,
            told: 0,
        };
        for line in ["at1 first\n", "at2 second\n", "at3 third\n"] {
            paper.put(line.as_bytes());
        }
        // Of the words that tell of it, only some find room.
        paper.out.room = 10;
        paper.put(b"at4 fourth\n");
        paper.out.room = 1000;
        paper.put(b"at5 fifth\n");
        let text = String::from_utf8_lossy(&paper.out.text);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[..3], ["at1 first", "at2", "at4 WARN "], "{text}");
        let told = "at5 WARN  3 lines of the log are missing here: ";
        assert!(lines[3].starts_with(told) && lines[3].ends_with(" lines_lost=3"));
        assert_eq!(lines[4..], ["at5 fifth"], "{text}");
    }

    #[test]
    fn in_json_what_is_missing_is_told_like_any_event() {
        let before = br#"{"level":"info","message":"m","target":"t","time":"now"}"#;
        let told = notice(LogFormat::Json, 7, before);
        let told: serde_json::Value = serde_json::from_str(&told).unwrap_or_default();
        let words =
            "7 lines of the log are missing here: it was read too slowly, or could not be written";
        let expected = json!({
            "time": "now",
            "level": "warn",
            "target": "dbbouncer::logging",
            "message": words,
            "lines_lost": "7",
        });
        assert_eq!(told, expected);
    }

    #[test]
    fn in_json_what_an_event_carries_has_fields_of_its_own() {
        let values = [("tenant", "t1")];
        let record = Record::builder()
            .level(log::Level::Warn)
            .target("t")
            .args(format_args!("a \"quote\"\nand a line"))
            .key_values(&values)
            .build();
        let line = json_line(&record, "now").to_string();
        assert_eq!(
            line,
            r#"{"level":"warn","message":"a \"quote\"\nand a line","target":"t","tenant":"t1","time":"now"}"#
        );
    }
}
