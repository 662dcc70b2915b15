//! MySQL users of whom the config keeps what MySQL keeps: a slow hash, which says nothing about a token.
//!
//! A client of such a user says its password itself, once; what that shows is remembered here, and the tokens of later
//! logins are judged by it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use wire::Secret;
use wire::mysql::{Digested, Verifier};

use crate::contract::{Access, Credential, Users};

/// Those of one tenant.
#[derive(Default)]
pub struct Digests {
    /// By user, with the stored form that the password was right for.
    known: RefCell<HashMap<String, (Secret, Digested)>>,
    /// Rounds of the slowest hash among the users'.
    rounds: Cell<Option<u32>>,
}

impl Digests {
    /// Takes the users that are known from now on.
    pub fn amend(&self, access: &Access) {
        let Users::Named(users) = &access.users else {
            return self.rounds.set(None);
        };
        let rounds = |credential: &Credential| match credential {
            Credential::Password(_) => None,
            Credential::Verifier(stored) => Verifier::parse(stored.expose())?.rounds(),
        };
        self.rounds.set(users.values().filter_map(rounds).max());
        let known = |user: &String, stored: &Secret| {
            let credential = users.get(user);
            matches!(credential, Some(Credential::Verifier(now)) if now == stored)
        };
        let mut all = self.known.borrow_mut();
        all.retain(|user, (stored, _)| known(user, stored));
    }

    /// What to compare a user's proof with, from what is kept of it; `None` for nobody. Where there are slow hashes,
    /// the others are asked like those who have one.
    pub fn verifier(&self, user: &str, credential: Option<&Credential>) -> Option<Verifier> {
        let verifier = match credential {
            Some(Credential::Password(password)) => Some(Verifier::of_password(password)),
            Some(Credential::Verifier(stored)) => {
                let known = self.known.borrow();
                let known = known.get(user).filter(|(of, _)| of == stored);
                let verifier = Verifier::parse(stored.expose());
                verifier.map(|verifier| match known {
                    Some((_, digested)) => verifier.knowing(digested),
                    None => verifier,
                })
            }
            None => None,
        };
        match (verifier, self.rounds.get()) {
            (Some(verifier), Some(rounds)) => Some(verifier.asked_in_full(rounds)),
            (None, Some(rounds)) => Some(Verifier::of_nobody_in_full(rounds)),
            (verifier, None) => verifier,
        }
    }

    /// Remembers what a password has shown that was right for what `access` keeps of it, which may not be what is kept
    /// by now.
    pub fn keep(&self, access: &Access, user: &str, digested: Digested) {
        if let Users::Named(users) = &access.users
            && let Some(Credential::Verifier(stored)) = users.get(user)
        {
            let known = (stored.clone(), digested);
            self.known.borrow_mut().insert(user.to_owned(), known);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::contract::{BackendUser, ClientAuth, Networks};

    /// Of `secret`, by a MySQL 9.7.
    const STORED: &str = "0x2441243030412478522C354F4E2C42522D2C130F58317E1F0D6012416C4138546A434E2E2E50413157534D496B30522E39785271536D7568487A70306868576D324E32724F39";

    #[test]
    fn whoever_comes_is_asked_like_the_user_with_the_slow_hash() {
        let digests = Digests::default();
        assert!(digests.verifier("a", None).is_none());
        digests.rounds.set(Some(10_000));
        let password = Credential::Password(Secret::new("secret"));
        let stored = Credential::Verifier(Secret::new(STORED));
        for credential in [Some(&password), Some(&stored), None] {
            let verifier = digests.verifier("a", credential).unwrap();
            assert_eq!(verifier.rounds(), Some(10_000));
            assert_eq!(verifier.accepts_clear(b"secret"), credential.is_some());
        }
    }

    /// Those who may come in with this in the config.
    fn access(stored: &str) -> Access {
        let stored = Credential::Verifier(Secret::new(stored));
        Access {
            method: ClientAuth::Scram,
            users: Users::Named(HashMap::from([("a".to_owned(), stored)])),
            lookup: None,
            backend_user: BackendUser::Tenant,
            allowed: Networks::NONE,
            trusted: Networks::NONE,
            cert_users: None,
        }
    }

    #[test]
    fn what_an_older_hash_was_right_for_stays_with_it() {
        let newer = STORED.replace("32724F39", "32724F38");
        let [before, now] = [STORED, &newer].map(access);
        let digests = Digests::default();
        let asked = |access: &Access| {
            let Users::Named(users) = &access.users else {
                unreachable!()
            };
            digests.verifier("a", users.get("a")).unwrap()
        };
        let is_known = |access: &Access, stored: &str| {
            asked(access) != Verifier::parse(stored).unwrap().asked_in_full(10_000)
        };
        digests.amend(&before);
        assert!(!is_known(&before, STORED));
        digests.keep(&before, "a", Digested::of(b"secret"));
        assert!(is_known(&before, STORED));
        // The hash changed: nobody has proved anything before it.
        digests.amend(&now);
        assert!(!is_known(&now, &newer));
        // A login under the older one ends only now, and says nothing of the newer.
        digests.keep(&before, "a", Digested::of(b"secret"));
        assert!(!is_known(&now, &newer));
        digests.keep(&now, "a", Digested::of(b"other"));
        assert!(is_known(&now, &newer));
    }
}
