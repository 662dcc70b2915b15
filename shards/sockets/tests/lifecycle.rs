//! Ends: of streams with operations in flight, of slots and their reuse, of tasks, of the run.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use glommio::{LocalExecutorBuilder, Placement};
use sockets::{RingError, RingLimits, SocketOptions, Stream, spawn};
use support::*;

#[test]
fn streams_end_with_anything_in_flight() {
    executor(patient(), || async {
        let mut random = Random::new();
        let (listener, addr) = listen();
        for _ in 0..300 {
            let mut plain = std::net::TcpStream::connect(addr).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            if random.below(2) == 0 {
                plain
                    .write_all(&stream_of(0..random.below(50_000) + 1))
                    .unwrap();
            }
            if random.below(2) == 0 {
                stream.send(stream_of(0..random.below(3_000_000) + 1));
            }
            for _ in 0..random.below(3) {
                yield_now().await;
            }
            // Some of them end while their receive or send is being cancelled.
            stream.abort();
            yield_now().await;
            // The descriptor is closed: the peer reads to an end, which may be a reset.
            let end = sockets::blocking(move || plain.read_to_end(&mut Vec::new())).await;
            assert!(end.map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |_| true));
        }
    });
}

#[test]
fn an_aborted_stream_is_reset_for_its_peer() {
    executor(patient(), || async {
        let (stream, mut plain) = half_pair().await;
        stream.send(stream_of(0..10_000_000));
        yield_now().await;
        stream.abort();
        let error = sockets::blocking(move || plain.read_to_end(&mut Vec::new()))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn slots_are_reused_and_nothing_of_the_past_arrives() {
    executor(patient(), || async {
        let mut random = Random::new();
        let (listener, addr) = listen();
        let mut open: Vec<(Stream, std::net::TcpStream, u8)> = Vec::new();
        for turn in 0..3000 {
            if open.len() < 8 {
                let mut plain = std::net::TcpStream::connect(addr).unwrap();
                let (stream, _) = listener.accept().await.unwrap();
                let mark = turn as u8;
                plain.write_all(&[mark; 10]).unwrap();
                open.push((stream, plain, mark));
            }
            let chosen = random.below(open.len());
            match random.below(3) {
                // Closed with its receive in flight, bytes perhaps on their way; the next one may
                // take its slot.
                0 => drop(open.swap_remove(chosen)),
                1 => {
                    let (stream, mut plain, mark) = open.swap_remove(chosen);
                    plain.write_all(&[mark; 10]).unwrap();
                    drop(stream);
                }
                _ => {
                    let (stream, plain, mark) = &mut open[chosen];
                    plain.write_all(&[*mark; 10]).unwrap();
                    let got = stream.recv().await.unwrap();
                    assert!(
                        got.iter().all(|byte| byte == mark),
                        "bytes of another stream"
                    );
                }
            }
        }
    });
}

#[test]
fn a_cancelled_connect_leaves_nothing_behind() {
    executor(patient(), || async {
        let (listener, addr) = listen();
        for _ in 0..200 {
            let options = SocketOptions {
                user_timeout: Some(Duration::from_secs(9)),
            };
            let mut connecting = Box::pin(Stream::connect(addr, &options));
            std::future::poll_fn(|cx| {
                assert!(connecting.as_mut().poll(cx).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
            drop(connecting);
            let stream = Stream::connect(addr, &options).await.unwrap();
            assert_eq!(
                stream.options().tcp_user_timeout().unwrap(),
                options.user_timeout
            );
            assert!(stream.options().keepalive().unwrap());
            assert_eq!(stream.peer_addr().unwrap(), addr);
            while listener.accept().await.unwrap().1 != stream.local_addr().unwrap() {}
        }
    });
}

#[test]
fn last_words_reach_a_peer_whose_bytes_were_not_read() {
    executor(patient(), || async {
        for _ in 0..20 {
            let (stream, mut plain) = half_pair().await;
            // More than the inbox takes: closing now would reset the connection.
            plain.set_nonblocking(true).unwrap();
            while plain.write(&[0; 10_000]).is_ok() {}
            plain.set_nonblocking(false).unwrap();
            stream.send(b"FATAL: go away".as_slice());
            drop(stream);
            let words = sockets::blocking(move || {
                let mut words = String::new();
                plain.read_to_string(&mut words).unwrap();
                // Not reset either, by which other systems would lose what they have not read.
                assert!(plain.take_error().unwrap().is_none());
                words
            })
            .await;
            assert_eq!(words, "FATAL: go away");
        }
    });
}

#[test]
fn a_run_ends_although_a_peer_never_reads() {
    let mut plain = executor(patient(), || async {
        let (stream, plain) = half_pair().await;
        stream.send(vec![0; 50_000_000]);
        plain
    });
    let mut rest = Vec::new();
    // Reset or ended, in any case closed: reading does not wait for ever.
    let _ = plain.read_to_end(&mut rest);
    assert!(rest.len() < 50_000_000);
}

#[test]
fn the_end_of_the_run_drops_tasks_and_what_they_send_arrives() {
    struct Farewell(Stream, Rc<Cell<bool>>);
    impl Drop for Farewell {
        fn drop(&mut self) {
            self.0.send(b"bye".as_slice());
            self.1.set(true);
        }
    }
    let plain = executor(patient(), || async {
        let (stream, mut plain) = half_pair().await;
        let farewell = Farewell(stream, Rc::default());
        spawn(async move {
            let recv = farewell.0.recv().await;
            unreachable!("{recv:?}");
        })
        .detach();
        yield_now().await;
        thread::spawn(move || {
            let mut all = String::new();
            plain.read_to_string(&mut all).unwrap();
            all
        })
    });
    assert_eq!(plain.join().unwrap(), "bye");
}

#[test]
fn a_stream_that_outlives_its_run_only_fails() {
    let executor = LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(64 << 10)
        .make()
        .unwrap();
    executor.run(async {
        let (near, far) = sockets::run(patient(), pair()).await.unwrap();
        near.send(b"x".as_slice());
        assert!(near.flush().await.is_err());
        assert!(far.recv().await.is_err());
    });
}

#[test]
fn runs_follow_each_other_but_do_not_nest() {
    let executor = LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(64 << 10)
        .make()
        .unwrap();
    executor.run(async {
        for _ in 0..3 {
            let inner = sockets::run(patient(), sockets::run(patient(), async {}))
                .await
                .unwrap();
            assert!(matches!(inner, Err(RingError::AlreadyRunning)));
            assert_eq!(
                sockets::run(patient(), async { spawn(async { 7 }).await })
                    .await
                    .unwrap(),
                7
            );
        }
    });
}

#[test]
fn a_panic_in_a_task_is_the_executors_error() {
    let thread = LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(64 << 10)
        .spawn(|| async {
            sockets::run(RingLimits::default(), async {
                let (near, far) = pair().await;
                near.send(vec![0; 1_000_000]);
                spawn(async move { far.recv().await.map(|_| ()) }).detach();
                spawn(async {
                    yield_now().await;
                    panic!("as it must");
                })
                .detach();
                std::future::pending::<()>().await;
            })
            .await
        })
        .unwrap();
    assert!(thread.join().is_err());
}

#[test]
fn the_ring_can_be_had_here() {
    sockets::probe().unwrap();
}

#[test]
fn so_many_linger_and_whoever_came_first_makes_room() {
    let limits = RingLimits {
        linger: Duration::from_secs(3600),
        lingering: 4,
        ..patient()
    };
    executor(limits, || async {
        let mut plains = Vec::new();
        for _ in 0..10 {
            let (stream, plain) = half_pair().await;
            stream.send(b"FATAL: go away".as_slice());
            drop(stream);
            plains.push(plain);
        }
        sockets::blocking(move || {
            // All hear their last words, and the end.
            for plain in &mut plains {
                let mut words = String::new();
                plain.read_to_string(&mut words).unwrap();
                assert_eq!(words, "FATAL: go away");
            }
            // Nobody listens to the first ones any more: what they say is answered by a reset.
            for plain in &mut plains[..6] {
                while plain.write(b"but").is_ok() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            for plain in &mut plains[6..] {
                plain.write_all(b"but").unwrap();
                std::thread::sleep(Duration::from_millis(1));
                plain.write_all(b"but").unwrap();
            }
        })
        .await;
    });
}
