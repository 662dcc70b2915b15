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

use bytes::{Buf, Bytes, BytesMut};

use super::{
    CancelKey, Parameters, StartupMessage, TransactionStatus,
    backend::authentication,
    error_response, foreign,
    frame::{Message, cut_i32, cut_string, take_message, type_name},
    frontend,
    md5::Md5Hash,
    scram::{Client, ClientChallenged, ClientKeys, ClientResponded, Nonce, SCRAM_SHA_256},
    startup::WITH_DATABASES,
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
    /// Its password, if it has one.
    pub password: Option<Secret>,
    /// The database.
    pub database: String,
    /// All other startup parameters, in order.
    pub parameters: Parameters,
    /// Random bytes, never used before.
    pub nonce: Nonce,
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
    /// Bodies of the notices that came on the way, in order.
    pub notices: Vec<Bytes>,
    /// What the first ReadyForQuery said.
    pub status: TransactionStatus,
    /// What SCRAM left, for the next login with the same password.
    pub keys: Option<ClientKeys>,
}

/// The dialogue with one database.
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
    /// server-first is heard; the password is being salted elsewhere.
    Salting(ClientChallenged),
    /// The salted password is here.
    Salted(ClientChallenged, ClientKeys),
    /// client-final is said; AuthenticationSASLFinal is awaited.
    SaslFinal(ClientResponded),
    /// AuthenticationOk is heard; ReadyForQuery is awaited.
    Authenticated,
    /// Ready, refused, or broken off.
    Over,
}

/// What a message leads to.
enum Step {
    Next(State),
    Derive(ClientChallenged, Secret),
    Ready(TransactionStatus),
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

    /// Says the StartupMessage.
    fn open(&self, outbound: &mut BytesMut) {
        let mut parameters = Parameters::default();
        parameters.push("user", self.request.user.clone());
        parameters.push("database", self.request.database.clone());
        for (name, value) in self.request.parameters.iter() {
            parameters.push(name, value.clone());
        }
        let version = WITH_DATABASES;
        StartupMessage {
            version,
            parameters,
            protocol_options: Vec::new(),
        }
        .write(outbound);
    }

    /// Takes the next message within the budget.
    fn take(&mut self, inbound: &mut BytesMut) -> Result<Option<Message>, WireError> {
        let Some(&header) = inbound.first_chunk() else {
            return Ok(None);
        };
        if matches!(self.state, State::Started)
            && let Some(found) = foreign::server(header)
        {
            return Err(WireError::WrongProtocol {
                expected: "PostgreSQL",
                found,
            });
        }
        if !b"RSKNEZv".contains(&header[0]) {
            return Err(unexpected(self.state.expects(), header[0]));
        }
        let message = match take_message(inbound, self.budget) {
            Err(WireError::TooLarge { .. }) => {
                return Err(WireError::TooLarge {
                    what: "login",
                    limit: LOGIN_LIMIT,
                });
            }
            message => message?,
        };
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
    ) -> Result<Step, WireError> {
        match (kind, state) {
            (b'E', _) => Err(WireError::Refused(error_response::parse(body))),
            (b'N', state) => {
                self.notices.push(Bytes::copy_from_slice(&body));
                Ok(Step::Next(state))
            }
            (b'v', State::Started) => {
                check_negotiation(body)?;
                Ok(Step::Next(State::Negotiated))
            }
            (b'R', state) => {
                let number = cut_i32(&mut body).ok_or(AUTHENTICATION)?;
                self.authenticate(state, number, body, outbound)
            }
            (b'S', State::Authenticated) => {
                let malformed = WireError::Malformed {
                    what: "ParameterStatus",
                };
                let (name, value) = cut_string(&mut body)
                    .zip(cut_string(&mut body))
                    .filter(|_| body.is_empty())
                    .ok_or(malformed.clone())?;
                let name = std::str::from_utf8(&name).map_err(|_| malformed)?;
                self.parameters.set(name, Bytes::copy_from_slice(&value));
                Ok(Step::Next(State::Authenticated))
            }
            (b'K', State::Authenticated) => {
                let malformed = WireError::Malformed {
                    what: "BackendKeyData",
                };
                let process_id = cut_i32(&mut body).ok_or(malformed)?;
                self.key = Some(CancelKey::new(process_id, Bytes::copy_from_slice(&body))?);
                Ok(Step::Next(State::Authenticated))
            }
            (b'Z', State::Authenticated) => match body[..] {
                [byte] => TransactionStatus::from_byte(byte).map(Step::Ready),
                _ => None,
            }
            .ok_or(WireError::Malformed {
                what: "ReadyForQuery",
            }),
            (kind, state) => Err(unexpected(state.expects(), kind)),
        }
    }

