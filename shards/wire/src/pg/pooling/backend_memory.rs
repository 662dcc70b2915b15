//! What one backend remembers: how it is set, and what has been prepared on it.

use std::rc::Rc;

use bytes::BytesMut;

use super::changes::Unnamed;
use super::prepared::Prepared;
use super::settings::Map;
use super::tracker::{BackendFault, Link};
use crate::pg::Parameters;
use crate::pg::frame::{cut_string, take_message, type_name};

/// Stays with a backend in the pool; a [`Tracker`](super::Tracker) has it while it is attached.
///
/// The room for what happens meanwhile belongs to it: attaching moves a pointer, and a client that
/// has no backend, as most of them, holds nothing of it.
#[derive(Debug)]
pub struct BackendMemory(pub(super) Box<Link>);

/// What is remembered.
#[derive(Debug)]
pub(super) struct Memory {
    /// How it is set, where not by the server's default.
    pub(super) settings: Rc<Map>,
    /// The values it has reported last.
    pub(super) reported: Rc<Parameters>,
    pub(super) prepared: Prepared,
    pub(super) unnamed: Unnamed,
    /// The session that used it last; 0 if no one's traces can be on it.
    pub(super) user: u64,
    /// The session that was seen to draw the values of sequences that it knows; 0 if none was.
    pub(super) drawn_by: u64,
}

impl BackendMemory {
    /// A backend that has just logged in.
    pub(super) fn new(reported: Rc<Parameters>) -> BackendMemory {
        BackendMemory(Box::new(Link::new(Memory {
            settings: Rc::default(),
            reported,
            prepared: Prepared::default(),
            unnamed: Unnamed::Absent,
            user: 0,
            drawn_by: 0,
        })))
    }

    /// Whether no shared statement is prepared on it.
    pub(super) fn is_unprepared(&self) -> bool {
        self.0.memory.prepared.is_empty()
    }

    /// What is remembered, to be changed.
    pub(super) fn memory(&mut self) -> &mut Memory {
        &mut self.0.memory
    }

    /// Takes what an idle backend says by itself: a changed setting (ParameterStatus), a notice.
    ///
    /// An error tells why the backend must be closed; a message that is not all there is one, too.
    pub fn idle_said(&mut self, chunk: &[u8]) -> Result<(), BackendFault> {
        let mut inbound = BytesMut::from(chunk);
        while let Some(message) = take_message(&mut inbound, IDLE_LIMIT)? {
            match message.kind {
                b'S' => self.memory().note_parameter(message.body),
                b'N' => {}
                kind => return Err(out_of_turn(kind)),
            }
        }
        match inbound.first() {
            None => Ok(()),
            Some(&kind) => Err(out_of_turn(kind)),
        }
    }
}

impl Memory {
    /// Notes a ParameterStatus; its name and value, if it can be one.
    pub(super) fn note_parameter(&mut self, body: bytes::Bytes) {
        if let Some((name, value)) = parameter(body) {
            Rc::make_mut(&mut self.reported).set(&name, value);
        }
    }
}

/// Reads a ParameterStatus.
pub(super) fn parameter(mut body: bytes::Bytes) -> Option<(String, bytes::Bytes)> {
    let (name, value) = cut_string(&mut body).zip(cut_string(&mut body))?;
    Some((String::from_utf8(name.into()).ok()?, value))
}

fn out_of_turn(kind: u8) -> BackendFault {
    BackendFault::OutOfTurn {
        got: type_name(kind),
    }
}

/// Longest message that an idle backend may send, in bytes.
const IDLE_LIMIT: usize = 64 * 1024;
