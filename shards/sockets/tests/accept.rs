//! Accepting when the process has no descriptors left. Alone in its binary: the limit is the
//! process's.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::time::Instant;

use socket2::{Domain, Socket, Type};
use sockets::Listener;
use support::*;

#[test]
fn without_descriptors_accepting_tells_pauses_and_goes_on() {
    const CLIENTS: usize = 20;
    executor(patient(), || async {
        // Their descriptors exist before the limit is lowered; connecting takes none.
        let clients: Vec<Socket> = (0..CLIENTS)
            .map(|_| Socket::new(Domain::IPV4, Type::STREAM, None).unwrap())
            .collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        // An accept under way goes by the limit of its start, so the limit comes first.
        lower_descriptor_limit(8);
        let listener = Listener::adopt(listener).unwrap();
        for client in &clients {
            client.connect(&addr.into()).unwrap();
        }
        let mut accepted = Vec::new();
        let error = loop {
            match listener.accept().await {
                Ok((stream, _)) => accepted.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        assert!(accepted.len() < CLIENTS);
        // Nobody hangs up meanwhile: it fails again after each pause, and not more often.
        let began = Instant::now();
        for _ in 0..4 {
            assert!(listener.accept().await.is_err());
        }
        let took = began.elapsed();
        assert!(took >= 3 * sockets::ACCEPT_PAUSE, "{took:?}");
        // With descriptors everybody gets in.
        let mut count = accepted.len();
        accepted.clear();
        while count < CLIENTS {
            if listener.accept().await.is_ok() {
                count += 1;
            }
        }
    });
}

/// Leaves the process at most so many free descriptors.
fn lower_descriptor_limit(free: u64) {
    // The kernel gives the lowest number that is free.
    let lowest = std::fs::File::open("/dev/null").unwrap().as_raw_fd() as u64;
    let limits = libc::rlimit {
        rlim_cur: lowest + free,
        rlim_max: lowest + free,
    };
    // SAFETY: the limits are a local that is only read.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limits) }, 0);
}
