//! Calls of functions that are not PostgreSQL's own: nobody here knows what these leave behind.

use super::lexer::Token;
use super::statement::is;
use super::words::{AMBIGUOUS, BEFORE_VALUES, BEHIND_VALUES, DEFINE, is_harmless};

/// Looks for them, token by token.
#[derive(Debug, Default)]
pub(super) struct Calls<'a> {
    /// The name that an opening parenthesis would call now; empty if there is none.
    name: &'a [u8],
    /// The word or the name that stands before it, and the one before that.
    before: &'a [u8],
    earlier: &'a [u8],
    /// The symbol that stands before it, if neither a word nor a literal does; and before the word before.
    behind: u8,
    farther: u8,
    schema: &'a [u8],
    /// It is written in quotes; so is its schema.
    quoted: bool,
    schema_quoted: bool,
    /// A dot stands behind it.
    dotted: bool,
    /// The symbol that was read last, if nothing else has been since.
    symbol: u8,
    /// INSERT has been read, or what draws values as it does.
    pub(super) inserts: bool,
    /// Whether one has been found.
    pub(super) found: bool,
}

impl<'a> Calls<'a> {
    /// At the first token of a statement.
    pub(super) fn begin(first: Token<'a>, found: bool) -> Calls<'a> {
        let mut calls = Calls {
            found,
            ..Calls::default()
        };
        if let Token::Word(word) = first {
            calls.name(word, false);
            calls.inserts = is(word, "insert");
        }
        calls
    }

    /// At a word or a name in quotes.
    #[inline]
    pub(super) fn name(&mut self, name: &'a [u8], quoted: bool) {
        // One that is written in escapes is some name, too.
        let name = if name.is_empty() { b"?" } else { name };
        let known = std::mem::replace(&mut self.name, name);
        let known_quoted = std::mem::replace(&mut self.quoted, quoted);
        if self.dotted {
            self.dotted = false;
            self.schema = known;
            self.schema_quoted = known_quoted;
        } else {
            self.earlier = std::mem::replace(&mut self.before, known);
            self.schema = b"";
            self.farther = std::mem::replace(&mut self.behind, std::mem::take(&mut self.symbol));
        }
    }

    /// At a symbol that stands in so many parentheses.
    #[inline]
    pub(super) fn symbol(&mut self, symbol: u8, depth: u32) {
        if symbol == b'.' && !self.name.is_empty() {
            self.dotted = true;
            return;
        }
        if symbol == b'(' {
            self.found = self.found || self.is_call(depth);
        }
        let casts = symbol == b':' && self.symbol == b':';
        self.other();
        self.symbol = if casts { CAST } else { symbol };
    }

    /// At what is no name.
    #[inline]
    pub(super) fn other(&mut self) {
        self.name = b"";
        self.dotted = false;
        self.symbol = 0;
    }

    /// What was read last is no name, but a word behind which a value begins.
    pub(super) fn begin_value(&mut self) {
        self.other();
        self.symbol = VALUE;
    }

    /// Whether one of these words stands before the name that was read last, and before its schema.
    pub(super) fn is_after(&self, words: &[&str]) -> bool {
        words.iter().any(|word| is(self.before, word))
    }

    /// Whether an item of a list begins with it.
    pub(super) fn begins_item(&self) -> bool {
        self.behind == b',' || self.is_after(&["select"])
    }

    /// Whether an opening parenthesis stands right before it.
    pub(super) fn is_in_parentheses(&self) -> bool {
        self.behind == b'('
    }

    /// Whether a closing one does.
    pub(super) fn is_behind_parentheses(&self) -> bool {
        self.behind == b')'
    }

    fn is_call(&self, depth: u32) -> bool {
        // What something is cast to is a type. (The colon of an array's slice stands alone.)
        let is_type = self.behind == CAST;
        if self.name.is_empty() || is_type || self.is_after(&DEFINE) {
            return false;
        }
        let own = match self.schema {
            b"" => true,
            schema if self.schema_quoted => schema == b"pg_catalog",
            schema => is(schema, "pg_catalog"),
        };
        let ambiguous = || AMBIGUOUS.iter().any(|word| is(self.name, word));
        // (That of a window stands in parentheses.)
        let partitions = depth == 0 && self.is_after(&["by"]) && is(self.earlier, "partition");
        let begins_value = || self.begins_value() && !partitions && !self.belongs();
        self.quoted || !own || !is_harmless(self.name) || ambiguous() && begins_value()
    }

    /// Whether the name is SQL's own, although a value might begin behind the word before it.
    fn belongs(&self) -> bool {
        let pair = |before, word| is(self.before, before) && is(self.name, word);
        // (One of that name behind the ON of a JOIN is not seen in what inserts.)
        pair("on", "conflict") && self.inserts
            || pair("not", "materialized") && is(self.earlier, "as")
            || pair("by", "rollup") && is(self.earlier, "group")
            || pair("not", "ilike") && self.follows_value()
    }

    /// Whether a value ends before the word that stands before the name.
    fn follows_value(&self) -> bool {
        let begins = || BEFORE_VALUES.iter().any(|word| is(self.earlier, word));
        match self.farther {
            0 => !begins(),
            symbol => matches!(symbol, b')' | b']'),
        }
    }

    /// Whether a value or a table must begin with the name, by what stands before it. (Behind a value, a table or
    /// another name, it is a word of SQL's.)
    fn begins_value(&self) -> bool {
        match self.behind {
            0 => self.is_after(&BEFORE_VALUES),
            b']' => false,
            // It may end a value, or DISTINCT ON (...) and OPERATOR(...).
            b')' => !BEHIND_VALUES.iter().any(|word| is(self.name, word)),
            _ => true,
        }
    }
}

/// Stands for two colons.
const CAST: u8 = 0xff;
/// Stands for a word behind which a value begins.
const VALUE: u8 = 0xfe;

#[cfg(test)]
mod tests {
    use super::super::{Dialect, Encoding, Traces, read};

