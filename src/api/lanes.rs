//! tiny_http, reached through a few connections that are opened once and kept.
//!
//! Left to itself, tiny_http takes any number of connections, waits for ever on each, and loses
//! its accepting thread for good when descriptors run out. Here it listens on a socket inside this
//! machine's kernel (an abstract unix address: no file, no port), and what reaches it are the
//! complete requests of the [door](super::door), over lanes that never close. So it needs no
//! descriptor after the start, and nobody can make it wait.

use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use log::error;
use tiny_http::{Header, Server};

use super::http::{Request, Response};
use super::problem::Problem;

/// What answers requests.
pub trait Answer: Send + Sync + 'static {
    /// Answers one, in bounded time.
    fn answer(&self, request: &Request) -> Response;
}

/// The lanes to the server.
pub struct Lanes {
    ordinary: Stable,
    /// Kept apart, so that a probe never stands behind a request that waits for a shard.
    probes: Stable,
}

impl Lanes {
    /// Starts the server and opens the lanes, `answer` at their end.
    pub fn open(answer: Arc<dyn Answer>) -> io::Result<Lanes> {
        let name: [u8; 16] = rand()?;
        let address = SocketAddr::from_abstract_name(name)?;
        let server = Server::from_listener(UnixListener::bind_addr(&address)?, None)
            .map_err(io::Error::other)?;
        let server = Arc::new(server);
        // As many as there are lanes: whatever arrives finds a thread that takes it up.
        for index in 0..ORDINARY_LANES + PROBE_LANES {
            let (server, answer) = (Arc::clone(&server), Arc::clone(&answer));
            thread::Builder::new()
                .name(format!("api-{index}"))
                .spawn(move || work(&server, &*answer))?;
        }
        Ok(Lanes {
            ordinary: Stable::fill(&address, ORDINARY_LANES)?,
            probes: Stable::fill(&address, PROBE_LANES)?,
        })
    }

    /// Has a request answered.
    pub fn exchange(&self, request: &Request) -> Response {
        let stable = if request.is_probe() {
            &self.probes
        } else {
            &self.ordinary
        };
        let Ok(lane) = stable.free.recv_timeout(LANE_WITHIN) else {
            return Problem::new(503, "the API is busy; try again")
                .with("Retry-After", "1")
                .response();
        };
        let (lane, answer) = lane.exchange(request);
        // There is room: the lane came from here.
        let _ = stable.back.try_send(lane);
        answer.unwrap_or_else(|error| {
            error!("API: {} {}: {error}", request.method, request.path);
            Problem::new(500, "the API failed to answer; the log says why").response()
        })
    }
}

/// Lanes nobody uses now.
struct Stable {
    free: Receiver<Lane>,
    back: Sender<Lane>,
}

impl Stable {
    fn fill(address: &SocketAddr, count: usize) -> io::Result<Stable> {
        let (back, free) = bounded(count);
        for _ in 0..count {
            let lane = Lane {
                address: address.clone(),
                stream: None,
            };
            // One after the other, each to its first answer: tiny_http gives connections that
            // arrive together to one thread, and the second would wait for the end of the first.
            let warm_up = Request {
                method: "GET".into(),
                path: "/health".into(),
                ..Request::default()
            };
            let (lane, answer) = lane.exchange(&warm_up);
            answer?;
            let _ = back.send(lane);
        }
        Ok(Stable { free, back })
    }
}

/// One connection to the server.
struct Lane {
    address: SocketAddr,
    /// Not there before the first use, and after a failure.
    stream: Option<UnixStream>,
}

impl Lane {
    /// One request, one response; the lane comes back, to be opened afresh if that failed.
    fn exchange(mut self, request: &Request) -> (Lane, io::Result<Response>) {
        let stream = match self.stream.take() {
            Some(stream) => Ok(stream),
            None => connect(&self.address),
        };
        let answer = stream.and_then(|mut stream| {
            stream.set_read_timeout(Some(ANSWER_WITHIN))?;
            stream.set_write_timeout(Some(ANSWER_WITHIN))?;
            stream.write_all(&on_the_wire(request))?;
            let response = receive(&mut stream)?;
            self.stream = Some(stream);
            Ok(response)
        });
        (self, answer)
    }
}

