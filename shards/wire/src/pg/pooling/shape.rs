//! What a statement takes and returns, as a client has been told and reads its rows by.
//!
//! PostgreSQL refuses to execute a statement whose result is of another type than when it was prepared. It compares the
//! columns' names, types, type modifiers and collations (in `tupdesc.c`: `equalRowTypes` since version 17, `equalTupleDescs`
//! before). So do we, as far as a description tells: not collations, nor which domain it is, whose base type is told in its
//! stead; and not names beyond ASCII, which come in whatever encoding the client has set. Types of parameters it keeps as
//! they were found first.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

use bytes::{Buf, Bytes};

use super::budget::{Budget, Share};
use super::request::string;

/// The shape of a statement: of what is returned, little more than whether it is the same.
#[derive(Debug)]
pub(super) struct Shape {
    /// A digest of the columns' names and types; `None` if nothing is returned.
    columns: Option<u64>,
    /// What a description of the statement says beyond that; that of a portal does not.
    detail: Option<Detail>,
    _held: Share,
}

#[derive(Debug, PartialEq, Eq)]
struct Detail {
    /// The body of the ParameterDescription, if not cut at [`PARAMETERS_LIMIT`].
    parameters: Bytes,
    /// A digest of the columns' type modifiers. (Those that a portal's description gives may differ, as the planner may
    /// have put something simpler in an expression's place.)
    modifiers: u64,
}

/// How a statement on a backend stands to what a client has been told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// It is as the client was told.
    Same,
    /// Not enough is known of it.
    Unknown,
    /// It is not.
    Otherwise,
}

impl Shape {
    /// By the body of a RowDescription, `None` for NoData, behind a ParameterDescription, unless a portal was described.
    pub(super) fn new(
        parameters: Option<Bytes>,
        rows: Option<&[u8]>,
        budget: &Rc<Budget>,
    ) -> Shape {
        let (columns, modifiers) = rows.map(digests).unzip();
        let held = parameters.as_ref().map_or(0, Bytes::len) + OVERHEAD;
        Shape {
            columns,
            detail: parameters.map(|parameters| Detail {
                parameters,
                modifiers: modifiers.unwrap_or_default(),
            }),
            _held: Share::of_text(budget, held),
        }
    }

    /// Whether the statement returns no rows.
    pub(super) fn is_nothing(&self) -> bool {
        self.columns.is_none()
    }

    /// Whether there is nothing to compare once the statement is prepared with the types of parameters that were told:
    /// it returns nothing, and they are the system's own.
    pub(super) fn is_all_said(&self) -> bool {
        let known = |parameters: &Bytes| {
            let (oids, _) = parameters.get(2..).unwrap_or_default().as_chunks();
            oids.iter()
                .all(|oid| u32::from_be_bytes(*oid) < FIRST_NORMAL)
        };
        self.is_nothing() && (self.is_of_portal() || self.parameters().is_some_and(known))
    }

    /// Whether it is what the description of a portal tells.
    pub(super) fn is_of_portal(&self) -> bool {
        self.detail.is_none()
    }

    /// The body of the ParameterDescription, if it is known as a whole.
    pub(super) fn parameters(&self) -> Option<&Bytes> {
        let parameters = &self.detail.as_ref()?.parameters;
        (parameters.len() < PARAMETERS_LIMIT).then_some(parameters)
    }

    /// Whether all is the same that is known of both.
    pub(super) fn agrees(&self, other: &Shape) -> bool {
        let details = self.detail.as_ref().zip(other.detail.as_ref());
        self.columns == other.columns && details.is_none_or(|(one, other)| one == other)
    }

    /// How a statement of this shape, prepared with the types that its client gave or with those of `typed`, stands to
    /// what a client has been told.
    pub(super) fn fit(&self, told: &Shape, typed: bool) -> Fit {
        match (&self.detail, &told.detail) {
            _ if !self.agrees(told) => Fit::Otherwise,
            (None, Some(_)) => Fit::Unknown,
            (_, None) if typed => Fit::Otherwise,
            _ => Fit::Same,
        }
    }

    /// Whether there is nothing in the one that is not in the other.
    pub(super) fn is(&self, other: &Shape) -> bool {
        self.columns == other.columns && self.detail == other.detail
    }

    /// A Parse's body behind the statement's name, in which the types of parameters are said as the client was told
    /// them; `None` if it is the same as this one. Types that were created are left to be found: another database, which
    /// has taken the place of this one, knows them by other numbers.
    pub(super) fn typed(&self, source: &[u8]) -> Option<Vec<u8>> {
        let mut told = self.parameters()?.clone();
        let (text, given) = string(source)?;
        let count = told.try_get_u16().ok()?;
        let mut typed = [text, b"\0", &count.to_be_bytes()].concat();
        let mut given = given.get(2..)?;
        let mut differs = false;
        while let Ok(oid) = told.try_get_u32() {
            let given = given.try_get_u32().unwrap_or_default();
            let known = if oid < FIRST_NORMAL { oid } else { given };
            differs |= known != given;
            typed.extend_from_slice(&known.to_be_bytes());
        }
        differs.then_some(typed)
    }
}

