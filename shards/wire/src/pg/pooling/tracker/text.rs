//! Texts of the client: read, and made to name shared statements as the backend knows them.

use std::collections::HashSet;
use std::rc::Rc;

use bytes::Bytes;

use super::super::changes::Change;
use super::super::names::Named;
use super::super::pins::{Pin, Pins};
use super::super::prepared::Key;
use super::super::renamed::Shifts;
use super::super::request::string;
use super::super::sql::{Act, Dialect, Encoding, Mention, Reading, Script, Step, Traces};
use super::super::statement::{Draft, Statement};
use super::super::work;
use super::Tracker;

/// A text that has been read.
#[derive(Default)]
pub(super) struct Text {
    /// As it must be sent, if not as it is.
    pub(super) renamed: Option<Vec<u8>>,
    /// What its statements do to the session.
    pub(super) script: Option<Rc<Script>>,
    /// Where what must be sent differs from the text.
    pub(super) shifts: Option<Shifts>,
    /// The shared statements that it names, which the backend must have.
    pub(super) needs: Vec<Key>,
    /// What it may leave behind beside that.
    pub(super) traces: Traces,
}

impl Text {
    /// One that is too long to be read.
    pub(super) fn unread() -> Text {
        Text {
            script: Some(Rc::default()),
            traces: Traces::ALL,
            ..Text::default()
        }
    }
}

/// What a statement that names others comes to.
pub(super) struct Resolved {
    pub(super) instead: Option<Rc<Statement>>,
    /// The shared statements that it names, which the backend must have.
    pub(super) needs: Vec<Key>,
    /// What its execution does to the session.
    pub(super) script: Option<Rc<Script>>,
}

/// What a statement that a text names is.
struct Meaning {
    /// Its key, if it is shared.
    key: Option<Key>,
    /// What its execution does to the session.
    script: Option<Rc<Script>>,
}

impl Tracker {
    /// Reads a text. `None` if a reply must come first.
    pub(super) fn read(&self, text: &[u8]) -> Option<Text> {
        if self.waits_to_read() {
            return None;
        }
        if !self.is_legible() {
            // Nobody knows in which way.
            return Some(Text::unread());
        }
        let mut reading = self.commons.read(text, self.dialect());
        if reading.mentions.is_empty() {
            return Some(Text {
                renamed: None,
                script: reading.script.map(Rc::new),
                shifts: None,
                needs: Vec::new(),
                traces: reading.traces,
            });
        }
        let undecided = self.undecided_names();
        let mut meanings = Vec::with_capacity(reading.mentions.len());
        let mut gone = Gone::default();
        let mentions = std::mem::take(&mut reading.mentions);
        for mention in &mentions {
            if undecided.contains(&mention.name) {
                return None;
            }
            // One after another: what one of them executes may deallocate the next.
            gone.go_on(mention.step, reading.script.as_ref());
            let meaning = self.meaning(mention, &gone);
            note_meaning(&mut reading, mention, &meaning);
            meanings.push(meaning);
        }
        let needs = needs(&meanings);
        if are_too_many(&needs) {
            return Some(Text::unread());
        }
        let (renamed, shifts) = match needs.is_empty() {
            true => (None, None),
            false => {
                let (renamed, shifts) = rename(text, &mentions, &meanings);
                (Some(renamed), Some(shifts))
            }
        };
        Some(Text {
            renamed,
            shifts,
            script: reading.script.map(Rc::new),
            needs,
            traces: reading.traces,
        })
    }

    /// Reads the text of a Parse.
    pub(super) fn read_source(&self, source: &[u8]) -> Reading {
        // Without a NUL it is no Parse: the backend will say so.
        let (text, types) = string(source).unwrap_or_default();
        if !self.is_legible() {
            // Nobody knows in which way.
            return Reading::unread();
        }
        let reading = self.commons.read(text, self.dialect());
        let as_text = |script: &Script| !script.is_bound() || script.binds_texts(types);
        let is_short = reading.mentions.is_empty() || text.len() <= NAMING_LIMIT;
        match is_short && reading.script.as_ref().is_none_or(as_text) {
            true => reading,
            false => Reading::unread(),
        }
    }

    /// What a statement that names others comes to now: the statement that must be used in its stead
    /// if one of those is shared, and what it does to the session. `None` if a reply must come first.
    pub(super) fn resolve(&self, statement: &Statement) -> Option<Resolved> {
        let (text, types) = string(&statement.source)?;
        let read = self.read(text)?;
        let instead = read.renamed.map(|renamed| {
            self.commons.share(Draft {
                source: [&renamed[..], b"\0", types].concat().into(),
                script: read.script.clone(),
                names_others: false,
                traces: read.traces,
            })
        });
        Some(Resolved {
            instead,
            needs: read.needs,
            script: read.script,
        })
    }

