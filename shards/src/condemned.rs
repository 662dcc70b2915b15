//! MySQL backends whose server goes on with something that nobody waits for any more, and would not notice by itself.
//!
//! One after the other they are killed, all over one connection of ours beyond the pool's `max`; until then each keeps its
//! place in the pool, lest more work than that at the database.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use pool::CloseReason;
use wire::WireError;
use wire::mysql::{Ask, code};

use crate::backend::{Backend, Shape, Welcome};
use crate::conn::Broken;
use crate::dial;
use crate::farewell::budget::{self, About};
use crate::lease::Lease;
use crate::tenant::Tenant;

/// Those of one tenant.
#[derive(Default)]
pub struct Condemned {
    in_line: RefCell<VecDeque<Lease>>,
    /// Somebody is at work on them.
    is_attended: Cell<bool>,
}

/// Has a backend of the tenant's killed, then closed.
pub fn condemn(tenant: &Rc<Tenant>, lease: Lease) {
    tenant.condemned.in_line.borrow_mut().push_back(lease);
    if !tenant.condemned.is_attended.replace(true) {
        sockets::spawn(attend(Rc::clone(tenant))).detach();
    }
}

async fn attend(tenant: Rc<Tenant>) {
    let mut killer = None;
    loop {
        let next = tenant.condemned.in_line.borrow_mut().pop_front();
        let Some(doomed) = next else {
            break;
        };
        if let Err(spared) = kill(&tenant, &mut killer, doomed.backend()).await {
            if let Some(more) = budget::spend(About::NotKilled) {
                let id = &tenant.spec().id;
                let doomed = doomed.backend();
                log::info!("tenant {id}: {doomed} was not killed: {spared}{more}");
            }
            if let Spared::WithTheOthers(_) = spared {
                killer = None;
                let others = std::mem::take(&mut *tenant.condemned.in_line.borrow_mut());
                others.into_iter().for_each(close);
            }
        }
        close(doomed);
    }
    tenant.condemned.is_attended.set(false);
    if let Some(killer) = killer {
        killer.dismiss();
    }
}

fn close(doomed: Lease) {
    doomed.close(CloseReason::SessionEnd);
}

/// One has not been killed, for this reason.
enum Spared {
    Alone(String),
    /// Those behind it in line need not wait for the same.
    WithTheOthers(String),
}

impl fmt::Display for Spared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Spared::Alone(why) | Spared::WithTheOthers(why)) = self;
        f.write_str(why)
    }
}

/// Kills one. Only from the same server, where the id means the same.
async fn kill(
    tenant: &Rc<Tenant>,
    killer: &mut Option<Backend>,
    victim: &Backend,
) -> Result<(), Spared> {
    let Welcome::MySql(welcome) = &victim.welcome else {
        unreachable!("only a MySQL session condemns its backend");
    };
    let spec = tenant.spec();
    if killer.is_none() {
        let dialled = dial::dial(tenant, &Shape::usual(&spec)).await;
        let dialled = dialled.map_err(|failure| Spared::WithTheOthers(failure.to_string()));
        *killer = Some(dialled?);
    }
    let Some(Backend { conn, route, .. }) = killer else {
        unreachable!("it has just been made, or was there");
    };
    if route.address != victim.route.address {
        let why = "its name means another server now".to_owned();
        return Err(Spared::Alone(why));
    }
    let mut request = Ask::kill(welcome.connection_id);
    let asked = sockets::timeout(spec.connect_timeout, conn.carry(&mut request)).await;
    match asked {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(Broken::Wire(WireError::Refused(refusal)))) => {
            match refusal.number == code::ER_NO_SUCH_THREAD.number {
                // It has gone already.
                true => Ok(()),
                false => Err(Spared::Alone(refusal.to_string())),
            }
        }
        Ok(Err(broken)) => Err(Spared::WithTheOthers(broken.to_string())),
        Err(_) => {
            let why = format!("no answer within {:?}", spec.connect_timeout);
            Err(Spared::WithTheOthers(why))
        }
    }
}
