//! What a statement does, now that all of it has been seen.

use bytes::Bytes;

use super::super::pins::Pin;
use super::bound::{Bound, CALLS_LIMIT};
use super::lexer::{Lexer, Token};
use super::statement::{Reader, Statement, identifier, is, next_is, peek, skip};
use super::vocabulary::Lead;
use super::{Act, Step, assign, code};

impl<'a> Reader<'a> {
    /// Says it.
    pub(super) fn judge(&mut self, mut statement: Statement<'a>) -> Step {
        let (act, unsure) = self.assigned(&mut statement);
        let act = act.unwrap_or_else(|| self.led(&mut statement));
        // What cannot be followed may be that. (Where it is only unsure whether it is set, its name has told.)
        self.traces.respells |= statement.pins.contains(Pin::Setting);
        let mut pins = statement.pins;
        if unsure {
            pins.insert(Pin::Setting);
        }
        let act = match act {
            Act::Plain if statement.temporary => Act::Makes(Pin::TemporaryTable),
            act => act,
        };
        Step {
            act,
            pins,
            unlocks: statement.unlocks,
        }
    }

    /// What it does by the calls of `set_config` in it, if that can be followed; and whether it may set something for
    /// longer than its transaction or not, which pins, whatever else it does.
    fn assigned(&mut self, statement: &mut Statement<'a>) -> (Option<Act>, bool) {
        let shared = statement.parameters.any_shared(&statement.assignments);
        let few = statement.assignments.len() <= CALLS_LIMIT;
        let once = statement.lead == Lead::Select && !statement.conditional && !shared && few;
        let mut all = statement.assignments.iter();
        if once && !statement.assignments.is_empty() {
            let assignments = std::mem::take(&mut statement.assignments);
            let act = Bound::act(assignments, self.dialect.encoding);
            return (Some(act), false);
        }
        if !once {
            self.traces.obscures |= all.clone().any(|one| one.name.may_decide());
            self.traces.respells |= all.clone().any(|one| one.name.may_respell());
        }
        // It may be set or not, once or in some order.
        (None, all.any(|one| !one.local))
    }

    /// What it does by the way in which it begins.
    fn led(&mut self, statement: &mut Statement<'a>) -> Act {
        let mut rest = statement.rest.clone();
        let pins = &mut statement.pins;
        match statement.lead {
            Lead::Commit if next_is(&rest, "prepared") => Act::Plain,
            Lead::Commit => Act::Commit,
            Lead::Rollback => rollback(rest),
            Lead::Savepoint => named(&mut rest).map_or(Act::Plain, Act::Savepoint),
            Lead::Release => {
                skip(&mut rest, "savepoint");
                named(&mut rest).map_or(Act::Plain, Act::Release)
            }
            Lead::Prepare if next_is(&rest, "transaction") => Act::Commit,
            Lead::Prepare => named(&mut rest).map_or(Act::Plain, Act::Prepare),
            Lead::Execute => {
                self.mention(&mut rest);
                Act::Plain
            }
            Lead::Deallocate => self.deallocate(rest),
            Lead::Set => assign::set(rest, self.dialect, pins),
            Lead::Reset => assign::reset(rest, pins),
            Lead::Discard => discard(rest),
            Lead::Listen => Act::Makes(Pin::Listen),
            Lead::Unlisten if next_symbol(&rest, b'*') => Act::Ends(Pin::Listen),
            Lead::Declare if statement.holds => Act::Makes(Pin::HoldCursor),
            Lead::Close if next_is(&rest, "all") => Act::Ends(Pin::HoldCursor),
            Lead::Copy if statement.copies => Act::CopyIn,
            Lead::Load => {
                pins.insert(Pin::Load);
                Act::Plain
            }
            Lead::Do => {
                *pins = pins.union(code::leaves(rest));
                Act::Plain
            }
            Lead::Call => {
                pins.insert(Pin::Unknown);
                Act::Plain
            }
            // Not if the database does not know it either.
            Lead::Unknown => Act::Makes(Pin::Unknown),
            _ => Act::Plain,
        }
    }

    fn deallocate(&mut self, mut rest: Lexer<'a>) -> Act {
        // DEALLOCATE prepare; means a statement of that name.
        let mut behind = rest.clone();
        if skip(&mut behind, "prepare")
            && !matches!(peek(&behind), None | Some(Token::Symbol(b';')))
        {
            rest = behind;
        }
        if next_is(&rest, "all") {
            return Act::DeallocateAll;
        }
        match self.mention(&mut rest) {
            Some(name) => Act::Deallocate(name, None),
            None => Act::Plain,
        }
    }
}

/// ROLLBACK [WORK | TRANSACTION] [TO [SAVEPOINT] name] [AND CHAIN], ROLLBACK PREPARED.
fn rollback(mut rest: Lexer<'_>) -> Act {
    if next_is(&rest, "prepared") {
        return Act::Plain;
    }
    let _ = skip(&mut rest, "work") || skip(&mut rest, "transaction");
    if !skip(&mut rest, "to") {
        return Act::Rollback;
    }
    skip(&mut rest, "savepoint");
    named(&mut rest).map_or(Act::Plain, Act::RollbackTo)
}

fn discard(rest: Lexer<'_>) -> Act {
    match peek(&rest) {
        Some(Token::Word(word)) if is(word, "all") => Act::DiscardAll,
        Some(Token::Word(word)) if is(word, "temp") || is(word, "temporary") => {
            Act::Ends(Pin::TemporaryTable)
        }
        Some(Token::Word(word)) if is(word, "sequences") => Act::Ends(Pin::SequenceValue),
        _ => Act::Plain,
    }
}