    /// Understands an Authentication message.
    fn authenticate(
        &mut self,
        state: State,
        number: i32,
        data: Bytes,
        outbound: &mut BytesMut,
    ) -> Result<Step, WireError> {
        use authentication as auth;
        Ok(Step::Next(match (number, state) {
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
                self.password()?;
                let client = Client::choose(data, self.request.nonce)?;
                frontend::sasl_initial_response(SCRAM_SHA_256, &client.client_first(), outbound);
                State::SaslFirst(client)
            }
            (auth::SASL_CONTINUE, State::SaslFirst(client)) => {
                let challenged = client.challenged(&data)?;
                match self
                    .request
                    .keys
                    .take()
                    .filter(|keys| challenged.fits(keys))
                {
                    Some(keys) => State::Salted(challenged, keys),
                    None => return Ok(Step::Derive(challenged, self.password()?.clone())),
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
        }))
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
            let message = match &self.state {
                State::Opening | State::Salted(..) | State::Salting(_) => None,
                _ => match self.take(inbound)? {
                    Some(message) => Some(message),
                    None => return Ok(Progress::NeedMore),
                },
            };
            let state = std::mem::replace(&mut self.state, State::Over);
            self.state = match (state, message) {
                (State::Opening, _) => {
                    self.open(outbound);
                    State::Started
                }
                (State::Salted(challenged, keys), _) => {
                    let (client_final, responded) = challenged.respond(&keys);
                    self.request.keys = Some(keys);
                    frontend::sasl_response(&client_final, outbound);
                    State::SaslFinal(responded)
                }
                (state, None) => {
                    self.state = state;
                    return Ok(Progress::NeedMore);
                }
                (state, Some(message)) => match self.hear(state, message, outbound)? {
                    Step::Next(state) => state,
                    Step::Ready(status) => return Ok(Progress::Done(self.logged_in(status))),
                    Step::Derive(challenged, password) => {
                        let derivation = Derivation::new(challenged.salting(password));
                        self.state = State::Salting(challenged);
                        return Ok(Progress::Derive(derivation));
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
            State::SaslFinal(_) => "AuthenticationSASLFinal",
            State::Authenticated => "ParameterStatus, BackendKeyData or ReadyForQuery",
            State::Salting(_) | State::Salted(..) => "nothing before our SASLResponse",
            State::Over => "nothing after the login",
        }
    }
}

/// Accepts only the version that was asked for: no option was.
fn check_negotiation(mut body: Bytes) -> Result<(), WireError> {
    let malformed = WireError::Malformed {
        what: "NegotiateProtocolVersion",
    };
    if body.len() != 8 {
        return Err(malformed);
    }
    let (version, options) = (body.get_u32(), body.get_u32());
    // Written either whole or, as its documentation has it, as the minor number alone.
    let asked = u32::from(WITH_DATABASES.major) << 16 | u32::from(WITH_DATABASES.minor);
    match (version, options) {
        (version, 0) if version == asked || version == u32::from(WITH_DATABASES.minor) => Ok(()),
        _ => Err(malformed),
    }
}

fn unexpected(expected: &'static str, kind: u8) -> WireError {
    WireError::Unexpected {
        expected,
        got: type_name(kind),
    }
}

const AUTHENTICATION: WireError = WireError::Malformed {
    what: "Authentication message",
};

/// Bytes of a type byte and a length.
const HEADER: usize = 5;

/// Most bytes that a database may say during a login, notices included.
pub const LOGIN_LIMIT: usize = 256 * 1024;