    /// The names of which a reply must come before it is certain what they mean.
    fn undecided_names(&self) -> HashSet<&Bytes> {
        let link = self.link.as_deref();
        let changes = link.into_iter().flat_map(|link| link.replies.before_sync());
        changes
            .filter_map(|change| match change {
                Change::Name { name, .. } => Some(name),
                _ => None,
            })
            .collect()
    }

    /// What a statement is that a text names, where these are gone.
    fn meaning(&self, mention: &Mention, gone: &Gone) -> Meaning {
        match self.names.get(&mention.name) {
            _ if gone.contains(&mention.name) => Meaning {
                key: None,
                script: None,
            },
            Some(Named::Shared(shared)) => Meaning {
                key: Some(self.key(&shared.statement)),
                script: shared.statement.script.clone(),
            },
            Some(Named::Own(script)) => Meaning {
                key: None,
                script: script.clone(),
            },
            Some(Named::BySql) | None => Meaning {
                key: None,
                script: None,
            },
        }
    }

    /// How the client's texts are to be read.
    pub(super) fn dialect(&self) -> Dialect<'_> {
        if self.usual.get() {
            return Dialect::USUAL;
        }
        let told = |name| self.told.as_ref().and_then(|told| told.get(name));
        let conforming = told("standard_conforming_strings");
        let dialect = Dialect {
            backslash_escapes: conforming.is_some_and(|value| *value == b"off"[..]),
            encoding: told("client_encoding").map_or(Encoding::UTF8, |name| Encoding::named(name)),
        };
        self.usual.set(dialect.is_usual());
        dialect
    }
}

/// What a text has deallocated before the place that has been come to. (A text may name as many statements as it has
/// steps, so that all of these cannot be gone through for each of them.)
#[derive(Default)]
struct Gone {
    all: bool,
    names: HashSet<Bytes>,
    /// How many steps have been gone through.
    steps: usize,
}

impl Gone {
    /// Goes on to a step, behind those that have been gone through.
    fn go_on(&mut self, to: usize, script: Option<&Script>) {
        let steps = script.map_or(&[][..], |script| &script.steps);
        let to = to.min(steps.len());
        for step in &steps[self.steps.min(to)..to] {
            work::note(1);
            match &step.act {
                Act::Deallocate(name, _) => {
                    self.names.insert(name.clone());
                }
                Act::DeallocateAll | Act::DiscardAll => self.all = true,
                _ => {}
            }
        }
        self.steps = to;
    }

    fn contains(&self, name: &Bytes) -> bool {
        self.all || self.names.contains(name)
    }
}

/// The shared statements that are meant, each once however often it is named: it is sent to the backend for each.
fn needs(meanings: &[Meaning]) -> Vec<Key> {
    let mut known = HashSet::new();
    let keys = meanings.iter().filter_map(|meaning| meaning.key.as_ref());
    // They are all of the session's present context.
    keys.filter(|key| known.insert(key.statement.id))
        .cloned()
        .collect()
}

/// Whether the backend would have to be given more before one text than is right.
fn are_too_many(needs: &[Key]) -> bool {
    let sources = needs.iter().map(|key| key.statement.source.len());
    needs.len() > NEEDS_LIMIT || needs.len() > 1 && sources.sum::<usize>() > NEEDS_BYTES_LIMIT
}

/// Notes in a script what its text does by naming a statement: that it deallocates it, or what that
/// does when it is executed.
fn note_meaning(reading: &mut Reading, mention: &Mention, meaning: &Meaning) {
    if reading.script.is_none() && meaning.script.is_none() {
        return;
    }
    let steps = &mut reading.script.get_or_insert_default().steps;
    steps.resize_with(reading.count.max(steps.len()), Step::default);
    let Some(step) = steps.get_mut(mention.step) else {
        return;
    };
    match (&mut step.act, &meaning.script) {
        (Act::Deallocate(_, key), _) => key.clone_from(&meaning.key),
        (_, Some(executed)) => {
            let unread = || Step {
                pins: Pins::from_iter([Pin::Unknown]),
                ..Step::default()
            };
            *step = executed.steps.first().cloned().unwrap_or_else(unread);
        }
        _ => {}
    }
}

