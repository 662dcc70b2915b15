//! The startup parameter `options`: command-line switches for a session, as PostgreSQL reads them.
//!
//! Two grammars lie over each other. `pg_split_opts` cuts the text into words at white space, a
//! backslash making the next byte literal. Then getopt reads the words: `-c name=value`,
//! `-cname=value`, `--name=value`, and one-letter switches that may stand together (`-ec a=b`).

use bytes::{BufMut, Bytes, BytesMut};

/// One switch, with the words that say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    words: Vec<Vec<u8>>,
    setting: Option<Setting>,
}

/// A setting made by `-c` or `--`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// As PostgreSQL will look it up: `-` has become `_`, upper case has become lower.
    pub name: String,
    /// Everything behind the first `=`.
    pub value: Vec<u8>,
}

impl Switch {
    /// The setting that this switch makes, if it makes one by name.
    pub fn setting(&self) -> Option<&Setting> {
        self.setting.as_ref()
    }
}

/// Why PostgreSQL would refuse the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// A word that is no switch, a switch that does not exist, or one without its argument.
    #[error("invalid command-line argument for server process: {0}")]
    Invalid(String),
    /// `-c` or `--` with a name and no `=`.
    #[error("{0} requires a value")]
    NoValue(String),
}

/// Reads the switches in order.
pub fn parse(options: &[u8]) -> Result<Vec<Switch>, OptionsError> {
    let mut words = split(options).into_iter();
    let mut switches = Vec::new();
    while let Some(word) = words.next() {
        if word == b"--" {
            // getopt ends here; PostgreSQL takes no further words.
            return match words.next() {
                Some(word) => Err(invalid(&word)),
                None => Ok(switches),
            };
        }
        switches.extend(read_word(word, &mut words)?);
    }
    Ok(switches)
}

/// Writes switches so that PostgreSQL reads the same ones; empty if there are none.
pub fn encode<'a>(switches: impl IntoIterator<Item = &'a Switch>) -> Bytes {
    let mut out = BytesMut::new();
    for word in switches.into_iter().flat_map(|switch| &switch.words) {
        if !out.is_empty() {
            out.put_u8(b' ');
        }
        if word.is_empty() {
            // Only the last word can have been empty: a lone backslash at the end of the text.
            out.put_u8(b'\\');
        }
        for &byte in word {
            if byte == b'\\' || is_space(byte) {
                out.put_u8(b'\\');
            }
            out.put_u8(byte);
        }
    }
    out.freeze()
}

/// Reads the switches of one word, and its argument from the words behind it if it has to.
///
/// Letters that stand together become switches of their own, so that one of them can be left out.
fn read_word(
    word: Vec<u8>,
    following: &mut impl Iterator<Item = Vec<u8>>,
) -> Result<Vec<Switch>, OptionsError> {
    let [b'-', letters @ ..] = &word[..] else {
        return Err(invalid(&word));
    };
    if letters.is_empty() {
        return Err(invalid(&word));
    }
    let mut switches = Vec::new();
    for (at, &letter) in letters.iter().enumerate() {
        if WITHOUT_ARGUMENT.contains(&letter) {
            switches.push(Switch {
                words: vec![vec![b'-', letter]],
                setting: None,
            });
            continue;
        }
        if !WITH_ARGUMENT.contains(&letter) {
            return Err(invalid(&word));
        }
        let attached = &letters[at + 1..];
        let argument = match attached {
            [] => following.next().ok_or_else(|| invalid(&word))?,
            attached => attached.to_vec(),
        };
        switches.push(with_argument(letter, argument)?);
        break;
    }
    Ok(switches)
}

fn with_argument(letter: u8, argument: Vec<u8>) -> Result<Switch, OptionsError> {
    let setting = match letter {
        b'c' | b'-' => Some(read_setting(letter, &argument)?),
        _ => None,
    };
    let words = match letter {
        b'-' => vec![[b"--", &argument[..]].concat()],
        letter => vec![vec![b'-', letter], argument],
    };
    Ok(Switch { words, setting })
}

