//! What passes in a MySQL session, as the relay must understand it: which commands cannot be relayed
//! as they are, and whether everything has been answered.

use bytes::BytesMut;
use sockets::{Address, Chunk};
use wire::WireError;
use wire::mysql::command::{self, COM_QUIT};
use wire::mysql::watch::MAX_HELD;
use wire::mysql::{Capabilities, ChangeUser, Intercepted, Kill, Next, Replies};

use crate::channel::Channel;
use crate::control::Control;
use crate::farewell::SessionEnd;
use crate::relay::{Said, Watch};
use crate::stats::Meter;
use crate::tenant::Tenant;

/// Watches what a MySQL client asks for, and whether it has been answered.
pub struct MySqlWatch<'a> {
    client: wire::mysql::Watch,
    /// What the server owes.
    pub replies: Replies,
    capabilities: Capabilities,
    tenant: &'a Tenant,
    /// Where the backend is.
    server: Address,
    /// The beginning of a command that cannot be judged yet, or what came behind `change`.
    pub held: BytesMut,
    /// A change of user, whose turn comes when all before it has been answered.
    pub change: Option<ChangeUser>,
    /// The sequence id of our last word, where another dialogue than the relay was the last.
    pub say_next: Option<u8>,
    quit: bool,
    /// The server has said something.
    answered: bool,
    meter: Meter<'a>,
    control: &'a Control,
}

impl<'a> MySqlWatch<'a> {
    /// For a session whose login is over.
    pub fn new(
        capabilities: Capabilities,
        tenant: &'a Tenant,
        server: Address,
        control: &'a Control,
        replies: Replies,
    ) -> Self {
        MySqlWatch {
            client: wire::mysql::Watch::default(),
            replies,
            capabilities,
            tenant,
            server,
            held: BytesMut::new(),
            change: None,
            say_next: None,
            quit: false,
            answered: false,
            meter: Meter::new(&tenant.stats, control),
            control,
        }
    }

    /// Whether the server may go on with something though its client is gone. A COM_QUIT behind it changes
    /// nothing: the server reads that only when it is done.
    pub fn is_at_work(&self) -> bool {
        self.replies.awaited() > 0
    }

    /// A change of user has begun the session anew, with this status.
    pub fn begun_anew(&mut self, status: u16) {
        self.replies.begun_anew(status);
        let open = self.replies.in_transaction();
        self.meter.answered(0, 0, false, open);
    }

    /// The client is saying something that asks for nothing yet: a part of a long command, or of a
    /// parameter. It is heard, lest it be taken for one that says nothing.
    fn goes_on(&self) {
        if self.replies.awaited() == 0 && self.replies.lost().is_none() {
            let open = self.replies.in_transaction();
            self.control.turn(false, open, sockets::now());
        }
    }

    /// Whether the backend has been passed the beginning of a packet and not its end.
    pub fn is_midway(&self) -> bool {
        !self.client.at_boundary()
    }

    /// Whether the client has heard anything from its server.
    pub fn is_answered(&self) -> bool {
        self.answered
    }

    /// Whether the turn of a change of user has come. If the answers cannot be followed it never
    /// comes by itself, and the session must deal with that.
    fn turn(&self) -> Said {
        let due = self.replies.is_quiet() || self.replies.lost().is_some();
        match due && self.change.is_some() {
            true => Said::Interrupts,
            false => Said::Passed,
        }
    }

    /// Keeps what came behind a change of user until after it.
    fn hold(&mut self, bytes: &[u8]) -> Result<Said, SessionEnd> {
        if self.held.len() + bytes.len() > MAX_BEHIND_CHANGE {
            return Err(SessionEnd::ClientMisbehaved(WireError::TooLarge {
                what: "what was sent behind a COM_CHANGE_USER",
                limit: MAX_BEHIND_CHANGE,
            }));
        }
        self.held.extend_from_slice(bytes);
        Ok(self.turn())
    }

