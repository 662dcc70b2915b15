//! The words that an opening parenthesis may follow: which of them call a function, and behind which others.

use std::sync::LazyLock;

/// Whether a word is a function of PostgreSQL's own, or of one of its extensions that keep nothing, or no function at
/// all. Those that leave state behind in a way that is followed are among them.
pub(super) fn is_harmless(word: &[u8]) -> bool {
    static HARMLESS: LazyLock<Vec<&[u8]>> =
        LazyLock::new(|| LIST.split_whitespace().map(str::as_bytes).collect());
    let mut lower = [0; LONGEST];
    let Some(lower) = lower.get_mut(..word.len()) else {
        return false;
    };
    lower.copy_from_slice(word);
    lower.make_ascii_lowercase();
    HARMLESS.binary_search(&&*lower).is_ok()
}

/// In the order of bytes: what `pg_proc` has in `pg_catalog` on PostgreSQL 15 and 18, and for pgcrypto, uuid-ossp,
/// `pg_trgm`, unaccent, hstore, ltree, citext, fuzzystrmatch, cube, earthdistance and intarray; the keywords that can be no
/// function (`pg_get_keywords`, categories R and C), and others that an opening parenthesis may follow. Without
/// what runs any SQL (`query_to_xml`), sets settings (`set_limit`) or begins something in the session (`pg_backup_start`).
const LIST: &str = include_str!("harmless.txt");

/// Longest word of the list, in bytes.
const LONGEST: usize = 64;

/// Words of that list that are SQL's own, and by which a function may be called as well. (`hash` behind USING may be either,
/// and is taken for a call.)
pub(super) const AMBIGUOUS: [&str; 29] = [
    "by",
    "columns",
    "conflict",
    "delete",
    "each",
    "explain",
    "filter",
    "groups",
    "hash",
    "identity",
    "ilike",
    "include",
    "index",
    "join",
    "key",
    "list",
    "materialized",
    "operator",
    "options",
    "over",
    "partition",
    "range",
    "rollup",
    "rows",
    "set",
    "sets",
    "statistics",
    "vacuum",
    "within",
];

/// Those of them that stand behind a value in parentheses, or the columns of an index.
pub(super) const BEHIND_VALUES: [&str; 8] = [
    "columns", "filter", "ilike", "include", "join", "operator", "options", "over",
];

/// Words behind which a value begins, or a table.
pub(super) const BEFORE_VALUES: [&str; 39] = [
    "select",
    "distinct",
    "all",
    "from",
    "join",
    "lateral",
    "using",
    "on",
    "where",
    "having",
    "by",
    "and",
    "or",
    "not",
    "like",
    "ilike",
    "between",
    "case",
    "when",
    "then",
    "else",
    "limit",
    "offset",
    "returning",
    "variadic",
    "to",
    "symmetric",
    "asymmetric",
    "escape",
    "zone",
    "default",
    "in",
    "for",
    "placing",
    "leading",
    "trailing",
    "both",
    "passing",
    "reverse",
];

/// Words behind which a name with a parenthesis is defined, not called: a table, an alias.
pub(super) const DEFINE: [&str; 12] = [
    "into",
    "as",
    "with",
    "recursive",
    "copy",
    "table",
    "exists",
    "references",
    "view",
    "function",
    "procedure",
    "aggregate",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_order() {
        let words: Vec<_> = LIST.split_whitespace().collect();
        assert!(words.is_sorted());
        assert!(words.iter().all(|word| word.len() <= LONGEST));
    }
}
