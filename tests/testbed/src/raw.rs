//! Clients made of bytes: for what no driver would say, and for seeing every byte of what comes back.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::PATIENCE;

/// A socket that speaks neither protocol by itself.
#[derive(Debug)]
pub struct Raw(pub TcpStream);

/// A message of PostgreSQL's: its type and its body.
pub type Message = (u8, Vec<u8>);

/// A database's complaint, in either protocol.
#[derive(Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The SQLSTATE; empty where MySQL sends none.
    pub state: String,
    /// MySQL's number; 0 in PostgreSQL.
    pub number: u16,
    /// What it says to people.
    pub message: String,
}

impl Raw {
    /// Connects.
    ///
    /// # Panics
    /// If nobody listens there.
    #[must_use]
    pub fn to(address: SocketAddr) -> Raw {
        let stream = TcpStream::connect(address).expect("somebody listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a time limit can be set");
        stream
            .set_nodelay(true)
            .expect("a socket option can be set");
        Raw(stream)
    }

    /// The same, from this address of ours.
    pub async fn from(ours: [u8; 4], address: SocketAddr) -> Raw {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket can be made");
        socket
            .bind(SocketAddr::from((ours, 0)))
            .expect("loopback has many addresses");
        let stream = socket.connect(address).await.expect("somebody listens");
        let stream = stream.into_std().expect("a socket can change hands");
        stream
            .set_nonblocking(false)
            .expect("a socket option can be set");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a time limit can be set");
        Raw(stream)
    }

    /// Sends bytes. That the other end has closed is no error here: what it said comes out by reading.
    pub fn say(&mut self, bytes: &[u8]) -> &mut Raw {
        let _ = self.0.write_all(bytes);
        self
    }

    /// So many bytes.
    ///
    /// # Panics
    /// If they do not come.
    #[track_caller]
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).expect("bytes come");
        bytes
    }

    /// Everything until the other end closes.
    ///
    /// # Panics
    /// If it does not close.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.0.read_to_end(&mut bytes) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the connection is still open after {PATIENCE:?}; it said {bytes:?}")
            }
            _ => bytes,
        }
    }

    /// The next message of PostgreSQL's.
    ///
    /// # Panics
    /// If it does not come.
    #[track_caller]
    pub fn message(&mut self) -> Message {
        self.try_message().expect("a message comes")
    }

    /// The next message of PostgreSQL's.
    ///
    /// # Errors
    /// If it does not come: because the other end has closed, or within [`PATIENCE`].
    pub fn try_message(&mut self) -> std::io::Result<Message> {
        let mut head = [0; 5];
        self.0.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut body = vec![0; length.saturating_sub(4)];
        self.0.read_exact(&mut body)?;
        Ok((head[0], body))
    }

    /// Messages up to ReadyForQuery and with it.
    ///
    /// # Panics
    /// If it does not come.
    #[track_caller]
    pub fn until_ready(&mut self) -> Vec<Message> {
        let mut seen = Vec::new();
        loop {
            let message = self.message();
            let last = message.0 == b'Z';
            seen.push(message);
            if last {
                return seen;
            }
        }
    }

    /// PostgreSQL's complaint, after which it closes.
    ///
    /// # Panics
    /// If anything else comes.
    #[track_caller]
    pub fn last_words(&mut self) -> Complaint {
        let (kind, body) = self.message();
        assert_eq!(
            kind,
            b'E',
            "an ErrorResponse; its body is {}",
            String::from_utf8_lossy(&body)
        );
        assert!(self.rest().is_empty(), "nothing follows");
        Complaint::of_postgres(&body)
    }

    /// Closes with a reset, as a machine does that goes down: what is still on its way is thrown away.
    ///
    /// # Panics
    /// If the socket cannot be set so.
    pub fn vanish(self) {
        socket2::SockRef::from(&self.0)
            .set_linger(Some(std::time::Duration::ZERO))
            .expect("a socket option can be set");
    }

    /// The next packet of MySQL's: its sequence id and its payload.
    ///
    /// # Panics
    /// If it does not come.
    #[track_caller]
    pub fn packet(&mut self) -> (u8, Vec<u8>) {
        let head = self.take(4);
        let length = u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize;
        (head[3], self.take(length))
    }
}

impl Complaint {
    /// From the body of an ErrorResponse.
    #[must_use]
    pub fn of_postgres(body: &[u8]) -> Complaint {
        let field = |code: u8| {
            let found = body
                .split(|&byte| byte == 0)
                .find(|field| field.first() == Some(&code));
            String::from_utf8_lossy(&found.unwrap_or(b" ")[1..]).into_owned()
        };
        Complaint {
            state: field(b'C'),
            number: 0,
            message: field(b'M'),
        }
    }

    /// From the payload of an ERR packet.
    ///
    /// # Panics
    /// If it is none.
    #[track_caller]
    pub fn of_mysql(payload: &[u8]) -> Complaint {
        assert_eq!(payload[0], 0xff, "an ERR packet, not {payload:?}");
        let number = u16::from_le_bytes([payload[1], payload[2]]);
        let (state, message) = match &payload[3..] {
            [b'#', rest @ ..] => rest.split_at(5),
            message => message.split_at(0),
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Complaint {
            state: text(state),
            number,
            message: text(message),
        }
    }
}

/// PostgreSQL's StartupMessage, version 3.0.
#[must_use]
pub fn startup(parameters: &[(&str, &str)]) -> Vec<u8> {
    startup_of(0x0003_0000, parameters)
}

/// A StartupMessage of any version.
#[must_use]
pub fn startup_of(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    body.push(0);
    [&(body.len() as u32 + 4).to_be_bytes()[..], &body].concat()
}

/// A message of PostgreSQL's after the startup.
#[must_use]
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

/// A packet of MySQL's.
#[must_use]
pub fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_le_bytes();
    [&[length[0], length[1], length[2], sequence][..], payload].concat()
}

/// MySQL's HandshakeResponse with a proof that proves nothing.
#[must_use]
pub fn handshake_response(user: &str, database: Option<&str>) -> Vec<u8> {
    handshake_response_with(0, user, database)
}

/// The same, of a client that can do more: capability flags that do not change the response itself.
#[must_use]
pub fn handshake_response_with(capabilities: u32, user: &str, database: Option<&str>) -> Vec<u8> {
    // LONG_PASSWORD, CONNECT_WITH_DB, PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION, PLUGIN_AUTH
    let capabilities: u32 = capabilities
        | 0x1
        | if database.is_some() { 0x8 } else { 0 }
        | 0x200
        | 0x2000
        | 0x8000
        | 0x8_0000;
    let mut payload = capabilities.to_le_bytes().to_vec();
    payload.extend(0x0100_0000_u32.to_le_bytes());
    payload.push(45);
    payload.extend([0; 23]);
    payload.extend([user.as_bytes(), b"\0"].concat());
    payload.extend([&[20][..], &[7; 20]].concat());
    if let Some(database) = database {
        payload.extend([database.as_bytes(), b"\0"].concat());
    }
    payload.extend(b"mysql_native_password\0");
    packet(1, &payload)
}
