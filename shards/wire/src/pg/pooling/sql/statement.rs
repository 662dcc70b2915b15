//! Reading statements one after another: where each ends, how it begins, what betrays state in it.

use bytes::Bytes;

use super::super::pins::{Pin, Pins};
use super::assign::{self, Call};
use super::bound::{Bound, Parameters};
use super::calls::Calls;
use super::lexer::{Lexer, Token};
use super::literal::{undouble, whole_characters};
use super::vocabulary::{Lead, Notable};
use super::{Act, Dialect, Mention, Reading, Script, Step, Traces};

/// Goes through a text.
pub(super) struct Reader<'a> {
    lexer: Lexer<'a>,
    dialect: Dialect<'a>,
    /// Plain steps before the first that is not, which are not stored until there is one.
    plain: usize,
    steps: Vec<Step>,
    mentions: Vec<Mention>,
    calls: Calls<'a>,
    /// What may be left behind, save by calls.
    traces: Traces,
}

/// What has been seen in the statement that is being read.
struct Statement<'a> {
    lead: Lead,
    /// Stands behind the first word.
    rest: Lexer<'a>,
    pins: Pins,
    assignments: Vec<Bound>,
    unlocks_all: bool,
    unlocks: bool,
    temporary: bool,
    holds: bool,
    copies: bool,
    parameters: Parameters,
    /// Functions may run never, or many times.
    conditional: bool,
    routine: bool,
    /// Open parentheses; a semicolon in them ends nothing (CREATE RULE).
    depth: u32,
    /// Open BEGIN ATOMIC and CASE of a routine's body.
    body: u32,
    previous: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a [u8], dialect: Dialect<'a>) -> Self {
        Reader {
            lexer: Lexer::new(text, dialect.backslash_escapes),
            dialect,
            plain: 0,
            steps: Vec::new(),
            mentions: Vec::new(),
            calls: Calls::default(),
            traces: Traces::default(),
        }
    }

    pub(super) fn read(mut self) -> Reading {
        while let Some((token, _)) = self.lexer.next_token() {
            if token != Token::Symbol(b';') {
                let step = self.statement(token);
                self.push(step);
            }
        }
        let count = self.step();
        let calls = self.calls.found;
        let traces = Traces {
            draws: self.traces.draws || calls,
            calls,
            obscures: self.traces.obscures || calls,
            ..self.traces
        };
        let script = (!self.steps.is_empty()).then_some(Script { steps: self.steps });
        Reading {
            script,
            count,
            mentions: self.mentions,
            traces,
        }
    }

    fn push(&mut self, step: Step) {
        if self.steps.is_empty() && step == Step::default() {
            self.plain += 1;
            return;
        }
        while self.plain > 0 {
            self.plain -= 1;
            self.steps.push(Step::default());
        }
        self.steps.push(step);
    }

    /// Which step the statement that is being read will be.
    fn step(&self) -> usize {
        self.plain + self.steps.len()
    }

    /// Reads one statement, from behind its first token to its semicolon.
    fn statement(&mut self, first: Token<'a>) -> Step {
        let (lead, depth) = match first {
            Token::Word(word) => (Lead::of(word), 0),
            Token::Symbol(b'(') => (Lead::Other, 1),
            _ => (Lead::Unknown, 0),
        };
        self.traces.draws |= matches!(lead, Lead::Insert | Lead::Merge | Lead::Copy);
        // What is executed, or done by DO, has been written elsewhere.
        self.calls.found |= matches!(lead, Lead::Execute | Lead::Unknown);
        self.calls = Calls::begin(first, self.calls.found);
        let mut statement = Statement {
            lead,
            rest: self.lexer.clone(),
            pins: Pins::NONE,
            assignments: Vec::new(),
            parameters: Parameters::default(),
            unlocks_all: false,
            unlocks: false,
            temporary: false,
            holds: false,
            copies: false,
            conditional: lead != Lead::Select,
            routine: false,
            depth,
            body: 0,
            previous: match first {
                Token::Word(word) => word,
                _ => b"",
            },
        };
        while let Some((token, _)) = self.lexer.next_token() {
            let previous = std::mem::take(&mut statement.previous);
            match token {
                Token::Symbol(b';') if statement.depth == 0 && statement.body == 0 => break,
                Token::Symbol(symbol) => {
                    self.calls.symbol(symbol);
                    match symbol {
                        b'(' => statement.depth += 1,
                        b')' => statement.depth = statement.depth.saturating_sub(1),
                        _ => {}
                    }
                }
                Token::Word(word) => {
                    self.calls.name(word, false);
                    if let Some(notable) = Notable::of(word) {
                        self.notice(&mut statement, notable, previous);
                    }
                    // INTO [TABLE] name
                    let behind_into = is(previous, "into") && is(word, "table");
                    statement.previous = if behind_into { previous } else { word };
                }
                Token::Quoted(name) => {
                    self.calls.name(name, true);
                    if let Some(notable) = Notable::of_name(name) {
                        self.notice(&mut statement, notable, previous);
                    }
                }
                Token::Parameter(number) => {
                    statement.parameters.see(number);
                    self.calls.other();
                }
                _ => self.calls.other(),
            }
        }
        self.judge(statement)
    }

    fn notice(&mut self, statement: &mut Statement<'a>, notable: Notable, previous: &[u8]) {
        let after = |words: &[&str]| words.iter().any(|word| is(previous, word));
        match notable {
            Notable::Conditional => statement.conditional = true,
            Notable::Pins(pin) => statement.pins.insert(pin),
            Notable::Draws => self.traces.draws = true,
            Notable::Default => self.traces.draws |= statement.lead == Lead::Update,
            Notable::Unlock => statement.unlocks = true,
            Notable::UnlockAll => statement.unlocks_all = true,
            Notable::Temporary => {
                let makes = after(&["create", "replace", "local", "global"])
                    || after(&["into"]) && statement.lead != Lead::Insert;
                statement.temporary |= makes;
            }
            Notable::TemporarySchema => {
                let makes = match statement.lead {
                    Lead::Create | Lead::Explain => true,
                    Lead::Select | Lead::Other => after(&["into"]),
                    _ => false,
                };
                statement.temporary |= makes;
            }
            Notable::Hold => {
                statement.holds |= statement.lead == Lead::Declare && after(&["with"]);
            }
            Notable::Stdin => statement.copies |= statement.lead == Lead::Copy,
            Notable::Settings if statement.lead == Lead::Update => {
                statement.pins.insert(Pin::Setting);
            }
            Notable::Settings => {}
            Notable::SetConfig => match assign::call(self.lexer.clone()) {
                Call::Assigns(assignment) => statement.assignments.push(assignment),
                Call::Passes => {}
                Call::Obscures { respells } => {
                    self.traces.obscures = true;
                    self.traces.respells |= respells;
                }
                Call::Pins(pin) => statement.pins.insert(pin),
            },
            Notable::Execute => {
                let runs = statement.lead == Lead::Explain
                    || statement.lead == Lead::Create && after(&["as"]);
                if runs {
                    self.mention(&mut self.lexer.clone());
                }
            }
            Notable::Routine => statement.routine |= statement.lead == Lead::Create,
            // BEGIN alone is a name like any other.
            Notable::Begin if statement.routine && next_is(&self.lexer, "atomic") => {
                statement.body += 1;
            }
            Notable::Case => {
                statement.conditional = true;
                statement.body += u32::from(statement.body > 0);
            }
            Notable::End => statement.body = statement.body.saturating_sub(1),
            Notable::Begin => {}
        }
    }

    /// Notes that the next token names a prepared statement, and says its name.
    fn mention(&mut self, lexer: &mut Lexer<'a>) -> Option<Bytes> {
        let (token, at) = lexer.next_token()?;
        let name = identifier(token)?;
        self.mentions.push(Mention {
            at,
            name: name.clone(),
            step: self.step(),
        });
        Some(name)
    }

    /// Says what a statement does, now that all of it has been seen.
    fn judge(&mut self, statement: Statement<'a>) -> Step {
        let mut pins = statement.pins;
        let mut rest = statement.rest;
        let assigns = !statement.assignments.is_empty();
        let shared = statement.parameters.any_shared(&statement.assignments);
        let once = statement.lead == Lead::Select && !statement.conditional && !shared;
        if !once {
            let mut all = statement.assignments.iter();
            self.traces.obscures |= all.clone().any(|one| one.name.may_decide());
            self.traces.respells |= all.any(|one| one.name.may_respell());
        }
        let act = match statement.lead {
            Lead::Select if assigns && once => {
                Bound::act(statement.assignments, self.dialect.encoding)
            }
            _ if statement.assignments.iter().any(|one| !one.local) => {
                // It may be set or not, once or in some order.
                pins.insert(Pin::Setting);
                Act::Plain
            }
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
            Lead::Set => assign::set(rest, self.dialect, &mut pins),
            Lead::Reset => assign::reset(rest, &mut pins),
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
        };
        // What cannot be followed may be that.
        self.traces.respells |= pins.contains(Pin::Setting);
        match act {
            Act::Plain if statement.temporary => Step {
                act: Act::Makes(Pin::TemporaryTable),
                pins,
            },
            Act::Plain if statement.unlocks || statement.unlocks_all => Step {
                act: Act::Unlocks,
                pins,
            },
            act => Step { act, pins },
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

/// Whether a word is a keyword.
pub(super) fn is(word: &[u8], keyword: &str) -> bool {
    word.eq_ignore_ascii_case(keyword.as_bytes())
}

pub(super) fn peek<'a>(lexer: &Lexer<'a>) -> Option<Token<'a>> {
    lexer.clone().next_token().map(|(token, _)| token)
}

