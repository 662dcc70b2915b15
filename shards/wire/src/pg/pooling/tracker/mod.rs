//! One client in transaction mode: what it said, what it is owed, and what it has made of its session.
//!
//! What the client says is dealt with in [`said`] and [`statements`], and while there is no backend in
//! [`alone`]; what the backend says in [`heard`]; what statements did to the session, once they have
//! succeeded, in [`effects`].

mod alone;
mod asking;
mod closing;
mod describing;
mod effects;
mod errors;
mod heard;
mod inbound;
mod link;
mod provide;
mod release;
mod said;
mod shapes;
mod startup;
mod statements;
mod taken;
mod text;
mod traces;

use std::cell::Cell;
use std::rc::Rc;

use bytes::BytesMut;

use super::changes::Unnamed;
use super::names::Names;
use super::outbound::Passing;
use super::pins::Pins;
use super::portals::Portals;
use super::request::Request;
use super::settings::Settings;
use super::{BackendMemory, Commons, Outbound, Passage, Tally};
use crate::error::{Refusal, WireError};
use crate::pg::{ErrorResponse, Parameters, TransactionStatus, backend};
pub(super) use errors::field;
use link::Copy;
pub(super) use link::Link;
pub(super) use shapes::Described;

/// Follows one client from its login to its leave.
#[derive(Debug)]
pub struct Tracker {
    commons: Rc<Commons>,
    /// Tells it from the tenant's other sessions.
    number: u64,
    names: Names,
    unnamed: Unnamed,
    portals: Portals,
    settings: Settings,
    /// What keeps the client at its backend even if the transaction is rolled back.
    lasting: Pins,
    /// The values that the client has been told; `None` until its welcome is known.
    told: Option<Rc<Parameters>>,
    /// By these its texts are known to be read as usual.
    usual: Cell<bool>,
    status: TransactionStatus,
    /// Bytes of the client that cannot go on yet.
    kept: BytesMut,
    /// What is still to come of a message whose head has been dealt with.
    tail: Option<Tail>,
    wants_backend: bool,
    /// The batch that is begun needs no backend up to its Sync.
    needs_none: bool,
    /// A cancelled batch is skipped up to its Sync; it has not reached a backend.
    skips: bool,
    tally: Tally,
    terminated: bool,
    explained: bool,
    link: Option<Box<Link>>,
}

/// The rest of a message that is not all here yet.
#[derive(Debug, Clone, Copy)]
struct Tail {
    left: usize,
    passes: bool,
}

/// Why a session cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The client's: tell it so, end the session.
    Client(ErrorResponse),
    /// The backend's: close it. Its client cannot go on either.
    Backend(BackendFault),
}

/// What a backend did wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendFault {
    /// It said what was not its turn to say; whose reply that was is not to be known any more.
    #[error("the database sent {got} where nothing of the kind was owed")]
    OutOfTurn {
        /// The message type.
        got: String,
    },
    /// What it sent is not the protocol.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// It would not be set as the client's session asks (a startup parameter that does not exist,
    /// a role that was dropped): the client must be told so in these words, FATAL.
    #[error("the session's settings were refused: {0}")]
    SettingsRefused(Refusal),
    /// It would not be set as the client's session asks because of what it has done before; one that
    /// has done nothing yet may. If it is such, that is as above.
    #[error("the session's settings cannot be set any more: {0}")]
    Worn(Refusal),
}

impl From<BackendFault> for Fault {
    fn from(fault: BackendFault) -> Fault {
        Fault::Backend(fault)
    }
}

impl Tracker {
    /// A client that has proven who it is, and asked for these startup parameters (user, database
    /// and replication left out, `options` as it remains).
    ///
    /// An error is FATAL for the client: a parameter that no session can set.
    pub fn new(commons: Rc<Commons>, startup: &Parameters) -> Result<Tracker, ErrorResponse> {
        let base = commons.base(startup, startup::settings)?;
        Ok(Tracker {
            number: commons.next_session(),
            names: Names::charged_to(commons.budget()),
            unnamed: Unnamed::Absent,
            portals: Portals::default(),
            settings: Settings::new(base, commons.nothing()),
            commons,
            lasting: Pins::NONE,
            told: None,
            usual: Cell::new(false),
            status: TransactionStatus::Idle,
            kept: BytesMut::new(),
            tail: None,
            wants_backend: false,
            needs_none: false,
            skips: false,
            tally: Tally::default(),
            terminated: false,
            explained: false,
            link: None,
        })
    }

