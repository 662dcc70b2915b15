//! The code of a DO block, which ORMs and migrations write around what SQL has no IF NOT EXISTS for.
//!
//! It may do anything, and would pin who says it for as long as it is connected. But it mostly shows that it leaves nothing
//! that the client could go on with: then it does not pin. What is in doubt does. As behind a call of a function of the
//! tenant's own, the backend is cleaned then: so what is misread here reaches nobody else, save what no cleaning ends (a
//! library, a connection of dblink's, the seed), or with `reset: never`.

use super::super::pins::{Pin, Pins};
use super::bound::SEED;
use super::calls::Calls;
use super::lexer::{Lexer, Quoting, Text, Token};
use super::literal::decode;
use super::statement::{is, next_is, peek, skip};
use super::vocabulary::Notable;

/// What a DO, read from behind that word, may leave: nothing if it is PL/pgSQL in which nothing is seen that outlives its
/// transaction, and otherwise whatever nobody knows, beside what is seen to stay for good.
pub(super) fn leaves(mut rest: Lexer<'_>) -> Pins {
    let mut code = None;
    while let Some((token, _)) = rest.next_token() {
        match token {
            Token::Symbol(b';') => break,
            Token::Text(text) if code.is_none() => code = Some(text),
            Token::Word(word) if is(word, "language") && next_is(&rest, "plpgsql") => {
                rest.next_token();
            }
            _ => return Pins::from_iter([Pin::Unknown]),
        }
    }
    match code {
        // The usual one is read as it stands.
        Some(Text {
            inside,
            quoting: Quoting::Dollar,
        }) => Code::read(inside),
        text => text
            .and_then(decode)
            .map_or_else(|| Pins::from_iter([Pin::Unknown]), |code| Code::read(&code)),
    }
}

/// Goes through it word by word: what begins a statement is known by what stands before it.
struct Code<'a> {
    text: &'a [u8],
    lexer: Lexer<'a>,
    calls: Calls<'a>,
    previous: Option<Token<'a>>,
    /// Something in it may outlive the transaction.
    leaves: bool,
    /// What does so if anything does.
    pins: Pins,
}

impl<'a> Code<'a> {
    fn read(text: &'a [u8]) -> Pins {
        let mut code = Code {
            text,
            // (A backslash in a plain literal is looked at there.)
            lexer: Lexer::new(text, false),
            calls: Calls::default(),
            previous: None,
            leaves: false,
            pins: Pins::NONE,
        };
        code.walk();
        if !code.leaves && !code.calls.found {
            return Pins::NONE;
        }
        code.pins.for_good().union(Pins::from_iter([Pin::Unknown]))
    }

    fn walk(&mut self) {
        while let Some((token, at)) = self.lexer.next_token() {
            match token {
                Token::Word(word) => self.word(word),
                Token::Quoted(name) => {
                    self.calls.name(name, true);
                    self.sows(name);
                    self.notice(Notable::of_name(name), false);
                }
                Token::Escaped => self.leaves = true,
                // (How deep, matters for PARTITION BY alone.)
                Token::Symbol(symbol) => self.calls.symbol(symbol, 1),
                Token::Text(text) => {
                    // It is compiled under the standard_conforming_strings of the time at which it is run.
                    let plain = matches!(text.quoting, Quoting::Plain | Quoting::Other);
                    self.leaves |= plain && self.text[at].contains(&b'\\');
                    if let Some(text) = decode(text) {
                        self.sows(&text);
                    }
                    self.calls.other();
                }
                Token::Number(number) => {
                    // Older servers end it where a word begins.
                    self.leaves |= number.iter().any(u8::is_ascii_alphabetic);
                    self.calls.other();
                }
                Token::Parameter(_) => self.calls.other(),
            }
            self.previous = Some(token);
        }
    }

    fn word(&mut self, word: &'a [u8]) {
        self.calls.name(word, false);
        let begins = self.begins_statement();
        let is_one = |words: &[&str]| words.iter().any(|known| is(word, known));
        // (What seems to end a label may be an operator, and its function the tenant's own.)
        if begins && is_one(&CONTROL) && self.previous != Some(Token::Symbol(b'>')) {
            self.calls.begin_value();
        }
        if begins && is_one(&LEAVE) {
            self.leaves = true;
            if is(word, "load") {
                self.pins.insert(Pin::Load);
            }
        }
        self.sows(word);
        self.notice(Notable::of(word), begins);
    }

    /// Whether a statement may begin behind the token before.
    fn begins_statement(&self) -> bool {
        match self.previous {
            None => true,
            Some(Token::Word(word)) => BEFORE_STATEMENTS.iter().any(|known| is(word, known)),
            // The end of a label, too.
            Some(Token::Symbol(symbol)) => matches!(symbol, b';' | b'>'),
            Some(_) => false,
        }
    }