    /// A KILL of one of our ids goes on with the backend's; of any other id, and of a backend at another server, as
    /// it was sent: what to say to it is the server's business.
    fn kill(&self, kill: &Kill, as_sent: Chunk, backend: &Channel) {
        match self.tenant.own_ids.kill(kill.id, &self.server) {
            Some(id) => {
                self.tenant.stats.count(|counts| counts.cancels += 1);
                let mut out = BytesMut::new();
                kill.put_with(id, &mut out);
                backend.send(out);
            }
            None => backend.send(as_sent),
        }
    }
}

impl Watch for MySqlWatch<'_> {
    fn client_said(
        &mut self,
        chunk: Chunk,
        _client: &Channel,
        backend: &Channel,
    ) -> Result<Said, SessionEnd> {
        if self.quit {
            // As the server does.
            return Ok(Said::Passed);
        }
        if self.change.is_some() {
            return self.hold(&chunk);
        }
        let mut bytes = if self.held.is_empty() {
            chunk
        } else {
            self.held.extend_from_slice(&chunk);
            Chunk::from(self.held.split())
        };
        loop {
            let owed = self.replies.awaited();
            let look = self
                .client
                .look(&bytes, self.capabilities, &mut self.replies)
                .map_err(SessionEnd::ClientMisbehaved)?;
            let asked = self.replies.awaited().saturating_sub(owed) as u32;
            self.meter.client_said(look.pass, asked);
            if asked > 0 {
                self.meter.asked(self.replies.in_transaction());
            } else if look.pass > 0 {
                self.goes_on();
            }
            if look.pass > 0 {
                backend.send(bytes.split_to(look.pass));
            }
            match look.next {
                Next::Nothing => return Ok(Said::Passed),
                Next::Incomplete => {
                    self.held.extend_from_slice(&bytes);
                    return Ok(Said::Passed);
                }
                Next::Command(stopped, length) => {
                    let as_sent = bytes.split_to(length);
                    match stopped {
                        Intercepted::Kill(kill) => self.kill(&kill, as_sent, backend),
                        Intercepted::Quit => {
                            self.quit = true;
                            let mut out = BytesMut::new();
                            command::put(&mut out, COM_QUIT);
                            backend.send(out);
                            return Ok(Said::Passed);
                        }
                        Intercepted::ChangeUser(request) => {
                            self.change = Some(request);
                            return self.hold(&bytes);
                        }
                    }
                }
            }
        }
    }

    fn backend_said(&mut self, chunk: &[u8]) -> Result<Said, SessionEnd> {
        self.answered = true;
        let owed = self.replies.awaited();
        let was_lost = self.replies.lost().is_some();
        let errors = self.replies.backend_said(chunk);
        self.meter.backend_said(chunk.len(), &errors);
        let owes = self.replies.awaited();
        if owes < owed {
            let open = self.replies.in_transaction();
            self.meter.answered((owed - owes) as u32, 0, owes > 0, open);
        }
        if self.replies.lost().is_some() {
            if !was_lost {
                self.tenant.stats.count(|counts| counts.lost_track += 1);
            }
            // Nothing is known of what it is at: no time-out may end it.
            self.control.cannot_be_followed();
        }
        Ok(self.turn())
    }

    fn backend_left(&self) -> SessionEnd {
        if self.quit {
            SessionEnd::ClientLeft
        } else {
            SessionEnd::DatabaseLeft { may_speak: false }
        }
    }

    fn at_rest(&self) -> bool {
        let nothing_begun =
            self.client.at_boundary() && self.held.is_empty() && self.change.is_none();
        let has_left = self.quit && self.replies.awaited() == 0;
        has_left || (nothing_begun && self.replies.at_rest())
    }
}

/// Most bytes that a client may send behind a COM_CHANGE_USER before it has been asked for its token:
/// there is nothing sensible to send, but a chunk may bring it.
const MAX_BEHIND_CHANGE: usize = 2 * MAX_HELD;