    /// The settings to be reported to the client at its login, as a database would report them;
    /// `None` if that is not known yet. Then attach a backend, let the tracker set it (until
    /// [`is_setting`](Self::is_setting) ends), and ask again.
    pub fn welcome(&mut self) -> Option<Rc<Parameters>> {
        if self.told.is_none() {
            self.usual.set(false);
            self.told = match &self.link {
                Some(link) => (!link.setting).then(|| Rc::clone(&link.memory.reported)),
                None => self.commons.foresee(self.settings.wanted()),
            };
        }
        self.told.clone()
    }

    /// Takes bytes from the client. What cannot go on yet, for want of a backend or because a reply
    /// decides what it means, is kept, and goes on by itself later.
    pub fn client_said(&mut self, chunk: &[u8], out: &mut Outbound) -> Result<Passage, Fault> {
        if !self.kept.is_empty() {
            self.kept.extend_from_slice(chunk);
            self.go_on(out)?;
            return Ok(Passage::Copied);
        }
        let mut passing = Passing::new(chunk, &mut out.to_backend);
        let done = self.take(&mut passing, &mut out.to_client);
        self.kept.extend_from_slice(passing.rest());
        let passage = passing.end();
        done.map(|()| passage)
    }

    /// Whether so much is kept that no more should be received from the client for now.
    pub fn is_full(&self) -> bool {
        let waits = self.wants_backend || self.link.as_deref().is_some_and(|link| link.holds);
        waits && self.kept.len() >= KEPT_LIMIT
    }

    /// Whether what is kept waits for a backend to be attached.
    pub fn needs_backend(&self) -> bool {
        self.wants_backend
    }

    /// Takes a backend, sets it as the session needs it, and lets go on what was kept.
    ///
    /// The backend must be idle, with nothing unread.
    pub fn attach(&mut self, memory: BackendMemory, out: &mut Outbound) -> Result<(), Fault> {
        debug_assert!(self.link.is_none(), "one backend at a time");
        self.wants_backend = false;
        let mut link = memory.0;
        link.begin(self.number);
        self.settings.attached(&link.memory.settings);
        self.link = Some(link);
        self.discard_values_that_matter(&mut out.to_backend);
        if self.settings.differ() {
            self.correct(&mut out.to_backend);
            return Ok(());
        }
        self.tell_differences(&mut out.to_client);
        self.go_on(out)
    }

    /// Takes bytes from the attached backend. It may also let go on what was kept of the client's. On an error, what is
    /// outbound holds what the client may still be told.
    pub fn backend_said(&mut self, chunk: &[u8], out: &mut Outbound) -> Result<Passage, Fault> {
        let before = out.to_client.len();
        let mut passing = Passing::new(chunk, &mut out.to_client);
        let heard = self.hear(&mut passing);
        let passage = passing.end();
        heard?;
        self.tidy(&mut out.to_backend);
        if self.kept.is_empty() || !self.may_go_on() {
            return Ok(passage);
        }
        self.go_on(out).inspect_err(|_| {
            // It is the client's fault, not the chunk's: what the client is told stands behind the chunk.
            if passage == Passage::Whole {
                let behind = out.to_client.split_off(before);
                out.to_client.extend_from_slice(chunk);
                out.to_client.unsplit(behind);
            }
        })?;
        Ok(passage)
    }

    /// Puts right what the client's last messages have left, if they are all answered.
    fn tidy(&mut self, to_backend: &mut BytesMut) {
        if let Some(link) = &mut self.link
            && link.is_answered()
        {
            link.clear_leftovers(to_backend);
            if self.status == TransactionStatus::Idle {
                // They ended with the transaction. (Those of a batch that has been begun have not.)
                self.portals.clear();
            }
        }
        if self.needs_correction() {
            self.correct(to_backend);
        }
        self.ask_what_is_left(to_backend);
    }

