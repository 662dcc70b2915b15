//! Connecting to a host that has several addresses, of which some may be dead.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use std::vec::IntoIter;

use sockets::{Address, Sleep, SocketOptions, Stream};

/// The first of these addresses that answers; the error of the last one if none does.
///
/// They are tried in their order. The next one is not held up by one that says nothing, such as a
/// machine that is down: after [`HEAD_START`] both are tried (RFC 8305, 5).
pub async fn connect(addresses: Vec<Address>) -> io::Result<(Stream, Address)> {
    let mut race = Race {
        to_come: addresses.into_iter(),
        under_way: Vec::new(),
        head_start: sockets::sleep(Duration::ZERO),
        last: io::Error::new(io::ErrorKind::NotFound, "the name has no address"),
    };
    poll_fn(|cx| race.poll(cx)).await
}

struct Race {
    to_come: IntoIter<Address>,
    under_way: Vec<(Address, Attempt)>,
    head_start: Sleep,
    last: io::Error,
}

type Attempt = Pin<Box<dyn Future<Output = io::Result<Stream>>>>;

impl Race {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, Address)>> {
        loop {
            let before = self.under_way.len();
            if let Some(winner) = self.first_to_answer(cx) {
                return Poll::Ready(Ok(winner));
            }
            // Whoever has failed needs no head start.
            let has_failed = self.under_way.len() < before;
            let is_due = has_failed
                || self.under_way.is_empty()
                || Pin::new(&mut self.head_start).poll(cx).is_ready();
            let next = is_due.then(|| self.to_come.next()).flatten();
            match next {
                Some(address) => self.begin(address),
                None if self.under_way.is_empty() => {
                    let none = io::Error::from(io::ErrorKind::NotFound);
                    return Poll::Ready(Err(std::mem::replace(&mut self.last, none)));
                }
                None => return Poll::Pending,
            }
        }
    }

    /// Hears all that are under way; those that failed are none any more.
    fn first_to_answer(&mut self, cx: &mut Context<'_>) -> Option<(Stream, Address)> {
        let mut place = 0;
        while let Some((address, attempt)) = self.under_way.get_mut(place) {
            match attempt.as_mut().poll(cx) {
                Poll::Ready(Ok(stream)) => return Some((stream, address.clone())),
                Poll::Ready(Err(error)) => {
                    self.last = error;
                    drop(self.under_way.remove(place));
                }
                Poll::Pending => place += 1,
            }
        }
        None
    }

    fn begin(&mut self, address: Address) {
        let to = address.clone();
        let attempt = async move { Stream::connect(to, &SocketOptions::default()).await };
        self.under_way.push((address, Box::pin(attempt)));
        self.head_start = sockets::sleep(HEAD_START);
    }
}

/// How long an address is tried alone. RFC 8305 recommends it.
const HEAD_START: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::{Ipv4Addr, SocketAddr, TcpStream};

    use super::*;
    use crate::trial::{listener, run};

    /// An address where nobody answers, not even by a refusal: its queue is full.
    fn silent() -> (socket2::Socket, Vec<TcpStream>, SocketAddr) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let mut queue = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
            queue.push(stream);
        }
        (socket, queue, address)
    }

    #[test]
    fn an_address_that_refuses_or_says_nothing_holds_up_nobody() {
        run(async {
            let (_socket, _queue, silent) = silent();
            let (listener, good) = listener();
            let refuses = {
                let (closed, address) = self::listener();
                drop(closed);
                Address::from(address)
            };
            let [good, silent] = [good, silent].map(Address::from);
            for addresses in [
                vec![&good],
                vec![&refuses, &good],
                vec![&silent, &good],
                vec![&silent, &refuses, &good, &silent],
            ] {
                let addresses = addresses.into_iter().cloned().collect();
                let (_stream, reached) = connect(addresses).await.unwrap();
                assert_eq!(reached, good);
                drop(listener.accept().unwrap());
            }
            let refused = connect(vec![refuses.clone(), refuses]).await.err().unwrap();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            assert_eq!(
                connect(Vec::new()).await.err().unwrap().kind(),
                io::ErrorKind::NotFound
            );
        });
    }
}
