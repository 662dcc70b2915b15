//! Our login to a database: from StartupMessage to its first ReadyForQuery.
//!
//! ```text
//! StartupMessage ──▶
//!                ◀── AuthenticationOk                                     ─┐
//!                ◀── …CleartextPassword, …MD5Password: PasswordMessage ──▶ │
//!                ◀── …SASL: SASLInitialResponse ──▶                        │
//!                ◀── …SASLContinue: SASLResponse ──▶                       │
//!                ◀── …SASLFinal, then AuthenticationOk                    ─┤
//!                ◀── ParameterStatus, BackendKeyData, NoticeResponse      ◀┘
//!                ◀── ReadyForQuery
//! ```
//!
//! A database that began SCRAM must finish it: AuthenticationOk before its signature is refused.

use bytes::{Bytes, BytesMut};

use super::{
    CancelKey, Parameters, TransactionStatus,
    backend::authentication,
    error_response, foreign,
    frame::{HEADER, Message, compose, cut_i32, cut_string, take_message, type_name},
    frontend,
    md5::Md5Hash,
    scram::{Client, ClientChallenged, ClientKeys, ClientResponded, Nonce},
    startup::accept_negotiation,
};
use crate::{
    error::WireError,
    exchange::{Derivation, Derived, Exchange, Progress},
    secret::Secret,
};

/// Whom to log in as, and where.
#[derive(Debug, Clone)]
pub struct LoginRequest {
    /// The account.
    pub user: String,
    /// Its password, if it has one. The keys of an earlier login may stand in for it.
    pub password: Option<Secret>,
    /// The database.
    pub database: String,
    /// All other startup parameters, in order.
    pub parameters: Parameters,
    /// Random bytes, never used before.
    pub nonce: Nonce,
    /// The database's `tls-server-end-point` (RFC 5929), inside TLS: the login is bound to it if the
    /// database can do that.
    pub end_point: Option<Vec<u8>>,
    /// What an earlier login with this password left, to spare PBKDF2 where it still fits.
    pub keys: Option<ClientKeys>,
}

/// What is known of a connection that is ready for its first query.
#[derive(Debug)]
pub struct LoggedIn {
    /// The settings that the database reports.
    pub parameters: Parameters,
    /// The key for cancelling; some servers that only resemble PostgreSQL send none.
    pub key: Option<CancelKey>,
    /// NoticeResponse messages that came on the way, whole and in order, for whoever is waiting.
    pub notices: Vec<Bytes>,
    /// What the first ReadyForQuery said.
    pub status: TransactionStatus,
    /// What SCRAM left, for the next login with the same password.
    pub keys: Option<ClientKeys>,
}

/// The dialogue with one database. On an error nothing is left to be said: close the connection.
#[derive(Debug)]
pub struct Login {
    request: LoginRequest,
    state: State,
    /// Bytes that the database may still send.
    budget: usize,
    parameters: Parameters,
    key: Option<CancelKey>,
    notices: Vec<Bytes>,
}

#[derive(Debug)]
enum State {
    /// Nothing is said yet.
    Opening,
    /// StartupMessage is said; nothing has been heard.
    Started,
    /// The protocol is agreed on; an authentication request is awaited.
    Negotiated,
    /// A password is said; only AuthenticationOk is right now.
    Answered,
    /// client-first is said; AuthenticationSASLContinue is awaited.
    SaslFirst(Client),
    /// server-first is heard; the password must be salted.
    Salt(ClientChallenged, Secret),
    /// The salting goes on elsewhere.
    Salting(ClientChallenged),
    /// The salted password is here.
    Salted(ClientChallenged, ClientKeys),
    /// client-final is said; AuthenticationSASLFinal is awaited.
    SaslFinal(ClientResponded),
    /// AuthenticationOk is heard; ReadyForQuery is awaited.
    Authenticated,
    /// ReadyForQuery is heard.
    Ready(TransactionStatus),
    /// Done, refused, or broken off.
    Over,
}

impl Login {
    /// Starts a login.
    pub fn new(request: LoginRequest) -> Self {
        Login {
            request,
            state: State::Opening,
            budget: LOGIN_LIMIT,
            parameters: Parameters::default(),
            key: None,
            notices: Vec::new(),
        }
    }

    /// The rest of a login whose AuthenticationOk somebody else has heard.
    pub fn authenticated(request: LoginRequest) -> Self {
        Login {
            state: State::Authenticated,
            ..Login::new(request)
        }
    }

