//! SET, RESET and `set_config`: which setting becomes what.

use std::rc::Rc;

use super::super::pins::{Pin, Pins};
use super::bound::{Bound, SEED, Said, is_of_transaction};
use super::characteristics::characteristics;
use super::interval::interval;
use super::lexer::{Lexer, Token};
use super::literal::{Value, decode};
use super::statement::{identifier, is, next_is, peek, skip};
use super::{Act, Assignment, Dialect, is_setting_name, present_name};

/// What a call of `set_config` does.
pub(super) enum Call {
    /// Its arguments are literals and parameters.
    Assigns(Bound),
    /// Whatever it sets, it is only until the end of the transaction, and decides nothing meanwhile.
    Passes,
    /// Until the end of the transaction it may decide what statements mean, and perhaps how they are read.
    Obscures { respells: bool },
    /// It leaves what cannot be followed.
    Pins(Pin),
}

/// Reads what stands behind SET. What cannot be followed pins.
pub(super) fn set(mut rest: Lexer<'_>, dialect: Dialect<'_>, pins: &mut Pins) -> Act {
    let local = keyword(&rest, "local") && skip(&mut rest, "local");
    // SET SESSION AUTHORIZATION is no SET AUTHORIZATION, though it reads on in the same way.
    if keyword(&rest, "session") && skip(&mut rest, "session") && !local {
        let is_of_all = keyword(&rest, "characteristics");
        if is_of_all && skip(&mut rest, "characteristics") {
            return characteristics(rest, pins);
        }
    }
    if keyword(&rest, "transaction") || keyword(&rest, "constraints") {
        return Act::Plain;
    }
    let Some((name, value)) = special(&mut rest, dialect).or_else(|| general(&mut rest, dialect))
    else {
        pins.insert(Pin::Setting);
        return Act::Plain;
    };
    if name == SEED {
        pins.insert(Pin::RandomSeed);
    }
    assigned(&name, value, local)
}

/// Reads what stands behind RESET.
pub(super) fn reset(mut rest: Lexer<'_>, pins: &mut Pins) -> Act {
    if next_is(&rest, "all") {
        return Act::ResetAll;
    }
    let name = if keyword(&rest, "session") {
        Some("session_authorization".to_owned())
    } else if keyword(&rest, "time") {
        Some("timezone".to_owned())
    } else if keyword(&rest, "transaction") {
        return Act::Plain;
    } else {
        name(&mut rest)
    };
    match name {
        Some(name) => assigned(&name, None, false),
        None => {
            pins.insert(Pin::Setting);
            Act::Plain
        }
    }
}

/// Whether this word comes next and is SQL's own, not (the first part of) a setting's name, which what follows it
/// tells: `session.x`, `SET role TO x`.
fn keyword(rest: &Lexer<'_>, word: &str) -> bool {
    let mut behind = rest.clone();
    skip(&mut behind, word) && !names_a_setting(&behind)
}

/// Whether the word before names a setting.
fn names_a_setting(behind: &Lexer<'_>) -> bool {
    matches!(peek(behind), Some(Token::Symbol(b'=' | b'.'))) || next_is(behind, "to")
}

/// Reads a call, from behind the name of the function to behind its arguments.
pub(super) fn call(lexer: &mut Lexer<'_>) -> Call {
    let unknown = Call::Pins(Pin::Setting);
    let Some([name, value, local]) = arguments(lexer) else {
        return unknown;
    };
    let said = |token| match token {
        Some(Token::Text(text)) => decode(text).map(Said::Literal),
        Some(Token::Parameter(number)) => Some(Said::Parameter(number)),
        _ => None,
    };
    let name = said(name);
    if matches!(&name, Some(Said::Literal(name)) if is(name, SEED)) {
        // Whatever it is set to, and even if only for the transaction: nothing gives the one before back.
        return Call::Pins(Pin::RandomSeed);
    }
    let local = match local {
        Some(Token::Word(word)) if is(word, "true") => true,
        Some(Token::Word(word)) if is(word, "false") => false,
        Some(Token::Text(text)) => match &decode(text).unwrap_or_default()[..] {
            b"t" | b"true" | b"on" | b"yes" | b"1" => true,
            b"f" | b"false" | b"off" | b"no" | b"0" => false,
            _ => return unknown,
        },
        _ => return unknown,
    };
    let decides = name.as_ref().is_none_or(Said::may_decide);
    let unclear = match local {
        false => unknown,
        true if decides => Call::Obscures {
            respells: name.as_ref().is_none_or(Said::may_respell),
        },
        true => Call::Passes,
    };
    let (Some(name), Some(value)) = (name, said(value)) else {
        return unclear;
    };
    if let Said::Literal(name) = &name {
        if !is_setting_name(name) {
            return unclear;
        }
        if is_of_transaction(&name.to_ascii_lowercase()) {
            return Call::Passes;
        }
    }
    match &value {
        Said::Literal(value) if value.len() > VALUE_LIMIT => unclear,
        // What it is does not matter.
        Said::Parameter(_) if local && !decides => Call::Passes,
        _ => Call::Assigns(Bound { name, value, local }),
    }
}

