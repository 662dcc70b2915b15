//! Close: of statements, most of which are closed here only, and of portals.

use bytes::{Bytes, BytesMut};

use super::super::changes::{Change, Unnamed};
use super::super::names::Named;
use super::super::replies::{Owed, To, What};
use super::super::request::{Request, put_bare};
use super::said::Fate;
use super::statements::about;
use super::taken::is_about_name;
use super::{Fault, Tracker};

impl Tracker {
    pub(super) fn close(
        &mut self,
        request: Request<'_>,
        to_client: &mut BytesMut,
    ) -> Result<Fate, Fault> {
        if !request.is_whole() {
            return Ok(Fate::Incomplete);
        }
        let Some((b'S', name)) = about(request.body()) else {
            self.push_extended(Owed::new(What::Close, To::Client));
            return Ok(Fate::Passes);
        };
        if name.is_empty() {
            let mut owed = Owed::new(What::Close, To::Client);
            owed.changes
                .extend(self.change_unnamed(Unnamed::Absent, Unnamed::Absent));
            self.push_extended(owed);
            return Ok(Fate::Passes);
        }
        let name = Bytes::copy_from_slice(name);
        if self.is_undecided(|change| is_about_name(change, &name)) {
            return Ok(Fate::Held);
        }
        let is_own = matches!(self.names.get(&name), Some(Named::Own(_)));
        if !is_own && self.is_amidst() {
            return Ok(Fate::Held);
        }
        let what = if is_own { What::Close } else { What::CloseHere };
        let mut owed = Owed::new(what, To::Client);
        // Also if there is none: what took it away, in this batch, may be taken back with it.
        owed.changes.push(Change::Name {
            before: self.names.set(&name, None),
            name,
        });
        if is_own {
            self.push_extended(owed);
            return Ok(Fate::Passes);
        }
        match &mut self.link {
            Some(link) if !link.replies.is_empty() => link.push(owed),
            _ => put_bare(to_client, CLOSE_COMPLETE),
        }
        Ok(Fate::Dropped)
    }
}

pub(super) const CLOSE_COMPLETE: u8 = b'3';