pub(super) fn next_is(lexer: &Lexer<'_>, keyword: &str) -> bool {
    matches!(peek(lexer), Some(Token::Word(word)) if is(word, keyword))
}

fn next_symbol(lexer: &Lexer<'_>, symbol: u8) -> bool {
    peek(lexer) == Some(Token::Symbol(symbol))
}

/// Goes past a keyword if it comes next.
pub(super) fn skip(lexer: &mut Lexer<'_>, keyword: &str) -> bool {
    let comes = next_is(lexer, keyword);
    if comes {
        lexer.next_token();
    }
    comes
}

fn named(lexer: &mut Lexer<'_>) -> Option<Bytes> {
    identifier(lexer.next_token()?.0)
}

/// The name that a token stands for, as the server keeps it.
pub(super) fn identifier(token: Token<'_>) -> Option<Bytes> {
    let mut name = match token {
        Token::Word(word) => word.to_ascii_lowercase(),
        Token::Quoted(inside) if !inside.is_empty() => undouble(inside, b'"'),
        _ => return None,
    };
    name.truncate(whole_characters(&name, IDENTIFIER_LIMIT));
    Some(name.into())
}

/// Longest identifier, in bytes; PostgreSQL cuts longer ones (`NAMEDATALEN` less one).
const IDENTIFIER_LIMIT: usize = 63;
