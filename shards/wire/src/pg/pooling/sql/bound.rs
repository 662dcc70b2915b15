//! `set_config` of parameters: what it sets is known when a Bind says it.

use std::rc::Rc;

use super::super::pins::Pin;
use super::super::settings::{CONTEXT, SPELLING};
use super::assign::VALUE_LIMIT;
use super::literal::Value;
use super::statement::is;
use super::{Act, Assignment, Encoding, Script, Step, is_setting_name, present_name};

/// A call of `set_config` with parameters among its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    pub name: Said,
    pub value: Said,
    /// Whether only until the end of the transaction.
    pub local: bool,
}

/// An argument of type text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// As it stands in the text.
    Literal(Vec<u8>),
    /// The parameter of this number, which begin with 1.
    Parameter(usize),
}

/// The parameters in a statement.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    /// Those that stand there, and those that stand there more than once: a bit for each of the first.
    seen: u64,
    again: u64,
}

impl Parameters {
    pub(super) fn see(&mut self, number: usize) {
        let bit = bit(number);
        self.again |= self.seen & bit;
        self.seen |= bit;
    }

    /// Whether one of these is used elsewhere, too: as what may decide of which type it is.
    pub(super) fn any_shared(&self, bound: &[Bound]) -> bool {
        let is_shared = |said: &Said| match said {
            Said::Literal(_) => false,
            Said::Parameter(number) => bit(*number) == 0 || self.again & bit(*number) != 0,
        };
        bound
            .iter()
            .any(|one| is_shared(&one.name) || is_shared(&one.value))
    }
}

/// The place of a parameter; none beyond the first.
fn bit(number: usize) -> u64 {
    u32::try_from(number)
        .ok()
        .and_then(|number| 1_u64.checked_shl(number))
        .unwrap_or(0)
}

impl Script {
    /// What its one statement sets, if a Bind decides that.
    fn bound(&self) -> Option<&[Bound]> {
        match self.steps.first().map(|step| &step.act) {
            Some(Act::AssignBound(bound)) => Some(bound),
            _ => None,
        }
    }

    /// Whether a Bind decides what it sets.
    pub fn is_bound(&self) -> bool {
        self.bound().is_some()
    }

    /// Whether that may be how texts are read.
    pub fn may_respell(&self) -> bool {
        let bound = self.bound().unwrap_or_default();
        bound.iter().any(|one| one.name.may_respell())
    }

    /// The same, with what a Bind says behind its names; `None` if it cannot be told what that sets.
    pub fn bound_with(&self, said: &[u8], encoding: Encoding<'_>) -> Option<Script> {
        let parameters = parameters(said)?;
        let Step {
            mut pins, unlocks, ..
        } = *self.steps.first()?;
        let assignments = self.bound()?.iter().filter_map(|bound| {
            let name = bound.name.value(&parameters).flatten();
            let value = bound.value.value(&parameters);
            let (Some(name), Some(value)) = (name, value) else {
                return Some(None);
            };
            if is(name, SEED) {
                pins.insert(Pin::RandomSeed);
            }
            if is_of_transaction(&name.to_ascii_lowercase()) {
                return None;
            }
            let fits = value.is_none_or(|value| value.len() <= VALUE_LIMIT);
            let assignment = || Assignment::of(name, value, bound.local, encoding);
            Some((fits && is_setting_name(name)).then(assignment))
        });
        let act = Act::Assign(assignments.collect::<Option<_>>()?);
        let step = Step { act, pins, unlocks };
        Some(Script { steps: vec![step] })
    }

    /// Whether the parameters that it sets are texts, by the types that a Parse gives them (none, or 0, for what is to be
    /// found out, which then is text): as such they come, in whichever format.
    pub fn binds_texts(&self, types: &[u8]) -> bool {
        let (_, types) = types.split_at(types.len().min(2));
        let (types, _) = types.as_chunks();
        let is_text = |said: &Said| match said {
            Said::Literal(_) => true,
            Said::Parameter(number) => {
                let oid = number.checked_sub(1).and_then(|at| types.get(at));
                oid.is_none_or(|oid| TEXTS.contains(&u32::from_be_bytes(*oid)))
            }
        };
        let all = self.bound().unwrap_or_default();
        all.iter()
            .all(|one| is_text(&one.name) && is_text(&one.value))
    }
}

