//! A client that logs in to its database itself, through us (`client_auth: passthrough`).
//!
//! ```text
//!   session                       pool                        dial
//!   puts its connection down ───▶ (waits for a place) ──────▶ takes it up, passes questions and
//!   takes it up again ◀────────── hands over the backend ◀─── answers, puts it down again
//! ```
//!
//! The backend is opened for this one client, so its shape is like no other, and nobody else ever gets
//! it. The client has proved nothing while it waits, and holds a place of its tenant's meanwhile.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use wire::pg::passthrough::{Answer, Hearing, Said};
use wire::pg::{self, LoginRequest};

use crate::conn::{Broken, Conn};
use crate::dial::{DialFailure, database_broke};

/// The client, while its backend is being opened. Clones mean the same one.
#[derive(Clone)]
pub struct Guest(Rc<Inner>);

struct Inner {
    /// Who it says it is.
    user: String,
    parameters: pg::Parameters,
    /// Nobody on the way can read what it says.
    is_private: bool,
    /// The database has begun to ask: there is no beginning anew.
    is_asked: Cell<bool>,
    /// Down, while neither the session nor a dial has it.
    conn: RefCell<Option<Conn>>,
}

/// The connection, put down again when this is dropped, wherever that happens.
struct TakenUp<'a> {
    inner: &'a Inner,
    conn: Option<Conn>,
}

impl Guest {
    /// A client with its connection.
    pub fn new(user: String, parameters: pg::Parameters, is_private: bool, conn: Conn) -> Guest {
        Guest(Rc::new(Inner {
            user,
            parameters,
            is_private,
            is_asked: Cell::new(false),
            conn: RefCell::new(Some(conn)),
        }))
    }

    /// Who it says it is.
    pub fn user(&self) -> &str {
        &self.0.user
    }

    /// Its startup parameters.
    pub fn parameters(&self) -> &pg::Parameters {
        &self.0.parameters
    }

    /// Whether its database has begun to ask.
    pub fn is_asked(&self) -> bool {
        self.0.is_asked.get()
    }

    /// The connection, for good; `None` while a dial has it.
    pub fn leave(&self) -> Option<Conn> {
        self.0.conn.take()
    }

    /// Ready when the client is gone while it waits.
    pub fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<Broken> {
        match &mut *self.0.conn.borrow_mut() {
            Some(conn) => conn.poll_gone(cx),
            None => Poll::Pending,
        }
    }

    /// Passes the database's questions and the client's answers until the one lets the other in.
    pub async fn log_in(
        &self,
        backend: &mut Conn,
        request: LoginRequest,
    ) -> Result<pg::LoggedIn, DialFailure> {
        let Some(mut client) = self.take_up() else {
            return Err(DialFailure::ClientFailed("it has left".to_owned()));
        };
        if self.0.is_asked.get() {
            let why = "the database broke its login off".to_owned();
            return Err(DialFailure::ClientFailed(why));
        }
        let mut hearing = Hearing::begin(request.clone());
        loop {
            let said = backend.carry(&mut hearing).await;
            let said = said.map_err(database_broke)?;
            self.0.is_asked.set(true);
            match said {
                Said::Asks { in_clear: true, .. } if !self.0.is_private => {
                    return Err(DialFailure::ClientFailed(
                        "the database asks for a password in clear, which needs TLS".to_owned(),
                    ));
                }
                Said::Asks { message, .. } => {
                    client.say(BytesMut::from(&message[..]));
                    let answer = client.carry(&mut Answer).await;
                    let answer =
                        answer.map_err(|broken| DialFailure::ClientFailed(broken.to_string()))?;
                    backend.say(BytesMut::from(&answer[..]));
                }
                Said::Tells(message) => client.say(BytesMut::from(&message[..])),
                Said::LetsIn(message) => {
                    client.say(BytesMut::from(&message[..]));
                    break;
                }
            }
        }
        let mut rest = pg::Login::authenticated(request);
        backend.carry(&mut rest).await.map_err(database_broke)
    }

    fn take_up(&self) -> Option<TakenUp<'_>> {
        let conn = Some(self.0.conn.take()?);
        let inner = &*self.0;
        Some(TakenUp { inner, conn })
    }
}

impl Deref for TakenUp<'_> {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        match &self.conn {
            Some(conn) => conn,
            None => unreachable!("it is put down when this is dropped, and not before"),
        }
    }
}

impl DerefMut for TakenUp<'_> {
    fn deref_mut(&mut self) -> &mut Conn {
        match &mut self.conn {
            Some(conn) => conn,
            None => unreachable!("it is put down when this is dropped, and not before"),
        }
    }
}

impl Drop for TakenUp<'_> {
    fn drop(&mut self) {
        self.inner.conn.replace(self.conn.take());
    }
}

/// Each is like itself alone.
impl PartialEq for Guest {
    fn eq(&self, other: &Guest) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Guest {}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guest").field(&self.0.user).finish()
    }
}
