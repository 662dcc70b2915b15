//! What the clients of one tenant make us hold on their shard: how much it is, and how much it may be.
//!
//! The text of a prepared statement is held once, for all clients that share it and all backends that keep it, for as
//! long as one of them does; names are each client's own. Once texts have spent the budget, nothing new is shared: a
//! statement stays on the backend under the client's own name, and the client stays with it. Backends give up what they
//! keep when they are given back. None of that would make names fewer, so these are counted apart: where texts and names
//! are twice the budget, who has more names than others may give no more.

use std::cell::Cell;
use std::rc::Rc;

/// How much is held, in bytes.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    /// On texts, and on names.
    spent: [Cell<usize>; 2],
    /// How many clients may give names.
    clients: Cell<usize>,
}

/// What something is held for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Held {
    Text,
    Names,
}

impl Budget {
    /// Of so many bytes.
    pub(super) fn of(limit: usize) -> Rc<Budget> {
        Rc::new(Budget {
            limit,
            spent: Default::default(),
            clients: Cell::new(0),
        })
    }

    /// Whether no more texts should be held that need not be.
    pub(super) fn is_spent(&self) -> bool {
        self.on(Held::Text).get() >= self.limit
    }

    fn on(&self, held: Held) -> &Cell<usize> {
        &self.spent[held as usize]
    }
}

/// What somebody holds of it, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Rc<Budget>,
    held: Held,
    bytes: usize,
}

impl Share {
    /// For a text of so many bytes.
    pub(super) fn of_text(budget: &Rc<Budget>, bytes: usize) -> Share {
        let mut share = Share {
            budget: Rc::clone(budget),
            held: Held::Text,
            bytes: 0,
        };
        share.grow(bytes);
        share
    }

    /// For the names that a client will give.
    pub(super) fn of_names(budget: &Rc<Budget>) -> Share {
        budget.clients.set(budget.clients.get() + 1);
        Share {
            budget: Rc::clone(budget),
            held: Held::Names,
            bytes: 0,
        }
    }

    /// Whether the budget is spent twice, and this is no less of it than others have on average.
    pub(super) fn is_too_much(&self) -> bool {
        let Budget { limit, clients, .. } = &*self.budget;
        let spent: usize = self.budget.spent.iter().map(Cell::get).sum();
        spent >= 2 * limit && self.bytes >= 2 * limit / clients.get().max(1)
    }

    /// So much more is held.
    pub(super) fn grow(&mut self, by: usize) {
        self.bytes += by;
        let spent = self.budget.on(self.held);
        spent.set(spent.get() + by);
    }

    /// So much less is held.
    pub(super) fn shrink(&mut self, by: usize) {
        self.bytes -= by;
        // What is given back was taken before.
        let spent = self.budget.on(self.held);
        spent.set(spent.get() - by);
    }

    /// Nothing is held any more.
    pub(super) fn clear(&mut self) {
        self.shrink(self.bytes);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.clear();
        if let Held::Names = self.held {
            self.budget.clients.set(self.budget.clients.get() - 1);
        }
    }
}

