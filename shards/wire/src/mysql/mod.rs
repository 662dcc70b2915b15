//! The MySQL client/server protocol, as MySQL 8 and 9 and MariaDB speak it.
//!
//! ```text
//!   client                        here                           database
//!                 greeting ◀── preface::PrefaceReader
//!   response ──▶  naming: which tenant
//!   token    ◀─▶  greet::Greet
//!                                 login::Login ◀── greeting
//!                                              ──▶ response, proof
//!                                              ◀── OK
//!         OK ◀── (the backend's own)
//!   commands ──▶  watch::Watch ───────────────▶    bytes
//!      bytes ◀─────────────── replies::Replies ◀── answers
//! ```
//!
//! Both sides have the same [`capability`] flags, so that what passes needs no translation.

mod answer;
pub mod capability;
pub mod change_user;
pub mod code;
pub mod command;
pub mod cursor;
mod ed25519;
pub mod expect;
pub mod greet;
pub mod greeting;
pub mod kill;
pub mod login;
pub mod message;
pub mod naming;
pub mod packet;
mod parsec;
pub mod preface;
mod prove;
pub mod replies;
pub mod response;
pub mod rsa;
mod stored_sha2;
pub mod verifier;
mod walker;
pub mod watch;

pub use answer::Lost;
pub use capability::{Capabilities, status};
pub use change_user::{BackendChangeUser, ChangeUser, UserChanged};
pub use code::Code;
pub use command::Ask;
pub use expect::Expect;
pub use greet::{Greet, Greeted};
pub use greeting::{Flavour, Greeting, Nonce};
pub use kill::Kill;
pub use login::{LoggedIn, Login, LoginRequest, LoginStep, Shape, Tls};
pub use message::{EofPacket, OkPacket, parse_err, put_err, put_err_before_greeting};
pub use naming::{Named, NamingError, name_tenant, name_tenant_at};
pub use packet::{MAX_LOGIN_PACKET, Packet};
pub use preface::{ClientLogin, Preface, PrefaceReader};
pub use replies::Replies;
pub use response::HandshakeResponse;
pub use verifier::{Digested, Verifier};
pub use watch::{Intercepted, Look, Next, Watch};