    /// At what may be the name of the setting that is the seed.
    fn sows(&mut self, name: &[u8]) {
        if is(name, SEED) {
            self.pins.insert(Pin::RandomSeed);
        }
    }

    fn notice(&mut self, notable: Option<Notable>, begins: bool) {
        let Some(notable) = notable else { return };
        match notable {
            Notable::Draws => self.calls.inserts = true,
            Notable::Pins(pin) => self.pins.insert(pin),
            _ => {}
        }
        self.leaves |= match notable {
            Notable::Execute => begins || !self.is_of_trigger(),
            notable => notable.leaves(),
        };
    }

    /// Whether EXECUTE, which has been read, is that of a trigger, which runs nothing: behind FOR EACH ROW or WHEN (...)
    /// no text is executed, and what is prepared has no two names.
    fn is_of_trigger(&self) -> bool {
        let mut rest = self.lexer.clone();
        let behind =
            self.calls.is_after(&["row", "statement"]) || self.calls.is_behind_parentheses();
        behind
            && (skip(&mut rest, "function") || skip(&mut rest, "procedure"))
            && matches!(
                rest.next_token(),
                Some((Token::Word(_) | Token::Quoted(_), _))
            )
            && matches!(peek(&rest), Some(Token::Symbol(b'(' | b'.')))
    }
}

impl Notable {
    /// Whether the word may mean something that outlives its transaction, or takes such a thing away.
    fn leaves(self) -> bool {
        match self {
            Notable::SetConfig
            | Notable::Pins(_)
            | Notable::Unlock
            | Notable::Temporary
            | Notable::TemporarySchema
            | Notable::Settings
            | Notable::Execute => true,
            Notable::Draws
            | Notable::Default
            | Notable::Hold
            | Notable::Client
            | Notable::Conditional
            | Notable::Routine
            | Notable::Begin
            | Notable::End => false,
        }
    }
}

/// Behind these a statement of PL/pgSQL begins.
const BEFORE_STATEMENTS: [&str; 4] = ["begin", "then", "else", "loop"];

/// Words that begin a statement of PL/pgSQL, no functions, behind which a value begins, perhaps in parentheses.
const CONTROL: [&str; 9] = [
    "if", "elsif", "elseif", "while", "return", "assert", "perform", "foreach", "exit",
];

/// The statements that are not looked into. (One that PL/pgSQL does not allow fails.) FETCH and MOVE may run a portal of
/// the protocol, in which anything may be set.
const LEAVE: [&str; 14] = [
    "fetch",
    "move",
    "set",
    "reset",
    "discard",
    "listen",
    "unlisten",
    "call",
    "do",
    "prepare",
    "deallocate",
    "load",
    "commit",
    "rollback",
];

#[cfg(test)]
mod tests {
    use super::super::super::pins::Pin;
    use super::super::tests::{pins, steps};
    use super::super::{Act, Dialect, read};

    #[test]
    fn code_that_leaves_nothing_pins_nobody() {
        for text in [
            "DO $$ BEGIN END $$",
            "DO 'BEGIN CREATE TYPE \"kind\" AS ENUM(''a'', ''set; set'');
             EXCEPTION WHEN duplicate_object THEN null; END'",
            "do $do$ begin alter table t add constraint c foreign key (a) references u(b) on delete set null;
             exception when duplicate_object then null; end $do$ language plpgsql",
            "DO $$ BEGIN ALTER TABLE \"a\" ADD CONSTRAINT \"c\" FOREIGN KEY (\"b\") REFERENCES \"public\".\"d\"(\"id\") ON DELETE no action;
             EXCEPTION WHEN duplicate_object THEN null; END $$;",
            "DO LANGUAGE plpgsql $$ DECLARE r record; BEGIN
             IF NOT EXISTS (SELECT 1 FROM pg_type WHERE typname = 'x') THEN CREATE TYPE x AS ENUM('a'); END IF;
             FOR r IN SELECT * FROM t LOOP UPDATE t SET a = 1 WHERE id = r.id; END LOOP;
             INSERT INTO t VALUES (1) ON CONFLICT DO UPDATE SET a = 2;
             ALTER TABLE t ALTER a SET NOT NULL; -- LISTEN a;
             IF (SELECT count(*) FROM t) > 1 THEN PERFORM (SELECT now()), pg_advisory_xact_lock(1); END IF; END $$;",
            "DO $$ BEGIN CREATE TRIGGER t BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f(); END $$",
            "DO $$ BEGIN CREATE TRIGGER t AFTER UPDATE ON t WHEN (new.a > 1) EXECUTE PROCEDURE app.\"f\"(); END $$",
            "DO $$ BEGIN FOR i IN 1..10 LOOP UPDATE t SET a = 1.5 * i, seed = 2; END LOOP; WHILE (i > 1) LOOP RETURN; END LOOP; END $$",
        ] {
            assert_eq!(pins(text), [], "{text}");
            let reading = read(text.as_bytes(), Dialect::USUAL);
            assert!(reading.traces.calls && reading.traces.obscures, "{text}");
        }
    }

