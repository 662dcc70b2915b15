//! What a statement does, now that all of it has been seen.

use bytes::Bytes;

use super::super::pins::Pin;
use super::bound::Bound;
use super::lexer::{Lexer, Token};
use super::statement::{Reader, Statement, identifier, is, next_is, peek, skip};
use super::vocabulary::Lead;
use super::{Act, Step, assign};

impl<'a> Reader<'a> {
    /// Says it.
    pub(super) fn judge(&mut self, mut statement: Statement<'a>) -> Step {
        let act = match self.assigned(&mut statement) {
            Some(act) => act,
            None => self.led(&mut statement),
        };
        let pins = statement.pins;
        // What cannot be followed may be that.
        self.traces.respells |= pins.contains(Pin::Setting);
        let act = match act {
            Act::Plain if statement.temporary => Act::Makes(Pin::TemporaryTable),
            Act::Plain if statement.unlocks || statement.unlocks_all => Act::Unlocks,
            act => act,
        };
        Step { act, pins }
    }

    /// What it does by the calls of `set_config` in it; `None` if there are none that outlive its transaction.
    fn assigned(&mut self, statement: &mut Statement<'a>) -> Option<Act> {
        let shared = statement.parameters.any_shared(&statement.assignments);
        let once = statement.lead == Lead::Select && !statement.conditional && !shared;
        let mut all = statement.assignments.iter();
        if once && !statement.assignments.is_empty() {
            let assignments = std::mem::take(&mut statement.assignments);
            return Some(Bound::act(assignments, self.dialect.encoding));
        }
        if !once {
            self.traces.obscures |= all.clone().any(|one| one.name.may_decide());
            self.traces.respells |= all.clone().any(|one| one.name.may_respell());
        }
        all.any(|one| !one.local).then(|| {
            // It may be set or not, once or in some order.
            statement.pins.insert(Pin::Setting);
            Act::Plain
        })
    }

    /// What it does by the way in which it begins.
    fn led(&mut self, statement: &mut Statement<'a>) -> Act {
        let mut rest = statement.rest.clone();
        let pins = &mut statement.pins;
        match statement.lead {
            Lead::Select if statement.unlocks_all && !statement.conditional => {
                Act::Ends(Pin::AdvisoryLock)
            }
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
            Lead::Unknown => {
                pins.insert(Pin::Unknown);
                Act::Plain
            }
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
