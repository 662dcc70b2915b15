//! Where a server listens.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// At a port of a host.
    Internet(SocketAddr),
    /// At a socket of the file system of this machine: unix(7).
    Local(Rc<Path>),
}

impl Address {
    /// Whether nobody but this machine's own processes can see what is said.
    pub fn is_local(&self) -> bool {
        matches!(self, Address::Local(_))
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Internet(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Internet(address) => address.fmt(f),
            Address::Local(path) => path.display().fmt(f),
        }
    }
}