    /// Takes the next message within the budget.
    fn take(
        &mut self,
        state: &State,
        inbound: &mut BytesMut,
    ) -> Result<Option<Message>, WireError> {
        let Some(&header) = inbound.first_chunk() else {
            return Ok(None);
        };
        let expected = "PostgreSQL";
        match foreign::server(header) {
            Some(found) if matches!(state, State::Started) => {
                return Err(WireError::WrongProtocol { expected, found });
            }
            _ if !b"RSKNEZv".contains(&header[0]) => return Err(state.unexpected(header[0])),
            _ => {}
        }
        let message = take_message(inbound, self.budget).map_err(|error| match error {
            WireError::TooLarge { .. } => LOGIN_TOO_LARGE,
            error => error,
        })?;
        if let Some(message) = &message {
            self.budget = self.budget.saturating_sub(HEADER + message.body.len());
        }
        Ok(message)
    }

    /// Understands one message.
    fn hear(
        &mut self,
        state: State,
        Message { kind, mut body }: Message,
        outbound: &mut BytesMut,
    ) -> Result<State, WireError> {
        match (kind, &state) {
            (b'E', _) => return Err(WireError::Refused(error_response::parse(body))),
            (b'R', _) => {
                let number = cut_i32(&mut body).ok_or(AUTHENTICATION)?;
                return self.authenticate(state, number, body, outbound);
            }
            (b'v', State::Started) => {
                accept_negotiation(body)?;
                return Ok(State::Negotiated);
            }
            (b'Z', State::Authenticated) => return ready(&body).map(State::Ready),
            (b'N', _) => self.note(&body),
            (b'S', State::Authenticated) => self.set(body)?,
            (b'K', State::Authenticated) => {
                let process_id = cut_i32(&mut body).ok_or(BACKEND_KEY_DATA)?;
                self.key = Some(CancelKey::new(process_id, Bytes::copy_from_slice(&body))?);
            }
            (kind, state) => return Err(state.unexpected(kind)),
        }
        Ok(state)
    }

    /// Keeps a notice, framed again.
    fn note(&mut self, body: &[u8]) {
        if self.notices.len() < NOTICES_LIMIT {
            let mut notice = BytesMut::with_capacity(HEADER + body.len());
            compose(&mut notice, b'N', |out| out.extend_from_slice(body));
            self.notices.push(notice.freeze());
        }
    }

    /// Keeps a setting.
    fn set(&mut self, mut body: Bytes) -> Result<(), WireError> {
        let (name, value) = cut_string(&mut body)
            .zip(cut_string(&mut body))
            .filter(|_| body.is_empty())
            .ok_or(PARAMETER_STATUS)?;
        let name = std::str::from_utf8(&name).map_err(|_| PARAMETER_STATUS)?;
        self.parameters.set(name, Bytes::copy_from_slice(&value));
        if self.parameters.len() > PARAMETERS_LIMIT {
            return Err(LOGIN_TOO_LARGE);
        }
        Ok(())
    }

    /// Understands an Authentication message.
    fn authenticate(
        &mut self,
        state: State,
        number: i32,
        data: Bytes,
        outbound: &mut BytesMut,
    ) -> Result<State, WireError> {
        use authentication as auth;
        Ok(match (number, state) {
            (auth::OK, State::Started | State::Negotiated | State::Answered) => {
                State::Authenticated
            }
            (auth::CLEARTEXT_PASSWORD, State::Started | State::Negotiated) => {
                frontend::password_message(self.password()?.expose().as_bytes(), outbound);
                State::Answered
            }
            (auth::MD5_PASSWORD, State::Started | State::Negotiated) => {
                let salt = data[..].try_into().map_err(|_| AUTHENTICATION)?;
                let hash = Md5Hash::of(self.password()?.expose(), &self.request.user);
                frontend::password_message(&hash.response(salt), outbound);
                State::Answered
            }
            (auth::SASL, State::Started | State::Negotiated) => {
                if self.request.keys.is_none() {
                    self.password()?;
                }
                let end_point = self.request.end_point.take();
                let client = Client::choose(data, self.request.nonce, end_point)?;
                let first = client.client_first();
                frontend::sasl_initial_response(client.mechanism(), &first, outbound);
                State::SaslFirst(client)
            }
            (auth::SASL_CONTINUE, State::SaslFirst(client)) => {
                let challenged = client.challenged(&data)?;
                match self.request.keys.take() {
                    Some(keys) if challenged.fits(&keys) => State::Salted(challenged, keys),
                    _ => State::Salt(challenged, self.password()?.clone()),
                }
            }
            (auth::SASL_FINAL, State::SaslFinal(responded)) => {
                responded.verify(&data)?;
                State::Answered
            }
            (auth::KERBEROS_V5 | auth::GSS | auth::SSPI, _) => {
                return Err(WireError::Unsupported {
                    what: format!("authentication method {number} of the database"),
                });
            }
            (number, state) => {
                return Err(WireError::Unexpected {
                    expected: state.expects(),
                    got: format!("authentication request {number}"),
                });
            }
        })
    }

