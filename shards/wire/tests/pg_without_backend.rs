//! A client in transaction mode that has no backend: what it is answered at once, what it must wait for,
//! and what becomes of a cancel while it waits.

#![allow(clippy::unwrap_used, clippy::expect_used)]

// The model and these tests each use a part of them.
#[allow(dead_code)]
mod fake_postgres;
#[allow(dead_code)]
mod pooling_turns;

use std::rc::Rc;

use bytes::BytesMut;
use fake_postgres::FakePostgres;
use pooling_turns::*;
use wire::pg::Parameters;
use wire::pg::pooling::{
    BackendMemory, Commons, Outbound, Passage, PreparedStatements, Release, Reset, Rules, Tracker,
};

const RULES: Rules = Rules {
    prepared_statements: PreparedStatements::Multiplex,
    max_prepared_statements: 10,
    reset: Reset::Smart,
};

/// One backend, and whoever has it.
struct Scene {
    commons: Rc<Commons>,
    database: FakePostgres,
    memory: Option<BackendMemory>,
}

impl Scene {
    fn new(rules: Rules) -> Scene {
        let commons = Commons::new(rules);
        let database = FakePostgres::connect(&[]);
        let memory = commons.backend_opened(&parameters(&database));
        Scene {
            commons,
            database,
            memory: Some(memory),
        }
    }

    /// A client that has been welcomed, and holds nothing.
    fn client(&mut self, startup: &[(&str, &str)]) -> Tracker {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let startup: Parameters = startup.iter().map(owned).collect();
        let mut tracker = Tracker::new(Rc::clone(&self.commons), &startup).unwrap();
        if tracker.welcome().is_none() {
            self.serve(&mut tracker);
        }
        assert!(tracker.welcome().is_some() && !tracker.is_attached());
        tracker
    }

    /// Gives a client the backend until it may be released; what the client hears meanwhile.
    fn serve(&mut self, tracker: &mut Tracker) -> Vec<u8> {
        let mut out = Outbound::default();
        tracker
            .attach(self.memory.take().unwrap(), &mut out)
            .unwrap();
        let mut heard = out.to_client.split().to_vec();
        self.database.send(&out.to_backend.split());
        while !tracker.may_release() {
            while self.database.is_busy() {
                self.database.step();
            }
            let said = self.database.receive(usize::MAX);
            assert!(!said.is_empty(), "it would wait for ever");
            if tracker.backend_said(&said, &mut out).unwrap() == Passage::Whole {
                heard.extend(said);
            }
            heard.extend(out.to_client.split());
            self.database.send(&out.to_backend.split());
        }
        let Some(Release::Clean(memory)) = tracker.detach() else {
            panic!("nothing was left on it");
        };
        self.memory = Some(memory);
        heard
    }
}

/// What a client without a backend hears when it says this.
fn say(tracker: &mut Tracker, said: &[u8]) -> Vec<u8> {
    let mut out = Outbound::default();
    let _ = tracker.client_said(said, &mut out).unwrap();
    assert!(out.to_backend.is_empty(), "there is no backend");
    out.to_client.to_vec()
}

fn cancel(tracker: &mut Tracker) -> Option<Vec<u8>> {
    let mut out = Outbound::default();
    let cancelled = tracker.cancel_waiting(&mut out).unwrap();
    cancelled.then(|| out.to_client.to_vec())
}

fn parse(name: &str, text: &str) -> Vec<u8> {
    framed(b'P', &format!("{name}\0{text}\0\0\0"))
}

fn query(text: &str) -> Vec<u8> {
    framed(b'Q', &format!("{text}\0"))
}

fn sync() -> Vec<u8> {
    framed(b'S', "")
}

fn framed(kind: u8, body: &str) -> Vec<u8> {
    let mut out = Vec::new();
    frame(&mut out, kind, body.as_bytes());
    out
}

/// The types of messages, in order.
fn kinds(stream: &[u8]) -> String {
    messages(stream).iter().map(|it| it[0] as char).collect()
}

