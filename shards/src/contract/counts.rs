//! What a tenant's sessions and backends add up to: plain numbers that grow and merge by addition.
//!
//! Counted on the data path, named in the control plane: nothing here knows a metric's name.

use std::ops::AddAssign;
use std::time::Duration;

use pool::CloseReason;
use wire::SqlstateClass;
use wire::pg::pooling::Pin;

/// Sums since the tenant was first heard of, all from 0 upwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Clients that have proved who they are.
    pub logins: u64,
    /// Logins that proved nothing, by [`Disproof`].
    pub login_failures: [u64; Disproof::ALL.len()],
    /// Sessions that ended, refused ones among them, by [`EndKind`].
    pub ended: [u64; EndKind::ALL.len()],
    /// Requests of clients: Query, Execute and FunctionCall; commands of MySQL.
    pub queries: u64,
    /// Transactions that ended, the implicit ones of single statements among them. PostgreSQL only.
    pub transactions: u64,
    /// Errors that the database answered with.
    pub errors: Errors,
    /// Bytes from clients, after their login.
    pub from_clients: u64,
    /// Bytes to clients, after their login.
    pub to_clients: u64,
    /// Cancel requests that were passed on.
    pub cancels: u64,
    /// MySQL sessions whose database's answers could not be followed to their end.
    pub lost_track: u64,
    /// Times that a client was refused because no backend became free.
    pub exhausted: u64,
    /// Dials that came to nothing, by [`DialFault`]. How many succeeded, `dial_time` counts.
    pub dial_failures: [u64; DialFault::ALL.len()],
    /// Backends that were closed, by [`CloseReason`].
    pub closed: [u64; CloseReason::ALL.len()],
    /// Times that a session was pinned to its backend, by [`Pin`].
    pub pins: [u64; Pin::ALL.len()],
    /// Times that a shared prepared statement was needed and was there already.
    pub prepared_hits: u64,
    /// Times that a shared prepared statement was prepared on a backend.
    pub prepared_misses: u64,
    /// Backends that were cleaned for the next client.
    pub cleanups: u64,
    /// Backends that could not be cleaned, and were closed instead.
    pub cleanup_failures: u64,
    /// Users that the database was asked for, and answered.
    pub lookups: u64,
    /// Users that it was asked for in vain.
    pub lookup_failures: u64,
    /// Health checks that passed.
    pub checks_passed: u64,
    /// Health checks that failed.
    pub checks_failed: u64,
    /// From a request to the end of its answer.
    pub query_time: Timings,
    /// From the handoff of a client to its end; refused ones do not count.
    pub session_time: Timings,
    /// How long clients waited for a backend; those that did not wait count with zero.
    pub wait_time: Timings,
    /// Dials that succeeded, from the name's resolution to the end of the login.
    pub dial_time: Timings,
}

impl AddAssign<&Counts> for Counts {
    fn add_assign(&mut self, other: &Counts) {
        // Taken apart, so that a new field cannot be forgotten here.
        let Counts {
            logins,
            login_failures,
            ended,
            queries,
            transactions,
            errors,
            from_clients,
            to_clients,
            cancels,
            lost_track,
            exhausted,
            dial_failures,
            closed,
            pins,
            prepared_hits,
            prepared_misses,
            cleanups,
            cleanup_failures,
            lookups,
            lookup_failures,
            checks_passed,
            checks_failed,
            query_time,
            session_time,
            wait_time,
            dial_time,
        } = other;
        self.logins += logins;
        add(&mut self.login_failures, login_failures);
        add(&mut self.ended, ended);
        self.queries += queries;
        self.transactions += transactions;
        self.errors += errors;
        self.from_clients += from_clients;
        self.to_clients += to_clients;
        self.cancels += cancels;
        self.lost_track += lost_track;
        self.exhausted += exhausted;
        add(&mut self.dial_failures, dial_failures);
        add(&mut self.closed, closed);
        add(&mut self.pins, pins);
        self.prepared_hits += prepared_hits;
        self.prepared_misses += prepared_misses;
        self.cleanups += cleanups;
        self.cleanup_failures += cleanup_failures;
        self.lookups += lookups;
        self.lookup_failures += lookup_failures;
        self.checks_passed += checks_passed;
        self.checks_failed += checks_failed;
        self.query_time += query_time;
        self.session_time += session_time;
        self.wait_time += wait_time;
        self.dial_time += dial_time;
    }
}

