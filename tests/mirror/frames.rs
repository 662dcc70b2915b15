//! What a PostgreSQL client says, one function for each message.

use testbed::raw::message;

pub type Frame = Vec<u8>;

pub fn query(text: &str) -> Frame {
    message(b'Q', &[text.as_bytes(), b"\0"].concat())
}

pub fn parse(name: &str, text: &str) -> Frame {
    parse_typed(name, text, &[])
}

/// Parse that says its parameters' types, by their OIDs.
pub fn parse_typed(name: &str, text: &str, types: &[u32]) -> Frame {
    let mut body = [name.as_bytes(), b"\0", text.as_bytes(), b"\0"].concat();
    body.extend((types.len() as u16).to_be_bytes());
    types.iter().for_each(|oid| body.extend(oid.to_be_bytes()));
    message(b'P', &body)
}

pub fn bind(portal: &str, statement: &str) -> Frame {
    bind_with(portal, statement, &[])
}

/// Bind with parameters, as text.
pub fn bind_with(portal: &str, statement: &str, values: &[&str]) -> Frame {
    let mut body = [portal.as_bytes(), b"\0", statement.as_bytes(), b"\0\0\0"].concat();
    body.extend((values.len() as u16).to_be_bytes());
    for value in values {
        body.extend((value.len() as u32).to_be_bytes());
        body.extend(value.as_bytes());
    }
    body.extend([0, 0]);
    message(b'B', &body)
}

pub fn describe(statement: &str) -> Frame {
    message(b'D', &[b"S", statement.as_bytes(), b"\0"].concat())
}

pub fn describe_portal(portal: &str) -> Frame {
    message(b'D', &[b"P", portal.as_bytes(), b"\0"].concat())
}

/// Execute to the end.
pub fn execute(portal: &str) -> Frame {
    execute_some(portal, 0)
}

/// Bind, Execute and Sync of a prepared statement.
pub fn run(statement: &str) -> Frame {
    [bind("", statement), execute(""), sync()].concat()
}

/// Execute for at most so many rows.
pub fn execute_some(portal: &str, rows: u32) -> Frame {
    let body = [portal.as_bytes(), b"\0", &rows.to_be_bytes()].concat();
    message(b'E', &body)
}

pub fn close(statement: &str) -> Frame {
    message(b'C', &[b"S", statement.as_bytes(), b"\0"].concat())
}

pub fn close_portal(portal: &str) -> Frame {
    message(b'C', &[b"P", portal.as_bytes(), b"\0"].concat())
}

pub fn sync() -> Frame {
    message(b'S', b"")
}

pub fn flush() -> Frame {
    message(b'H', b"")
}

pub fn terminate() -> Frame {
    message(b'X', b"")
}

pub fn copy_data(bytes: &[u8]) -> Frame {
    message(b'd', bytes)
}

pub fn copy_done() -> Frame {
    message(b'c', b"")
}

pub fn copy_fail(why: &str) -> Frame {
    message(b'f', &[why.as_bytes(), b"\0"].concat())
}

/// FunctionCall with arguments and result as text.
pub fn call(function: u32, arguments: &[&str]) -> Frame {
    let mut body = function.to_be_bytes().to_vec();
    body.extend([0, 0]);
    body.extend((arguments.len() as u16).to_be_bytes());
    for argument in arguments {
        body.extend((argument.len() as u32).to_be_bytes());
        body.extend(argument.as_bytes());
    }
    body.extend([0, 0]);
    message(b'F', &body)
}

/// Parse, Bind, Execute of the unnamed statement.
pub fn unnamed(text: &str) -> Frame {
    [parse("", text), bind("", ""), execute("")].concat()
}

/// How many ReadyForQuery these bring, if nothing fails and nothing is a COPY.
pub fn ready_for(frames: &[u8]) -> usize {
    let mut rest = frames;
    let mut ready = 0;
    while let [kind, length @ ..] = rest {
        ready += usize::from(matches!(kind, b'Q' | b'F' | b'S'));
        let Some(length) = length.first_chunk::<4>() else {
            break;
        };
        let total = 1 + u32::from_be_bytes(*length) as usize;
        rest = rest.get(total..).unwrap_or_default();
    }
    ready
}