impl Bound {
    /// What it sets, if no Bind need say that.
    fn literal(&self, encoding: Encoding<'_>) -> Option<Assignment> {
        let (Said::Literal(name), Said::Literal(value)) = (&self.name, &self.value) else {
            return None;
        };
        Some(Assignment::of(name, Some(value), self.local, encoding))
    }

    /// What all of these do, once and in this order.
    pub(super) fn act(all: Vec<Bound>, encoding: Encoding<'_>) -> Act {
        let literals = all.iter().map(|one| one.literal(encoding)).collect();
        Option::map_or(literals, Act::AssignBound(all), Act::Assign)
    }
}

impl Assignment {
    /// By a name that is one of a setting, in whichever case.
    fn of(name: &[u8], value: Option<&[u8]>, local: bool, encoding: Encoding<'_>) -> Assignment {
        let name = name.to_ascii_lowercase();
        Assignment {
            // It is ASCII.
            name: Rc::from(present_name(&String::from_utf8_lossy(&name))),
            value: value.map(|value| Value::of_bytes(value, encoding)),
            local,
        }
    }
}

impl Said {
    /// Whether a setting of this name may decide what statements mean.
    pub(super) fn may_decide(&self) -> bool {
        self.may_be_any(&CONTEXT)
    }

    /// Whether it may decide how texts are read.
    pub(super) fn may_respell(&self) -> bool {
        self.may_be_any(&SPELLING)
    }

    fn may_be_any(&self, names: &[&str]) -> bool {
        match self {
            Said::Literal(name) => names.iter().any(|known| is(name, known)),
            Said::Parameter(_) => true,
        }
    }

    /// The text that it is, or NULL; `None` if there is no such parameter.
    fn value<'a>(&'a self, parameters: &[Option<&'a [u8]>]) -> Option<Option<&'a [u8]>> {
        match self {
            Said::Literal(text) => Some(Some(text)),
            Said::Parameter(number) => parameters.get(number.checked_sub(1)?).copied(),
        }
    }
}

/// The parameters of a Bind, behind its names: formats, which for texts make no difference, and values.
fn parameters(said: &[u8]) -> Option<Vec<Option<&[u8]>>> {
    let (formats, rest) = said.split_first_chunk()?;
    let rest = rest.get(2 * usize::from(u16::from_be_bytes(*formats))..)?;
    let (count, mut rest) = rest.split_first_chunk()?;
    let mut values = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, behind) = rest.split_first_chunk()?;
        let length = i32::from_be_bytes(*length);
        let value = usize::try_from(length)
            .ok()
            .map(|length| behind.get(..length));
        rest = behind;
        values.push(match value {
            Some(value) => {
                let value = value?;
                rest = &behind[value.len()..];
                Some(value)
            }
            None => None,
        });
    }
    Some(values)
}

/// How many calls in one statement are followed: each Bind, however short, goes through all of them.
pub(super) const CALLS_LIMIT: usize = 64;

/// To be found out; text, unknown, varchar.
const TEXTS: [u32; 4] = [0, 25, 705, 1043];

/// The setting by which the seed of `random()` is set.
pub(in super::super) const SEED: &str = "seed";

