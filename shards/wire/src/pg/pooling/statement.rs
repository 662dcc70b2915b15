//! Prepared statements as a tenant's clients share them.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::rc::{Rc, Weak};

use bytes::Bytes;

use super::budget::{Budget, Share};
use super::prepared::PREFIX;
use super::shape::Shape;
use super::sql::{Reading, Script, Traces, is_planned};

/// A statement: its text, the types of its parameters, and what it does to a session.
#[derive(Debug)]
pub(super) struct Statement {
    /// Unique among the statements of a tenant on its shard.
    pub(super) id: u64,
    /// Makes names on backends that nobody can guess.
    pub(super) secret: u64,
    /// A Parse's body behind the statement's name: the query, its NUL, the parameters' types.
    pub(super) source: Bytes,
    /// What its execution does to the session; `None` for nothing.
    pub(super) script: Option<Rc<Script>>,
    /// Its text names other statements (EXECUTE, DEALLOCATE). What these are is found out when it is
    /// used.
    pub(super) names_others: bool,
    /// What its execution may leave behind beside that.
    pub(super) traces: Traces,
    /// Whether PostgreSQL plans it, once that has been asked: it is found out behind as much white space as there is.
    planned: OnceCell<bool>,
    /// What it is called on backends where nothing is set that decides its analysis, once it has been.
    pub(super) server_name: OnceCell<Bytes>,
    /// When a backend has accepted it last, outside of transactions and without a remark.
    accepted: Cell<Option<Acceptance>>,
    /// What a backend has said of it when it described it last, and in which circumstances, if these are known.
    described: RefCell<Option<(Option<Acceptance>, Rc<Shape>)>>,
    /// What a backend has said last of a portal.
    portal: RefCell<Option<Rc<Shape>>>,
    _held: Share,
}

/// The circumstances in which a backend accepts a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Acceptance {
    /// What decided its analysis; see [`Settings::context`](super::settings::Settings::context).
    pub(super) context: u64,
    /// How often the schema had been changed before.
    pub(super) schema: u64,
}

impl Statement {
    /// A backend has accepted it.
    pub(super) fn accept(&self, acceptance: Acceptance) {
        self.accepted.set(Some(acceptance));
    }

    /// What makes one more like it.
    pub(super) fn draft(&self) -> Draft {
        Draft {
            source: self.source.clone(),
            script: self.script.clone(),
            names_others: self.names_others,
            traces: self.traces,
        }
    }

    /// Whether it is of this source, in which this has been read.
    pub(super) fn is(&self, source: &[u8], reading: &Reading) -> bool {
        self.source == source
            && self.script.as_deref() == reading.script.as_ref()
            && self.traces == reading.traces
            && self.names_others != reading.mentions.is_empty()
    }

    /// A backend has described it so. The shape that others have been told of, if it is the same.
    pub(super) fn describe(&self, shape: Shape, when: Option<Acceptance>) -> Rc<Shape> {
        if shape.is_of_portal() {
            let mut portal = self.portal.borrow_mut();
            let known = portal.take().filter(|known| known.is(&shape));
            return Rc::clone(portal.insert(known.unwrap_or_else(|| Rc::new(shape))));
        }
        let mut described = self.described.borrow_mut();
        let shape = match described.take() {
            Some((_, known)) if known.is(&shape) => known,
            _ => Rc::new(shape),
        };
        *described = Some((when, Rc::clone(&shape)));
        shape
    }

    /// Whether a backend has described it as of now.
    pub(super) fn is_described(&self, as_now: Acceptance) -> bool {
        matches!(&*self.described.borrow(), Some((Some(then), _)) if *then == as_now)
    }

    /// The body of the ParameterDescription of a statement that returns nothing, if that is known as of now.
    pub(super) fn described_as_nothing(&self, as_now: Acceptance) -> Option<Bytes> {
        match &*self.described.borrow() {
            Some((Some(then), shape)) if *then == as_now && shape.is_nothing() => {
                shape.parameters().cloned()
            }
            _ => None,
        }
    }
}

impl Statement {
    /// Whether PostgreSQL holds it to the shape that it had.
    pub(super) fn keeps_shape(&self) -> bool {
        !self.names_others && *self.planned.get_or_init(|| is_planned(&self.source))
    }
}

