//! A tenant's host name to addresses, off the shard's thread.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// The addresses of `host`, in the resolver's order; never empty.
///
/// A literal address costs nothing. A name is looked up each time (by the C library, on a helper
/// thread), so that a database that moved is found again; the C library's own cache and the rate
/// of dials bound the cost.
pub async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let name = host.to_owned();
    let found: Vec<SocketAddr> = sockets::blocking(move || {
        Ok::<_, io::Error>((name.as_str(), port).to_socket_addrs()?.collect())
    })
    .await?;
    if found.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the name has no address",
        ));
    }
    Ok(found)
}