fn add(sums: &mut [u64], others: &[u64]) {
    for (sum, other) in sums.iter_mut().zip(others) {
        *sum += other;
    }
}

/// Errors by the class of their SQLSTATE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors([u64; SqlstateClass::COUNT]);

impl Errors {
    /// Adds one of each of these.
    pub fn add(&mut self, classes: &[SqlstateClass]) {
        for class in classes {
            self.0[class.index()] += 1;
        }
    }

    /// All of them.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The classes that have come up, and how many of each.
    pub fn by_class(&self) -> impl Iterator<Item = (SqlstateClass, u64)> {
        SqlstateClass::all()
            .zip(self.0)
            .filter(|(_, count)| *count > 0)
    }
}

impl Default for Errors {
    fn default() -> Self {
        Errors([0; SqlstateClass::COUNT])
    }
}

impl AddAssign<&Errors> for Errors {
    fn add_assign(&mut self, other: &Errors) {
        add(&mut self.0, &other.0);
    }
}

/// How long things took: a histogram with the buckets of [`BOUNDS`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// How many took at most as long as the bound at this place and longer than the one before; the
    /// last ones took longer than every bound.
    pub buckets: [u64; BOUNDS.len() + 1],
    /// All of them together.
    pub sum: Duration,
}

impl Timings {
    /// Adds `times` things that took this long each.
    pub fn add(&mut self, took: Duration, times: u32) {
        let bucket = BOUNDS.partition_point(|bound| *bound < took);
        self.buckets[bucket] += u64::from(times);
        self.sum = self.sum.saturating_add(took.saturating_mul(times));
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

impl AddAssign<&Timings> for Timings {
    fn add_assign(&mut self, other: &Timings) {
        add(&mut self.buckets, &other.buckets);
        self.sum = self.sum.saturating_add(other.sum);
    }
}

/// The upper bounds of the buckets: fine where queries are, and far enough for sessions.
pub const BOUNDS: [Duration; 18] = [
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(600),
    Duration::from_secs(3600),
];

/// A `kinds!` enum is a list of names with its length known: an index into an array of sums.
macro_rules! kinds {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $kind:ident,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $kind,)* }

        impl $name {
            /// All of them, in the order of their indices.
            pub const ALL: [$name; [$($name::$kind),*].len()] = [$($name::$kind),*];
        }
    };
}

kinds! {
    /// Why a session ended, without the particulars: whoever is at fault, or chose, stands first.
    EndKind {
        /// The client said goodbye.
        ClientLeft,
        /// The client's connection broke.
        ClientBroke,
        /// The client broke the protocol.
        ClientMisbehaved,
        /// The client asked for something that is not to be had.
        ClientUnsupported,
        /// The client named no tenant that could be.
        ClientMisnamed,
        /// The client asked for a database that is not its tenant's.
        ClientWrongDatabase,
        /// The client did not prove who it is.
        ClientUnproven,
        /// The login took too long.
        ClientTooSlow,
        /// The client did not read.
        ClientStalled,
        /// The client said nothing for too long.
        ClientIdle,
        /// The client left a transaction open and said nothing for too long.
        TransactionIdle,
        /// A transaction took too long.
        TransactionTimeout,
        /// A query took too long.
        QueryTimeout,
        /// All places for clients were taken.
        TooManyClients,
        /// All places for clients that have not proved who they are were taken.
        TooManyLogins,
        /// All places for clients of one address were taken.
        TooManyFromAddress,
        /// All places for clients of the tenant were taken.
        TooManyOfTenant,
        /// Too many logins from its address had failed.
        TooManyFailures,
        /// Too many waited already.
        ShardBusy,
        /// No backend became free in time.
        PoolExhausted,
        /// The tenant takes no clients.
        TenantClosed,
        /// The database could not be reached.
        DatabaseUnreachable,
        /// The database refused our login.
        DatabaseRefused,
        /// The database broke the protocol.
        DatabaseMisbehaved,
        /// The database closed the connection.
        DatabaseLeft,
        /// The database has failed its health checks.
        DatabaseUnhealthy,
        /// We are stopping.
        Stopping,
        /// Told to go, and not gone in time.
        CutOff,
        /// An operator ended it.
        EndedByOperator,
        /// There was no TLS with the client, and should have been.
        ClientNotSecured,
        /// There was no connection to the database for want of something of our own.
        OwnLack,
    }
}

