//! The tenants of the API in its own words, understood anew: at the start, and whenever the defaults change.

use std::collections::HashSet;

use log::warn;
use shards::contract::TenantId;

use crate::api::{forget_secret, secret_of_the_defaults};
use crate::config::{Node, Settings, settle_tenant};
use crate::roster::{FromApi, LeftOut};

/// What the API wrote, understood under these settings. Tenants that the file names are not among it,
/// for the file wins.
pub fn understand<'a>(
    api: impl Iterator<Item = (&'a TenantId, &'a Node)>,
    settings: &Settings,
) -> FromApi {
    let of_file: HashSet<_> = settings.tenants.iter().map(|spec| &spec.id).collect();
    let mut understood = FromApi::default();
    for (id, written) in api {
        if of_file.contains(id) {
            warn!("tenant {id}: made by the API, and the config file names it, too: the file wins");
            continue;
        }
        match settle_tenant(id, written, &settings.defaults) {
            Ok((mut spec, _)) => {
                // Defaults that are new must neither go astray nor keep the file from being loaded.
                if let Some(complaint) = secret_of_the_defaults(written, &spec, &settings.tenants) {
                    warn!("tenant {id}: made by the API: {complaint}");
                    forget_secret(&mut spec);
                }
                understood.tenants.push((spec, written.clone()));
            }
            Err(complaints) => understood.left_out.push(LeftOut {
                id: id.clone(),
                written: written.clone(),
                complaints,
            }),
        }
    }
    understood
}
