//! Where a name's addresses are looked up by a program that holds its C library.

use std::ffi::{c_char, c_int};

/// Looks names up in `/etc/hosts` and by DNS and nowhere else, from now on. For a program that was
/// linked with the C library inside; to be called before there are threads.
///
/// The C library loads what else `/etc/nsswitch.conf` names (mdns, resolve, sss, ...) from the
/// machine, as shared objects. They belong to the machine's own C library: a static program gets a
/// second one with them, of another release perhaps, and both in one process end in a crash.
pub fn look_names_up_without_plugins() {
    // SAFETY: both are C strings that live for ever, and nobody else looks up names meanwhile.
    unsafe { __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr()) };
}

unsafe extern "C" {
    /// glibc, `<nss.h>`: what `/etc/nsswitch.conf` would say of a database.
    fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
}
