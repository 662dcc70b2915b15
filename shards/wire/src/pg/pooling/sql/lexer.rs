//! SQL text to tokens, without allocating.
//!
//! Comments, quotes and dollar quotes are understood as PostgreSQL's `scan.l` understands them, since
//! what is in them must not be taken for a statement. Operators come byte by byte.

use std::ops::Range;

use super::super::work;

/// A token, with quotes and prefixes still on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A keyword or an identifier without quotes, as it was written.
    Word(&'a [u8]),
    /// `"…"`: what stands between the quotes, inner quotes still doubled.
    Quoted(&'a [u8]),
    /// `U&"…"`: a name in escapes, which are not worked out.
    Escaped,
    /// A string literal.
    Text(Text<'a>),
    /// A number, without its sign.
    Number(&'a [u8]),
    /// `$1`, by its number.
    Parameter(usize),
    /// Any other byte.
    Symbol(u8),
}

/// A string literal: what stands between its quotes, and how to read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Text<'a> {
    pub(super) inside: &'a [u8],
    pub(super) quoting: Quoting,
}

/// How a literal was quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quoting {
    /// `'…'`: only the quote is doubled.
    Plain,
    /// `E'…'`, and `'…'` while `standard_conforming_strings` is off.
    Escapes,
    /// `$tag$…$tag$`: as it stands.
    Dollar,
    /// `U&'…'`, `B'…'`, `X'…'`, `N'…'`, or in pieces: no text that is read further.
    Other,
}

/// The tokens of a text, in order.
#[derive(Debug, Clone)]
pub(super) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    backslash_escapes: bool,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a [u8], backslash_escapes: bool) -> Self {
        Lexer {
            text,
            at: 0,
            backslash_escapes,
        }
    }

    /// The next token and where it stands. An unterminated quote or comment reaches to the end of
    /// the text (PostgreSQL refuses such a text as a whole).
    pub(super) fn next_token(&mut self) -> Option<(Token<'a>, Range<usize>)> {
        let from = self.at;
        self.skip_blanks();
        let start = self.at;
        let byte = *self.text.get(start)?;
        let token = match byte {
            b'\'' => self.literal(start, self.plain_quoting()),
            b'"' => Token::Quoted(self.quoted(b'"', false)),
            b'$' => self.dollar(),
            b'0'..=b'9' => self.number(),
            b'.' if self.peek(1).is_some_and(|next| next.is_ascii_digit()) => self.number(),
            byte if begins_word(byte) => self.word(),
            byte => {
                self.at += 1;
                Token::Symbol(byte)
            }
        };
        work::note(self.at - from);
        Some((token, start..self.at))
    }

    /// Behind the token that was read last.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    /// Goes past white space and comments.
    fn skip_blanks(&mut self) {
        loop {
            match self.peek(0) {
                Some(b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c) => self.at += 1,
                Some(b'-') if self.peek(1) == Some(b'-') => {
                    let rest = &self.text[self.at..];
                    let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
                    self.at += end.unwrap_or(rest.len());
                }
                Some(b'/') if self.peek(1) == Some(b'*') => self.skip_block_comment(),
                _ => return,
            }
        }
    }

    /// Block comments nest.
    fn skip_block_comment(&mut self) {
        let mut depth = 0_usize;
        while let Some(byte) = self.peek(0) {
            let step = match (byte, self.peek(1)) {
                (b'/', Some(b'*')) => {
                    depth += 1;
                    2
                }
                (b'*', Some(b'/')) => {
                    depth -= 1;
                    2
                }
                _ => 1,
            };
            self.at += step;
            if depth == 0 {
                return;
            }
        }
    }

    fn plain_quoting(&self) -> Quoting {
        if self.backslash_escapes {
            Quoting::Escapes
        } else {
            Quoting::Plain
        }
    }

    /// A word, or the prefix of a literal.
    fn word(&mut self) -> Token<'a> {
        let start = self.at;
        let prefix = self.text[start].to_ascii_lowercase();
        match (prefix, self.peek(1), self.peek(2)) {
            (b'e', Some(b'\''), _) => return self.literal(start + 1, Quoting::Escapes),
            (b'n', Some(b'\''), _) => {
                self.literal(start + 1, self.plain_quoting());
                // Of a type that drops blanks at the end.
                return Token::Text(Text {
                    inside: b"",
                    quoting: Quoting::Other,
                });
            }
            (b'b' | b'x', Some(b'\''), _) => return self.literal(start + 1, Quoting::Other),
            (b'u', Some(b'&'), Some(b'\'')) => return self.literal(start + 2, Quoting::Other),
            (b'u', Some(b'&'), Some(b'"')) => {
                self.at += 2;
                self.quoted(b'"', false);
                return Token::Escaped;
            }
            _ => {}
        }
        let rest = &self.text[start..];
        let end = rest.iter().position(|&byte| !continues_word(byte));
        self.at += end.unwrap_or(rest.len());
        Token::Word(&self.text[start..self.at])
    }

    /// A literal whose opening quote stands at `quote`.
    fn literal(&mut self, quote: usize, quoting: Quoting) -> Token<'a> {
        self.at = quote;
        let inside = self.quoted(b'\'', quoting == Quoting::Escapes);
        let mut text = Text { inside, quoting };
        while let Some(quote) = self.goes_on() {
            self.at = quote;
            self.quoted(b'\'', quoting == Quoting::Escapes);
            // Of two pieces; what they come to is not worked out.
            text = Text {
                inside: b"",
                quoting: Quoting::Other,
            };
        }
        Token::Text(text)
    }

    /// Where the literal before goes on, in the same quoting: behind white space with the end of a line in it
    /// (`quotecontinue` in `scan.l`).
    fn goes_on(&self) -> Option<usize> {
        let mut at = self.at;
        let mut new_line = false;
        loop {
            match self.text.get(at..)? {
                [b' ' | b'\t' | 0x0b | 0x0c, ..] => at += 1,
                [b'\n' | b'\r', ..] => {
                    new_line = true;
                    at += 1;
                }
                [b'-', b'-', comment @ ..] => {
                    let ends = |byte: &u8| matches!(byte, b'\n' | b'\r');
                    at += 2 + comment.iter().position(ends)?;
                }
                [b'\'', ..] if new_line => return Some(at),
                _ => return None,
            }
        }
    }

    /// What stands between two quotes; a doubled one does not end it.
    fn quoted(&mut self, quote: u8, backslash_escapes: bool) -> &'a [u8] {
        let start = self.at + 1;
        self.at = start;
        while let Some(byte) = self.peek(0) {
            if byte == quote {
                if self.peek(1) != Some(quote) {
                    self.at += 1;
                    return &self.text[start..self.at - 1];
                }
                self.at += 2;
            } else if byte == b'\\' && backslash_escapes {
                self.at += 2;
            } else {
                self.at += 1;
            }
        }
        self.at = self.text.len();
        &self.text[start..]
    }

    /// A parameter, or a dollar-quoted literal.
    fn dollar(&mut self) -> Token<'a> {
        let start = self.at;
        let rest = &self.text[start + 1..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits > 0 {
            self.at += 1 + digits;
            let number = rest[..digits].iter().fold(0_usize, |number, digit| {
                let digit = usize::from(digit - b'0');
                number.saturating_mul(10).saturating_add(digit)
            });
            return Token::Parameter(number);
        }
        let tag = rest
            .iter()
            .take_while(|&&byte| byte != b'$' && continues_word(byte))
            .count();
        if rest.get(tag) != Some(&b'$') {
            self.at += 1;
            return Token::Symbol(b'$');
        }
        let delimiter = &self.text[start..start + tag + 2];
        let body = &self.text[start + delimiter.len()..];
        let length = find(body, delimiter).unwrap_or(body.len());
        self.at = (start + delimiter.len() + length + delimiter.len()).min(self.text.len());
        Token::Text(Text {
            inside: &body[..length],
            quoting: Quoting::Dollar,
        })
    }

    /// A number, with whatever is glued to it (an exponent, an underscore, a base), save for the two dots behind the
    /// first of a range in PL/pgSQL.
    fn number(&mut self) -> Token<'a> {
        let start = self.at;
        while let Some(byte) = self.peek(0) {
            let exponent_sign = matches!(byte, b'+' | b'-')
                && matches!(self.text[self.at - 1], b'e' | b'E')
                && self.peek(1).is_some_and(|next| next.is_ascii_digit());
            if !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_') || exponent_sign) {
                break;
            }
            if byte == b'.' && self.peek(1) == Some(b'.') {
                break;
            }
            self.at += 1;
        }
        Token::Number(&self.text[start..self.at])
    }
}