impl EndKind {
    /// Its name as metrics and the log have it: `pool_exhausted`.
    pub fn word(self) -> String {
        let name = format!("{self:?}");
        let mut word = String::with_capacity(name.len() + 4);
        for (place, letter) in name.char_indices() {
            if place > 0 && letter.is_ascii_uppercase() {
                word.push('_');
            }
            word.push(letter.to_ascii_lowercase());
        }
        word
    }
}

kinds! {
    /// Why a client did not prove who it is. It is never told.
    Disproof {
        /// There is no such tenant, or not on this port.
        NoTenant,
        /// The tenant has no secret, so nobody can come in.
        NoSecret,
        /// The tenant has no such user.
        NoUser,
        /// The tenant does not take clients from there.
        NotAllowed,
        /// The password was wrong.
        WrongPassword,
        /// The database could not be asked for the user.
        LookupFailed,
        /// No certificate was shown, or one that does not name the user.
        NoCertificate,
    }
}

kinds! {
    /// Why a dial came to nothing.
    DialFault {
        /// Nobody answered, or not in time.
        Unreachable,
        /// The database said no.
        Refused,
        /// What answered broke the protocol.
        Misbehaved,
        /// There was no TLS with the database, or not with the right one.
        NotSecured,
        /// Nobody was asked, for want of something of our own: descriptors, ports.
        OwnLack,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_the_bucket_whose_bound_it_does_not_exceed() {
        let mut timings = Timings::default();
        timings.add(Duration::ZERO, 1);
        timings.add(BOUNDS[0], 2);
        timings.add(BOUNDS[0] + Duration::from_nanos(1), 1);
        timings.add(BOUNDS[BOUNDS.len() - 1] + Duration::from_nanos(1), 1);
        assert_eq!((timings.buckets[0], timings.buckets[1]), (3, 1));
        assert_eq!((timings.buckets[BOUNDS.len()], timings.count()), (1, 5));
    }

    #[test]
    fn bounds_rise() {
        assert!(BOUNDS.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn sums_merge_place_by_place() {
        let mut one = Counts::default();
        one.ended[EndKind::CutOff as usize] = 2;
        one.queries = 3;
        one.query_time.add(Duration::from_millis(3), 3);
        let mut both = one.clone();
        both += &one;
        assert_eq!((both.ended[EndKind::CutOff as usize], both.queries), (4, 6));
        assert_eq!(both.query_time.count(), 6);
        assert_eq!(both.query_time.sum, Duration::from_millis(18));
    }

    #[test]
    fn words_are_names_in_small_letters() {
        assert_eq!(EndKind::PoolExhausted.word(), "pool_exhausted");
        assert_eq!(EndKind::Stopping.word(), "stopping");
    }

    #[test]
    fn kinds_stand_at_their_indices() {
        assert!(
            EndKind::ALL
                .iter()
                .enumerate()
                .all(|(at, kind)| *kind as usize == at)
        );
        assert!(
            CloseReason::ALL
                .iter()
                .enumerate()
                .all(|(at, kind)| *kind as usize == at)
        );
    }
}
