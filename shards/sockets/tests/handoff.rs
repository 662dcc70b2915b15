//! Giving a socket away under traffic.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use socket2::SockRef;
use sockets::{Bell, Doorbell, Receives, RingLimits, Stream, doorbell};
use support::*;

/// A socket under way: the descriptor, what was received and not taken, and the position in the
/// test stream.
type Parcel = (OwnedFd, Vec<Bytes>, usize);

#[test]
fn release_under_traffic_loses_nothing_in_either_direction() {
    release_under_traffic(Receives::Ahead);
}

#[test]
fn nor_does_it_where_bytes_are_received_on_demand() {
    release_under_traffic(Receives::OnDemand);
}

fn release_under_traffic(receives: Receives) {
    const TOTAL: usize = 12_000_000;
    let (to_left, left) = doorbell::<Parcel>(1).unwrap();
    let (to_right, right) = doorbell::<Parcel>(1).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut plain = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    let mut reading = plain.try_clone().unwrap();
    let writer = thread::spawn(move || {
        for at in (0..TOTAL).step_by(10_000) {
            plain.write_all(&stream_of(at..at + 10_000)).unwrap();
        }
    });
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        reading.read_to_end(&mut all).unwrap();
        all
    });
    to_left.ring((accepted.into(), Vec::new(), 0)).unwrap();
    let sides = [(left, to_right), (right, to_left)].map(|(mine, other)| {
        let limits = RingLimits {
            receives,
            ..patient()
        };
        thread::spawn(move || executor(limits, move || echo_some(mine, other, TOTAL)))
    });
    let handoffs: usize = sides.into_iter().map(|side| side.join().unwrap()).sum();
    assert!(handoffs > 10, "only {handoffs} handoffs");
    writer.join().unwrap();
    assert!(
        reader.join().unwrap() == stream_of(0..TOTAL),
        "the echo differs"
    );
}

#[test]
fn a_receiving_stream_is_released_with_what_it_has_not_given() {
    executor(patient(), || async {
        let mut random = Random::new();
        for _ in 0..300 {
            let (stream, mut plain) = half_pair().await;
            plain.write_all(&stream_of(0..20)).unwrap();
            assert_eq!(recv_exactly(&stream, 20).await, stream_of(0..20));
            // Still on its way, or in the queue, when the stream is released.
            plain.write_all(&stream_of(20..40)).unwrap();
            for _ in 0..random.below(8) {
                yield_now().await;
            }
            let (fd, unread) = stream.release().await.unwrap();
            let mut rest = unread.concat();
            let (queued, mut released) = (rest.len(), std::net::TcpStream::from(fd));
            rest.resize(20, 0);
            released.read_exact(&mut rest[queued..]).unwrap();
            assert_eq!(rest, stream_of(20..40));
        }
    });
}

#[test]
fn what_nobody_waits_for_is_not_received_on_demand() {
    let limits = RingLimits {
        receives: Receives::OnDemand,
        ..patient()
    };
    executor(limits, || async {
        let (stream, mut plain) = half_pair().await;
        plain.write_all(&stream_of(0..20)).unwrap();
        assert_eq!(recv_exactly(&stream, 20).await, stream_of(0..20));
        plain.write_all(&stream_of(20..40)).unwrap();
        for _ in 0..100 {
            yield_now().await;
        }
        let (fd, unread) = stream.release().await.unwrap();
        assert!(unread.is_empty(), "{} chunks", unread.len());
        let mut rest = [0; 20];
        std::net::TcpStream::from(fd).read_exact(&mut rest).unwrap();
        assert_eq!(rest[..], stream_of(20..40));
    });
}

#[test]
fn a_socket_that_was_reset_is_not_kept_by_its_release() {
    executor(patient(), || async {
        let (mut random, mut failed) = (Random::new(), 0);
        for _ in 0..300 {
            let (stream, mut plain) = half_pair().await;
            assert!(stream.is_quiet()); // receiving has begun
            let socket = named(stream.options().as_raw_fd()).unwrap();
            plain.write_all(b"last words").unwrap();
            SockRef::from(&plain)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
            drop(plain);
            for _ in 0..random.below(8) {
                yield_now().await;
            }
            if stream.release().await.is_err() {
                failed += 1;
                while is_open(&socket) {
                    yield_now().await;
                }
            }
        }
        assert!(failed > 10, "only {failed} releases failed");
    });
}

/// The kernel's name for what is behind a descriptor.
fn named(fd: RawFd) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()
}

fn is_open(socket: &PathBuf) -> bool {
    let all = std::fs::read_dir("/proc/self/fd").unwrap();
    all.flatten()
        .any(|entry| std::fs::read_link(entry.path()).is_ok_and(|name| name == *socket))
}

/// Takes the socket over, echoes a while, and gives it to the other side; until all is echoed.
async fn echo_some(mut mine: Doorbell<Parcel>, other: Bell<Parcel>, total: usize) -> usize {
    let mut random = Random::new();
    let mut handoffs = 0;
    while let Some((fd, unread, mut at)) = mine.next().await {
        let stream = Stream::adopt(fd);
        let mut check = |bytes: &[u8]| {
            assert!(
                *bytes == stream_of(at..at + bytes.len()),
                "wrong bytes at {at}"
            );
            at += bytes.len();
            at
        };
        let mut position = 0;
        for bytes in unread {
            position = check(&bytes);
            stream.send(bytes);
        }
        for _ in 0..random.below(4) {
            if position >= total {
                break;
            }
            let chunk = stream.recv().await.unwrap();
            position = check(&chunk);
            stream.send(chunk);
        }
        if at >= total {
            stream.flush().await.unwrap();
            break;
        }
        handoffs += 1;
        let (fd, unread) = stream.release().await.unwrap();
        if other.ring((fd, unread, at)).is_err() {
            panic!("the other side is gone");
        }
    }
    handoffs
}
