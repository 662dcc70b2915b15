//! Where answers to prepared statements end: their descriptions, their cursors, and what procedures
//! return, in both modes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod mysql_talk;

use mysql_talk::*;
use wire::mysql::status;

#[test]
fn a_prepared_statement_is_described() {
    in_each_mode(|talk| {
        for (columns, parameters) in [(0, 0), (0, 2), (3, 0), (3, 2), (1, 300_u16)] {
            let head = |columns: u16| {
                let [c0, c1] = columns.to_le_bytes();
                let [p0, p1] = parameters.to_le_bytes();
                [0, 1, 0, 0, 0, c0, c1, p0, p1, 0, 0, 0]
            };
            talk.asks(b"\x16SELECT ?");
            let groups: Vec<u16> = [parameters, columns]
                .into_iter()
                .filter(|&count| count > 0)
                .collect();
            let eofs = if talk.deprecate_eof() {
                0
            } else {
                groups.len() as u16
            };
            let mut left = groups.iter().sum::<u16>() + eofs;
            let mut say = |talk: &mut Talk, payload: &[u8]| {
                let last = left == 0;
                left = left.saturating_sub(1);
                if last {
                    talk.ends(payload);
                } else {
                    talk.says(payload);
                }
            };
            say(talk, &head(columns));
            for count in groups {
                (0..count).for_each(|_| say(talk, DEFINITION));
                if !talk.deprecate_eof() {
                    say(talk, &eof(AUTOCOMMIT));
                }
            }
            talk.rests();
        }
        talk.asks(b"\x16oops").ends(&err()).rests();
    });
}

#[test]
fn a_cursor_is_opened_without_rows_and_read_to_its_last() {
    in_each_mode(|talk| {
        let open = talk.terminator(AUTOCOMMIT | status::CURSOR_EXISTS);
        let last = talk.terminator(AUTOCOMMIT | status::LAST_ROW_SENT);
        let execute = |talk: &mut Talk| {
            talk.asks(b"\x17\x01\0\0\0\x01")
                .says(b"\x01")
                .says(DEFINITION);
            talk.ends(&open);
            assert!(!talk.replies.at_rest(), "the rest of the rows is owed");
        };
        execute(talk);
        talk.asks(b"\x1C\x01\0\0\0").says(BINARY_ROW).ends(&open);
        assert!(!talk.replies.at_rest());
        talk.asks(b"\x1C\x01\0\0\0")
            .says(BINARY_ROW)
            .ends(&last)
            .rests();
        talk.asks(b"\x1C\x01\0\0\0").ends(&err()).rests();
        execute(talk);
        talk.asks(b"\x19\x01\0\0\0").rests();
        execute(talk);
        talk.asks(b"\x1A\x01\0\0\0").ends(&ok(AUTOCOMMIT)).rests();
        talk.asks(b"\x17\x01\0\0\0\x01").asks(b"\x19\x01\0\0\0");
        talk.sequence = 1;
        talk.says(b"\x01").says(DEFINITION).ends(&open).rests();
        // Other answers say nothing of it.
        execute(talk);
        talk.asks(b"\x0E").ends(&ok(AUTOCOMMIT));
        assert!(!talk.replies.at_rest(), "the rest of the rows is owed");
        talk.asks(b"\x1F").ends(&ok(AUTOCOMMIT)).rests();
        execute(talk);
        talk.replies.begun_anew(AUTOCOMMIT);
        talk.rests();
    });
}

