//! The code of a DO block, which ORMs and migrations write around what SQL has no IF NOT EXISTS for.
//!
//! It may do anything, and would pin who says it for as long as it is connected. But it mostly shows that it leaves nothing
//! that the client could go on with: then it does not pin. As behind a call of a function of the tenant's own, the backend
//! is cleaned in any case: so nothing reaches anybody else even where code is misread here.

use super::Dialect;
use super::calls::Calls;
use super::lexer::{Lexer, Quoting, Text, Token};
use super::literal::decode;
use super::statement::{is, next_is};
use super::vocabulary::Notable;

/// Whether the code of a DO, behind that word, is PL/pgSQL in which nothing is seen that outlives its transaction.
pub(super) fn stays_within(mut rest: Lexer<'_>, dialect: Dialect<'_>) -> bool {
    let mut code = None;
    while let Some((token, _)) = rest.next_token() {
        match token {
            Token::Symbol(b';') => break,
            Token::Text(text) if code.is_none() => code = Some(text),
            Token::Word(word) if is(word, "language") && next_is(&rest, "plpgsql") => {
                rest.next_token();
            }
            _ => return false,
        }
    }
    code.is_some_and(|text| match text {
        // The usual one is read as it stands.
        Text {
            inside,
            quoting: Quoting::Dollar,
        } => leaves_nothing(inside, dialect),
        text => decode(text).is_some_and(|code| leaves_nothing(&code, dialect)),
    })
}

/// Goes through it word by word: what begins a statement is known by what stands before it.
fn leaves_nothing(code: &[u8], dialect: Dialect<'_>) -> bool {
    let mut lexer = Lexer::new(code, dialect.backslash_escapes);
    let mut calls = Calls::default();
    let mut begins = true;
    while let Some((token, _)) = lexer.next_token() {
        let leaves = match token {
            Token::Word(word) => {
                calls.name(word, false);
                if CONTROL.iter().any(|known| is(word, known)) {
                    // A parenthesis behind it calls nothing.
                    calls.other();
                }
                begins && LEAVE.iter().any(|known| is(word, known))
                    || Notable::of(word).is_some_and(|notable| match notable {
                        // That of a trigger runs nothing.
                        Notable::Execute => begins || !names_a_routine(&lexer),
                        notable => notable.leaves(),
                    })
            }
            Token::Quoted(name) => {
                calls.name(name, true);
                Notable::of_name(name).is_some_and(Notable::leaves)
            }
            Token::Escaped => true,
            Token::Symbol(symbol) => {
                // (How deep, matters for PARTITION BY alone.)
                calls.symbol(symbol, 1);
                false
            }
            _ => {
                calls.other();
                false
            }
        };
        if leaves || calls.found {
            return false;
        }
        begins = match token {
            Token::Word(word) => BEFORE_STATEMENTS.iter().any(|known| is(word, known)),
            // The end of a label, too.
            Token::Symbol(symbol) => matches!(symbol, b';' | b'>'),
            _ => false,
        };
    }
    true
}

fn names_a_routine(lexer: &Lexer<'_>) -> bool {
    next_is(lexer, "function") || next_is(lexer, "procedure")
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

/// Words of PL/pgSQL, no functions, behind which a parenthesis may stand.
const CONTROL: [&str; 9] = [
    "if", "elsif", "elseif", "while", "return", "assert", "perform", "foreach", "exit",
];

/// The statements that are not looked into. (One that PL/pgSQL does not allow fails.)
const LEAVE: [&str; 12] = [
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
            "<<a>> BEGIN <<b>> LOAD 'c'; END",
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
            "BEGIN PERFORM setseed(0.5); END",
            "BEGIN CREATE TEMP TABLE a (b int); END",
            "BEGIN CREATE TABLE pg_temp.a (b int); END",
            "BEGIN UPDATE pg_settings SET setting = 'x'; END",
            "BEGIN CALL p(); COMMIT; END",
            "BEGIN COMMIT; END",
            "BEGIN PERFORM u&\"set\\005fconfig\"('a', 'b', false); END",
        ] {
            for text in [
                format!("DO $$ {code} $$"),
                format!("DO '{}'", code.replace('\'', "''")),
            ] {
                assert_eq!(pins(&text), [Pin::Unknown], "{text}");
            }
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
