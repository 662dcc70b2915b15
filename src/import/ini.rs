//! pgbouncer.ini as written: sections of keys, `%include` followed, connection strings taken apart.

use std::io;

/// `key = value` in a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub section: String,
    pub key: String,
    pub value: String,
}

/// Reads a text, and those that it includes, in order.
pub fn parse(text: &str, read: &dyn Fn(&str) -> io::Result<String>) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    let mut section = String::new();
    lines(text, read, DEEPEST_INCLUDE, &mut section, &mut entries)?;
    Ok(entries)
}

fn lines(
    text: &str,
    read: &dyn Fn(&str) -> io::Result<String>,
    depth: usize,
    section: &mut String,
    entries: &mut Vec<Entry>,
) -> Result<(), String> {
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with([';', '#']) {
            continue;
        }
        if let Some(path) = line.strip_prefix("%include") {
            let path = path.trim();
            if depth == 0 {
                return Err(format!("{path} is included too deep"));
            }
            let text = read(path).map_err(|error| format!("cannot read {path}: {error}"))?;
            lines(&text, read, depth - 1, section, entries)?;
        } else if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            *section = name.trim().to_owned();
        } else {
            let (key, value) = line
                .split_once('=')
                .ok_or_else(|| format!("line {number} is neither a section nor key = value"))?;
            entries.push(Entry {
                section: section.clone(),
                key: unquoted(key.trim()),
                value: value.trim().to_owned(),
            });
        }
    }
    Ok(())
}

/// A database's name may stand in double quotes, which are doubled inside.
fn unquoted(key: &str) -> String {
    let inside = key.strip_prefix('"').and_then(|key| key.strip_suffix('"'));
    inside.map_or_else(|| key.to_owned(), |inside| inside.replace("\"\"", "\""))
}

/// A connection string: `key=value` with spaces between; a value in single quotes may hold spaces,
/// and quotes that are doubled.
pub fn connection(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let nothing = Default::default();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let said = rest.split_once('=');
        let said = said.map(|(key, behind)| (key.trim(), behind));
        // It is not quoted, for it may be the end of a password.
        let (key, behind) = (said.filter(|(key, _)| !key.contains(char::is_whitespace)))
            .ok_or_else(|| {
                let (before, _) = pairs.last().unwrap_or(&nothing);
                format!("behind {before:?} is what is not key=value; a value with spaces stands in single quotes")
            })?;
        let (value, behind) = value(behind.trim_start())?;
        pairs.push((key.to_owned(), value));
        rest = behind.trim_start();
    }
    Ok(pairs)
}

/// The value that a text begins with, and what follows it.
fn value(text: &str) -> Result<(String, &str), String> {
    let Some(quoted) = text.strip_prefix('\'') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        return Ok((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut rest = quoted;
    loop {
        let (piece, behind) = rest
            .split_once('\'')
            .ok_or("a quote is opened and not closed")?;
        value.push_str(piece);
        match behind.strip_prefix('\'') {
            Some(behind) => {
                value.push('\'');
                rest = behind;
            }
            None => return Ok((value, behind)),
        }
    }
}

/// userlist.txt: `"name" "password"` on each line.
pub fn userlist(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut users = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with([';', '#']) {
            continue;
        }
        let wrong = || format!("line {number} is not \"name\" \"password\"");
        let (name, rest) = in_double_quotes(line).ok_or_else(wrong)?;
        let (secret, _) = in_double_quotes(rest.trim_start()).ok_or_else(wrong)?;
        users.push((name, secret));
    }
    Ok(users)
}

fn in_double_quotes(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('"')?;
    let mut inside = String::new();
    loop {
        let (piece, behind) = rest.split_once('"')?;
        inside.push_str(piece);
        match behind.strip_prefix('"') {
            Some(behind) => {
                inside.push('"');
                rest = behind;
            }
            None => return Some((inside, behind)),
        }
    }
}

/// How deep files may include files.
const DEEPEST_INCLUDE: usize = 10;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
        pairs.map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec()
    }

    #[test]
    fn sections_comments_quotes_and_includes() {
        let text = "; c\n# c\n[databases]\n\"odd \"\"name\" = host=a\n%include more.ini\n[pgbouncer]\nlisten_port=1\n";
        let read = |path: &str| match path {
            "more.ini" => Ok(" b =\t dbname=b ".to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        let entries = parse(text, &read).unwrap();
        let entries: Vec<_> = entries
            .iter()
            .map(|entry| (&*entry.section, &*entry.key, &*entry.value))
            .collect();
        assert_eq!(
            entries,
            [
                ("databases", "odd \"name", "host=a"),
                ("databases", "b", "dbname=b"),
                ("pgbouncer", "listen_port", "1"),
            ]
        );
        let error = |text| parse(text, &read).unwrap_err();
        assert!(error("[a]\nnonsense").contains("line 2"));
        assert!(error("%include gone.ini").contains("gone.ini"));
        let endless = |_: &str| Ok("%include it".to_owned());
        assert!(parse("%include it", &endless).unwrap_err().contains("deep"));
    }

    #[test]
    fn connection_strings() {
        assert_eq!(
            connection(" host=a  port = 5 password='it''s a = b' ").unwrap(),
            pairs([("host", "a"), ("port", "5"), ("password", "it's a = b")])
        );
        assert_eq!(connection("").unwrap(), []);
        assert!(connection("host").is_err() && connection("a='b").is_err());
    }

    #[test]
    fn users() {
        assert_eq!(
            userlist("; c\n\"a\" \"p\"\n\"b\"\"c\"  \"md5x\" \"trailing\"\n").unwrap(),
            pairs([("a", "p"), ("b\"c", "md5x")])
        );
        assert!(userlist("a b").unwrap_err().contains("line 1"));
    }
}