#[test]
fn what_a_backend_has_accepted_is_prepared_without_one() {
    let mut scene = Scene::new(RULES);
    let mut first = scene.client(&[]);
    let prepares = [parse("a", "SELECT two"), sync()].concat();
    assert_eq!(kinds(&say(&mut first, &prepares)), "");
    assert!(first.needs_backend(), "nobody knows whether it is in order");
    assert_eq!(kinds(&scene.serve(&mut first)), "1Z");

    let mut second = scene.client(&[]);
    let heard = say(&mut second, &[parse("mine", "SELECT two"), sync()].concat());
    assert_eq!(kinds(&heard), "1Z");
    assert!(!second.needs_backend());
    assert_eq!(second.take_tally().prepared_hits, 1);

    let mut work = Vec::new();
    bind(&mut work, "", "mine");
    execute(&mut work, "", 0);
    work.extend(sync());
    assert_eq!(kinds(&say(&mut second, &work)), "");
    assert!(second.needs_backend());
    let mut alone = FakePostgres::connect(&[]);
    alone.send(&[parse("mine", "SELECT two"), work].concat());
    while alone.is_busy() {
        alone.step();
    }
    let direct = alone.receive(usize::MAX);
    assert_eq!(
        scene.serve(&mut second),
        direct[5..],
        "all but its ParseComplete"
    );
}

#[test]
fn a_name_that_is_taken_is_refused_by_a_backend() {
    let mut scene = Scene::new(RULES);
    let mut client = scene.client(&[]);
    say(&mut client, &[parse("a", "SELECT two"), sync()].concat());
    scene.serve(&mut client);
    let heard = say(&mut client, &[parse("a", "SELECT two"), sync()].concat());
    assert_eq!(kinds(&heard), "");
    let heard = scene.serve(&mut client);
    assert_eq!(kinds(&heard), "EZ");
    assert!(readable(&heard).contains("42P05"), "{}", readable(&heard));
}

#[test]
fn what_may_be_otherwise_now_is_asked_of_a_backend() {
    let prepares = [parse("a", "SELECT two"), sync()].concat();
    let known = |rules| {
        let mut scene = Scene::new(rules);
        let mut client = scene.client(&[]);
        say(&mut client, &prepares);
        assert_eq!(kinds(&scene.serve(&mut client)), "1Z");
        scene
    };
    // Another text, another search path, more than preparing.
    let mut scene = known(RULES);
    let mut client = scene.client(&[]);
    say(&mut client, &[parse("a", "SELECT three"), sync()].concat());
    assert!(client.needs_backend());
    for setting in ["search_path", "timezone"] {
        let mut client = scene.client(&[(setting, "mine")]);
        say(&mut client, &prepares);
        assert!(client.needs_backend(), "{setting}");
    }
    let mut client = scene.client(&[]);
    let describes = [parse("a", "SELECT two"), framed(b'D', "Sa\0"), sync()].concat();
    assert_eq!(kinds(&say(&mut client, &describes)), "");
    assert!(client.needs_backend());
    assert_eq!(kinds(&scene.serve(&mut client)), "1tTZ");
    // Something has been made since.
    let mut client = scene.client(&[]);
    say(
        &mut client,
        &query("BEGIN; CREATE TEMP TABLE t (a int); ROLLBACK"),
    );
    scene.serve(&mut client);
    say(&mut client, &[parse("b", "SELECT two"), sync()].concat());
    assert!(client.needs_backend());
    // Statements that stay where they are.
    let mut scene = Scene::new(Rules {
        prepared_statements: PreparedStatements::Pin,
        ..RULES
    });
    let mut client = scene.client(&[]);
    say(&mut client, &prepares);
    assert!(client.needs_backend());
}

#[test]
fn it_waits_until_it_knows_what_a_batch_is_for() {
    let mut scene = Scene::new(RULES);
    let mut client = scene.client(&[]);
    say(&mut client, &[parse("a", "SELECT two"), sync()].concat());
    scene.serve(&mut client);
    let mut client = scene.client(&[]);
    let batch = [
        framed(b'C', "Sold\0"),
        parse("one", "SELECT two"),
        parse("two", "SELECT two"),
        parse("", "SELECT two"),
        sync(),
    ]
    .concat();
    let mut heard = Vec::new();
    for byte in &batch[..batch.len() - 1] {
        heard.extend(say(&mut client, &[*byte]));
        assert!(!client.needs_backend());
    }
    assert_eq!(kinds(&heard), "3", "what closes nothing needs nobody");
    heard.extend(say(&mut client, &batch[batch.len() - 1..]));
    assert_eq!(kinds(&heard), "3111Z");
    // What it has been told holds: the first is there, the second is refused by its database.
    let batch = [
        parse("three", "SELECT two"),
        parse("four", "SELECT three"),
        sync(),
    ];
    assert_eq!(kinds(&say(&mut client, &batch.concat())), "1");
    assert_eq!(kinds(&scene.serve(&mut client)), "1Z");
}

