//! State of a session: each kind of it, made in each way, by a client that goes on in each way. The next client on the
//! only backend sees nothing of it, and who has made it sees what it would see on a direct connection.
//!
//! What cannot be held to that, and is not tried:
//!
//! - A function's body is not seen, so the backend is cleaned behind a call: its maker does not see it again either, and
//!   is not asked.
//! - A library that a function or a DO block loads stays loaded, and a seed of random() that it sets stays set.

use crate::frames::*;
use crate::scenario::Scenario;

/// A kind of state.
pub struct Kind {
    pub name: &'static str,
    /// What makes it.
    makes: &'static str,
    /// What shows it.
    shows: &'static str,
}

const fn kind(name: &'static str, makes: &'static str, shows: &'static str) -> Kind {
    Kind { name, makes, shows }
}

static KINDS: [Kind; 26] = [
    kind(
        "reported setting",
        "SET TimeZone TO 'Asia/Tokyo'",
        "SHOW TimeZone",
    ),
    kind(
        "unreported setting",
        "SET work_mem TO '7MB'",
        "SHOW work_mem",
    ),
    kind(
        "setting of the application",
        "SET app.tenant TO 'seven'",
        "SELECT coalesce(current_setting('app.tenant', true), '')",
    ),
    kind(
        "setting named like a keyword",
        "SET transaction.tenant TO 'seven'",
        "SELECT coalesce(current_setting('transaction.tenant', true), '')",
    ),
    kind(
        "setting by set_config",
        "SELECT set_config('app.tenant', 'seven', false)",
        "SELECT coalesce(current_setting('app.tenant', true), '')",
    ),
    kind(
        "setting by pg_settings",
        "UPDATE pg_settings SET setting = '2048' WHERE name = 'work_mem'",
        "SHOW work_mem",
    ),
    kind(
        "role",
        "SET ROLE by_trust",
        "SELECT current_user = session_user",
    ),
    kind(
        "session authorization",
        "SET SESSION AUTHORIZATION by_trust",
        "SELECT session_user = 'by_trust', current_user = 'by_trust'",
    ),
    kind(
        "search path",
        "SET search_path TO other",
        "SELECT id FROM item ORDER BY 1 LIMIT 1",
    ),
    kind(
        "client encoding",
        "SET client_encoding TO latin1",
        "SHOW client_encoding",
    ),
    kind(
        "statement timeout",
        "SET statement_timeout TO 54321",
        "SHOW statement_timeout",
    ),
    kind(
        "row security",
        "SET row_security TO off",
        "SHOW row_security",
    ),
    kind(
        "replication role",
        "SET session_replication_role TO replica",
        "SHOW session_replication_role",
    ),
    kind(
        "read-only default",
        "SET default_transaction_read_only TO on",
        "SHOW default_transaction_read_only",
    ),
    kind(
        "isolation default",
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SHOW transaction_isolation",
    ),
    kind(
        "temporary table",
        "CREATE TEMP TABLE mine AS SELECT 7 AS i",
        "SELECT to_regclass('mine') IS NULL",
    ),
    kind(
        "temporary view before a table",
        "CREATE TEMP VIEW item AS SELECT 'mine' AS id",
        "SELECT id FROM item ORDER BY 1 LIMIT 1",
    ),
    kind(
        "temporary function",
        "CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql AS 'SELECT 7'",
        "SELECT to_regproc('pg_temp.mine') IS NULL",
    ),
    kind(
        "advisory lock",
        "SELECT pg_advisory_lock(77)",
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
    ),
    kind(
        "shared advisory lock",
        "SELECT pg_try_advisory_lock_shared(7, 7)",
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
    ),
    kind(
        "channel listened to",
        "LISTEN news",
        "SELECT pg_listening_channels()",
    ),
    kind(
        "cursor with hold",
        "DECLARE held CURSOR WITH HOLD FOR SELECT 7",
        "FETCH RELATIVE 0 FROM held",
    ),
    kind(
        "statement by PREPARE",
        "PREPARE mine AS SELECT 7",
        "EXECUTE mine",
    ),
    kind(
        "value of a sequence",
        "SELECT setval('counter', 70)",
        "SELECT currval('counter')",
    ),
    kind(
        SEED,
        "SELECT setseed(0.5)",
        "SELECT random() = 0.9851677175347999",
    ),
    kind(
        LIBRARY,
        "LOAD 'auto_explain'",
        "SELECT count(*) FROM pg_settings WHERE name LIKE 'auto\\_explain.%'",
    ),
];

/// How it is made.
#[derive(Clone, Copy)]
enum Way {
    Query,
    Extended,
    Prepared,
    AmongOthers,
    Do,
    Function,
}

