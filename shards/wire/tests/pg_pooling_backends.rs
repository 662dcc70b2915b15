//! What becomes of clients whose backends change under them: replaced while they are set, worn out by others, or with what
//! others have drawn.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod pg_pair;

use std::rc::Rc;

use pg_pair::message;
use wire::pg::Parameters;
use wire::pg::pooling::{
    BackendFault, BackendMemory, Commons, Fault, Outbound, Passage, PreparedStatements, Release,
    Reset, Rules, Tracker,
};

fn commons() -> Rc<Commons> {
    Commons::new(Rules {
        prepared_statements: PreparedStatements::Multiplex,
        max_prepared_statements: 4,
        reset: Reset::Smart,
    })
}

fn client(commons: &Rc<Commons>, startup: &[(&str, &str)]) -> Tracker {
    let mut parameters = Parameters::default();
    for &(name, value) in startup {
        parameters.set(name, value.to_owned());
    }
    Tracker::new(Rc::clone(commons), &parameters).unwrap()
}

/// What goes to the backend for a Query.
fn says(client: &mut Tracker, text: &str) -> String {
    let mut out = Outbound::default();
    let said = message(b'Q', format!("{text}\0").as_bytes());
    let passage = client.client_said(&said, &mut out).unwrap();
    let sent = match passage {
        Passage::Whole => [said, out.to_backend.to_vec()].concat(),
        Passage::Copied => out.to_backend.to_vec(),
    };
    String::from_utf8_lossy(&sent).into_owned()
}

fn hears(client: &mut Tracker, said: &[Vec<u8>]) -> Result<(), Fault> {
    let heard = client.backend_said(&said.concat(), &mut Outbound::default());
    heard.map(|_| ())
}

fn done(tag: &str) -> Vec<u8> {
    message(b'C', format!("{tag}\0").as_bytes())
}

fn ready(status: &[u8]) -> Vec<u8> {
    message(b'Z', status)
}

/// What is sent for a client when it gets this backend.
fn attach(client: &mut Tracker, memory: BackendMemory) -> String {
    let mut out = Outbound::default();
    client.attach(memory, &mut out).unwrap();
    String::from_utf8_lossy(&out.to_backend).into_owned()
}

fn gives_back(client: &mut Tracker) -> BackendMemory {
    match client.detach() {
        Some(Release::Clean(memory)) => memory,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_backend_that_broke_while_it_was_set_takes_nothing_of_the_next_one() {
    let commons = commons();
    let mut first = client(&commons, &[]);
    attach(&mut first, commons.backend_opened(&Parameters::default()));
    says(&mut first, "SET work_mem TO 1000");
    hears(&mut first, &[done("SET"), ready(b"I")]).unwrap();
    let used = gives_back(&mut first);

    says(&mut first, "SET app.tenant TO 'mine'");
    let sent = attach(&mut first, commons.backend_opened(&Parameters::default()));
    assert!(sent.contains("work_mem") && first.is_untouched(), "{sent}");
    let fatal = message(b'E', b"SFATAL\0VFATAL\0C57P01\0Mgoing\0\0");
    hears(&mut first, &[fatal]).unwrap();
    first.forsake();
    let sent = attach(&mut first, used);
    assert!(sent.contains("app.tenant"), "{sent}");
    hears(&mut first, &[done("SET"), ready(b"I")]).unwrap();

    let mut next = client(&commons, &[]);
    says(&mut next, "SELECT 1");
    let sent = attach(&mut next, gives_back(&mut first));
    let taken_back = sent.contains("RESET \"app\".\"tenant\"");
    assert!(taken_back, "{sent}");
}

#[test]
fn a_backend_is_worn_by_what_it_has_done_and_not_by_a_value_that_none_would_take() {
    let refuses = |routine: &str| {
        let commons = commons();
        let mut client = client(&commons, &[("temp_buffers", "200")]);
        attach(&mut client, commons.backend_opened(&Parameters::default()));
        let error = format!("SERROR\0VERROR\0C22023\0Mno\0R{routine}\0\0");
        let heard = [message(b'E', error.as_bytes()), ready(b"I")];
        match hears(&mut client, &heard) {
            Err(Fault::Backend(fault)) => fault,
            other => panic!("{other:?}"),
        }
    };
    let worn = refuses("call_int_check_hook");
    assert!(matches!(worn, BackendFault::Worn(_)), "{worn:?}");
    for routine in ["parse_and_validate_value", "call_string_check_hook"] {
        let refused = refuses(routine);
        let all_would = matches!(refused, BackendFault::SettingsRefused(_));
        assert!(all_would, "{routine}: {refused:?}");
    }
}

#[test]
fn what_another_left_and_cannot_be_left_is_the_backends_fault() {
    let refuses = |startup: &[(&str, &str)], message_of: &str| {
        let commons = commons();
        let mut other = client(&commons, &[]);
        attach(&mut other, commons.backend_opened(&Parameters::default()));
        says(&mut other, "SET library.mode TO strict");
        hears(&mut other, &[done("SET"), ready(b"I")]).unwrap();
        let mut client = client(&commons, startup);
        let sent = attach(&mut client, gives_back(&mut other));
        assert!(sent.contains("RESET \"library\".\"mode\""), "{sent}");
        let error = format!("SERROR\0VERROR\0C42501\0M{message_of}\0\0");
        match hears(&mut client, &[message(b'E', error.as_bytes()), ready(b"I")]) {
            Err(Fault::Backend(fault)) => fault,
            other => panic!("{other:?}"),
        }
    };
    let left = refuses(
        &[],
        "keine Berechtigung, um \u{bb}library.mode\u{ab} zu setzen",
    );
    assert!(matches!(left, BackendFault::Worn(_)), "{left:?}");
    let own = refuses(
        &[("log_duration", "on")],
        "permission denied to set parameter \"log_duration\"",
    );
    assert!(matches!(own, BackendFault::SettingsRefused(_)), "{own:?}");
}

#[test]
fn what_a_transaction_of_the_clients_takes_is_not_ours_to_say() {
    for in_transaction in [false, true] {
        let commons = commons();
        let mut other = client(&commons, &[]);
        attach(&mut other, commons.backend_opened(&Parameters::default()));
        says(&mut other, "INSERT INTO line VALUES (1)");
        hears(&mut other, &[done("INSERT 0 1"), ready(b"I")]).unwrap();

        let mut client = client(&commons, &[]);
        attach(&mut client, gives_back(&mut other));
        says(&mut client, "SET default_transaction_deferrable TO on");
        hears(&mut client, &[done("SET"), ready(b"I")]).unwrap();
        if in_transaction {
            says(&mut client, "BEGIN");
            hears(&mut client, &[done("BEGIN"), ready(b"T")]).unwrap();
        }
        let sent = says(&mut client, "INSERT INTO line VALUES (2)");
        assert!(sent.contains("DISCARD SEQUENCES"), "{sent}");
        assert_eq!(sent.contains("NOT DEFERRABLE"), !in_transaction, "{sent}");
    }
}
