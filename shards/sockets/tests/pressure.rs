//! What happens when there is too much: no buffers, a peer that floods, a peer that never reads.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::thread;
use std::time::Duration;

use sockets::{Chunk, RingLimits, doorbell, sleep, spawn, timeout};
use support::*;

/// So few buffers that most receives find none.
fn starving() -> RingLimits {
    RingLimits {
        buffers: 4,
        buffer_size: 32,
        ..patient()
    }
}

#[test]
fn without_buffers_everybody_still_gets_everything() {
    executor(starving(), || async {
        const SOCKETS: usize = 60;
        const BYTES: usize = 10_000;
        let (listener, addr) = listen();
        let writer = thread::spawn(move || {
            let mut plain: Vec<_> = (0..SOCKETS)
                .map(|_| std::net::TcpStream::connect(addr).unwrap())
                .collect();
            for at in (0..BYTES).step_by(1000) {
                // All at once, so that they starve each other.
                plain
                    .iter_mut()
                    .for_each(|socket| socket.write_all(&stream_of(at..at + 1000)).unwrap());
            }
            plain
        });
        let mut tasks = Vec::new();
        for _ in 0..SOCKETS {
            let (stream, _) = listener.accept().await.unwrap();
            tasks.push(spawn(async move {
                recv_exactly(&stream, BYTES).await == stream_of(0..BYTES)
            }));
        }
        for task in tasks {
            assert!(task.await);
        }
        sockets::blocking(move || writer.join().unwrap()).await;
    });
}

#[test]
fn who_starves_with_nothing_to_receive_holds_up_nobody() {
    executor(starving(), || async {
        let ends = || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let plain = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            (plain, listener.accept().unwrap().0)
        };
        let [mut first, quiet, quieter, mut last] = [(); 4].map(|()| ends());
        first.0.write_all(b"x").unwrap();
        last.0.write_all(b"y").unwrap();
        // One buffer is on offer, which the first takes: at the first entering of the ring all of them starve.
        let adopt = |socket: std::net::TcpStream| sockets::Stream::adopt(socket.into());
        let [first, _quiet, _quieter, last] = [first.1, quiet.1, quieter.1, last.1].map(adopt);
        assert_eq!(recv_exactly(&last, 1).await, b"y");
        assert_eq!(recv_exactly(&first, 1).await, b"x");
    });
}

#[test]
fn who_holds_all_loans_starves_nobody() {
    executor(
        RingLimits {
            buffers: 8,
            ..patient()
        },
        || async {
            let (hoarder, mut plain) = half_pair().await;
            let mut hoard: Vec<Chunk> = Vec::new();
            for _ in 0..200 {
                plain.write_all(&[1; 100]).unwrap();
                hoard.push(hoarder.recv().await.unwrap());
            }
            let loans = hoard.iter().filter(|chunk| chunk.is_loan()).count();
            assert!((1..8).contains(&loans), "{loans} of 8 buffers are on loan");
            let (near, far) = pair().await;
            near.send(stream_of(0..100_000));
            assert_eq!(recv_exactly(&far, 100_000).await, stream_of(0..100_000));
            drop(hoard);
            near.send(b"x".as_slice());
            assert!(
                far.recv().await.unwrap().is_loan(),
                "buffers that came back are lent again"
            );
        },
    );
}

#[test]
fn what_is_left_unread_for_long_holds_few_buffers_once_they_are_scarce() {
    executor(
        RingLimits {
            buffers: 64,
            ..patient()
        },
        || async {
            let (near, far) = pair().await;
            let mut unread = Vec::new();
            for _ in 0..3 {
                let (stream, mut plain) = half_pair().await;
                for _ in 0..20 {
                    plain.write_all(&[1; 100]).unwrap();
                    // By then it has come in: each piece in a buffer of its own.
                    near.send(b"x".as_slice());
                    far.recv().await.unwrap();
                }
                unread.push((stream, plain));
            }
            near.send(b"x".as_slice());
            assert!(far.recv().await.unwrap().is_loan(), "they are scarce still");
            for (stream, _) in &unread {
                assert_eq!(recv_exactly(stream, 2000).await, [1; 2000]);
            }
        },
    );
}

