//! COPY in and out, and all the ways in which it goes wrong.

use testbed::raw::message;

use crate::frames::*;
use crate::scenario::Scenario;

pub fn list() -> Vec<Scenario> {
    let table = || query("BEGIN; CREATE TEMP TABLE c (i int) ON COMMIT DROP");
    let count = || query("SELECT count(*) FROM item");
    let copy = |text: &str| [parse("", text), bind("", ""), execute("")].concat();
    vec![
        Scenario::named("copy out").says(&[
            query("COPY (SELECT i, i * 2 FROM generate_series(1, 1000) i) TO STDOUT"),
            query("COPY item TO STDOUT (FORMAT csv, HEADER)"),
            query("COPY item TO STDOUT (FORMAT binary)"),
            query("COPY (SELECT 1 WHERE false) TO STDOUT"),
            query("COPY (SELECT repeat('x', 100000) FROM generate_series(1, 20)) TO STDOUT"),
        ]),
        Scenario::named("copy out, extended").says(&[copy("COPY item TO STDOUT"), sync(), copy("COPY item TO STDOUT"), copy("COPY item TO STDOUT"), sync()]),
        Scenario::named("copy out that fails").says(&[
            query("COPY (SELECT 1/(3 - i) FROM generate_series(1, 5) i) TO STDOUT"),
            copy("COPY (SELECT 1/(3 - i) FROM generate_series(1, 5) i) TO STDOUT"),
            sync(),
            count(),
        ]),
        Scenario::named("copy in")
            .says(&[table()])
            .says(&[query("COPY c FROM STDIN"), copy_data(b"1\n2"), copy_data(b"2\n"), copy_done(), query("SELECT i + 0 FROM c")])
            .says(&[query("COPY c FROM STDIN"), copy_done(), query("ROLLBACK")]),
        Scenario::named("copy in, in two turns")
            .says(&[table()])
            .says(&[query("COPY c FROM STDIN")])
            .messages(1)
            .says(&[copy_data(b"1\n")])
            .messages(0)
            .says(&[copy_done()])
            .ready(1)
            .says(&[query("ROLLBACK")]),
        Scenario::named("copy in outside of a transaction")
            .says(&[query("CREATE TABLE filled (i int)")])
            .says(&[query("COPY filled FROM STDIN"), copy_data(b"1\n2\n"), copy_done(), query("SELECT * FROM filled")])
            .says(&[query("COPY filled FROM STDIN (FORMAT csv)"), copy_data(b"3\n\"4\"\n"), copy_done()])
            .says(&[copy("COPY filled FROM STDIN"), sync(), copy_data(b"5\n"), copy_done(), sync()])
            .ready(1)
            .says(&[query("SELECT count(*) FROM filled; DROP TABLE filled")]),
        Scenario::named("copy in with wrong data")
            .says(&[table(), query("SAVEPOINT s")])
            .says(&[query("COPY c FROM STDIN"), copy_data(b"x\n"), copy_data(b"1\n"), copy_done()])
            .says(&[query("ROLLBACK TO s"), query("COPY c FROM STDIN"), copy_data(b"1\tone too many\n"), copy_done()])
            .says(&[query("ROLLBACK"), count()]),
        Scenario::named("copy in that fails outside of a transaction")
            .says(&[query("COPY item FROM STDIN"), copy_data(b"1\tonce more\n"), copy_data(b"2\tx\n"), copy_done(), count()])
            .says(&[query("COPY item FROM STDIN"), copy_data(b"x\ty\n")])
            .says(&[copy_data(b"late\n"), copy_data(b"later\n"), copy_done(), count()])
            .says(&[query("COPY item FROM STDIN"), copy_data(b"x\ty\n")])
            .says(&[count(), copy_fail("late")])
            .says(&[count()]),
        Scenario::named("copy in given up")
            .says(&[query("COPY item FROM STDIN"), copy_data(b"9\tx\n"), copy_fail("enough"), count()])
            .says(&[copy("COPY item FROM STDIN"), flush(), copy_data(b"9\tx\n"), copy_fail("enough"), sync()])
            .says(&[count()]),
        Scenario::named("copy in that does not begin")
            .says(&[query("COPY nowhere FROM STDIN"), copy_data(b"1\n"), copy_done(), count()])
            .says(&[query("COPY item (nothing) FROM STDIN"), copy_data(b"1\n"), copy_fail("x"), count()])
            .says(&[query("COPY item FROM STDIN WITH NONSENSE"), copy_data(b"1\n"), copy_done(), count()]),
        Scenario::named("copy in, extended, that does not begin")
            .says(&[copy("COPY nowhere FROM STDIN"), sync(), copy_data(b"1\n"), copy_done(), sync()])
            .says(&[count()]),
        Scenario::named("copy in, extended, with a Sync amidst")
            .says(&[copy("COPY item FROM STDIN"), sync(), copy_data(b"7\tx\n"), copy_fail("no"), sync()])
            .ready(1)
            .says(&[count()]),
        Scenario::named("copy in, extended, with Syncs and Flushes amidst")
            .says(&[unnamed("CREATE TEMP TABLE c (i int) ON COMMIT DROP"), copy("COPY c FROM STDIN"), flush()])
            .messages(6)
            .says(&[sync(), copy_data(b"7\n"), flush(), sync(), copy_data(b"8\n"), copy_done(), unnamed("SELECT count(*) FROM c"), sync()])
            .ready(1),
        Scenario::named("copy in, extended, with wrong data")
            .says(&[copy("COPY item FROM STDIN"), flush(), copy_data(b"x\ty\n"), copy_data(b"z\n"), copy_done(), unnamed("SELECT 'skipped'"), sync()])
            .says(&[count()])
            .says(&[copy("COPY item FROM STDIN"), flush(), copy_data(b"x\ty\n"), flush()])
            .messages(4)
            .says(&[copy_data(b"z\n"), copy_done(), sync()])
            .says(&[count()]),
        Scenario::named("copy in, prepared")
            .says(&[table(), parse("c", "COPY c FROM STDIN"), sync()])
            .says(&[bind("", "c"), execute(""), sync(), copy_data(b"7\n"), copy_done(), sync()])
            .ready(1)
            .says(&[bind("", "c"), execute(""), sync(), copy_data(b"x\n"), copy_done(), sync()])
            .ready(1)
            .says(&[query("ROLLBACK")])
            .says(&[bind("", "c"), execute(""), sync(), copy_data(b"7\n"), copy_done(), sync()])
            .ready(2),
        Scenario::named("copies among other statements")
            .says(&[table()])
            .says(&[query("SELECT 1; COPY c FROM STDIN; SELECT 2; COPY c TO STDOUT; COPY c FROM STDIN; SELECT count(*) FROM c")])
            .messages(4)
            .says(&[copy_data(b"1\n"), copy_done(), copy_data(b"2\n3\n"), copy_done()])
            .ready(1)
            .says(&[query("ROLLBACK")]),
        Scenario::named("many copies in a row").says(&[
            &[table()][..],
            &(0..30)
                .flat_map(|i| [query("COPY c FROM STDIN"), copy_data(format!("{i}\n").as_bytes()), copy_done(), query("COPY c TO STDOUT")])
                .collect::<Vec<_>>(),
            &[query("ROLLBACK")],
        ].concat()),
        Scenario::named("a message that has no place in a copy")
            .says(&[query("COPY item FROM STDIN"), copy_data(b"9\tx\n9"), count()])
            .messages(3)
            .client(1)
            .says(&[count()])
            .says(&[table(), query("COPY c FROM STDIN"), copy_data(b"1\n"), bind("", "nothing"), sync()])
            .messages(6)
            .client(2)
            .says(&[copy("COPY item FROM STDIN"), sync(), copy_data(b"9\tx\n"), parse("", "SELECT 1"), sync()])
            .messages(5)
            .client(3)
            .says(&[count()]),
        Scenario::named("a message behind a copy that has failed")
            .says(&[query("COPY item FROM STDIN"), copy_data(b"x\ty\n"), count(), query("SELECT 'and on'")])
            .says(&[copy("COPY item FROM STDIN"), flush(), copy_data(b"x\ty\n"), unnamed("SELECT 'skipped'"), sync()]),
        Scenario::named("copy data out of nowhere").says(&[copy_data(b"1\n"), copy_done(), copy_fail("x"), count()]),
        Scenario::named("copy in binary")
            .says(&[table()])
            .says(&[query("COPY c FROM STDIN (FORMAT binary)"), copy_data(BINARY), copy_done(), query("SELECT * FROM c")])
            .says(&[query("COPY c FROM STDIN (FORMAT binary)"), copy_data(b"no signature"), copy_done(), query("ROLLBACK")]),
        Scenario::named("who vanishes in a copy")
            .says(&[query("COPY item FROM STDIN")])
            .messages(1)
            .says(&[copy_data(b"70\tx\n")])
            .messages(0)
            .vanishes()
            .client(1)
            .says(&[count()])
            .says(&[query("COPY item FROM STDIN"), message(b'd', b"x\ty\n")])
            .ready(1)
            .vanishes()
            .client(2)
            .says(&[count()]),
    ]
}

/// One row with the number 5.
const BINARY: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x04\0\0\0\x05\xff\xff";