/// Of the columns of a RowDescription: their names and types, and their type modifiers.
fn digests(body: &[u8]) -> (u64, u64) {
    let (mut columns, mut modifiers) = (DefaultHasher::new(), DefaultHasher::new());
    let mut rest = body.get(2..).unwrap_or_default();
    body.get(..2).hash(&mut columns);
    while let Some((name, field)) = string(rest)
        && let Some((field, behind)) = field.split_first_chunk::<FIELD>()
    {
        name.is_ascii().then_some(name).hash(&mut columns);
        let [_, _, _, _, _, _, a, b, c, d, _, _, modifier @ .., _, _] = field;
        [a, b, c, d].hash(&mut columns);
        modifier.hash(&mut modifiers);
        rest = behind;
    }
    (columns.finish(), modifiers.finish())
}

/// Bytes of a column's description behind its name: table, attribute, type, size, modifier, format.
const FIELD: usize = 18;

/// The first OID that is not the system's own (`FirstNormalObjectId`).
const FIRST_NORMAL: u32 = 16_384;

/// How much of a ParameterDescription is kept, in bytes; longer ones are compared as far as that.
pub(super) const PARAMETERS_LIMIT: usize = 4 * 1024;

/// How much of a RowDescription is read, in bytes.
pub(super) const ROWS_LIMIT: usize = 64 * 1024;

/// What a shape takes beside its parameters, in bytes, roughly.
const OVERHEAD: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;

    /// A column of this name, type and type modifier.
    type Column = (&'static str, u32, i32);

    fn rows(table: u32, format: u16, columns: &[Column]) -> Vec<u8> {
        let mut body = (columns.len() as u16).to_be_bytes().to_vec();
        for (name, oid, modifier) in columns {
            body.extend_from_slice(&[name.as_bytes(), b"\0"].concat());
            body.extend_from_slice(&table.to_be_bytes());
            body.extend_from_slice(&[0, 1]);
            body.extend_from_slice(&oid.to_be_bytes());
            body.extend_from_slice(&[0, 4]);
            body.extend_from_slice(&modifier.to_be_bytes());
            body.extend_from_slice(&format.to_be_bytes());
        }
        body
    }

    fn parameters(oids: &[u32]) -> Bytes {
        let count = (oids.len() as u16).to_be_bytes().to_vec();
        let oids = oids.iter().flat_map(|oid| oid.to_be_bytes());
        count.into_iter().chain(oids).collect::<Vec<u8>>().into()
    }

    fn statement(oids: &[u32], columns: &[Column]) -> Shape {
        let rows = rows(4711, 0, columns);
        Shape::new(Some(parameters(oids)), Some(&rows), &Budget::of(0))
    }

    fn portal(columns: &[Column]) -> Shape {
        Shape::new(None, Some(&rows(1, 1, columns)), &Budget::of(0))
    }

    #[test]
    fn what_the_database_compares_is_compared() {
        let base = statement(&[], &[("a", 23, -1), ("b", 1043, 14)]);
        for other in [
            &[("a", 23, -1)][..],
            &[("a", 20, -1), ("b", 1043, 14)],
            &[("x", 23, -1), ("b", 1043, 14)],
            &[("a", 23, -1), ("b", 1043, 15)],
            &[("b", 1043, 14), ("a", 23, -1)],
            &[("a", 23, -1), ("b", 1043, 14), ("c", 23, -1)],
        ] {
            assert_eq!(statement(&[], other).fit(&base, false), Fit::Otherwise);
        }
        let nothing = Shape::new(Some(parameters(&[])), None, &Budget::of(0));
        assert!(nothing.is_nothing() && !nothing.agrees(&base) && !base.agrees(&nothing));
        let empty = statement(&[], &[]);
        assert!(
            !nothing.agrees(&empty),
            "SELECT without columns returns rows"
        );
    }

    #[test]
    fn where_columns_are_from_and_how_they_are_sent_is_not() {
        let one = statement(&[], &[("a", 23, -1)]);
        let rows = rows(4712, 1, &[("a", 23, -1)]);
        let other = Shape::new(Some(parameters(&[])), Some(&rows), &Budget::of(0));
        assert!(one.is(&other));
        assert_eq!(one.fit(&other, false), Fit::Same);
        // The same name in UTF-8 and in LATIN1.
        let utf8 = digests(b"\0\x01\xc3\xa4\0........oid1........");
        assert_eq!(utf8, digests(b"\0\x01\xe4\0........oid1........"));
    }

    #[test]
    fn a_portal_tells_less() {
        let full = statement(&[23], &[("a", 1043, 14)]);
        let told = portal(&[("a", 1043, -1)]);
        assert_eq!(full.fit(&told, false), Fit::Same);
        assert_eq!(told.fit(&full, false), Fit::Unknown);
        // Its client has not been told of what types the parameters are.
        assert_eq!(full.fit(&told, true), Fit::Otherwise);
        assert_eq!(portal(&[("a", 25, -1)]).fit(&full, false), Fit::Otherwise);
    }

    #[test]
    fn parameters_are_typed_as_they_were_told() {
        let told = statement(&[23, 20_000, 25], &[]);
        let source = b"select $1, $2, $3\0\0\x01\0\0\0\x14";
        let typed = told.typed(source).unwrap();
        let types = b"\0\x03\0\0\0\x17\0\0\0\0\0\0\0\x19";
        assert_eq!(typed, [b"select $1, $2, $3\0", &types[..]].concat());
        assert_eq!(told.typed(&typed), None);
        assert_eq!(statement(&[], &[]).typed(b"select 1\0\0\0"), None);
        assert_eq!(portal(&[]).typed(source), None);
    }
}
