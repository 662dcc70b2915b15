//! One request off a connection, within limits of size and time; and one response onto it.
//!
//! The limits stand here because the server behind has none. Whatever breaks them is answered with
//! the reason, and the connection ends.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::http::{Request, Response};
use super::problem::{Problem, title};

/// A client's connection, with what it has said beyond its last request.
pub struct Intake<'a> {
    stream: &'a TcpStream,
    unread: Vec<u8>,
}

/// A request that may be passed on.
pub struct Arrived {
    /// The request.
    pub request: Request,
    /// Whether the client wants the connection to stay.
    pub keep_alive: bool,
}

/// Why there is no request.
pub enum Nothing {
    /// The client left, or was too slow to say even its first byte: nobody to be told anything.
    Gone,
    /// What it said cannot be passed on.
    Refused(Box<Problem>),
}

impl<'a> Intake<'a> {
    /// A fresh connection.
    pub fn new(stream: &'a TcpStream) -> Intake<'a> {
        Intake {
            stream,
            unread: Vec::new(),
        }
    }

    /// The next request, complete. `first_byte` is called when it begins.
    pub fn next(&mut self, first_byte: impl FnOnce()) -> Result<Arrived, Nothing> {
        if self.unread.is_empty() {
            self.more(Instant::now() + IDLE_WITHIN)
                .map_err(|_| Nothing::Gone)?;
        }
        first_byte();
        let deadline = Instant::now() + REQUEST_WITHIN;
        let head = loop {
            match Head::parse(&self.unread)? {
                Some(head) => break head,
                None if self.unread.len() >= MAX_HEAD => {
                    return refuse(431, format!("the head is larger than {MAX_HEAD} bytes"));
                }
                None => self.more(deadline)?,
            }
        };
        self.unread.drain(..head.length);
        if head.expects_continue && self.unread.len() < head.body {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        while self.unread.len() < head.body {
            self.more(deadline)?;
        }
        let mut request = head.request;
        request.body = self.unread.drain(..head.body).collect();
        Ok(Arrived {
            request,
            keep_alive: head.keep_alive,
        })
    }

    /// Sends a response. The body stays at home where the client asked for the head alone.
    pub fn answer(
        &mut self,
        response: &Response,
        keep_alive: bool,
        head_only: bool,
    ) -> io::Result<()> {
        let mut bytes = head_of(response, keep_alive).into_bytes();
        if !head_only {
            bytes.extend_from_slice(&response.body);
        }
        let deadline = Instant::now() + RESPONSE_WITHIN;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            self.stream.set_write_timeout(Some(left(deadline)?))?;
            match self.stream.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = &rest[written..],
                Err(error) if is_nothing(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Ends the connection after an answer that came before the client had said all. Closing at
    /// once would make the kernel reset the connection, and the answer could be lost with it.
    pub fn part(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
        let deadline = Instant::now() + PARTING_WITHIN;
        let mut heard = 0;
        while heard < PARTING_BYTES {
            self.unread.clear();
            match self.more(deadline) {
                Ok(()) => heard += self.unread.len(),
                Err(_) => break,
            }
        }
    }

    /// Waits for more bytes.
    fn more(&mut self, deadline: Instant) -> io::Result<()> {
        let mut chunk = [0; 4096];
        loop {
            self.stream.set_read_timeout(Some(left(deadline)?))?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    self.unread.extend_from_slice(&chunk[..read]);
                    return Ok(());
                }
                Err(error) if is_nothing(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// With a time limit set, a call ends where the process was stopped and goes on, as by a debugger or while its container was
/// frozen. Nothing is lost.
fn is_nothing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted
}

/// The request at the front of these bytes, if it may be passed on and all of it is there.
pub fn read(bytes: &[u8]) -> Option<Request> {
    let head = Head::parse(bytes).ok()??;
    let body = bytes.get(head.length..head.length + head.body)?;
    Some(Request {
        body: body.to_vec(),
        ..head.request
    })
}

/// The head of a request, understood as far as the door must.
struct Head {
    request: Request,
    /// Its length in bytes.
    length: usize,
    /// The length of the body that follows.
    body: usize,
    keep_alive: bool,
    expects_continue: bool,
}

impl Head {
    /// `None` while it is not complete.
    fn parse(bytes: &[u8]) -> Result<Option<Head>, Nothing> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        let length = match parsed.parse(&bytes[..bytes.len().min(MAX_HEAD)]) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => {
                return refuse(431, format!("there are more than {MAX_HEADERS} headers"));
            }
            Err(error) => return refuse(400, format!("this is not HTTP/1.1: {error}")),
        };
        let (Some(method), Some(target), Some(version)) =
            (parsed.method, parsed.path, parsed.version)
        else {
            return refuse(400, "this is not HTTP/1.1: the request line is incomplete");
        };
        let Some((path, query)) = split(target) else {
            return refuse(
                400,
                "the target of a request must be a path, percent-encoded",
            );
        };
        let mut head = Head {
            request: Request {
                method: method.to_owned(),
                path,
                query,
                headers: Vec::new(),
                body: Vec::new(),
                peer: None,
            },
            length,
            body: 0,
            keep_alive: version == 1,
            expects_continue: false,
        };
        let mut said_length = None;
        for header in parsed.headers.iter() {
            let name = header.name.to_ascii_lowercase();
            let Ok(value) = std::str::from_utf8(header.value) else {
                return refuse(400, format!("the header {name} is not text"));
            };
            head.note(&name, value, &mut said_length)?;
            head.request.headers.push((name, value.to_owned()));
        }
        Ok(Some(head))
    }

    /// What a header means to the connection itself.
    fn note(&mut self, name: &str, value: &str, length: &mut Option<usize>) -> Result<(), Nothing> {
        match name {
            "content-length" => {
                let said = value.bytes().all(|b| b.is_ascii_digit());
                let said = said.then(|| value.parse().unwrap_or(usize::MAX));
                // Two lengths that differ are how requests are smuggled.
                match (said, *length) {
                    (None, _) => return refuse(400, "the Content-Length is no number"),
                    (Some(one), Some(other)) if one != other => {
                        return refuse(400, "there are two different Content-Lengths");
                    }
                    (Some(said), _) if said > MAX_BODY => {
                        return refuse(413, format!("the body is larger than {MAX_BODY} bytes"));
                    }
                    (Some(said), _) => (*length, self.body) = (Some(said), said),
                }
            }
            "transfer-encoding" => {
                return refuse(
                    411,
                    "say the body's length with a Content-Length instead of sending it in chunks",
                );
            }
            "connection" => {
                let says = |word| {
                    value
                        .split(',')
                        .any(|said| said.trim().eq_ignore_ascii_case(word))
                };
                self.keep_alive = (self.keep_alive || says("keep-alive")) && !says("close");
            }
            "expect" => self.expects_continue = value.eq_ignore_ascii_case("100-continue"),
            _ => {}
        }
        Ok(())
    }
}

/// Path and query of a request's target; `None` for forms that only proxies are sent, and for
/// bytes that must be percent-encoded.
fn split(target: &str) -> Option<(String, String)> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    (path.starts_with('/') && target.is_ascii()).then(|| (path.to_owned(), query.to_owned()))
}

fn head_of(response: &Response, keep_alive: bool) -> String {
    let status = response.status;
    let mut head = format!("HTTP/1.1 {status} {}\r\n", title(status));
    for (name, value) in &response.headers {
        // A line end inside a value would begin a header of its own.
        let value = value.replace(['\r', '\n'], " ");
        head += &format!("{name}: {value}\r\n");
    }
    if status != 204 && status != 304 {
        head += &format!("Content-Length: {}\r\n", response.body.len());
    }
    let connection = if keep_alive { "keep-alive" } else { "close" };
    head + &format!("Connection: {connection}\r\n\r\n")
}

fn refuse<T>(status: u16, detail: impl Into<String>) -> Result<T, Nothing> {
    Err(Nothing::Refused(Box::new(Problem::new(status, detail))))
}

/// How long until the deadline; an error once it is over.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left)
}

impl From<io::Error> for Nothing {
    fn from(error: io::Error) -> Nothing {
        match error.kind() {
            // A read time-out shows as one or the other, by the system's whim.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                Nothing::Refused(Box::new(Problem::new(
                    408,
                    format!("the request was not complete within {REQUEST_WITHIN:?}"),
                )))
            }
            _ => Nothing::Gone,
        }
    }
}