#[test]
fn a_cancelled_query_is_answered_and_the_next_one_goes_on() {
    let mut scene = Scene::new(RULES);
    let mut client = scene.client(&[]);
    assert_eq!(cancel(&mut client), None, "it waits for nothing");
    say(
        &mut client,
        &[query("SELECT 1"), query("SELECT two")].concat(),
    );
    let heard = cancel(&mut client).unwrap();
    assert_eq!(kinds(&heard), "EZ");
    assert!(readable(&heard).contains("57014"));
    assert!(client.needs_backend(), "for the second query");
    assert_eq!(kinds(&scene.serve(&mut client)), "TDCZ");
    assert!(client.at_rest());
}

#[test]
fn a_cancelled_query_is_dropped_to_its_end() {
    let mut scene = Scene::new(RULES);
    let mut client = scene.client(&[]);
    let cut = [query("SELECT 1"), query("SELECT two")].concat();
    say(&mut client, &cut[..8]);
    assert_eq!(kinds(&cancel(&mut client).unwrap()), "EZ");
    assert!(!client.needs_backend());
    say(&mut client, &cut[8..]);
    assert!(client.needs_backend());
    assert_eq!(kinds(&scene.serve(&mut client)), "TDCZ");
}

#[test]
fn a_cancelled_batch_is_skipped_to_its_sync() {
    let mut scene = Scene::new(RULES);
    let mut client = scene.client(&[]);
    let mut batch = parse("a", "SELECT two");
    bind(&mut batch, "", "a");
    say(&mut client, &batch);
    assert_eq!(kinds(&cancel(&mut client).unwrap()), "E");
    let mut rest = Vec::new();
    execute(&mut rest, "", 0);
    rest.extend(query("SELECT 'skipped as well'"));
    assert_eq!(kinds(&say(&mut client, &rest)), "");
    assert!(!client.needs_backend());
    assert_eq!(kinds(&say(&mut client, &sync())), "Z");
    say(&mut client, &[framed(b'D', "Sa\0"), sync()].concat());
    let heard = scene.serve(&mut client);
    assert!(readable(&heard).contains("26000"), "it was never prepared");
}

#[test]
fn a_cancel_hits_what_waits_for_the_settings() {
    let mut scene = Scene::new(RULES);
    let mut client = scene.client(&[("timezone", "one")]);
    let mut other = scene.client(&[("timezone", "three")]);
    say(&mut other, &query("SELECT 1"));
    scene.serve(&mut other);
    say(&mut client, &query("SELECT 1"));
    let mut out = Outbound::default();
    client
        .attach(scene.memory.take().unwrap(), &mut out)
        .unwrap();
    assert!(client.is_setting());
    assert_eq!(kinds(&cancel(&mut client).unwrap()), "EZ");
    scene.database.send(&out.to_backend);
    while scene.database.is_busy() {
        scene.database.step();
    }
    let said = scene.database.receive(usize::MAX);
    let mut out = Outbound::default();
    let _ = client.backend_said(&said, &mut out).unwrap();
    assert!(client.may_release());
    assert_eq!(
        kinds(&out.to_client).replace('S', ""),
        "",
        "it was told already"
    );
    assert_eq!(BytesMut::new(), out.to_backend);
}

#[test]
fn a_statement_is_shared_where_it_means_the_same() {
    let mut scene = Scene::new(RULES);
    let batch = [parse("a", "SELECT '2001-01-01'::timestamptz"), sync()].concat();
    let mut prepared = Vec::new();
    for timezone in ["one", "one", "three", "one"] {
        let mut client = scene.client(&[("timezone", timezone)]);
        say(&mut client, &batch);
        if client.needs_backend() {
            scene.serve(&mut client);
        }
        prepared.push(scene.database.prepared());
    }
    assert_eq!(prepared, [1, 1, 2, 2]);
}

#[test]
fn what_clients_are_told_at_their_welcome_is_one_for_all_that_are_told_the_same() {
    let mut scene = Scene::new(RULES);
    let plain = scene.client(&[]).welcome().unwrap();
    let usual = ("client_encoding", "UTF8");
    // The first has learnt from a backend what is reported then; the others are told from memory.
    let zones = ["one", "three"].map(|zone| {
        let startup = [usual, ("timezone", zone)];
        [(); 3].map(|()| scene.client(&startup).welcome().unwrap())
    });
    for [learnt, second, third] in &zones {
        assert_eq!(learnt, second);
        assert!(Rc::ptr_eq(second, third), "each holds its own");
    }
    assert_ne!(zones[0][1], zones[1][1]);
    assert_ne!(zones[0][1], plain);
}