fn next_symbol(lexer: &Lexer<'_>, symbol: u8) -> bool {
    peek(lexer) == Some(Token::Symbol(symbol))
}

fn named(lexer: &mut Lexer<'_>) -> Option<Bytes> {
    identifier(lexer.next_token()?.0)
}

#[cfg(test)]
mod tests {
    use super::super::super::pins::Pins;
    use super::super::tests::{act, pins, step, steps};
    use super::super::{Dialect, read};
    use super::*;

    #[test]
    fn a_setting_is_followed_where_it_is_set_for_sure() {
        for text in [
            "SELECT coalesce(current_setting('a', true), set_config('a', 'b', false))",
            "SELECT false AND set_config('a', 'b', false) = '7'",
            "SELECT set_config('a', 'b', false) = '7' AND false",
            "SELECT set_config('a', 'b', false)::bool AND false",
            "SELECT set_config('a', 'b', false) || NULL",
            "SELECT NULL::text || set_config('a', $1, false)",
            "SELECT EXISTS(SELECT set_config('a', 'b', false))",
            "SELECT ARRAY['x', set_config('a', 'b', false), 'y'] = NULL",
            "SELECT 1 ORDER BY 1, set_config('a', 'b', false)",
        ] {
            assert_eq!(pins(text), [Pin::Setting], "{text}");
        }
        for text in [
            "SELECT 1, set_config('a', 'b', false)",
            "SELECT lower('x'), pg_catalog.set_config('a', 'b', false)::text AS \"is set\", 2",
            "SELECT set_config('a', 'b', false) done; SELECT 2",
            "SELECT set_config('a', $1::text, false)",
        ] {
            assert_eq!(pins(text), [], "{text}");
            let act = &steps(text)[0].act;
            assert!(
                matches!(act, Act::Assign(_) | Act::AssignBound(_)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_sets_may_do_more() {
        let holds = step("DECLARE c CURSOR WITH HOLD FOR SELECT set_config('a', 'b', false)");
        assert_eq!(holds.act, Act::Makes(Pin::HoldCursor));
        assert!(holds.pins.contains(Pin::Setting));
        let prepares = step("PREPARE p AS SELECT set_config('a', 'b', false)");
        assert_eq!(prepares.act, Act::Prepare("p".into()));
        let executes = read(b"EXECUTE p (set_config('a', 'b', false))", Dialect::USUAL);
        assert_eq!(executes.mentions.len(), 1);
        let unlocks = step("SELECT pg_advisory_unlock(3), set_config('a', 'b', false)");
        assert!(unlocks.unlocks && matches!(unlocks.act, Act::Assign(_)));
    }

    #[test]
    fn locks_that_are_given_back_may_be_written_and_stay() {
        for text in [
            "SELECT pg_advisory_unlock_all()",
            "SELECT coalesce('x', pg_advisory_unlock_all()::text)",
            "SELECT pg_advisory_unlock_shared(1)",
        ] {
            let Step { act, pins, unlocks } = step(text);
            assert_eq!((act, pins, unlocks), (Act::Plain, Pins::NONE, true));
        }
    }

    #[test]
    fn the_body_of_a_routine_ends_where_the_server_ends_it() {
        for body in [
            "SELECT 1 AS case",
            "SELECT 1 AS end; SELECT 2",
            "SELECT 1 end; SELECT r.end, r.case FROM r",
            "SELECT CASE WHEN true THEN 1 END; ; SELECT 2",
            "",
        ] {
            let text = format!("CREATE FUNCTION f() BEGIN ATOMIC {body}; END; LISTEN a");
            let acts: Vec<_> = steps(&text).into_iter().map(|step| step.act).collect();
            assert_eq!(acts, [Act::Plain, Act::Makes(Pin::Listen)], "{text}");
        }
        let text = "CREATE FUNCTION f(begin atomic) AS 'x'; LISTEN a";
        assert_eq!(steps(text).len(), 2);
    }

    #[test]
    fn what_may_be_anything_pins() {
        for (text, pin) in [
            (
                "EXPLAIN ANALYZE UPDATE ONLY pg_catalog.\"pg_settings\" SET setting = 'x'",
                Pin::Setting,
            ),
            ("UPDATE ONLY (pg_settings) SET setting = 'x'", Pin::Setting),
            (
                "EXPLAIN ANALYZE UPDATE ONLY (pg_catalog.pg_settings) SET setting = 'x'",
                Pin::Setting,
            ),
            (
                "PREPARE x AS UPDATE pg_settings SET setting = 'x'",
                Pin::Setting,
            ),
            ("CREATE TABLE U&\"pg\\005ftemp\".a (i int)", Pin::Unknown),
            ("PREPARE u&\"\\0078\" AS SELECT 1", Pin::Unknown),
            ("DEALLOCATE u&\"dbb\\005f3\"", Pin::Unknown),
            ("SAVEPOINT u&\"\\0061\"", Pin::Unknown),
        ] {
            assert_eq!(pins(text), [pin], "{text}");
        }
    }

    #[test]
    fn who_sends_is_said_by_from_and_to() {
        for name in ["stdin", "STDOUT"] {
            assert_eq!(act(&format!("COPY t (a) FROM {name}")), Act::CopyIn);
            assert!(steps(&format!("COPY t TO {name}")).is_empty());
        }
    }
}