fn begins_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn continues_word(byte: u8) -> bool {
    begins_word(byte) || byte.is_ascii_digit() || byte == b'$'
}

fn find(text: &[u8], sought: &[u8]) -> Option<usize> {
    // `sought` is a delimiter, never empty.
    text.windows(sought.len())
        .position(|window| window == sought)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<Token<'_>> {
        let mut lexer = Lexer::new(text.as_bytes(), false);
        std::iter::from_fn(|| lexer.next_token().map(|(token, _)| token)).collect()
    }

    fn plain(inside: &str) -> Token<'_> {
        Token::Text(Text {
            inside: inside.as_bytes(),
            quoting: Quoting::Plain,
        })
    }

    #[test]
    fn what_is_quoted_or_commented_out_is_no_word() {
        use Token::{Number, Parameter, Quoted, Symbol, Word};
        assert_eq!(
            tokens("a--b\n/*c/*d*/e*/'f''g'\"h\"\"i\"$1 .5e-3;$"),
            [
                Word(b"a"),
                plain("f''g"),
                Quoted(b"h\"\"i"),
                Parameter(1),
                Number(b".5e-3"),
                Symbol(b';'),
                Symbol(b'$')
            ]
        );
    }

    #[test]
    fn a_range_is_no_number() {
        use Token::{Number, Symbol, Word};
        let dot = Symbol(b'.');
        assert_eq!(tokens("1..f"), [Number(b"1"), dot, dot, Word(b"f")]);
        assert_eq!(tokens("1.5..2"), [Number(b"1.5"), dot, Number(b".2")]);
    }

    #[test]
    fn each_quoting_ends_where_the_server_ends_it() {
        let quoting = |text| match tokens(text)[..] {
            [Token::Text(Text { inside, quoting })] => (inside.to_vec(), quoting),
            ref other => panic!("{text}: {other:?}"),
        };
        assert_eq!(quoting(r"'a\'"), (br"a\".to_vec(), Quoting::Plain));
        assert_eq!(quoting(r"e'a\'b'"), (br"a\'b".to_vec(), Quoting::Escapes));
        assert_eq!(quoting("$$a$b$$"), (b"a$b".to_vec(), Quoting::Dollar));
        assert_eq!(
            quoting("$x$a$$;$y$$x$"),
            (b"a$$;$y$".to_vec(), Quoting::Dollar)
        );
        assert_eq!(quoting("N'a '"), (Vec::new(), Quoting::Other));
        assert_eq!(quoting("U&'a;'"), (b"a;".to_vec(), Quoting::Other));
        let mut lexer = Lexer::new(br"'a\';b'", true);
        assert!(matches!(lexer.next_token(), Some((Token::Text(_), at)) if at == (0..7)));
    }

    #[test]
    fn a_literal_goes_on_in_the_next_line() {
        let count = |text| tokens(text).len();
        for text in ["E'a'\n'\\';'", "'a' --b\r\n --c\n\t';'", "x'a'\n'b'\n'c'"] {
            assert_eq!(count(text), 1, "{text}");
        }
        for text in ["'a' 'b'", "'a'/*\n*/'b'", "$$a$$\n'b'", "'a'\n,"] {
            assert_eq!(count(text), 2, "{text}");
        }
    }

    #[test]
    fn an_open_end_is_the_end() {
        for text in ["'a", "\"a", "/*a/*b*/", "$x$a$x", "e'a\\", "--", "e'\\"] {
            assert!(tokens(text).len() <= 1, "{text}");
        }
    }
}