    /// Whether what has come may be what the client's next message waits for. One that takes long to read is looked at
    /// again when all is answered, not with each reply.
    fn may_go_on(&mut self) -> bool {
        let Some(link) = &mut self.link else {
            return true;
        };
        let moved = std::mem::take(&mut link.moved);
        let answered = link.replies.is_empty() || link.copy == Copy::Open;
        answered || moved && !is_long_to_read(&self.kept)
    }

    /// Lets go on what was kept of the client's, if it can.
    fn go_on(&mut self, out: &mut Outbound) -> Result<(), Fault> {
        if self.kept.is_empty() {
            return Ok(());
        }
        let kept = std::mem::take(&mut self.kept);
        let mut passing = Passing::new(&kept, &mut out.to_backend);
        let done = self.take(&mut passing, &mut out.to_client);
        let used = kept.len() - passing.rest().len();
        let room = kept.capacity();
        passing.end_copied();
        self.kept = kept;
        match used == self.kept.len() {
            // A client that has said something long once is not held in as much room ever after.
            true if room > ROOM_KEPT => self.kept = BytesMut::new(),
            true => self.kept.clear(),
            false => bytes::Buf::advance(&mut self.kept, used),
        }
        done
    }

    /// Whether a backend is attached.
    pub fn is_attached(&self) -> bool {
        self.link.is_some()
    }

    /// Whether the attached backend is being set before the client's next message may reach it.
    pub fn is_setting(&self) -> bool {
        self.link.as_deref().is_some_and(|link| link.setting)
    }

    /// Whether nothing of the client's has reached the attached backend: should that break, another
    /// one may be attached in its place after [`forsake`](Self::forsake).
    pub fn is_untouched(&self) -> bool {
        self.link.as_deref().is_some_and(|link| !link.touched)
    }

    /// Gives up a backend that broke before anything of the client's had reached it.
    pub fn forsake(&mut self) {
        debug_assert!(self.is_untouched());
        self.link = None;
        self.wants_backend = !self.kept.is_empty();
    }

    /// Whether a transaction is open, that of a batch which the client has begun and not ended among
    /// them.
    pub fn is_open(&self) -> bool {
        let in_batch = self.link.as_deref().is_some_and(|link| link.batch_open);
        in_batch || self.status != TransactionStatus::Idle
    }

    /// What the last ReadyForQuery said.
    pub fn status(&self) -> TransactionStatus {
        self.status
    }

    /// What has been said since this was last asked.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// Whether the client has said Terminate.
    pub fn has_terminated(&self) -> bool {
        self.terminated
    }

    /// Whether the backend has told the client, FATAL, why it will close.
    pub fn is_explained(&self) -> bool {
        self.explained
    }

    /// Whether a message of ours may be put behind what the client has been sent so far.
    pub fn may_speak(&self) -> bool {
        self.link.as_deref().is_none_or(Link::is_between_messages)
    }

    /// Tells the client what it has been told otherwise.
    fn tell_differences(&mut self, to_client: &mut BytesMut) {
        let Some(link) = &self.link else {
            return;
        };
        let reported = &link.memory.reported;
        let Some(told) = &self.told else {
            return;
        };
        if Rc::ptr_eq(told, reported) {
            return;
        }
        for (name, value) in reported.iter() {
            if told.get(name) != Some(value) {
                backend::parameter_status(name, value, to_client);
            }
        }
        self.told = Some(Rc::clone(reported));
        self.usual.set(false);
    }
}

/// Whether the message at the front is a text of some length.
fn is_long_to_read(kept: &[u8]) -> bool {
    let request = Request::read(kept).ok().flatten();
    request
        .is_some_and(|request| matches!(request.kind, b'Q' | b'P') && request.total > LONG_TO_READ)
}

/// Longest text that is read again with each reply for as long as it must wait, in bytes.
const LONG_TO_READ: usize = 4096;

/// How much is kept of a client that waits before no more is received from it, in bytes.
const KEPT_LIMIT: usize = 64 * 1024;

/// Room of so many bytes is kept for what a client says, and no more.
const ROOM_KEPT: usize = 4096;

#[cfg(test)]
mod tests {
    use super::super::{PreparedStatements, Reset, Rules};
    use super::*;
    use crate::pg::pooling::request::put_query;
    use crate::pg::pooling::work;

