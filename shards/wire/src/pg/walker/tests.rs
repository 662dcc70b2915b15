//! What passes, counted, wherever it is cut.

#![allow(clippy::unwrap_used)]
use super::*;

fn walk(sender: Sender, chunk: &[u8]) -> Result<Passed, WireError> {
    Walker::new(sender).feed(chunk)
}

#[test]
fn replies_of_a_query_are_counted() {
    let replies = b"C\0\0\0\x0bSELECT\0Z\0\0\0\x05IE\0\0\0\x0cVERROR\0\0Z\0\0\0\x05T";
    let mut walker = Walker::new(Sender::Backend);
    let passed = walker.feed(replies).unwrap();
    assert!(walker.at_boundary());
    assert_eq!(
        passed,
        Passed {
            messages: 4,
            ready: 2,
            transactions: 1,
            status: Some(TransactionStatus::InBlock),
            errors: vec![SqlstateClass::OTHER],
            ..Passed::default()
        }
    );
}

#[test]
fn what_asks_for_ready_for_query_is_counted() {
    let batch = b"P\0\0\0\x08\0\0\0\0B\0\0\0\x04E\0\0\0\x04";
    let passed = walk(Sender::Frontend, batch).unwrap();
    assert_eq!((passed.awaits_ready, passed.batch_open), (0, Some(true)));
    let synced = [&batch[..], b"S\0\0\0\x04Q\0\0\0\x05\0"].concat();
    let passed = walk(Sender::Frontend, &synced).unwrap();
    assert_eq!((passed.awaits_ready, passed.batch_open), (2, Some(false)));
    assert_eq!(
        walk(Sender::Frontend, b"d\0\0\0\x04").unwrap().batch_open,
        None
    );
}

#[test]
fn syncs_behind_an_execute_are_counted() {
    let mut walker = Walker::new(Sender::Frontend);
    let mut syncs_behind = |said: &[u8]| {
        walker.feed(said).unwrap();
        walker.syncs_behind_execute()
    };
    assert_eq!(syncs_behind(b"S\0\0\0\x04"), None);
    assert_eq!(syncs_behind(b"E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04"), Some(1));
    assert_eq!(syncs_behind(b"H\0\0\0\x04S\0\0\0\x04"), Some(2));
    assert_eq!(syncs_behind(b"d\0\0\0\x04S\0\0\0\x04"), None);
    assert_eq!(syncs_behind(b"E\0\0\0\x09\0\0\0\0\0"), Some(0));
    assert_eq!(syncs_behind(b"Q\0\0\0\x06;\0"), None);
}

#[test]
fn fatal_is_seen_by_the_untranslated_severity() {
    for (body, fatal) in [
        (&b"SFATAL\0VFATAL\0C57P01\0Mbye\0\0"[..], true),
        (b"SPANIK\0VPANIC\0\0", true),
        (b"SFEHLER\0VERROR\0MVFATAL\0\0", false),
        (b"SFATAL\0\0", false),
        (b"", false),
        (b"V", false),
    ] {
        let mut message = vec![b'E'];
        message.extend(((body.len() + 4) as u32).to_be_bytes());
        message.extend(body);
        assert_eq!(
            walk(Sender::Backend, &message).unwrap().fatal,
            fatal,
            "{body:?}"
        );
    }
}

#[test]
fn each_error_is_read_from_its_own_beginning() {
    let broken_then_fatal = b"E\0\0\0\x06C2E\0\0\0\x0cVFATAL\0\0";
    let passed = walk(Sender::Backend, broken_then_fatal).unwrap();
    assert!(passed.fatal);
    assert_eq!(passed.errors, [SqlstateClass::OTHER; 2]);
}

#[test]
fn each_error_counts_by_its_class_wherever_it_is_cut() {
    let errors = b"E\0\0\0\x1aSERROR\0VERROR\0C23505\0\0E\0\0\0\x11C\0MC42\0C42P\0\0";
    let classes = [b"23", b"42"].map(|class| SqlstateClass::of(class));
    for cut in 0..=errors.len() {
        let mut walker = Walker::new(Sender::Backend);
        let (front, back) = errors.split_at(cut);
        let mut heard = walker.feed(front).unwrap().errors;
        heard.extend(walker.feed(back).unwrap().errors);
        assert!(walker.at_boundary());
        assert_eq!(heard, classes, "cut at {cut}");
    }
}

#[test]
fn a_boundary_lies_only_between_messages() {
    let mut walker = Walker::new(Sender::Frontend);
    for (byte, boundary) in b"Q\0\0\0\x06;\0S\0\0\0\x04".iter().zip([
        false, false, false, false, false, false, true, false, false, false, false, true,
    ]) {
        let _ = walker.feed(&[*byte]).unwrap();
        assert_eq!(walker.at_boundary(), boundary);
    }
}

#[test]
fn limits_are_those_of_the_server() {
    let header = |kind: u8, length: u32| {
        let mut header = vec![kind];
        header.extend(length.to_be_bytes());
        header
    };
    for (sender, kind, length, good) in [
        (Sender::Frontend, b'Q', FRONTEND_LARGE_LIMIT, true),
        (Sender::Frontend, b'Q', FRONTEND_LARGE_LIMIT + 1, false),
        (Sender::Frontend, b'Q', 3, false),
        (Sender::Frontend, b'Q', u32::MAX, false),
        (Sender::Frontend, b'S', 10_000, true),
        (Sender::Frontend, b'S', 10_001, false),
        (Sender::Frontend, b'p', 4, false),
        (Sender::Frontend, b'Z', 5, false),
        (Sender::Backend, b'D', BACKEND_LIMIT, true),
        (Sender::Backend, b'D', BACKEND_LIMIT + 1, false),
        (Sender::Backend, b'D', 0, false),
        (Sender::Backend, b'Z', 4, false),
        (Sender::Backend, b'Z', 6, false),
        (Sender::Backend, b'Q', 6, false),
    ] {
        assert_eq!(
            walk(sender, &header(kind, length)).is_ok(),
            good,
            "{kind} {length}"
        );
    }
    assert!(walk(Sender::Backend, b"Z\0\0\0\x05x").is_err());
}

#[test]
fn requests_and_terminate_are_seen() {
    let passed = walk(
        Sender::Frontend,
        b"P\0\0\0\x08\0;\0\0B\0\0\0\x0a\0\0\0\0\0\0E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04X\0\0\0\x04",
    )
    .unwrap();
    assert_eq!(
        (passed.messages, passed.requests, passed.terminate),
        (5, 1, true)
    );
}