    fn traces(text: &str) -> Traces {
        let dialect = Dialect {
            backslash_escapes: false,
            encoding: Encoding::UTF8,
        };
        read(text.as_bytes(), dialect).traces
    }

    #[test]
    fn what_postgres_has_itself_is_no_call() {
        for text in [
            "select count(*), max(a), NOW() from t where a in (1, 2) and exists (select 1)",
            "insert into t (a, b) values (1, coalesce($1, lower('x'))) on conflict (a) do nothing returning (a)",
            "insert into public.\"T\" (a) values (1)",
            "with x (a) as (select 1) select * from x as y(b), generate_series(1, 2)",
            "select a::numeric(10, 2), '1'::my.vector(3), cast(b as varchar(3)) from t",
            "select sum(a) over (partition by b), pg_catalog.format('%s', 1)",
            "select set_config('a.b', 'c', false), 'f(1)', $$ f(1) $$ /* f(1) */",
            "create table if not exists t (a int)",
            "create function f(a int) returns int language sql as 'select 1'",
            "copy t (a, b) from stdin",
            "select t.*, \"a\" = (1) from t",
            "select count(*) filter (where a), rank() over (partition by (a) order by (b)) from t group by grouping sets ((a))",
            "create table t (a int generated always as identity (start 1), primary key (a) include (b))",
            "update t set (a, b) = (1, 2); explain (analyze) select 1 where a operator(pg_catalog.=) b",
            "select \"t\".\"id\", count(*) from \"t\" where \"t\".\"id\" in (1) and lower(\"t\".\"a\") = 'x'",
            "create table t (a int) partition by range (a); create table u partition of t default partition by range (b)",
            "select sum(a) over (order by (b) rows 1 preceding) from t where (a) operator(pg_catalog.=) 1",
            "insert into \"s\".\"t\" (\"id\") values (1) returning \"s\".\"t\".\"id\", coalesce(\"a\", 1)",
            "select a from t where a not ilike ('x') or (b) ilike ('y') or 'x' ilike ('z') group by rollup (a, b)",
            "with x as not materialized (select 1), y as materialized (select 2) select * from x join (select 1) z on true",
            "select * from (select 1) x join (select 2) y on true left outer join (select 3) z on true; vacuum (full) t",
            "insert into t values (1) on conflict (a) do update set a = (1)",
            "with x as (select 1) insert into t select * from x on conflict (a) do nothing",
            "create table t (a int) partition by list (a); create table u partition of t for values in (1) partition by hash (a)",
            "select a from t where $1 not ilike ('x') and 'y' not ilike ('x') and b[1] not ilike ('x') and f.a::text not ilike ('x')",
            "select substring(a from (1) for (2)), trim(both ('x') from a), 1 in (select key from t)",
            "select (array[1, 2])[1:2], \"pg_catalog\".lower('x'), '1'::numeric(3), 1 :: app.money(2)",
        ] {
            assert!(!traces(text).calls, "{text}");
        }
    }

