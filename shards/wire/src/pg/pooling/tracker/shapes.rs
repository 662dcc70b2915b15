//! Statements whose shape has changed since their client was told it.
//!
//! PostgreSQL refuses to execute them ("cached plan must not change result type"), and drivers rely on that: they read rows
//! by the description that they keep until they hear it. A backend that lacks a statement prepares it as it is now, and
//! would return rows of another shape. So where a client has been told the shape, the statement is described before
//! it is used, once on each backend, and the client's message waits for the answer:
//!
//! ```text
//!   Bind ──▶ as told? ── yes ─────────────────────────────▶ it goes on
//!              │  ▲ no, or not known
//!              ▼  │
//!            Parse (with the types of parameters that were told), Describe, Flush
//!              └─ as it is now, otherwise than told ──────▶ it is refused
//! ```
//!
//! The refusal must be the backend's, since what the client has said before in the batch or the transaction is undone by
//! it: the message is sent with the name of a statement that does not exist, and the error told in the words for what it means.

use std::rc::Rc;

use bytes::Bytes;

use super::super::changes::Unnamed;
use super::super::names::Shared;
use super::super::outbound::Passing;
use super::super::prepared::Key;
use super::super::replies::{Owed, To, What};
use super::super::request::put_about_statement;
use super::super::shape::{Fit, PARAMETERS_LIMIT, ROWS_LIMIT, Shape};
use super::super::statement::{Acceptance, Statement};
use super::Tracker;
use super::errors::field;
use super::link::Link;
use super::provide::Meant;

/// What a Describe is about whose answer is of use.
#[derive(Debug)]
pub(in super::super) struct Described {
    pub(super) statement: Rc<Statement>,
    /// Who goes by the answer.
    pub(super) by: By,
    /// The statement on the backend, and when it was put there.
    pub(super) entry: Option<(Key, u64)>,
    /// In which circumstances, if these are known.
    pub(super) when: Option<Acceptance>,
    /// The ParameterDescription: as it has come, the first half of the answer; or, of what will be refused, as the client is
    /// told it, before the error.
    pub(super) parameters: Option<Bytes>,
}

/// Who goes by a description.
#[derive(Debug)]
pub(super) enum By {
    /// We, to see whether it is as the client was told; of one that was prepared with the types of parameters that the
    /// client was told, or with those that its text gives.
    Us { as_told: bool },
    /// The client, of what it has prepared by this name in this epoch.
    Name { name: Bytes, epoch: u64 },
    /// The client, of its unnamed statement.
    Unnamed,
    /// Nobody at once.
    Nobody,
}

/// Whether a statement is as its client was told, as far as this is being found out for the client's next message.
#[derive(Debug, Default)]
pub(super) enum Comparison {
    /// It is not.
    #[default]
    None,
    /// The backend has been asked.
    Asked,
    /// It has said that of a statement that was prepared as the client was told.
    Heard(Rc<Shape>),
}

/// A statement is not as its client was told.
#[derive(Debug)]
pub(super) struct Changed {
    /// The types of its parameters that the client was told, or, if it was told none, those that they have now.
    pub(super) parameters: Option<Bytes>,
}

/// A portal of a shared statement of which its client has not been told anything.
#[derive(Debug)]
pub(super) struct Bound {
    portal: Bytes,
    /// The client's name for the statement, and when it has prepared it. It may mean another one by now.
    name: Bytes,
    epoch: u64,
    /// When what the backend has of it was used for this.
    used: u64,
}

impl Described {
    pub(super) fn new(statement: &Rc<Statement>, by: By) -> Described {
        Described {
            statement: Rc::clone(statement),
            by,
            entry: None,
            when: None,
            parameters: None,
        }
    }
}

impl Link {
    /// How much of a message of this type is of interest as an answer to a Describe, in bytes.
    pub(super) fn gathers_of_description(&self, kind: u8) -> usize {
        let front = self.replies.front();
        match kind {
            _ if front.is_none_or(|owed| owed.describes.is_none()) => 0,
            b't' => PARAMETERS_LIMIT,
            _ => ROWS_LIMIT,
        }
    }

    /// What was asked may have been skipped because of an error.
    pub(super) fn forget_comparison(&mut self) {
        let ours = |owed: &Owed| owed.to != To::Client && owed.describes.is_some();
        if !self.replies.iter().any(ours) {
            self.comparison = Comparison::None;
        }
    }

    /// The last Bind may have failed; what has its portal's name is another one, then.
    pub(super) fn forget_bound(&mut self) {
        if !self.replies.iter().any(|owed| owed.what == What::Bind) {
            self.bound = None;
        }
    }

