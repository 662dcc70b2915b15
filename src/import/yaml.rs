//! Our own config, written line by line, so that it can hold comments.

use std::fmt::Write as _;

/// A text that grows.
#[derive(Default)]
pub struct Yaml(String);

impl Yaml {
    /// A comment of one line.
    pub fn comment(&mut self, depth: usize, text: &str) {
        // What came from elsewhere stays in its line, whatever YAML takes for a line's end.
        let text = text.replace(|c: char| is_hidden(c) || c.is_whitespace(), " ");
        let _ = writeln!(self.0, "{:1$}# {text}", "", depth * 2);
    }

    /// `key:`, with a section below it.
    pub fn section(&mut self, depth: usize, key: &str) {
        let _ = writeln!(self.0, "{:1$}{2}:", "", depth * 2, scalar(key));
    }

    /// `key: value`, the value as we choose it: a number, a time, a word.
    pub fn plain(&mut self, depth: usize, key: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{:1$}{key}: {value}", "", depth * 2);
    }

    /// `key: value`, the value as somebody else chose it: it means what it says.
    pub fn text(&mut self, depth: usize, key: &str, value: &str) {
        let escaped = value.replace('$', "$$");
        let literal = match escaped.strip_prefix("file:") {
            // Only what a variable holds, or its default, is no path.
            Some(rest) => format!("${{DBBOUNCER_NOT_SET:-file:}}{rest}"),
            None => escaped,
        };
        self.plain(depth, &scalar(key), scalar(&literal));
    }

    /// All of it.
    pub fn into_text(self) -> String {
        self.0
    }
}

/// A text as YAML has it, in quotes wherever it could be taken for something else.
fn scalar(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    match is_plain {
        true => text.to_owned(),
        false => quoted(text),
    }
}

/// JSON's strings are YAML's, which wants more of their characters escaped.
fn quoted(text: &str) -> String {
    let mut quoted = String::new();
    for c in serde_json::Value::from(text).to_string().chars() {
        match is_hidden(c) {
            true => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            false => quoted.push(c),
        }
    }
    quoted
}

/// What YAML does not take as it is, or not as a character of a text.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
}

/// Words that are no text to YAML.
const WORDS: &[&str] = &["true", "false", "yes", "no", "on", "off", "null", "y", "n"];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Node;

    #[test]
    fn every_text_is_read_as_it_was_written() {
        for text in [
            "a",
            "5432",
            "yes",
            "a: b",
            "# a",
            "'",
            "\"",
            "tab\t",
            "ü",
            "",
            "~",
            "-",
            "1e5",
            "{",
            "a\nb",
            "null",
            "\u{7f}",
            "\u{85}",
            "\u{2028}x",
            "\u{feff}",
            "\u{ffff}",
            "\u{10ffff}",
        ] {
            let mut yaml = Yaml::default();
            yaml.text(0, "key", text);
            let read = Node::from_yaml(&yaml.into_text()).unwrap();
            let expected = Node::Map(vec![("key".into(), Node::Text(text.into()))]);
            assert!(read == expected, "{text:?}");
        }
    }
}