    #[test]
    fn code_that_may_leave_something_pins() {
        for code in [
            "BEGIN SET a = 'b'; END",
            "BEGIN NULL; SET LOCAL a = 'b'; END",
            "BEGIN IF x THEN LISTEN a; ELSE UNLISTEN a; END IF; END",
            "BEGIN LOOP RESET ALL; END LOOP; END",
            "BEGIN EXECUTE 'SELECT 1'; END",
            "BEGIN PERFORM login(1); END",
            "BEGIN x := a.login(1); END",
            "BEGIN EXECUTE function; END",
            "BEGIN FOR r IN EXECUTE x LOOP NULL; END LOOP; END",
            "BEGIN EXCEPTION WHEN OTHERS THEN DISCARD TEMP; END",
            "BEGIN PERFORM set_config('a', 'b', false); END",
            "BEGIN PERFORM \"set_config\"('a', 'b', false); END",
            "BEGIN x := pg_try_advisory_lock(1); END",
            "BEGIN PERFORM pg_advisory_unlock_all(); END",
            "BEGIN x := lastval(); END",
            "BEGIN CREATE TEMP TABLE a (b int); END",
            "BEGIN CREATE TABLE pg_temp.a (b int); END",
            "BEGIN UPDATE pg_settings SET setting = 'x'; END",
            "BEGIN CALL p(); COMMIT; END",
            "BEGIN COMMIT; END",
            "BEGIN PERFORM u&\"set\\005fconfig\"('a', 'b', false); END",
            "BEGIN FOR i IN 1..login(1) LOOP NULL; END LOOP; END",
            "BEGIN FOR i IN 1..set_config('a', '7', false)::int LOOP NULL; END LOOP; END",
            "BEGIN FOR i IN range(1)..2 LOOP NULL; END LOOP; END",
            "BEGIN FOR i IN REVERSE range(1)..2 LOOP NULL; END LOOP; END",
            "BEGIN IF true THEN NULL; END IF; FETCH c INTO x; END",
            "<<a>> BEGIN <<b>> MOVE c; END",
            "BEGIN FOR r IN EXECUTE function LOOP NULL; END LOOP; END",
            "BEGIN FOR r IN EXECUTE function USING (a) LOOP NULL; END LOOP; END",
            "BEGIN FOR r IN EXECUTE function OPERATOR(pg_catalog.||) '' LOOP NULL; END LOOP; END",
            "BEGIN EXPLAIN (ANALYZE) EXECUTE function(1); END",
            "BEGIN PERFORM 'a\\'; --'; SET a = 'b'; \n END",
            "BEGIN PERFORM key(1); END",
            "BEGIN IF range(x) THEN NULL; END IF; END",
            "BEGIN IF NOT ilike(x) THEN NULL; END IF; END",
            "BEGIN RETURN sets(1); END",
            "BEGIN x := a > perform(1); END",
            "BEGIN x := a.perform(1); END",
            "BEGIN PERFORM perform(1); END",
        ] {
            for text in [
                format!("DO $$ {code} $$"),
                format!("DO '{}'", code.replace('\'', "''")),
            ] {
                assert_eq!(pins(&text), [Pin::Unknown], "{text}");
            }
        }
        for (code, pin) in [
            ("PERFORM setseed(0.5)", Pin::RandomSeed),
            ("SET seed TO 0.5", Pin::RandomSeed),
            ("PERFORM set_config('SEED', '0.5', true)", Pin::RandomSeed),
            (
                "UPDATE pg_settings SET setting = 0.5 WHERE name = 'seed'",
                Pin::RandomSeed,
            ),
            ("LOAD 'c'", Pin::Load),
            ("x := public.dblink_connect('c', 'dbname=x')", Pin::Load),
            ("PERFORM \"dblink_connect\"('c', 'dbname=x')", Pin::Load),
        ] {
            let text = format!("DO $$ BEGIN SET a = 'b'; {code}; END $$");
            assert_eq!(pins(&text), [pin, Pin::Unknown], "{text}");
        }
        for text in [
            "DO $$ BEGIN END $$ LANGUAGE plpython3u",
            "DO LANGUAGE 'plpgsql' $$ BEGIN END $$",
            "DO U&'BEGIN END'",
            "DO",
        ] {
            assert_eq!(pins(text), [Pin::Unknown], "{text}");
        }
    }

    #[test]
    fn what_stands_behind_it_is_read() {
        let acts: Vec<_> = steps("DO $$ BEGIN END $$; LISTEN a")
            .into_iter()
            .map(|step| step.act)
            .collect();
        assert_eq!(acts, [Act::Plain, Act::Makes(Pin::Listen)]);
    }
}
