//! Whatever a PgBouncer's config says, what comes of it is a good config of ours.
#![allow(clippy::unwrap_used)]

mod stricter;

use std::io;

use super::{Import, pgbouncer};
use crate::config::{Cpus, Node, Surroundings, settle};

/// Numbers that come in a seed's order (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }

    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }

    fn often(&mut self) -> bool {
        self.below(4) > 0
    }
}

const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "20",
    "21",
    "5432",
    "8080",
    "65535",
    "65536",
    "9999999",
    "99999999999999999999999",
    "-1",
    "",
    "1.5",
    "ten",
    "0x10",
    "1e3",
    " 7",
];
const SECONDS: &[&str] = &[
    "0", "0.0", "-0", "0.0001", "0.0099", "0.01", "0.5", "0.9996", "1", "15.0004", "172800",
    "86400.5", "31622400", "1e300", "1e-300", "-1", "inf", "nan", "", "soon", "5s", "366",
];
const TEXTS: &[&str] = &[
    "",
    "a",
    "db.example.com",
    "10.0.0.1",
    "::1",
    "[::1]",
    "/run",
    "@abstract",
    "one,two",
    "a b",
    "file:x}$y",
    "${HOME}",
    "$",
    "yes",
    "null",
    "0",
    "1e5",
    "postgres://x@y/z",
    "\u{1}",
    "\u{7f}\u{85}",
    "\u{2028}",
    "ä",
    "CHANGE-ME",
    "__",
    "a__b",
    "*",
    "pgbouncer",
    "# no comment",
    "a: b",
    "SELECT 1",
    "SELECT $1, $2",
    "SELECT a, b FROM c WHERE a = $1",
    "md5aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "SCRAM-SHA-256$x",
];
const MODES: &[&str] = &["session", "transaction", "statement", "", "Session"];
const AUTH: &[&str] = &[
    "md5",
    "scram-sha-256",
    "plain",
    "trust",
    "any",
    "cert",
    "hba",
    "pam",
    "",
    "ldap",
];

/// Keys of `[pgbouncer]` and of a database, with what may stand there.
const SETTINGS: &[(&str, &[&str])] = &[
    ("listen_addr", TEXTS),
    ("listen_port", NUMBERS),
    ("auth_type", AUTH),
    ("auth_query", TEXTS),
    ("auth_user", TEXTS),
    ("auth_hba_file", &["hba"]),
    ("max_client_conn", NUMBERS),
    ("client_login_timeout", SECONDS),
    ("default_pool_size", NUMBERS),
    ("min_pool_size", NUMBERS),
    ("pool_mode", MODES),
    ("server_idle_timeout", SECONDS),
    ("server_lifetime", SECONDS),
    ("server_connect_timeout", SECONDS),
    ("query_wait_timeout", SECONDS),
    ("query_timeout", SECONDS),
    ("transaction_timeout", SECONDS),
    ("idle_transaction_timeout", SECONDS),
    ("client_idle_timeout", SECONDS),
    ("max_db_client_connections", NUMBERS),
    ("max_prepared_statements", NUMBERS),
    ("server_reset_query_always", NUMBERS),
    (
        "server_tls_sslmode",
        &[
            "disable",
            "allow",
            "prefer",
            "require",
            "verify-ca",
            "no",
            "",
        ],
    ),
    ("client_tls_sslmode", &["disable", "require", "x"]),
    ("no_such_key", TEXTS),
];
const OF_A_DATABASE: &[(&str, &[&str])] = &[
    ("host", TEXTS),
    ("port", NUMBERS),
    ("dbname", TEXTS),
    ("user", TEXTS),
    ("password", TEXTS),
    ("pool_size", NUMBERS),
    ("min_pool_size", NUMBERS),
    ("pool_mode", MODES),
    ("server_lifetime", SECONDS),
    ("auth_user", TEXTS),
    ("auth_query", TEXTS),
    ("max_db_client_connections", NUMBERS),
    ("timezone", TEXTS),
];

