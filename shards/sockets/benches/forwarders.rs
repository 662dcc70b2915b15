//! What a byte forwarder costs on this crate, on glommio's own `TcpStream`, and on plain epoll.
//!
//! The same load for each: 64-byte ping-pong through the forwarder to an echo, on 1, 16 and 64
//! connections at once. Each forwarder is one thread on the first CPU, the load (clients and echo)
//! one thread on the second. Rounds are interleaved, so that a noisy machine hurts all alike;
//! compare the ratios of one run, not numbers of two runs.
//!
//! `cargo bench -p sockets --bench forwarders`; `ROUNDS=30` for more rounds.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]
// glommio's own streams are what is compared with.
#![allow(clippy::disallowed_methods)]

use std::collections::HashMap;
use std::future::poll_fn;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::{AsyncRead, AsyncWrite};
use glommio::{LocalExecutorBuilder, Placement};
use sockets::{Listener, RingLimits, SocketOptions, Stream};

fn main() {
    let rounds =
        std::env::var("ROUNDS").map_or(12, |rounds| rounds.parse().expect("ROUNDS is a number"));
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    pin_to(1 % cpus);
    let echo = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = echo.local_addr().unwrap();
    let forwarders = [
        Forwarder::start("epoll", target, epoll),
        Forwarder::start("glommio", target, glommio_streams),
        Forwarder::start("sockets", target, ring),
    ];

    println!(
        "forwarder CPU and time per round trip in microseconds: median (best) of {rounds} rounds;"
    );
    println!("ratio: median over the rounds of the CPU against epoll's in the same round");
    println!(
        "{:>11} {:>9} {:>18} {:>7} {:>18}",
        "connections", "forwarder", "CPU", "ratio", "time"
    );
    for connections in CONNECTIONS {
        let mut results: [Vec<Round>; 3] = Default::default();
        for round in 0..rounds {
            for turn in 0..forwarders.len() {
                let index = (round + turn) % forwarders.len();
                results[index].push(forwarders[index].measure(&echo, connections));
            }
        }
        print_rows(connections, &forwarders, &results);
    }
    // The forwarders' threads end with the process.
}

