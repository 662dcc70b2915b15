//! A request and a response as values. This is all that the router sees of HTTP: no socket, no
//! thread, no server.

use std::fmt::Write;
use std::net::SocketAddr;

use serde_json::Value;

/// What was asked. Complete, and within the limits of the door.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The method, as sent: `GET`.
    pub method: String,
    /// The path without the query, not yet decoded: `/tenants/acme`.
    pub path: String,
    /// What stands behind the `?`; empty if nothing does.
    pub query: String,
    /// Names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// The body; empty if there is none.
    pub body: Vec<u8>,
    /// Who asked; `None` for requests of our own.
    pub peer: Option<SocketAddr>,
}

impl Request {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether this asks how the process is, which must be answered whatever else goes on.
    pub fn is_probe(&self) -> bool {
        matches!(self.path.as_str(), "/health" | "/ready")
    }
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names with their values. Length, connection and date are the server's matter.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// A JSON document.
    pub fn json(status: u16, document: &Value) -> Response {
        Response::of_type(
            status,
            "application/json",
            document.to_string().into_bytes(),
        )
    }

    /// A JSON list. Each document is written as it comes and let go: of thousands of tenants they take many times
    /// the room of their text.
    pub fn json_list(documents: impl Iterator<Item = Value>) -> Response {
        let mut text = String::from("[");
        for document in documents {
            if text.len() > 1 {
                text.push(',');
            }
            // Writing to a text cannot fail.
            let _ = write!(text, "{document}");
        }
        text.push(']');
        Response::of_type(200, "application/json", text.into_bytes())
    }

    /// A body of some media type.
    pub fn of_type(status: u16, media_type: &str, body: Vec<u8>) -> Response {
        let headers = vec![
            ("Content-Type", media_type.to_owned()),
            // What stands here is true for a moment, and some of it is nobody else's business.
            ("Cache-Control", "no-store".to_owned()),
        ];
        Response {
            status,
            headers,
            body,
        }
    }

    /// A status without a body.
    pub fn empty(status: u16) -> Response {
        Response {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Response {
        self.headers.push((name, value.into()));
        self
    }
}