    /// Whether the last Bind has succeeded if the client's next message does: it is answered, or in the same batch.
    fn is_bind_certain(&self) -> bool {
        let mut last = self.replies.iter().rev();
        let last = last.find(|owed| matches!(owed.what, What::Bind | What::Sync));
        last.is_none_or(|owed| owed.what == What::Bind)
    }

    /// What has been found out about the statement of the message at hand, which is then forgotten. `None` if the
    /// answer must come first.
    fn take_compared(&mut self) -> Option<Option<Rc<Shape>>> {
        match std::mem::take(&mut self.comparison) {
            Comparison::None => Some(None),
            Comparison::Heard(shape) => Some(Some(shape)),
            Comparison::Asked => {
                self.comparison = Comparison::Asked;
                None
            }
        }
    }
}

impl Tracker {
    /// Sees to it that the backend has a shared statement, and that it is as the client was told. `None` if a reply must
    /// come first.
    pub(super) fn provide_as_told(
        &mut self,
        key: &Key,
        shared: &Shared,
        input: &mut Passing<'_>,
    ) -> Option<Result<(), Changed>> {
        let Some(told) = &shared.told else {
            self.provide_here(key, shared.epoch, input);
            return Some(Ok(()));
        };
        let link = self.link.as_mut()?;
        if let Some(now) = link.take_compared()? {
            return Some(compare(told, &now));
        }
        let entry = link.memory.prepared.touch(key);
        let fit = entry
            .filter(|entry| entry.epoch >= shared.epoch.max(1))
            .map_or(Fit::Otherwise, |entry| entry.fit(told));
        // One that somebody else has prepared, amid changes that were rolled back, say, is not described either: the
        // database might refuse to. Its types stay: else it would be prepared in turns for him, who was told none, and for this one.
        let types = match fit {
            Fit::Same => {
                self.tally.prepared_hits += 1;
                return Some(Ok(()));
            }
            Fit::Unknown => None,
            Fit::Otherwise => Some(told),
        };
        let now = self.commons.epoch();
        self.prepare(key, now, types, To::NobodyUnlessError, input.ours());
        let as_told = types.is_some();
        let entry = self.entry_of(key);
        if let (Some((key, made)), Some(link)) = (&entry, &mut self.link)
            && as_told
            && told.is_all_said()
        {
            link.memory.prepared.describe(key, *made, told);
            return Some(Ok(()));
        }
        let mut described = Described::new(&key.statement, By::Us { as_told });
        described.entry = entry;
        self.ask_shape(&key.server_name(), described, input);
        None
    }

    /// The unnamed statement, if the backend has it just as the client means it, and nothing is to be found out.
    pub(super) fn has_unnamed(&self) -> Option<Meant> {
        let (Unnamed::Known(statement, _), Some(link)) = (&self.unnamed, &self.link) else {
            return None;
        };
        let has = !statement.names_others
            && link.memory.unnamed == self.unnamed
            && matches!(link.comparison, Comparison::None);
        has.then(|| Meant {
            server_name: None,
            script: statement.script.clone(),
            traces: statement.traces,
            changed: None,
            untold: None,
        })
    }

    /// The same of the unnamed statement, which the backend has, or has not.
    pub(super) fn provide_unnamed_as_told(
        &mut self,
        statement: &Rc<Statement>,
        told: Option<&Rc<Shape>>,
        input: &mut Passing<'_>,
    ) -> Option<Result<(), Changed>> {
        let link = self.link.as_mut()?;
        if let (Some(now), Some(told)) = (link.take_compared()?, told) {
            let compared = compare(told, &now);
            if compared.is_err() {
                // It is not what the client means; nor is it to be taken for that.
                link.memory.unnamed = Unnamed::SPOILT;
            }
            return Some(compared);
        }
        if link.memory.unnamed == self.unnamed {
            return Some(Ok(()));
        }
        self.prepare_unnamed(statement, told, input);
        if told.is_none_or(|told| told.is_all_said()) {
            return Some(Ok(()));
        }
        let described = Described::new(statement, By::Us { as_told: true });
        self.ask_shape(b"", described, input);
        None
    }

    fn ask_shape(&mut self, server_name: &[u8], described: Described, input: &mut Passing<'_>) {
        put_about_statement(input.ours(), b'D', server_name);
        let mut owed = Owed::new(What::DescribeStatement, To::NobodyUnlessError);
        owed.describes = Some(Box::new(described));
        self.push_extended(owed);
        if let Some(link) = &mut self.link {
            link.comparison = Comparison::Asked;
        }
    }

    /// A statement on the backend, and when it was put there.
    pub(super) fn entry_of(&self, key: &Key) -> Option<(Key, u64)> {
        let entry = self.link.as_deref()?.memory.prepared.get(key)?;
        Some((key.clone(), entry.made))
    }

