//! Clients and null backend in one thread on one epoll, so that the proxy between them is what is
//! measured.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use slab::Slab;

use crate::Outcome;
use crate::group::{Group, GroupId, Script, Tally};
use crate::link::Link;
use crate::poll::Poll;
use crate::postgres;
use crate::talk::{Act, Backend, Client, Dialect};

/// All sockets of the load.
pub struct Arena {
    dialect: Dialect,
    poll: Poll,
    parties: Slab<Party>,
    groups: Slab<Group>,
    address: SocketAddr,
    ready: Vec<usize>,
    bytes: Box<[u8]>,
    out: Vec<u8>,
    big_rows: Vec<u8>,
}

enum Party {
    Listener(TcpListener),
    Backend {
        socket: TcpStream,
        backend: Backend,
        /// Bytes of the big result that are still to be sent.
        pending: usize,
    },
    Client {
        link: Link,
        talk: Client,
        group: usize,
        /// Answers to come before the current request is done.
        owed: usize,
        asked: Instant,
    },
}

impl Arena {
    /// Opens the null backend's port.
    pub fn new(dialect: Dialect) -> Outcome<Arena> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let mut arena = Arena {
            dialect,
            poll: Poll::new()?,
            parties: Slab::new(),
            groups: Slab::new(),
            address: listener.local_addr()?,
            ready: Vec::new(),
            bytes: vec![0; 256 << 10].into(),
            out: Vec::new(),
            big_rows: postgres::big_rows(),
        };
        let token = arena.parties.insert(Party::Listener(listener));
        if let Party::Listener(listener) = &arena.parties[token] {
            arena.poll.add(listener, token)?;
        }
        Ok(arena)
    }

    /// Where the null backend listens.
    pub fn backend_address(&self) -> SocketAddr {
        self.address
    }

    /// Connects clients, logs them in and lets them prepare.
    pub fn connect(
        &mut self,
        address: SocketAddr,
        clients: usize,
        script: impl Fn(usize) -> Script,
    ) -> Outcome<GroupId> {
        let group = self.groups.insert(Group::new(script(0)));
        let connected = self.connect_all(address, group, clients, script);
        if connected.is_err() {
            self.leave(GroupId(group));
        }
        connected.map(|()| GroupId(group))
    }

    fn connect_all(
        &mut self,
        address: SocketAddr,
        group: usize,
        clients: usize,
        script: impl Fn(usize) -> Script,
    ) -> Outcome<()> {
        for number in 0..clients {
            self.connect_one(address, group, &script(number))?;
            if number % CONNECTS_AT_ONCE == CONNECTS_AT_ONCE - 1 {
                self.rest(GroupId(group))?;
            }
        }
        self.rest(GroupId(group))?;
        let preparation = self.groups[group].script.preparation.clone();
        if !preparation.is_empty() {
            for client in self.groups[group].clients.clone() {
                self.ask(client, &preparation)?;
            }
            self.rest(GroupId(group))?;
        }
        Ok(())
    }

    /// Lets all clients of a group ask, and ask again, from now on.
    pub fn start(&mut self, id: GroupId) -> Outcome<()> {
        let group = &mut self.groups[id.0];
        group.running = true;
        group.reset();
        for client in group.clients.clone() {
            let request = std::mem::take(&mut self.groups[id.0].script.transaction);
            let asked = self.ask(client, &request);
            self.groups[id.0].script.transaction = request;
            asked?;
        }
        Ok(())
    }

    /// Serves everybody for so long.
    pub fn run(&mut self, time: Duration) -> Outcome<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn(TICK)?;
        }
        Ok(())
    }

    /// Why a group cannot go on, if it cannot.
    pub fn check(&self, id: GroupId) -> Outcome<()> {
        match &self.groups[id.0].failed {
            Some(why) => Err(why.clone().into()),
            None => Ok(()),
        }
    }

    /// Forgets what a group has done so far.
    pub fn reset(&mut self, id: GroupId) {
        self.groups[id.0].reset();
    }

    /// What a group has done in this time.
    pub fn tally(&mut self, id: GroupId, time: Duration) -> Tally {
        self.groups[id.0].tally(time)
    }

    /// Lets nobody of a group ask again, and waits until all are answered.
    pub fn rest(&mut self, id: GroupId) -> Outcome<()> {
        self.groups[id.0].running = false;
        let patience = Instant::now() + PATIENCE;
        while self.groups[id.0].outstanding > 0 {
            self.turn(TICK)?;
            if let Some(why) = &self.groups[id.0].failed {
                return Err(why.clone().into());
            }
            if Instant::now() > patience {
                let waiting = self.groups[id.0].outstanding;
                return Err(format!("{waiting} clients got no answer in {PATIENCE:?}").into());
            }
        }
        Ok(())
    }

    /// Lets the clients of a group leave; the others go on.
    pub fn leave(&mut self, id: GroupId) {
        let group = self.groups.remove(id.0);
        for client in group.clients {
            if let Party::Client { mut link, .. } = self.parties.remove(client) {
                // One that has gone already has left, too.
                let _ = link.send(&self.dialect.farewell());
            }
        }
    }

    /// Lets the proxies notice who has left, and end connections to the backend if they will.
    pub fn settle(&mut self) -> Outcome<()> {
        self.run(SETTLE)
    }

    fn connect_one(&mut self, to: SocketAddr, group: usize, script: &Script) -> Outcome<()> {
        let link = Link::connect(to, script.tls.as_ref())?;
        let mut first = Vec::new();
        let talk = Client::new(self.dialect, &script.login, &mut first);
        let client = self.parties.insert(Party::Client {
            link,
            talk,
            group,
            owed: 0,
            asked: Instant::now(),
        });
        if let Party::Client { link, .. } = &self.parties[client] {
            self.poll.add(link, client)?;
        }
        self.groups[group].clients.push(client);
        self.ask(client, &first)
    }

    fn ask(&mut self, client: usize, request: &[u8]) -> Outcome<()> {
        let Party::Client {
            link,
            group,
            owed,
            asked,
            ..
        } = &mut self.parties[client]
        else {
            return Err("only clients ask".into());
        };
        *owed = 1;
        *asked = Instant::now();
        self.groups[*group].outstanding += 1;
        Ok(link.send(request)?)
    }

    fn turn(&mut self, wait: Duration) -> Outcome<()> {
        let mut ready = std::mem::take(&mut self.ready);
        self.poll.wait(wait, &mut ready)?;
        for &token in &ready {
            match self.parties.get(token) {
                Some(Party::Listener(_)) => self.accept(token)?,
                Some(Party::Backend { .. }) => self.serve(token)?,
                Some(&Party::Client { group, .. }) => {
                    if let Err(why) = self.hear(token) {
                        self.groups[group].failed.get_or_insert(why.to_string());
                    }
                }
                None => {}
            }
        }
        self.ready = ready;
        Ok(())
    }

    fn accept(&mut self, token: usize) -> Outcome<()> {
        while let Some(Party::Listener(listener)) = self.parties.get(token) {
            let socket = match listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            };
            self.welcome(socket)?;
        }
        Ok(())
    }

    fn welcome(&mut self, mut socket: TcpStream) -> Outcome<()> {
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let mut first = Vec::new();
        let backend = Backend::new(self.dialect, &mut first);
        if socket.write_all(&first).is_err() {
            return Ok(()); // it has gone again
        }
        let token = self.parties.insert(Party::Backend {
            socket,
            backend,
            pending: 0,
        });
        if let Party::Backend { socket, .. } = &self.parties[token] {
            self.poll.add(socket, token)?;
        }
        Ok(())
    }

    /// The null backend's turn on one connection.
    fn serve(&mut self, token: usize) -> Outcome<()> {
        let Some(Party::Backend {
            socket,
            backend,
            pending,
        }) = self.parties.get_mut(token)
        else {
            return Ok(());
        };
        let mut gone = false;
        match socket.read(&mut self.bytes) {
            Ok(0) => gone = true,
            Ok(count) => {
                match backend.hear(&self.bytes[..count], &mut self.out) {
                    Act::Answered => {}
                    Act::Leave => gone = true,
                    Act::Stream(bytes) => *pending = bytes,
                }
                gone |= !self.out.is_empty() && socket.write_all(&self.out).is_err();
                self.out.clear();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => gone = true,
        }
        if *pending > 0 {
            gone |= postgres::stream_big(socket, pending, &self.big_rows).is_err();
            let writing = *pending > 0;
            self.poll.watch_writing(&*socket, token, writing)?;
        }
        if gone {
            self.parties.remove(token);
        }
        Ok(())
    }

    /// A client's turn.
    fn hear(&mut self, token: usize) -> Outcome<()> {
        let Some(Party::Client {
            link,
            talk,
            group,
            owed,
            asked,
        }) = self.parties.get_mut(token)
        else {
            return Ok(());
        };
        let count = match link.receive(&mut self.bytes)? {
            Some(0) => return Err("the proxy hung up".into()),
            Some(count) => count,
            None => return Ok(()),
        };
        self.out.clear();
        let complete = talk.hear(&self.bytes[..count], &mut self.out)?;
        if !self.out.is_empty() {
            link.send(&self.out)?;
            self.out.clear();
        }
        if complete == 0 {
            return Ok(());
        }
        *owed = owed
            .checked_sub(complete)
            .ok_or("an answer came that nobody had asked for")?;
        let group = &mut self.groups[*group];
        if *owed > 0 {
            return Ok(());
        }
        let now = Instant::now();
        group.answered(now - *asked);
        if !group.running {
            group.outstanding -= 1;
            return Ok(());
        }
        *owed = 1;
        *asked = now;
        Ok(link.send(&group.script.transaction)?)
    }
}

/// The longest sleep of the load.
const TICK: Duration = Duration::from_millis(5);

/// How long a group's last answers may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long clients that left may take to be noticed.
const SETTLE: Duration = Duration::from_millis(30);

/// Clients that log in at the same time.
const CONNECTS_AT_ONCE: usize = 32;