/// The number of the statement that is called so on a backend, in whichever context ([`Key::server_name`]).
///
/// [`Key::server_name`]: super::prepared::Key::server_name
pub(super) fn numbered(server_name: &[u8]) -> Option<u64> {
    let rest = server_name.strip_prefix(PREFIX.as_bytes())?;
    let digits = rest.split(|&byte| byte == b'_').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Two statements are the same if they are one.
impl PartialEq for Statement {
    fn eq(&self, other: &Statement) -> bool {
        self.id == other.id
    }
}

impl Eq for Statement {}

/// All statements that somebody holds, found by their source.
#[derive(Debug)]
pub(super) struct Statements {
    budget: Rc<Budget>,
    by_source: HashMap<Bytes, Weak<Statement>>,
    last_id: u64,
    secrets: RandomState,
    /// How many there may be before those that nobody holds any more are looked for.
    sweep_at: usize,
    /// How many bytes have come since.
    unswept: usize,
}

impl Statements {
    /// None yet.
    pub(super) fn charged_to(budget: &Rc<Budget>) -> Statements {
        Statements {
            budget: Rc::clone(budget),
            by_source: HashMap::new(),
            last_id: 0,
            // Of random keys.
            secrets: RandomState::new(),
            sweep_at: 0,
            unswept: 0,
        }
    }

    /// The one of this source that somebody already holds.
    pub(super) fn known(&self, draft: &Draft) -> Option<Rc<Statement>> {
        let known = self.by_source.get(&draft.source).and_then(Weak::upgrade)?;
        // Where strings are read otherwise, the same text may do otherwise.
        (known.script == draft.script && known.traces == draft.traces).then_some(known)
    }

    /// The statement of this source: the one that somebody already holds, or a new one.
    pub(super) fn share(&mut self, draft: Draft) -> Rc<Statement> {
        if let Some(known) = self.known(&draft) {
            return known;
        }
        if self.by_source.len() >= self.sweep_at || self.unswept >= SWEEP_BYTES {
            self.by_source.retain(|_, held| held.strong_count() > 0);
            self.sweep_at = (2 * self.by_source.len()).max(SWEEP_FROM);
            self.unswept = 0;
        }
        self.unswept += draft.source.len();
        let statement = Rc::new(self.number(draft));
        self.by_source
            .insert(statement.source.clone(), Rc::downgrade(&statement));
        statement
    }

    /// The statement of this source, if a backend has accepted it in these circumstances.
    pub(super) fn accepted(&self, source: &[u8], as_now: Acceptance) -> Option<Rc<Statement>> {
        let known = self.by_source.get(source).and_then(Weak::upgrade)?;
        (known.accepted.get() == Some(as_now)).then_some(known)
    }

    /// A statement that is nobody else's.
    pub(super) fn own(&mut self, draft: Draft) -> Rc<Statement> {
        Rc::new(self.number(draft))
    }

    fn number(&mut self, draft: Draft) -> Statement {
        self.last_id += 1;
        Statement {
            id: self.last_id,
            secret: self.secrets.hash_one(self.last_id),
            _held: Share::of_text(&self.budget, draft.source.len() + OVERHEAD),
            source: draft.source,
            script: draft.script,
            names_others: draft.names_others,
            traces: draft.traces,
            planned: OnceCell::new(),
            server_name: OnceCell::new(),
            accepted: Cell::default(),
            described: RefCell::default(),
            portal: RefCell::default(),
        }
    }
}

/// What makes a statement, before it has its number.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) source: Bytes,
    pub(super) script: Option<Rc<Script>>,
    pub(super) names_others: bool,
    pub(super) traces: Traces,
}

impl Draft {
    /// Of the source of a Parse, and what has been read in it.
    pub(super) fn new(source: &[u8], reading: Reading) -> Draft {
        Draft {
            source: Bytes::copy_from_slice(source),
            names_others: !reading.mentions.is_empty(),
            traces: reading.traces,
            script: reading.script.map(Rc::new),
        }
    }
}

/// Fewest statements at which a sweep is worth its while.
const SWEEP_FROM: usize = 256;

/// So many bytes of texts make it worth its while, too: one that nobody holds is kept until then.
const SWEEP_BYTES: usize = 4 * 1024 * 1024;

/// What a statement takes beside its text, in bytes, roughly.
const OVERHEAD: usize = 384;

#[cfg(test)]
mod tests {
    use super::super::prepared::Key;
    use super::super::work;
    use super::*;

    fn draft(source: &'static str) -> Draft {
        Draft {
            source: Bytes::from_static(source.as_bytes()),
            script: None,
            names_others: false,
            traces: Traces::default(),
        }
    }

    #[test]
    fn equal_sources_are_one_statement_as_long_as_somebody_holds_it() {
        let mut statements = Statements::charged_to(&Budget::of(0));
        let one = statements.share(draft("select 1\0\0\0"));
        assert_eq!(one, statements.share(draft("select 1\0\0\0")));
        assert_ne!(one, statements.share(draft("select 1\0\0\x01\0\0\0\x17")));
        let id = one.id;
        drop(one);
        assert_ne!(statements.share(draft("select 1\0\0\0")).id, id);
    }

    #[test]
    fn nobody_can_guess_what_it_is_called_on_a_backend() {
        let name = |context| {
            let mut statements = Statements::charged_to(&Budget::of(0));
            let statement = statements.share(draft("select 1\0\0\0"));
            Key { statement, context }.server_name()
        };
        for context in [0, 7] {
            let (one, other) = (name(context), name(context));
            assert_eq!((numbered(&one), numbered(&other)), (Some(1), Some(1)));
            assert_ne!(one, other);
        }
    }

    #[test]
    fn what_it_is_held_to_is_found_out_once() {
        let mut statements = Statements::charged_to(&Budget::of(0));
        let source = format!("/*{}*/ select 1\0\0\0", " ".repeat(10_000));
        let long = statements.share(Draft {
            source: source.clone().into(),
            ..draft("")
        });
        let work = work::of(|| (0..100).for_each(|_| assert!(long.keeps_shape())));
        assert!(work <= source.len(), "{work}");
    }

    #[test]
    fn a_name_on_the_backend_has_a_number() {
        for (name, number) in [
            ("dbb_7", Some(7)),
            ("dbb_7_00000000000000ff", Some(7)),
            ("dbb_~7", None),
            ("dbb_", None),
            ("x_7", None),
        ] {
            assert_eq!(numbered(name.as_bytes()), number, "{name}");
        }
    }

    #[test]
    fn what_nobody_holds_is_forgotten() {
        let mut statements = Statements::charged_to(&Budget::of(0));
        for number in 0..10 * SWEEP_FROM {
            statements.share(Draft {
                source: number.to_string().into(),
                ..draft("")
            });
        }
        assert!(statements.by_source.len() <= SWEEP_FROM);
    }
}