/// A text in which shared statements stand under their names on the backend, and where it differs
/// from what it was.
fn rename(text: &[u8], mentions: &[Mention], meanings: &[Meaning]) -> (Vec<u8>, Shifts) {
    let mut renamed = Vec::with_capacity(text.len());
    let mut shifts = Vec::new();
    let mut done = 0;
    // Characters of it so far.
    let mut at = 0;
    for (mention, meaning) in mentions.iter().zip(meanings) {
        if let Some(key) = &meaning.key {
            let said = &text[mention.at.clone()];
            let name = key.server_name();
            let before = &text[done..mention.at.start];
            renamed.extend_from_slice(before);
            at += characters(before);
            let by = name.len().cast_signed() - characters(said).cast_signed();
            shifts.push((at, by));
            renamed.extend_from_slice(&name);
            at += name.len();
            done = mention.at.end;
        }
    }
    renamed.extend_from_slice(&text[done..]);
    (renamed, shifts.into())
}

/// How many characters the database counts in a text; without UTF-8 it is taken that each is a byte.
fn characters(text: &[u8]) -> usize {
    work::note(text.len());
    std::str::from_utf8(text).map_or(text.len(), |text| text.chars().count())
}

/// The longest statement that names others and is read, in bytes: it is read again, and made anew with the names that these
/// have on the backend, for each Bind and each Describe of it, which have a few bytes.
const NAMING_LIMIT: usize = 4 * 1024;

/// How many shared statements a text may name that is read: the backend must have all of them before it.
const NEEDS_LIMIT: usize = 1000;

/// Of how many bytes together, if it is more than one.
const NEEDS_BYTES_LIMIT: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::super::super::names::Shared;
    use super::super::super::{Commons, PreparedStatements, Reset, Rules};
    use super::*;
    use crate::pg::Parameters;

    /// A client that has prepared these.
    fn client(names: &[&'static str]) -> Tracker {
        let same = |name: &&'static str| (Bytes::from_static(name.as_bytes()), name.to_string());
        client_of(names.iter().map(same))
    }

    /// A client that has prepared these sources by these names.
    fn client_of(statements: impl Iterator<Item = (Bytes, String)>) -> Tracker {
        let commons = Commons::new(Rules {
            prepared_statements: PreparedStatements::Multiplex,
            max_prepared_statements: 1,
            reset: Reset::Smart,
        });
        let mut tracker = Tracker::new(Rc::clone(&commons), &Parameters::default()).unwrap();
        for (name, source) in statements {
            let shared = Shared {
                statement: commons.share(Draft::new(source.as_bytes(), Reading::default())),
                epoch: 1,
                told: None,
            };
            tracker.names.set(&name, Some(Named::Shared(shared)));
        }
        tracker
    }

    #[test]
    fn a_text_that_names_many_statements_is_gone_through_once() {
        let tracker = client(&["s", "t"]);
        let gone: Vec<String> = (0..5000).map(|n| format!("deallocate a{n};")).collect();
        for text in ["execute s;".repeat(5000), gone.concat()] {
            let work = work::of(|| tracker.read(text.as_bytes()));
            assert!(work <= 4 * text.len(), "{work} for {}", text.len());
        }
    }

    #[test]
    fn a_statement_is_needed_once_however_often_it_is_named() {
        let tracker = client(&["s", "t"]);
        let read = tracker.read(b"execute s; execute t; execute s; deallocate t; execute t");
        let read = read.unwrap();
        assert_eq!(read.needs.len(), 2);
        let [s, t] = [0, 1].map(|at| read.needs[at].server_name());
        let [s, t] = [s, t].map(|name| String::from_utf8(name.to_vec()).unwrap());
        let renamed = format!("execute {s}; execute {t}; execute {s}; deallocate {t}; execute t");
        assert_eq!(read.renamed.unwrap(), renamed.as_bytes());
        // Each is 22 characters long.
        assert_eq!(
            read.shifts.unwrap()[..],
            [(8, 21), (40, 21), (72, 21), (107, 21)]
        );
    }

    #[test]
    fn no_more_is_needed_for_one_text_than_a_backend_is_given_at_a_time() {
        let long = |n: usize| format!("{n}{}", "x".repeat(NEEDS_BYTES_LIMIT / 8 - 1));
        let tracker = client_of((0..9).map(|n| (format!("s{n}").into(), long(n))));
        for (count, known) in [(8, true), (9, false)] {
            let text: Vec<String> = (0..count).map(|n| format!("execute s{n};")).collect();
            let read = tracker.read(text.concat().as_bytes()).unwrap();
            assert_eq!(!read.needs.is_empty(), known, "{count}");
            assert_eq!(read.script.is_some_and(|script| script.is_unread()), !known);
        }
    }

    #[test]
    fn what_names_others_at_length_is_not_read() {
        let tracker = client(&["s"]);
        for (blanks, known) in [(10, true), (NAMING_LIMIT, false)] {
            let source = format!("execute s{}\0\0\0", " ".repeat(blanks));
            let reading = tracker.read_source(source.as_bytes());
            assert_eq!(reading != Reading::unread(), known, "{blanks}");
        }
    }
}