    #[test]
    fn what_others_have_made_is_a_call() {
        for text in [
            "select f(1)",
            "select 1; select * from f()",
            "select app.lower('x')",
            "select \"lower\"('x')",
            "select distinct on (a) f(b) from t",
            "insert into t select f (1)",
            "select a from t join u on f(a)",
            "select query_to_xml('select f()', true, true, '')",
            "call f()",
            "execute s",
            "with x as (select f(1)) select 1",
            "select U&\"f\"(1)",
            "select (array[1, 2])[1:f(2)]",
            "select \"PG_CATALOG\".lower('x')",
            "explain analyze execute s",
            "create table t as execute s",
            "select key(1), 2",
            "select 1, sets()",
            "select * from t join options(1) on over(2)",
            "select concat(variadic options(1))",
            "select 'x' similar to key('x')",
            "select distinct on (a) key(1) from t",
            "select 1 operator(pg_catalog.+) sets(1)",
            "select a from t order by range(a)",
            "select sum(a) over (partition by range(a)) from t",
            // Keywords by which a function or type may be called.
            "select isnull(1)",
            "select a from t where notnull(a) and binary(a)",
            "select ilike(1), 2",
            "select 1 from join(1)",
            "select rollup(1), conflict(2), vacuum(3)",
            "select materialized(1)",
            "create table u as select a from t group by range(a)",
            "select list(1), 2",
            "select * from hash(1)",
            "delete from t using hash(1)",
            "select a from t order by rollup(a)",
            "select * from t join u on conflict(u.a)",
            "select 1 where not materialized(1)",
            "select 1 where not ilike(1)",
            "select 1 where (not ilike(1)) or a = not ilike(2)",
            "select position('x' in key(1))",
            "select substring('abc' for range(1))",
            "select overlay('abc' placing key(1) from 1)",
            "select trim(leading key(1) from 'x')",
        ] {
            assert!(traces(text).calls, "{text}");
        }
    }

    #[test]
    fn who_may_draw_values() {
        for text in [
            "insert into t values (1)",
            "with x as (insert into t values (1) returning a) select a from x",
            "select nextval('s')",
            "select pg_catalog.setval('s', 1)",
            "update t set a = default",
            "copy t from stdin",
            "merge into t using u on true when not matched then insert values (1)",
            "select f()",
        ] {
            assert!(traces(text).draws, "{text}");
        }
        for text in [
            "select 1",
            "update t set a = 1",
            "begin",
            "set a to default",
        ] {
            assert!(!traces(text).draws, "{text}");
        }
    }

    #[test]
    fn what_is_set_may_be_how_texts_are_read() {
        for text in [
            "SELECT set_config('Client_Encoding', lower('x'), true)",
            "SELECT set_config('standard_conforming_strings', 'off', false) FROM t",
            "SELECT set_config($1, $2, true) FROM t",
            "SELECT set_config('standard_' || 'conforming_strings', 'off', true)",
            "SET U&\"standard\\005fconforming_strings\" TO off",
            "UPDATE pg_settings SET setting = 'off'",
            "SELECT set_config('client_encoding', 'SJIS', false) IS NOT NULL",
        ] {
            assert!(traces(text).respells, "{text}");
        }
        for text in [
            "SELECT set_config('search_path', lower('x'), true)",
            "SELECT set_config('standard_conforming_strings', 'off', true)",
            "SELECT set_config($1, $2, true)",
            "SET standard_conforming_strings TO off",
            "SELECT set_config('app.x', '11', false) IS NOT NULL",
            "SELECT f()",
        ] {
            assert!(!traces(text).respells, "{text}");
        }
    }

    #[test]
    fn what_is_set_for_a_transaction_shows_or_obscures() {
        for text in [
            "SELECT set_config('search_path', $1 || 'x', true), set_config('app.user', $2, true)",
            "SELECT set_config(lower('x'), 'x', true)",
            "SELECT pg_catalog.set_config('Role'::text, $1::name, 't')",
            "SELECT set_config('search_path', $1, true) FROM t",
            "SELECT set_config('search_path', 'x', true) FROM t",
            "WITH x AS (SELECT set_config('role', 'x', true)) SELECT 1",
        ] {
            assert!(traces(text).obscures, "{text}");
        }
        for text in [
            "SELECT set_config('app.user', $1 || 'x', true)",
            "SELECT set_config('search_path', $1, true), set_config($2, $3::text, true)",
            "SELECT set_config('search_path', 'x', true), set_config('app.user', $1, true)",
            "SELECT set_config('app.user', 'x', true) FROM t",
            "SET LOCAL search_path TO x",
        ] {
            assert!(!traces(text).obscures, "{text}");
        }
    }
}
