//! A time zone that is said as an interval.

use super::Dialect;
use super::lexer::{Lexer, Token};
use super::literal::{Value, decode};
use super::statement::{peek, skip};

/// SET TIME ZONE INTERVAL '…' [HOUR|MINUTE|HOUR TO MINUTE]: the setting also reads the interval from a string, but no
/// fields behind that. What they mean is said within it.
pub(super) fn interval(rest: &mut Lexer<'_>, dialect: Dialect<'_>) -> Option<Value> {
    let Token::Text(text) = rest.next_token()?.0 else {
        return None;
    };
    let text = decode(text)?;
    let [hour, to, minute] = ["hour", "to", "minute"].map(|word| skip(rest, word));
    let unit: &[u8] = match (hour, to, minute) {
        (false, false, false) => b"",
        (true, false, false) if is_count(&text) => b" hour",
        (false, false, true) | (true, true, true) if is_count(&text) => b" minute",
        (true, true, true) if is_clock(&text) => b"",
        _ => return None,
    };
    if !matches!(peek(rest), None | Some(Token::Symbol(b';'))) {
        return None;
    }
    let said = [b"INTERVAL '", &text[..], unit, b"'"].concat();
    Some(Value::of_bytes(&said, dialect.encoding))
}

/// Whether a text is a whole number, signed or not: of whatever the field behind it says.
fn is_count(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+"));
    let digits = digits.unwrap_or(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// Whether a text is hours and minutes, which is what it is without fields, too.
fn is_clock(text: &[u8]) -> bool {
    let colon = text.iter().position(|&byte| byte == b':');
    colon.is_some_and(|at| is_count(&text[..at]) && is_count(&text[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_its_fields_mean_is_said_within_it() {
        let said = |text: &str| {
            let mut lexer = Lexer::new(text.as_bytes(), false);
            interval(&mut lexer, Dialect::USUAL).map(|value| value.as_sql().to_owned())
        };
        for (text, within) in [
            ("'-8'", "-8"),
            ("'-8' HOUR; SELECT 1", "-8 hour"),
            ("'+90' MINUTE", "+90 minute"),
            ("'-90' HOUR TO MINUTE", "-90 minute"),
            ("'-08:00' HOUR TO MINUTE", "-08:00"),
        ] {
            let within = format!("'INTERVAL ''{within}'''");
            assert_eq!(said(text), Some(within), "{text}");
        }
        for text in [
            "'-08:30' HOUR",
            "'1 day' HOUR",
            "'8:00:30' HOUR TO MINUTE",
            "'8' SECOND",
            "(0) '8'",
        ] {
            assert_eq!(said(text), None, "{text}");
        }
    }
}
