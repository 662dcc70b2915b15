//! SET SESSION CHARACTERISTICS: what transactions are like from now on.

use std::rc::Rc;

use super::super::pins::{Pin, Pins};
use super::lexer::{Lexer, Token};
use super::literal::Value;
use super::statement::{peek, skip};
use super::{Act, Assignment};

/// SET SESSION CHARACTERISTICS AS TRANSACTION mode [, …]: sets the defaults of transactions.
pub(super) fn characteristics(mut rest: Lexer<'_>, pins: &mut Pins) -> Act {
    let mut assignments: Vec<Assignment> = Vec::new();
    if !(skip(&mut rest, "as") && skip(&mut rest, "transaction")) {
        return Act::Plain;
    }
    let mut default = |name: &str, value: &str| {
        // The last one counts.
        assignments.retain(|known| *known.name != *name);
        assignments.push(Assignment {
            name: Rc::from(name),
            value: Some(Value::Expression(format!("'{value}'").into())),
            local: false,
        });
    };
    let mut known = true;
    while let Some(token) = peek(&rest) {
        if matches!(token, Token::Symbol(b';')) {
            break;
        }
        if token == Token::Symbol(b',') {
            rest.next_token();
        } else if skip(&mut rest, "read") {
            let value = if skip(&mut rest, "only") { "on" } else { "off" };
            known &= value == "on" || skip(&mut rest, "write");
            default("default_transaction_read_only", value);
        } else if skip(&mut rest, "deferrable") {
            default("default_transaction_deferrable", "on");
        } else if skip(&mut rest, "not") {
            known &= skip(&mut rest, "deferrable");
            default("default_transaction_deferrable", "off");
        } else if skip(&mut rest, "isolation") {
            known &= skip(&mut rest, "level");
            let level = isolation_level(&mut rest);
            known &= level.is_some();
            default("default_transaction_isolation", level.unwrap_or_default());
        } else {
            known = false;
            break;
        }
    }
    if !known {
        pins.insert(Pin::Setting);
        return Act::Plain;
    }
    Act::Assign(assignments)
}

fn isolation_level(rest: &mut Lexer<'_>) -> Option<&'static str> {
    if skip(rest, "serializable") {
        Some("serializable")
    } else if skip(rest, "repeatable") {
        skip(rest, "read").then_some("repeatable read")
    } else if skip(rest, "read") {
        match (skip(rest, "committed"), skip(rest, "uncommitted")) {
            (true, _) => Some("read committed"),
            (_, true) => Some("read uncommitted"),
            _ => None,
        }
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;

    #[test]
    fn what_is_set_again_and_again_is_held_once() {
        let modes = ["read only"; 1000].join(", ") + ", read write, not deferrable";
        let text = format!("SET SESSION CHARACTERISTICS AS TRANSACTION {modes}");
        let last = ["read_only", "deferrable"].map(|mode| {
            let name = format!("default_transaction_{mode}");
            (name, "'off'".to_owned(), false)
        });
        assert_eq!(settings(&text), last);
    }
}
