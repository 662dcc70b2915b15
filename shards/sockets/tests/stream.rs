//! What a stream promises about bytes: nothing lost, nothing twice, the end once and in order.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{Read, Write};
use std::task::Poll;
use std::thread;

use sockets::{SocketOptions, Stream};
use support::*;

#[test]
fn two_ends_talk() {
    executor(patient(), || async {
        let (near, far) = pair().await;
        near.send(b"ping".as_slice());
        assert_eq!(recv_exactly(&far, 4).await, b"ping");
        far.send(b"pong".to_vec());
        assert_eq!(recv_exactly(&near, 4).await, b"pong");
    });
}

#[test]
fn what_many_sends_queued_arrives_in_order() {
    executor(patient(), || async {
        let (near, mut plain) = half_pair().await;
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            plain.read_to_end(&mut all).unwrap();
            all
        });
        let mut random = Random::new();
        let mut at = 0;
        for _ in 0..500 {
            let len = random.below(20_000);
            near.send(stream_of(at..at + len));
            at += len;
            if random.below(50) == 0 {
                near.flush().await.unwrap();
                assert_eq!(near.queued(), 0);
            }
        }
        near.send(stream_of(at..at + 3_000_000));
        at += 3_000_000;
        near.shutdown_write();
        near.flush().await.unwrap();
        let got = sockets::blocking(move || reader.join().unwrap()).await;
        assert!(
            got == stream_of(0..at),
            "{} of {at} bytes, or wrong ones",
            got.len()
        );
    });
}

#[test]
fn a_dropped_recv_loses_nothing() {
    executor(patient(), || async {
        let (stream, mut plain) = half_pair().await;
        const TOTAL: usize = 2_000_000;
        let writer = thread::spawn(move || {
            let mut random = Random::new();
            let mut at = 0;
            while at < TOTAL {
                let end = (at + 1 + random.below(9000)).min(TOTAL);
                plain.write_all(&stream_of(at..end)).unwrap();
                at = end;
            }
        });
        let mut random = Random::new();
        let mut at = 0;
        while at < TOTAL {
            let mut polls = random.below(3);
            let mut recv = Box::pin(stream.recv());
            let chunk = std::future::poll_fn(|cx| match recv.as_mut().poll(cx) {
                Poll::Ready(chunk) => Poll::Ready(Some(chunk.unwrap())),
                Poll::Pending if polls == 0 => Poll::Ready(None),
                Poll::Pending => {
                    polls -= 1;
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
            })
            .await;
            drop(recv);
            match chunk {
                Some(chunk) => {
                    assert!(
                        *chunk == stream_of(at..at + chunk.len()),
                        "wrong bytes at {at}"
                    );
                    at += chunk.len();
                }
                None => sockets::sleep(std::time::Duration::from_micros(50)).await,
            }
        }
        assert!(stream.recv().await.unwrap().is_empty());
        writer.join().unwrap();
    });
}

#[test]
fn the_end_comes_after_the_bytes_and_stays() {
    executor(patient(), || async {
        let (stream, mut plain) = half_pair().await;
        plain.write_all(b"last").unwrap();
        drop(plain);
        assert_eq!(recv_exactly(&stream, 4).await, b"last");
        assert!(stream.recv().await.unwrap().is_empty());
        assert!(stream.recv().await.unwrap().is_empty());
    });
}

#[test]
fn a_refused_connect_says_so() {
    executor(patient(), || async {
        let (listener, addr) = listen();
        drop(listener);
        // The port closes with the last completion of the listener's accept.
        loop {
            match Stream::connect(addr, &SocketOptions::default()).await {
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
                    return;
                }
                Ok(stream) => drop(stream),
            }
        }
    });
}