    /// Notes of which statement the portal is that a Bind makes, if its description would be the first that the client
    /// is told of that.
    pub(super) fn note_bound(&mut self, portal: &[u8], untold: Option<(Bytes, u64)>) {
        let Some(link) = &mut self.link else {
            return;
        };
        let Some((name, epoch)) = untold else {
            link.bound = None;
            return;
        };
        link.bound = Some(Bound {
            portal: match portal {
                b"" => Bytes::new(),
                portal => Bytes::copy_from_slice(portal),
            },
            name,
            epoch,
            used: link.memory.prepared.now(),
        });
    }

    /// What the description of a portal tells the client.
    pub(super) fn described_by_portal(&self, portal: &[u8]) -> Option<Box<Described>> {
        let link = self.link.as_deref()?;
        let bound = link.bound.as_ref().filter(|bound| bound.portal == portal)?;
        let (name, shared) = self.names.shared(&bound.name)?;
        let untold = shared.epoch == bound.epoch && shared.told.is_none();
        if !untold || !shared.statement.keeps_shape() || !link.is_bind_certain() {
            return None;
        }
        let mut described = Described::new(&shared.statement, By::name(name, shared));
        let key = self.key(&shared.statement);
        let entry = link.memory.prepared.get(&key);
        // One of another context, or that has taken its place since then, is not what the portal is of.
        let entry = entry.filter(|entry| entry.used == bound.used && !self.is_obscured());
        described.entry = entry.map(|entry| (key, entry.made));
        Some(Box::new(described))
    }

    /// What the backend says of what is at the front.
    pub(super) fn described(&mut self, kind: u8, body: &[u8]) {
        let Some(link) = &mut self.link else {
            return;
        };
        let front = link.replies.front_mut();
        let Some(describes) = front.and_then(|front| front.describes.as_mut()) else {
            return;
        };
        if kind == b't' {
            describes.parameters = Some(Bytes::copy_from_slice(body));
            return;
        }
        let rows = (kind == b'T').then_some(body);
        let shape = Shape::new(describes.parameters.take(), rows, self.commons.budget());
        let shape = describes.statement.describe(shape, describes.when);
        if let Some((key, made)) = &describes.entry {
            link.memory.prepared.describe(key, *made, &shape);
        }
        match &describes.by {
            By::Us { as_told: true } => link.comparison = Comparison::Heard(shape),
            By::Us { as_told: false } => link.comparison = Comparison::None,
            By::Name { name, epoch } => {
                let epoch = *epoch;
                self.names.tell(name, epoch, &shape);
                link.replies.tell(epoch, &shape);
            }
            By::Unnamed => match &mut self.unnamed {
                Unnamed::Known(statement, told) if *statement == describes.statement => {
                    *told = Some(shape);
                }
                _ => {}
            },
            By::Nobody => {}
        }
    }

    /// Whether an error is the backend's refusal of what was sent to be refused.
    pub(super) fn is_refused(&self, body: &[u8]) -> bool {
        let front = self.link.as_deref().and_then(|link| link.replies.front());
        front.is_some_and(|front| front.refused)
            && field(body, b'C') == Some(INVALID_SQL_STATEMENT_NAME)
    }

    /// The ParameterDescription that comes before such an error if the client has said Describe, and has not come to it.
    pub(super) fn parameters_before(&self, body: &[u8]) -> Option<&Bytes> {
        let front = self.link.as_deref()?.replies.front()?;
        let of_clients = match front.to {
            To::Client => self.is_refused(body),
            _ => self.kept.first() == Some(&b'D'),
        };
        let described = front.describes.as_ref().filter(|_| of_clients)?;
        described.parameters.as_ref()
    }
}

/// Whether a statement is as its client was told.
fn compare(told: &Shape, now: &Shape) -> Result<(), Changed> {
    if now.agrees(told) {
        return Ok(());
    }
    let parameters = told.parameters().or_else(|| now.parameters());
    Err(Changed {
        parameters: parameters.cloned(),
    })
}

impl By {
    pub(super) fn name(name: &Bytes, shared: &Shared) -> By {
        By::Name {
            name: name.clone(),
            epoch: shared.epoch,
        }
    }
}

/// The name of a statement that no backend has, by which it refuses a message.
pub(super) const REFUSED: Bytes = Bytes::from_static(b"dbb_~of another shape");

/// The body of PostgreSQL's error. Drivers look at the routine, too.
pub(super) const CHANGED: &[u8] = b"SERROR\0VERROR\0C0A000\0\
    Mcached plan must not change result type\0Fplancache.c\0RRevalidateCachedQuery\0\0";

/// What the backend says of a statement that it has not.
const INVALID_SQL_STATEMENT_NAME: &[u8] = b"26000";

#[cfg(test)]
mod tests;
