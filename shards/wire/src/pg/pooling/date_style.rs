//! DateStyle: two settings under one name. SET changes the half that it names, and leaves the other as it is.

use super::settings::Map;
use super::sql::Value;

/// How dates are written, and in which order their parts are read; `None` for the server's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Halves {
    style: Option<&'static str>,
    order: Option<&'static str>,
}

/// The setting's name.
pub(super) const DATE_STYLE: &str = "datestyle";

/// What SET to `value` makes of what the setting is at `present`, with `default` for what DEFAULT means;
/// `None` stands for the server's own default. A value that the server would refuse stays as it is.
pub(super) fn merged(value: &Value, present: Option<&Value>, default: Option<&Value>) -> Value {
    let default = default.map_or(Halves::default(), Halves::of);
    let present = match present {
        Some(Value::Arguments(_)) => default,
        Some(value) => Halves::of(value),
        None => Halves::default(),
    };
    words(value)
        .and_then(|words| present.with(&words, default))
        .and_then(Halves::value)
        .unwrap_or_else(|| value.clone())
}

/// Writes the setting of a startup as [`merged`] writes it, so that the same is seen to be the same.
pub(super) fn normalise(base: &mut Map) {
    if let Some(value) = base.get_mut(DATE_STYLE) {
        *value = merged(value, None, None);
    }
}

impl Halves {
    /// What a value stands for where nothing else was set before.
    fn of(value: &Value) -> Halves {
        let words = words(value).unwrap_or_default();
        let fresh = Halves::default();
        fresh.with(&words, fresh).unwrap_or_default()
    }

    /// What `words` make of these, as `check_datestyle` reads them; `None` if it would refuse them.
    fn with(self, words: &[String], default: Halves) -> Option<Halves> {
        let mut named = Halves::default();
        let mut defaults = false;
        let mut implied = None;
        for word in words {
            match word.as_str() {
                "iso" => named.style("ISO")?,
                "sql" => named.style("SQL")?,
                "german" => {
                    // It comes with an order, unless another one is named before or behind it.
                    implied = Some("DMY");
                    named.style("German")?;
                }
                "ymd" => named.order("YMD")?,
                "dmy" => named.order("DMY")?,
                "mdy" | "us" => named.order("MDY")?,
                "default" => defaults = true,
                word if word.starts_with("postgres") => named.style("Postgres")?,
                word if word.starts_with("euro") => named.order("DMY")?,
                word if word.starts_with("noneuro") => named.order("MDY")?,
                _ => return None,
            }
        }
        let other = if defaults { default } else { self };
        Some(Halves {
            style: named.style.or(other.style),
            order: named.order.or(implied).or(other.order),
        })
    }

    fn style(&mut self, style: &'static str) -> Option<()> {
        let known = *self.style.get_or_insert(style);
        (known == style).then_some(())
    }

    fn order(&mut self, order: &'static str) -> Option<()> {
        let known = *self.order.get_or_insert(order);
        (known == order).then_some(())
    }

    /// As a value; `None` if both are the server's default.
    fn value(self) -> Option<Value> {
        let named: Vec<&str> = [self.style, self.order].into_iter().flatten().collect();
        (!named.is_empty()).then(|| Value::Expression(format!("'{}'", named.join(", ")).into()))
    }
}

/// The words of a value, in lower case; `None` if it is no plain literal.
fn words(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Expression(sql) => {
            let text = sql.strip_prefix('\'')?.strip_suffix('\'')?;
            let word = |word: &str| word.trim().trim_matches('"').to_ascii_lowercase();
            match text.trim() {
                "" => Some(Vec::new()),
                text => Some(text.split(',').map(word).collect()),
            }
        }
        // There is only the one that stands for the default.
        Value::Arguments(_) => Some(vec!["default".to_owned()]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sql::Encoding;
    use super::*;

    fn value(text: &str) -> Value {
        Value::of_bytes(text.as_bytes(), Encoding::UTF8)
    }

    fn set(text: &str, present: Option<&str>, default: Option<&str>) -> String {
        let present = present.map(value);
        let default = default.map(value);
        let merged = merged(&value(text), present.as_ref(), default.as_ref());
        merged.as_sql().trim_matches('\'').to_owned()
    }

    #[test]
    fn what_is_not_named_stays() {
        assert_eq!(set("sql", None, None), "SQL");
        assert_eq!(set("DMY", Some("SQL"), None), "SQL, DMY");
        assert_eq!(set("iso", Some("SQL, DMY"), None), "ISO, DMY");
        assert_eq!(set("ISO,US", Some("SQL, DMY"), None), "ISO, MDY");
        assert_eq!(set(" ", Some("SQL, DMY"), None), "SQL, DMY");
        assert_eq!(set("\"Postgres\", european", None, None), "Postgres, DMY");
    }

    #[test]
    fn german_has_an_order_of_its_own() {
        assert_eq!(set("german", Some("ISO, YMD"), None), "German, DMY");
        assert_eq!(set("german, ymd", Some("ISO"), None), "German, YMD");
        assert_eq!(set("ymd, german", Some("ISO"), None), "German, YMD");
    }

    #[test]
    fn default_is_what_reset_goes_back_to() {
        assert_eq!(set("default, mdy", Some("SQL, DMY"), None), "MDY");
        let base = Some("German");
        assert_eq!(set("default, mdy", Some("SQL, DMY"), base), "German, MDY");
        assert_eq!(set("default", Some("SQL, DMY"), base), "German, DMY");
    }

    #[test]
    fn what_is_refused_is_left_as_it_is() {
        for text in ["nonsense", "iso, sql", "dmy, mdy", "\u{e4}"] {
            let said = value(text);
            assert_eq!(merged(&said, Some(&value("SQL")), None), said, "{text}");
        }
    }
}
