//! Who has proved who it is, counted against what its tenant allows.

use std::rc::Rc;

use crate::admission::Crowd;
use crate::farewell::SessionEnd;
use crate::tenant::Tenant;

/// A client's place among those of its tenant, free again when dropped.
#[must_use]
pub struct Seated(Rc<Tenant>);

impl Seated {
    /// A place, if they are not all taken.
    pub fn among(tenant: &Rc<Tenant>) -> Result<Seated, SessionEnd> {
        let (taken, most) = (tenant.clients.get(), tenant.spec().max_clients);
        match most {
            Some(most) if taken >= most => Err(SessionEnd::TooMany(Crowd::OfTenant(most))),
            _ => {
                tenant.clients.set(taken + 1);
                Ok(Seated(Rc::clone(tenant)))
            }
        }
    }

    /// Whose place it is.
    pub fn tenant(&self) -> &Rc<Tenant> {
        &self.0
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        self.0.clients.set(self.0.clients.get() - 1);
    }
}
