//! SQLSTATE classes: the first two characters of the code in an error of a database, which say what
//! kind of error it is without saying which.

use std::fmt;

/// One of the classes that PostgreSQL or MySQL documents, or [`SqlstateClass::OTHER`]: functions may
/// raise whatever code they like, so the classes that are told apart are these and no more.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlstateClass(u8);

impl SqlstateClass {
    /// A class of nobody's documents, or no class at all.
    pub const OTHER: SqlstateClass = SqlstateClass(0);

    /// How many there are.
    pub const COUNT: usize = 1 + DOCUMENTED.len();

    /// The class of a SQLSTATE, of which the first two characters are enough.
    pub fn of(sqlstate: &[u8]) -> SqlstateClass {
        let Some(class) = sqlstate.first_chunk::<2>() else {
            return SqlstateClass::OTHER;
        };
        match DOCUMENTED.binary_search(&class) {
            // There are fewer than 255.
            Ok(place) => SqlstateClass(1 + place as u8),
            Err(_) => SqlstateClass::OTHER,
        }
    }

    /// All of them, in the order of their indices.
    pub fn all() -> impl Iterator<Item = SqlstateClass> {
        (0..SqlstateClass::COUNT as u8).map(SqlstateClass)
    }

    /// Its place in an array of [`SqlstateClass::COUNT`] sums.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Two characters, or `other`.
    pub fn as_str(self) -> &'static str {
        match self.index().checked_sub(1) {
            Some(place) => std::str::from_utf8(DOCUMENTED[place]).unwrap_or_default(),
            None => "other",
        }
    }
}

impl fmt::Debug for SqlstateClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The classes of PostgreSQL's appendix A up to version 18, and of the messages of MySQL 9 and MariaDB
/// 10.11, which add 0K, 35, 70, HY and XA. In ASCII order.
const DOCUMENTED: [&[u8; 2]; 49] = [
    b"00", b"01", b"02", b"03", b"08", b"09", b"0A", b"0B", b"0F", b"0K", b"0L", b"0P", b"0Z",
    b"10", b"20", b"21", b"22", b"23", b"24", b"25", b"26", b"27", b"28", b"2B", b"2D", b"2F",
    b"34", b"35", b"38", b"39", b"3B", b"3D", b"3F", b"40", b"42", b"44", b"53", b"54", b"55",
    b"57", b"58", b"70", b"72", b"F0", b"HV", b"HY", b"P0", b"XA", b"XX",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_is_found_at_its_place_and_by_its_name() {
        assert!(DOCUMENTED.is_sorted_by(|a, b| a < b));
        for (place, class) in SqlstateClass::all().enumerate() {
            assert_eq!(class.index(), place);
            assert_eq!(SqlstateClass::of(class.as_str().as_bytes()), class);
        }
        assert_eq!(SqlstateClass::all().count(), SqlstateClass::COUNT);
    }

    #[test]
    fn what_nobody_documents_is_other() {
        for (sqlstate, class) in [
            (&b"23505"[..], "23"),
            (b"HY000", "HY"),
            (b"P0001", "P0"),
            (b"ZZ999", "other"),
            (b"4\xff", "other"),
            (b"4", "other"),
            (b"", "other"),
        ] {
            assert_eq!(SqlstateClass::of(sqlstate).as_str(), class);
        }
    }
}
