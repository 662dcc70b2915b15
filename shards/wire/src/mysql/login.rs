//! Our login to a database.
//!
//! Knows what the client agreed to and asks the database for exactly that, since the relay passes
//! bytes afterwards. Knows nothing of pools: a login for a client in the queue and one made in advance
//! differ in their [`Shape`] only.

use bytes::{Bytes, BytesMut};

use super::capability::Capabilities;
use super::greeting::{Flavour, Greeting, charset_at};
use super::message::OkPacket;
use super::naming::Named;
use super::packet::{self, Header, MAX_LOGIN_PACKET};
use super::preface::foreign;
use super::prove::{Privacy, Proof};
use super::response::{Attribute, HandshakeResponse, put_ssl_request};
use super::verifier::Plugin;
use crate::error::WireError;
use crate::exchange::{Derived, Exchange, Progress};
use crate::secret::Secret;

/// What a session and its backend must have in common. A pooled backend fits a client if the two
/// shapes are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shape {
    /// The flags that matter after the login ([`Capabilities::of_session`]).
    pub capabilities: Capabilities,
    /// The collation as the client asked for it.
    pub charset: u16,
    /// The database to begin in.
    pub database: Option<String>,
}

impl Shape {
    /// What this client asked for, under the names that its tenant was found by.
    pub fn of_client(response: &HandshakeResponse, named: &Named) -> Self {
        Shape {
            capabilities: response.capabilities.of_session(),
            charset: response.charset,
            database: named.database.clone(),
        }
    }
}

/// Whom we log in as, and how.
#[derive(Debug, Clone)]
pub struct LoginRequest {
    /// The tenant's user at its database.
    pub user: String,
    /// And its password.
    pub password: Secret,
    /// What the session must be like.
    pub shape: Shape,
    /// Connection attributes to show in the server's tables; without ours.
    pub attributes: Vec<Attribute>,
    /// Whether to use TLS.
    pub tls: Tls,
    /// Unpredictable bytes, for a method in which both sides have something to sign.
    pub scramble: [u8; 32],
}

/// TLS towards a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// Never.
    Off,
    /// Never, for nobody but this machine can listen: a password may be said in clear, and on a socket of the file
    /// system servers want it so (save for `sha256_password`, whose is sealed).
    Needless,
    /// If the server offers it.
    Prefer,
    /// Or there is no login.
    Require,
}

/// What a login came to.
#[derive(Debug)]
pub enum LoginStep {
    /// Send what is outbound, make a TLS handshake, call [`Login::secured`], and go on with what
    /// TLS deciphers. Plain bytes that came behind the greeting were refused.
    StartTls,
    /// Logged in.
    LoggedIn(LoggedIn),
}

/// A backend that is ready for commands.
#[derive(Debug, Clone)]
pub struct LoggedIn {
    /// The server's id for this connection, which KILL names.
    pub connection_id: u32,
    /// The server's version, without MariaDB's replication prefix.
    pub server_version: String,
    /// MySQL or MariaDB.
    pub flavour: Flavour,
    /// What is in force on this connection, [`Capabilities::LOGIN_ONLY`] included.
    pub capabilities: Capabilities,
    /// The collation that was asked for; see [`charset_at`].
    pub charset: u16,
    /// Status flags of the server's OK.
    pub status: u16,
    /// The payload of the server's OK. Since client and backend have the same capabilities, it is
    /// the client's OK too, session changes included.
    pub ok: Bytes,
}

/// The login to a database. MySQL and MariaDB speak first.
#[derive(Debug)]
pub struct Login {
    request: LoginRequest,
    offers_tls: bool,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Greeting,
    Securing(Box<Greeting>),
    Secured(Box<Greeting>),
    Proving(Box<LoggedIn>, Proof),
    Over,
}

impl Login {
    /// A login that has not begun.
    pub fn new(request: LoginRequest) -> Self {
        Login {
            request,
            offers_tls: false,
            step: Step::Greeting,
        }
    }

    /// TLS stands, after [`LoginStep::StartTls`].
    pub fn secured(&mut self) {
        self.step = match std::mem::replace(&mut self.step, Step::Over) {
            Step::Securing(greeting) => Step::Secured(greeting),
            other => other,
        };
    }

    /// Whether the server has said that it can do TLS.
    pub fn offers_tls(&self) -> bool {
        self.offers_tls
    }

    /// Reads the greeting and answers it; the result is set if the caller has to do something now.
    fn greeted(
        &mut self,
        inbound: &mut BytesMut,
        outbound: &mut BytesMut,
    ) -> Result<Option<Progress<LoginStep>>, WireError> {
        recognise(inbound)?;
        let Some(packet) = packet::take(inbound, MAX_LOGIN_PACKET, 0)? else {
            return Ok(Some(Progress::NeedMore));
        };
        let greeting = Greeting::parse(&packet.payload)?;
        let offers_tls = greeting.capabilities.has(Capabilities::SSL);
        self.offers_tls = offers_tls;
        match self.request.tls {
            Tls::Require if !offers_tls => {
                let what = "TLS, which this tenant's sslmode requires, by the database".to_owned();
                Err(WireError::Unsupported { what })
            }
            Tls::Require | Tls::Prefer if offers_tls => {
                if !inbound.is_empty() {
                    let got = "plain bytes behind the greeting".to_owned();
                    return Err(WireError::Unexpected {
                        expected: "TLS",
                        got,
                    });
                }
                let capabilities = self.agree(&greeting)? | Capabilities::SSL;
                let charset = charset_at(&greeting.version, self.request.shape.charset);
                put_ssl_request(outbound, 1, capabilities, charset);
                self.step = Step::Securing(Box::new(greeting));
                Ok(Some(Progress::Done(LoginStep::StartTls)))
            }
            _ => {
                self.answer(greeting, false, outbound)?;
                Ok(None)
            }
        }
    }

