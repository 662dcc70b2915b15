//! Reading statements one after another: where each ends, how it begins, what betrays state in it.

use bytes::Bytes;

use super::super::pins::{Pin, Pins};
use super::assign::{self, Call};
use super::bound::{Bound, Parameters};
use super::calls::Calls;
use super::lexer::{Lexer, Token};
use super::literal::{undouble, whole_characters};
use super::vocabulary::{Lead, Notable};
use super::{Dialect, Mention, Reading, Script, Step, Traces};

/// Goes through a text.
pub(super) struct Reader<'a> {
    lexer: Lexer<'a>,
    pub(super) dialect: Dialect<'a>,
    /// Plain steps before the first that is not, which are not stored until there is one.
    plain: usize,
    steps: Vec<Step>,
    mentions: Vec<Mention>,
    calls: Calls<'a>,
    /// Up to here the arguments of a `set_config` have been read.
    arguments_end: usize,
    /// What may be left behind, save by calls.
    pub(super) traces: Traces,
}

/// What has been seen in the statement that is being read.
pub(super) struct Statement<'a> {
    pub(super) lead: Lead,
    /// Stands behind the first word.
    pub(super) rest: Lexer<'a>,
    pub(super) pins: Pins,
    pub(super) assignments: Vec<Bound>,
    pub(super) unlocks: bool,
    pub(super) temporary: bool,
    pub(super) holds: bool,
    pub(super) copies: bool,
    pub(super) parameters: Parameters,
    /// Functions may run never, or many times.
    pub(super) conditional: bool,
    routine: bool,
    /// Open parentheses; a semicolon in them ends nothing (CREATE RULE).
    depth: u32,
    /// Between BEGIN ATOMIC and END of a routine's body, whose statements are none of their own.
    body: bool,
    /// The word that stands before, or a semicolon.
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
            arguments_end: 0,
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
        self.calls.found |= matches!(lead, Lead::Execute | Lead::Do | Lead::Call | Lead::Unknown);
        self.calls = Calls::begin(first, self.calls.found);
        let mut statement = Statement {
            lead,
            rest: self.lexer.clone(),
            pins: Pins::NONE,
            assignments: Vec::new(),
            parameters: Parameters::default(),
            unlocks: false,
            temporary: false,
            holds: false,
            copies: false,
            conditional: lead != Lead::Select,
            routine: false,
            depth,
            body: false,
            previous: match first {
                Token::Word(word) => word,
                _ => b"",
            },
        };
        while let Some((token, _)) = self.lexer.next_token() {
            let previous = std::mem::take(&mut statement.previous);
            match token {
                Token::Symbol(b';') if statement.depth == 0 && !statement.body => break,
                Token::Symbol(symbol) => {
                    self.calls.symbol(symbol, statement.depth);
                    match symbol {
                        b'(' | b'[' => statement.depth += 1,
                        b')' | b']' => statement.depth = statement.depth.saturating_sub(1),
                        b';' => statement.previous = b";",
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
                Token::Escaped => {
                    // It may be that of anything that is looked for.
                    self.calls.name(b"", true);
                    statement.pins.insert(Pin::Unknown);
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
            Notable::Draws => {
                self.traces.draws = true;
                self.calls.inserts = true;
            }
            Notable::Default => self.traces.draws |= statement.lead == Lead::Update,
            Notable::Unlock => statement.unlocks = true,
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
            Notable::Client => {
                statement.copies |= statement.lead == Lead::Copy && after(&["from"]);
            }
            Notable::Settings => {
                // UPDATE ONLY (pg_settings) is one, too.
                let in_parentheses =
                    self.calls.is_in_parentheses() && statement.lead != Lead::Select;
                if in_parentheses || self.calls.is_after(&["update", "only"]) {
                    statement.pins.insert(Pin::Setting);
                }
            }
            Notable::SetConfig => self.set_config(statement),
            Notable::Execute => {
                let runs = statement.lead == Lead::Explain
                    || statement.lead == Lead::Create && after(&["as"]);
                if runs {
                    self.mention(&mut self.lexer.clone());
                    // As where EXECUTE stands in front.
                    self.calls.found = true;
                }
            }
            Notable::Routine => statement.routine |= statement.lead == Lead::Create,
            // BEGIN alone is a name like any other.
            Notable::Begin if statement.routine && statement.depth == 0 => {
                statement.body |= next_is(&self.lexer, "atomic");
            }
            // Behind a statement of the body: any other is that of a CASE, or a label.
            Notable::End => statement.body &= !after(&[";", "atomic"]),
            Notable::Begin => {}
        }
    }

    /// A call of `set_config`, whose name has been read. One that stands in the arguments of another is not read: they
    /// have been read once, and in a text of nothing but such calls each would be read as often as there are any around it.
    fn set_config(&mut self, statement: &mut Statement<'a>) {
        if self.lexer.at() < self.arguments_end {
            // Of whatever name.
            let any = Pins::from_iter([Pin::Setting, Pin::RandomSeed]);
            statement.pins = statement.pins.union(any);
            return;
        }
        let mut behind = self.lexer.clone();
        let call = assign::call(&mut behind);
        self.arguments_end = behind.at();
        match call {
            Call::Assigns(assignment) => {
                // Within an expression it may be left out: COALESCE, AND, an operator that is strict.
                let is_item = statement.depth == 0 && self.calls.begins_item() && ends_item(behind);
                statement.conditional |= !is_item;
                statement.assignments.push(assignment);
            }
            Call::Passes => {}
            Call::Obscures { respells } => {
                self.traces.obscures = true;
                self.traces.respells |= respells;
            }
            Call::Pins(pin) => statement.pins.insert(pin),
        }
    }

    /// Notes that the next token names a prepared statement, and says its name.
    pub(super) fn mention(&mut self, lexer: &mut Lexer<'a>) -> Option<Bytes> {
        let (token, at) = lexer.next_token()?;
        let name = identifier(token)?;
        self.mentions.push(Mention {
            at,
            name: name.clone(),
            step: self.step(),
        });
        Some(name)
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

/// Goes past a keyword if it comes next.
pub(super) fn skip(lexer: &mut Lexer<'_>, keyword: &str) -> bool {
    let comes = next_is(lexer, keyword);
    if comes {
        lexer.next_token();
    }
    comes
}

/// Whether an item of a list ends here: behind a cast and a label, perhaps.
fn ends_item(mut rest: Lexer<'_>) -> bool {
    let is_colon = |rest: &Lexer<'_>| peek(rest) == Some(Token::Symbol(b':'));
    while is_colon(&rest) {
        rest.next_token();
        if !is_colon(&rest) {
            // The type.
            rest.next_token();
        }
    }
    skip(&mut rest, "as");
    if matches!(peek(&rest), Some(Token::Word(_) | Token::Quoted(_))) {
        rest.next_token();
    }
    matches!(peek(&rest), None | Some(Token::Symbol(b',' | b';')))
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