/// Settings that end with their transaction however they are set, and the seed of `random()`,
/// which cannot be read back.
pub(super) fn is_of_transaction(name: &[u8]) -> bool {
    matches!(
        name,
        b"transaction_isolation" | b"transaction_read_only" | b"transaction_deferrable" | b"seed"
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::pins::Pins;
    use super::super::{Dialect, read};
    use super::*;

    fn script(text: &str) -> Script {
        read(text.as_bytes(), Dialect::USUAL).script.unwrap()
    }

    fn bind(values: &[Option<&str>]) -> Vec<u8> {
        let mut said = vec![0, 1, 0, 1];
        said.extend((values.len() as u16).to_be_bytes());
        for value in values {
            let length = value.map_or(-1, |value| value.len() as i32);
            said.extend(length.to_be_bytes());
            said.extend(value.unwrap_or_default().bytes());
        }
        said
    }

    fn sets(text: &str, values: &[Option<&str>]) -> Option<Vec<String>> {
        let script = script(text).bound_with(&bind(values), Encoding::UTF8)?;
        let Act::Assign(assignments) = &script.steps[0].act else {
            panic!("{script:?}");
        };
        let told = |one: &Assignment| {
            let value = one.value.as_ref().map_or("-", Value::as_sql);
            format!("{} {value} {}", one.name, one.local)
        };
        Some(assignments.iter().map(told).collect())
    }

    #[test]
    fn what_a_bind_says_is_set() {
        let text = "SELECT set_config('search_path', $2, true), set_config($1::text, 'x', false), set_config('a.b', $3, false)";
        let set = sets(text, &[Some("App.User"), Some("it's"), None]).unwrap();
        assert_eq!(
            set,
            [
                "search_path 'it''s' true",
                "app.user 'x' false",
                "a.b - false"
            ]
        );
        assert_eq!(sets(text, &[Some("app.user"), Some("x")]), None, "too few");
        assert_eq!(sets(text, &[None, Some("x"), None]), None, "no name");
        assert_eq!(sets(text, &[Some("ä"), Some("x"), None]), None);
        let said = bind(&[Some("Seed"), Some("0")]);
        let seed = script("SELECT set_config($1, $2, true)").bound_with(&said, Encoding::UTF8);
        let step = Step {
            unlocks: false,
            act: Act::Assign(Vec::new()),
            pins: Pins::from_iter([Pin::RandomSeed]),
        };
        assert_eq!(seed.unwrap().steps, [step]);
        let long = "x".repeat(VALUE_LIMIT + 1);
        assert_eq!(
            sets("SELECT set_config('a.b', $1, false)", &[Some(&long)]),
            None
        );
        for cut in 0..bind(&[Some("x")]).len() {
            let said = &bind(&[Some("x")])[..cut];
            let script = script("SELECT set_config('a.b', $1, false)");
            assert_eq!(script.bound_with(said, Encoding::UTF8), None, "{cut}");
        }
    }

    #[test]
    fn more_calls_than_a_bind_should_go_through_pin() {
        let text = |count| {
            let literal = ", set_config('a', 'b', false)".repeat(count - 1);
            format!("SELECT set_config('a', $1, false){literal}")
        };
        assert!(script(&text(CALLS_LIMIT)).is_bound());
        let many = script(&text(CALLS_LIMIT + 1));
        assert!(!many.is_bound() && many.steps[0].pins.contains(Pin::Setting));
    }

    #[test]
    fn what_is_no_text_is_not_read() {
        let text = "SELECT set_config('a.b', $2, false)";
        for (types, texts) in [
            (&b"\0\0"[..], true),
            (b"\0\x01\0\0\0\x17", true),
            (b"\0\x02\0\0\0\x17\0\0\0\x19", true),
            (b"\0\x02\0\0\0\x19\0\0\0\x17", false),
        ] {
            assert_eq!(script(text).binds_texts(types), texts, "{types:?}");
        }
        for other in [
            "$1::int::text",
            "$1::name",
            "$1 || 'x'",
            "CAST($1 AS text)",
            "$64",
        ] {
            let script = script(&format!("SELECT set_config('a.b', {other}, false)"));
            assert!(!script.is_bound(), "{other}");
        }
        let twice = script("SELECT $1::int, set_config('a.b', $1::text, false)");
        assert!(!twice.is_bound());
    }
}