/// A pgbouncer.ini, and its users.
fn written(chance: &mut Chance) -> (String, String) {
    let mut ini = String::from("[pgbouncer]\n");
    for _ in 0..chance.below(2 * SETTINGS.len()) {
        let (key, values) = SETTINGS[chance.below(SETTINGS.len())];
        ini += &format!("{key} = {}\n", chance.pick(values));
    }
    ini += "[databases]\n";
    for _ in 0..chance.below(4) {
        ini += &format!("\"{}\" =", chance.pick(TEXTS));
        for (key, values) in OF_A_DATABASE {
            // Most are as they should be, so that there is something to see.
            if !chance.often() {
                ini += &format!(" {key}='{}'", chance.pick(values));
            }
        }
        ini += "\n";
    }
    let mut users = String::new();
    for _ in 0..chance.below(5) {
        users += &format!("\"{}\" \"{}\"\n", chance.pick(TEXTS), chance.pick(TEXTS));
    }
    (ini, users)
}

/// What somebody else's program would find in the config; nothing, if it is good.
fn complaints(yaml: &str) -> Vec<String> {
    let nowhere = Surroundings {
        env: &|_| None,
        read: &|_| Err(io::ErrorKind::NotFound.into()),
        cpus: Cpus::ours(),
    };
    let written = Node::from_yaml(yaml).map_err(|why| vec![why]);
    let settled = written.and_then(|node| {
        let said = |found: Vec<_>| found.iter().map(ToString::to_string).collect();
        settle(&node, &nowhere).map_err(said)
    });
    settled.err().unwrap_or_default()
}

#[test]
fn what_was_imported_is_a_good_config_whatever_it_was_made_of() {
    let hba = "host all all 10.0.0.0/8 trust\nhost a all all md5\nhost a,b all ::/0 reject\n";
    let mut made = 0;
    for seed in 0..1000 {
        let (ini, users) = written(&mut Chance(seed));
        let Ok(Import { yaml, .. }) = pgbouncer(&ini, Some(&users), &|_| Ok(hba.to_owned())) else {
            continue;
        };
        let found = complaints(&yaml);
        assert!(
            found.is_empty(),
            "seed {seed}: {found:#?}\n{ini}\n{users}\n{yaml}"
        );
        made += yaml.matches("db_type").count();
    }
    assert!(made > 400, "{made} tenants were made at all");
}

#[test]
fn what_our_keys_do_not_take_becomes_the_nearest_and_is_said() {
    let ini = "[pgbouncer]\nquery_wait_timeout = 172800\nserver_idle_timeout = 0.5\nserver_lifetime = 0\n\
               client_login_timeout = 0\nmax_client_conn = 5000000\ndefault_pool_size = 0\n\
               min_pool_size = 5\nmin_pool_size = 50\n[databases]\na = host=h user=u pool_size=8 server_lifetime=0\n";
    let Import { yaml, remarks } = pgbouncer(ini, Some(""), &|_| Ok(String::new())).unwrap();
    for line in [
        "  acquire_timeout: 86400s",
        "  idle_timeout: 1s",
        "  max_lifetime: 1s",
        "  client_connections: 1000000",
        "  min_connections: 20",
        "    max_connections: 8",
    ] {
        assert!(
            yaml.lines().any(|written| written == line),
            "{line}\n{yaml}"
        );
    }
    assert!(!yaml.contains("login_timeout"), "{yaml}");
    for remark in [
        "[pgbouncer] query_wait_timeout = 172800 becomes acquire_timeout: 86400s, which must be a time from 10ms to 1d, or 0 for none",
        "[pgbouncer] server_idle_timeout = 0.5 becomes idle_timeout: 1s, which must be a time from 1s to 366d, or 0 for none",
        "[pgbouncer] client_login_timeout = 0 is left out: it cannot be switched off here",
        "[pgbouncer] max_client_conn = 5000000 becomes client_connections: 1000000, the most that there can be",
        "[pgbouncer] default_pool_size = 0 is left out: max_connections is a whole number from 1 to 10000",
        "[pgbouncer] server_lifetime = 0 becomes max_lifetime: 1s, the least: none is closed after one use, and 0 would be for ever here",
        "[pgbouncer] min_pool_size is said more than once: the last counts",
        "[pgbouncer] min_pool_size = 50 becomes min_connections: 20, the most that there can be",
    ] {
        assert!(
            remarks.iter().any(|said| said == remark),
            "{remark}\n{remarks:#?}"
        );
    }
    // A database's 0 is what [pgbouncer] says.
    assert_eq!(yaml.matches("max_lifetime").count(), 1, "{yaml}");
}
