//! What PostgreSQL clients' proofs are compared with: verifiers, made of passwords where needed.
//!
//! To derive one takes a millisecond of a helper thread, once for each user. So that this tells nobody
//! who is a user, and whose users come often, whoever comes for a name from an address where it has
//! not been asked for has one derived, were it for nothing; afterwards nobody has.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use wire::Secret;
use wire::pg::scram::{DEFAULT_ITERATIONS, Verifier};
use wire::pg::{MockKey, Stored};

use crate::contract::{Neighbourhood, TenantId};

/// The verifiers of one shard, kept so that each is derived once.
pub struct Verifiers {
    mock: MockKey,
    /// By tenant and user, each with what it was made of: it holds for that alone, whatever the user
    /// was a moment ago to whom.
    derived: RefCell<HashMap<(TenantId, String), (Secret, Verifier)>>,
    /// Who has been asked for from where, each with the tenant, as hashes.
    seen: RefCell<HashMap<u64, u64>>,
    hashes: RandomState,
    #[cfg(test)]
    derivations: std::cell::Cell<usize>,
}

/// Where a verifier comes from.
enum Source {
    /// It is there.
    Ready(Verifier),
    /// It is to be made of this password.
    Password(Secret),
    /// Nobody is accepted.
    Nobody,
}

impl Verifiers {
    /// With the process's key for secrets of users that do not exist.
    pub fn new(mock: MockKey) -> Verifiers {
        Verifiers {
            mock,
            derived: RefCell::default(),
            seen: RefCell::default(),
            hashes: RandomState::new(),
            #[cfg(test)]
            derivations: std::cell::Cell::default(),
        }
    }

    /// The key for mock secrets of other kinds.
    pub fn mock(&self) -> &MockKey {
        &self.mock
    }

    /// The verifier for a user who is asked for from this address, from what is stored of its secret;
    /// one that accepts nobody for a user whom nobody knows.
    pub async fn scram(
        &self,
        tenant: &TenantId,
        user: &str,
        address: IpAddr,
        stored: Option<&Stored>,
    ) -> Verifier {
        let visit = (tenant.as_str(), user, Neighbourhood::of(address));
        let visit = self.hashes.hash_one(visit);
        let is_first = !self.seen.borrow().contains_key(&visit);
        let source = self.source(tenant, user, stored);
        let verifier = match source {
            Source::Password(password) => {
                // Apart, like all that is done but once for a user.
                Box::pin(self.made_of(tenant, user, password)).await
            }
            Source::Ready(_) | Source::Nobody => {
                if is_first {
                    let password = self.mock.password(tenant.as_str(), user);
                    let _ = Box::pin(self.derive(tenant, user, password)).await;
                }
                match source {
                    Source::Ready(verifier) => Some(verifier),
                    _ => None,
                }
            }
        };
        if is_first {
            self.remember(tenant, visit);
        }
        verifier.unwrap_or_else(|| self.mock.verifier(tenant.as_str(), user))
    }

    fn source(&self, tenant: &TenantId, user: &str, stored: Option<&Stored>) -> Source {
        match stored {
            Some(Stored::Scram(verifier)) => Source::Ready(verifier.clone()),
            Some(Stored::Plain(password)) => match self.known(tenant, user, password) {
                Some(verifier) => Source::Ready(verifier),
                None => Source::Password(password.clone()),
            },
            // No SCRAM proof can be checked against an md5 hash: such a user is nobody here.
            Some(Stored::Md5 { .. }) | None => Source::Nobody,
        }
    }

    fn known(&self, tenant: &TenantId, user: &str, password: &Secret) -> Option<Verifier> {
        let key = (tenant.clone(), user.to_owned());
        let all = self.derived.borrow();
        let (_, verifier) = all.get(&key).filter(|(of, _)| of == password)?;
        Some(verifier.clone())
    }

    /// Derives one, and keeps it.
    async fn made_of(&self, tenant: &TenantId, user: &str, password: Secret) -> Option<Verifier> {
        let derived = self.derive(tenant, user, password.clone()).await?;
        let mut all = self.derived.borrow_mut();
        if all.len() >= VERIFIERS_KEPT {
            all.clear();
            self.seen.borrow_mut().clear();
        }
        all.insert(
            (tenant.clone(), user.to_owned()),
            (password, derived.clone()),
        );
        Some(derived)
    }

    async fn derive(&self, tenant: &TenantId, user: &str, password: Secret) -> Option<Verifier> {
        #[cfg(test)]
        self.derivations.set(self.derivations.get() + 1);
        let salt = self.mock.salt(tenant.as_str(), user);
        let derived = sockets::blocking(move || {
            Verifier::derive(password.expose(), &salt, DEFAULT_ITERATIONS)
        });
        derived.await.ok()
    }

