//! A client that vanishes at each byte of what it says: the next one on the only backend hears what it should hear.

use testbed::raw::Raw;

use crate::frames::*;
use crate::scenario::{self, PARAMETERS};
use crate::worlds::Place;

/// What is said, of which nothing is ever committed.
fn dialogue() -> Vec<u8> {
    [
        parse("mine", "SELECT 'somebody else''s'"),
        bind("", "mine"),
        execute(""),
        sync(),
        query("BEGIN"),
        query("SET work_mem TO '1MB'; INSERT INTO line VALUES (1, 1)"),
        query("COPY item FROM STDIN"),
        copy_data(b"90\tx\n"),
        copy_fail("no"),
        sync(),
        query("SELECT repeat('x', 20000)"),
        unnamed("SELECT 2"),
        flush(),
        close("mine"),
        query("ROLLBACK"),
    ]
    .concat()
}

/// Plays it, cut at every `step`-th byte from `first` on, hearing nothing or a little before it goes.
pub fn at_each_byte(place: &Place, hears: bool) {
    let check = [
        query("SELECT count(*) FROM line"),
        query("SHOW work_mem"),
        parse("mine", "SELECT 'one''s own'"),
        bind("", "mine"),
        execute(""),
        close("mine"),
        sync(),
        query("SELECT 1/0"),
    ];
    let (mut truth, _) = scenario::open(&place.straight, PARAMETERS);
    let expected = answer(&mut truth, &check);
    let (mut neighbour, _) = scenario::open(&place.through, PARAMETERS);
    let said = dialogue();
    for cut in 0..=said.len() {
        let (mut victim, _) = scenario::open(&place.through, PARAMETERS);
        victim.say(&said[..cut]);
        if hears && cut > 100 {
            victim.until_ready();
        }
        victim.vanish();
        let heard = answer(&mut neighbour, &check);
        assert_eq!(
            heard,
            expected,
            "behind one who vanished after {cut} bytes of {}",
            said.len()
        );
    }
}

fn answer(raw: &mut Raw, said: &[Frame]) -> Vec<String> {
    raw.say(&said.concat());
    scenario::hear_ready(raw, ready_for(&said.concat()))
}