/// The largest head of a request, in bytes.
const MAX_HEAD: usize = 16 << 10;
/// The most headers of a request.
const MAX_HEADERS: usize = 64;
/// The largest body of a request, in bytes.
const MAX_BODY: usize = 1 << 20;
/// How long a connection may say nothing between requests.
const IDLE_WITHIN: Duration = Duration::from_secs(60);
/// How long a request may take from its first byte to its last.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);
/// How long a client may take to read its answer.
const RESPONSE_WITHIN: Duration = Duration::from_secs(10);
/// How long, and for how many bytes, a client is listened to after its last answer.
const PARTING_WITHIN: Duration = Duration::from_millis(500);
const PARTING_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::net::TcpListener;

    /// What comes of these bytes when nothing follows them.
    fn intake(bytes: &[u8]) -> Result<Vec<Request>, u16> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let bytes = bytes.to_vec();
        let writer = std::thread::spawn(move || {
            let _ = client.write_all(&bytes);
            let _ = client.shutdown(Shutdown::Write);
            let _ = io::copy(&mut client, &mut io::sink());
        });
        let mut intake = Intake::new(&stream);
        let mut requests = Vec::new();
        let end = loop {
            match intake.next(|| ()) {
                Ok(arrived) => requests.push(arrived.request),
                Err(Nothing::Gone) => break Ok(requests),
                Err(Nothing::Refused(problem)) => break Err(problem.response().status),
            }
        };
        drop(stream);
        writer.join().unwrap();
        end
    }

    #[test]
    fn requests_follow_each_other_on_one_connection() {
        let requests = intake(
            b"POST /tenants?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}GET /ready HTTP/1.1\r\n\r\n",
        )
        .expect("both");
        let [post, get] = requests.as_slice() else {
            panic!("{requests:?}")
        };
        assert_eq!(
            (post.path.as_str(), post.query.as_str()),
            ("/tenants", "x=1")
        );
        assert_eq!(
            (post.body.as_slice(), post.header("host")),
            (&b"{}"[..], Some("h"))
        );
        assert!(get.is_probe() && get.body.is_empty());
    }

    #[test]
    fn what_breaks_a_limit_or_the_protocol_is_refused_by_its_status() {
        let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(MAX_HEAD));
        let many = format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            "a: b\r\n".repeat(MAX_HEADERS + 1)
        );
        let big = format!("PUT / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", MAX_BODY + 1);
        for (bytes, status) in [
            (long.as_bytes(), 431),
            (many.as_bytes(), 431),
            (big.as_bytes(), 413),
            (
                b"PUT / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
                413,
            ),
            (b"PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
            (
                b"PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                400,
            ),
            (
                b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                411,
            ),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
            (b"GET http://h/ HTTP/1.1\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\na: \xff\r\n\r\n", 400),
        ] {
            assert_eq!(
                intake(bytes).err(),
                Some(status),
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
    }

    #[test]
    fn a_request_that_ends_early_is_nobodys_request() {
        let whole = b"POST /tenants HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";
        for cut in 0..whole.len() {
            assert!(intake(&whole[..cut]).expect("no answer").is_empty());
        }
    }
}
