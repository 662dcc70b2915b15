//! Ten thousand connections at once, their other ends in two child processes of this binary.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use socket2::{Domain, Socket, Type};
use sockets::{Listener, Stream, spawn};
use support::*;

const CHILDREN: usize = 2;
const ROUNDS: usize = 3;

#[test]
fn ten_thousand_connections_echo() {
    let connections = (raise_descriptor_limit() - DESCRIPTORS_OF_THE_REST).min(WANTED) / CHILDREN;
    println!(
        "{} connections, as the hard limit on descriptors allows",
        CHILDREN * connections
    );
    executor(patient(), move || async move {
        let (listener, addr) = listen_for_a_crowd();
        let mut children: Vec<Child> = (0..CHILDREN)
            .map(|_| clients(&addr.to_string(), connections))
            .collect();
        let mut open = Vec::new();
        for _ in 0..CHILDREN * connections {
            let (stream, _) = listener.accept().await.unwrap();
            open.push(spawn(echo(stream)));
        }
        // All are open at the same time; now they talk.
        for child in &mut children {
            child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        }
        let mut echoed = 0;
        for task in open {
            echoed += task.await;
        }
        assert_eq!(echoed, CHILDREN * connections * ROUNDS * PIECE);
        for mut child in children {
            assert!(
                sockets::blocking(move || child.wait().unwrap())
                    .await
                    .success(),
                "a child saw wrong bytes"
            );
        }
    });
}

async fn echo(stream: Stream) -> usize {
    let mut echoed = 0;
    loop {
        let chunk = stream.recv().await.unwrap();
        if chunk.is_empty() {
            return echoed;
        }
        echoed += chunk.len();
        stream.send(chunk);
    }
}

/// The other ends, when this binary is started as a child; nothing otherwise.
#[test]
#[ignore = "started by ten_thousand_connections_echo"]
fn child() {
    let Ok(addr) = std::env::var("ADDR") else {
        return;
    };
    let connections = std::env::var("CONNECTIONS").unwrap().parse().unwrap();
    raise_descriptor_limit();
    let mut sockets: Vec<TcpStream> = (0..connections)
        .map(|_| TcpStream::connect(&addr).unwrap())
        .collect();
    let mut go = String::new();
    BufReader::new(std::io::stdin()).read_line(&mut go).unwrap();
    for round in 0..ROUNDS {
        for (number, socket) in sockets.iter_mut().enumerate() {
            socket
                .write_all(&stream_of(number + round..number + round + PIECE))
                .unwrap();
        }
        for (number, socket) in sockets.iter_mut().enumerate() {
            let mut echo = [0; PIECE];
            socket.read_exact(&mut echo).unwrap();
            assert!(echo[..] == stream_of(number + round..number + round + PIECE));
        }
    }
}

/// With a backlog that holds what comes while the executor is not scheduled; dropped attempts try
/// again seconds later.
fn listen_for_a_crowd() -> (Listener, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    socket.listen(4096).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (Listener::adopt(socket.into()).unwrap(), addr)
}

fn clients(addr: &str, connections: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--ignored"])
        .env("ADDR", addr)
        .env("CONNECTIONS", connections.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// As many descriptors as the hard limit allows; how many that is.
fn raise_descriptor_limit() -> usize {
    let mut limits = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the limits are a local, written and read by the calls.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limits), 0);
        limits.rlim_cur = limits.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limits), 0);
    }
    limits.rlim_max.try_into().unwrap_or(usize::MAX)
}

/// Connections, unless the descriptors do not suffice.
const WANTED: usize = 10_000;

/// Descriptors that are no connections, with room to spare.
const DESCRIPTORS_OF_THE_REST: usize = 500;

/// Bytes of one message.
const PIECE: usize = 200;