    fn password(&self) -> Result<&Secret, WireError> {
        self.request
            .password
            .as_ref()
            .ok_or_else(|| WireError::Unexpected {
                expected: "AuthenticationOk, for no password is configured",
                got: "a request for a password".to_owned(),
            })
    }

    fn logged_in(&mut self, status: TransactionStatus) -> LoggedIn {
        LoggedIn {
            parameters: std::mem::take(&mut self.parameters),
            key: self.key.take(),
            notices: std::mem::take(&mut self.notices),
            status,
            keys: self.request.keys.take(),
        }
    }
}

impl Exchange for Login {
    type Outcome = LoggedIn;

    fn advance(
        &mut self,
        inbound: &mut BytesMut,
        outbound: &mut BytesMut,
    ) -> Result<Progress<LoggedIn>, WireError> {
        loop {
            self.state = match std::mem::replace(&mut self.state, State::Over) {
                State::Opening => {
                    self.request.startup().write(outbound);
                    State::Started
                }
                State::Salt(challenged, password) => {
                    let derivation = Derivation::new(challenged.salting(password));
                    self.state = State::Salting(challenged);
                    return Ok(Progress::Derive(derivation));
                }
                State::Salting(challenged) => {
                    self.state = State::Salting(challenged);
                    return Ok(Progress::NeedMore);
                }
                State::Salted(challenged, keys) => {
                    let (client_final, responded) = challenged.respond(&keys);
                    self.request.keys = Some(keys);
                    frontend::sasl_response(&client_final, outbound);
                    State::SaslFinal(responded)
                }
                State::Ready(status) => return Ok(Progress::Done(self.logged_in(status))),
                waiting => match self.take(&waiting, inbound)? {
                    Some(message) => self.hear(waiting, message, outbound)?,
                    None => {
                        self.state = waiting;
                        return Ok(Progress::NeedMore);
                    }
                },
            };
        }
    }

    fn derived(&mut self, derived: Derived) {
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::Salting(challenged) => {
                let keys = challenged.keys(&derived.0);
                State::Salted(challenged, keys)
            }
            state => state,
        };
    }
}

impl State {
    /// What the database should say in this state.
    fn expects(&self) -> &'static str {
        match self {
            State::Opening | State::Started | State::Negotiated => "an authentication request",
            State::Answered => "AuthenticationOk",
            State::SaslFirst(_) => "AuthenticationSASLContinue",
            State::Salt(..) | State::Salting(_) | State::Salted(..) => "nothing",
            State::SaslFinal(_) => "AuthenticationSASLFinal",
            State::Authenticated => "ParameterStatus, BackendKeyData or ReadyForQuery",
            State::Ready(_) | State::Over => "nothing after the login",
        }
    }

    fn unexpected(&self, kind: u8) -> WireError {
        WireError::Unexpected {
            expected: self.expects(),
            got: type_name(kind),
        }
    }
}

fn ready(body: &[u8]) -> Result<TransactionStatus, WireError> {
    match *body {
        [byte] => TransactionStatus::from_byte(byte).ok_or(READY_FOR_QUERY),
        _ => Err(READY_FOR_QUERY),
    }
}

const fn malformed(what: &'static str) -> WireError {
    WireError::Malformed { what }
}

const AUTHENTICATION: WireError = malformed("Authentication message");
const PARAMETER_STATUS: WireError = malformed("ParameterStatus");
const BACKEND_KEY_DATA: WireError = malformed("BackendKeyData");
const READY_FOR_QUERY: WireError = malformed("ReadyForQuery");
const LOGIN_TOO_LARGE: WireError = WireError::TooLarge {
    what: "what the database says at login",
    limit: LOGIN_LIMIT,
};

/// Most bytes that a database may say during a login, notices included.
pub const LOGIN_LIMIT: usize = 256 * 1024;

/// Most settings that a database may report; PostgreSQL 18 reports 15.
const PARAMETERS_LIMIT: usize = 256;

/// Most notices that are kept; further ones are dropped.
const NOTICES_LIMIT: usize = 64;