#[test]
fn a_flood_that_nobody_takes_is_held_back_and_then_arrives() {
    let limits = patient();
    let high_water = limits.receive_high_water;
    let batch = usize::from(limits.buffers) * limits.buffer_size as usize / 4;
    executor(limits, move || async move {
        let (stream, mut plain) = half_pair().await;
        let (bell, mut stuck) = doorbell(64).unwrap();
        plain.set_nonblocking(true).unwrap();
        const TOTAL: usize = 40_000_000;
        let writer = thread::spawn(move || {
            let mut at = 0;
            while at < TOTAL {
                match plain.write(&stream_of(at..(at + 100_000).min(TOTAL))) {
                    Ok(count) => at += count,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::WouldBlock);
                        // Nobody listens later on, when it may be full or gone.
                        let _ = bell.ring(at);
                        thread::sleep(Duration::from_millis(2));
                    }
                }
            }
        });
        // Several tries without a byte of progress: everything between the two ends is full.
        let (mut last, mut tries) = (0, 0);
        while tries < 20 {
            let at = stuck.next().await.unwrap();
            tries = if at == last { tries + 1 } else { 0 };
            last = at;
        }
        assert!(last < TOTAL, "nothing held the flood back");
        let mut at = 0;
        let mut check = |chunk: Chunk| {
            assert!(
                *chunk == stream_of(at..at + chunk.len()),
                "wrong bytes at {at}"
            );
            at += chunk.len();
            at
        };
        let mut here = 0;
        while let Some(chunk) = stream.try_recv() {
            here = check(chunk);
        }
        // A cancelled receive may still bring what was on its way: a batch of buffers.
        println!("{here} bytes were queued");
        assert!(here <= high_water + batch, "{here} bytes were queued");
        drop(stuck);
        while check(stream.recv().await.unwrap()) < TOTAL {}
        writer.join().unwrap();
    });
}

#[test]
fn one_byte_segments_are_bounded_too() {
    let limits = RingLimits {
        receive_high_water: 16 * 1024,
        ..patient()
    };
    executor(limits, || async {
        let (stream, mut plain) = half_pair().await;
        for at in 0..1000 {
            plain.write_all(&[byte_at(at)]).unwrap();
            // Lets the ring see each of them alone.
            sleep(Duration::from_micros(1)).await;
        }
        let mut pieces = 0;
        while stream.try_recv().is_some() {
            pieces += 1;
        }
        assert!(
            pieces <= 16 * 1024 / RingLimits::CHUNK_COST + 1,
            "{pieces} pieces were queued"
        );
    });
}

#[test]
fn what_nobody_awaits_arrives_although_the_kernel_is_full() {
    executor(patient(), || async {
        let (stream, mut plain) = half_pair().await;
        stream.options().set_send_buffer_size(10_000).unwrap();
        let mut at = 0;
        for _ in 0..40 {
            // Alone in its pass, and more than there is room for.
            stream.send(stream_of(at..at + 100_000));
            at += 100_000;
            sleep(Duration::from_micros(1)).await;
        }
        assert!(stream.queued() > 0, "there was room for everything");
        let reader = thread::spawn(move || {
            let mut all = vec![0; at];
            plain.read_exact(&mut all).unwrap();
            all
        });
        assert!(sockets::blocking(move || reader.join().unwrap()).await == stream_of(0..at));
    });
}

#[test]
fn a_peer_that_never_reads_holds_up_only_its_own_stream() {
    executor(patient(), || async {
        let (stream, mut plain) = half_pair().await;
        const TOTAL: usize = 30_000_000;
        for at in (0..TOTAL).step_by(1_000_000) {
            stream.send(stream_of(at..at + 1_000_000));
        }
        assert_eq!(stream.queued(), TOTAL);
        assert!(
            timeout(Duration::from_millis(50), stream.drained(TOTAL / 2))
                .await
                .is_err()
        );
        assert!(stream.queued() > TOTAL / 2);
        let (near, far) = pair().await;
        near.send(b"ping".as_slice());
        assert_eq!(recv_exactly(&far, 4).await, b"ping");

        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            plain.read_to_end(&mut all).unwrap();
            all
        });
        stream.drained(TOTAL / 2).await.unwrap();
        assert!(stream.queued() <= TOTAL / 2);
        stream.flush().await.unwrap();
        drop(stream);
        assert!(sockets::blocking(move || reader.join().unwrap()).await == stream_of(0..TOTAL));
    });
}