    fn commons() -> Rc<Commons> {
        Commons::new(Rules {
            prepared_statements: PreparedStatements::Multiplex,
            max_prepared_statements: 1,
            reset: Reset::Smart,
        })
    }

    #[test]
    fn rows_pass_however_they_come_and_what_is_none_ends_the_session() {
        let commons = commons();
        let row = *b"D\0\0\0\x06\0\0";
        let said = [&row.repeat(9)[..], b"C\0\0\0\x05\0Z\0\0\0\x05I"].concat();
        for cut in 0..=said.len() {
            let mut out = Outbound::default();
            let mut tracker = Tracker::new(Rc::clone(&commons), &Parameters::default()).unwrap();
            let memory = commons.backend_opened(&Parameters::default());
            tracker.attach(memory, &mut out).unwrap();
            let _ = tracker.client_said(b"Q\0\0\0\x05\0", &mut out).unwrap();
            let mut heard = Vec::new();
            for chunk in [&said[..cut], &said[cut..]] {
                if tracker.backend_said(chunk, &mut out).unwrap() == Passage::Whole {
                    heard.extend_from_slice(chunk);
                }
                heard.extend_from_slice(&out.to_client.split());
            }
            assert!(heard == said && tracker.may_release(), "cut at {cut}");
        }
        for no_row in [&b"D\0\0\0\x03"[..], b"D\x7f\xff\xff\xff"] {
            let mut out = Outbound::default();
            let mut tracker = Tracker::new(Rc::clone(&commons), &Parameters::default()).unwrap();
            let memory = commons.backend_opened(&Parameters::default());
            tracker.attach(memory, &mut out).unwrap();
            let _ = tracker.client_said(b"Q\0\0\0\x05\0", &mut out).unwrap();
            let said = [&row[..], no_row].concat();
            let fault = tracker.backend_said(&said, &mut out).unwrap_err();
            assert!(matches!(fault, Fault::Backend(BackendFault::Wire(_))));
        }
    }

    #[test]
    fn what_is_held_is_not_read_again_with_each_row_and_each_reply() {
        let commons = commons();
        let mut out = Outbound::default();
        let mut tracker = Tracker::new(Rc::clone(&commons), &Parameters::default()).unwrap();
        let memory = commons.backend_opened(&Parameters::default());
        tracker.attach(memory, &mut out).unwrap();
        // A batch that is not answered, behind which a Query that prepares must wait.
        let execute = *b"E\0\0\0\x09\0\0\0\0\0";
        let _ = tracker.client_said(&execute.repeat(100), &mut out).unwrap();
        let text = format!("prepare x as {} select 1", " ".repeat(100_000));
        let mut said = BytesMut::new();
        put_query(&mut said, text.as_bytes());
        let first = work::of(|| tracker.client_said(&said, &mut out));
        assert!(first >= text.len() && !tracker.kept.is_empty());
        let work = work::of(|| {
            for heard in [&b"D\0\0\0\x06\0\0"[..], b"N\0\0\0\x05\0", b"C\0\0\0\x05\0"] {
                for _ in 0..99 {
                    let _ = tracker.backend_said(heard, &mut out).unwrap();
                }
            }
        });
        assert_eq!(work, 0);
        let last = work::of(|| tracker.backend_said(b"C\0\0\0\x05\0", &mut out));
        assert!(last >= text.len() && tracker.kept.is_empty());
    }

    #[test]
    fn what_was_long_once_holds_no_room() {
        let commons = commons();
        let mut out = Outbound::default();
        let mut tracker = Tracker::new(Rc::clone(&commons), &Parameters::default()).unwrap();
        let mut said = BytesMut::new();
        put_query(&mut said, &[b'x'; 100_000]);
        assert_eq!(tracker.client_said(&said, &mut out), Ok(Passage::Copied));
        assert_eq!(tracker.kept.len(), said.len());
        let memory = commons.backend_opened(&Parameters::default());
        tracker.attach(memory, &mut out).unwrap();
        assert_eq!(out.to_backend.len(), said.len());
        assert!(tracker.kept.is_empty() && !tracker.kept.try_reclaim(2 * ROOM_KEPT));
    }
}
