//! The floor: a forwarder that copies bytes between two sockets, with plain system calls.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use slab::Slab;

use crate::Outcome;
use crate::poll::Poll;

/// Forwards connections on `port` of the loopback until it is killed.
pub fn run(port: u16, to: SocketAddr) -> Outcome<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let poll = Poll::new()?;
    poll.add(&listener, LISTENER)?;
    // Each socket and the number of its other side.
    let mut sockets: Slab<(TcpStream, usize)> = Slab::new();
    let mut bytes = vec![0; 16 << 10];
    let mut ready = Vec::new();
    loop {
        poll.wait(Duration::from_secs(1), &mut ready)?;
        for &token in &ready {
            if token == LISTENER {
                let (near, _) = listener.accept()?;
                pair(&mut sockets, &poll, near, TcpStream::connect(to)?)?;
                continue;
            }
            let Some((socket, other)) = sockets.get(token) else {
                continue;
            };
            let other = *other;
            match (&*socket).read(&mut bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(count) if count > 0 && write(&sockets[other].0, &bytes[..count]).is_ok() => {}
                _ => {
                    sockets.remove(token);
                    sockets.remove(other);
                }
            }
        }
    }
}

fn pair(
    sockets: &mut Slab<(TcpStream, usize)>,
    poll: &Poll,
    near: TcpStream,
    far: TcpStream,
) -> Outcome<()> {
    for socket in [&near, &far] {
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
    }
    let first = sockets.insert((near, usize::MAX));
    let second = sockets.insert((far, first));
    sockets[first].1 = second;
    for token in [first, second] {
        poll.add(&sockets[token].0, token)?;
    }
    Ok(())
}

/// Waits for room by waiting with everything, which is not for a proxy but will do for a floor.
fn write(mut socket: &TcpStream, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match socket.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut waits = [rustix::event::PollFd::new(
                    &socket,
                    rustix::event::PollFlags::OUT,
                )];
                rustix::event::poll(&mut waits, None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

const LISTENER: usize = usize::MAX;
