//! Where a database is: `host`, or the socket that PgBouncer takes where there is none.

use std::collections::BTreeMap;

use super::Remarks;
use super::settings::HERE_ALONE;
use crate::config::objection;

/// The host of this database's tenant: the first of several. `sockets` is what unix_socket_dir says.
pub fn of(
    name: &str,
    keys: &BTreeMap<String, String>,
    sockets: Option<&str>,
    remarks: &mut Remarks,
) -> String {
    let place = format!("[databases] {name}: host");
    match keys.get("host").map(String::as_str) {
        None => {
            let folder = sockets.unwrap_or(SOCKETS);
            let is_path = folder.starts_with('/')
                && objection(&["tenants", "NAME", "host"], folder).is_none();
            let host = if is_path { folder } else { HERE_ALONE };
            remarks.add(format!(
                "{place} is not there, which is a Unix socket in unix_socket_dir to PgBouncer; {host} is taken"
            ));
            host.to_owned()
        }
        Some(path) if path.starts_with('@') => {
            remarks.add(format!(
                "{place}: abstract sockets are not spoken to; {HERE_ALONE} is taken instead of {path}"
            ));
            HERE_ALONE.to_owned()
        }
        Some(hosts) => match hosts.split_once(',') {
            Some((first, others)) => {
                remarks.add(format!(
                    "{place}: a tenant has one host, {first}; {others} are left out"
                ));
                first.trim().to_owned()
            }
            None => hosts.to_owned(),
        },
    }
}

/// PgBouncer's own default.
const SOCKETS: &str = "/tmp";
