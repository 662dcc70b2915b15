//! Close: of statements, most of which are closed here only, and of portals.

use bytes::{Bytes, BytesMut};

use super::super::changes::Unnamed;
use super::super::names::Named;
use super::super::outbound::Passing;
use super::super::prepared::own_name;
use super::super::replies::{Owed, To, What};
use super::super::request::{Request, put_about_statement, put_bare};
use super::said::Fate;
use super::statements::about;
use super::taken::is_about_name;
use super::{Fault, Tracker};

impl Tracker {
    pub(super) fn close(
        &mut self,
        request: Request<'_>,
        input: &mut Passing<'_>,
        to_client: &mut BytesMut,
    ) -> Result<Fate, Fault> {
        if !request.is_whole() {
            return Ok(Fate::Incomplete);
        }
        let Some((b'S', name)) = about(request.body()) else {
            self.push_extended(Owed::new(What::Close, To::Client));
            if let Some((b'P', portal)) = about(request.body()) {
                self.note_portal(portal, None);
            }
            return Ok(Fate::Passes);
        };
        if name.is_empty() {
            self.push_extended(Owed::new(What::Close, To::Client));
            self.change_unnamed(Unnamed::Absent, Unnamed::Absent);
            return Ok(Fate::Passes);
        }
        let name = Bytes::copy_from_slice(name);
        if self.is_undecided(|change| is_about_name(change, &name)) {
            return Ok(Fate::Held);
        }
        let own = match self.names.get(&name) {
            Some(Named::Own(_)) => Some(own_name(&name)),
            Some(Named::BySql) => Some(name.clone()),
            _ => None,
        };
        if own.is_none() && self.is_amidst() {
            return Ok(Fate::Held);
        }
        if let Some(own) = own {
            let as_it_is = own == name;
            if !as_it_is {
                put_about_statement(input.ours(), b'C', &own);
            }
            self.push_extended(Owed::new(What::Close, To::Client));
            self.change_name(name, None);
            return Ok(match as_it_is {
                true => Fate::Passes,
                false => Fate::Rewritten(request.total),
            });
        }
        match &mut self.link {
            Some(link) if !link.replies.is_empty() => {
                link.push(Owed::new(What::CloseHere, To::Client));
                // Also if there is none: what took it away, in this batch, may be taken back with it.
                self.change_name(name, None);
            }
            _ => {
                self.names.set(&name, None);
                put_bare(to_client, CLOSE_COMPLETE);
            }
        }
        Ok(Fate::Dropped)
    }
}

pub(super) const CLOSE_COMPLETE: u8 = b'3';
