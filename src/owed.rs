//! What the data plane has not been told yet, for somebody there had no room for it: the last word on each
//! subject, told again until it is taken.

use std::collections::BTreeMap;

use shards::contract::{Reception, TenantId};
use shards::tls::ClientsTls;

use crate::roster::Change;

/// Something that the data plane shall hear. To hear it twice is to hear it once.
#[derive(Clone, Debug)]
pub enum News {
    /// A tenant is another, or gone: for its shard.
    Tenant(Change),
    /// What clients see who connect from now on: for the acceptors.
    Tls(Option<ClientsTls>),
    /// How clients are received whose tenant does not exist: for every shard.
    Strangers(Reception),
    /// Everybody shall leave: for every shard.
    Drain,
}

/// Of what there is one last word.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Tls,
    Strangers,
    Tenant(TenantId),
    Drain,
}

/// The last word on each subject that was not taken.
#[derive(Default)]
pub struct Owed(BTreeMap<Subject, News>);

impl Owed {
    /// Whether all has been taken.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Notes what is to be told at the next [`Owed::deliver`]. What was owed on that subject is out of date.
    pub fn note(&mut self, news: News) {
        self.0.insert(news.subject(), news);
    }

    /// A tenant's shard has taken a later word on it.
    pub fn is_told(&mut self, id: &TenantId) {
        self.0.remove(&Subject::Tenant(id.clone()));
    }

    /// Tells everything; `tell` says whether it was taken. The rest stays owed.
    pub fn deliver(&mut self, tell: impl Fn(&News) -> bool) {
        self.0.retain(|_, news| !tell(news));
    }
}

impl News {
    fn subject(&self) -> Subject {
        match self {
            News::Tenant(change) => Subject::Tenant(change.tenant().clone()),
            News::Tls(_) => Subject::Tls,
            News::Strangers(_) => Subject::Strangers,
            News::Drain => Subject::Drain,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cell::RefCell;

    use shards::contract::ClientAuth;

    use super::*;

    fn strangers(method: ClientAuth) -> News {
        News::Strangers(Reception {
            method,
            lookup_ttl: None,
        })
    }

    fn removed(id: &str) -> News {
        News::Tenant(Change::Remove(TenantId::parse(id).unwrap()))
    }

    /// What was told by a delivery that is taken where `takes` says so.
    fn told(owed: &mut Owed, takes: impl Fn(&News) -> bool) -> Vec<String> {
        let told = RefCell::new(Vec::new());
        owed.deliver(|news| {
            told.borrow_mut().push(format!("{news:?}"));
            takes(news)
        });
        told.into_inner()
    }

    #[test]
    fn what_was_not_taken_is_told_again_and_nothing_else() {
        let mut owed = Owed::default();
        for news in [
            News::Tls(None),
            strangers(ClientAuth::Md5),
            removed("a"),
            removed("b"),
        ] {
            owed.note(news);
        }
        assert_eq!(
            told(&mut owed, |news| matches!(news, News::Tenant(_))).len(),
            4
        );
        for taken in [false, false, true] {
            let again = told(&mut owed, |_| taken);
            assert!(
                again[0].contains("Tls") && again[1].contains("Strangers"),
                "{again:?}"
            );
            assert_eq!(again.len(), 2);
        }
        assert!(owed.is_empty());
    }

    #[test]
    fn the_last_word_is_what_is_told() {
        let mut owed = Owed::default();
        owed.note(strangers(ClientAuth::Md5));
        assert!(told(&mut owed, |_| false)[0].contains("Md5"));
        owed.note(strangers(ClientAuth::Scram));
        owed.note(removed("a"));
        owed.is_told(&TenantId::parse("a").unwrap());
        let told = told(&mut owed, |_| true);
        assert!(told.len() == 1 && told[0].contains("Scram"), "{told:?}");
    }
}
