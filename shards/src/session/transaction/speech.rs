//! What passes between the client, its tracker and its backend, and what that counts as.

use bytes::BytesMut;
use sockets::Chunk;
use wire::pg::pooling::{Fault, Passage, Tally};

use super::{Session, fault};
use crate::farewell::SessionEnd;

impl Session<'_> {
    /// Lets the tracker hear the client, and does what it says.
    pub(super) fn hear_client(&mut self, chunk: Chunk) -> Result<(), SessionEnd> {
        self.meter.client_said(chunk.len(), 0);
        let passage = self.tracker.client_said(&chunk, &mut self.out);
        self.speak(whole(&passage, chunk), None);
        passage.map(|_| ()).map_err(fault)
    }

    /// Sends what passed whole, and what the tracker wants said behind it.
    pub(super) fn speak(&mut self, to_backend: Option<Chunk>, to_client: Option<Chunk>) {
        let mut said = self.out.to_client.len();
        if let Some(lease) = &self.lease {
            let channel = lease.backend().conn.channel();
            if let Some(chunk) = to_backend {
                channel.send(chunk);
            }
            if !self.out.to_backend.is_empty() {
                channel.send(taken(&mut self.out.to_backend));
            }
        }
        if let Some(chunk) = to_client {
            said += chunk.len();
            self.client.conn.channel().send(chunk);
        }
        // Splitting nothing off costs an allocation, too.
        if !self.out.to_client.is_empty() {
            self.client.conn.say(taken(&mut self.out.to_client));
        }
        self.take_stock(said);
    }

    /// Counts what has passed, and notes what the session is at now.
    fn take_stock(&mut self, said: usize) {
        let tally = self.tracker.take_tally();
        if said > 0 || tally != Tally::default() {
            self.meter.tallied(said, &tally);
        }
        let busy = self.tracker.needs_backend() || self.tracker.is_owed();
        let open = self.tracker.is_open();
        if tally.ready > 0 {
            self.meter
                .answered(tally.ready, tally.transactions, busy, open);
            self.meter.pinned(self.tracker.pins());
        } else if busy {
            self.meter.asked(open);
        } else {
            self.meter.rests(open);
            self.meter.pinned(self.tracker.pins());
        }
    }
}

/// What is to be sent. Of what was long no room is kept: it would be held for as long as the client is there.
fn taken(outbound: &mut BytesMut) -> BytesMut {
    match outbound.len() > ROOM_KEPT {
        true => std::mem::take(outbound),
        false => outbound.split(),
    }
}

/// How much may be sent at a time from room that is used again, in bytes.
const ROOM_KEPT: usize = 8192;

/// The chunk, where the tracker lets it pass as it is.
pub(super) fn whole(passage: &Result<Passage, Fault>, chunk: Chunk) -> Option<Chunk> {
    matches!(passage, Ok(Passage::Whole)).then_some(chunk)
}
