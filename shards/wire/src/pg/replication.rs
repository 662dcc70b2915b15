//! The startup parameter `replication`: a client that wants the log of the database, not queries.

/// What the parameter asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replication {
    /// An ordinary session.
    No,
    /// Physical replication, not connected to a database.
    Physical,
    /// Logical replication, connected to a database.
    Database,
}

impl Replication {
    /// Reads the parameter as PostgreSQL does: `database` in exactly these letters, or a boolean,
    /// which may be shortened while it stays unambiguous. Nothing for any other value.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        if value == b"database" {
            return Some(Replication::Database);
        }
        let word = value.to_ascii_lowercase();
        match &word[..] {
            b"" | b"o" => None,
            b"on" | b"1" => Some(Replication::Physical),
            b"0" => Some(Replication::No),
            word if b"true".starts_with(word) || b"yes".starts_with(word) => {
                Some(Replication::Physical)
            }
            word if [&b"false"[..], b"no", b"off"]
                .iter()
                .any(|no| no.starts_with(word)) =>
            {
                Some(Replication::No)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_of_postgresql_15() {
        for (value, expected) in [
            ("database", Some(Replication::Database)),
            ("on", Some(Replication::Physical)),
            ("YE", Some(Replication::Physical)),
            ("t", Some(Replication::Physical)),
            ("1", Some(Replication::Physical)),
            ("of", Some(Replication::No)),
            ("no", Some(Replication::No)),
            ("F", Some(Replication::No)),
            ("0", Some(Replication::No)),
            ("bogus", None),
            ("o", None),
            ("DATABASE", None),
            ("truest", None),
            ("", None),
        ] {
            assert_eq!(Replication::parse(value.as_bytes()), expected, "{value}");
        }
    }
}