const WAYS: [(&str, Way); 6] = [
    ("by Query", Way::Query),
    ("by Parse, Bind, Execute", Way::Extended),
    ("by a statement prepared before", Way::Prepared),
    ("among other statements", Way::AmongOthers),
    ("by DO", Way::Do),
    ("by a function", Way::Function),
];

impl Way {
    fn frames(self, sql: &str) -> Vec<Frame> {
        match self {
            Way::Query => vec![query(sql)],
            Way::Extended => vec![unnamed(sql), sync()],
            Way::Prepared => vec![
                parse("way", sql),
                sync(),
                bind("", "way"),
                execute(""),
                sync(),
            ],
            Way::AmongOthers => vec![query(&format!("SELECT 1; {sql}; SELECT 2"))],
            Way::Do => vec![query(&format!(
                "DO $do$ BEGIN EXECUTE $x${sql}$x$; END $do$"
            ))],
            Way::Function => vec![query(&format!("SELECT run($x${sql}$x$)"))],
        }
    }
}

/// How its maker goes on.
#[derive(Clone, Copy)]
enum End {
    Stays,
    Commits,
    RollsBack,
    Fails,
    Leaves,
    Vanishes,
    VanishesInTransaction,
}

const ENDS: [(&str, End); 7] = [
    ("stays", End::Stays),
    ("commits", End::Commits),
    ("rolls back", End::RollsBack),
    ("fails", End::Fails),
    ("leaves", End::Leaves),
    ("vanishes", End::Vanishes),
    ("vanishes in a transaction", End::VanishesInTransaction),
];

const LIBRARY: &str = "library";
const SEED: &str = "random seed";

/// Which ways and ends are tried.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All that can be seen: by Query and DO with each end, in the other ways with the ends that differ most.
    Full,
    /// A few, on a release that differs little from the one on which all are.
    Short,
    /// By a function, behind which its maker sees nothing more either.
    Hidden,
}

impl Extent {
    fn takes(self, kind: &Kind, way: Way, end: End) -> bool {
        let hidden = matches!(way, Way::Function);
        let stays = [LIBRARY, SEED].contains(&kind.name);
        let plain = matches!(end, End::Stays | End::RollsBack | End::Vanishes);
        match self {
            Extent::Full if matches!(way, Way::Query) => true,
            Extent::Full if matches!(way, Way::Do) => !stays,
            Extent::Full => !hidden && plain,
            Extent::Short => matches!(way, Way::Extended) && plain,
            Extent::Hidden => hidden && !stays,
        }
    }
}

/// All kinds.
pub fn kinds() -> &'static [Kind] {
    &KINDS
}

/// The scenarios of a kind, of which there may be none.
pub fn of_kind(kind: &Kind, extent: Extent) -> Vec<Scenario> {
    let all = WAYS
        .iter()
        .flat_map(|way| ENDS.iter().map(move |end| (way, end)));
    let taken = all.filter(|(way, end)| extent.takes(kind, way.1, end.1));
    let played = taken.map(|(way, end)| scenario(kind, way, end, extent == Extent::Hidden));
    played.collect()
}

fn scenario(
    kind: &Kind,
    (how, way): &(&str, Way),
    (ends, end): &(&str, End),
    hidden: bool,
) -> Scenario {
    let shows = || [query(kind.shows)];
    let made = way.frames(kind.makes);
    let scenario = Scenario::named(format!("{}, made {how} by one who {ends}", kind.name));
    let within = |last: &[Frame]| [&[query("BEGIN")], &made[..], last].concat();
    let scenario = match end {
        End::Stays | End::Leaves | End::Vanishes => scenario.says(&made),
        End::Commits => scenario.says(&within(&[query("COMMIT")])),
        End::RollsBack => scenario.says(&within(&[query("ROLLBACK")])),
        End::Fails => scenario.says(&within(&[query("SELECT 1/0"), query("COMMIT")])),
        End::VanishesInTransaction => scenario.says(&within(&[])),
    };
    match end {
        End::Leaves => scenario.leaves().client(1).says(&shows()),
        End::Vanishes | End::VanishesInTransaction => scenario.vanishes().client(1).says(&shows()),
        _ if hidden => scenario
            .client(1)
            .says(&shows())
            .client(0)
            .leaves()
            .client(2)
            .says(&shows()),
        _ => scenario
            .says(&shows())
            // The neighbour is served while its maker stays, or when it has left if that is pinned.
            .client(1)
            .says(&shows())
            .messages(0)
            .client(0)
            .says(&shows())
            .leaves()
            .client(1)
            .says(&[])
            .ready(1)
            .client(2)
            .says(&shows()),
    }
}
