//! `${NAME}` in the texts of a config.
//!
//! Only texts that have been parsed are expanded, never the file as a whole, so that nothing in a
//! variable can become a key or a quote. What a variable holds is not expanded again.

/// Replaces `${NAME}` by what `env` says of NAME, `${NAME:-default}` by the default where NAME is
/// unset or empty, and `$$` by `$`. Any other `$` stands for itself, as verifiers contain some.
///
/// The error says what is wrong, and never what a variable holds.
pub fn expand(text: &str, env: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let (inside, after) = after.split_once('}').ok_or("`${` without its `}`")?;
            expanded.push_str(&variable(inside, &env)?);
            rest = after;
        } else {
            expanded.push('$');
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// What stands for `NAME` or `NAME:-default`.
fn variable(inside: &str, env: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    if !is_name(name) {
        return Err(format!(
            "`${{{inside}}}` names no environment variable: letters, digits and _ are allowed, \
             and `:-` before a default"
        ));
    }
    match (env(name), default) {
        (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!(
            "the environment variable {name} is not set; set it, or write `${{{name}:-default}}`"
        )),
    }
}

fn is_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(is_allowed) && name.starts_with(|c: char| !c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    fn expand(text: &str) -> Result<String, String> {
        super::expand(text, |name| match name {
            "HOST" => Some("db1".into()),
            "EMPTY" => Some(String::new()),
            "TRICKY" => Some("${HOST}: {a: 'b'}".into()),
            _ => None,
        })
    }

    #[test]
    fn variables_defaults_and_dollars() {
        for (text, expected) in [
            ("plain", "plain"),
            ("${HOST}", "db1"),
            ("a-${HOST}.${HOST}-z", "a-db1.db1-z"),
            ("${NONE:-5432}", "5432"),
            ("${NONE:-}", ""),
            ("${EMPTY:-x}", "x"),
            ("${EMPTY}", ""),
            ("${HOST:-x}", "db1"),
            ("${NONE:-a:-b}", "a:-b"),
            ("$$", "$"),
            ("$${HOST}", "${HOST}"),
            ("pa$word$", "pa$word$"),
            (
                "SCRAM-SHA-256$4096:c2FsdA==$a=:b=",
                "SCRAM-SHA-256$4096:c2FsdA==$a=:b=",
            ),
            ("${TRICKY}", "${HOST}: {a: 'b'}"),
            ("grün ${HOST} ü", "grün db1 ü"),
        ] {
            assert_eq!(expand(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_expanded_is_said() {
        for (text, expected) in [
            ("${NONE}", "NONE is not set"),
            ("x${HOST", "without its `}`"),
            ("${}", "names no environment variable"),
            ("${1X}", "names no environment variable"),
            ("${A B}", "names no environment variable"),
            ("${HOST-x}", "names no environment variable"),
        ] {
            let error = expand(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