    fn remember(&self, tenant: &TenantId, visit: u64) {
        let mut seen = self.seen.borrow_mut();
        if seen.len() >= SEEN_KEPT {
            seen.clear();
        }
        seen.insert(visit, self.hashes.hash_one(tenant));
    }

    /// Those who may enter this tenant have come, gone or changed: what was derived for it is of no use any
    /// more, and is made of its secrets. All who are asked for there are new then, or it could be told who
    /// is a user; whoever comes for another tenant is not.
    pub fn forget(&self, tenant: &TenantId) {
        self.derived.borrow_mut().retain(|(of, _), _| of != tenant);
        let tenant = self.hashes.hash_one(tenant);
        self.seen.borrow_mut().retain(|_, of| *of != tenant);
    }
}

/// How many verifiers a shard keeps.
const VERIFIERS_KEPT: usize = 4096;
/// How many visits a shard remembers. Names are the clients' choice, so there must be an end.
const SEEN_KEPT: usize = 32_768;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    async fn logs_in(verifiers: &Verifiers, tenant: &str) {
        let tenant = TenantId::parse(tenant).unwrap();
        let made = verifiers.derive(&tenant, "user", Secret::new("x"));
        made.await.unwrap();
    }

    /// Strangers may name as many tenants as they like: their work is done as it came, and has no turns of its own.
    #[test]
    fn many_names_hold_up_no_logins_of_a_tenant() {
        const STRANGERS: usize = 64;
        const CLIENTS: usize = 50;
        crate::trial::run(async {
            let verifiers = Rc::new(Verifiers::new(MockKey::new([7; 32])));
            let (done, stop) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
            let strangers = (0..STRANGERS).map(|number| {
                let (done, stop) = (Rc::clone(&done), Rc::clone(&stop));
                let verifiers = Rc::clone(&verifiers);
                sockets::spawn(async move {
                    for round in 0.. {
                        if stop.get() {
                            break;
                        }
                        logs_in(&verifiers, &format!("name-{number}-{round}")).await;
                        done.set(done.get() + 1);
                    }
                })
            });
            let strangers: Vec<_> = strangers.collect();
            while done.get() < STRANGERS {
                sockets::sleep(std::time::Duration::from_millis(1)).await;
            }
            let before = done.get();
            let clients = (0..CLIENTS).map(|_| {
                let verifiers = Rc::clone(&verifiers);
                sockets::spawn(async move { logs_in(&verifiers, "shop").await })
            });
            for client in clients.collect::<Vec<_>>() {
                client.await;
            }
            let between = done.get() - before;
            stop.set(true);
            for stranger in strangers {
                stranger.await;
            }
            assert!(between < 3 * (STRANGERS + CLIENTS), "{between}");
        });
    }

    #[test]
    fn nobody_can_tell_by_the_work_who_is_a_user() {
        let verifiers = Verifiers::new(MockKey::new([7; 32]));
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let (tenant, none) = (
            TenantId::parse("shop").unwrap(),
            TenantId::parse("none").unwrap(),
        );
        let password = Stored::Plain(Secret::new("secret"));
        let salt = [1; 16];
        let stored = Stored::Scram(Verifier::derive("secret", &salt, DEFAULT_ITERATIONS).unwrap());
        let md5 = Stored::parse("md5aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "old");
        let visits = [
            (&tenant, "user", Some(&password)),
            (&tenant, "stored", Some(&stored)),
            (&tenant, "old", Some(&md5)),
            (&tenant, "nobody", None),
            (&none, "user", None),
        ];
        let test = async {
            let cost = async |(tenant, user, stored): (&TenantId, &str, Option<&Stored>), from| {
                let before = verifiers.derivations.get();
                let verifier = verifiers.scram(tenant, user, from, stored).await;
                let again = verifiers.scram(tenant, user, from, stored).await;
                assert!(verifier == again, "{user}");
                verifiers.derivations.get() - before
            };
            // Some have been here before.
            for visit in &visits[..2] {
                assert_eq!(cost(*visit, here).await, 1);
            }
            for visit in visits {
                assert_eq!(cost(visit, there).await, 1, "{}", visit.1);
            }
            for visit in visits {
                assert_eq!(cost(visit, there).await, 0, "{}", visit.1);
            }
            // All of the tenant's are new again, whoever they are, and nobody else's.
            verifiers.forget(&tenant);
            for visit in visits {
                let expected = usize::from(*visit.0 == tenant);
                assert_eq!(cost(visit, there).await, expected, "{}", visit.1);
            }
        };
        crate::trial::run(test);
    }
}