/// The three arguments of a call: each a single token, or `None` where it is more than a literal
/// with a cast. `None` for the whole if they are not three.
fn arguments<'a>(lexer: &mut Lexer<'a>) -> Option<[Option<Token<'a>>; 3]> {
    if lexer.next_token()?.0 != Token::Symbol(b'(') {
        return None;
    }
    let mut arguments = [None; 3];
    let mut at = 0;
    let mut tokens = 0;
    let mut cast = false;
    let mut depth = 0;
    loop {
        let token = lexer.next_token()?.0;
        match token {
            Token::Symbol(b',') if depth == 0 => {
                at += 1;
                (tokens, cast) = (0, false);
                continue;
            }
            Token::Symbol(b')') if depth == 0 => break,
            Token::Symbol(b'(') => depth += 1,
            Token::Symbol(b')') => depth -= 1,
            Token::Symbol(b':') if tokens == 1 => {
                cast = true;
                continue;
            }
            Token::Word(word) if cast => {
                let types = match at {
                    LOCAL => ["bool", "boolean"],
                    _ => ["text", "varchar"],
                };
                // Of another type it may come out as another text.
                if !types.iter().any(|of| is(word, of)) {
                    arguments[at] = None;
                }
                continue;
            }
            _ => {}
        }
        tokens += 1;
        *arguments.get_mut(at)? = (tokens == 1).then_some(token);
    }
    (at == LOCAL).then_some(arguments)
}

/// Which of the arguments says whether it is until the end of the transaction only.
const LOCAL: usize = 2;

/// The forms of SET that name their setting in words of their own.
fn special(rest: &mut Lexer<'_>, dialect: Dialect<'_>) -> Option<(String, Option<Value>)> {
    let Some(Token::Word(first)) = peek(rest) else {
        return None;
    };
    let named_by = [
        ("time", Some("zone"), "timezone"),
        ("authorization", None, "session_authorization"),
        ("role", None, "role"),
        ("names", None, "client_encoding"),
        ("schema", None, "search_path"),
        ("xml", Some("option"), "xmloption"),
    ];
    let (_, second, name) = named_by.into_iter().find(|(word, ..)| is(first, word))?;
    let mut behind = rest.clone();
    behind.next_token();
    if second.is_some_and(|second| !skip(&mut behind, second)) {
        return None;
    }
    // `SET role TO x` is a general one, and so is a setting that happens to be called `names`.
    if names_a_setting(&behind) {
        return None;
    }
    *rest = behind;
    if next_is(rest, "default") || name == "timezone" && next_is(rest, "local") {
        return Some((name.to_owned(), None));
    }
    if skip(rest, "interval") {
        return interval(rest, dialect).map(|value| (name.to_owned(), Some(value)));
    }
    let items = items(rest)?;
    match (items.len(), name) {
        (0, "client_encoding") => Some((name.to_owned(), None)),
        (1, _) => Some((name.to_owned(), Some(value_of(name, &items, dialect)?))),
        _ => None,
    }
}

/// SET name TO|= value [, …].
fn general(rest: &mut Lexer<'_>, dialect: Dialect<'_>) -> Option<(String, Option<Value>)> {
    let name = name(rest)?;
    if !(skip(rest, "to") || matches!(rest.next_token()?.0, Token::Symbol(b'='))) {
        return None;
    }
    if next_is(rest, "default") {
        return Some((name, None));
    }
    let items = items(rest)?;
    if items.is_empty() {
        return None;
    }
    let value = value_of(&name, &items, dialect)?;
    Some((name, Some(value)))
}

/// A setting's name, in lower case.
fn name(rest: &mut Lexer<'_>) -> Option<String> {
    let mut name = Vec::new();
    loop {
        name.extend_from_slice(&identifier(rest.next_token()?.0)?);
        if peek(rest) != Some(Token::Symbol(b'.')) {
            break;
        }
        rest.next_token();
        name.push(b'.');
    }
    name.make_ascii_lowercase();
    is_setting_name(&name).then(|| present_name(&String::from_utf8_lossy(&name)).to_owned())
}