fn print_rows(connections: usize, forwarders: &[Forwarder], results: &[Vec<Round>]) {
    for (forwarder, rounds) in forwarders.iter().zip(results) {
        let cpu: Vec<f64> = rounds.iter().map(|round| round.cpu).collect();
        let time: Vec<f64> = rounds.iter().map(|round| round.time).collect();
        let against_epoll = rounds
            .iter()
            .zip(&results[0])
            .map(|(mine, epoll)| mine.cpu / epoll.cpu);
        println!(
            "{connections:>11} {:>9} {:>9.2} ({:>6.2}) {:>7.2} {:>9.2} ({:>6.2})",
            forwarder.name,
            median(&cpu),
            best(&cpu),
            median(&against_epoll.collect::<Vec<f64>>()),
            median(&time),
            best(&time),
        );
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn best(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

/// Microseconds per round trip.
struct Round {
    cpu: f64,
    time: f64,
}

struct Forwarder {
    name: &'static str,
    addr: SocketAddr,
    clock: libc::clockid_t,
}

impl Forwarder {
    fn start(
        name: &'static str,
        target: SocketAddr,
        run: fn(TcpListener, SocketAddr),
    ) -> Forwarder {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (sender, clock) = mpsc::channel();
        let thread = thread::Builder::new().name(name.into());
        let body = move || {
            pin_to(0);
            let mut clock = 0;
            // SAFETY: this thread's own handle, and a local to write to.
            let failed = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut clock) };
            assert_eq!(failed, 0);
            sender.send(clock).unwrap();
            run(listener, target);
        };
        thread.spawn(body).unwrap();
        Forwarder {
            name,
            addr,
            clock: clock.recv().unwrap(),
        }
    }

    fn cpu(&self) -> f64 {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the clock of a thread that lives as long as the process, and a local to write to.
        assert_eq!(unsafe { libc::clock_gettime(self.clock, &mut time) }, 0);
        time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
    }

    fn measure(&self, echo: &TcpListener, connections: usize) -> Round {
        let mut load = Load::connect(self.addr, echo, connections);
        load.run(WARM_UP);
        let (cpu, start) = (self.cpu(), Instant::now());
        let trips = load.run(ROUND) as f64;
        Round {
            cpu: (self.cpu() - cpu) / trips,
            time: start.elapsed().as_secs_f64() * 1e6 / trips,
        }
    }
}

/// Clients and echo, on one epoll.
struct Load {
    poll: Epoll,
    sockets: HashMap<RawFd, (TcpStream, Role)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Client,
    Echo,
}

impl Load {
    fn connect(forwarder: SocketAddr, echo: &TcpListener, connections: usize) -> Load {
        let mut load = Load {
            poll: Epoll::new(),
            sockets: HashMap::new(),
        };
        for _ in 0..connections {
            let client = TcpStream::connect(forwarder).unwrap();
            let (server, _) = echo.accept().unwrap();
            for (socket, role) in [(client, Role::Client), (server, Role::Echo)] {
                socket.set_nodelay(true).unwrap();
                socket.set_nonblocking(true).unwrap();
                load.poll.add(socket.as_raw_fd());
                load.sockets.insert(socket.as_raw_fd(), (socket, role));
            }
        }
        for (socket, role) in load.sockets.values() {
            if *role == Role::Client {
                (&*socket).write_all(&PING).unwrap();
            }
        }
        load
    }

    /// Counts round trips for so long.
    fn run(&mut self, time: Duration) -> usize {
        let end = Instant::now() + time;
        let mut trips = 0;
        let mut bytes = [0; 4096];
        while Instant::now() < end {
            for fd in self.poll.wait() {
                let (socket, role) = self.sockets.get_mut(&fd).unwrap();
                match socket.read(&mut bytes) {
                    Ok(0) => panic!("the forwarder hung up"),
                    Ok(count) => {
                        assert_eq!(count, PING.len(), "ping-pong keeps messages whole");
                        trips += usize::from(*role == Role::Client);
                        socket.write_all(&bytes[..count]).unwrap();
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
        trips
    }
}

/// This crate: one task for a pair of sockets, as a session is.
fn ring(listener: TcpListener, target: SocketAddr) {
    let executor = LocalExecutorBuilder::new(Placement::Fixed(0))
        .preempt_timer(sockets::PREEMPT_TIMER)
        .io_memory(64 << 10)
        .make()
        .unwrap();
    executor.run(async move {
        sockets::run(RingLimits::default(), async move {
            let listener = Listener::adopt(listener).unwrap();
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let far = Stream::connect(target, &SocketOptions::default())
                    .await
                    .unwrap();
                sockets::spawn(poll_fn(move |cx| {
                    if forward(&near, &far, cx) && forward(&far, &near, cx) {
                        Poll::Pending
                    } else {
                        Poll::Ready(())
                    }
                }))
                .detach();
            }
        })
        .await
        .unwrap()
    });
}

/// Whether the connection goes on.
fn forward(from: &Stream, to: &Stream, cx: &mut Context<'_>) -> bool {
    while let Poll::Ready(chunk) = from.poll_recv(cx) {
        match chunk {
            Ok(chunk) if !chunk.is_empty() => to.send(chunk),
            _ => return false,
        }
    }
    true
}

/// glommio's own stream, in the same shape.
fn glommio_streams(listener: TcpListener, target: SocketAddr) {
    let executor = LocalExecutorBuilder::new(Placement::Fixed(0))
        .io_memory(64 << 10)
        .make()
        .unwrap();
    executor.run(async move {
        // glommio binds its own listeners; it takes the port over from ours.
        let addr = listener.local_addr().unwrap();
        drop(listener);
        let listener = glommio::net::TcpListener::bind(addr).unwrap();
        loop {
            let mut near = listener.accept().await.unwrap();
            let mut far = glommio::net::TcpStream::connect(target).await.unwrap();
            near.set_nodelay(true).unwrap();
            far.set_nodelay(true).unwrap();
            let (mut there, mut back) = (Pipe::default(), Pipe::default());
            glommio::spawn_local(poll_fn(move |cx| {
                let on =
                    there.forward(&mut near, &mut far, cx) && back.forward(&mut far, &mut near, cx);
                if on { Poll::Pending } else { Poll::Ready(()) }
            }))
            .detach();
        }
    });
}

#[derive(Default)]
struct Pipe {
    bytes: Vec<u8>,
    start: usize,
}

impl Pipe {
    fn forward(
        &mut self,
        from: &mut glommio::net::TcpStream,
        to: &mut glommio::net::TcpStream,
        cx: &mut Context<'_>,
    ) -> bool {
        loop {
            while self.start < self.bytes.len() {
                match Pin::new(&mut *to).poll_write(cx, &self.bytes[self.start..]) {
                    Poll::Ready(Ok(count)) => self.start += count,
                    Poll::Ready(Err(_)) => return false,
                    Poll::Pending => return true,
                }
            }
            self.start = 0;
            self.bytes.resize(4096, 0);
            match Pin::new(&mut *from).poll_read(cx, &mut self.bytes) {
                Poll::Ready(Ok(0) | Err(_)) => return false,
                Poll::Ready(Ok(count)) => self.bytes.truncate(count),
                Poll::Pending => {
                    self.bytes.clear();
                    return true;
                }
            }
        }
    }
}

/// Plain system calls, level-triggered.
fn epoll(listener: TcpListener, target: SocketAddr) {
    let poll = Epoll::new();
    poll.add(listener.as_raw_fd());
    let mut pairs: HashMap<RawFd, (TcpStream, RawFd)> = HashMap::new();
    let mut bytes = [0; 4096];
    loop {
        for fd in poll.wait() {
            if fd == listener.as_raw_fd() {
                let (near, _) = listener.accept().unwrap();
                let far = TcpStream::connect(target).unwrap();
                let (near_fd, far_fd) = (near.as_raw_fd(), far.as_raw_fd());
                for (socket, other) in [(near, far_fd), (far, near_fd)] {
                    socket.set_nodelay(true).unwrap();
                    socket.set_nonblocking(true).unwrap();
                    poll.add(socket.as_raw_fd());
                    pairs.insert(socket.as_raw_fd(), (socket, other));
                }
                continue;
            }
            let Some((socket, other)) = pairs.get(&fd) else {
                continue;
            };
            let other = *other;
            match (&*socket).read(&mut bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(count) if count > 0 => (&pairs[&other].0).write_all(&bytes[..count]).unwrap(),
                _ => {
                    pairs.remove(&fd);
                    pairs.remove(&other);
                }
            }
        }
    }
}

struct Epoll(RawFd);

impl Epoll {
    fn new() -> Epoll {
        // SAFETY: the call takes no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        assert!(fd >= 0);
        Epoll(fd)
    }

    fn add(&self, fd: RawFd) {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: fd as u64,
        };
        // SAFETY: the event is a local that is only read.
        let failed = unsafe { libc::epoll_ctl(self.0, libc::EPOLL_CTL_ADD, fd, &mut event) };
        assert_eq!(failed, 0);
    }

    /// The readable descriptors; none after a while without any.
    fn wait(&self) -> impl Iterator<Item = RawFd> + use<> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 128];
        // SAFETY: room for as many events as said.
        let count =
            unsafe { libc::epoll_wait(self.0, events.as_mut_ptr(), events.len() as i32, 100) };
        events
            .into_iter()
            .take(count.max(0) as usize)
            .map(|event| event.u64 as RawFd)
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        // SAFETY: our own descriptor, closed once.
        unsafe { libc::close(self.0) };
    }
}

fn pin_to(cpu: usize) {
    // SAFETY: a zeroed set is the empty set; the calls get its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        // May be forbidden; then the numbers are only noisier.
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

const CONNECTIONS: [usize; 3] = [1, 16, 64];
const PING: [u8; 64] = [b'p'; 64];
const WARM_UP: Duration = Duration::from_millis(50);
const ROUND: Duration = Duration::from_millis(250);