/// PostgreSQL's `ParseLongOption`: the name up to the first `=`, its `-` standing for `_`.
fn read_setting(letter: u8, argument: &[u8]) -> Result<Setting, OptionsError> {
    let Some(equals) = argument.iter().position(|&byte| byte == b'=') else {
        let space = if letter == b'c' { " " } else { "" };
        let name = String::from_utf8_lossy(argument);
        return Err(OptionsError::NoValue(format!(
            "-{}{space}{name}",
            letter as char
        )));
    };
    let name = String::from_utf8_lossy(&argument[..equals]).replace('-', "_");
    Ok(Setting {
        name: name.to_ascii_lowercase(),
        value: argument[equals + 1..].to_vec(),
    })
}

/// PostgreSQL's `pg_split_opts`. A lone backslash at the end is dropped, but begins a word.
fn split(options: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut escaped = false;
    for &byte in options {
        if is_space(byte) && !escaped {
            words.extend(word.take());
        } else if byte == b'\\' && !escaped {
            word.get_or_insert_default();
            escaped = true;
        } else {
            word.get_or_insert_default().push(byte);
            escaped = false;
        }
    }
    words.extend(word);
    words
}

fn invalid(word: &[u8]) -> OptionsError {
    OptionsError::Invalid(String::from_utf8_lossy(word).into_owned())
}

/// `isspace` of the C locale.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// The switches of `process_postgres_switches` that stand alone; the union of the versions. A
/// server that lacks one of them says so itself.
const WITHOUT_ARGUMENT: &[u8] = b"bEeFijlnOPsT";

/// The switches that take an argument.
const WITH_ARGUMENT: &[u8] = b"BcCDdfhkNprStvW-";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn settings(options: &str) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        parse(options.as_bytes())
            .unwrap()
            .iter()
            .filter_map(Switch::setting)
            .map(|setting| (setting.name.clone(), text(&setting.value)))
            .collect()
    }

    #[test]
    fn every_spelling_of_a_setting_is_read() {
        for options in [
            "-c tenant_id=x",
            "-ctenant_id=x",
            "--tenant_id=x",
            "--tenant-id=x",
            "-c TENANT-id=x",
            "  -c\ttenant_id=x\n",
            "-ec tenant_id=x",
            "-ectenant_id=x",
            "-e\u{b}-c tenant_id=x --",
            "-\\c tenant\\_id=x",
        ] {
            assert_eq!(
                settings(options),
                [("tenant_id".into(), "x".into())],
                "{options}"
            );
        }
    }

    #[test]
    fn backslashes_make_bytes_literal() {
        assert_eq!(
            settings(r"-c a=x\ y\\z=\q"),
            [("a".into(), r"x y\z=q".into())]
        );
        assert_eq!(settings("-c a="), [("a".into(), String::new())]);
        assert_eq!(settings(r"-c a=x\"), [("a".into(), "x".into())]);
    }

    #[test]
    fn a_word_after_a_switch_with_an_argument_is_its_argument() {
        assert_eq!(
            settings("-c -c=x -S -c --b=--"),
            [("_c".into(), "x".into()), ("b".into(), "--".into())]
        );
    }

    #[test]
    fn what_postgresql_15_refuses_is_refused_in_its_words() {
        for (options, words) in [
            ("-c", "invalid command-line argument for server process: -c"),
            (
                "foo",
                "invalid command-line argument for server process: foo",
            ),
            (
                "-c a=b foo",
                "invalid command-line argument for server process: foo",
            ),
            ("-", "invalid command-line argument for server process: -"),
            (
                "-- -c a=b",
                "invalid command-line argument for server process: -c",
            ),
            ("-Z", "invalid command-line argument for server process: -Z"),
            ("\\", "invalid command-line argument for server process: "),
            ("-c work_mem", "-c work_mem requires a value"),
            ("--work_mem", "--work_mem requires a value"),
        ] {
            assert_eq!(
                parse(options.as_bytes()).unwrap_err().to_string(),
                words,
                "{options}"
            );
        }
        for options in ["", " ", "--", "-n", "-S1024"] {
            assert!(parse(options.as_bytes()).is_ok(), "{options}");
        }
    }

    #[test]
    fn encoded_switches_are_read_back_the_same() {
        for options in [
            r"-c a=x\ y\\z --b-c=d\	e -eO -S 12",
            "-c a=\u{e4}\u{b}",
            r"-S \",
            "",
            "-c -c=x",
        ] {
            let switches = parse(options.as_bytes()).unwrap();
            let encoded = encode(&switches);
            assert_eq!(parse(&encoded).unwrap(), switches, "{options}");
        }
    }
}