#[test]
fn each_of_several_cursors_is_read_closed_or_reset_by_itself() {
    in_each_mode(|talk| {
        let open = talk.terminator(AUTOCOMMIT | status::CURSOR_EXISTS);
        let last = talk.terminator(AUTOCOMMIT | status::LAST_ROW_SENT);
        for ends_second in [
            &b"\x19\x02\0\0\0"[..],
            b"\x1A\x02\0\0\0",
            b"\x17\x02\0\0\0\0",
        ] {
            for statement in [1, 2] {
                talk.asks(&[0x17, statement, 0, 0, 0, 1]).says(b"\x01");
                talk.says(DEFINITION).ends(&open);
            }
            talk.asks(b"\x1C\x01\0\0\0").says(BINARY_ROW).ends(&last);
            assert!(!talk.replies.at_rest(), "the second's rows are owed");
            match talk.asks(ends_second).replies.awaited() {
                0 => talk.rests(),
                _ => talk.ends(&ok(AUTOCOMMIT)).rests(),
            };
        }
        // A goodbye to a statement has its turn like all else.
        for statement in [1, 2] {
            talk.asks(&[0x17, statement, 0, 0, 0, 1]);
            talk.asks(&[0x19, statement, 0, 0, 0]);
        }
        for _ in 0..2 {
            talk.sequence = 1;
            talk.says(b"\x01").says(DEFINITION).ends(&open);
        }
        talk.rests();
    });
}

/// MariaDB's clients execute what they prepare before they know its number.
#[test]
fn the_statement_prepared_last_is_called_so() {
    let talk = &mut Talk::new(MODES[1]);
    let open = talk.terminator(AUTOCOMMIT | status::CURSOR_EXISTS);
    talk.asks(b"\x16SELECT 1")
        .ends(b"\x00\x05\0\0\0\0\0\0\0\0\0\0");
    for close in [b"\x19\x05\0\0\0", b"\x19\xFF\xFF\xFF\xFF"] {
        talk.asks(b"\x17\xFF\xFF\xFF\xFF\x01").says(b"\x01");
        talk.says(DEFINITION).ends(&open);
        talk.asks(close).rests();
    }
}

/// While a procedure has a cursor open, servers set the flag in whatever it returns, MySQL also in its OK.
#[test]
fn a_cursor_of_a_procedure_is_none_of_the_clients() {
    let flags = MORE | status::CURSOR_EXISTS;
    let rows: [&[u8]; 2] = [b"\0\0\x01\0\0\0", b"\0\0\x01\0\0\0\x0A\0\0\0\x02\0"];
    in_each_mode(|talk| {
        for call in [
            &b"\x17\x01\0\0\0\x01"[..],
            b"\x17\x01\0\0\0\0",
            b"\x03CALL p()",
        ] {
            for last in [AUTOCOMMIT, AUTOCOMMIT | status::CURSOR_EXISTS] {
                talk.asks(call).says(b"\x01").says(DEFINITION);
                talk.definitions_end(flags);
                for row in rows {
                    talk.says(row);
                }
                let end = talk.terminator(flags);
                talk.says(&end).ends(&ok(last)).rests();
            }
        }
    });
}

/// MySQL says so behind rows that a function with a cursor of its own is called for.
#[test]
fn rows_that_come_with_an_execution_are_left_in_no_cursor() {
    in_each_mode(|talk| {
        let end = talk.terminator(AUTOCOMMIT | status::CURSOR_EXISTS);
        talk.asks(b"\x17\x01\0\0\0\0")
            .says(b"\x01")
            .says(DEFINITION);
        talk.definitions_end(AUTOCOMMIT);
        talk.says(BINARY_ROW).ends(&end).rests();
    });
}

/// MySQL says of the result of OUT parameters in front of it that another one follows, and not behind it.
#[test]
fn what_a_procedure_has_put_into_its_parameters_is_not_its_last_word() {
    let talk = &mut Talk::new(MODES[0]);
    for behind in [AUTOCOMMIT, MORE | status::PS_OUT_PARAMS] {
        talk.asks(b"\x17\x01").says(b"\x01").says(DEFINITION);
        talk.definitions_end(MORE | status::PS_OUT_PARAMS);
        talk.says(b"\0\0\x05\0\0\0").says(&eof(behind));
        talk.ends(&ok(AUTOCOMMIT)).rests();
    }
}