    /// Sends the HandshakeResponse.
    fn answer(
        &mut self,
        greeting: Greeting,
        secured: bool,
        outbound: &mut BytesMut,
    ) -> Result<(), WireError> {
        let capabilities = self.agree(&greeting)?.with_if(Capabilities::SSL, secured);
        let charset = charset_at(&greeting.version, self.request.shape.charset);
        // A method we do not speak may be the server's default and yet not this user's: begin with
        // the one its flavour knows best, it will ask for another.
        let plugin = match (
            Plugin::named(greeting.plugin.as_bytes()),
            greeting.flavour(),
        ) {
            (Some(plugin @ (Plugin::CachingSha2 | Plugin::Native)), _) => plugin,
            (_, Flavour::MySql) => Plugin::CachingSha2,
            (_, Flavour::MariaDb) => Plugin::Native,
        };
        let mut proof = Proof::new(
            self.request.password.clone(),
            Privacy::of(secured, self.request.tls == Tls::Needless),
            plugin,
            greeting.nonce,
            self.request.scramble,
        );
        let response = HandshakeResponse {
            capabilities,
            charset,
            user: self.request.user.clone(),
            token: proof.token()?.to_vec().into(),
            database: self.request.shape.database.clone(),
            plugin: Some(plugin.name().to_owned()),
            attributes: self.request.attributes.clone(),
        };
        proof.sequence = response.put(outbound, if secured { 2 } else { 1 });
        let logged_in = LoggedIn {
            connection_id: greeting.connection_id,
            server_version: greeting.server_version().to_owned(),
            flavour: greeting.flavour(),
            capabilities,
            charset,
            status: 0,
            ok: Bytes::new(),
        };
        self.step = Step::Proving(Box::new(logged_in), proof);
        Ok(())
    }

    /// The capabilities of this connection: the session's, and those the login itself needs.
    fn agree(&self, greeting: &Greeting) -> Result<Capabilities, WireError> {
        let wanted = self.request.shape.capabilities.of_session();
        let must = (wanted & Capabilities::ANSWER_LAYOUT)
            | Capabilities::PROTOCOL_41
            | Capabilities::SECURE_CONNECTION;
        if !greeting.capabilities.has(must) {
            let missing = must.without(greeting.capabilities);
            let what = format!("a database without {missing:?}, which its client was promised,");
            return Err(WireError::Unsupported { what });
        }
        let for_login = Capabilities::PLUGIN_AUTH | Capabilities::PLUGIN_AUTH_LENENC;
        // MariaDB offers no LONG_PASSWORD and takes it: it means that no extended flags follow.
        let offered = greeting.capabilities | Capabilities::LONG_PASSWORD;
        let has_database = self.request.shape.database.is_some();
        let has_attributes = !self.request.attributes.is_empty();
        Ok((offered & (wanted | for_login | must))
            .with_if(Capabilities::CONNECT_WITH_DB, has_database)
            .with_if(
                Capabilities::CONNECT_ATTRS,
                has_attributes && offered.has(Capabilities::CONNECT_ATTRS),
            ))
    }
}

impl Exchange for Login {
    type Outcome = LoginStep;

    fn advance(
        &mut self,
        inbound: &mut BytesMut,
        outbound: &mut BytesMut,
    ) -> Result<Progress<LoginStep>, WireError> {
        loop {
            match std::mem::replace(&mut self.step, Step::Over) {
                Step::Greeting => {
                    self.step = Step::Greeting;
                    if let Some(progress) = self.greeted(inbound, outbound)? {
                        return Ok(progress);
                    }
                }
                Step::Secured(greeting) => self.answer(*greeting, true, outbound)?,
                Step::Proving(mut logged_in, mut proof) => {
                    let waits = match proof.advance(inbound, outbound)? {
                        Progress::NeedMore => Progress::NeedMore,
                        Progress::Derive(derivation) => Progress::Derive(derivation),
                        Progress::Done(ok) => {
                            logged_in.status = OkPacket::parse(&ok)?.status;
                            logged_in.ok = ok;
                            return Ok(Progress::Done(LoginStep::LoggedIn(*logged_in)));
                        }
                    };
                    self.step = Step::Proving(logged_in, proof);
                    return Ok(waits);
                }
                Step::Securing(_) | Step::Over => {
                    return Err(WireError::Unexpected {
                        expected: "nothing, the login is over or waits for TLS",
                        got: "more bytes".to_owned(),
                    });
                }
            }
        }
    }

    fn derived(&mut self, derived: Derived) {
        if let Step::Proving(_, proof) = &mut self.step {
            proof.derived(derived);
        }
    }
}

/// Refuses what is no MySQL server's greeting by its first bytes.
fn recognise(inbound: &[u8]) -> Result<(), WireError> {
    match Header::peek(inbound) {
        Some(header) if header.sequence != 0 || header.length > MAX_LOGIN_PACKET => {
            let found = foreign(inbound).unwrap_or("something else");
            Err(WireError::WrongProtocol {
                expected: "MySQL",
                found,
            })
        }
        _ => Ok(()),
    }
}
