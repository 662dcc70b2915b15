//! What PostgreSQL clients' proofs are compared with: verifiers, made of passwords where needed.
//!
//! A client that nobody knows gets a verifier too, made the same way at the same cost, so that
//! neither the answer nor the time it takes tells the unknown from the known.

use std::cell::RefCell;
use std::collections::HashMap;

use wire::Secret;
use wire::pg::scram::{DEFAULT_ITERATIONS, Verifier};
use wire::pg::{MockKey, Stored};

use crate::contract::TenantId;

/// The verifiers of one shard, kept so that each is derived once.
pub struct Verifiers {
    mock: MockKey,
    /// By tenant and user, each with what it was made of: it holds for that alone, whatever the user
    /// was a moment ago to whom.
    derived: RefCell<HashMap<(TenantId, String), (Secret, Verifier)>>,
}

impl Verifiers {
    /// With the process's key for secrets of users that do not exist.
    pub fn new(mock: MockKey) -> Verifiers {
        Verifiers {
            mock,
            derived: RefCell::default(),
        }
    }

    /// The key for mock secrets of other kinds.
    pub fn mock(&self) -> &MockKey {
        &self.mock
    }

    /// The verifier for a user, from what is stored of its secret; `None` for a user nobody knows.
    pub async fn scram(&self, tenant: &TenantId, user: &str, stored: Option<&Stored>) -> Verifier {
        let password = self.password(tenant, user, stored);
        let derived = match self.known(tenant, user, &password) {
            Some(verifier) => verifier,
            None => self.derive(tenant, user, password).await,
        };
        match stored {
            Some(Stored::Scram(verifier)) => verifier.clone(),
            _ => derived,
        }
    }

    fn known(&self, tenant: &TenantId, user: &str, password: &Secret) -> Option<Verifier> {
        let key = (tenant.clone(), user.to_owned());
        let all = self.derived.borrow();
        let (_, verifier) = all.get(&key).filter(|(of, _)| of == password)?;
        Some(verifier.clone())
    }

    /// What must be derived from at the first sight of a user, whoever it is. Of one whose verifier is
    /// stored it is for the time that it takes, which would else tell it from those whom nobody knows.
    fn password(&self, tenant: &TenantId, user: &str, stored: Option<&Stored>) -> Secret {
        match stored {
            Some(Stored::Plain(password)) => password.clone(),
            // No SCRAM proof can be checked against an md5 hash: such a user is nobody here.
            Some(Stored::Scram(_) | Stored::Md5 { .. }) | None => {
                self.mock.password(tenant.as_str(), user)
            }
        }
    }

    async fn derive(&self, tenant: &TenantId, user: &str, password: Secret) -> Verifier {
        let salt = self.mock.salt(tenant.as_str(), user);
        let of = password.clone();
        let derived = sockets::blocking(move || {
            Verifier::derive(password.expose(), &salt, DEFAULT_ITERATIONS)
        })
        .await;
        let verifier = derived.unwrap_or_else(|_| self.mock.verifier(tenant.as_str(), user));
        let mut all = self.derived.borrow_mut();
        if all.len() >= VERIFIERS_KEPT {
            all.clear();
        }
        all.insert((tenant.clone(), user.to_owned()), (of, verifier.clone()));
        verifier
    }

    /// A tenant has come, gone or changed: what was derived for it is of no use any more, and is made
    /// of its secrets.
    pub fn forget(&self, tenant: &TenantId) {
        self.derived.borrow_mut().retain(|(of, _), _| of != tenant);
    }
}

/// How many verifiers a shard keeps. Names are the clients' choice, so there must be an end; the
/// cost of a miss is a millisecond of a helper thread.
const VERIFIERS_KEPT: usize = 4096;
