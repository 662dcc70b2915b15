//! What a stream promises about bytes: nothing lost, nothing twice, the end once and in order.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::task::Poll;
use std::thread;

use sockets::{Address, Listener, SocketOptions, Stream, accept_when_spoken};
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
fn a_server_of_this_machine_is_reached_by_its_socket() {
    executor(patient(), || async {
        let folder = std::env::temp_dir().join(format!("sockets-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let address = Address::Local(path.as_path().into());
        let options = SocketOptions::default();
        let stream = Stream::connect(address.clone(), &options).await.unwrap();
        let (mut plain, _) = listener.accept().unwrap();
        stream.send(stream_of(0..1_000_000));
        let writer = thread::spawn(move || {
            let mut got = vec![0; 1_000_000];
            plain.read_exact(&mut got).unwrap();
            plain.write_all(&got).unwrap();
        });
        assert!(recv_exactly(&stream, 1_000_000).await == stream_of(0..1_000_000));
        assert!(stream.recv().await.unwrap().is_empty(), "its end");
        writer.join().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let gone = Stream::connect(address, &options).await;
        assert_eq!(gone.unwrap_err().kind(), std::io::ErrorKind::NotFound);
    });
}

#[test]
fn a_client_is_accepted_when_it_speaks_or_has_been_silent_for_a_while() {
    executor(patient(), || async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        accept_when_spoken(&listener).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Listener::adopt(listener).unwrap();
        let silent = TcpStream::connect(address).unwrap();
        let mut speaks = TcpStream::connect(address).unwrap();
        speaks.write_all(b"hello").unwrap();
        let (first, peer) = listener.accept().await.unwrap();
        assert_eq!(
            peer,
            speaks.local_addr().unwrap(),
            "who came later spoke first"
        );
        assert_eq!(recv_exactly(&first, 5).await, b"hello");
        let (_second, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, silent.local_addr().unwrap());
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