/// A request as tiny_http reads it: only headers that mean something to the router, and a length
/// that is right.
fn on_the_wire(request: &Request) -> Vec<u8> {
    let Request {
        method,
        path,
        query,
        body,
        ..
    } = request;
    let mark = if query.is_empty() { "" } else { "?" };
    // A HEAD is a GET whose body the door keeps back: only there it is known how it was asked.
    let method = if method == "HEAD" { "GET" } else { method };
    let mut head = format!(
        "{method} {path}{mark}{query} HTTP/1.1\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in &request.headers {
        // tiny_http drops a connection that says anything beyond ASCII.
        if PASSED_ON.contains(&name.as_str()) && value.is_ascii() {
            head += &format!("{name}: {value}\r\n");
        }
    }
    if let Some(peer) = request.peer {
        head += &format!("{PEER}: {peer}\r\n");
    }
    head += "\r\n";
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// What a request of these bytes is passed on as; nothing if it is refused or not complete. For tests that try any bytes.
pub fn passed_on(bytes: &[u8]) -> Option<Vec<u8>> {
    super::intake::read(bytes).map(|request| on_the_wire(&request))
}

/// A response off a lane. Its head is our own router's, so its size is no concern.
fn receive(stream: &mut UnixStream) -> io::Result<Response> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 8192];
    let (mut response, head, length) = loop {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut parsed = httparse::Response::new(&mut headers);
        if let httparse::Status::Complete(head) = parsed.parse(&bytes).map_err(io::Error::other)? {
            break understand(&parsed, head);
        }
        read_more(stream, &mut chunk, &mut bytes)?;
    };
    while bytes.len() < head + length {
        read_more(stream, &mut chunk, &mut bytes)?;
    }
    response.body = bytes.split_off(head);
    Ok(response)
}

fn understand(parsed: &httparse::Response<'_, '_>, head: usize) -> (Response, usize, usize) {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let mut response = Response::empty(parsed.code.unwrap_or(500));
    let mut length = 0;
    for header in parsed.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            length = text(header.value).parse().unwrap_or(0);
        } else if let Some(name) = ANSWERED
            .iter()
            .find(|name| header.name.eq_ignore_ascii_case(name))
        {
            response.headers.push((name, text(header.value)));
        }
    }
    (response, head, length)
}

fn read_more(stream: &mut UnixStream, chunk: &mut [u8], bytes: &mut Vec<u8>) -> io::Result<()> {
    let read = match stream.read(chunk) {
        // With a time limit set, a signal ends the call and nothing is lost.
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
        read => read?,
    };
    match read {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        read => {
            bytes.extend_from_slice(&chunk[..read]);
            Ok(())
        }
    }
}

/// A connection to the server, also where a signal comes in between.
fn connect(address: &SocketAddr) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect_addr(address) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            settled => return settled,
        }
    }
}

/// A thread that answers requests until the process ends.
fn work(server: &Server, answer: &dyn Answer) {
    loop {
        // An error means that the accepting thread has ended, which the lanes do not need.
        let Ok(mut asked) = server.recv() else {
            continue;
        };
        let response = match understand_request(&mut asked) {
            // A fault in one answer must not cost the thread: the next request needs it.
            Ok(request) => catch_unwind(AssertUnwindSafe(|| answer.answer(&request)))
                .unwrap_or_else(|_| {
                    Problem::new(500, "the API failed to answer; the log says why").response()
                }),
            Err(error) => Problem::new(400, error.to_string()).response(),
        };
        if let Err(error) = asked.respond(as_tiny_http(response)) {
            error!("API: cannot pass on an answer: {error}");
        }
    }
}

fn understand_request(asked: &mut tiny_http::Request) -> io::Result<Request> {
    let (path, query) = asked.url().split_once('?').unwrap_or((asked.url(), ""));
    let headers = asked.headers().iter();
    let headers = headers.map(|header| {
        (
            header.field.as_str().as_str().to_ascii_lowercase(),
            header.value.as_str().to_owned(),
        )
    });
    let mut request = Request {
        // The names of methods are case-sensitive, but tiny_http's enum is not to be relied on.
        method: asked.method().to_string(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: headers.collect(),
        body: Vec::new(),
        peer: None,
    };
    let peer = request.header(PEER).and_then(|peer| peer.parse().ok());
    request.peer = peer;
    asked.as_reader().read_to_end(&mut request.body)?;
    Ok(request)
}

fn as_tiny_http(response: Response) -> tiny_http::Response<io::Cursor<Vec<u8>>> {
    let Response {
        status,
        headers,
        body,
    } = response;
    let length = body.len();
    let headers = headers.into_iter();
    let headers = headers.filter_map(|(name, value)| Header::from_bytes(name, value).ok());
    tiny_http::Response::new(
        status.into(),
        headers.collect(),
        io::Cursor::new(body),
        Some(length),
        None,
    )
    .with_chunked_threshold(usize::MAX)
}

fn rand() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("no random numbers"))?;
    Ok(bytes)
}

/// How many requests are worked on at once, probes apart.
const ORDINARY_LANES: usize = 8;
/// How many probes are answered at once.
const PROBE_LANES: usize = 2;
/// How long a request waits for a lane.
const LANE_WITHIN: Duration = Duration::from_secs(5);
/// How long an answer may take: longer than the router ever waits for the shards.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The header that tells who asked. A client's own of that name is not passed on.
const PEER: &str = "dbbouncer-peer";
/// The headers of a request that the router looks at.
const PASSED_ON: &[&str] = &[
    "accept",
    "authorization",
    "content-type",
    "host",
    "origin",
    "if-match",
    "if-none-match",
];
/// The headers that the router sets.
const ANSWERED: &[&str] = &[
    "Allow",
    "Cache-Control",
    "Content-Security-Policy",
    "Content-Type",
    "ETag",
    "Location",
    "Referrer-Policy",
    "Retry-After",
    "Vary",
    "WWW-Authenticate",
    "X-Content-Type-Options",
];
