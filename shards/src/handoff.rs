//! What an acceptor hands to a shard: a client whose tenant is known, or a cancel request.
//!
//! A socket crosses threads as an owned descriptor: its registration with the acceptor's ring is
//! over (nothing is in flight any more), and the shard's ring adopts it. Whatever was received
//! behind the preface travels along, so no byte is lost.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Instant;

use wire::{mysql, pg};

use crate::admission::Place;
use crate::contract::TenantId;
use crate::tls::Session;

/// A connection off every ring, on its way from one executor to another.
#[derive(Debug)]
pub struct Loose {
    /// The socket.
    pub socket: OwnedFd,
    /// What the peer has said and nobody has understood yet.
    pub unread: Vec<u8>,
    /// How it is spoken to, if inside TLS.
    pub tls: Option<Box<Session>>,
}

/// A client on its way to the shard that owns its tenant.
#[derive(Debug)]
pub struct Handoff {
    /// The client's connection, with what was received behind the preface.
    pub conn: Loose,
    /// The client's address, perhaps by a proxy's word.
    pub peer: SocketAddr,
    /// A proxy stands before it, so that the connection ends there and not at the client.
    pub proxied: bool,
    /// Its first words, understood.
    pub preface: Preface,
    /// The tenant it named; whether there is one of that name only the shard knows.
    pub tenant: TenantId,
    /// When the login must be over.
    pub login_deadline: Instant,
    /// Its places among all clients.
    pub place: Place,
}

/// A client's first words.
#[derive(Debug)]
pub enum Preface {
    /// A StartupMessage with the tenant taken out.
    Postgres(pg::NamedStartup),
    /// A HandshakeResponse, and its names with the tenant taken out.
    MySql(Box<mysql::ClientLogin>, mysql::Named),
}

/// A CancelRequest on its way to the shard that its key names.
#[derive(Debug)]
pub struct CancelHandoff {
    /// Kept open until the request has been passed on, since clients wait for its end.
    pub conn: Loose,
    /// Where it came from.
    pub peer: SocketAddr,
    /// Whom it means.
    pub key: pg::CancelKey,
    /// Its places among all clients.
    pub place: Place,
}

/// What a shard gets from an acceptor.
#[derive(Debug)]
pub enum Arrival {
    /// A client.
    Client(Box<Handoff>),
    /// A request to cancel what another connection is doing.
    Cancel(CancelHandoff),
}