/// The values up to the end of the statement: strings, words, numbers, separated by commas.
fn items(rest: &mut Lexer<'_>) -> Option<Vec<Vec<u8>>> {
    let mut items = Vec::new();
    let mut length = 0;
    loop {
        let item = match rest.next_token() {
            None | Some((Token::Symbol(b';'), _)) if items.is_empty() => return Some(items),
            Some((Token::Text(text), _)) => decode(text)?,
            Some((Token::Number(number), _)) => decimal(number)?,
            Some((Token::Symbol(b'-'), _)) => [b"-".to_vec(), signed(rest)?].concat(),
            Some((Token::Symbol(b'+'), _)) => signed(rest)?,
            Some((token, _)) => identifier(token)?.to_vec(),
            None => return None,
        };
        length += item.len();
        if length > VALUE_LIMIT {
            return None;
        }
        items.push(item);
        match rest.next_token() {
            None | Some((Token::Symbol(b';'), _)) => return Some(items),
            Some((Token::Symbol(b','), _)) => {}
            Some(_) => return None,
        }
    }
}

fn signed(rest: &mut Lexer<'_>) -> Option<Vec<u8>> {
    match rest.next_token()?.0 {
        Token::Number(number) => decimal(number),
        _ => None,
    }
}

/// A number as the server writes it down: without zeros in front, which would read as octal again.
fn decimal(number: &[u8]) -> Option<Vec<u8>> {
    if !number.iter().all(u8::is_ascii_digit) {
        let plain = number
            .iter()
            .all(|byte| byte.is_ascii_digit() || *byte == b'.');
        return plain.then(|| number.to_vec());
    }
    let zeros = number.iter().take_while(|&&byte| byte == b'0').count();
    Some(number[zeros.min(number.len() - 1)..].to_vec())
}

/// The value as the server puts it together from several: quoted as names where the setting is a
/// list of names, else just joined.
fn value_of(name: &str, items: &[Vec<u8>], dialect: Dialect<'_>) -> Option<Value> {
    if LISTS_OF_NAMES.contains(&name) {
        return Value::of_list(items);
    }
    Some(Value::of_bytes(&items.join(&b", "[..]), dialect.encoding))
}

fn assigned(name: &str, value: Option<Value>, local: bool) -> Act {
    if is_of_transaction(name.as_bytes()) {
        return Act::Plain;
    }
    Act::Assign(vec![Assignment {
        name: Rc::from(name),
        value,
        local,
    }])
}

/// The settings with `GUC_LIST_QUOTE` that a session may set. Extensions can have none.
const LISTS_OF_NAMES: [&str; 4] = [
    "search_path",
    "temp_tablespaces",
    "local_preload_libraries",
    "session_preload_libraries",
];

/// Longest value that is followed, in bytes.
pub(super) const VALUE_LIMIT: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::super::super::work;
    use super::super::read;
    use super::super::tests::{setting, settings};
    use super::*;

    #[test]
    fn calls_in_the_arguments_of_calls_are_not_read_again() {
        for text in ["set_config(".repeat(5000), "set_config('a', ".repeat(5000)] {
            let text = format!("SELECT {text}");
            let work = work::of(|| read(text.as_bytes(), Dialect::USUAL));
            assert!(work <= 3 * text.len(), "{work} for {}", text.len());
        }
        let only = |text: &str| {
            let script = read(text.as_bytes(), Dialect::USUAL).script.unwrap();
            script.steps[0].clone()
        };
        // What the inner one sets, nobody has read.
        let nested = only("SELECT set_config('a', set_config('b', 'c', true), true)");
        assert!(nested.pins.contains(Pin::Setting) && nested.pins.contains(Pin::RandomSeed));
        let behind = only("SELECT set_config('a', '1', true), set_config('b', '2', true)");
        assert!(matches!(behind.act, Act::Assign(all) if all.len() == 2));
    }

    #[test]
    fn words_of_set_may_be_names_of_settings() {
        for name in [
            "transaction.x",
            "constraints.x",
            "session.x",
            "local.x",
            "characteristics.x",
            "time.x",
            "role.x",
        ] {
            let said = (name.to_owned(), "'1'".to_owned());
            for set in ["SET", "SET SESSION"] {
                assert_eq!(setting(&format!("{set} {name} = '1'")), said);
            }
            let local = (name.to_owned(), "'1'".to_owned(), true);
            assert_eq!(settings(&format!("SET LOCAL {name} TO '1'")), [local]);
            let reset = (name.to_owned(), "DEFAULT".to_owned());
            assert_eq!(setting(&format!("RESET {name}")), reset);
        }
    }
}
