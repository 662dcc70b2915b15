//! Texts of the client: read, and made to name shared statements as the backend knows them.

use std::rc::Rc;

use super::super::changes::Change;
use super::super::names::Named;
use super::super::pins::{Pin, Pins};
use super::super::prepared::Key;
use super::super::renamed::Shifts;
use super::super::request::string;
use super::super::sql::{Act, Dialect, Encoding, Mention, Reading, Script, Step, Traces};
use super::super::statement::{Draft, Statement};
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
        let mut meanings = Vec::with_capacity(reading.mentions.len());
        let mentions = std::mem::take(&mut reading.mentions);
        for mention in &mentions {
            // One after another: what one of them executes may deallocate the next.
            let meaning = self.meaning(&reading, mention)?;
            note_meaning(&mut reading, mention, &meaning);
            meanings.push(meaning);
        }
        let needs: Vec<Key> = (meanings.iter())
            .filter_map(|meaning| meaning.key.clone())
            .collect();
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
        match reading.script.as_ref().is_none_or(as_text) {
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

    /// What a statement is that a text names. `None` if a reply must come first.
    fn meaning(&self, reading: &Reading, mention: &Mention) -> Option<Meaning> {
        let concerned =
            |change: &Change| matches!(change, Change::Name { name, .. } if *name == mention.name);
        if self.is_undecided(concerned) {
            return None;
        }
        let named = self.names.get(&mention.name);
        Some(match named {
            _ if is_gone_before(reading, mention) => Meaning {
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
        })
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

/// Whether a text deallocates a statement before it names it.
fn is_gone_before(reading: &Reading, mention: &Mention) -> bool {
    let steps = reading.script.iter().flat_map(|script| &script.steps);
    steps.take(mention.step).any(|step| match &step.act {
        Act::Deallocate(name, _) => *name == mention.name,
        Act::DeallocateAll | Act::DiscardAll => true,
        _ => false,
    })
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
    for (mention, meaning) in mentions.iter().zip(meanings) {
        if let Some(key) = &meaning.key {
            let said = &text[mention.at.clone()];
            let name = key.server_name();
            renamed.extend_from_slice(&text[done..mention.at.start]);
            let by = name.len().cast_signed() - characters(said).cast_signed();
            shifts.push((characters(&renamed), by));
            renamed.extend_from_slice(&name);
            done = mention.at.end;
        }
    }
    renamed.extend_from_slice(&text[done..]);
    (renamed, shifts.into())
}

/// How many characters the database counts in a text; without UTF-8 it is taken that each is a byte.
fn characters(text: &[u8]) -> usize {
    std::str::from_utf8(text).map_or(text.len(), |text| text.chars().count())
}
