//! What is answered when something is wrong: problem details as in RFC 9457, with every complaint
//! and the place it belongs to.

use serde_json::{Value, json};

use super::http::Response;

/// A refusal, on its way to be a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: u16,
    detail: String,
    errors: Vec<FieldError>,
    headers: Vec<(&'static str, String)>,
}

/// One complaint about a field of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// JSON Pointer (RFC 6901) into the body: `/port`; empty for the body as a whole.
    pub pointer: String,
    /// What is wrong, and what would be right.
    pub detail: String,
}

impl Problem {
    /// A refusal with its reason in a sentence.
    pub fn new(status: u16, detail: impl Into<String>) -> Problem {
        Problem {
            status,
            detail: detail.into(),
            errors: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// There is no tenant of that name.
    pub fn no_tenant(id: &str) -> Problem {
        Problem::new(404, format!("there is no tenant {id:?}"))
    }

    /// The body is JSON, but does not say what it must.
    pub fn invalid(errors: Vec<FieldError>) -> Problem {
        let detail = match errors.len() {
            1 => "one thing in the body is wrong".to_owned(),
            many => format!("{many} things in the body are wrong"),
        };
        Problem {
            errors,
            ..Problem::new(422, detail)
        }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Problem {
        self.headers.push((name, value.into()));
        self
    }

    /// As it is sent.
    pub fn response(self) -> Response {
        let mut document = json!({
            "type": "about:blank",
            "title": title(self.status),
            "status": self.status,
            "detail": self.detail,
        });
        if !self.errors.is_empty() {
            let errors = self.errors.into_iter();
            document["errors"] = errors
                .map(|error| json!({"pointer": error.pointer, "detail": error.detail}))
                .collect::<Value>();
        }
        let body = document.to_string().into_bytes();
        let mut response = Response::of_type(self.status, "application/problem+json", body);
        response.headers.extend(self.headers);
        response
    }
}

/// The status in words, as RFC 9110 has them: with the type `about:blank` that is the title.
pub fn title(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Internal Server Error",
    }
}