/// How many bytes of statements and names the clients of a tenant may make us hold before nothing more is shared.
pub(super) const TENANT_LIMIT: usize = 256 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::super::request::{put_bare, put_parse};
    use super::super::tracker::Fault;
    use super::super::{
        Commons, Outbound, Pin, PreparedStatements, Release, Reset, Rules, Tracker,
    };
    use super::*;
    use crate::pg::Parameters;

    fn commons() -> Rc<Commons> {
        let rules = Rules {
            prepared_statements: PreparedStatements::Multiplex,
            max_prepared_statements: 500,
            reset: Reset::Smart,
        };
        Commons::with_budget(rules, 20_000)
    }

    fn client(commons: &Rc<Commons>) -> Tracker {
        let mut client = Tracker::new(Rc::clone(commons), &Parameters::default()).unwrap();
        let memory = commons.backend_opened(&Parameters::default());
        client.attach(memory, &mut Outbound::default()).unwrap();
        client
    }

    /// Prepares a text of that many bytes, which begins like this; whether it is shared.
    fn prepares(
        client: &mut Tracker,
        name: &str,
        begin: &str,
        length: usize,
    ) -> Result<bool, Fault> {
        let source = format!("{begin}{}\0\0\0", " ".repeat(length - begin.len()));
        let mut said = BytesMut::new();
        put_parse(&mut said, name.as_bytes(), source.as_bytes());
        put_bare(&mut said, b'S');
        let mut out = Outbound::default();
        let _ = client.client_said(&said, &mut out)?;
        let shared = out.to_backend.windows(4).any(|part| part == b"dbb_");
        let _ = client.backend_said(b"1\0\0\0\x04Z\0\0\0\x05I", &mut out)?;
        Ok(shared)
    }

    fn gives_back(client: &mut Tracker) -> Release {
        client.detach().expect("there is a backend")
    }

    #[test]
    fn beyond_the_budget_statements_are_their_clients_own() {
        let commons = commons();
        let [mut one, mut other, mut third] = [(); 3].map(|()| client(&commons));
        assert_eq!(prepares(&mut one, "s", "select 1", 15_000), Ok(true));
        assert_eq!(prepares(&mut other, "s", "select 2", 15_000), Ok(true));
        assert_eq!(prepares(&mut third, "s", "select 3", 15_000), Ok(false));
        assert!(third.pins().contains(Pin::PreparedStatement));
        // What is held already costs nothing more.
        assert_eq!(prepares(&mut third, "t", "select 1", 15_000), Ok(true));
        assert!(other.may_release());
    }

    #[test]
    fn backends_give_up_what_they_keep_when_there_is_no_room() {
        let commons = commons();
        let mut one = client(&commons);
        assert_eq!(prepares(&mut one, "s", "select 1", 15_000), Ok(true));
        let Release::Clean(kept) = gives_back(&mut one) else {
            panic!("there is room");
        };
        let mut other = client(&commons);
        assert_eq!(prepares(&mut other, "s", "select 2", 15_000), Ok(true));
        let Release::Cleanup(cleanup) = gives_back(&mut other) else {
            panic!("there is no room");
        };
        assert!(cleanup.sql().contains("DEALLOCATE ALL"));
        // The clients have gone; what backends keep is still held.
        drop((one, other));
        let mut third = client(&commons);
        assert_eq!(prepares(&mut third, "s", "select 3", 15_000), Ok(false));
        drop((cleanup, kept, third));
        assert_eq!(commons.budget().spent, [Cell::new(0), Cell::new(0)]);
        assert_eq!(commons.budget().clients.get(), 0);
    }

    #[test]
    fn what_an_unnamed_statement_may_leave_is_not_forgotten_with_it() {
        let commons = commons();
        let [mut one, mut other] = [(); 2].map(|()| client(&commons));
        assert_eq!(prepares(&mut one, "", "select 1", 30_000), Ok(false));
        assert_eq!(prepares(&mut other, "", "select f()", 5_000), Ok(false));
        let runs = b"B\0\0\0\x0c\0\0\0\0\0\0\0\0E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04";
        let done = b"2\0\0\0\x04C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I";
        let mut out = Outbound::default();
        let _ = other.client_said(runs, &mut out).unwrap();
        let _ = other.backend_said(done, &mut out).unwrap();
        assert_eq!(prepares(&mut other, "", "select 2", 50), Ok(false));
        let Release::Cleanup(cleanup) = gives_back(&mut other) else {
            panic!("the function may have left anything");
        };
        assert!(cleanup.sql().contains("UNLISTEN"), "{}", cleanup.sql());
    }

    /// Gives names to what has been accepted, as many or until a backend is needed for that; how many.
    fn names(client: &mut Tracker, most: usize) -> usize {
        let mut one = |number: &usize| {
            let mut said = BytesMut::new();
            put_parse(&mut said, number.to_string().as_bytes(), b"select 1\0\0\0");
            put_bare(&mut said, b'S');
            let mut out = Outbound::default();
            let _ = client.client_said(&said, &mut out);
            !out.to_client.is_empty()
        };
        (0..most).take_while(|number| one(number)).count()
    }

    #[test]
    fn names_make_nobody_share_less() {
        let commons = commons();
        let [mut one, mut other] = [(); 2].map(|()| client(&commons));
        assert_eq!(prepares(&mut one, "s", "select 1", 8), Ok(true));
        assert!(matches!(gives_back(&mut one), Release::Clean(_)));
        assert_eq!(names(&mut one, 300), 300);
        assert_eq!(prepares(&mut other, "s", "select 2", 8), Ok(true));
        assert!(matches!(gives_back(&mut other), Release::Clean(_)));
    }

    #[test]
    fn who_has_few_names_is_not_refused_for_one_who_has_many() {
        let commons = commons();
        let [mut one, mut other] = [(); 2].map(|()| client(&commons));
        assert_eq!(prepares(&mut one, "s", "select 1", 8), Ok(true));
        for client in [&mut one, &mut other] {
            assert!(matches!(gives_back(client), Release::Clean(_)));
        }
        let many = names(&mut one, 1000);
        assert!(many < 1000, "{many}");
        let more = names(&mut other, 1000);
        assert!(many / 3 < more && more < many, "{more}, {many}");
    }

    #[test]
    fn names_are_refused_at_twice_the_budget() {
        let commons = commons();
        let mut one = client(&commons);
        let refused = (0..1000).find_map(|number| {
            let name = format!("{number}");
            prepares(&mut one, &name, &name, 8).err()
        });
        let Some(Fault::Client(refusal)) = refused else {
            panic!("{refused:?}");
        };
        assert!(format!("{refusal:?}").contains("54000"), "{refusal:?}");
    }

    #[test]
    fn an_unnamed_statement_is_kept_if_it_is_short() {
        let commons = commons();
        let [mut one, mut other] = [(); 2].map(|()| client(&commons));
        assert_eq!(prepares(&mut one, "", "select 1", 30_000), Ok(false));
        assert!(one.may_release());
        assert_eq!(prepares(&mut other, "", "select 2", 5_000), Ok(false));
        assert_eq!(other.pins(), [Pin::LongStatement].into_iter().collect());
        assert_eq!(prepares(&mut other, "", "select 2", 50), Ok(false));
        assert!(other.may_release());
    }
}
